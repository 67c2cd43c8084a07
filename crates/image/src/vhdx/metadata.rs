//! The metadata region: the table and the items that reading needs.

use super::error::{Damage, Feature};
use super::locator::Locator;
use super::raw::{self, FileParameters, MIB, MetadataTableEntry, MetadataTableHeader};
use super::view::View;
use crate::Error;
use crate::error::Feature as AnyFeature;
use ondisk::width::{u64_of, usize_of_u32};
use ondisk::{Cursor, cap};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::ops::Range;
use uuid::Uuid;
use zerocopy::FromBytes;

/// What the metadata says; every field can be used.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Bytes of the guest disk.
    pub(super) size: u64,
    /// Bytes of a payload block.
    pub(super) block_size: BlockSize,
    pub(super) logical_sector_size: SectorSize,
    pub(super) physical_sector_size: Option<u32>,
    pub(super) virtual_disk_id: Option<Uuid>,
    /// Whether blocks are never given back: the disk is of fixed size.
    pub(super) leave_block_allocated: bool,
    pub(super) parent: Option<Locator>,
}

/// The size of a payload block: a power of two, 1 MiB to 256 MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockSize(NonZeroU64);

/// The size of a sector as the guest sees it: 512 or 4096.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectorSize(NonZeroU64);

/// Largest disk, by the specification.
pub(super) const MAX_SIZE: u64 = 64 << 40;
/// Most bytes of an item, by the specification.
const MAX_ITEM: u64 = 1 << 20;
const MAX_BLOCK: u32 = 256 << 20;

impl BlockSize {
    pub(super) fn new(bytes: u32) -> Option<Self> {
        let legal = bytes.is_power_of_two() && (MIB..=u64::from(MAX_BLOCK)).contains(&bytes.into());
        let bytes = NonZeroU64::new(u64::from(bytes))?;
        legal.then_some(Self(bytes))
    }

    pub(super) fn bytes(self) -> NonZeroU64 {
        self.0
    }

    /// Payload blocks that share one sector bitmap block.
    pub(super) fn chunk_ratio(self, sector: SectorSize) -> NonZeroU64 {
        let chunk = raw::BITMAP_SECTORS.saturating_mul(sector.bytes().get());
        // A chunk has 4 GiB at least, a block 256 MiB at most.
        NonZeroU64::new(chunk / self.0).unwrap_or(NonZeroU64::MIN)
    }
}

impl SectorSize {
    pub(super) fn new(bytes: u32) -> Option<Self> {
        let bytes = NonZeroU64::new(u64::from(bytes))?;
        matches!(bytes.get(), 512 | 4096).then_some(Self(bytes))
    }

    pub(super) fn bytes(self) -> NonZeroU64 {
        self.0
    }
}

impl Metadata {
    pub(super) fn read(view: &View, region: &Range<u64>) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(view.file().path(), damage);
        let items = Items::read(view, region)?;
        let parameters: FileParameters = items
            .fixed(raw::FILE_PARAMETERS)?
            .ok_or_else(|| corrupt(Damage::ItemMissing("file parameters")))?;
        let block_size = parameters.block_size.get();
        let block_size =
            BlockSize::new(block_size).ok_or_else(|| corrupt(Damage::BlockSize(block_size)))?;
        let sector = items
            .number(raw::LOGICAL_SECTOR_SIZE)?
            .ok_or_else(|| corrupt(Damage::ItemMissing("logical sector size")))?;
        let logical_sector_size =
            SectorSize::new(sector).ok_or_else(|| corrupt(Damage::LogicalSectorSize(sector)))?;
        let size = items
            .fixed::<[u8; 8]>(raw::VIRTUAL_DISK_SIZE)?
            .map(u64::from_le_bytes)
            .ok_or_else(|| corrupt(Damage::ItemMissing("virtual disk size")))?;
        cap::length("VirtualDiskSize", size, MAX_SIZE)
            .map_err(|e| Error::corrupt(view.file().path(), e))?;
        let sector = logical_sector_size.bytes().get();
        if !size.is_multiple_of(sector) {
            return Err(corrupt(Damage::VirtualDiskSize { size, sector }));
        }
        let flags = parameters.flags.get();
        let parent = match (
            flags & raw::HAS_PARENT != 0,
            items.get(raw::PARENT_LOCATOR)?,
        ) {
            (false, _) => None,
            (true, None) => return Err(corrupt(Damage::NoLocator)),
            (true, Some(item)) => Some(Locator::parse(view.file(), &item)?),
        };
        Ok(Self {
            size,
            block_size,
            logical_sector_size,
            physical_sector_size: items.number(raw::PHYSICAL_SECTOR_SIZE)?,
            virtual_disk_id: items
                .fixed::<[u8; 16]>(raw::VIRTUAL_DISK_ID)?
                .map(Uuid::from_bytes_le),
            leave_block_allocated: flags & raw::LEAVE_BLOCK_ALLOCATED != 0,
            parent,
        })
    }
}

/// Where the known items are in the file.
struct Items<'v> {
    view: &'v View,
    places: HashMap<Uuid, (u64, usize)>,
}

/// The items that are known, with the names they have in messages.
const KNOWN: [(Uuid, &str); 6] = [
    (raw::FILE_PARAMETERS, "file parameters"),
    (raw::VIRTUAL_DISK_SIZE, "virtual disk size"),
    (raw::VIRTUAL_DISK_ID, "virtual disk id"),
    (raw::LOGICAL_SECTOR_SIZE, "logical sector size"),
    (raw::PHYSICAL_SECTOR_SIZE, "physical sector size"),
    (raw::PARENT_LOCATOR, "parent locator"),
];

fn known(item: Uuid) -> Option<&'static str> {
    let found = KNOWN.iter().find(|(known, _)| *known == item);
    found.map(|(_, name)| *name)
}

impl<'v> Items<'v> {
    fn read(view: &'v View, region: &Range<u64>) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(view.file().path(), damage);
        let mut table = vec![0; raw::TABLE_LEN];
        view.read_exact(region.start, &mut table)?;
        let mut cursor = Cursor::new(&table);
        let header: MetadataTableHeader =
            next(&mut cursor).ok_or_else(|| corrupt(Damage::MetadataSignature(region.start)))?;
        if header.signature != raw::SIGNATURE_METADATA {
            return Err(corrupt(Damage::MetadataSignature(region.start)));
        }
        let count = u64::from(header.entry_count.get());
        let count = cap::length("EntryCount of the metadata", count, raw::MAX_ENTRIES)
            .map_err(|e| Error::corrupt(view.file().path(), e))?;
        let mut places = HashMap::new();
        for _ in 0..count {
            let Some(entry) = next::<MetadataTableEntry>(&mut cursor) else {
                // The table has room for as many entries as were let through.
                break;
            };
            let (item, flags) = (entry.item_id.uuid(), entry.flags.get());
            // What users put in has ids of their own.
            let name = known(item).filter(|_| flags & raw::ITEM_IS_USER == 0);
            let Some(name) = name else {
                if flags & raw::ITEM_IS_REQUIRED != 0 {
                    let feature = AnyFeature::Vhdx(Feature::Item(item));
                    return Err(Error::unsupported(view.file().path(), feature));
                }
                continue;
            };
            let place = item_place(&entry, region).ok_or_else(|| {
                let (offset, length) = (entry.offset.get(), entry.length.get());
                corrupt(Damage::ItemPlace {
                    item,
                    offset,
                    length,
                })
            })?;
            if places.insert(item, place).is_some() {
                return Err(corrupt(Damage::ItemTwice(name)));
            }
        }
        Ok(Self { view, places })
    }

    fn get(&self, item: Uuid) -> Result<Option<Vec<u8>>, Error> {
        let Some((at, length)) = self.places.get(&item) else {
            return Ok(None);
        };
        let mut bytes = vec![0; *length];
        self.view.read_exact(*at, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// An item that always has the same length.
    fn fixed<T: FromBytes>(&self, item: Uuid) -> Result<Option<T>, Error> {
        let Some(bytes) = self.get(item)? else {
            return Ok(None);
        };
        T::read_from_bytes(&bytes).map(Some).map_err(|_| {
            Error::corrupt(
                self.view.file().path(),
                Damage::ItemLength {
                    item: known(item).unwrap_or_default(),
                    length: bytes.len(),
                    expected: size_of::<T>(),
                },
            )
        })
    }

    fn number(&self, item: Uuid) -> Result<Option<u32>, Error> {
        let bytes = self.fixed::<[u8; 4]>(item)?;
        Ok(bytes.map(u32::from_le_bytes))
    }
}

fn next<T: FromBytes>(cursor: &mut Cursor) -> Option<T> {
    let bytes = cursor.take(size_of::<T>()).ok()?;
    T::read_from_bytes(bytes).ok()
}

/// Position in the file and length of an item, if it is inside of the region.
fn item_place(entry: &MetadataTableEntry, region: &Range<u64>) -> Option<(u64, usize)> {
    let (offset, length) = (u64::from(entry.offset.get()), entry.length.get());
    if length == 0 {
        return Some((region.start, 0));
    }
    let end = offset.checked_add(u64::from(length))?;
    let inside = offset >= u64_of(raw::TABLE_LEN)
        && end <= region.end.saturating_sub(region.start)
        && u64::from(length) <= MAX_ITEM;
    inside.then_some((region.start.saturating_add(offset), usize_of_u32(length)))
}

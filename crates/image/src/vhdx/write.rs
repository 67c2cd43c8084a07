//! Writing dynamic VHDX images: the tables have their places in front, blocks follow in the order
//! of the disk.

use super::bat::{entries, entries_before};
use super::header::checksum;
use super::metadata::{BlockSize, MAX_SIZE, SectorSize};
use super::raw::{self, Guid, MIB};
use crate::Error;
use crate::growth::{self, Growth, Piece, PieceBytes};
use crate::units::Unit;
use crate::write::{Job, Written};
use crate::zeros::data_runs;
use flate2::Crc;
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use uuid::{Builder, Uuid, Variant, Version};
use zerocopy::{FromZeros, IntoBytes};

/// How a VHDX image is written.
///
/// The image is dynamic: blocks of zeros take no room in it. Sectors are of 512 bytes for the
/// guest, on a disk of 4096. Its GUIDs are made of its content, so that the same content gives the
/// same bytes: two images of one content have the same disk identifier (SCSI page 83).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VhdxOptions {
    /// Bytes of a block: a power of two, 1048576 to 268435456. If it is not said, 2 MiB for disks
    /// up to 256 GiB, and more for larger ones, so that the table of blocks stays small.
    pub block_size: Option<u32>,
}

/// Smallest blocks that are taken if none are asked for: the pieces that disks are read in.
const LEAST_DEFAULT_BLOCK: u32 = 2 << 20;
const MOST_DEFAULT_BLOCK: u32 = 256 << 20;
/// Blocks that a disk has at most before they become larger: their table fills one MiB.
const MANY_BLOCKS: u64 = 128 << 10;

const LOGICAL_SECTOR: u32 = 512;
const PHYSICAL_SECTOR: u32 = 4096;
/// Bytes that are told from zeros.
const PAGE: usize = 4096;

/// Where things are: the log, which stays empty, the metadata, the BAT.
const LOG: Range<u64> = MIB..2 * MIB;
const METADATA: Range<u64> = 2 * MIB..3 * MIB;
const BAT: u64 = 3 * MIB;
/// Entries of the BAT that are in memory at one time.
const WINDOW: NonZeroU64 = NonZeroU64::new(8192).unwrap();

/// Writes an image into an empty file.
pub(crate) fn write(job: &Job, options: VhdxOptions) -> Result<Written, Error> {
    let mut image = Writer::new(job, options)?;
    growth::write(job, &mut image)?;
    image.finish()
}

/// What is stored of a unit.
struct Prepared {
    /// Pages that are not all zero, as ranges of the unit.
    runs: Vec<Range<usize>>,
    identity: Identity,
}

/// An image that grows.
struct Writer<'j> {
    job: &'j Job<'j>,
    size: u64,
    block: BlockSize,
    chunk_ratio: NonZeroU64,
    /// Bytes of the BAT's region.
    bat_len: u64,
    /// The window of the BAT that is being filled, by its number.
    window: (u64, Vec<u64>),
    /// The block that was placed last, and where it is.
    placed: Option<(u64, u64)>,
    /// Where the next block goes.
    end: u64,
    identity: Identity,
    data: u64,
}

impl Growth for Writer<'_> {
    type Prepared = Prepared;

    fn prepare(&self, unit: &Unit, bytes: &[u8]) -> Result<Prepared, Error> {
        let runs = data_runs(bytes, PAGE);
        let mut identity = Identity::default();
        for run in &runs {
            let mut at = unit.range.start.saturating_add(u64_of(run.start));
            for page in bytes[run.clone()].chunks(PAGE) {
                identity.add(at, page);
                at = at.saturating_add(u64_of(page.len()));
            }
        }
        Ok(Prepared { runs, identity })
    }

    fn place(
        &mut self,
        unit: &Unit,
        prepared: Prepared,
        out: &mut Vec<Piece>,
    ) -> Result<(), Error> {
        self.identity.join(prepared.identity);
        let block_size = self.block.bytes();
        for run in prepared.runs {
            let mut start = run.start;
            // A run may begin in a block of the unit before, and go on through several.
            while start < run.end {
                let guest = unit.range.start.saturating_add(u64_of(start));
                let within = guest % block_size;
                let left = block_size.get().saturating_sub(within);
                let end = run.end.min(start.saturating_add(usize_of(left)));
                let block = self.place_block(guest / block_size)?;
                out.push(Piece {
                    offset: block.saturating_add(within),
                    bytes: PieceBytes::OfUnit(start..end),
                });
                start = end;
            }
            self.data = self.data.saturating_add(u64_of(run.len()));
        }
        Ok(())
    }
}

impl<'j> Writer<'j> {
    fn new(job: &'j Job<'j>, options: VhdxOptions) -> Result<Self, Error> {
        let size = job.device.size();
        if size > MAX_SIZE {
            return Err(Error::Options {
                reason: format!("a disk of {size} bytes is too large for VHDX, which has 64 TiB"),
            });
        }
        let size = size.next_multiple_of(u64::from(LOGICAL_SECTOR));
        let bytes = options.block_size.unwrap_or_else(|| default_block(size));
        let block = BlockSize::new(bytes).ok_or_else(|| Error::Options {
            reason: format!(
                "a block size of {bytes} bytes: use a power of two, 1048576 to 268435456"
            ),
        })?;
        let sector = SectorSize::new(LOGICAL_SECTOR)
            // It is one of the legal sizes.
            .expect("512 bytes are a sector");
        let chunk_ratio = block.chunk_ratio(sector);
        let blocks = size.div_ceil(block.bytes().get());
        let bat_len = entries(blocks, chunk_ratio)
            .saturating_mul(8)
            .max(1)
            .next_multiple_of(MIB);
        Ok(Self {
            job,
            size,
            block,
            chunk_ratio,
            bat_len,
            window: (0, Vec::new()),
            placed: None,
            end: BAT.saturating_add(bat_len),
            identity: Identity::default(),
            data: 0,
        })
    }

    /// Where a block is, which is the one that was placed last or a later one.
    fn place_block(&mut self, block: u64) -> Result<u64, Error> {
        if let Some((placed, offset)) = self.placed
            && placed == block
        {
            return Ok(offset);
        }
        let offset = self.end;
        self.end = self.end.saturating_add(self.block.bytes().get());
        self.placed = Some((block, offset));
        let index = entries_before(block, self.chunk_ratio);
        if self.window.0 != index / WINDOW {
            self.close_window()?;
            self.window.0 = index / WINDOW;
        }
        self.window.1.resize(usize_of(WINDOW.get()), 0);
        if let Some(entry) = self.window.1.get_mut(usize_of(index % WINDOW)) {
            *entry = offset | raw::FULLY_PRESENT;
        }
        Ok(offset)
    }

    /// Writes the window of the BAT, if it has entries.
    fn close_window(&mut self) -> Result<(), Error> {
        let (number, entries) = (self.window.0, std::mem::take(&mut self.window.1));
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_le_bytes()).collect();
        let before = number.saturating_mul(WINDOW.get()).saturating_mul(8);
        // The last window may go on behind the region, but has nothing there.
        let len = usize_of(self.bat_len.saturating_sub(before)).min(bytes.len());
        self.job.write_at(&bytes[..len], BAT.saturating_add(before))
    }

    fn finish(mut self) -> Result<Written, Error> {
        self.close_window()?;
        let job = self.job;
        job.file.set_len(self.end).map_err(|e| job.failed(e))?;
        job.write_at(&self.metadata(), METADATA.start)?;
        let regions = self.regions();
        for at in raw::REGION_TABLES {
            job.write_at(&regions, at)?;
        }
        for (at, number) in raw::HEADERS.into_iter().zip(1..) {
            job.write_at(&self.header(number), at)?;
        }
        job.write_at(&identifier(), 0)?;
        Ok(Written {
            virtual_size: self.size,
            data: self.data.min(self.size),
        })
    }

    /// One of the headers: the second has the higher number and so is the current one.
    fn header(&self, sequence_number: u64) -> Vec<u8> {
        let mut header = raw::Header::new_zeroed();
        header.signature = raw::SIGNATURE_HEADER;
        header.sequence_number = sequence_number.into();
        header.file_write_guid = self.guid("file");
        header.data_write_guid = self.guid("data");
        header.version = 1.into();
        header.log_length = u32_of(LOG.end.saturating_sub(LOG.start)).into();
        header.log_offset = LOG.start.into();
        sealed(header.as_bytes().to_vec())
    }

    fn regions(&self) -> Vec<u8> {
        let header = raw::RegionTableHeader {
            signature: raw::SIGNATURE_REGIONS,
            checksum: 0.into(),
            entry_count: 2.into(),
            reserved: 0.into(),
        };
        let entry = |guid: Uuid, range: Range<u64>| raw::RegionTableEntry {
            guid: guid.into(),
            file_offset: range.start.into(),
            length: u32_of(range.end.saturating_sub(range.start)).into(),
            required: raw::REGION_REQUIRED.into(),
        };
        let bat = entry(raw::BAT, BAT..BAT.saturating_add(self.bat_len));
        let metadata = entry(raw::METADATA, METADATA);
        let mut table = [header.as_bytes(), bat.as_bytes(), metadata.as_bytes()].concat();
        table.resize(raw::TABLE_LEN, 0);
        sealed(table)
    }

    /// The metadata table and, behind it, its items.
    fn metadata(&self) -> Vec<u8> {
        let parameters = raw::FileParameters {
            block_size: u32_of(self.block.bytes().get()).into(),
            flags: 0.into(),
        };
        let of_disk = raw::ITEM_IS_REQUIRED | raw::ITEM_IS_VIRTUAL_DISK;
        let id = self.guid("disk");
        let items: [(Uuid, u32, &[u8]); 5] = [
            (
                raw::FILE_PARAMETERS,
                raw::ITEM_IS_REQUIRED,
                parameters.as_bytes(),
            ),
            (raw::VIRTUAL_DISK_SIZE, of_disk, &self.size.to_le_bytes()),
            (
                raw::LOGICAL_SECTOR_SIZE,
                of_disk,
                &LOGICAL_SECTOR.to_le_bytes(),
            ),
            (
                raw::PHYSICAL_SECTOR_SIZE,
                of_disk,
                &PHYSICAL_SECTOR.to_le_bytes(),
            ),
            (raw::VIRTUAL_DISK_ID, of_disk, id.as_bytes()),
        ];
        let mut table = raw::MetadataTableHeader {
            signature: raw::SIGNATURE_METADATA,
            reserved: 0.into(),
            // There are five.
            entry_count: u16::try_from(items.len()).unwrap_or(u16::MAX).into(),
            reserved2: [0; 20],
        }
        .as_bytes()
        .to_vec();
        let mut content: Vec<u8> = Vec::new();
        for (item, flags, bytes) in items {
            let offset = raw::TABLE_LEN.saturating_add(content.len());
            let entry = raw::MetadataTableEntry {
                item_id: item.into(),
                offset: u32_of(u64_of(offset)).into(),
                length: u32_of(u64_of(bytes.len())).into(),
                flags: flags.into(),
                reserved2: 0.into(),
            };
            table.extend(entry.as_bytes());
            content.extend(bytes);
        }
        table.resize(raw::TABLE_LEN, 0);
        table.extend(content);
        table
    }

    fn guid(&self, what: &str) -> Guid {
        self.identity.guid(self.size, what).into()
    }
}

/// The file type identifier.
fn identifier() -> Vec<u8> {
    let mut identifier = raw::FileTypeIdentifier::new_zeroed();
    identifier.signature = raw::SIGNATURE;
    for (unit, letter) in identifier.creator.iter_mut().zip("rehost".encode_utf16()) {
        *unit = letter.into();
    }
    identifier.as_bytes().to_vec()
}

/// A structure with its checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&mut bytes);
    if let Some(field) = bytes.get_mut(raw::CHECKSUM) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Sizes that were checked, or are ours, and are below 4 GiB: the largest BAT is half a GiB.
fn u32_of(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn default_block(size: u64) -> u32 {
    let mut block = LEAST_DEFAULT_BLOCK;
    while block < MOST_DEFAULT_BLOCK && size.div_ceil(u64::from(block)) > MANY_BLOCKS {
        block = block.saturating_mul(2);
    }
    block
}

/// A sum over the pages of a disk that are not zero. It tells contents apart that were not made to
/// look alike, whatever pieces the disk is read in, and costs next to nothing beside reading.
#[derive(Clone, Copy, Debug, Default)]
struct Identity(u64, u64);

impl Identity {
    /// Adds a page, by its first byte on the disk.
    fn add(&mut self, at: u64, page: &[u8]) {
        // Two sums of different polynomials: together they fail to tell one change in 2^64.
        let mut other = Crc::new();
        other.update(page);
        let high = u64::from(crc32c::crc32c(page)).wrapping_shl(32);
        let sum = high | u64::from(other.sum());
        let first = mixed(mixed(at) ^ sum);
        self.join(Self(first, mixed(first ^ sum)));
    }

    fn join(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
        self.1 = self.1.wrapping_add(other.1);
    }

    /// A GUID of its own for each thing that needs one.
    fn guid(self, size: u64, what: &str) -> Uuid {
        let salt = u64::from(crc32c::crc32c(what.as_bytes()));
        let high = mixed(self.0 ^ mixed(size ^ salt));
        let low = mixed(self.1 ^ mixed(high));
        Builder::from_u128(u128::from(high).wrapping_shl(64) | u128::from(low))
            .with_version(Version::Custom)
            .with_variant(Variant::RFC4122)
            .into_uuid()
    }
}

/// Every bit of the value in every bit of the result (the last steps of SplitMix64).
fn mixed(value: u64) -> u64 {
    let value = (value ^ value.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value.wrapping_shr(31)
}

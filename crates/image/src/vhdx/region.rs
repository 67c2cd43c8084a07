//! The region tables: where the BAT and the metadata are.

use super::error::{Damage, Feature};
use super::header::checksum;
use super::raw::{self, MIB, RegionTableEntry, RegionTableHeader};
use super::view::View;
use crate::Error;
use crate::error::Feature as AnyFeature;
use ondisk::Cursor;
use std::ops::Range;
use zerocopy::FromBytes;

/// The regions of a file, which do not overlap.
#[derive(Debug)]
pub(super) struct Regions {
    pub(super) bat: Range<u64>,
    pub(super) metadata: Range<u64>,
    /// Everything that blocks cannot be in, by position: the header section, the log, regions.
    pub(super) areas: Vec<Range<u64>>,
}

impl Regions {
    /// Reads the first table, or the second one if the first is damaged. In salvage a BAT that the
    /// file's end cuts passes: what is lost of it is found when it is read.
    pub(super) fn read(view: &View, log: &Range<u64>, salvage: bool) -> Result<Self, Error> {
        for at in raw::REGION_TABLES {
            let mut table = vec![0; raw::TABLE_LEN];
            view.read_exact(at, &mut table)?;
            if let Some(entries) = sound_entries(&mut table) {
                return Self::new(view, &entries, log, salvage);
            }
        }
        Err(Error::corrupt(view.file().path(), Damage::NoRegionTable))
    }

    fn new(
        view: &View,
        entries: &[RegionTableEntry],
        log: &Range<u64>,
        salvage: bool,
    ) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(view.file().path(), damage);
        let (mut bat, mut metadata) = (None, None);
        let header_section = 0..MIB;
        let mut areas = vec![header_section];
        if !log.is_empty() {
            areas.push(log.clone());
        }
        for entry in entries {
            let guid = entry.guid.uuid();
            let (offset, length) = (entry.file_offset.get(), u64::from(entry.length.get()));
            let place = place(offset, length).ok_or_else(|| {
                corrupt(Damage::RegionPlace {
                    guid,
                    offset,
                    length,
                })
            })?;
            let (slot, name) = match guid {
                raw::BAT => (&mut bat, "BAT"),
                raw::METADATA => (&mut metadata, "metadata"),
                _ if entry.required.get() & raw::REGION_REQUIRED != 0 => {
                    let feature = AnyFeature::Vhdx(Feature::Region(guid));
                    return Err(Error::unsupported(view.file().path(), feature));
                }
                _ => {
                    areas.push(place);
                    continue;
                }
            };
            let found_later = salvage && guid == raw::BAT;
            if place.end > view.len() && !found_later {
                let (to, end) = (place.end, view.len());
                return Err(corrupt(Damage::RegionBeyondEnd { guid, to, end }));
            }
            areas.push(place.clone());
            if slot.replace(place).is_some() {
                return Err(corrupt(Damage::RegionTwice(name)));
            }
        }
        areas.sort_by_key(|area| area.start);
        if let Some(pair) = areas.array_windows().find(|[a, b]| a.end > b.start) {
            return Err(corrupt(Damage::RegionsOverlap(pair[1].start)));
        }
        Ok(Self {
            bat: bat.ok_or_else(|| corrupt(Damage::RegionMissing("BAT")))?,
            metadata: metadata.ok_or_else(|| corrupt(Damage::RegionMissing("metadata")))?,
            areas,
        })
    }
}

/// The entries of a table, if its signature, number of entries and checksum are right.
fn sound_entries(table: &mut [u8]) -> Option<Vec<RegionTableEntry>> {
    let (header, _) = RegionTableHeader::read_from_prefix(table).ok()?;
    let count = u64::from(header.entry_count.get());
    let sound = header.signature == raw::SIGNATURE_REGIONS
        && count <= raw::MAX_ENTRIES
        && checksum(table) == header.checksum.get();
    if !sound {
        return None;
    }
    let mut cursor = Cursor::new(table);
    cursor.skip(size_of::<RegionTableHeader>()).ok()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let bytes: [u8; size_of::<RegionTableEntry>()] = cursor.take_array().ok()?;
        entries.push(RegionTableEntry::read_from_bytes(&bytes).ok()?);
    }
    Some(entries)
}

fn place(offset: u64, length: u64) -> Option<Range<u64>> {
    let aligned = offset.is_multiple_of(MIB) && length.is_multiple_of(MIB);
    let end = offset.checked_add(length)?;
    (aligned && offset >= MIB && length > 0).then_some(offset..end)
}

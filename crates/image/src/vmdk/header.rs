//! The header of a sparse extent, or its footer.

use super::entries::Entries;
use super::error::{Damage, Feature};
use super::metadata::Layout;
use super::raw::{self, SECTOR, SparseExtentHeader};
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::cap;
use ondisk::width::usize_of;
use std::num::NonZeroU64;
use zerocopy::FromBytes;

/// A header whose every field can be used. Everything is in bytes.
///
/// Where flag 1 says that there is a second set of tables (`rgdOffset`), it is not read: writers
/// update both and none says which one is right where they differ, so the first one is the truth,
/// as it is for QEMU.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) layout: Layout,
    /// Whether compressed grains follow a marker.
    pub(super) markers: bool,
    /// Position and length of the embedded descriptor.
    pub(super) descriptor: Option<(u64, usize)>,
}

/// Largest grain that is read; the specification's writers use 64 KiB.
const MAX_GRAIN_SECTORS: u64 = 4096;
/// Most entries of a grain table; the specification says 512.
const MAX_TABLE: u32 = 4096;
/// Most entries of a grain directory: 256 TiB in usual grains.
pub(super) const MAX_DIRECTORY: u64 = 8 << 20;
/// Largest extent: far beyond what the directory can map.
pub(super) const MAX_CAPACITY_SECTORS: u64 = 1 << 53;
/// The first sector after the header; `overHead` would say more, but not every writer sets it.
const LEAST_GRAIN: u64 = 2;
/// Most sectors of an embedded descriptor.
const MAX_DESCRIPTOR_SECTORS: u64 = 2048;
/// Bytes at the end of a file in which the footer is looked for.
const FOOTER_REACH: u64 = 64 << 10;

impl Header {
    /// Reads the header of a file that begins with its magic number.
    pub(super) fn read(file: &ImageFile) -> Result<Self, Error> {
        let mut sector = [0; 512];
        file.read_exact(0, &mut sector)?;
        let first = parse(&sector);
        let in_force = if first.gd_offset.get() == raw::GD_AT_END {
            read_footer(file)?
        } else {
            first.clone()
        };
        // A footer knows what was not known when the header was written; the descriptor is older.
        Self::new(file, &in_force, &first)
    }

    fn new(
        file: &ImageFile,
        raw: &SparseExtentHeader,
        first: &SparseExtentHeader,
    ) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let too_large = |error| Error::corrupt(file.path(), error);
        let unsupported = |feature| Error::unsupported(file.path(), AnyFeature::Vmdk(feature));
        let version = raw.version.get();
        if !(1..=3).contains(&version) {
            return Err(unsupported(Feature::Version(version)));
        }
        let flags = raw.flags.get();
        if flags & raw::VALID_LINE_ENDS != 0 && raw.line_ends != raw::LINE_ENDS {
            return Err(corrupt(Damage::LineEnds));
        }
        let grain = grain(file, raw.grain_size.get())?;
        let table_len = raw.num_gtes_per_gt.get();
        let table_len = match NonZeroU64::new(u64::from(table_len)) {
            Some(len) if table_len <= MAX_TABLE => len,
            _ => return Err(corrupt(Damage::TableLength(table_len))),
        };
        let sectors = raw.capacity.get();
        cap::length("capacity", sectors, MAX_CAPACITY_SECTORS).map_err(too_large)?;
        let capacity = sectors.saturating_mul(SECTOR);
        let grains = capacity.div_ceil(grain.get());
        let directory_len = cap::length(
            "the number of grain directory entries",
            grains.div_ceil(table_len.get()),
            MAX_DIRECTORY,
        )
        .map_err(too_large)?;
        let algorithm = raw.compress_algorithm.get();
        if algorithm > raw::DEFLATE {
            return Err(unsupported(Feature::Compression(algorithm)));
        }
        if flags & raw::COMPRESSED != 0 && algorithm == 0 {
            return Err(corrupt(Damage::NoAlgorithm));
        }
        Ok(Self {
            layout: Layout {
                capacity,
                grain,
                table_len,
                directory: raw.gd_offset.get().saturating_mul(SECTOR),
                directory_len,
                entries: Entries::Sectors {
                    least: LEAST_GRAIN,
                    zeroed_grains: flags & raw::ZEROED_GRAINS != 0,
                },
                compressed: algorithm == raw::DEFLATE,
            },
            markers: flags & raw::MARKERS != 0,
            descriptor: match first.descriptor_offset.get() {
                0 => None,
                offset => {
                    let sectors = cap::length(
                        "descriptorSize",
                        first.descriptor_size.get(),
                        MAX_DESCRIPTOR_SECTORS,
                    )
                    .map_err(too_large)?;
                    Some((
                        offset.saturating_mul(SECTOR),
                        sectors.saturating_mul(usize_of(SECTOR)),
                    ))
                }
            },
        })
    }
}

/// Bytes of a grain that a header counts in sectors.
pub(super) fn grain(file: &ImageFile, sectors: u64) -> Result<NonZeroU64, Error> {
    if !sectors.is_power_of_two() {
        return Err(Error::corrupt(file.path(), Damage::GrainSize(sectors)));
    }
    if sectors > MAX_GRAIN_SECTORS {
        let feature = Feature::GrainSize(sectors, MAX_GRAIN_SECTORS);
        return Err(Error::unsupported(file.path(), AnyFeature::Vmdk(feature)));
    }
    let grain = NonZeroU64::new(sectors.saturating_mul(SECTOR))
        // A power of two is not zero.
        .expect("grains have a sector");
    Ok(grain)
}

fn parse(sector: &[u8; 512]) -> SparseExtentHeader {
    SparseExtentHeader::read_from_bytes(sector)
        // The sector has the size of the structure.
        .expect("sizes agree")
}

/// The footer stands between its marker and the end-of-stream marker, which is a sector of zeros;
/// more zeros may follow, where the file was padded.
fn read_footer(file: &ImageFile) -> Result<SparseExtentHeader, Error> {
    let no_footer = || Error::corrupt(file.path(), Damage::NoFooter);
    let whole = file.len().saturating_sub(file.len() % SECTOR);
    let start = whole.saturating_sub(FOOTER_REACH);
    let mut tail = vec![0; usize_of(whole.saturating_sub(start))];
    file.read_exact(start, &mut tail)?;
    let (sectors, _) = tail.as_chunks::<512>();
    let last = sectors
        .iter()
        .rposition(|sector| sector.iter().any(|b| *b != 0))
        .ok_or_else(no_footer)?;
    let marker = last
        .checked_sub(1)
        .and_then(|index| sectors.get(index))
        .ok_or_else(no_footer)?;
    let marker_type = marker.get(12..16).unwrap_or_default();
    let followed = last.saturating_add(1) < sectors.len();
    let footer = parse(&sectors[last]);
    let sound = footer.magic_number == raw::MAGIC_SPARSE
        && marker_type == raw::MARKER_FOOTER.to_le_bytes()
        && footer.gd_offset.get() != raw::GD_AT_END
        && followed;
    if sound { Ok(footer) } else { Err(no_footer()) }
}

//! The headers of a seSparse extent, which ESXi makes for snapshots of large disks, and of all
//! disks on VMFS 6.

use super::entries::{Area, Entries};
use super::error::{Damage, Feature};
use super::header::MAX_CAPACITY_SECTORS;
use super::metadata::Layout;
use super::raw::{self, SECTOR, SeSparseConstHeader, SeSparseVolatileHeader};
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::cap;
use std::num::NonZeroU64;
use zerocopy::FromBytes;

/// Bytes of a grain.
const GRAIN: NonZeroU64 = NonZeroU64::new(4096).unwrap();
/// Entries of a grain table.
const TABLE_LEN: NonZeroU64 = NonZeroU64::new(4096).unwrap();
const _: () = assert!(raw::SESPARSE_GRAIN * SECTOR == GRAIN.get());
const _: () = assert!(raw::SESPARSE_TABLE * SECTOR == TABLE_LEN.get() * 8);
/// Most entries of a grain directory: 128 TiB, twice the largest disk of ESXi.
const MAX_DIRECTORY: u64 = 8 << 20;
/// Entries in a sector of the grain directory.
const ENTRIES_PER_SECTOR: u64 = SECTOR / 8;

/// Reads the headers of a file that begins with the magic number.
///
/// The free bitmap and the map back from grains to the guest are for writers. A journal that has
/// to be replayed is refused: nobody outside of VMware knows what is in it.
pub(super) fn read(file: &ImageFile) -> Result<Layout, Error> {
    let mut sector = [0; 512];
    file.read_exact(0, &mut sector)?;
    let raw = SeSparseConstHeader::read_from_bytes(&sector)
        // The sector has the size of the structure.
        .expect("sizes agree");
    for (name, field, known) in [
        ("version", raw.version, raw::SESPARSE_VERSION),
        ("grain size", raw.grain_size, raw::SESPARSE_GRAIN),
        (
            "grain table size",
            raw.grain_table_size,
            raw::SESPARSE_TABLE,
        ),
        ("flags", raw.flags, 0),
        ("first reserved field", raw.reserved[0], 0),
        ("second reserved field", raw.reserved[1], 0),
        ("third reserved field", raw.reserved[2], 0),
        ("fourth reserved field", raw.reserved[3], 0),
    ] {
        let value = field.get();
        if value != known {
            return Err(Error::unsupported(
                file.path(),
                AnyFeature::Vmdk(Feature::SeSparse { name, value, known }),
            ));
        }
    }
    check_volatile(file, raw.volatile_header_offset.get())?;
    let too_large = |error| Error::corrupt(file.path(), error);
    let sectors = raw.capacity.get();
    cap::length("capacity", sectors, MAX_CAPACITY_SECTORS).map_err(too_large)?;
    let capacity = sectors.saturating_mul(SECTOR);
    let needed = capacity.div_ceil(TABLE_LEN.saturating_mul(GRAIN).get());
    let directory_len = cap::length(
        "the number of grain directory entries",
        needed,
        MAX_DIRECTORY,
    )
    .map_err(too_large)?;
    let have = raw.grain_dir_size.get().saturating_mul(ENTRIES_PER_SECTOR);
    if have < needed {
        return Err(Error::corrupt(
            file.path(),
            Damage::ShortDirectory { have, needed },
        ));
    }
    let bytes = |sectors: zerocopy::little_endian::U64| sectors.get().saturating_mul(SECTOR);
    Ok(Layout {
        capacity,
        grain: GRAIN,
        table_len: TABLE_LEN,
        directory: bytes(raw.grain_dir_offset),
        directory_len,
        entries: Entries::SeSparse {
            tables: Area {
                start: bytes(raw.grain_tables_offset),
                len: bytes(raw.grain_tables_size),
            },
            grains: Area {
                start: bytes(raw.grains_offset),
                len: bytes(raw.grains_size),
            },
        },
        compressed: false,
    })
}

fn check_volatile(file: &ImageFile, offset: u64) -> Result<(), Error> {
    let mut sector = [0; 512];
    let offset = offset.saturating_mul(SECTOR);
    file.read_exact(offset, &mut sector)?;
    let raw = SeSparseVolatileHeader::read_from_bytes(&sector)
        // The sector has the size of the structure.
        .expect("sizes agree");
    if raw.magic != raw::MAGIC_SESPARSE_VOLATILE {
        let damage = Damage::VolatileMagic(offset);
        return Err(Error::corrupt(file.path(), damage));
    }
    if raw.replay_journal.get() != 0 {
        let feature = AnyFeature::Vmdk(Feature::Journal);
        return Err(Error::unsupported(file.path(), feature));
    }
    Ok(())
}

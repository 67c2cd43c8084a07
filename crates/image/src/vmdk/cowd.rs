//! The header of a COWD file: a sparse extent of VMFS, which ESX makes for snapshots.

use super::entries::Entries;
use super::error::{Damage, Feature};
use super::header;
use super::metadata::Layout;
use super::raw::{self, CowDiskHeader, SECTOR};
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::width::usize_of;
use std::num::NonZeroU64;
use zerocopy::FromBytes;

/// Entries of a grain table.
const TABLE_LEN: NonZeroU64 = NonZeroU64::new(4096).unwrap();

/// Reads the header of a file that begins with its magic number.
///
/// `uncleanShutdown` is not looked at: ESX writes tables before it tells the guest, and the file of
/// a running machine, of which a copy was taken, always has it.
pub(super) fn read(file: &ImageFile) -> Result<Layout, Error> {
    let mut sector = [0; 512];
    file.read_exact(0, &mut sector)?;
    let raw = CowDiskHeader::read_from_bytes(&sector)
        // The sector has the size of the structure.
        .expect("sizes agree");
    let unsupported = |feature| Error::unsupported(file.path(), AnyFeature::Vmdk(feature));
    let version = raw.version.get();
    if version != raw::COWD_VERSION {
        return Err(unsupported(Feature::CowdVersion(version)));
    }
    let flags = raw.flags.get();
    if flags & !raw::COWD_FLAGS != 0 {
        return Err(unsupported(Feature::CowdFlags(flags)));
    }
    let sectors = u64::from(raw.num_sectors.get());
    let grain = header::grain(file, u64::from(raw.grain_size.get()))?;
    let table_span = TABLE_LEN.saturating_mul(grain);
    let capacity = sectors.saturating_mul(SECTOR);
    let needed = capacity.div_ceil(table_span.get());
    let have = u64::from(raw.num_gd_entries.get());
    if have < needed {
        return Err(Error::corrupt(
            file.path(),
            Damage::ShortDirectory { have, needed },
        ));
    }
    Ok(Layout {
        capacity,
        grain,
        table_len: TABLE_LEN,
        directory: u64::from(raw.gd_offset.get()).saturating_mul(SECTOR),
        // An entry maps 2 MiB at least, and 32 bits count no more than 2 TiB of sectors.
        directory_len: usize_of(needed),
        entries: Entries::Sectors {
            least: raw::COWD_HEADER,
            zeroed_grains: false,
        },
        compressed: false,
    })
}

//! Cylinders, heads and sectors: how large a disk is for those who go by them.

use super::raw::{Geometry, SECTOR};

/// The largest geometry that there is; larger disks have it too, so it says nothing.
const MAX_SECTORS: u64 = 65_535 * 16 * 255;
/// Programs that size the disks they made by geometry. Everybody else goes by `current_size`,
/// as QEMU decides it since version 10.
const GEOMETRY_MAKERS: [[u8; 4]; 2] = [*b"vpc ", *b"qemu"];

/// Whether the geometry, not `current_size`, is how large the disk is.
///
/// Virtual PC shows its guests only what the geometry reaches, and QEMU rounded sizes so that they
/// agreed with it before it knew a way to tell readers otherwise.
pub(super) fn decides(creator_application: [u8; 4], geometry: Geometry) -> bool {
    GEOMETRY_MAKERS.contains(&creator_application) && sectors(geometry) != MAX_SECTORS
}

/// Bytes that a geometry reaches.
pub(super) fn bytes(geometry: Geometry) -> u64 {
    sectors(geometry).saturating_mul(SECTOR)
}

fn sectors(geometry: Geometry) -> u64 {
    u64::from(geometry.cylinders.get())
        .saturating_mul(u64::from(geometry.heads))
        .saturating_mul(u64::from(geometry.sectors_per_track))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_makers_go_by_geometry_and_never_by_the_largest() {
        let geometry = |cylinders: u16, heads, sectors_per_track| Geometry {
            cylinders: cylinders.into(),
            heads,
            sectors_per_track,
        };
        for (maker, by_geometry) in [
            (b"vpc ", true),
            (b"qemu", true),
            (b"qem2", false),
            (b"win ", false),
            (b"vs  ", false),
            (b"vbox", false),
            (b"d2v\0", false),
        ] {
            assert_eq!(decides(*maker, geometry(2080, 16, 63)), by_geometry);
            assert!(!decides(*maker, geometry(65_535, 16, 255)));
        }
    }
}

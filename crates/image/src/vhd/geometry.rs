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

/// The geometry of a disk of so many bytes, as the appendix of the specification computes it: it
/// reaches as far or not quite as far.
pub(super) fn of_size(size: u64) -> Geometry {
    let sectors = (size / SECTOR).min(MAX_SECTORS);
    let (heads, track) = if sectors >= 65_535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads.saturating_mul(1024) {
            (heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    let cylinders = sectors
        .checked_div(track)
        .and_then(|tracks| tracks.checked_div(heads))
        .unwrap_or(0);
    // The sectors are capped by the largest geometry, so everything fits.
    Geometry {
        cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX).into(),
        heads: u8::try_from(heads).unwrap_or(u8::MAX),
        sectors_per_track: u8::try_from(track).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Geometries that others wrote into their footers: QEMU, Hyper-V.
    #[test]
    fn geometries_are_those_of_other_writers() {
        for (size, cylinders, heads, track) in [
            (104_448, 3, 4, 17),
            (1_079_296, 31, 4, 17),
            (4_212_736, 121, 4, 17),
            (10_485_760, 301, 4, 17),
            (136_365_211_648, 65_278, 16, 255),
            (2040 << 30, 65_535, 16, 255),
            (1 << 30, 2080, 16, 63),
            (0, 0, 4, 17),
        ] {
            let geometry = of_size(size);
            assert_eq!(
                (
                    geometry.cylinders.get(),
                    geometry.heads,
                    geometry.sectors_per_track
                ),
                (cylinders, heads, track),
                "{size}"
            );
            assert!(bytes(geometry) <= size);
        }
    }

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

//! What the entries of grain directories and grain tables mean.

use super::error::Damage;
use super::raw::{self, SECTOR};
use std::num::NonZeroU64;

/// How an extent writes its entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries {
    /// Hosted extents and COWD: sector numbers of 32 bits.
    Sectors {
        /// The first sector in which a grain may be.
        least: u64,
        /// Whether the number 1 stands for zeros.
        zeroed_grains: bool,
    },
    /// seSparse: a kind and a number of 64 bits, counted inside of the areas.
    SeSparse { tables: Area, grains: Area },
}

/// A part of the file. Everything is in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// Where a grain is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Grain {
    /// The parent decides.
    Parent,
    Zero,
    /// At a byte of the file.
    At(u64),
}

impl Entries {
    /// Bytes of an entry.
    pub(super) fn width(self) -> NonZeroU64 {
        match self {
            Self::Sectors { .. } => FOUR,
            Self::SeSparse { .. } => EIGHT,
        }
    }

    /// The position of the table of `table_bytes` that a directory entry (which stands at byte
    /// `at`) points to, if it points to one.
    pub(super) fn table(
        self,
        entry: u64,
        at: u64,
        table_bytes: u64,
    ) -> Result<Option<u64>, Damage> {
        if entry == 0 {
            return Ok(None);
        }
        match self {
            Self::Sectors { .. } => Ok(Some(entry.saturating_mul(SECTOR))),
            Self::SeSparse { tables, .. } => {
                let number = entry & u64::from(u32::MAX);
                if entry >> 32 != raw::SESPARSE_TABLE_PRESENT {
                    return Err(Damage::Entry { at, entry });
                }
                tables.place(number, table_bytes, at, entry).map(Some)
            }
        }
    }

    /// What a table entry, which stands at byte `at`, says about a grain of `grain_bytes`.
    pub(super) fn grain(self, entry: u64, at: u64, grain_bytes: u64) -> Result<Grain, Damage> {
        if entry == 0 {
            return Ok(Grain::Parent);
        }
        match self {
            Self::Sectors {
                zeroed_grains: true,
                ..
            } if entry == raw::ZEROED => Ok(Grain::Zero),
            Self::Sectors { least, .. } if entry < least => {
                Err(Damage::GrainInHeader { at, entry })
            }
            Self::Sectors { .. } => Ok(Grain::At(entry.saturating_mul(SECTOR))),
            Self::SeSparse { grains, .. } => match entry & raw::SESPARSE_KIND {
                // The guest gave these grains back: they read as zeros, whatever the parent has.
                raw::SESPARSE_UNMAPPED | raw::SESPARSE_ZERO => Ok(Grain::Zero),
                raw::SESPARSE_ALLOCATED => {
                    // The twelve bits below the kind are the lowest ones of the number.
                    let number = (entry >> 48) & 0xfff | (entry & 0xffff_ffff_ffff) << 12;
                    grains.place(number, grain_bytes, at, entry).map(Grain::At)
                }
                _ => Err(Damage::Entry { at, entry }),
            },
        }
    }
}

impl Area {
    /// Where the thing with a number begins, if all of it is inside.
    fn place(self, number: u64, bytes: u64, at: u64, entry: u64) -> Result<u64, Damage> {
        number
            .checked_mul(bytes)
            .filter(|start| start.saturating_add(bytes) <= self.len)
            .and_then(|start| self.start.checked_add(start))
            .ok_or(Damage::OutsideArea { at, entry })
    }
}

const FOUR: NonZeroU64 = NonZeroU64::new(4).unwrap();
const EIGHT: NonZeroU64 = NonZeroU64::new(8).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_numbers_below_the_first_grain_are_damage() {
        let hosted = |zeroed_grains| Entries::Sectors {
            least: 2,
            zeroed_grains,
        };
        assert_eq!(hosted(false).grain(0, 9, 512), Ok(Grain::Parent));
        assert_eq!(hosted(true).grain(1, 9, 512), Ok(Grain::Zero));
        assert_eq!(
            hosted(false).grain(1, 9, 512),
            Err(Damage::GrainInHeader { at: 9, entry: 1 })
        );
        assert_eq!(hosted(false).grain(2, 9, 512), Ok(Grain::At(1024)));
        assert_eq!(hosted(false).table(7, 9, 512), Ok(Some(3584)));
    }

    #[test]
    fn every_kind_of_a_sesparse_entry_is_told() {
        let area = |start, len| Area { start, len };
        let entries = Entries::SeSparse {
            tables: area(1 << 20, 3 << 15),
            grains: area(1 << 30, 1 << 40),
        };
        let grain = |entry| entries.grain(entry, 8, 4096);
        assert_eq!(grain(0), Ok(Grain::Parent));
        assert_eq!(grain(1 << 60), Ok(Grain::Zero));
        assert_eq!(grain((2 << 60) | 77), Ok(Grain::Zero));
        // 0x005 are the low twelve bits, 2 is what is above them.
        let at = (1 << 30) + 0x2005 * 4096;
        assert_eq!(grain((3 << 60) | (5 << 48) | 2), Ok(Grain::At(at)));
        for entry in [1, 4 << 60, 0xf << 60] {
            assert_eq!(grain(entry), Err(Damage::Entry { at: 8, entry }));
        }
        for entry in [(3 << 60) | (1 << 16), u64::MAX >> 2] {
            assert_eq!(grain(entry), Err(Damage::OutsideArea { at: 8, entry }));
        }
        let table = |entry| entries.table(entry, 8, 1 << 15);
        assert_eq!(table(0), Ok(None));
        assert_eq!(table((1 << 60) | 2), Ok(Some((1 << 20) + (2 << 15))));
        let entry = (1 << 60) | 3;
        assert_eq!(table(entry), Err(Damage::OutsideArea { at: 8, entry }));
        for entry in [2, (1 << 60) | (1 << 32), 3 << 60] {
            assert_eq!(table(entry), Err(Damage::Entry { at: 8, entry }));
        }
    }
}

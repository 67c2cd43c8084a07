//! Features: which are known, their names, and which of them stop reading or writing.
//!
//! Version 4 keeps them in `sb_versionnum` and `sb_features2`; version 5 has words of its own and
//! implies most of the old ones. Both end up as the questions of [`Features`].

use crate::error::{CorruptKind, Error, UnsupportedKind};

/// Bits of `sb_versionnum`.
pub(crate) mod version {
    pub(crate) const NUMBER: u16 = 0xf;
    pub(crate) const ATTR: u16 = 0x10;
    pub(crate) const NLINK: u16 = 0x20;
    pub(crate) const QUOTA: u16 = 0x40;
    pub(crate) const ALIGN: u16 = 0x80;
    pub(crate) const SHARED: u16 = 0x200;
    pub(crate) const DIRV2: u16 = 0x2000;
    pub(crate) const ASCII_CI: u16 = 0x4000;
    pub(crate) const MOREBITS: u16 = 0x8000;
}

/// Bits of `sb_features2`.
pub(crate) mod features2 {
    pub(crate) const LAZY_COUNT: u32 = 0x2;
    pub(crate) const ATTR2: u32 = 0x8;
    pub(crate) const PARENT: u32 = 0x10;
    pub(crate) const FTYPE: u32 = 0x200;
}

/// Bits that must be known to write.
pub(crate) mod ro_compat {
    pub(crate) const FINOBT: u32 = 0x1;
    pub(crate) const RMAPBT: u32 = 0x2;
    pub(crate) const REFLINK: u32 = 0x4;
    pub(crate) const INOBTCNT: u32 = 0x8;
}

/// Bits that must be known to read.
pub(crate) mod incompat {
    pub(crate) const FTYPE: u32 = 0x1;
    pub(crate) const SPINODES: u32 = 0x2;
    pub(crate) const META_UUID: u32 = 0x4;
    pub(crate) const BIGTIME: u32 = 0x8;
    pub(crate) const NEEDSREPAIR: u32 = 0x10;
    pub(crate) const NREXT64: u32 = 0x20;
    pub(crate) const EXCHRANGE: u32 = 0x40;
    pub(crate) const PARENT: u32 = 0x80;
}

/// What reading knows.
const READABLE: u32 = incompat::FTYPE
    | incompat::SPINODES
    | incompat::META_UUID
    | incompat::BIGTIME
    | incompat::NEEDSREPAIR
    | incompat::NREXT64
    | incompat::EXCHRANGE
    | incompat::PARENT;

/// Of [`READABLE`], what writing refuses. Parent pointers would have to be kept with every name;
/// what needs repair is not to be trusted with more.
const NOT_WRITABLE: u32 = incompat::NEEDSREPAIR | incompat::PARENT;

/// Read-only compatible bits that writing knows.
const WRITABLE_RO: u32 =
    ro_compat::FINOBT | ro_compat::RMAPBT | ro_compat::REFLINK | ro_compat::INOBTCNT;

/// The feature words of a superblock, with only incompatible bits that reading knows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Features {
    version: u16,
    features2: u32,
    compat: u32,
    ro_compat: u32,
    incompat: u32,
}

/// The feature words as they lie in a superblock; those of version 5 count in it only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Words {
    pub(crate) versionnum: u16,
    pub(crate) features2: u32,
    pub(crate) compat: u32,
    pub(crate) ro_compat: u32,
    pub(crate) incompat: u32,
}

impl Features {
    /// Accepts the words of a superblock.
    ///
    /// # Errors
    /// Versions but 4 and 5, directories of version 1, and incompatible bits that reading does not
    /// know, by name.
    pub(crate) fn parse(words: Words) -> Result<Self, Error> {
        let Words {
            versionnum,
            features2,
            compat,
            ro_compat,
            incompat,
        } = words;
        let number = versionnum & version::NUMBER;
        if number != 4 && number != 5 {
            return Err(CorruptKind::Superblock {
                field: "version in sb_versionnum",
                value: number.into(),
                expected: "4 or 5",
            }
            .into());
        }
        let mut unknown = Vec::new();
        if versionnum & version::DIRV2 == 0 {
            unknown.push("directories of version 1".to_owned());
        }
        if versionnum & version::SHARED != 0 {
            unknown.push("shared".to_owned());
        }
        let features2 = if versionnum & version::MOREBITS == 0 {
            0
        } else {
            features2
        };
        if number == 4 {
            if !unknown.is_empty() {
                let names = unknown.join(", ");
                return Err(UnsupportedKind::Incompatible { names }.into());
            }
            return Ok(Self {
                version: versionnum,
                features2,
                ..Self::default()
            });
        }
        unknown.extend(names(INCOMPAT, incompat & !READABLE, "incompat"));
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            return Err(UnsupportedKind::Incompatible { names }.into());
        }
        Ok(Self {
            version: versionnum,
            features2,
            compat,
            ro_compat,
            incompat,
        })
    }

    /// Checks that every feature is one that writing knows.
    ///
    /// # Errors
    /// Those that it does not know, by name.
    pub(crate) fn check_writable(self) -> Result<(), Error> {
        let mut refused = names(INCOMPAT, self.incompat & NOT_WRITABLE, "incompat");
        refused.extend(names(RO_COMPAT, self.ro_compat & !WRITABLE_RO, "ro_compat"));
        if self.features2 & features2::PARENT != 0 {
            refused.push("parent of version 4".to_owned());
        }
        if !self.nlink() {
            refused.push("inodes of version 1".to_owned());
        }
        if self.ascii_ci() {
            refused.push("ascii-ci".to_owned());
        }
        if refused.is_empty() {
            return Ok(());
        }
        let names = refused.join(", ");
        Err(UnsupportedKind::WriteFeature { names }.into())
    }

    /// Whether this is version 5: metadata is summed and says where it belongs.
    pub(crate) fn v5(self) -> bool {
        self.version & version::NUMBER == 5
    }

    /// Whether directory entries say what they name.
    pub(crate) fn ftype(self) -> bool {
        self.incompat & incompat::FTYPE != 0 || self.features2 & features2::FTYPE != 0
    }

    /// Whether names are compared without regard to the case of ASCII letters.
    pub(crate) fn ascii_ci(self) -> bool {
        self.version & version::ASCII_CI != 0
    }

    /// Whether the superblock's counters are written at unmount only.
    pub(crate) fn lazy_counters(self) -> bool {
        self.v5() || self.features2 & features2::LAZY_COUNT != 0
    }

    /// Whether the border between the forks of an inode may lie anywhere.
    pub(crate) fn attr2(self) -> bool {
        self.v5() || self.features2 & features2::ATTR2 != 0
    }

    /// Notes that there are extended attributes.
    pub(crate) fn add_attr(&mut self) {
        self.version |= version::ATTR;
    }

    /// Whether inodes may have the version 2, which counts links with 32 bits.
    pub(crate) fn nlink(self) -> bool {
        self.v5() || self.version & version::NLINK != 0
    }

    /// Whether chunks of inodes are aligned.
    pub(crate) fn aligned_inodes(self) -> bool {
        self.version & version::ALIGN != 0
    }

    /// Whether quota was ever on.
    pub(crate) fn quota(self) -> bool {
        self.version & version::QUOTA != 0
    }

    /// Whether a tree of chunks with free inodes is kept.
    pub(crate) fn finobt(self) -> bool {
        self.ro_compat & ro_compat::FINOBT != 0
    }

    /// Whether a tree says who owns each block.
    pub(crate) fn rmapbt(self) -> bool {
        self.ro_compat & ro_compat::RMAPBT != 0
    }

    /// Whether files may share blocks.
    pub(crate) fn reflink(self) -> bool {
        self.ro_compat & ro_compat::REFLINK != 0
    }

    /// Whether the blocks of inode trees are counted in the group's header.
    pub(crate) fn inobtcount(self) -> bool {
        self.ro_compat & ro_compat::INOBTCNT != 0
    }

    /// Whether chunks of inodes may have holes.
    pub(crate) fn sparse_inodes(self) -> bool {
        self.incompat & incompat::SPINODES != 0
    }

    /// Whether metadata carries another identifier than the one users see.
    pub(crate) fn meta_uuid(self) -> bool {
        self.incompat & incompat::META_UUID != 0
    }

    /// Whether inodes may count time from 1901 in nanoseconds.
    pub(crate) fn bigtime(self) -> bool {
        self.incompat & incompat::BIGTIME != 0
    }

    /// Whether inodes may have large counts of extents.
    pub(crate) fn nrext64(self) -> bool {
        self.incompat & incompat::NREXT64 != 0
    }

    /// Names as `xfs_info` and `xfs_db` print them.
    pub(crate) fn names(self) -> Vec<String> {
        let mut all = vec![if self.v5() { "v5" } else { "v4" }.to_owned()];
        let old = [
            (self.ftype(), "ftype"),
            (self.ascii_ci(), "ascii-ci"),
            (self.attr2(), "attr2"),
            (self.lazy_counters(), "lazy-count"),
            (self.quota(), "quota"),
        ];
        let set = old.iter().filter(|(set, _)| *set);
        all.extend(set.map(|(_, name)| (*name).to_owned()));
        all.extend(names(
            INCOMPAT,
            self.incompat & !incompat::FTYPE,
            "incompat",
        ));
        all.extend(names(RO_COMPAT, self.ro_compat, "ro_compat"));
        all.extend(names(&[], self.compat, "compat"));
        all
    }
}

const INCOMPAT: &[(u32, &str)] = &[
    (incompat::FTYPE, "ftype"),
    (incompat::SPINODES, "sparse"),
    (incompat::META_UUID, "meta_uuid"),
    (incompat::BIGTIME, "bigtime"),
    (incompat::NEEDSREPAIR, "needsrepair"),
    (incompat::NREXT64, "nrext64"),
    (incompat::EXCHRANGE, "exchange"),
    (incompat::PARENT, "parent"),
    (0x100, "metadir"),
    (0x200, "zoned"),
    (0x400, "zone_gaps"),
];

const RO_COMPAT: &[(u32, &str)] = &[
    (ro_compat::FINOBT, "finobt"),
    (ro_compat::RMAPBT, "rmapbt"),
    (ro_compat::REFLINK, "reflink"),
    (ro_compat::INOBTCNT, "inobtcount"),
];

/// The names of the bits that are set; those without a name by their number.
fn names(known: &[(u32, &str)], word: u32, kind: &str) -> Vec<String> {
    let bits = (0..u32::BITS).map(|bit| 1_u32 << bit);
    bits.filter(|bit| word & bit != 0)
        .map(|bit| {
            let name = known.iter().find(|(known, _)| *known == bit);
            name.map_or_else(
                || format!("{kind} {bit:#x}"),
                |(_, name)| (*name).to_owned(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v5(incompat: u32, ro_compat: u32) -> Result<Features, Error> {
        Features::parse(Words {
            versionnum: 0xb4a5,
            incompat,
            ro_compat,
            ..Words::default()
        })
    }

    #[test]
    fn unknown_incompatible_bits_are_refused_by_name() {
        let error = v5(0x100 | 0x4000, 0).unwrap_err();
        let Error::Unsupported(what) = error else {
            panic!("{error}");
        };
        assert_eq!(
            what.to_string(),
            "incompatible feature metadir, incompat 0x4000"
        );
    }

    #[test]
    fn what_is_unknown_to_writers_only_can_be_read() {
        let features = v5(incompat::NEEDSREPAIR, 0x40).unwrap();
        let Err(Error::Unsupported(what)) = features.check_writable() else {
            panic!("writable");
        };
        assert_eq!(
            what.to_string(),
            "writing with feature needsrepair, ro_compat 0x40"
        );
    }
}

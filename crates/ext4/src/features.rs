//! Feature bits: which are known, their names, and which of them stop reading or writing.

use crate::error::{Error, UnsupportedKind};

/// The three feature words of a superblock, with only incompatible bits that reading knows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Features {
    /// `s_feature_compat`.
    pub(crate) compat: u32,
    /// `s_feature_incompat`.
    pub(crate) incompat: u32,
    /// `s_feature_ro_compat`.
    pub(crate) ro_compat: u32,
}

/// Bits that any system may ignore.
pub(crate) mod compat {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const EXT_ATTR: u32 = 0x8;
    pub(crate) const DIR_INDEX: u32 = 0x20;
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
    pub(crate) const FAST_COMMIT: u32 = 0x400;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}

/// Bits that must be known to read.
pub(crate) mod incompat {
    pub(crate) const COMPRESSION: u32 = 0x1;
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const JOURNAL_DEV: u32 = 0x8;
    pub(crate) const META_BG: u32 = 0x10;
    pub(crate) const EXTENTS: u32 = 0x40;
    pub(crate) const BIT64: u32 = 0x80;
    pub(crate) const MMP: u32 = 0x100;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const EA_INODE: u32 = 0x400;
    pub(crate) const DIRDATA: u32 = 0x1000;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGEDIR: u32 = 0x4000;
    pub(crate) const INLINE_DATA: u32 = 0x8000;
    pub(crate) const ENCRYPT: u32 = 0x1_0000;
    pub(crate) const CASEFOLD: u32 = 0x2_0000;
}

/// Bits that must be known to write.
pub(crate) mod ro_compat {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const EXTRA_ISIZE: u32 = 0x40;
    pub(crate) const QUOTA: u32 = 0x100;
    pub(crate) const BIGALLOC: u32 = 0x200;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const VERITY: u32 = 0x8000;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x1_0000;
}

/// What reading knows. Encrypted and case-folding directories are looked at node by node.
const READABLE: u32 = incompat::FILETYPE
    | incompat::RECOVER
    | incompat::META_BG
    | incompat::EXTENTS
    | incompat::BIT64
    | incompat::MMP
    | incompat::FLEX_BG
    | incompat::EA_INODE
    | incompat::CSUM_SEED
    | incompat::LARGEDIR
    | incompat::INLINE_DATA
    | incompat::ENCRYPT
    | incompat::CASEFOLD;

/// Of [`READABLE`], what writing does not know. Encrypted nodes are refused one by one: without
/// the key the names in an encrypted directory cannot be made.
const NOT_WRITABLE: u32 = incompat::CASEFOLD | incompat::ENCRYPT | incompat::EA_INODE;

/// Read-only compatible bits that writing knows.
const WRITABLE_RO: u32 = ro_compat::SPARSE_SUPER
    | ro_compat::LARGE_FILE
    | ro_compat::HUGE_FILE
    | ro_compat::GDT_CSUM
    | ro_compat::DIR_NLINK
    | ro_compat::EXTRA_ISIZE
    | ro_compat::METADATA_CSUM
    | ro_compat::VERITY
    | ro_compat::ORPHAN_PRESENT;

impl Features {
    /// Accepts the words of a superblock.
    ///
    /// # Errors
    /// An incompatible bit that reading does not know, by name.
    pub(crate) fn parse(compat: u32, incompat: u32, ro_compat: u32) -> Result<Self, Error> {
        let unknown = incompat & !READABLE;
        if unknown != 0 {
            return Err(UnsupportedKind::Incompatible {
                names: names(INCOMPAT, unknown, 'I').join(", "),
            }
            .into());
        }
        Ok(Self {
            compat,
            incompat,
            ro_compat,
        })
    }

    /// Checks that every feature is one that writing knows.
    ///
    /// # Errors
    /// Those that it does not know, by name.
    pub(crate) fn check_writable(self) -> Result<(), Error> {
        let mut refused = names(INCOMPAT, self.incompat & NOT_WRITABLE, 'I');
        refused.extend(names(RO_COMPAT, self.ro_compat & !WRITABLE_RO, 'R'));
        if refused.is_empty() {
            Ok(())
        } else {
            Err(UnsupportedKind::WriteFeature {
                names: refused.join(", "),
            }
            .into())
        }
    }

    /// Whether a compatible bit is set.
    pub(crate) fn compat(self, bit: u32) -> bool {
        self.compat & bit != 0
    }

    /// Whether an incompatible bit is set.
    pub(crate) fn incompat(self, bit: u32) -> bool {
        self.incompat & bit != 0
    }

    /// Whether a read-only compatible bit is set.
    pub(crate) fn ro_compat(self, bit: u32) -> bool {
        self.ro_compat & bit != 0
    }

    /// Whether metadata is summed by crc32c.
    pub(crate) fn metadata_csum(self) -> bool {
        self.ro_compat(ro_compat::METADATA_CSUM)
    }

    /// Whether group descriptors are summed, and so their flags for lazy bitmaps count.
    pub(crate) fn group_csum(self) -> bool {
        self.ro_compat(ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM)
    }

    /// All names, in the order of `dumpe2fs`.
    pub(crate) fn names(self) -> Vec<String> {
        let mut all = names(COMPAT, self.compat, 'C');
        all.extend(names(INCOMPAT, self.incompat, 'I'));
        all.extend(names(RO_COMPAT, self.ro_compat, 'R'));
        all
    }
}

/// The names of the bits in `word`; those without one are called as `dumpe2fs` does.
fn names(table: &[(u32, &str)], word: u32, letter: char) -> Vec<String> {
    (0..u32::BITS)
        .filter(|bit| word & (1_u32 << bit) != 0)
        .map(|bit| {
            table
                .iter()
                .find(|(known, _)| *known == 1_u32 << bit)
                .map_or_else(|| format!("FEATURE_{letter}{bit}"), |(_, n)| (*n).into())
        })
        .collect()
}

const COMPAT: &[(u32, &str)] = &[
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (compat::HAS_JOURNAL, "has_journal"),
    (compat::EXT_ATTR, "ext_attr"),
    (0x10, "resize_inode"),
    (compat::DIR_INDEX, "dir_index"),
    (0x40, "lazy_bg"),
    (0x100, "snapshot_bitmap"),
    (compat::SPARSE_SUPER2, "sparse_super2"),
    (compat::FAST_COMMIT, "fast_commit"),
    (0x800, "stable_inodes"),
    (compat::ORPHAN_FILE, "orphan_file"),
];

const INCOMPAT: &[(u32, &str)] = &[
    (incompat::COMPRESSION, "compression"),
    (incompat::FILETYPE, "filetype"),
    (incompat::RECOVER, "needs_recovery"),
    (incompat::JOURNAL_DEV, "journal_dev"),
    (incompat::META_BG, "meta_bg"),
    (incompat::EXTENTS, "extent"),
    (incompat::BIT64, "64bit"),
    (incompat::MMP, "mmp"),
    (incompat::FLEX_BG, "flex_bg"),
    (incompat::EA_INODE, "ea_inode"),
    (incompat::DIRDATA, "dirdata"),
    (incompat::CSUM_SEED, "metadata_csum_seed"),
    (incompat::LARGEDIR, "large_dir"),
    (incompat::INLINE_DATA, "inline_data"),
    (incompat::ENCRYPT, "encrypt"),
    (incompat::CASEFOLD, "casefold"),
];

const RO_COMPAT: &[(u32, &str)] = &[
    (ro_compat::SPARSE_SUPER, "sparse_super"),
    (ro_compat::LARGE_FILE, "large_file"),
    (0x4, "btree_dir"),
    (ro_compat::HUGE_FILE, "huge_file"),
    (ro_compat::GDT_CSUM, "uninit_bg"),
    (ro_compat::DIR_NLINK, "dir_nlink"),
    (ro_compat::EXTRA_ISIZE, "extra_isize"),
    (0x80, "has_snapshot"),
    (ro_compat::QUOTA, "quota"),
    (ro_compat::BIGALLOC, "bigalloc"),
    (ro_compat::METADATA_CSUM, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (ro_compat::VERITY, "verity"),
    (ro_compat::ORPHAN_PRESENT, "orphan_present"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn an_unknown_incompatible_bit_is_refused_by_name() {
        let error = Features::parse(0, incompat::COMPRESSION | 0x8000_0000, 0).unwrap_err();
        assert_eq!(
            error.source().unwrap().to_string(),
            "incompatible feature compression, FEATURE_I31"
        );
    }

    #[test]
    fn what_can_be_read_need_not_be_writable() {
        let features =
            Features::parse(0, incompat::CASEFOLD | incompat::EXTENTS, ro_compat::QUOTA).unwrap();
        assert_eq!(
            features
                .check_writable()
                .unwrap_err()
                .source()
                .unwrap()
                .to_string(),
            "writing with feature casefold, quota"
        );
        assert_eq!(features.names(), ["extent", "casefold", "quota"]);
    }

    #[test]
    fn the_features_of_current_distributions_are_writable() {
        let features = Features::parse(0x123c, 0x22c2, 0x1_046b).unwrap();
        features.check_writable().unwrap();
    }
}

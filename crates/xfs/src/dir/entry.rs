//! Names and what they name.

use crate::error::Error;
use fs::Kind;

/// What a name names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// An inode number. Nothing is known here about which inodes there are.
    pub(crate) inode: u64,
    /// `XFS_DIR3_FT_*`; 0 where directories do not tell.
    file_type: u8,
}

/// One name of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) target: Target,
}

impl Target {
    /// A node of a known kind.
    pub(crate) fn new(inode: u64, kind: Kind) -> Self {
        let found = KINDS.iter().find(|(_, known)| *known == kind);
        Self {
            inode,
            file_type: found.map_or(0, |(file_type, _)| *file_type),
        }
    }

    /// What an entry says.
    pub(super) fn stored(inode: u64, file_type: u8) -> Self {
        Self { inode, file_type }
    }

    /// What lies in an entry that tells the kind.
    pub(super) fn file_type(self) -> u8 {
        self.file_type
    }

    /// What the directory says that the node is; none if it does not tell.
    pub(crate) fn kind(self) -> Option<Kind> {
        let found = KINDS
            .iter()
            .find(|(file_type, _)| *file_type == self.file_type);
        found.map(|(_, kind)| *kind)
    }
}

/// `XFS_DIR3_FT_*`; 8 is a whiteout, which is a device.
const KINDS: [(u8, Kind); 8] = [
    (1, Kind::File),
    (2, Kind::Dir),
    (3, Kind::CharDevice),
    (4, Kind::BlockDevice),
    (5, Kind::Fifo),
    (6, Kind::Socket),
    (7, Kind::Symlink),
    (8, Kind::CharDevice),
];

/// Bytes that a name may have.
const MAX_NAME: usize = 255;

/// Checks that a node can have this name.
///
/// # Errors
/// [`Error::BadName`].
pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    if !is_name(name) || name == b"." || name == b".." {
        return Err(Error::BadName);
    }
    Ok(())
}

/// Whether the bytes can be a name on disk, where `.` and `..` are names as well.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(&0) && !name.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive() {
        for (_, kind) in KINDS {
            assert_eq!(Target::new(9, kind).kind(), Some(kind));
        }
        assert_eq!(Target::new(9, Kind::CharDevice).file_type(), 3);
        assert_eq!(Target::stored(9, 0).kind(), None);
        assert_eq!(Target::stored(9, 99).kind(), None);
    }

    #[test]
    fn impossible_names_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'a'; 256]] {
            assert!(matches!(check_name(name), Err(Error::BadName)));
        }
        check_name(&[0xff; 255]).unwrap();
    }
}

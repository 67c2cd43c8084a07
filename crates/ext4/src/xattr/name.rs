//! Names: on disk their common beginnings are numbers.

use super::acl;
use crate::error::{Error, UnsupportedKind};
use fs::AccessList;

/// The name of an attribute as it is stored, in the order of a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    /// `e_name_index`: which beginning.
    pub(super) index: u8,
    /// The rest of the name.
    pub(super) name: Vec<u8>,
}

impl Key {
    /// Takes a full name apart.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if nothing on ext4 can have the name; [`Error::BadName`] if its
    /// rest is too long, empty, or holds NUL.
    pub(crate) fn from_full_name(full: &[u8]) -> Result<Self, Error> {
        for (index, beginning, whole) in BEGINNINGS {
            let rest = match full.strip_prefix(*beginning) {
                Some(rest) if *whole == rest.is_empty() => rest,
                Some(b"") => return Err(Error::BadName),
                _ => continue,
            };
            if rest.len() > MAX_NAME || rest.contains(&0) {
                return Err(Error::BadName);
            }
            return Ok(Self {
                index: *index,
                name: rest.to_vec(),
            });
        }
        Err(UnsupportedKind::Other("an attribute of a kind that ext4 does not have").into())
    }

    /// The attribute that holds a file's content beyond what `i_block` has room for.
    pub(crate) fn inline_data() -> Self {
        Self {
            index: SYSTEM,
            name: b"data".to_vec(),
        }
    }

    /// The attribute that holds a node's access control list.
    pub(crate) fn access_acl() -> Self {
        Self {
            index: ACL_ACCESS,
            name: Vec::new(),
        }
    }

    /// Whether this is the attribute that holds content, which has to stay in the inode.
    pub(super) fn is_inline_data(&self) -> bool {
        self.index == SYSTEM && self.name == b"data"
    }

    /// The full name; none for what the kernel does not show.
    pub(super) fn full_name(&self) -> Option<Vec<u8>> {
        let (_, beginning, whole) = BEGINNINGS.iter().find(|(index, ..)| *index == self.index)?;
        if *whole != self.name.is_empty() {
            return None;
        }
        Some([*beginning, &self.name].concat())
    }

    /// Translates a value from disk to what the kernel shows.
    pub(crate) fn value_from_disk(&self, value: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.is_acl() {
            Ok(acl::from_disk(&value)?.to_xattr())
        } else {
            Ok(value)
        }
    }

    /// Translates a value as the kernel takes it to what lies on disk.
    pub(crate) fn value_to_disk(&self, value: &[u8]) -> Result<Vec<u8>, Error> {
        if self.is_acl() {
            let list = AccessList::from_xattr(value)
                .ok_or(UnsupportedKind::Other("a malformed access control list"))?;
            Ok(acl::to_disk(&list))
        } else {
            Ok(value.to_vec())
        }
    }

    fn is_acl(&self) -> bool {
        self.index == ACL_ACCESS || self.index == ACL_DEFAULT
    }

    /// How a block is sorted.
    pub(super) fn order(&self) -> (u8, usize, &[u8]) {
        (self.index, self.name.len(), &self.name)
    }
}

const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
/// What belongs to the file system itself and is not shown.
const SYSTEM: u8 = 7;
const MAX_NAME: usize = 255;

/// Number, beginning, and whether that is the whole name.
const BEGINNINGS: &[(u8, &[u8], bool)] = &[
    (1, b"user.", false),
    (ACL_ACCESS, b"system.posix_acl_access", true),
    (ACL_DEFAULT, b"system.posix_acl_default", true),
    (4, b"trusted.", false),
    (6, b"security.", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for (full, index) in [
            ("user.a", 1),
            ("system.posix_acl_access", 2),
            ("system.posix_acl_default", 3),
            ("trusted.overlay.opaque", 4),
            ("security.selinux", 6),
        ] {
            let key = Key::from_full_name(full.as_bytes()).unwrap();
            assert_eq!(key.index, index);
            assert_eq!(key.full_name().unwrap(), full.as_bytes());
        }
        assert_eq!(Key::inline_data().full_name(), None);
    }

    #[test]
    fn other_names_are_refused() {
        for full in ["system.data", "btrfs.compression", "user", ""] {
            let refused = Key::from_full_name(full.as_bytes());
            assert!(matches!(refused, Err(Error::Unsupported(_))), "{full}");
        }
        for full in ["user.", "user.a\0b", &format!("user.{}", "a".repeat(256))] {
            let refused = Key::from_full_name(full.as_bytes());
            assert!(matches!(refused, Err(Error::BadName)), "{full}");
        }
    }
}

//! Names: on disk their common beginnings are flags, and access control lists have names of IRIX.

use super::acl;
use crate::da::{be64, hash_name};
use crate::error::{Error, UnsupportedKind};
use fs::AccessList;

/// The name of an attribute as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    /// [`space`] bits: which beginning.
    pub(super) space: u8,
    /// The rest of the name.
    pub(super) name: Vec<u8>,
}

/// `XFS_ATTR_*`: what a name belongs to. Without any it is a user's.
pub(super) mod space {
    pub(in super::super) const ROOT: u8 = 0x2;
    pub(in super::super) const SECURE: u8 = 0x4;
    /// A name that the node has, of version 5 with parent pointers.
    pub(in super::super) const PARENT: u8 = 0x8;
    pub(in super::super) const ALL: u8 = ROOT | SECURE | PARENT;
}

impl Key {
    /// Takes a full name apart.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if nothing on XFS can have the name; [`Error::BadName`] if its rest
    /// is too long, empty, or holds NUL.
    pub(crate) fn from_full_name(full: &[u8]) -> Result<Self, Error> {
        for (shown, stored) in LISTS {
            if full == *shown {
                return Ok(Self {
                    space: space::ROOT,
                    name: stored.to_vec(),
                });
            }
        }
        let found = BEGINNINGS.iter().find_map(|(space, beginning)| {
            let rest = full.strip_prefix(*beginning)?;
            Some((*space, rest))
        });
        let Some((space, name)) = found else {
            return Err(
                UnsupportedKind::Other("an attribute of a kind that XFS does not have").into(),
            );
        };
        if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
            return Err(Error::BadName);
        }
        Ok(Self {
            space,
            name: name.to_vec(),
        })
    }

    /// The attribute that holds a node's access control list.
    pub(super) fn access_list() -> Self {
        Self {
            space: space::ROOT,
            name: ACCESS_LIST.to_vec(),
        }
    }

    /// The full name; none for what the kernel does not show.
    pub(super) fn full_name(&self) -> Option<Vec<u8>> {
        if self.space == space::ROOT
            && let Some((shown, _)) = LISTS.iter().find(|(_, stored)| *stored == self.name)
        {
            return Some(shown.to_vec());
        }
        let (_, beginning) = BEGINNINGS.iter().find(|(space, _)| *space == self.space)?;
        Some([*beginning, &self.name].concat())
    }

    /// The hash that the index knows the name by.
    pub(super) fn hash(&self, value: &[u8]) -> u32 {
        let hash = hash_name(&self.name);
        if self.space != space::PARENT {
            return hash;
        }
        // The directory counts as well: a node may have one name in several of them.
        let parent = be64(value, 0).to_be_bytes();
        let (halves, _) = parent.as_chunks::<4>();
        halves
            .iter()
            .fold(hash, |hash, half| hash ^ u32::from_be_bytes(*half))
    }

    /// Whether the value is an access control list.
    pub(super) fn is_list(&self) -> bool {
        self.space == space::ROOT && LISTS.iter().any(|(_, stored)| *stored == self.name)
    }

    /// Translates a value from disk to what the kernel shows.
    pub(super) fn value_from_disk(&self, value: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.is_list() {
            Ok(acl::from_disk(&value)?.to_xattr())
        } else {
            Ok(value)
        }
    }

    /// Translates a value as the kernel takes it to what lies on disk.
    pub(super) fn value_to_disk(&self, value: &[u8]) -> Result<Vec<u8>, Error> {
        if self.is_list() {
            let list = AccessList::from_xattr(value)
                .ok_or(UnsupportedKind::Other("a malformed access control list"))?;
            Ok(acl::to_disk(&list))
        } else {
            Ok(value.to_vec())
        }
    }
}

/// Bytes that the rest of a name may have.
const MAX_NAME: usize = 255;

const ACCESS_LIST: &[u8] = b"SGI_ACL_FILE";

/// Access control lists: how they are shown, and how they are stored.
const LISTS: &[(&[u8], &[u8])] = &[
    (b"system.posix_acl_access", ACCESS_LIST),
    (b"system.posix_acl_default", b"SGI_ACL_DEFAULT"),
];

const BEGINNINGS: &[(u8, &[u8])] = &[
    (0, b"user."),
    (space::ROOT, b"trusted."),
    (space::SECURE, b"security."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for (full, space, stored) in [
            ("user.a", 0, "a"),
            ("system.posix_acl_access", space::ROOT, "SGI_ACL_FILE"),
            ("system.posix_acl_default", space::ROOT, "SGI_ACL_DEFAULT"),
            ("trusted.overlay.opaque", space::ROOT, "overlay.opaque"),
            ("security.selinux", space::SECURE, "selinux"),
        ] {
            let key = Key::from_full_name(full.as_bytes()).unwrap();
            assert_eq!((key.space, &*key.name), (space, stored.as_bytes()));
            assert_eq!(key.full_name().unwrap(), full.as_bytes());
        }
        let key = Key {
            space: space::PARENT,
            name: b"a".to_vec(),
        };
        assert_eq!(key.full_name(), None);
        assert_eq!(
            key.hash(&[0, 0, 0, 1, 0, 0, 2, 0, 9, 9, 9, 9]),
            0x61 ^ 1 ^ 0x200
        );
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

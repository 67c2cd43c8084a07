//! Access control lists at the kernel's boundary, in the attributes `system.posix_acl_access` and
//! `system.posix_acl_default`: a version, and entries of eight bytes.
//!
//! Drivers translate them to what lies on their disks. Source: `posix_acl_xattr_header` and
//! `posix_acl_xattr_entry` in the kernel's `linux/posix_acl_xattr.h`.

use ondisk::{Cursor, Short};

/// An access control list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessList(pub Vec<AccessEntry>);

/// What somebody may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccessEntry {
    /// Who.
    pub tag: AccessTag,
    /// Bits as in a mode: 4 to read, 2 to write, 1 to execute.
    pub permissions: u16,
}

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessTag {
    /// The owner.
    UserObj,
    /// A user by number.
    User(u32),
    /// The owning group.
    GroupObj,
    /// A group by number.
    Group(u32),
    /// The most that users and groups by number and the owning group may do.
    Mask,
    /// Everybody else.
    Other,
}

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// `ACL_UNDEFINED_ID`.
const NOBODY: u32 = u32::MAX;

impl AccessTag {
    /// From `e_tag` and the number beside it, which only users and groups have; none for what is
    /// not known.
    pub fn new(tag: u16, id: u32) -> Option<Self> {
        Some(match tag {
            0x01 => Self::UserObj,
            0x02 => Self::User(id),
            0x04 => Self::GroupObj,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }

    /// `e_tag`.
    pub fn number(self) -> u16 {
        match self {
            Self::UserObj => 0x01,
            Self::User(_) => 0x02,
            Self::GroupObj => 0x04,
            Self::Group(_) => 0x08,
            Self::Mask => 0x10,
            Self::Other => 0x20,
        }
    }

    /// The user or group.
    pub fn id(self) -> Option<u32> {
        match self {
            Self::User(id) | Self::Group(id) => Some(id),
            Self::UserObj | Self::GroupObj | Self::Mask | Self::Other => None,
        }
    }
}

impl AccessList {
    /// Reads a list as the kernel shows it; none if it is malformed.
    pub fn from_xattr(value: &[u8]) -> Option<Self> {
        Self::parse(value).ok().flatten()
    }

    fn parse(value: &[u8]) -> Result<Option<Self>, Short> {
        let mut cursor = Cursor::new(value);
        if cursor.u32_le()? != VERSION {
            return Ok(None);
        }
        let mut entries = Vec::new();
        while !cursor.is_empty() {
            let (tag, permissions) = (cursor.u16_le()?, cursor.u16_le()?);
            let Some(tag) = AccessTag::new(tag, cursor.u32_le()?) else {
                return Ok(None);
            };
            entries.push(AccessEntry { tag, permissions });
        }
        Ok(Some(Self(entries)))
    }

    /// The list as the kernel shows it.
    pub fn to_xattr(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for AccessEntry { tag, permissions } in &self.0 {
            value.extend(tag.number().to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(tag.id().unwrap_or(NOBODY).to_le_bytes());
        }
        value
    }

    /// Takes the permissions of owner, mask (or group, if there is no mask) and others from
    /// `mode`, as the kernel's `posix_acl_chmod` does.
    pub fn set_mode(&mut self, mode: u16) {
        let has_mask = self.0.iter().any(|entry| entry.tag == AccessTag::Mask);
        for entry in &mut self.0 {
            let shift = match entry.tag {
                AccessTag::UserObj => 6,
                AccessTag::Mask => 3,
                AccessTag::GroupObj if !has_mask => 3,
                AccessTag::Other => 0,
                _ => continue,
            };
            entry.permissions = (mode >> shift) & 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &[u8] = &[
        2, 0, 0, 0, // version
        1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // the owner
        2, 0, 4, 0, 0xe8, 3, 0, 0, // user 1000
        4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // the group
        0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // the mask
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // others
    ];

    #[test]
    fn lists_survive_both_ways() {
        let list = AccessList::from_xattr(SHOWN).unwrap();
        assert_eq!(list.0[1].tag, AccessTag::User(1000));
        assert_eq!(list.to_xattr(), SHOWN);
    }

    #[test]
    fn a_new_mode_changes_the_mask_and_not_the_group() {
        let permissions = |list: &AccessList| -> Vec<u16> {
            list.0.iter().map(|entry| entry.permissions).collect()
        };
        let mut list = AccessList::from_xattr(SHOWN).unwrap();
        list.set_mode(0o4751);
        assert_eq!(permissions(&list), [7, 4, 4, 5, 1]);
        list.0.remove(3);
        list.set_mode(0o4731);
        assert_eq!(permissions(&list), [7, 4, 3, 1]);
    }

    #[test]
    fn malformed_lists_are_told() {
        assert_eq!(AccessList::from_xattr(&SHOWN[..9]), None);
        assert_eq!(AccessList::from_xattr(&[1, 0, 0, 0]), None);
        assert_eq!(
            AccessList::from_xattr(&[2, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0]),
            None
        );
    }
}

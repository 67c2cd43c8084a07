//! Access control lists: on disk without the identifiers that mean nothing, at the kernel's
//! boundary with them.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use ondisk::Cursor;

/// Translates `ext4_acl_header` and its entries to `posix_acl_xattr_header` and its own.
pub(super) fn from_disk(value: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = |reason| -> Error { CorruptKind::Acl { reason }.into() };
    let short = |_| broken("it ends inside an entry");
    let mut cursor = Cursor::new(value);
    if cursor.u32_le().map_err(short)? != DISK_VERSION {
        return Err(broken("its version is not 1"));
    }
    let mut shown = SHOWN_VERSION.to_le_bytes().to_vec();
    while !cursor.is_empty() {
        let tag = cursor.u16_le().map_err(short)?;
        let permissions = cursor.u16_le().map_err(short)?;
        let id = match tag {
            USER | GROUP => cursor.u32_le().map_err(short)?,
            USER_OBJ | GROUP_OBJ | MASK | OTHER => NO_ID,
            _ => return Err(broken("an entry has an unknown tag")),
        };
        shown.extend(tag.to_le_bytes());
        shown.extend(permissions.to_le_bytes());
        shown.extend(id.to_le_bytes());
    }
    Ok(shown)
}

/// The other way round.
pub(super) fn to_disk(value: &[u8]) -> Result<Vec<u8>, Error> {
    let refused = |()| -> Error { UnsupportedKind::Other("a malformed access control list").into() };
    let short = |_| refused(());
    let mut cursor = Cursor::new(value);
    if cursor.u32_le().map_err(short)? != SHOWN_VERSION {
        return Err(refused(()));
    }
    let mut stored = DISK_VERSION.to_le_bytes().to_vec();
    while !cursor.is_empty() {
        let tag = cursor.u16_le().map_err(short)?;
        let permissions = cursor.u16_le().map_err(short)?;
        let id = cursor.u32_le().map_err(short)?;
        stored.extend(tag.to_le_bytes());
        stored.extend(permissions.to_le_bytes());
        match tag {
            USER | GROUP => stored.extend(id.to_le_bytes()),
            USER_OBJ | GROUP_OBJ | MASK | OTHER => {}
            _ => return Err(refused(())),
        }
    }
    Ok(stored)
}

const DISK_VERSION: u32 = 1;
const SHOWN_VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

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
        let stored = to_disk(SHOWN).unwrap();
        assert_eq!(stored.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&stored).unwrap(), SHOWN);
    }

    #[test]
    fn broken_lists_are_errors() {
        let stored = to_disk(SHOWN).unwrap();
        for (at, value) in [(0, 2), (4, 3)] {
            let mut broken = stored.clone();
            broken[at] = value;
            assert!(matches!(from_disk(&broken), Err(Error::Corrupt(_))));
        }
        assert!(from_disk(&stored[..stored.len() - 1]).is_err());
        assert!(matches!(to_disk(&SHOWN[..9]), Err(Error::Unsupported(_))));
    }
}

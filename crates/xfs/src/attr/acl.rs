//! Access control lists: on disk with a count and entries of twelve bytes, at the kernel's boundary
//! with a version and entries of eight.
//!
//! Source: `xfs_acl` in the kernel's `libxfs/xfs_format.h`, and `fs/xfs/xfs_acl.c`.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use ondisk::Cursor;

/// Translates `xfs_acl` to `posix_acl_xattr_header` and its entries.
pub(super) fn from_disk(value: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = |reason| -> Error { CorruptKind::AccessList { reason }.into() };
    let short = |_| broken("it ends inside an entry");
    let mut cursor = Cursor::new(value);
    let count = cursor.u32_be().map_err(short)?;
    let mut shown = SHOWN_VERSION.to_le_bytes().to_vec();
    for _ in 0..count {
        let tag = cursor.u32_be().map_err(short)?;
        let id = cursor.u32_be().map_err(short)?;
        let permissions = cursor.u16_be().map_err(short)?;
        cursor.skip(2).map_err(short)?;
        let tag = u16::try_from(tag).unwrap_or(0);
        let id = match tag {
            USER | GROUP => id,
            USER_OBJ | GROUP_OBJ | MASK | OTHER => NO_ID,
            _ => return Err(broken("an entry has an unknown tag")),
        };
        shown.extend(tag.to_le_bytes());
        shown.extend(permissions.to_le_bytes());
        shown.extend(id.to_le_bytes());
    }
    // A list that was stored with room for more entries than it has is sound to the kernel.
    Ok(shown)
}

/// The other way round.
pub(super) fn to_disk(value: &[u8]) -> Result<Vec<u8>, Error> {
    let refused =
        |()| -> Error { UnsupportedKind::Other("a malformed access control list").into() };
    let short = |_| refused(());
    let mut cursor = Cursor::new(value);
    if cursor.u32_le().map_err(short)? != SHOWN_VERSION {
        return Err(refused(()));
    }
    let mut count = 0_u32;
    let mut entries = Vec::new();
    while !cursor.is_empty() {
        let tag = cursor.u16_le().map_err(short)?;
        let permissions = cursor.u16_le().map_err(short)?;
        let id = match (tag, cursor.u32_le().map_err(short)?) {
            (USER | GROUP, id) => id,
            (USER_OBJ | GROUP_OBJ | MASK | OTHER, _) => 0,
            _ => return Err(refused(())),
        };
        entries.extend(u32::from(tag).to_be_bytes());
        entries.extend(id.to_be_bytes());
        entries.extend(permissions.to_be_bytes());
        entries.extend([0; 2]);
        count = count.saturating_add(1);
    }
    let mut stored = count.to_be_bytes().to_vec();
    stored.append(&mut entries);
    Ok(stored)
}

/// The list as it is on disk, with the permissions of owner, mask (or group, if there is no mask)
/// and others taken from `mode`, as the kernel's `posix_acl_chmod` does.
pub(super) fn with_mode(value: &[u8], mode: u16) -> Result<Vec<u8>, Error> {
    let mut shown = from_disk(value)?;
    let (entries, _) = shown.get_mut(4..).unwrap_or_default().as_chunks_mut::<8>();
    let tag = |entry: &[u8; 8]| u16::from_le_bytes([entry[0], entry[1]]);
    let has_mask = entries.iter().any(|entry| tag(entry) == MASK);
    for entry in entries {
        let shift = match tag(entry) {
            USER_OBJ => 6,
            MASK => 3,
            GROUP_OBJ if !has_mask => 3,
            OTHER => 0,
            _ => continue,
        };
        entry[2..4].copy_from_slice(&((mode >> shift) & 7).to_le_bytes());
    }
    to_disk(&shown)
}

/// Bytes of 25 entries, more than which version 4 does not take.
pub(super) const LARGEST_OF_VERSION_4: u64 = 4 + 25 * 12;

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
        assert_eq!(stored.len(), 4 + 5 * 12);
        assert_eq!(stored[..4], [0, 0, 0, 5]);
        assert_eq!(stored[16..28], [0, 0, 0, 2, 0, 0, 3, 0xe8, 0, 4, 0, 0]);
        assert_eq!(from_disk(&stored).unwrap(), SHOWN);
    }

    #[test]
    fn a_new_mode_changes_the_mask_and_not_the_group() {
        let stored = with_mode(&to_disk(SHOWN).unwrap(), 0o4751).unwrap();
        let shown = from_disk(&stored).unwrap();
        let permissions: Vec<u8> = shown[4..].chunks(8).map(|entry| entry[2]).collect();
        assert_eq!(permissions, [7, 4, 4, 5, 1]);
        let without_mask = [&SHOWN[..28], &SHOWN[36..]].concat();
        let stored = with_mode(&to_disk(&without_mask).unwrap(), 0o751).unwrap();
        assert_eq!(from_disk(&stored).unwrap()[22], 5);
    }

    #[test]
    fn broken_lists_are_errors() {
        let stored = to_disk(SHOWN).unwrap();
        for (at, value) in [(3, 6), (7, 3), (4, 1)] {
            let mut broken = stored.clone();
            broken[at] = value;
            assert!(matches!(from_disk(&broken), Err(Error::Corrupt(_))));
        }
        assert!(from_disk(&stored[..stored.len() - 1]).is_err());
        assert!(from_disk(&[0xff; 4]).is_err());
        assert!(matches!(to_disk(&SHOWN[..9]), Err(Error::Unsupported(_))));
    }
}

//! Access control lists on disk: a count, and entries of twelve bytes.
//!
//! Source: `xfs_acl` in the kernel's `libxfs/xfs_format.h`, and `fs/xfs/xfs_acl.c`.

use crate::error::{CorruptKind, Error};
use fs::{AccessEntry, AccessList, AccessTag};
use ondisk::Cursor;

/// Bytes of 25 entries, more than which version 4 does not take.
pub(super) const LARGEST_OF_VERSION_4: u64 = 4 + 25 * 12;

/// Reads a list.
pub(super) fn from_disk(value: &[u8]) -> Result<AccessList, Error> {
    let broken = |reason| -> Error { CorruptKind::AccessList { reason }.into() };
    let short = |_| broken("it ends inside an entry");
    let mut cursor = Cursor::new(value);
    let count = cursor.u32_be().map_err(short)?;
    let mut list = AccessList::default();
    // A list that was stored with room for more entries than it has is sound to the kernel.
    for _ in 0..count {
        let tag = cursor.u32_be().map_err(short)?;
        let id = cursor.u32_be().map_err(short)?;
        let permissions = cursor.u16_be().map_err(short)?;
        cursor.skip(2).map_err(short)?;
        let tag = u16::try_from(tag).ok();
        let tag = tag.and_then(|tag| AccessTag::new(tag, id));
        let tag = tag.ok_or_else(|| broken("an entry has an unknown tag"))?;
        list.0.push(AccessEntry { tag, permissions });
    }
    Ok(list)
}

/// The other way round.
pub(super) fn to_disk(list: &AccessList) -> Vec<u8> {
    let count = u32::try_from(list.0.len()).unwrap_or(u32::MAX);
    let mut stored = count.to_be_bytes().to_vec();
    for AccessEntry { tag, permissions } in &list.0 {
        stored.extend(u32::from(tag.number()).to_be_bytes());
        stored.extend(tag.id().unwrap_or(0).to_be_bytes());
        stored.extend(permissions.to_be_bytes());
        stored.extend([0; 2]);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> AccessList {
        let tags = [
            AccessTag::UserObj,
            AccessTag::User(1000),
            AccessTag::GroupObj,
            AccessTag::Mask,
            AccessTag::Other,
        ];
        AccessList(
            tags.map(|tag| AccessEntry {
                tag,
                permissions: 4,
            })
            .into(),
        )
    }

    #[test]
    fn lists_survive_both_ways() {
        let stored = to_disk(&list());
        assert_eq!(stored.len(), 4 + 5 * 12);
        assert_eq!(stored[..4], [0, 0, 0, 5]);
        assert_eq!(stored[16..28], [0, 0, 0, 2, 0, 0, 3, 0xe8, 0, 4, 0, 0]);
        assert_eq!(from_disk(&stored).unwrap(), list());
    }

    #[test]
    fn broken_lists_are_errors() {
        let stored = to_disk(&list());
        for (at, value) in [(3, 6), (7, 3), (4, 1)] {
            let mut broken = stored.clone();
            broken[at] = value;
            assert!(matches!(from_disk(&broken), Err(Error::Corrupt(_))));
        }
        assert!(from_disk(&stored[..stored.len() - 1]).is_err());
        assert!(from_disk(&[0xff; 4]).is_err());
    }
}

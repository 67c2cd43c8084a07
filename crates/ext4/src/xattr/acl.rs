//! Access control lists on disk: a version and entries, of which those have an identifier that
//! need one.
//!
//! Source: `ext4_acl_header` and `ext4_acl_entry` in the kernel's `fs/ext4/acl.h`.

use crate::error::{CorruptKind, Error};
use fs::{AccessEntry, AccessList, AccessTag};
use ondisk::Cursor;

/// `EXT4_ACL_VERSION`.
const VERSION: u32 = 1;

/// Reads a list.
pub(super) fn from_disk(value: &[u8]) -> Result<AccessList, Error> {
    let broken = |reason| -> Error { CorruptKind::Acl { reason }.into() };
    let short = |_| broken("it ends inside an entry");
    let mut cursor = Cursor::new(value);
    if cursor.u32_le().map_err(short)? != VERSION {
        return Err(broken("its version is not 1"));
    }
    let mut list = AccessList::default();
    while !cursor.is_empty() {
        let tag = cursor.u16_le().map_err(short)?;
        let permissions = cursor.u16_le().map_err(short)?;
        let tag = AccessTag::new(tag, 0).ok_or_else(|| broken("an entry has an unknown tag"))?;
        let tag = match tag {
            AccessTag::User(_) => AccessTag::User(cursor.u32_le().map_err(short)?),
            AccessTag::Group(_) => AccessTag::Group(cursor.u32_le().map_err(short)?),
            tag => tag,
        };
        list.0.push(AccessEntry { tag, permissions });
    }
    Ok(list)
}

/// The other way round.
pub(super) fn to_disk(list: &AccessList) -> Vec<u8> {
    let mut stored = VERSION.to_le_bytes().to_vec();
    for AccessEntry { tag, permissions } in &list.0 {
        stored.extend(tag.number().to_le_bytes());
        stored.extend(permissions.to_le_bytes());
        stored.extend(tag.id().into_iter().flat_map(u32::to_le_bytes));
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
        assert_eq!(stored.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&stored).unwrap(), list());
    }

    #[test]
    fn broken_lists_are_errors() {
        let stored = to_disk(&list());
        for (at, value) in [(0, 2), (4, 3)] {
            let mut broken = stored.clone();
            broken[at] = value;
            assert!(matches!(from_disk(&broken), Err(Error::Corrupt(_))));
        }
        assert!(from_disk(&stored[..stored.len() - 1]).is_err());
    }
}

//! Attributes that lie in their inode, behind each other.
//!
//! Source: `xfs_attr_sf_hdr` and `xfs_attr_sf_entry` in the kernel's `libxfs/xfs_da_format.h`.

use super::name::{Key, space};
use super::{Attribute, is_space};
use crate::da::Fault;
use ondisk::width::u64_of;
use ondisk::{Cursor, Short as Ended};

/// Bytes before the first attribute: their total, their number, and one unused.
const HEADER: usize = 4;
/// Bytes of an attribute before its name.
const ENTRY: usize = 3;

/// Reads the bytes in an inode, which may go on behind the attributes.
///
/// # Errors
/// What breaks the format.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Attribute>, Fault> {
    let ended = |ended: Ended| Fault {
        at: ended.at,
        reason: "the attributes in the inode end early",
        value: u64_of(bytes.len()),
    };
    let mut cursor = Cursor::new(bytes);
    let total = usize::from(cursor.u16_be().map_err(ended)?);
    let count = cursor.u8().map_err(ended)?;
    cursor.skip(1).map_err(ended)?;
    let rest = total.checked_sub(HEADER).ok_or(Fault {
        at: 0,
        reason: "the attributes have fewer bytes than their header",
        value: u64_of(total),
    })?;
    let mut cursor = cursor.sub(rest).map_err(ended)?;
    let mut attributes = Vec::with_capacity(count.into());
    for _ in 0..count {
        let at = cursor.position();
        let [name_len, value_len, flags] = cursor.take_array().map_err(ended)?;
        let name = cursor.take(name_len.into()).map_err(ended)?;
        let value = cursor.take(value_len.into()).map_err(ended)?;
        let space = flags & space::ALL;
        if name.is_empty() || !is_space(space) {
            return Err(Fault {
                at,
                reason: "no attribute has such flags or such a name",
                value: flags.into(),
            });
        }
        attributes.push(Attribute {
            key: Key {
                space,
                name: name.to_vec(),
            },
            value: value.to_vec(),
        });
    }
    if !cursor.is_empty() {
        return Err(Fault {
            at: cursor.position(),
            reason: "bytes are left behind the attributes in the inode",
            value: u64_of(cursor.rest().len()),
        });
    }
    Ok(attributes)
}

/// The bytes; none if an attribute is too long for this form, or if there are too many.
pub(super) fn encode(attributes: &[Attribute]) -> Option<Vec<u8>> {
    let lens = attributes.iter().map(|attribute| {
        let name = attribute.key.name.len();
        name.saturating_add(attribute.value.len())
            .saturating_add(ENTRY)
    });
    let total = lens.fold(HEADER, usize::saturating_add);
    let mut bytes = u16::try_from(total).ok()?.to_be_bytes().to_vec();
    bytes.push(u8::try_from(attributes.len()).ok()?);
    bytes.push(0);
    for Attribute { key, value } in attributes {
        bytes.push(u8::try_from(key.name.len()).ok()?);
        bytes.push(u8::try_from(value.len()).ok()?);
        bytes.push(key.space);
        bytes.extend(&key.name);
        bytes.extend(value);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Vec<Attribute> {
        let full = [("user.a", 3), ("security.selinux", 40), ("trusted.b", 0)];
        full.map(|(name, len)| Attribute {
            key: Key::from_full_name(name.as_bytes()).unwrap(),
            value: vec![7; len],
        })
        .to_vec()
    }

    #[test]
    fn attributes_survive_both_ways() {
        let mut bytes = encode(&attributes()).unwrap();
        bytes.extend([0; 20]);
        assert_eq!(decode(&bytes).unwrap(), attributes());
        assert_eq!(encode(&[]).unwrap(), [0, 4, 0, 0]);
        let mut long = attributes();
        long[0].value = vec![0; 256];
        assert_eq!(encode(&long), None);
        let many = vec![attributes()[0].clone(); 256];
        assert_eq!(encode(&many), None);
    }

    #[test]
    fn every_broken_field_is_found() {
        let whole = encode(&attributes()).unwrap();
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err());
        }
        for (at, value, reason) in [
            (1, 3, "the attributes have fewer bytes than their header"),
            (0, 9, "the attributes in the inode end early"),
            (2, 4, "the attributes in the inode end early"),
            (2, 2, "bytes are left behind the attributes in the inode"),
            (4, 0, "no attribute has such flags or such a name"),
            (6, 6, "no attribute has such flags or such a name"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(decode(&bytes).unwrap_err().reason, reason, "byte {at}");
        }
    }
}

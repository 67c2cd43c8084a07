//! An area of attributes: entries from its start, values from its end.

use super::name::Key;
use ondisk::Cursor;
use ondisk::width::{u64_of, usize_of_u32};

/// One attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Attribute {
    /// Its name.
    pub(crate) key: Key,
    /// Its value.
    pub(crate) value: Value,
}

/// The value of an attribute, in the form it has on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// The bytes.
    Here(Vec<u8>),
    /// The content of another inode.
    Inode {
        /// `e_value_inum`.
        inode: u32,
        /// `e_value_size`.
        size: u32,
        /// `e_hash`, which covers the other inode's own hash.
        hash: u32,
    },
}

/// What is wrong with an area.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: &'static str,
    pub(super) value: u64,
}

/// Bytes of an entry before its name.
const ENTRY: usize = 16;
/// Bytes of zeros behind the last entry.
pub(super) const TERMINATOR: usize = 4;

/// Bytes of an entry.
pub(super) fn entry_len(name_len: usize) -> usize {
    ENTRY.saturating_add(name_len).next_multiple_of(4)
}

/// Bytes of entries and values, without the terminator.
pub(super) fn len_of(attributes: &[&Attribute]) -> usize {
    let lens = attributes.iter().map(|attribute| {
        let value = match &attribute.value {
            Value::Here(value) => value.len().next_multiple_of(4),
            Value::Inode { .. } => 0,
        };
        entry_len(attribute.key.name.len()).saturating_add(value)
    });
    lens.fold(0, usize::saturating_add)
}

/// Reads the entries from `first` on; offsets of values count from the start of `bytes`.
pub(super) fn parse(bytes: &[u8], first: usize) -> Result<Vec<Attribute>, Fault> {
    let mut attributes = Vec::new();
    let mut at = first;
    // Values do not overlap, so together they are no longer than the area.
    let mut left = bytes.len();
    loop {
        let fault = |reason, value| Fault { at, reason, value };
        let ends = |_| fault("the entries do not end", u64_of(bytes.len()));
        let mut cursor = Cursor::new(bytes.get(at..).unwrap_or_default());
        let rest: [u8; TERMINATOR] = cursor.clone().take_array().map_err(ends)?;
        if rest == [0; TERMINATOR] {
            return Ok(attributes);
        }
        let [name_len, index] = cursor.take_array().map_err(ends)?;
        let offset = usize::from(cursor.u16_le().map_err(ends)?);
        let inode = cursor.u32_le().map_err(ends)?;
        let size = cursor.u32_le().map_err(ends)?;
        let hash = cursor.u32_le().map_err(ends)?;
        let name = cursor.take(usize::from(name_len)).map_err(ends)?;
        if name.contains(&0) {
            return Err(fault("the name holds NUL", u64::from(name_len)));
        }
        let value = if inode == 0 {
            let len = usize_of_u32(size);
            let Some(remaining) = left.checked_sub(len) else {
                return Err(fault("the values overlap", u64::from(size)));
            };
            left = remaining;
            let range = offset..offset.saturating_add(len);
            let Some(value) = bytes.get(range) else {
                return Err(fault("the value lies outside", u64_of(offset)));
            };
            Value::Here(value.to_vec())
        } else {
            Value::Inode { inode, size, hash }
        };
        attributes.push(Attribute {
            key: Key {
                index,
                name: name.to_vec(),
            },
            value,
        });
        at = at.saturating_add(entry_len(name.len()));
    }
}

/// Writes attributes, which must fit, into `bytes` from `first` on. `hashed` asks for `e_hash`.
pub(super) fn write<'a>(
    attributes: impl IntoIterator<Item = &'a Attribute>,
    bytes: &mut [u8],
    first: usize,
    hashed: bool,
) {
    bytes[first..].fill(0);
    let mut at = first;
    let mut values = bytes.len();
    for Attribute { key, value } in attributes {
        let (offset, inode, size, hash) = match value {
            Value::Inode { inode, size, hash } => (0, *inode, *size, *hash),
            Value::Here(value) => {
                let padded = value.len().next_multiple_of(4);
                values = values.saturating_sub(padded);
                bytes[values..][..value.len()].copy_from_slice(value);
                let hash = if hashed {
                    entry_hash(&key.name, &bytes[values..][..padded])
                } else {
                    0
                };
                // An area has at most 64 KiB, and a value does not start at its very end unless
                // it is empty, where nobody looks.
                let offset = if value.is_empty() { 0 } else { values };
                let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
                (u16::try_from(offset).unwrap_or(0), 0, size, hash)
            }
        };
        let len = entry_len(key.name.len());
        let entry = &mut bytes[at..][..len];
        // Names are at most 255 bytes long where they are made.
        entry[0] = u8::try_from(key.name.len()).unwrap_or(u8::MAX);
        entry[1] = key.index;
        entry[2..4].copy_from_slice(&offset.to_le_bytes());
        entry[4..8].copy_from_slice(&inode.to_le_bytes());
        entry[8..12].copy_from_slice(&size.to_le_bytes());
        entry[12..16].copy_from_slice(&hash.to_le_bytes());
        entry[16..][..key.name.len()].copy_from_slice(&key.name);
        at = at.saturating_add(len);
    }
}

/// `e_hash` of an entry in a block: over the name, and the value with its padding.
pub(super) fn entry_hash(name: &[u8], padded: &[u8]) -> u32 {
    let hash = name
        .iter()
        .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    padded.chunks_exact(4).fold(hash, |hash, word| {
        let word = word
            .first_chunk()
            .map_or(0, |word| u32::from_le_bytes(*word));
        hash.rotate_left(16) ^ word
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area() -> Vec<u8> {
        let mut bytes = vec![0; 128];
        let attributes = [("one", 5), ("three", 9)].map(|(name, len)| Attribute {
            key: Key {
                index: 1,
                name: name.into(),
            },
            value: Value::Here(vec![3; len]),
        });
        write(&attributes, &mut bytes, 0, true);
        assert_eq!(parse(&bytes, 0).unwrap(), attributes);
        bytes
    }

    #[test]
    fn every_broken_field_is_found() {
        for (at, value, reason) in [
            (0, 255, "the entries do not end"),
            (3, 1, "the value lies outside"),
            (9, 1, "the values overlap"),
            (8, 127, "the value lies outside"),
            (17, 0, "the name holds NUL"),
        ] {
            let mut bytes = area();
            bytes[at] = value;
            assert_eq!(parse(&bytes, 0).unwrap_err().reason, reason, "{at}");
        }
    }

    #[test]
    fn entries_that_fill_everything_are_found() {
        let bytes = vec![1; 128];
        assert!(parse(&bytes, 0).is_err());
        assert!(parse(&[], 0).is_err());
        assert!(parse(&bytes, 500).is_err());
    }

    #[test]
    fn a_value_may_be_an_inode() {
        let mut bytes = area();
        bytes[4] = 20;
        let first = &parse(&bytes, 0).unwrap()[0];
        assert!(matches!(
            first.value,
            Value::Inode {
                inode: 20,
                size: 5,
                ..
            }
        ));
    }
}

use super::{HAS_CHILDREN, HAS_PREFIX, HAS_VALUES, MAGIC, OFFSET};
use crate::error::{CorruptKind, Error, IndexReason, UnsupportedKind};
use ondisk::width::usize_of_u32;
use ondisk::{Cursor, Short};

/// Gives every key with each of its values to `each`, in the order of the keys; `file` names the
/// index in errors.
///
/// # Errors
/// Corrupt if the tree breaks its format, unsupported for a version other than 2.
pub(crate) fn read(
    file: &'static str,
    bytes: &[u8],
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<(), Error> {
    let corrupt = |at: usize, reason| Error::from(CorruptKind::Index { file, at, reason });
    let short = |short: Short| corrupt(short.at, IndexReason::Short);
    let mut header = Cursor::new(bytes);
    let magic = header.u32_be().map_err(short)?;
    if magic != MAGIC {
        return Err(corrupt(0, IndexReason::Magic(magic)));
    }
    let version = header.u32_be().map_err(short)?;
    if version >> 16 != 2 {
        return Err(UnsupportedKind::IndexVersion { file, version }.into());
    }
    let root = header.u32_be().map_err(short)?;
    // the nodes of a sound tree do not overlap, so that together they have the file's bytes at most
    let mut left = bytes.len();
    let mut key = Vec::new();
    let mut todo = vec![Visit {
        reference: root,
        key_len: 0,
        byte: None,
    }];
    while let Some(visit) = todo.pop() {
        let at = usize_of_u32(visit.reference & OFFSET);
        let node = Node::parse(bytes, visit.reference).map_err(|reason| corrupt(at, reason))?;
        left = left
            .checked_sub(node.len.max(1))
            .ok_or_else(|| corrupt(at, IndexReason::Cycle))?;
        key.truncate(visit.key_len);
        key.extend(visit.byte);
        key.extend_from_slice(node.prefix);
        if key.len() > MAX_KEY {
            return Err(corrupt(at, IndexReason::KeyTooLong));
        }
        for value in node.values {
            each(&key, value);
        }
        let (references, _) = node.children.as_chunks::<4>();
        let children = (node.first..=u8::MAX).zip(references);
        let first = todo.len();
        todo.extend(
            children
                .map(|(byte, reference)| (byte, u32::from_be_bytes(*reference)))
                .filter(|(_, reference)| *reference != 0)
                .map(|(byte, reference)| Visit {
                    reference,
                    key_len: key.len(),
                    byte: Some(byte),
                }),
        );
        // the child with the lowest byte is to be on top
        todo.get_mut(first..).unwrap_or(&mut []).reverse();
    }
    Ok(())
}

/// A node to go to: the key up to it is that of its parent and one byte.
struct Visit {
    reference: u32,
    key_len: usize,
    byte: Option<u8>,
}

struct Node<'a> {
    prefix: &'a [u8],
    first: u8,
    /// References of 4 bytes each.
    children: &'a [u8],
    values: Vec<&'a [u8]>,
    /// Bytes that it takes.
    len: usize,
}

impl<'a> Node<'a> {
    fn parse(bytes: &'a [u8], reference: u32) -> Result<Self, IndexReason> {
        let mut cursor = Cursor::new(bytes);
        cursor.skip(usize_of_u32(reference & OFFSET))?;
        let start = cursor.position();
        let mut node = Self {
            prefix: &[],
            first: 0,
            children: &[],
            values: Vec::new(),
            len: 0,
        };
        if reference & HAS_PREFIX != 0 {
            node.prefix = string(&mut cursor)?;
        }
        if reference & HAS_CHILDREN != 0 {
            let (first, last) = (cursor.u8()?, cursor.u8()?);
            let count = last
                .checked_sub(first)
                .ok_or(IndexReason::Children { first, last })?;
            node.first = first;
            node.children = cursor.take(usize::from(count).saturating_add(1).saturating_mul(4))?;
        }
        if reference & HAS_VALUES != 0 {
            // a wrong count meets the end of the file, as every value takes bytes
            for _ in 0..cursor.u32_be()? {
                cursor.u32_be()?;
                node.values.push(string(&mut cursor)?);
            }
        }
        node.len = cursor.position().saturating_sub(start);
        Ok(node)
    }
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], IndexReason> {
    let len = cursor
        .rest()
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(IndexReason::Unterminated)?;
    let string = cursor.take(len)?;
    cursor.skip(1)?;
    Ok(string)
}

impl From<Short> for IndexReason {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// The longest key that kmod looks up (`PATH_MAX`).
const MAX_KEY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn small() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.insert("ab", "x", 1);
        writer.insert("ac", "y", 0);
        writer.insert("ac", "z", 0);
        writer.finish().unwrap()
    }

    fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let mut pairs = Vec::new();
        read("test.bin", bytes, |key, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            pairs.push((text(key), text(value)));
        })?;
        Ok(pairs)
    }

    fn reason(bytes: &[u8]) -> IndexReason {
        match pairs(bytes) {
            Err(Error::Corrupt(corrupt)) => match corrupt.0 {
                CorruptKind::Index { reason, .. } => reason,
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let pairs = pairs(&small()).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(pairs, [("ab", "x"), ("ac", "z"), ("ac", "y")]);
    }

    #[test]
    fn magic_and_version_are_checked() {
        let mut bytes = small();
        bytes[0] = 0;
        assert_eq!(reason(&bytes), IndexReason::Magic(0x0007_f457));
        let mut bytes = small();
        bytes[5] = 3;
        assert!(matches!(pairs(&bytes), Err(Error::Unsupported(_))));
    }

    #[test]
    fn a_node_that_is_its_own_child_ends_in_an_error() {
        let mut bytes = small();
        let root: [u8; 4] = bytes[8..12].try_into().unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&root);
        assert_eq!(reason(&bytes), IndexReason::Cycle);
    }

    #[test]
    fn children_that_end_before_they_start_are_an_error() {
        let mut bytes = small();
        let end = bytes.len();
        bytes[end - 6] = b'b';
        assert_eq!(
            reason(&bytes),
            IndexReason::Children {
                first: b'b',
                last: b'a'
            }
        );
    }

    #[test]
    fn a_wrong_count_or_a_string_without_end_is_an_error() {
        let mut bytes = small();
        bytes[12] = 0xff;
        assert!(matches!(
            reason(&bytes),
            IndexReason::Short | IndexReason::Unterminated
        ));
        let mut bytes = Writer::new().finish().unwrap();
        bytes[8] = 0x80;
        bytes.push(b'p');
        assert_eq!(reason(&bytes), IndexReason::Unterminated);
    }

    #[test]
    fn long_keys_are_an_error() {
        let mut writer = Writer::new();
        writer.insert(&"k".repeat(5000), "v", 0);
        assert_eq!(reason(&writer.finish().unwrap()), IndexReason::KeyTooLong);
    }

    #[test]
    fn truncation_anywhere_is_an_error() {
        let bytes = small();
        for len in 0..bytes.len() {
            assert!(pairs(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}

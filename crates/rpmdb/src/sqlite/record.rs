//! Records: the columns of a row.

use std::ops::Range;

/// The columns of a row.
#[derive(Debug)]
pub(super) struct Record<'r>(&'r [u8]);

/// A value in a column.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Value<'r> {
    Integer(u64),
    /// A text or a blob.
    Bytes(&'r [u8]),
    /// Nothing, or a fraction.
    Other,
}

impl<'r> Record<'r> {
    /// A record of which all bytes are there; none if its head makes no sense.
    pub(super) fn parse(bytes: &'r [u8]) -> Option<Self> {
        varint(bytes)?;
        Some(Self(bytes))
    }

    /// The value in a column, counted from 0.
    pub(super) fn value(&self, column: usize) -> Option<Value<'r>> {
        let (kind, range) = column_of(self.0, column)?;
        let start = usize::try_from(range.start).ok()?;
        let bytes = self.0.get(start..usize::try_from(range.end).ok()?)?;
        Some(match kind {
            // Negative numbers are no page numbers.
            1..=6 => Value::Integer(bytes.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte))),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            12.. => Value::Bytes(bytes),
            _ => Value::Other,
        })
    }

    /// Where in a record, of which only the head need be there, a blob is.
    pub(super) fn range(head: &[u8], column: usize) -> Option<Range<u64>> {
        let (kind, range) = column_of(head, column)?;
        (kind >= 12 && kind % 2 == 0).then_some(range)
    }
}

/// The type of a column and where in the record it is.
fn column_of(bytes: &[u8], column: usize) -> Option<(u64, Range<u64>)> {
    let (head, mut types) = varint(bytes)?;
    let taken = bytes.len().checked_sub(types.len())?;
    let len = usize::try_from(head).ok()?.checked_sub(taken)?;
    types = types.get(..len)?;
    let mut start = head;
    for _ in 0..column {
        let (kind, rest) = varint(types)?;
        start = start.checked_add(size(kind))?;
        types = rest;
    }
    let (kind, _) = varint(types)?;
    Some((kind, start..start.checked_add(size(kind))?))
}

/// Bytes of a value of a serial type.
fn size(kind: u64) -> u64 {
    match kind {
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        0 | 8..=11 => 0,
        // 12 and more: blobs are even, texts odd.
        _ => kind.saturating_sub(12) / 2,
    }
}

/// A number of one to nine bytes, seven bits in each but the ninth, which has eight.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        let rest = bytes.get(at.checked_add(1)?..)?;
        if at == 8 {
            return Some(((number << 8) | u64::from(*byte), rest));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths() {
        for (bytes, number) in [
            (&[0x05][..], 5),
            (&[0x81, 0x00], 128),
            (&[0xff; 9], u64::MAX),
            (&[0x80, 0x80, 0x01], 1),
        ] {
            assert_eq!(varint(bytes), Some((number, &[][..])));
        }
        assert_eq!(varint(&[0x80; 8]), None);
        assert_eq!(varint(&[]), None);
    }

    #[test]
    fn columns_follow_each_other() {
        // NULL, a text of 2, 300 in two bytes, 1, a blob of 3.
        let bytes = [6, 0, 17, 2, 9, 18, b'a', b'b', 1, 44, 7, 8, 9];
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.value(0), Some(Value::Other));
        assert_eq!(record.value(1), Some(Value::Bytes(b"ab")));
        assert_eq!(record.value(2), Some(Value::Integer(300)));
        assert_eq!(record.value(3), Some(Value::Integer(1)));
        assert_eq!(record.value(4), Some(Value::Bytes(&[7, 8, 9])));
        assert_eq!(record.value(5), None);
        assert_eq!(Record::range(&bytes[..6], 4), Some(10..13));
        assert_eq!(Record::range(&bytes[..6], 1), None, "a text is no blob");
        assert_eq!(Record::range(&bytes[..4], 4), None);
    }
}

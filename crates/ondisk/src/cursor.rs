//! A cursor that consumes bytes and cannot be made to index past them.

use thiserror::Error;

/// The bytes ended before the value did, or went on after it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{needed} bytes expected at byte {at}, {left} there")]
pub struct Short {
    /// Position in the bytes that the cursor was made of.
    pub at: usize,
    /// Bytes that the value takes.
    pub needed: usize,
    /// Bytes that were left.
    pub left: usize,
}

/// Consumes a byte slice from the front; every step is checked.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    left: &'a [u8],
    at: usize,
}

macro_rules! integers {
    ($($name:ident $type:ident $from:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        ///
        /// # Errors
        /// [`Short`] if the bytes end first.
        pub fn $name(&mut self) -> Result<$type, Short> {
            self.take_array().map($type::$from)
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes, at: 0 }
    }

    /// Position of the next byte, counted from where the cursor started.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes not yet consumed.
    pub fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// Whether every byte is consumed.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left; nothing is consumed then.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let Some((taken, left)) = self.left.split_at_checked(len) else {
            return Err(Short {
                at: self.at,
                needed: len,
                left: self.left.len(),
            });
        };
        self.left = left;
        self.at = self.at.saturating_add(len);
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let Some((taken, left)) = self.left.split_first_chunk::<N>() else {
            return Err(Short {
                at: self.at,
                needed: N,
                left: self.left.len(),
            });
        };
        self.left = left;
        self.at = self.at.saturating_add(N);
        Ok(*taken)
    }

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn skip(&mut self, len: usize) -> Result<(), Short> {
        self.take(len).map(|_| ())
    }

    /// Splits off a cursor over the next `len` bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn sub(&mut self, len: usize) -> Result<Self, Short> {
        let at = self.at;
        self.take(len).map(|left| Self { left, at })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Short`] with `needed` 0 if bytes are left over.
    pub fn finish(self) -> Result<(), Short> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(Short {
                at: self.at,
                needed: 0,
                left: self.left.len(),
            })
        }
    }

    integers! {
        u8 u8 from_le_bytes "Takes one byte.";
        u16_le u16 from_le_bytes "Takes a little-endian 16-bit number.";
        u32_le u32 from_le_bytes "Takes a little-endian 32-bit number.";
        u64_le u64 from_le_bytes "Takes a little-endian 64-bit number.";
        u16_be u16 from_be_bytes "Takes a big-endian 16-bit number.";
        u32_be u32 from_be_bytes "Takes a big-endian 32-bit number.";
        u64_be u64 from_be_bytes "Takes a big-endian 64-bit number.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_take_consumes_nothing_and_says_where() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        cursor.skip(1).unwrap();
        assert_eq!(
            cursor.u32_le(),
            Err(Short {
                at: 1,
                needed: 4,
                left: 2
            })
        );
        assert_eq!(cursor.rest(), [2, 3]);
    }

    #[test]
    fn a_sub_cursor_ends_where_it_was_told() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4]);
        cursor.skip(1).unwrap();
        let mut sub = cursor.sub(2).unwrap();
        assert_eq!(sub.u16_be(), Ok(0x0203));
        assert_eq!(
            sub.u8(),
            Err(Short {
                at: 3,
                needed: 1,
                left: 0
            })
        );
        assert_eq!(cursor.u8(), Ok(4));
    }

    #[test]
    fn leftovers_are_an_error() {
        assert_eq!(
            Cursor::new(&[0; 3]).finish(),
            Err(Short {
                at: 0,
                needed: 0,
                left: 3
            })
        );
    }
}

//! Berkeley DB. Source: `dbinc/db_page.h` and `hash/hash_page.c` of Berkeley DB 4.x and 5.x.
//!
//! A file is pages of one size; the first one, the *meta page*, says which and what they make up.
//! rpm's `Packages` is a hash table, whose buckets are chains of pages of key and data in turn.
//! What is longer than a quarter of a page lies on a chain of *overflow pages*.
//!
//! Numbers are in the byte order of the machine that made the file, and its magic number tells
//! which that was. The key of a package is its number there; number 0 is rpm's own counter.

mod btree;
mod hash;
mod meta;
mod overflow;
mod page;

pub(crate) use meta::Meta;

use crate::file::File;
use crate::{Blob, Error, Take};
use overflow::Overflow;
use page::{Item, Page, Pager};

/// Recognises a file by its first bytes.
pub(crate) fn recognise(start: &[u8]) -> Option<Meta> {
    Meta::recognise(start)
}

/// Gives every header to `take`.
pub(crate) fn walk(file: &File<'_>, meta: Meta, take: &mut Take<'_>) -> Result<(), Error> {
    let (pager, tree) = meta.read(file)?;
    match tree {
        meta::Structure::Hash(hash) => hash::walk(&pager, &hash, take),
        meta::Structure::Btree { root } => btree::walk(&pager, root, take),
    }
}

/// Gives the headers of a page of pairs to `take`.
fn pairs(pager: &Pager<'_>, page: &Page, take: &mut Take<'_>) -> Result<(), Error> {
    for key in (0..page.entries).step_by(2) {
        let is_package = match page.item(key)? {
            Item::Here(key) => key.iter().any(|byte| *byte != 0),
            // Keys of four bytes are never long; a deleted one is none.
            Item::Elsewhere { .. } | Item::Deleted => false,
        };
        if !is_package {
            continue;
        }
        let position = page.position();
        match page.item(key.saturating_add(1)) {
            Ok(Item::Here(bytes)) => take(Ok(&mut Whole { bytes, position }))?,
            Ok(Item::Elsewhere { first, len }) => match Overflow::new(pager, first, len) {
                Ok(mut blob) => take(Ok(&mut blob))?,
                Err(error) => take(Err(error))?,
            },
            Ok(Item::Deleted) => {}
            Err(error) => take(Err(error))?,
        }
    }
    Ok(())
}

/// A header that lies on the page itself.
struct Whole<'p> {
    bytes: &'p [u8],
    position: u64,
}

impl Blob for Whole<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn start(&mut self, _len: usize) -> Result<Vec<u8>, Error> {
        Ok(self.bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::{BASH, header};
    use block::Memory;

    const PAGE: usize = 512;

    /// A hash of one bucket on page 1, with the counter and one package, in either byte order.
    fn file(big: bool) -> Vec<u8> {
        let mut bytes = vec![0; 2 * PAGE];
        let mut u32 = |at: usize, value: u32| {
            let field = if big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            };
            bytes[at..at + 4].copy_from_slice(&field);
        };
        u32(12, 0x0006_1561);
        u32(16, 9);
        u32(20, 512);
        u32(32, 1);
        u32(96, 1);
        u32(PAGE + 8, 1);
        bytes[25] = 8;
        bytes[PAGE + 25] = page::HASH;
        let items = [
            &[1, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 9],
            &[1, 1, 0, 0, 0],
            &[&[1], &header(&BASH)[..]].concat(),
        ];
        let mut end = PAGE;
        let u16 = |bytes: &mut [u8], at: usize, value: usize| {
            let value = u16::try_from(value).unwrap();
            let field = if big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            };
            bytes[PAGE + at..PAGE + at + 2].copy_from_slice(&field);
        };
        u16(&mut bytes, 20, items.len());
        for (number, item) in items.iter().enumerate() {
            end -= item.len();
            bytes[PAGE + end..PAGE + end + item.len()].copy_from_slice(item);
            u16(&mut bytes, 26 + 2 * number, end);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<crate::List, String> {
        crate::read(&Memory::new(bytes), None).map_err(|error| match error {
            Error::Corrupt(reason) => reason.to_string(),
            Error::Unsupported(reason) => reason.to_string(),
            Error::Block(error) => panic!("{error}"),
        })
    }

    #[test]
    fn both_byte_orders_are_told_by_the_magic() {
        for big in [false, true] {
            let list = read(file(big)).unwrap();
            assert_eq!(list.packages.len(), 1);
            assert_eq!(list.packages[0].name, "bash");
        }
    }

    #[test]
    fn damage_says_what_and_where() {
        for (at, to, text) in [
            (16, 7, "version 7 of Berkeley DB"),
            (24, 1, "an encrypted Berkeley DB"),
            (26, 1, "with checksums"),
            (20, 1, "page size is 513"),
            (25, 9, "type of the page is 9"),
            (72, 9, "max_bucket is 9"),
            (96, 7, "page 7 lies beyond the end"),
            (PAGE + 8, 3, "the page at byte 512: number is 3"),
            (PAGE + 25, 5, "type is 5"),
            (PAGE + 16, 1, "again and again"),
            (PAGE + 27, 9, "place of an item is 0"),
        ] {
            let mut bytes = file(false);
            bytes[at] = to;
            let error = read(bytes).unwrap_err();
            assert!(error.contains(text), "{at}: {error}");
        }
        // An item that lies elsewhere, where nothing is: one package, not the list, is damaged.
        let mut bytes = file(false);
        let start = usize::from(u16::from_le_bytes([bytes[PAGE + 32], bytes[PAGE + 33]]));
        bytes[PAGE + start..PAGE + start + 12]
            .copy_from_slice(&[3, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0]);
        let list = read(bytes).unwrap();
        assert!(list.packages.is_empty());
        assert_eq!(
            list.damaged,
            ["page 9 lies beyond the end of the file, which has 2 pages"]
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bytes in [
            vec![],
            vec![0; 5],
            vec![7; 4096],
            b"SQLite format 3".to_vec(),
        ] {
            assert!(read(bytes).unwrap_err().contains("none of"));
        }
    }
}

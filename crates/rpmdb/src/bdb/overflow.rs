//! Chains of overflow pages.

use super::page::{OVERFLOW, Pager};
use crate::error::CorruptKind;
use crate::{Blob, Error, MAX_BLOB};
use ondisk::width::{u64_of, usize_of_u32};

/// A header on overflow pages.
#[derive(Debug)]
pub(super) struct Overflow<'p> {
    pager: &'p Pager<'p>,
    first: u32,
    len: usize,
}

impl<'p> Overflow<'p> {
    pub(super) fn new(pager: &'p Pager<'p>, first: u32, len: u32) -> Result<Self, Error> {
        if u64::from(len) > MAX_BLOB.min(pager.file_size()) {
            return Err(CorruptKind::Field {
                what: "the item on overflow pages",
                position: pager.position(first),
                field: "length",
                value: u64::from(len),
                expected: "no more than the file and rpm allow",
            }
            .into());
        }
        Ok(Self {
            pager,
            first,
            len: usize_of_u32(len),
        })
    }
}

impl Blob for Overflow<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn position(&self) -> u64 {
        self.pager.position(self.first)
    }

    fn start(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let wanted = len.min(self.len);
        let mut bytes = Vec::new();
        let mut number = self.first;
        // Every turn takes at least one of the bytes.
        while bytes.len() < wanted {
            let page = self.pager.page(number)?;
            if page.kind != OVERFLOW {
                return Err(page
                    .wrong("type", u32::from(page.kind), "that of an overflow page")
                    .into());
            }
            let part = page.body().get(..usize::from(page.high_free));
            let part = part.filter(|part| !part.is_empty()).ok_or_else(|| {
                let length = u32::from(page.high_free);
                page.wrong("length", length, "at least 1 and no more than the page")
            })?;
            bytes.extend_from_slice(part);
            if page.next == 0 && bytes.len() < wanted {
                return Err(CorruptKind::Field {
                    what: "the item on overflow pages",
                    position: self.position(),
                    field: "end",
                    value: u64_of(bytes.len()),
                    expected: "its whole length",
                }
                .into());
            }
            number = page.next;
        }
        bytes.truncate(self.len);
        Ok(bytes)
    }
}

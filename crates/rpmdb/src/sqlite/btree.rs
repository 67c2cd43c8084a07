//! Tables: B-trees of rows by number.

use super::header;
use super::pager::Pager;
use super::record::varint;
use crate::error::CorruptKind;
use crate::{Error, MAX_BLOB};
use ondisk::Cursor;
use ondisk::width::{u64_of, usize_of};

/// Types of pages.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// SQLite's own cursors go no deeper, `BTCURSOR_MAX_DEPTH`.
const MAX_DEPTH: u32 = 20;

/// Gives every row of the table whose root is page `root` to `take`, by number.
pub(super) fn rows(
    pager: &Pager<'_>,
    root: u32,
    take: &mut dyn FnMut(&Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    below(pager, root, MAX_DEPTH, take)
}

fn below(
    pager: &Pager<'_>,
    number: u32,
    depth: u32,
    take: &mut dyn FnMut(&Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let page = Page::read(pager, number)?;
    match page.kind {
        LEAF => {
            for cell in 0..page.cells {
                take(&page.row(cell)?)?;
            }
            Ok(())
        }
        INTERIOR => {
            let depth = depth.checked_sub(1).ok_or(CorruptKind::Cycle)?;
            for cell in 0..page.cells {
                below(pager, page.child(cell)?, depth, take)?;
            }
            below(pager, page.right, depth, take)
        }
        kind => Err(page
            .wrong("type", u64::from(kind), "that of a table")
            .into()),
    }
}

/// A page of a table.
struct Page<'p> {
    pager: &'p Pager<'p>,
    number: u32,
    kind: u8,
    cells: u16,
    /// The child behind all cells, on interior pages.
    right: u32,
    /// Where the places of the cells are listed.
    list: usize,
    bytes: Vec<u8>,
}

impl<'p> Page<'p> {
    fn read(pager: &'p Pager<'p>, number: u32) -> Result<Self, Error> {
        let bytes = pager.page(number)?;
        // The first page has the file's header before its own.
        let start = if number == 1 { header::LEN } else { 0 };
        let mut page = Self {
            pager,
            number,
            kind: 0,
            cells: 0,
            right: 0,
            list: 0,
            bytes,
        };
        let mut fields = || -> Result<(), ondisk::Short> {
            let mut cursor = Cursor::new(&page.bytes);
            cursor.skip(start)?;
            page.kind = cursor.u8()?;
            let _free = cursor.u16_be()?;
            page.cells = cursor.u16_be()?;
            // Where the cells begin, and how many bytes are lost between them.
            cursor.skip(3)?;
            if page.kind == INTERIOR {
                page.right = cursor.u32_be()?;
            }
            page.list = cursor.position();
            Ok(())
        };
        fields().map_err(|_| CorruptKind::Short {
            what: "the page",
            position: pager.position(number),
            field: "header",
        })?;
        Ok(page)
    }

    /// The bytes from a cell on.
    fn cell(&self, cell: u16) -> Result<&[u8], Error> {
        let at = usize::from(cell)
            .saturating_mul(2)
            .saturating_add(self.list);
        let place = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        let place = place.map(|place| usize::from(u16::from_be_bytes(*place)));
        // Before the list of cells there is none.
        let place = place.filter(|place| *place >= self.list);
        let bytes = place.and_then(|place| self.bytes.get(place..));
        let bad = || self.wrong("place of a cell", u64::from(cell), "one on the page");
        Ok(bytes.ok_or_else(bad)?)
    }

    fn child(&self, cell: u16) -> Result<u32, Error> {
        let child = Cursor::new(self.cell(cell)?).u32_be();
        let bad = |_| self.wrong("place of a cell", u64::from(cell), "one on the page");
        Ok(child.map_err(bad)?)
    }

    fn row(&self, cell: u16) -> Result<Row<'_>, Error> {
        let bad = || self.wrong("row", u64::from(cell), "one on the page");
        let bytes = self.cell(cell)?;
        let (len, bytes) = varint(bytes).ok_or_else(bad)?;
        let (_number, bytes) = varint(bytes).ok_or_else(bad)?;
        if len > MAX_BLOB.saturating_add(64).min(self.pager.most()) {
            let expected = "no more than the file and rpm allow";
            return Err(self.wrong("length of a row", len, expected).into());
        }
        let here = self.local(usize_of(len));
        let local = bytes.get(..here).ok_or_else(bad)?;
        let overflow = match u64_of(here) < len {
            true => {
                let rest = bytes.get(here..).unwrap_or_default();
                Cursor::new(rest).u32_be().map_err(|_| bad())?
            }
            false => 0,
        };
        Ok(Row {
            pager: self.pager,
            page: self.number,
            local,
            overflow,
            len,
        })
    }

    /// How much of a row stands on the leaf.
    fn local(&self, len: usize) -> usize {
        let usable = self.pager.usable();
        // A page has at least 480 usable bytes, so that nothing here is below zero.
        let most = usable.saturating_sub(35);
        if len <= most {
            return len;
        }
        let least = usable.saturating_sub(12).saturating_mul(32) / 255;
        let least = least.saturating_sub(23);
        let unit = usable.saturating_sub(4).max(1);
        let over = len.saturating_sub(least).checked_rem(unit).unwrap_or(0);
        let local = least.saturating_add(over);
        if local <= most { local } else { least }
    }

    fn wrong(&self, field: &'static str, value: u64, expected: &'static str) -> CorruptKind {
        CorruptKind::Field {
            what: "the page",
            position: self.pager.position(self.number),
            field,
            value,
            expected,
        }
    }
}

/// A row of a table.
pub(super) struct Row<'p> {
    pager: &'p Pager<'p>,
    page: u32,
    local: &'p [u8],
    /// The page on which it goes on; 0 for none.
    overflow: u32,
    len: u64,
}

impl Row<'_> {
    /// Bytes of the whole.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The byte of the file at which its page has its place.
    pub(super) fn position(&self) -> u64 {
        self.pager.position(self.page)
    }

    /// What is said of a row that makes no sense.
    pub(super) fn damaged(&self, what: &'static str) -> CorruptKind {
        CorruptKind::Short {
            what,
            position: self.position(),
            field: "columns",
        }
    }

    /// At least the first `len` bytes, or all there are.
    pub(super) fn start(&self, len: usize) -> Result<Vec<u8>, Error> {
        let wanted = len.min(usize_of(self.len));
        let mut bytes = self.local.to_vec();
        let mut next = self.overflow;
        // Every turn takes the better part of a page.
        while bytes.len() < wanted {
            let page = self.pager.page(next)?;
            let Some((head, body)) = page.split_first_chunk() else {
                break;
            };
            let left = usize_of(self.len).saturating_sub(bytes.len());
            bytes.extend_from_slice(body.get(..left).unwrap_or(body));
            next = u32::from_be_bytes(*head);
        }
        Ok(bytes)
    }
}

//! Pages, and the items on them.

use crate::Error;
use crate::error::CorruptKind;
use crate::file::File;
use ondisk::width::usize_of_u32;

/// The byte order of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = bytes.get(at..)?.first_chunk().copied()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(field),
            Self::Big => u32::from_be_bytes(field),
        })
    }

    pub(super) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = bytes.get(at..)?.first_chunk().copied()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(field),
            Self::Big => u16::from_be_bytes(field),
        })
    }
}

/// Reads pages by number.
#[derive(Debug)]
pub(super) struct Pager<'f> {
    file: &'f File<'f>,
    order: Order,
    page_size: u32,
    pages: u32,
}

/// `P_OVERHEAD`: bytes of the header of a page.
pub(super) const HEADER: usize = 26;
/// What a page is, at byte 25 of it.
pub(super) const HASH_UNSORTED: u8 = 2;
pub(super) const BTREE_INTERNAL: u8 = 3;
pub(super) const BTREE_LEAF: u8 = 5;
pub(super) const OVERFLOW: u8 = 7;
pub(super) const HASH: u8 = 13;

/// The kinds of items on hash pages, `H_KEYDATA` and `H_OFFPAGE`.
const HASH_HERE: u8 = 1;
const HASH_ELSEWHERE: u8 = 3;
/// The kinds of items on leaves, `B_KEYDATA` and `B_OVERFLOW`; deleted ones have `B_DELETE`, 0x80,
/// too.
const LEAF_HERE: u8 = 1;
const LEAF_ELSEWHERE: u8 = 3;

impl<'f> Pager<'f> {
    /// For a file whose meta page says that `last` is its last page.
    pub(super) fn new(
        file: &'f File<'f>,
        order: Order,
        page_size: u32,
        last: u32,
    ) -> Result<Self, Error> {
        let there = file.size().checked_div(u64::from(page_size)).unwrap_or(0);
        let pages = u64::from(last).saturating_add(1);
        // A file that was copied while it grew may end early: what is missing is missed when it is
        // needed.
        let pages = u32::try_from(pages.min(there)).unwrap_or(u32::MAX);
        if pages == 0 {
            let end = u64::from(page_size);
            return Err(CorruptKind::FileEnd { end }.into());
        }
        Ok(Self {
            file,
            order,
            page_size,
            pages,
        })
    }

    /// The number of the last page.
    pub(super) fn last(&self) -> u32 {
        self.pages.saturating_sub(1)
    }

    /// Bytes of the file.
    pub(super) fn file_size(&self) -> u64 {
        self.file.size()
    }

    /// The byte at which a page begins.
    pub(super) fn position(&self, number: u32) -> u64 {
        u64::from(number).saturating_mul(u64::from(self.page_size))
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`CorruptKind`] if there is no such page, or if it says that it is another one.
    pub(super) fn page(&self, number: u32) -> Result<Page, Error> {
        if number >= self.pages {
            let (page, pages) = (number, self.pages);
            return Err(CorruptKind::NoSuchPage { page, pages }.into());
        }
        let position = self.position(number);
        let bytes = self.file.read(position, usize_of_u32(self.page_size))?;
        let order = self.order;
        let u32 = |at| order.u32(&bytes, at).unwrap_or_default();
        let u16 = |at| order.u16(&bytes, at).unwrap_or_default();
        let page = Page {
            number: u32(8),
            next: u32(16),
            entries: u16(20),
            high_free: u16(22),
            kind: bytes.get(25).copied().unwrap_or_default(),
            order,
            position,
            bytes,
        };
        // A page that was made and not used yet is zeros.
        if page.number != number && page.bytes.iter().any(|byte| *byte != 0) {
            return Err(page
                .wrong("number", page.number, "that of its place")
                .into());
        }
        Ok(page)
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    number: u32,
    /// The page that goes on with what this one holds; 0 for none.
    pub(super) next: u32,
    /// Items on it.
    pub(super) entries: u16,
    /// `hf_offset`: where the items begin; on overflow pages, how many bytes are used.
    pub(super) high_free: u16,
    /// What it is.
    pub(super) kind: u8,
    order: Order,
    position: u64,
    bytes: Vec<u8>,
}

/// An item on a page.
#[derive(Debug)]
pub(super) enum Item<'p> {
    /// Its bytes.
    Here(&'p [u8]),
    /// Its bytes lie on overflow pages from `first` on.
    Elsewhere { first: u32, len: u32 },
    /// It was removed, or is one that packages never are.
    Deleted,
}

impl Page {
    /// The byte at which it begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The bytes behind the header.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// Item `number` of a hash page or a leaf.
    pub(super) fn item(&self, number: u16) -> Result<Item<'_>, Error> {
        let item = if self.kind == BTREE_LEAF {
            self.leaf_item(number)
        } else {
            self.hash_item(number)
        };
        let bad = || self.wrong("place of an item", u32::from(number), "one on the page");
        Ok(item.ok_or_else(bad)?)
    }

    /// The child that item `number` of an internal page names.
    pub(super) fn child(&self, number: u16) -> Result<u32, Error> {
        let at = self.place(number).and_then(|at| at.checked_add(4));
        let child = at.and_then(|at| self.order.u32(&self.bytes, at));
        let bad = || self.wrong("place of an item", u32::from(number), "one on the page");
        Ok(child.ok_or_else(bad)?)
    }

    /// Where item `number` begins.
    fn place(&self, number: u16) -> Option<usize> {
        if number >= self.entries {
            return None;
        }
        let at = usize::from(number).checked_mul(2)?.checked_add(HEADER)?;
        let place = usize::from(self.order.u16(&self.bytes, at)?);
        (place >= HEADER).then_some(place)
    }

    /// Items of hash pages follow each other from the end of the page downwards, so that each ends
    /// where the one before begins.
    fn hash_item(&self, number: u16) -> Option<Item<'_>> {
        let start = self.place(number)?;
        let end = match number.checked_sub(1) {
            Some(before) => self.place(before)?,
            None => self.bytes.len(),
        };
        let item = self.bytes.get(start..end)?;
        let (kind, data) = item.split_first()?;
        Some(match *kind {
            HASH_HERE => Item::Here(data),
            HASH_ELSEWHERE => Item::Elsewhere {
                first: self.order.u32(item, 4)?,
                len: self.order.u32(item, 8)?,
            },
            _ => Item::Deleted,
        })
    }

    fn leaf_item(&self, number: u16) -> Option<Item<'_>> {
        let item = self.bytes.get(self.place(number)?..)?;
        let len = usize::from(self.order.u16(item, 0)?);
        Some(match *item.get(2)? {
            LEAF_HERE => Item::Here(item.get(3..)?.get(..len)?),
            LEAF_ELSEWHERE => Item::Elsewhere {
                first: self.order.u32(item, 4)?,
                len: self.order.u32(item, 8)?,
            },
            _ => Item::Deleted,
        })
    }

    /// Whether the page is zeros: it was made with a bucket, and nothing was put into it yet.
    pub(super) fn is_unused(&self) -> bool {
        self.number == 0 && self.kind == 0
    }

    /// What is wrong with a field of this page.
    pub(super) fn wrong(
        &self,
        field: &'static str,
        value: u32,
        expected: &'static str,
    ) -> CorruptKind {
        CorruptKind::Field {
            what: "the page",
            position: self.position,
            field,
            value: u64::from(value),
            expected,
        }
    }
}

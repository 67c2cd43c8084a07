//! The first 100 bytes of the file.

use crate::Error;
use crate::error::{CorruptKind, UnsupportedKind};
use ondisk::Cursor;

/// How a file begins.
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of it.
pub(super) const LEN: usize = 100;

/// What the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// Bytes of a page: a power of two from 512 to 65536.
    pub(super) page_size: usize,
    /// Bytes of a page that the tables use: what is left at its end is an extension's.
    pub(super) usable: usize,
    /// Pages, where the last writer said.
    pub(super) pages: Option<u32>,
}

impl Header {
    /// Reads the header at the beginning of the first page.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = Fields::parse(bytes).map_err(|_| CorruptKind::Short {
            what: "the file's header",
            position: 0,
            field: "fields",
        })?;
        // 1 is 65536.
        let page_size = match u32::from(fields.page_size) {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => size,
            size => return Err(wrong("page size", size, "a power of two from 512 to 65536").into()),
        };
        // SQLite itself reads no file with less than 480 usable bytes on a page.
        let reserved = u32::from(fields.reserved);
        let usable = page_size
            .checked_sub(reserved)
            .filter(|usable| *usable >= 480);
        let Some(usable) = usable else {
            return Err(wrong("reserved bytes of a page", reserved, "fewer").into());
        };
        if fields.read_version > 2 {
            return Err(UnsupportedKind::Version {
                format: "SQLite",
                found: u32::from(fields.read_version),
                known: "1 and 2",
            }
            .into());
        }
        // 0 stands there until the first table is made.
        if fields.encoding > 1 {
            return Err(UnsupportedKind::Feature("an SQLite file of UTF-16 texts").into());
        }
        Ok(Self {
            page_size: ondisk::width::usize_of_u32(page_size),
            usable: ondisk::width::usize_of_u32(usable),
            pages: (fields.change_counter == fields.valid_for && fields.pages > 0)
                .then_some(fields.pages),
        })
    }
}

struct Fields {
    page_size: u16,
    read_version: u8,
    reserved: u8,
    change_counter: u32,
    pages: u32,
    encoding: u32,
    valid_for: u32,
}

impl Fields {
    fn parse(bytes: &[u8]) -> Result<Self, ondisk::Short> {
        let mut cursor = Cursor::new(bytes);
        cursor.skip(MAGIC.len())?;
        let page_size = cursor.u16_be()?;
        let _write_version = cursor.u8()?;
        let (read_version, reserved) = (cursor.u8()?, cursor.u8()?);
        // The fractions of a page that rows may take, which never changed.
        cursor.skip(3)?;
        let (change_counter, pages) = (cursor.u32_be()?, cursor.u32_be()?);
        // Free pages, schema cookie and format, cache size, largest root.
        cursor.skip(24)?;
        let encoding = cursor.u32_be()?;
        cursor.skip(32)?;
        let valid_for = cursor.u32_be()?;
        Ok(Self {
            page_size,
            read_version,
            reserved,
            change_counter,
            pages,
            encoding,
            valid_for,
        })
    }
}

fn wrong(field: &'static str, value: u32, expected: &'static str) -> CorruptKind {
    CorruptKind::Field {
        what: "the file's header",
        position: 0,
        field,
        value: u64::from(value),
        expected,
    }
}

//! SQLite. Source: "Database File Format", sqlite.org/fileformat2.html.
//!
//! A file is pages of one size, counted from 1; the first 100 bytes say which. The first page is
//! the root of the table of all tables. A table is a B-tree whose leaves hold rows by number. What
//! is committed in the log beside it, but not yet in the file, replaces pages.

mod btree;
mod header;
mod log;
mod pager;
mod record;

pub(crate) use header::MAGIC;

use crate::error::CorruptKind;
use crate::file::File;
use crate::{Blob, Error, Take};
use btree::Row;
use ondisk::width::usize_of;
use pager::Pager;
use record::{Record, Value};

/// The page of the table of tables.
const SCHEMA: u32 = 1;
/// More than a row of the table of tables ever has, and more than the head of a package's row.
const SCHEMA_ROW: usize = 16 << 10;
const ROW_HEAD: usize = 64;

/// Gives every header to `take`.
pub(crate) fn walk(
    file: &File<'_>,
    log: Option<&File<'_>>,
    take: &mut Take<'_>,
) -> Result<(), Error> {
    let pager = Pager::open(file, log)?;
    let mut root = None;
    btree::rows(&pager, SCHEMA, &mut |row| {
        let bytes = row.start(SCHEMA_ROW)?;
        let Some(record) = Record::parse(&bytes) else {
            return Err(row.damaged("the row of a table").into());
        };
        let text = |column| match record.value(column) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        };
        // type, name, tbl_name, rootpage, sql
        if text(0) == b"table"
            && text(1) == b"Packages"
            && let Some(Value::Integer(page)) = record.value(3)
        {
            root = u32::try_from(page).ok();
        }
        Ok(())
    })?;
    let root = root.ok_or(CorruptKind::NoTable)?;
    btree::rows(&pager, root, &mut |row| {
        let header = Header::of(row);
        match header {
            Ok(mut header) => take(Ok(&mut header)),
            Err(error) => take(Err(error)),
        }
    })
}

/// The header in a row of the packages.
struct Header<'r, 'p> {
    row: &'r Row<'p>,
    /// Where in the row it is.
    at: usize,
    len: usize,
}

impl<'r, 'p> Header<'r, 'p> {
    /// The second column: the first is the number of the row itself.
    fn of(row: &'r Row<'p>) -> Result<Self, Error> {
        let head = row.start(ROW_HEAD)?;
        let range = Record::range(&head, 1);
        let fits = range.filter(|range| range.end <= row.len());
        let range = fits.ok_or_else(|| row.damaged("the row of a package"))?;
        Ok(Self {
            row,
            at: usize_of(range.start),
            len: usize_of(range.end.saturating_sub(range.start)),
        })
    }
}

impl Blob for Header<'_, '_> {
    fn len(&self) -> usize {
        self.len
    }

    fn position(&self) -> u64 {
        self.row.position()
    }

    fn start(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let end = self.at.saturating_add(len.min(self.len));
        let mut bytes = self.row.start(end)?;
        bytes.truncate(end);
        bytes.drain(..self.at.min(bytes.len()));
        Ok(bytes)
    }
}

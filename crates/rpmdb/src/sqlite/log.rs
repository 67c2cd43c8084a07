//! The write-ahead log: whole pages, each with a running checksum, that count up to the last one
//! that ends a transaction. Source: "Write-Ahead Log File Format", sqlite.org/fileformat2.html#walformat.

use crate::Error;
use crate::error::UnsupportedKind;
use crate::file::File;
use ondisk::Cursor;
use ondisk::width::u64_of;
use std::collections::BTreeMap;

/// What the log holds beyond the file.
#[derive(Debug)]
pub(super) struct Log {
    /// Where the newest copy of each page lies.
    places: BTreeMap<u32, u64>,
    /// Pages of the whole after the last transaction.
    pages: u32,
}

const HEADER: u64 = 32;
const FRAME: u64 = 24;
/// The magic number without its last bit, which says that checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

impl Log {
    /// Reads a log; none if nothing in it counts.
    ///
    /// What is behind the last whole transaction, or of an earlier use of the file, is no damage.
    pub(super) fn read(file: &File<'_>, page_size: usize) -> Result<Option<Self>, Error> {
        let bytes = file.up_to(0, 32)?;
        let Some(header) = Header::parse(&bytes) else {
            return Ok(None);
        };
        if header.format != FORMAT {
            return Err(UnsupportedKind::Version {
                format: "SQLite's log",
                found: header.format,
                known: "only 3007000",
            }
            .into());
        }
        let mut sum = header.sum;
        if header.page_size != u64_of(page_size) || sum.0 != header.found {
            return Ok(None);
        }
        let mut log = Self {
            places: BTreeMap::new(),
            pages: 0,
        };
        let mut open: BTreeMap<u32, u64> = BTreeMap::new();
        let mut at = HEADER;
        let size = FRAME.saturating_add(u64_of(page_size));
        while at.saturating_add(size) <= file.size() {
            let bytes = file.read(at, ondisk::width::usize_of(size))?;
            let Some(frame) = Frame::parse(&bytes) else {
                break;
            };
            sum.add(bytes.get(..8).unwrap_or_default());
            sum.add(bytes.get(24..).unwrap_or_default());
            if frame.salt != header.salt || frame.sum != sum.0 || frame.page == 0 {
                break;
            }
            open.insert(frame.page, at.saturating_add(FRAME));
            if frame.pages_after > 0 {
                log.places.append(&mut open);
                log.pages = frame.pages_after;
            }
            at = at.saturating_add(size);
        }
        Ok((log.pages > 0).then_some(log))
    }

    /// The byte of the log at which the newest copy of a page lies.
    pub(super) fn place(&self, page: u32) -> Option<u64> {
        self.places.get(&page).copied()
    }

    /// Pages of the whole after the last transaction.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }
}

struct Header {
    format: u32,
    page_size: u64,
    salt: [u32; 2],
    /// The checksum that stands there, and the computed one.
    found: [u32; 2],
    sum: Sum,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.u32_be().ok()?;
        if magic & !1 != MAGIC {
            return None;
        }
        let (format, page_size) = (cursor.u32_be().ok()?, cursor.u32_be().ok()?);
        let _checkpoints = cursor.u32_be().ok()?;
        let salt = [cursor.u32_be().ok()?, cursor.u32_be().ok()?];
        let found = [cursor.u32_be().ok()?, cursor.u32_be().ok()?];
        let mut sum = Sum([0; 2], magic & 1 == 1);
        sum.add(bytes.get(..24)?);
        Some(Self {
            format,
            page_size: u64::from(page_size),
            salt,
            found,
            sum,
        })
    }
}

struct Frame {
    page: u32,
    /// Pages of the whole, where a transaction ends; else 0.
    pages_after: u32,
    salt: [u32; 2],
    sum: [u32; 2],
}

impl Frame {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        Some(Self {
            page: cursor.u32_be().ok()?,
            pages_after: cursor.u32_be().ok()?,
            salt: [cursor.u32_be().ok()?, cursor.u32_be().ok()?],
            sum: [cursor.u32_be().ok()?, cursor.u32_be().ok()?],
        })
    }
}

/// The running checksum, and whether it takes words as big-endian.
struct Sum([u32; 2], bool);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let Self([first, second], big) = self;
        for word in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
            let [one, two] = word.map(|word| match big {
                true => u32::from_be_bytes(word),
                false => u32::from_le_bytes(word),
            });
            *first = first.wrapping_add(one).wrapping_add(*second);
            *second = second.wrapping_add(two).wrapping_add(*first);
        }
    }
}

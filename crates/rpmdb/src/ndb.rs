//! ndb: rpm's own format. Source: rpm's `lib/backend/ndb/rpmpkg.c`.
//!
//! The first pages of 4096 bytes hold slots of 16 bytes, after a header in the place of the first
//! two. A slot says in which run of 16-byte blocks a package lies. All numbers are little-endian.

use crate::error::{CorruptKind, UnsupportedKind};
use crate::file::File;
use crate::{Blob, Error, MAX_BLOB, Take};
use ondisk::Cursor;
use ondisk::width::{u64_of, usize_of_u32};

/// How a file begins.
pub(crate) const MAGIC: &[u8] = b"RpmP";
const VERSION: u32 = 0;
const PAGE: u64 = 4096;
/// Bytes of the header, of a slot, of the unit in which slots count.
const HEADER: u64 = 32;
const SLOT: usize = 16;
const BLOCK: u64 = 16;
const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"Slot");
const HEAD_MAGIC: u32 = u32::from_le_bytes(*b"BlbS");
const TAIL_MAGIC: u32 = u32::from_le_bytes(*b"BlbE");
/// Bytes before and behind the header in a blob.
const HEAD: usize = 16;
const TAIL: usize = 12;

/// One used slot.
struct Slot {
    position: u64,
    package: u32,
    first_block: u32,
    blocks: u32,
}

/// Gives every header to `take`.
pub(crate) fn walk(file: &File<'_>, take: &mut Take<'_>) -> Result<(), Error> {
    let header = file.read(0, 32)?;
    let mut cursor = Cursor::new(&header);
    let mut field = |name| cursor.u32_le().map_err(|_| short("the file", 0, name));
    let (_magic, version) = (field("magic")?, field("version")?);
    let (_generation, pages) = (field("generation")?, field("slot pages")?);
    if version != VERSION {
        return Err(UnsupportedKind::Version {
            format: "ndb",
            found: version,
            known: "only 0",
        }
        .into());
    }
    let end = u64::from(pages).saturating_mul(PAGE);
    if pages == 0 || end > file.size() {
        return Err(wrong(
            "the file",
            0,
            "number of slot pages",
            pages,
            "no more than there are",
        )
        .into());
    }
    let mut at = HEADER;
    while at < end {
        let page_end = (at.saturating_add(PAGE) & !(PAGE.wrapping_sub(1))).min(end);
        let len = ondisk::width::usize_of(page_end.saturating_sub(at));
        let page = file.read(at, len)?;
        for (slot, bytes) in page.chunks_exact(SLOT).enumerate() {
            let position = at.saturating_add(u64_of(slot.saturating_mul(SLOT)));
            if let Some(slot) = Slot::parse(position, bytes)? {
                match slot.blob(file) {
                    Ok(mut blob) => take(Ok(&mut blob))?,
                    Err(error) => take(Err(error))?,
                }
            }
        }
        at = page_end;
    }
    Ok(())
}

impl Slot {
    /// A slot of a package; none if it is free.
    fn parse(position: u64, bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut cursor = Cursor::new(bytes);
        let mut field = |name| cursor.u32_le().map_err(|_| short("a slot", position, name));
        let magic = field("magic")?;
        if magic != SLOT_MAGIC {
            return Err(wrong("a slot", position, "magic", magic, "\"Slot\"").into());
        }
        let slot = Self {
            position,
            package: field("package")?,
            first_block: field("first block")?,
            blocks: field("block count")?,
        };
        Ok((slot.package != 0 && slot.first_block != 0).then_some(slot))
    }

    fn blob<'f>(&self, file: &'f File<'f>) -> Result<Stored<'f>, Error> {
        let position = u64::from(self.first_block).saturating_mul(BLOCK);
        let size = u64::from(self.blocks).saturating_mul(BLOCK);
        let fits = position
            .checked_add(size)
            .is_some_and(|end| end <= file.size());
        if !fits || size > MAX_BLOB || size < u64_of(HEAD.saturating_add(TAIL)) {
            let expected = "those of one blob in the file";
            let blocks = self.blocks;
            return Err(wrong("a slot", self.position, "block count", blocks, expected).into());
        }
        let head = file.read(position, HEAD)?;
        let mut cursor = Cursor::new(&head);
        let mut field = |name| cursor.u32_le().map_err(|_| short("a blob", position, name));
        let (magic, package) = (field("magic")?, field("package")?);
        let (_generation, len) = (field("generation")?, field("length")?);
        if magic != HEAD_MAGIC {
            return Err(wrong("a blob", position, "magic", magic, "\"BlbS\"").into());
        }
        if package != self.package {
            return Err(wrong("a blob", position, "package", package, "that of its slot").into());
        }
        let room = size.saturating_sub(u64_of(HEAD.saturating_add(TAIL)));
        if u64::from(len) > room {
            return Err(wrong("a blob", position, "length", len, "no more than its blocks").into());
        }
        Ok(Stored {
            file,
            position,
            size: ondisk::width::usize_of(size),
            len: usize_of_u32(len),
        })
    }
}

/// A blob whose head is sound.
struct Stored<'f> {
    file: &'f File<'f>,
    position: u64,
    /// Bytes of its blocks.
    size: usize,
    /// Bytes of the header in it.
    len: usize,
}

impl Blob for Stored<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn position(&self) -> u64 {
        self.position.saturating_add(u64_of(HEAD))
    }

    /// All of it, since the checksum is over all of it.
    fn start(&mut self, _len: usize) -> Result<Vec<u8>, Error> {
        let position = self.position;
        let mut bytes = self.file.read(position, self.size)?;
        let tail = bytes.split_off(bytes.len().saturating_sub(TAIL));
        let mut cursor = Cursor::new(&tail);
        let mut field = |name| cursor.u32_le().map_err(|_| short("a blob", position, name));
        let (found, len, magic) = (field("checksum")?, field("length")?, field("end")?);
        if magic != TAIL_MAGIC {
            return Err(wrong("a blob", position, "end", magic, "\"BlbE\"").into());
        }
        if usize_of_u32(len) != self.len {
            return Err(wrong("a blob", position, "second length", len, "the first").into());
        }
        let computed = adler32(&bytes);
        if found != computed {
            let what = "a blob";
            return Err(CorruptKind::Checksum {
                what,
                position,
                found,
                computed,
            }
            .into());
        }
        bytes.drain(..HEAD.min(bytes.len()));
        bytes.truncate(self.len);
        Ok(bytes)
    }
}

/// Adler-32 of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    /// So many bytes keep both sums below 2^32.
    const BATCH: usize = 5552;
    let (mut low, mut high) = (1_u32, 0_u32);
    for batch in bytes.chunks(BATCH) {
        for byte in batch {
            low = low.wrapping_add(u32::from(*byte));
            high = high.wrapping_add(low);
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    (high << 16) | low
}

fn short(what: &'static str, position: u64, field: &'static str) -> CorruptKind {
    CorruptKind::Short {
        what,
        position,
        field,
    }
}

fn wrong(
    what: &'static str,
    position: u64,
    field: &'static str,
    value: u32,
    expected: &'static str,
) -> CorruptKind {
    CorruptKind::Field {
        what,
        position,
        field,
        value: u64::from(value),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::{BASH, header};
    use block::Memory;

    /// A file with one slot page, and this header in slots 5 and 9.
    fn file(header: &[u8]) -> Vec<u8> {
        let field = |bytes: &mut [u8], at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        let mut bytes = vec![0; 4096];
        for slot in (32..4096).step_by(16) {
            bytes[slot..slot + 4].copy_from_slice(b"Slot");
        }
        bytes[..4].copy_from_slice(MAGIC);
        field(&mut bytes, 12, 1);
        for (slot, package) in [(5, 3), (9, 4)] {
            let mut blob = [&b"BlbS"[..], &[0; 12], header].concat();
            let len = u32::try_from(header.len()).unwrap();
            field(&mut blob, 4, package);
            field(&mut blob, 12, len);
            blob.resize((blob.len() + TAIL).next_multiple_of(16) - TAIL, 0);
            let sum = adler32(&blob).to_le_bytes();
            blob.extend([&sum[..], &len.to_le_bytes(), b"BlbE"].concat());
            let first = u32::try_from(bytes.len() / 16).unwrap();
            for (at, value) in [
                (4, package),
                (8, first),
                (12, u32::try_from(blob.len() / 16).unwrap()),
            ] {
                field(&mut bytes, slot * 16 + at, value);
            }
            bytes.extend(blob);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> (usize, String) {
        match crate::read(&Memory::new(bytes), None) {
            Ok(list) => (list.packages.len(), list.damaged.join(", ")),
            Err(Error::Corrupt(reason)) => (0, reason.to_string()),
            Err(Error::Unsupported(reason)) => (0, reason.to_string()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn slots_lead_to_packages() {
        let sound = file(&header(&BASH));
        assert_eq!(read(sound.clone()), (2, String::new()));
        let changed = |at: usize, to: u8| {
            let mut bytes = sound.clone();
            bytes[at] = to;
            read(bytes)
        };
        let slot = 5 * 16;
        let wrong = |(found, text): (usize, String), wanted: (usize, &str)| {
            assert!(
                found == wanted.0 && text.contains(wanted.1),
                "{found} {text}"
            );
        };
        wrong(changed(4, 1), (0, "version 1 of ndb"));
        wrong(changed(13, 9), (0, "number of slot pages is 2305"));
        wrong(changed(slot, b'x'), (0, "a slot at byte 80: magic"));
        // What is wrong with one package leaves the other.
        wrong(changed(slot + 13, 9), (1, "block count"));
        wrong(changed(slot + 12, 1), (1, "block count"));
        wrong(changed(4096, b'x'), (1, "a blob at byte 4096: magic"));
        wrong(changed(4100, 9), (1, "package is 9"));
        wrong(changed(4096 + 13, 9), (1, "length"));
        wrong(changed(4096 + 12, 9), (1, "second length"));
        wrong(changed(4200, 9), (1, "checksum"));
        // A free slot is no package.
        wrong(changed(slot + 4, 0), (1, ""));
    }
}

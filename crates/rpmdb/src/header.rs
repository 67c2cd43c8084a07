//! A header: a table of tags and the data behind it. Source: rpm's `lib/header.c`, "The RPM
//! Package File Format".
//!
//! In a list the header has no magic: the number of index entries and the bytes of data come
//! first, then 16 bytes for each entry (tag, type, offset, count), then the data. All numbers are
//! big-endian.

use crate::error::CorruptKind;
use crate::{Blob, Error, Package};
use ondisk::Cursor;
use ondisk::width::usize_of_u32;

/// How much of a header is read first: its index and what stands before the lists of files.
const BEGINNING: usize = 8 << 10;
/// The most index entries and bytes of data that rpm accepts, `hdrchkTags` and `hdrchkData`.
const MAX_ENTRIES: u32 = 0xffff;
const MAX_DATA: u32 = 0x0fff_ffff;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const ARCH: u32 = 1022;

const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;

/// The package that a header describes.
///
/// # Errors
/// [`CorruptKind`] that says where the header lies and what is wrong with it.
pub(crate) fn package(blob: &mut dyn Blob) -> Result<Package, Error> {
    let bytes = blob.start(BEGINNING)?;
    let whole = bytes.len() >= blob.len();
    match (Header::new(blob, &bytes).package(), whole) {
        // What was looked for may stand behind.
        (Err(CorruptKind::Short { .. }), false) => {
            let bytes = blob.start(blob.len())?;
            Ok(Header::new(blob, &bytes).package()?)
        }
        (result, _) => Ok(result?),
    }
}

/// A header, or its beginning.
struct Header<'b> {
    bytes: &'b [u8],
    /// Bytes of the whole header.
    len: usize,
    position: u64,
}

/// One entry of the index.
struct Entry {
    kind: u32,
    offset: u32,
    count: u32,
}

impl<'b> Header<'b> {
    fn new(blob: &dyn Blob, bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            len: blob.len(),
            position: blob.position(),
        }
    }

    fn package(&self) -> Result<Package, CorruptKind> {
        let mut cursor = Cursor::new(self.bytes);
        let short = |field| move |_| self.short(field);
        let entries = cursor.u32_be().map_err(short("counts"))?;
        let data = cursor.u32_be().map_err(short("counts"))?;
        if entries == 0 || entries > MAX_ENTRIES {
            return Err(self.wrong("number of entries", entries, "1 to 65535"));
        }
        if data > MAX_DATA {
            return Err(self.wrong("size of the data", data, "at most 256 MiB"));
        }
        let index = usize_of_u32(entries).saturating_mul(16);
        let size = index.saturating_add(8).saturating_add(usize_of_u32(data));
        if size > self.len {
            return Err(self.wrong("size of the data", data, "no more than there is"));
        }
        let mut index = cursor.sub(index).map_err(short("index"))?;
        let store = cursor.rest();

        let (mut name, mut version, mut release) = (None, None, None);
        let mut package = Package::default();
        while !index.is_empty() {
            let tag = index.u32_be().map_err(short("index"))?;
            let entry = Entry {
                kind: index.u32_be().map_err(short("index"))?,
                offset: index.u32_be().map_err(short("index"))?,
                count: index.u32_be().map_err(short("index"))?,
            };
            match tag {
                NAME => name = Some(self.text(store, data, &entry)?),
                VERSION => version = Some(self.text(store, data, &entry)?),
                RELEASE => release = Some(self.text(store, data, &entry)?),
                ARCH => package.arch = Some(self.text(store, data, &entry)?),
                VENDOR => package.vendor = Some(self.text(store, data, &entry)?),
                EPOCH => package.epoch = Some(self.number(store, data, &entry)?),
                _ => {}
            }
        }
        let missing = |tag| CorruptKind::MissingTag {
            position: self.position,
            tag,
        };
        package.name = name.ok_or_else(|| missing("name"))?;
        package.version = version.ok_or_else(|| missing("version"))?;
        package.release = release.ok_or_else(|| missing("release"))?;
        Ok(package)
    }

    /// A text; what is not UTF-8 in it gets replacement characters.
    fn text(&self, store: &[u8], size: u32, entry: &Entry) -> Result<String, CorruptKind> {
        if entry.kind != TYPE_STRING {
            return Err(self.wrong("type of a text", entry.kind, "6"));
        }
        let bytes = self.data(store, size, entry)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let text = end.and_then(|end| bytes.get(..end));
        let text = text.ok_or_else(|| self.short("texts"))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, store: &[u8], size: u32, entry: &Entry) -> Result<u32, CorruptKind> {
        if entry.kind != TYPE_INT32 {
            return Err(self.wrong("type of a number", entry.kind, "4"));
        }
        let bytes = self.data(store, size, entry)?;
        let number = Cursor::new(bytes).u32_be();
        number.map_err(|_| self.short("numbers"))
    }

    /// The data from where an entry says on.
    fn data<'s>(&self, store: &'s [u8], size: u32, entry: &Entry) -> Result<&'s [u8], CorruptKind> {
        if entry.offset >= size {
            return Err(self.wrong("offset of a tag", entry.offset, "less than the data"));
        }
        if entry.count != 1 {
            return Err(self.wrong("count of a tag", entry.count, "1"));
        }
        // Behind the data of this header nothing belongs to it.
        let store = store.get(..usize_of_u32(size)).unwrap_or(store);
        let data = store.get(usize_of_u32(entry.offset)..);
        data.ok_or_else(|| self.short("data"))
    }

    fn wrong(&self, field: &'static str, value: u32, expected: &'static str) -> CorruptKind {
        CorruptKind::Field {
            what: "the header",
            position: self.position,
            field,
            value: u64::from(value),
            expected,
        }
    }

    fn short(&self, field: &'static str) -> CorruptKind {
        CorruptKind::Short {
            what: "the header",
            position: self.position,
            field,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A blob in memory.
    struct Bytes(Vec<u8>);

    impl Blob for Bytes {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn position(&self) -> u64 {
            77
        }
        fn start(&mut self, len: usize) -> Result<Vec<u8>, Error> {
            Ok(self.0[..len.min(self.0.len())].to_vec())
        }
    }

    /// A header of these tags: texts, or a number where the text is one after `#`.
    pub(crate) fn header(tags: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, text) in tags {
            let number = text.strip_prefix('#').map(|n| n.parse::<u32>().unwrap());
            let kind = if number.is_some() {
                data.resize(data.len().next_multiple_of(4), 0);
                TYPE_INT32
            } else {
                TYPE_STRING
            };
            for field in [*tag, kind, u32::try_from(data.len()).unwrap(), 1] {
                index.extend(field.to_be_bytes());
            }
            match number {
                Some(number) => data.extend(number.to_be_bytes()),
                None => data.extend([text.as_bytes(), b"\0"].concat()),
            }
        }
        let counts = [tags.len(), data.len()].map(|n| u32::try_from(n).unwrap().to_be_bytes());
        [&counts.concat()[..], &index, &data].concat()
    }

    pub(crate) const BASH: [(u32, &str); 5] = [
        (NAME, "bash"),
        (VERSION, "5.1.8"),
        (RELEASE, "9.el9"),
        (EPOCH, "#1"),
        (ARCH, "x86_64"),
    ];

    fn read(bytes: Vec<u8>) -> Result<Package, String> {
        package(&mut Bytes(bytes)).map_err(|error| match error {
            Error::Corrupt(reason) => reason.to_string(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_header_is_a_package() {
        let package = read(header(&BASH)).unwrap();
        assert_eq!(package.to_string(), "bash-1:5.1.8-9.el9.x86_64");
        assert_eq!(package.vendor, None);
    }

    #[test]
    fn what_stands_behind_the_beginning_is_read_too() {
        let long = "x".repeat(3 * BEGINNING);
        let tags = [&[(1005, long.as_str())], &BASH[..]].concat();
        assert_eq!(read(header(&tags)).unwrap().name, "bash");
        let many: Vec<_> = (5000..6000).map(|tag| (tag, "")).chain(BASH).collect();
        assert_eq!(read(header(&many)).unwrap().name, "bash");
    }

    #[test]
    fn damage_says_what_and_where() {
        let sound = header(&BASH);
        let changed = |at: usize, to: u32| {
            let mut bytes = sound.clone();
            bytes[at..at + 4].copy_from_slice(&to.to_be_bytes());
            read(bytes).unwrap_err()
        };
        assert_eq!(
            changed(0, 0),
            "the header at byte 77: number of entries is 0, 1 to 65535 expected"
        );
        assert!(changed(0, 70_000).contains("number of entries"));
        assert!(changed(4, 1 << 30).contains("256 MiB"));
        assert!(changed(4, 9999).contains("no more than there is"));
        assert!(changed(8, 1).contains("has no name"));
        assert!(changed(12, 7).contains("type of a text is 7"));
        assert!(changed(16, 9999).contains("offset of a tag"));
        assert!(changed(20, 2).contains("count of a tag"));
        assert!(read(sound[..6].to_vec()).unwrap_err().contains("counts"));
        let unended = sound[..sound.len() - 1].to_vec();
        assert!(read(unended).unwrap_err().contains("no more than there is"));
        let mut unended = sound.clone();
        *unended.last_mut().unwrap() = b'!';
        assert!(read(unended).unwrap_err().contains("before its texts"));
    }
}

//! Linear directory entries: a chain of records that fills its area.

use fs::Kind;
use ondisk::Cursor;
use std::ops::Range;

/// What a name names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The inode's number.
    pub(crate) inode: u32,
    /// What the entry says it is, if it says so.
    pub(crate) kind: Option<Kind>,
}

/// A name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Name {
    /// The name.
    pub(crate) name: Vec<u8>,
    /// What it names.
    pub(crate) found: Found,
}

/// An area of entries: a block without its tail, or a part of an inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    /// Bytes of the block, which decide how record lengths are written.
    pub(super) block_size: usize,
    /// Whether entries tell kinds.
    pub(super) file_type: bool,
    /// The highest inode number.
    pub(super) inodes_count: u32,
}

/// One record: in use, or free space if it names inode 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Where the record starts in its area.
    pub(super) at: usize,
    /// Bytes to the next record.
    pub(super) rec_len: usize,
    /// The inode number; 0 in free space.
    pub(super) inode: u32,
    /// What `file_type` says.
    pub(super) kind: Option<Kind>,
    /// The name.
    pub(super) name: &'a [u8],
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: &'static str,
    pub(super) value: u64,
}

/// Bytes before the name.
pub(super) const HEADER: usize = 8;
/// Bytes of the shortest record that can hold a name.
pub(super) const SHORTEST: usize = 12;

/// Bytes that a record with a name of `name_len` bytes takes at least.
pub(super) fn record_len(name_len: usize) -> usize {
    HEADER.saturating_add(name_len).next_multiple_of(4)
}

impl Area {
    /// Walks the records of `bytes`; ends after the first fault.
    pub(super) fn entries<'a>(
        self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<Entry<'a>, Fault>> {
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            if at >= bytes.len() {
                return None;
            }
            let entry = self.entry(bytes, at);
            // A sound record is longer than nothing, so the walk gets on.
            at = entry
                .as_ref()
                .map_or(bytes.len(), |entry| at.saturating_add(entry.rec_len));
            Some(entry)
        })
    }

    fn entry(self, bytes: &[u8], at: usize) -> Result<Entry<'_>, Fault> {
        let fault = |reason, value: usize| Fault {
            at,
            reason,
            value: ondisk::width::u64_of(value),
        };
        let rest = bytes.get(at..).unwrap_or_default();
        let short = |_| fault("the entry does not fit into what is left", rest.len());
        let mut cursor = Cursor::new(rest);
        let inode = cursor.u32_le().map_err(short)?;
        let raw_rec_len = cursor.u16_le().map_err(short)?;
        let [name_len, file_type] = cursor.take_array().map_err(short)?;
        let rec_len = rec_len_from_disk(raw_rec_len, self.block_size);
        let name_len = usize::from(name_len);
        if rec_len < SHORTEST || !rec_len.is_multiple_of(4) {
            return Err(fault("rec_len is no length of a record", rec_len));
        }
        if rec_len < record_len(name_len) {
            return Err(fault("rec_len is too small for the name", rec_len));
        }
        let left = rest.len().checked_sub(rec_len);
        if !left.is_some_and(|left| left == 0 || left >= SHORTEST) {
            return Err(fault("rec_len leaves the block", rec_len));
        }
        if inode > self.inodes_count {
            return Err(fault(
                "the inode does not exist",
                ondisk::width::usize_of_u32(inode),
            ));
        }
        let name = cursor.take(name_len).map_err(short)?;
        if inode != 0 && (name.contains(&0) || name.contains(&b'/')) {
            return Err(fault("the name holds NUL or a slash", name_len));
        }
        let kind = if self.file_type {
            kind_from_raw(file_type)
        } else {
            None
        };
        Ok(Entry {
            at,
            rec_len,
            inode,
            kind,
            name,
        })
    }

    /// Finds `name` among `bytes`.
    pub(super) fn find<'a>(self, bytes: &'a [u8], name: &[u8]) -> Result<Option<Entry<'a>>, Fault> {
        for entry in self.entries(bytes) {
            let entry = entry?;
            if entry.is_name() && entry.name == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Every name but `.` and `..`.
    pub(super) fn names(self, bytes: &[u8]) -> Result<Vec<Name>, Fault> {
        let mut names = Vec::new();
        for entry in self.entries(bytes) {
            let entry = entry?;
            if entry.is_name() && entry.name != b"." && entry.name != b".." {
                names.push(entry.to_name());
            }
        }
        Ok(names)
    }

    /// Puts a name into the first gap that is large enough; false if there is none.
    pub(super) fn insert(
        self,
        bytes: &mut [u8],
        name: &[u8],
        target: Found,
    ) -> Result<bool, Fault> {
        let needed = record_len(name.len());
        let mut gap = None;
        for entry in self.entries(bytes) {
            let entry = entry?;
            let used = entry.used();
            if entry.rec_len.saturating_sub(used) >= needed {
                gap = Some((entry.at, used, entry.rec_len));
                break;
            }
        }
        let Some((at, used, rec_len)) = gap else {
            return Ok(false);
        };
        let start = at.saturating_add(used);
        if used > 0 {
            self.put_rec_len(bytes, at, used);
        }
        self.put(bytes, start, rec_len.saturating_sub(used), name, target);
        Ok(true)
    }

    /// Removes a name: its record becomes part of the one before, or free space.
    pub(super) fn remove(self, bytes: &mut [u8], name: &[u8]) -> Result<bool, Fault> {
        let mut before: Option<Range<usize>> = None;
        let mut hit = None;
        for entry in self.entries(bytes) {
            let entry = entry?;
            let range = entry.at..entry.at.saturating_add(entry.rec_len);
            if entry.is_name() && entry.name == name {
                hit = Some(range);
                break;
            }
            before = Some(range);
        }
        let Some(hit) = hit else { return Ok(false) };
        match before {
            Some(before) => {
                let len = hit.end.saturating_sub(before.start);
                self.put_rec_len(bytes, before.start, len);
                bytes[hit].fill(0);
            }
            None => {
                let rec_len = hit.len();
                bytes[hit.clone()].fill(0);
                self.put_rec_len(bytes, hit.start, rec_len);
            }
        }
        Ok(true)
    }

    /// Lets a name that is there name something else.
    pub(super) fn retarget(
        self,
        bytes: &mut [u8],
        name: &[u8],
        target: Found,
    ) -> Result<bool, Fault> {
        let Some(entry) = self.find(bytes, name)? else {
            return Ok(false);
        };
        let at = entry.at;
        bytes[at..][..4].copy_from_slice(&target.inode.to_le_bytes());
        if self.file_type {
            bytes[at.saturating_add(7)] = raw_from_kind(target.kind);
        }
        Ok(true)
    }

    /// Writes a record of `rec_len` bytes at `at`; the room for it must have been found before.
    pub(super) fn put(
        self,
        bytes: &mut [u8],
        at: usize,
        rec_len: usize,
        name: &[u8],
        target: Found,
    ) {
        let kind = if self.file_type {
            raw_from_kind(target.kind)
        } else {
            0
        };
        // Names are at most 255 bytes long: longer ones are refused before they get here.
        let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let record = &mut bytes[at..][..rec_len];
        let (header, rest) = record.split_at_mut(HEADER);
        header[..4].copy_from_slice(&target.inode.to_le_bytes());
        header[6] = name_len;
        header[7] = kind;
        rest.fill(0);
        rest[..name.len()].copy_from_slice(name);
        self.put_rec_len(bytes, at, rec_len);
    }

    pub(super) fn put_rec_len(self, bytes: &mut [u8], at: usize, rec_len: usize) {
        let raw = rec_len_to_disk(rec_len, self.block_size);
        bytes[at.saturating_add(4)..][..2].copy_from_slice(&raw.to_le_bytes());
    }

    /// Makes all of `bytes` one free record.
    pub(super) fn clear(self, bytes: &mut [u8]) {
        bytes.fill(0);
        self.put_rec_len(bytes, 0, bytes.len());
    }
}

impl Entry<'_> {
    /// Whether the record is in use.
    pub(super) fn is_name(&self) -> bool {
        self.inode != 0 && !self.name.is_empty()
    }

    /// Bytes of the record that its own name takes.
    fn used(&self) -> usize {
        if self.inode == 0 {
            0
        } else {
            record_len(self.name.len()).max(SHORTEST)
        }
    }

    pub(super) fn found(&self) -> Found {
        Found {
            inode: self.inode,
            kind: self.kind,
        }
    }

    pub(super) fn to_name(self) -> Name {
        Name {
            name: self.name.to_vec(),
            found: self.found(),
        }
    }
}

/// Reads `rec_len`: with blocks of 64 KiB the length of a whole block does not fit, and the two
/// low bits, which are zero in any length, stand for the two bits above the field.
pub(super) fn rec_len_from_disk(raw: u16, block_size: usize) -> usize {
    let len = usize::from(raw);
    if block_size < 1 << 16 {
        len
    } else if raw == u16::MAX || raw == 0 {
        block_size
    } else {
        (len & 0xfffc) | ((len & 3) << 16)
    }
}

pub(super) fn rec_len_to_disk(len: usize, block_size: usize) -> u16 {
    match u16::try_from(len) {
        Ok(raw) => raw,
        Err(_) if len >= block_size => u16::MAX,
        Err(_) => {
            let folded = (len & 0xfffc) | ((len >> 16) & 3);
            u16::try_from(folded).unwrap_or(u16::MAX)
        }
    }
}

fn kind_from_raw(file_type: u8) -> Option<Kind> {
    // The upper bits were once flags; the kernel masks nothing, but knows no larger number.
    Some(match file_type {
        1 => Kind::File,
        2 => Kind::Dir,
        3 => Kind::CharDevice,
        4 => Kind::BlockDevice,
        5 => Kind::Fifo,
        6 => Kind::Socket,
        7 => Kind::Symlink,
        _ => return None,
    })
}

fn raw_from_kind(kind: Option<Kind>) -> u8 {
    match kind {
        None => 0,
        Some(Kind::File) => 1,
        Some(Kind::Dir) => 2,
        Some(Kind::CharDevice) => 3,
        Some(Kind::BlockDevice) => 4,
        Some(Kind::Fifo) => 5,
        Some(Kind::Socket) => 6,
        Some(Kind::Symlink) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area {
        block_size: 1024,
        file_type: true,
        inodes_count: 100,
    };
    const TARGET: Found = Found {
        inode: 12,
        kind: Some(Kind::File),
    };

    fn with(names: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        AREA.clear(&mut bytes);
        for name in names {
            assert_eq!(AREA.insert(&mut bytes, name, TARGET), Ok(true));
        }
        bytes
    }

    fn names(bytes: &[u8]) -> Vec<Vec<u8>> {
        let names = AREA.names(bytes).unwrap();
        names.into_iter().map(|name| name.name).collect()
    }

    #[test]
    fn names_come_and_go() {
        let mut bytes = with(&[b"one", b"three", b"two"]);
        assert_eq!(AREA.remove(&mut bytes, b"three"), Ok(true));
        assert_eq!(AREA.remove(&mut bytes, b"three"), Ok(false));
        assert_eq!(names(&bytes), [b"one", b"two"]);
        assert_eq!(AREA.remove(&mut bytes, b"one"), Ok(true));
        assert_eq!(AREA.insert(&mut bytes, b"4", TARGET), Ok(true));
        assert_eq!(names(&bytes), [&b"4"[..], b"two"]);
        let other = Found {
            inode: 13,
            kind: Some(Kind::Dir),
        };
        assert_eq!(AREA.retarget(&mut bytes, b"two", other), Ok(true));
        assert_eq!(AREA.find(&bytes, b"two").unwrap().unwrap().found(), other);
    }

    #[test]
    fn a_full_area_takes_nothing() {
        let mut bytes = with(&[&[b'a'; 60], &[b'b'; 41]]);
        let before = bytes.clone();
        assert_eq!(AREA.insert(&mut bytes, b"c", TARGET), Ok(false));
        assert_eq!(bytes, before);
    }

    #[test]
    fn every_broken_field_is_found() {
        let cases: [(usize, u8, &str); 7] = [
            (4, 0, "rec_len is no length of a record"),
            (4, 8, "rec_len is no length of a record"),
            (4, 13, "rec_len is no length of a record"),
            (6, 9, "rec_len is too small for the name"),
            (5, 1, "rec_len leaves the block"),
            (3, 1, "the inode does not exist"),
            (8, b'/', "the name holds NUL or a slash"),
        ];
        for (at, value, reason) in cases {
            let mut bytes = with(&[b"abc", b"def"]);
            bytes[at] = value;
            assert_eq!(AREA.names(&bytes).unwrap_err().reason, reason);
        }
        let mut bytes = with(&[b"abc", b"def"]);
        bytes.truncate(16);
        assert!(AREA.names(&bytes).is_err());
    }

    #[test]
    fn lengths_of_64_kib_blocks_are_folded() {
        for len in [12, 65_532, 65_536] {
            assert_eq!(rec_len_from_disk(rec_len_to_disk(len, 65_536), 65_536), len);
        }
        assert_eq!(rec_len_from_disk(0, 65_536), 65_536);
        assert_eq!(rec_len_from_disk(0, 4096), 0);
    }
}

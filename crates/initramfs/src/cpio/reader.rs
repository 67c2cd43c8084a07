use super::{FileType, HEADER_LEN, Header, Numbers, PATH_MAX, TRAILER, padded_name_len};
use crate::codec::Compression;
use crate::error::{CorruptKind, Error, Position};
use ondisk::cap;
use ondisk::width::{u64_of, usize_of};
use std::io::BufRead;

/// What [`Reader::next`] met.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A member; [`Reader::data`] gives its contents.
    Member(Header),
    /// The end of an archive. More may follow, as the kernel allows.
    Trailer,
}

/// Reads archive members one after the other from a stream, as the kernel does: zeros may stand
/// between members, archives may follow each other, and an archive needs no trailer.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    origin: Origin,
    /// Bytes consumed; for uncompressed archives counted from the start of the initramfs, because
    /// alignment is.
    at: u64,
    limits: Limits,
    /// Contents of the last member that are not consumed yet.
    left: u64,
    /// Where the next member starts at the earliest.
    next: u64,
    sum: u32,
    expected: Option<u32>,
    member: u64,
}

/// How far a reader may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Unpacked bytes.
    pub(crate) unpacked: u64,
    /// Members.
    pub(crate) members: u64,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The stream is the initramfs itself.
    Plain,
    /// The stream is what the segment at this byte unpacks to.
    Unpacked(u64, Compression),
}

impl<R: BufRead> Reader<R> {
    /// Reads an uncompressed archive; `input` starts at byte `offset` of the initramfs, a multiple
    /// of 4.
    pub fn plain(input: R, offset: u64) -> Self {
        let limits = Limits {
            unpacked: u64::MAX,
            members: MEMBERS,
        };
        Self::new(input, Origin::Plain, offset, limits)
    }

    /// Reads what the segment at byte `offset` of the initramfs unpacks to.
    pub(crate) fn unpacked(
        input: R,
        offset: u64,
        compression: Compression,
        limits: Limits,
    ) -> Self {
        Self::new(input, Origin::Unpacked(offset, compression), 0, limits)
    }

    fn new(input: R, origin: Origin, at: u64, limits: Limits) -> Self {
        Self {
            input,
            origin,
            at,
            limits,
            left: 0,
            next: at,
            sum: 0,
            expected: None,
            member: at,
        }
    }

    /// Bytes consumed so far, counted from where the stream starts (compressed) or from the start
    /// of the initramfs (uncompressed).
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The byte behind the last member, the zeros that align it passed over.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) fn end_of_member(&mut self) -> Result<u64, Error> {
        self.pass(self.left)?;
        self.end_contents()?;
        self.pass_padding()?;
        Ok(self.at)
    }

    /// The stream behind the last member.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// Goes on to the next member. The end is the end of the stream, or, for an uncompressed
    /// archive, a byte that starts no member: the kernel looks for a compressed archive there.
    ///
    /// # Errors
    /// Corrupt if the member breaks the format, if the stream ends inside one or does not unpack;
    /// too large if it unpacks to more than is sane.
    #[expect(
        clippy::should_implement_trait,
        reason = "data() has to be callable between two calls"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        self.end_of_member()?;
        let Some(first) = self.pass_zeros()? else {
            return Ok(None);
        };
        let aligned = self.at.is_multiple_of(4);
        let at = self.position(self.at);
        match self.origin {
            Origin::Plain if first != b'0' || !aligned => Ok(None),
            Origin::Unpacked(..) if first != b'0' => Err(CorruptKind::CpioJunk { at }.into()),
            Origin::Unpacked(..) if !aligned => Err(CorruptKind::CpioMisaligned { at }.into()),
            _ => self.header().map(Some),
        }
    }

    /// The contents of the last member.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn data(&mut self) -> Result<Vec<u8>, Error> {
        let len = self.left;
        let mut data = Vec::with_capacity(usize_of(len.min(FIRST_ALLOCATION)));
        self.consume(len, |bytes| data.extend_from_slice(bytes))?;
        self.left = 0;
        self.end_contents()?;
        Ok(data)
    }

    fn header(&mut self) -> Result<Item, Error> {
        let at = self.position(self.at);
        self.member = self.at;
        if self.limits.members == 0 {
            return Err(self.too_large("number of members", MEMBERS.saturating_add(1), MEMBERS));
        }
        self.limits.members = self.limits.members.saturating_sub(1);
        let mut raw = Vec::with_capacity(HEADER_LEN);
        self.consume(u64_of(HEADER_LEN), |bytes| raw.extend_from_slice(bytes))?;
        // `consume` gave exactly as many bytes as it was asked for
        let raw = raw.first_chunk().expect("110 bytes");
        let (numbers, sums) = Numbers::parse(raw, at)?;
        let namesize = u64::from(numbers.namesize);
        if namesize == 0 || namesize > PATH_MAX {
            return Err(CorruptKind::CpioNameSize { at, namesize }.into());
        }
        let mut name = Vec::with_capacity(usize_of(namesize));
        self.consume(namesize, |bytes| name.extend_from_slice(bytes))?;
        if name.last() != Some(&0) {
            return Err(CorruptKind::CpioNameEnd { at }.into());
        }
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        name.truncate(end);
        let contents = self
            .member
            .saturating_add(u64_of(HEADER_LEN))
            .saturating_add(padded_name_len(namesize));
        let filesize = u64::from(numbers.filesize);
        let end = contents.saturating_add(filesize);
        if end > self.limits.unpacked {
            return Err(self.too_large("unpacked size", end, self.limits.unpacked));
        }
        self.next = contents;
        self.pass_padding()?;
        self.next = end.saturating_add(3) & !3;
        self.left = filesize;
        self.sum = 0;
        // the kernel looks at the sums of regular files, and GNU cpio writes no others
        let regular = FileType::of(numbers.mode) == Some(FileType::Regular);
        self.expected = (sums && regular).then_some(numbers.check);
        if name == TRAILER {
            return Ok(Item::Trailer);
        }
        Ok(Item::Member(Header {
            name,
            mode: numbers.mode,
            ino: numbers.ino,
            nlink: numbers.nlink,
            dev: (numbers.dev_major, numbers.dev_minor),
            filesize: numbers.filesize,
            check: self.expected,
            at,
        }))
    }

    /// Contents end: their sum has to be right, where there is one.
    fn end_contents(&mut self) -> Result<(), Error> {
        match self.expected.take() {
            Some(expected) if expected != self.sum => Err(CorruptKind::CpioChecksum {
                at: self.position(self.member),
                sum: self.sum,
                expected,
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn pass(&mut self, len: u64) -> Result<(), Error> {
        self.left = 0;
        self.consume(len, |_| ())
    }

    /// Goes to `next`; the stream may end before.
    fn pass_padding(&mut self) -> Result<(), Error> {
        while self.at < self.next {
            let there = self.fill()?.len();
            if there == 0 {
                return Ok(());
            }
            let step = u64_of(there).min(self.next.saturating_sub(self.at));
            self.input.consume(usize_of(step));
            self.at = self.at.saturating_add(step);
        }
        Ok(())
    }

    /// Goes to the next byte that is not zero and gives it.
    fn pass_zeros(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let found = bytes.iter().position(|byte| *byte != 0);
            let first = found.and_then(|index| bytes.get(index)).copied();
            let zeros = found.unwrap_or(bytes.len());
            self.input.consume(zeros);
            self.at = self.at.saturating_add(u64_of(zeros));
            if first.is_some() {
                return Ok(first);
            }
            if self.at > self.limits.unpacked {
                return Err(self.too_large("unpacked size", self.at, self.limits.unpacked));
            }
        }
    }

    /// Hands exactly `len` bytes to `sink`, piece by piece.
    fn consume(&mut self, len: u64, mut sink: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut missing = len;
        while missing > 0 {
            let sums = self.expected.is_some();
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Err(CorruptKind::CpioTruncated {
                    at: self.position(self.member),
                    missing,
                }
                .into());
            }
            let step = u64_of(bytes.len()).min(missing);
            let taken = bytes.get(..usize_of(step)).unwrap_or(bytes);
            sink(taken);
            let sum = if sums {
                taken
                    .iter()
                    .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)))
            } else {
                0
            };
            self.sum = self.sum.wrapping_add(sum);
            self.input.consume(usize_of(step));
            self.at = self.at.saturating_add(step);
            missing = missing.saturating_sub(step);
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<&[u8], Error> {
        let at = self.position(self.at);
        let origin = self.origin;
        self.input.fill_buf().map_err(|source| match origin {
            Origin::Unpacked(_, compression) => CorruptKind::Codec {
                at,
                compression,
                source,
            }
            .into(),
            // a slice gives no errors
            Origin::Plain => CorruptKind::CpioTruncated { at, missing: 0 }.into(),
        })
    }

    fn position(&self, at: u64) -> Position {
        match self.origin {
            Origin::Plain => Position {
                offset: at,
                unpacked: None,
            },
            Origin::Unpacked(offset, _) => Position {
                offset,
                unpacked: Some(at),
            },
        }
    }

    fn too_large(&self, what: &'static str, value: u64, cap: u64) -> Error {
        Error::TooLarge {
            at: self.position(self.member),
            source: cap::TooLarge { what, value, cap },
        }
    }
}

/// More members than any initramfs has: each costs memory.
pub(crate) const MEMBERS: u64 = 1 << 20;

/// What is allocated for contents before their bytes are there.
const FIRST_ALLOCATION: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn two_files() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.file("a", 0o644, b"alpha").unwrap();
        writer.file("bc", 0o755, b"beta").unwrap();
        writer.finish()
    }

    fn names(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let mut reader = Reader::plain(bytes, 0);
        let mut names = Vec::new();
        while let Some(item) = reader.next()? {
            if let Item::Member(header) = item {
                names.push(String::from_utf8(header.name).unwrap());
            }
        }
        Ok(names)
    }

    fn kind(bytes: &[u8]) -> CorruptKind {
        match names(bytes) {
            Err(Error::Corrupt(corrupt)) => corrupt.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = two_files();
        let mut reader = Reader::plain(&bytes[..], 0);
        let Some(Item::Member(header)) = reader.next().unwrap() else {
            panic!()
        };
        assert_eq!(header.file_type(), Some(FileType::Regular));
        assert_eq!((header.filesize, header.nlink), (5, 1));
        assert_eq!(reader.data().unwrap(), b"alpha");
        assert!(matches!(reader.next().unwrap(), Some(Item::Member(_))));
        assert_eq!(reader.next().unwrap(), Some(Item::Trailer));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_wrong_magic_ends_in_an_error() {
        let mut bytes = two_files();
        bytes[5] = b'7';
        assert!(matches!(kind(&bytes), CorruptKind::CpioMagic { .. }));
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let mut bytes = two_files();
        bytes[6 + 8 + 3] = b'g';
        assert!(matches!(
            kind(&bytes),
            CorruptKind::CpioNumber { field: "mode", .. }
        ));
    }

    #[test]
    fn names_have_a_length_and_an_end() {
        let mut bytes = two_files();
        bytes[94..102].copy_from_slice(b"00000000");
        assert!(matches!(
            kind(&bytes),
            CorruptKind::CpioNameSize { namesize: 0, .. }
        ));
        bytes[94..102].copy_from_slice(b"00001001");
        assert!(matches!(
            kind(&bytes),
            CorruptKind::CpioNameSize { namesize: 4097, .. }
        ));
        bytes[94..102].copy_from_slice(b"00000001");
        assert!(matches!(kind(&bytes), CorruptKind::CpioNameEnd { .. }));
    }

    #[test]
    fn a_size_beyond_the_end_allocates_nothing_and_is_an_error() {
        let mut bytes = two_files();
        bytes[54..62].copy_from_slice(b"FFFFFFFF");
        assert!(matches!(kind(&bytes), CorruptKind::CpioTruncated { .. }));
        let mut reader = Reader::plain(&bytes[..], 0);
        reader.next().unwrap();
        assert!(reader.data().is_err());
    }

    #[test]
    fn truncation_inside_a_member_is_an_error_and_between_members_is_none() {
        let bytes = two_files();
        let first = 120;
        let second = 120 + 116 + 4;
        for len in 1..bytes.len() {
            let boundary = [first - 3, first - 2, first - 1, first, second].contains(&len);
            // the trailer's own padding may be missing too
            let sound = boundary || len >= second + 110 + 11;
            assert_eq!(names(&bytes[..len]).is_ok(), sound, "{len} bytes");
        }
    }

    #[test]
    fn zeros_between_members_are_passed_over() {
        let bytes = two_files();
        let mut spread = bytes[..120].to_vec();
        spread.extend([0; 64]);
        spread.extend(&bytes[120..]);
        assert_eq!(names(&spread).unwrap(), ["a", "bc"]);
    }

    #[test]
    fn checksums_of_the_crc_format_are_checked() {
        let mut bytes = two_files();
        bytes[5] = b'2';
        let sum: u32 = b"alpha".iter().map(|byte| u32::from(*byte)).sum();
        bytes[102..110].copy_from_slice(format!("{sum:08X}").as_bytes());
        assert_eq!(names(&bytes).unwrap(), ["a", "bc"]);
        bytes[113] ^= 1;
        assert!(matches!(kind(&bytes), CorruptKind::CpioChecksum { .. }));
    }

    #[test]
    fn names_end_at_their_first_nul() {
        let mut bytes = two_files();
        bytes[120 + 111] = 0;
        assert_eq!(names(&bytes).unwrap(), ["a", "b"]);
    }
}

//! The members of a tar archive: where they are, without reading what they hold.
//!
//! The formats are those of POSIX (ustar and pax) and of GNU tar, as far as archives of disks use
//! them: long names, sizes of any width. Each header's checksum is checked.

use super::error::{Damage, Feature, Field};
use super::pax::{self, Records};
use super::raw::{self, BLOCK, Header};
use crate::Error;
use crate::file::ImageFile;
use crate::zeros;
use ondisk::cap;
use ondisk::width::{u64_of, usize_of};
use std::path::{Component, Path, PathBuf};
use zerocopy::FromBytes;

/// An archive of which all headers were read.
#[derive(Debug)]
pub(crate) struct Archive {
    file: ImageFile,
    members: Vec<Member>,
}

/// One member.
#[derive(Clone, Debug)]
struct Member {
    /// Its components, joined by `/`; empty if some of them are not plain.
    name: String,
    /// Position of its first byte in the archive.
    start: u64,
    len: u64,
    kind: Kind,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    File,
    /// A file of which only the parts with data are stored.
    Sparse,
    Other,
}

/// Most members: an appliance has its descriptor, its disks and a handful of other files.
const MAX_MEMBERS: usize = 10_000;
/// Most bytes of a long name and of the records of a pax header: paths have up to 4096 bytes, and
/// other records (times, attributes of SELinux) are shorter.
const MAX_NAME: u64 = 64 << 10;
/// Most blocks in which a sparse member's map goes on; each has 21 runs of data.
const MAX_SPARSE_BLOCKS: usize = 1 << 20;

/// Whether a file begins with a tar header.
pub(crate) fn is_recognised(head: &[u8]) -> bool {
    let Ok((header, _)) = Header::read_from_prefix(head) else {
        return false;
    };
    header.magic.starts_with(b"ustar") || is_old_header(head)
}

/// Whether a block is a header by its checksum, as those without magic are known.
fn is_old_header(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<512>() else {
        return false;
    };
    let stored = block.get(raw::CHKSUM).and_then(number);
    !zeros::is_zero(block) && stored.is_some_and(|stored| sums(block).contains(&stored))
}

impl Archive {
    /// Reads all headers. Where damage may pass, a last member that is cut off is as long as the
    /// file goes.
    pub(crate) fn read(file: ImageFile, salvage: bool) -> Result<Self, Error> {
        let mut archive = Self {
            file,
            members: Vec::new(),
        };
        let mut walk = Walk::default();
        let mut at = 0_u64;
        // Every round ends behind where it began, and the file has an end.
        while at < archive.file.len() {
            let mut block = [0; 512];
            archive.file.read_exact(at, &mut block)?;
            if zeros::is_zero(&block) {
                break;
            }
            at = archive.step(&mut walk, at, &block, salvage)?;
        }
        Ok(archive)
    }

    /// Takes in the header at `at`, and says where the next one is.
    fn step(
        &mut self,
        walk: &mut Walk,
        at: u64,
        block: &[u8; 512],
        salvage: bool,
    ) -> Result<u64, Error> {
        let corrupt = |damage| Error::corrupt(self.file.path(), damage);
        let unsupported = |feature| Error::unsupported(self.file.path(), feature);
        let header = Header::ref_from_bytes(block)
            // The block has the size of the structure.
            .expect("sizes agree");
        let stored = number(&header.chksum);
        if !stored.is_some_and(|stored| sums(block).contains(&stored)) {
            let [found, _] = sums(block);
            let stored = Field(header.chksum.to_vec());
            return Err(corrupt(Damage::TarChecksum { at, stored, found }));
        }
        let size = number(&header.size).ok_or_else(|| {
            corrupt(Damage::TarNumber {
                at,
                field: "size",
                value: Field(header.size.to_vec()),
            })
        })?;
        let start = at.saturating_add(BLOCK);
        match header.typeflag {
            b'L' => walk.long_name = Some(self.text(start, size)?),
            b'K' => {}
            b'x' | b'X' => {
                walk.records = Some(pax::parse(
                    self.file.path(),
                    start,
                    &self.text(start, size)?,
                )?);
            }
            b'g' => {
                let records = pax::parse(self.file.path(), start, &self.text(start, size)?)?;
                if let Some(what) = records.what_is_of_one_member() {
                    return Err(unsupported(Feature::GlobalPax(at, what)));
                }
            }
            b'M' => return Err(unsupported(Feature::MultiVolume(at))),
            typeflag => {
                let mut member = walk.member(header, size);
                member.start = start;
                if typeflag == b'S' {
                    member.start = self.after_sparse_map(start, block)?;
                }
                match typeflag {
                    // Links to members and the like have no content, whatever is said: the size is
                    // of what they lead to.
                    b'1' | b'2' => member.len = 0,
                    b'3'..=b'6' if member.len > 0 => {
                        let (kind, len) = (char::from(typeflag), member.len);
                        return Err(corrupt(Damage::TarLength { at, kind, len }));
                    }
                    _ => {}
                }
                let end = self.end(member.start, member.len, salvage)?;
                member.len = member.len.min(self.file.len().saturating_sub(member.start));
                cap::length(
                    "the number of members",
                    u64_of(self.members.len()),
                    LAST_MEMBER,
                )
                .map_err(|error| Error::corrupt(self.file.path(), error))?;
                self.members.push(member);
                return Ok(end);
            }
        }
        self.end(start, size, false)
    }

    /// Where the blocks of a member end, all of which must be in the file.
    fn end(&self, start: u64, len: u64, salvage: bool) -> Result<u64, Error> {
        let end = start.checked_add(len);
        if !salvage && end.is_none_or(|end| end > self.file.len()) {
            return Err(self.file.truncated(start, len));
        }
        // The padding of the last member may be missing.
        Ok(end
            .and_then(|end| end.checked_next_multiple_of(BLOCK))
            .unwrap_or(u64::MAX))
    }

    /// The content of a member that is about the next one.
    fn text(&self, start: u64, len: u64) -> Result<Vec<u8>, Error> {
        let len = cap::length("the length of a name or pax header", len, MAX_NAME)
            .map_err(|error| Error::corrupt(self.file.path(), error))?;
        let mut text = vec![0; len];
        self.file.read_exact(start, &mut text)?;
        Ok(text)
    }

    /// Where the content of a member of type `S` starts.
    fn after_sparse_map(&self, start: u64, header: &[u8; 512]) -> Result<u64, Error> {
        let mut more = header.get(raw::GNU_IS_EXTENDED).copied();
        let mut at = start;
        for _ in 0..MAX_SPARSE_BLOCKS {
            if more.is_none_or(|more| more == 0) {
                return Ok(at);
            }
            let mut block = [0; 512];
            self.file.read_exact(at, &mut block)?;
            more = block.get(raw::GNU_IS_EXTENDED_AGAIN).copied();
            at = at.saturating_add(BLOCK);
        }
        let (what, cap) = (
            "the number of blocks of a sparse map",
            u64_of(MAX_SPARSE_BLOCKS),
        );
        let value = cap.saturating_add(1);
        let error = cap::TooLarge { what, value, cap };
        Err(Error::corrupt(self.file.path(), error))
    }

    /// The archive itself.
    pub(crate) fn file(&self) -> &ImageFile {
        &self.file
    }

    /// The names of all files, in the order of the archive.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let files = self
            .members
            .iter()
            .filter(|member| member.kind != Kind::Other);
        files.map(|member| member.name.as_str())
    }

    /// The file with a name, if there is one; `name` is as [`names`](Self::names) gives them.
    pub(crate) fn member(&self, name: &str) -> Result<Option<ImageFile>, Error> {
        let mut found = self.members.iter().filter(|member| member.name == name);
        let Some(member) = found.next().filter(|_| !name.is_empty()) else {
            return Ok(None);
        };
        let (path, name) = (self.file.path(), name.to_owned());
        // Unpacking would let the last one win, streaming the first one.
        if found.next().is_some() {
            return Err(Error::corrupt(path, Damage::SameName(name)));
        }
        match member.kind {
            Kind::File => {
                let path = path.join(name);
                self.file.part(path, member.start, member.len).map(Some)
            }
            Kind::Sparse => Err(Error::unsupported(path, Feature::SparseMember(name))),
            Kind::Other => Err(Error::unsupported(path, Feature::NotAFile(name))),
        }
    }
}

/// As [`MAX_MEMBERS`], for the number of those that are there already.
const LAST_MEMBER: u64 = u64_of(MAX_MEMBERS) - 1;

/// What headers say about the member that follows them.
#[derive(Debug, Default)]
struct Walk {
    long_name: Option<Vec<u8>>,
    records: Option<Records>,
}

impl Walk {
    /// The member of a header, with what those before it said.
    fn member(&mut self, header: &Header, size: u64) -> Member {
        let long_name = self.long_name.take();
        let records = self.records.take().unwrap_or_default();
        let name = match (records.path, long_name) {
            (Some(path), _) | (None, Some(path)) => until_zero(&path).to_vec(),
            (None, None) => short_name(header),
        };
        Member {
            name: plain_name(&name),
            start: 0,
            len: records.size.unwrap_or(size),
            kind: match header.typeflag {
                b'S' => Kind::Sparse,
                b'0' | b'7' | 0 if records.sparse => Kind::Sparse,
                // Old archives have directories as files whose names end so.
                b'0' | b'7' | 0 if !name.ends_with(b"/") => Kind::File,
                _ => Kind::Other,
            },
        }
    }
}

/// The name that the header itself has.
fn short_name(header: &Header) -> Vec<u8> {
    let name = until_zero(&header.name);
    let prefix = until_zero(&header.prefix);
    if header.magic == raw::MAGIC_POSIX && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A name without `.` components; empty if it leads out of where it is unpacked.
fn plain_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    join_plain(Path::new(""), &name).map_or_else(String::new, |path| path.display().to_string())
}

/// A relative name inside a directory, if it stays there.
pub(super) fn join_plain(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut path = dir.to_owned();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (path != dir).then_some(path)
}

/// A number of a header: octal digits between spaces and zeros, or big endian bytes after a first
/// one of 0x80.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first() {
        Some((0x80, digits)) => {
            let (high, low) = digits.split_at_checked(digits.len().saturating_sub(8))?;
            let low = low
                .iter()
                .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
            high.iter().all(|byte| *byte == 0).then_some(low)
        }
        _ => {
            let text = str::from_utf8(until_zero(field)).ok()?.trim_matches(' ');
            match text {
                "" => Some(0),
                _ if text.bytes().all(|b| b.is_ascii_digit()) => u64::from_str_radix(text, 8).ok(),
                _ => None,
            }
        }
    }
}

/// The sum of a header's bytes, its own field taken as spaces; and the same with signed bytes, as
/// some old programs have it.
fn sums(block: &[u8; 512]) -> [u64; 2] {
    let mut block = *block;
    if let Some(chksum) = block.get_mut(raw::CHKSUM) {
        chksum.fill(b' ');
    }
    // At most 512 times 255.
    let unsigned: i64 = block.iter().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = block.iter().map(|byte| i64::from(byte.cast_signed())).sum();
    [unsigned, signed].map(|sum| u64::try_from(sum).unwrap_or(u64::MAX))
}

/// No usual header is longer than the names it may have.
const _: () = assert!(usize_of(MAX_NAME) > 4096 && MAX_MEMBERS > 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"       1750 ", Some(1000)),
            (b"777777777777", Some((8 << 30) * 8 - 1)),
            (b"\x80\0\0\0\0\0\0\x02\x40\0\0\0", Some(9 << 30)),
            (
                b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(u64::MAX),
            ),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"00000001780\0", None),
            (b"+0000000010\0", None),
            (b"0000 000010\0", None),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
        ] {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn names_stay_where_they_are_unpacked() {
        for (name, expected) in [
            ("a.ovf", "a.ovf"),
            ("./a.ovf", "a.ovf"),
            ("x/./y//a.ovf", "x/y/a.ovf"),
            ("/a.ovf", ""),
            ("x/../a.ovf", ""),
            ("", ""),
            (".", ""),
        ] {
            assert_eq!(plain_name(name.as_bytes()), expected, "{name}");
        }
    }
}

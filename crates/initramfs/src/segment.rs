//! The segments of an initramfs, walked as `unpack_to_rootfs` in the kernel's `init/initramfs.c`
//! walks them.

use crate::codec::{Compression, Unpacker};
use crate::contents::Contents;
use crate::cpio::{FileType, Header, Item, Limits, Reader};
use crate::error::{CorruptKind, Error, Position, UnsupportedKind};
use crate::marker;
use ondisk::cap;
use ondisk::width::{u64_of, usize_of};
use std::io::BufRead;

/// One archive, or several inside one compressed stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// First byte in the initramfs.
    pub offset: u64,
    /// The byte behind the last one; zeros that follow do not belong to the segment.
    pub end: u64,
    /// How it is compressed; nothing for a plain archive.
    pub compression: Option<Compression>,
    /// Files, directories and links in it.
    pub members: u64,
    /// Bytes that it unpacks to.
    pub unpacked_size: u64,
    /// Whether an earlier conversion appended it.
    pub ours: bool,
}

/// Where the kernel stops unpacking before the end of the initramfs. What it unpacked until then
/// stays, what follows is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stop {
    /// First byte that is not unpacked.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: StopReason,
}

/// Why the kernel stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopReason {
    /// A plain archive starts at no multiple of 4.
    Misaligned,
    /// Neither an archive nor a compression that the kernel knows.
    UnknownMagic([u8; 2]),
}

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) segments: Vec<Segment>,
    pub(crate) stop: Option<Stop>,
    /// Without the segment of an earlier conversion, if that is the last one.
    pub(crate) original: Contents,
    /// With it; nothing if there is none.
    pub(crate) extended: Option<Contents>,
}

impl Walk {
    /// Walks all segments.
    ///
    /// # Errors
    /// Corrupt if a segment is damaged, unsupported if it is compressed by lzo, too large if it
    /// unpacks to more than is sane.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Error> {
        let boot_config = boot_config(bytes);
        if let Some(offset) = boot_config {
            return Err(UnsupportedKind::BootConfig { offset }.into());
        }
        let mut walk = Self {
            segments: Vec::new(),
            stop: None,
            original: Contents::new(),
            extended: None,
        };
        let mut budget = Budget::new();
        let mut at = 0;
        while let Some(zeros) = bytes
            .get(at..)
            .and_then(|left| left.iter().position(|byte| *byte != 0))
        {
            at = at.saturating_add(zeros);
            let left = bytes.get(at..).unwrap_or(&[]);
            let offset = u64_of(at);
            let plain = left.first() == Some(&b'0');
            let segment = if plain && at.is_multiple_of(4) {
                walk.plain(left, offset, &mut budget)?
            } else if let Some(compression) = Compression::detect(left) {
                walk.compressed(left, offset, compression, &mut budget)?
            } else {
                let mut magic = [0; 2];
                magic
                    .iter_mut()
                    .zip(left)
                    .for_each(|(to, from)| *to = *from);
                let reason = if plain {
                    StopReason::Misaligned
                } else {
                    StopReason::UnknownMagic(magic)
                };
                walk.stop = Some(Stop { offset, reason });
                break;
            };
            at = usize_of(segment.end);
            walk.segments.push(segment);
        }
        Ok(walk)
    }

    /// Bytes up to the end of the last segment that is not from an earlier conversion.
    pub(crate) fn original_end(&self) -> u64 {
        self.original_segments()
            .last()
            .map_or(0, |segment| segment.end)
    }

    pub(crate) fn original_segments(&self) -> &[Segment] {
        match self.segments.split_last() {
            Some((last, before)) if last.ours => before,
            _ => &self.segments,
        }
    }

    fn plain(&mut self, left: &[u8], offset: u64, budget: &mut Budget) -> Result<Segment, Error> {
        let mut reader = Reader::plain(left, offset);
        let content = self.unpack(&mut reader, budget, true)?;
        Ok(Segment {
            offset,
            end: content.end,
            compression: None,
            members: content.members,
            unpacked_size: content.end.saturating_sub(offset),
            ours: content.ours,
        })
    }

    fn compressed(
        &mut self,
        left: &[u8],
        offset: u64,
        compression: Compression,
        budget: &mut Budget,
    ) -> Result<Segment, Error> {
        let at = Position {
            offset,
            unpacked: None,
        };
        let unpacker = Unpacker::new(compression, left)
            .map_err(|source| CorruptKind::Codec {
                at,
                compression,
                source,
            })?
            .ok_or(UnsupportedKind::Compression {
                offset,
                compression,
            })?;
        let ratio_cap = u64_of(left.len())
            .saturating_mul(RATIO)
            .saturating_add(ANY_RATIO);
        let limits = Limits {
            unpacked: budget.unpacked.min(ratio_cap),
            members: budget.members,
        };
        let mut reader = Reader::unpacked(unpacker, offset, compression, limits);
        let content = self.unpack(&mut reader, budget, false)?;
        budget.unpacked = budget.unpacked.saturating_sub(reader.at());
        let unpacked_size = reader.at();
        let rest = u64_of(reader.into_input().rest().len());
        Ok(Segment {
            offset,
            end: offset
                .saturating_add(u64_of(left.len()))
                .saturating_sub(rest),
            compression: Some(compression),
            members: content.members,
            unpacked_size,
            ours: content.ours,
        })
    }

    /// Unpacks the members that `reader` gives; of a plain archive up to its trailer.
    fn unpack<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        budget: &mut Budget,
        plain: bool,
    ) -> Result<Unpacked, Error> {
        // our segment may turn out not to be the last one: what came before counts then
        if let Some(extended) = self.extended.take() {
            self.original = extended;
            if let Some(last) = self.segments.last_mut() {
                last.ours = false;
            }
        }
        let mut target = None;
        let mut unpacked = Unpacked {
            end: reader.at(),
            ..Unpacked::default()
        };
        // directories at the front, until it is known whose segment this is
        let mut head = Some(Vec::new());
        while let Some(item) = reader.next()? {
            if let Item::Member(header) = &item
                && let Some(directories) = &mut head
                && header.file_type() == Some(FileType::Directory)
                && directories.len() < HEAD
            {
                directories.push(header.clone());
                unpacked.count(budget);
                continue;
            }
            if let Some(directories) = head.take() {
                if let Item::Member(header) = &item {
                    unpacked.ours = marker::is_marker(&header.name);
                }
                if unpacked.ours {
                    target = Some(self.original.clone());
                }
                let contents = target.as_mut().unwrap_or(&mut self.original);
                for directory in directories {
                    contents.unpack(&directory, None);
                }
            }
            let contents = target.as_mut().unwrap_or(&mut self.original);
            match item {
                Item::Member(header) => {
                    unpacked.count(budget);
                    let data = if keeps(contents, &header) {
                        budget.keep(&header)?;
                        Some(reader.data()?)
                    } else {
                        None
                    };
                    contents.unpack(&header, data);
                    unpacked.end = reader.end_of_member()?;
                }
                Item::Trailer => {
                    contents.end_archive();
                    unpacked.end = reader.end_of_member()?;
                    if plain {
                        break;
                    }
                }
            }
        }
        for directory in head.into_iter().flatten() {
            self.original.unpack(&directory, None);
            unpacked.end = reader.end_of_member()?;
        }
        self.extended = target;
        Ok(unpacked)
    }
}

#[derive(Debug, Default)]
struct Unpacked {
    members: u64,
    /// Of a plain archive: the byte behind it.
    end: u64,
    ours: bool,
}

impl Unpacked {
    fn count(&mut self, budget: &mut Budget) {
        self.members = self.members.saturating_add(1);
        budget.members = budget.members.saturating_sub(1);
    }
}

/// What all segments together may cost.
#[derive(Debug)]
struct Budget {
    unpacked: u64,
    members: u64,
    kept: u64,
}

impl Budget {
    fn new() -> Self {
        Self {
            unpacked: UNPACKED,
            members: crate::cpio::MEMBERS,
            kept: KEPT,
        }
    }

    fn keep(&mut self, header: &Header) -> Result<(), Error> {
        let size = u64::from(header.filesize);
        self.kept = self.kept.checked_sub(size).ok_or_else(|| Error::TooLarge {
            at: header.at,
            source: cap::TooLarge {
                what: "size of configuration files and module indexes",
                value: KEPT.saturating_sub(self.kept).saturating_add(size),
                cap: KEPT,
            },
        })?;
        Ok(())
    }
}

/// Whether the member's contents will be asked for.
fn keeps(contents: &Contents, header: &Header) -> bool {
    let size = u64::from(header.filesize);
    match header.file_type() {
        Some(FileType::Symlink) => size <= PATH_MAX,
        Some(FileType::Regular) => contents
            .destination(&header.name)
            .is_some_and(|path| size <= kept_size(&path)),
        _ => false,
    }
}

/// Up to which size the contents of the file at `path` are kept.
fn kept_size(path: &[u8]) -> u64 {
    let path = path.strip_prefix(b"usr/").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    if path.starts_with(b"lib/modules/") && MODULE_FILES.contains(&name) {
        return MODULE_FILE;
    }
    let small = SMALL_FILES.contains(&path)
        || SMALL_DIRECTORIES
            .iter()
            .any(|directory| path.starts_with(directory));
    if small { SMALL_FILE } else { 0 }
}

/// The first byte of a boot configuration at the end of the initramfs (`get_boot_config_from_initrd`
/// in the kernel's `init/main.c`): a segment behind it would not be seen.
fn boot_config(bytes: &[u8]) -> Option<u64> {
    const MAGIC: &[u8] = b"#BOOTCONFIG\n";
    // the boot loader may have aligned the end
    let zeros = bytes.iter().rev().take(3).take_while(|byte| **byte == 0);
    let zeros = zeros.count();
    let end = bytes.len().checked_sub(zeros)?;
    let left = bytes.get(..end)?.strip_suffix(MAGIC)?;
    let (left, size_and_sum) = left.split_last_chunk::<8>()?;
    let [a, b, c, d, ..] = *size_and_sum;
    let size = ondisk::width::usize_of_u32(u32::from_le_bytes([a, b, c, d]));
    left.len().checked_sub(size).map(u64_of)
}

/// Bytes that all segments together may unpack to. The largest initramfs of a distribution with
/// all its firmware unpacks to a third of that.
const UNPACKED: u64 = 1 << 30;

/// A segment may unpack to this many times its size (files of an initramfs shrink to a third or so), …
const RATIO: u64 = 32;
/// … and to this many bytes more.
const ANY_RATIO: u64 = 32 << 20;

/// Bytes of kept contents.
const KEPT: u64 = 48 << 20;
/// Largest index of modules that is kept; those of all modules of a kernel have about 1.5 MB.
const MODULE_FILE: u64 = 16 << 20;
/// Largest configuration file that is kept.
const SMALL_FILE: u64 = 256 << 10;
const PATH_MAX: u64 = 4096;
/// Directories that may stand before the marker of our own segment.
const HEAD: usize = 8;

const MODULE_FILES: [&[u8]; 6] = [
    b"modules.dep",
    b"modules.dep.bin",
    b"modules.alias",
    b"modules.alias.bin",
    b"modules.softdep",
    b"modules.builtin",
];
const SMALL_FILES: [&[u8]; 3] = [b"config", b"buildconfig", b"init"];
const SMALL_DIRECTORIES: [&[u8]; 5] = [
    b"conf/",
    b"etc/",
    b"lib/dracut/hooks/",
    b"lib/modprobe.d/",
    b"var/lib/dracut/hooks/",
];

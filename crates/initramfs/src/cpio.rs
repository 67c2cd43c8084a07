//! The cpio archives of an initramfs: "newc" (magic 070701) and "crc" (070702).
//!
//! Specification: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`; where
//! that is silent, what `init/initramfs.c` does.

mod reader;
mod writer;

pub use reader::{Item, Reader};
pub(crate) use reader::{Limits, MEMBERS};
pub use writer::Writer;

use crate::error::{CorruptKind, Position};

/// What the header of one archive member says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The name up to its first NUL, as the kernel sees it; not cleaned in any way.
    pub name: Vec<u8>,
    /// Kind and permissions, as in `st_mode`.
    pub mode: u32,
    /// Inode number: with the device numbers the identity of a hard-linked file.
    pub ino: u32,
    /// Names of the file in this archive.
    pub nlink: u32,
    /// Major and minor number of the device that the file was packed from.
    pub dev: (u32, u32),
    /// Bytes of contents.
    pub filesize: u32,
    /// Sum of the contents' bytes, of regular files in "crc" archives only.
    pub check: Option<u32>,
    /// Where the header starts.
    pub at: Position,
}

impl Header {
    /// What kind of file it is; nothing for kinds that the kernel passes over.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::of(self.mode)
    }
}

/// The kinds of files that the kernel unpacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link; the contents are its target.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

impl FileType {
    /// The kind in the upper bits of `mode`.
    pub fn of(mode: u32) -> Option<Self> {
        match mode & S_IFMT {
            0o100_000 => Some(Self::Regular),
            0o040_000 => Some(Self::Directory),
            0o120_000 => Some(Self::Symlink),
            0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => Some(Self::Special),
            _ => None,
        }
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::Special => 0o020_000,
        }
    }
}

/// The numbers of a header, in their order.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    ino: u32,
    mode: u32,
    nlink: u32,
    filesize: u32,
    dev_major: u32,
    dev_minor: u32,
    namesize: u32,
    check: u32,
}

impl Numbers {
    fn parse(raw: &[u8; HEADER_LEN], at: Position) -> Result<(Self, bool), CorruptKind> {
        let (magic, fields) = raw.split_at(MAGIC_LEN);
        let sums = match magic {
            b"070701" => false,
            b"070702" => true,
            _ => {
                let mut bytes = [0; MAGIC_LEN];
                bytes.copy_from_slice(magic);
                return Err(CorruptKind::CpioMagic { at, bytes });
            }
        };
        let mut numbers = [0; FIELDS.len()];
        let pairs = fields.chunks_exact(8).zip(FIELDS).zip(&mut numbers);
        for ((digits, field), number) in pairs {
            *number = hexadecimal(digits).ok_or(CorruptKind::CpioNumber { at, field })?;
        }
        let [
            ino,
            mode,
            _uid,
            _gid,
            nlink,
            _mtime,
            filesize,
            dev_major,
            dev_minor,
            _rdev_major,
            _rdev_minor,
            namesize,
            check,
        ] = numbers;
        let numbers = Self {
            ino,
            mode,
            nlink,
            filesize,
            dev_major,
            dev_minor,
            namesize,
            check,
        };
        Ok((numbers, sums))
    }

    fn encode(&self) -> String {
        let Self {
            ino,
            mode,
            nlink,
            filesize,
            dev_major,
            dev_minor,
            namesize,
            check,
        } = self;
        let fields = [
            *ino, *mode, 0, 0, *nlink, 0, *filesize, *dev_major, *dev_minor, 0, 0, *namesize,
            *check,
        ];
        let mut text = String::with_capacity(HEADER_LEN);
        text.push_str("070701");
        for field in fields {
            text.push_str(&format!("{field:08X}"));
        }
        text
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(digit)
    })
}

/// Bytes that the name takes after a header, with the zeros that align the contents: `N_ALIGN` in
/// the kernel's `init/initramfs.c`. A header of 110 bytes and this are a multiple of 4.
fn padded_name_len(namesize: u64) -> u64 {
    (namesize.saturating_add(1) & !3).saturating_add(2)
}

/// Kind of file in `st_mode`.
const S_IFMT: u32 = 0o170_000;
const MAGIC_LEN: usize = 6;
const HEADER_LEN: usize = 110;
/// Longest name, with its NUL (`PATH_MAX` of the kernel).
const PATH_MAX: u64 = 4096;
/// The name of the member that ends an archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";
const FIELDS: [&str; 13] = [
    "ino",
    "mode",
    "uid",
    "gid",
    "nlink",
    "mtime",
    "filesize",
    "dev_major",
    "dev_minor",
    "rdev_major",
    "rdev_minor",
    "namesize",
    "check",
];

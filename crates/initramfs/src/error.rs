use crate::codec::Compression;
use ondisk::cap;
use std::fmt;
use std::io;
use thiserror::Error;

/// Why an initramfs or a module tree could not be read or extended.
#[derive(Debug, Error)]
pub enum Error {
    /// The bytes break their format.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The bytes are legal, but this crate does not handle them.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Something is larger than any sound initramfs has it.
    #[error("{at}: {source}")]
    TooLarge {
        /// Where the number was met.
        at: Position,
        /// The number and its cap.
        #[source]
        source: cap::TooLarge,
    },
    /// The guest's module tree could not be read.
    #[error("cannot read {path} of the module tree")]
    Tree {
        /// The file, relative to the directory of the kernel's modules.
        path: String,
        /// What the tree's reader said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The encoder of a compression failed.
    #[error("cannot pack the initramfs")]
    Packing {
        /// What the encoder said.
        #[source]
        source: io::Error,
    },
}

/// A place in an initramfs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// Byte of the initramfs; for compressed segments the segment's first byte.
    pub offset: u64,
    /// Byte of what that segment unpacks to, if it is compressed.
    pub unpacked: Option<u64>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unpacked {
            None => write!(f, "byte {}", self.offset),
            Some(unpacked) => write!(
                f,
                "byte {unpacked} of what the segment at byte {} unpacks to",
                self.offset
            ),
        }
    }
}

/// How bytes break their format, and where.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct Corrupt(#[from] pub(crate) CorruptKind);

#[derive(Debug, Error)]
pub(crate) enum CorruptKind {
    #[error("{at}: {} is no cpio magic", bytes.escape_ascii())]
    CpioMagic { at: Position, bytes: [u8; 6] },
    #[error("{at}: the cpio header's {field} is no hexadecimal number")]
    CpioNumber { at: Position, field: &'static str },
    #[error("{at}: the cpio header's name takes {namesize} bytes, 1 to 4096 are legal")]
    CpioNameSize { at: Position, namesize: u64 },
    #[error("{at}: the name of the cpio entry has no end")]
    CpioNameEnd { at: Position },
    #[error("{at}: the archive ends inside an entry, {missing} bytes short")]
    CpioTruncated { at: Position, missing: u64 },
    #[error("{at}: the entry's bytes sum up to {sum:#x}, its header says {expected:#x}")]
    CpioChecksum {
        at: Position,
        sum: u32,
        expected: u32,
    },
    #[error("{at}: an entry starts at no multiple of 4")]
    CpioMisaligned { at: Position },
    #[error("{at}: junk between the entries of a compressed archive")]
    CpioJunk { at: Position },
    #[error("{at}: cannot unpack {compression}")]
    Codec {
        at: Position,
        compression: Compression,
        #[source]
        source: io::Error,
    },
    #[error("byte {at} of {file}: {reason}")]
    Index {
        file: &'static str,
        at: usize,
        reason: IndexReason,
    },
    #[error("module file {path} does not unpack")]
    Module {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// What breaks the rules of a kmod index, a radix tree.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(crate) enum IndexReason {
    #[error("magic is {0:#010x}, not 0xb007f457")]
    Magic(u32),
    #[error("the file ends inside the tree")]
    Short,
    #[error("a key is longer than 4096 bytes")]
    KeyTooLong,
    #[error("the tree reaches a node twice")]
    Cycle,
    #[error("a string has no end")]
    Unterminated,
    #[error("the first child is {first}, the last {last}")]
    Children { first: u8, last: u8 },
}

/// What is legal, but not handled.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct Unsupported(#[from] pub(crate) UnsupportedKind);

#[derive(Debug, Error)]
pub(crate) enum UnsupportedKind {
    #[error("byte {offset}: {compression} compression")]
    Compression {
        offset: u64,
        compression: Compression,
    },
    #[error("byte {offset}: a boot configuration ends the initramfs")]
    BootConfig { offset: u64 },
    #[error("the nash script `init` has no place where modules are loaded")]
    NashScript,
    #[error("the initramfs keeps its files inside the file system image {path}")]
    Squash { path: &'static str },
    #[error("version {version:#x} of {file}")]
    IndexVersion { file: &'static str, version: u32 },
    #[error("{path} is needed as a directory and is something else in the initramfs")]
    NotADirectory { path: String },
    #[error("{path} is needed as a file and is a directory in the initramfs")]
    IsADirectory { path: String },
    #[error("{path} has more than 4 GiB or a name that cpio cannot hold")]
    NoCpio { path: String },
    #[error("{path} is larger than a configuration file is")]
    LargeConfiguration { path: &'static str },
    #[error("module file {path} unpacks to more than a module is large")]
    LargeModule { path: String },
    #[error("modules.dep names {path}, which the module tree has not")]
    ModuleFile { path: String },
    #[error("{file} would be larger than its format allows")]
    LargeIndex { file: String },
}

impl From<CorruptKind> for Error {
    fn from(kind: CorruptKind) -> Self {
        Self::Corrupt(Corrupt(kind))
    }
}

impl From<UnsupportedKind> for Error {
    fn from(kind: UnsupportedKind) -> Self {
        Self::Unsupported(Unsupported(kind))
    }
}

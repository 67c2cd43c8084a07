//! Why the driver failed.

use thiserror::Error;

/// Why the driver failed.
///
/// [`Corrupt`] breaks the specification; [`Unsupported`] is legal, but not done here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The device below failed.
    #[error("the device of the file system failed")]
    Block(#[from] block::Error),
    /// There is no XFS on the device.
    #[error("no XFS here: magic is {magic:#010x}, not 0x58465342")]
    NotXfs {
        /// What stands where the magic number belongs.
        magic: u32,
    },
    /// The file system breaks its specification.
    #[error("the XFS file system is damaged")]
    Corrupt(#[from] Corrupt),
    /// Legal, but not done by this driver.
    #[error("the XFS file system cannot be used so")]
    Unsupported(#[from] Unsupported),
    /// No such name, node or attribute.
    #[error("not found")]
    NotFound,
    /// The name is taken.
    #[error("already exists")]
    Exists,
    /// The node is not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// The node is a directory, where none may be.
    #[error("is a directory")]
    IsADirectory,
    /// The node is not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The directory still holds names.
    #[error("directory not empty")]
    NotEmpty,
    /// The name is empty, too long, or holds a byte that names cannot hold.
    #[error("name not possible on XFS")]
    BadName,
    /// There is no room.
    #[error("no space left: {needed} bytes needed, {free} free")]
    NoSpace {
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// All inodes are taken.
    #[error("no free inode left")]
    NoInodes,
}

/// How the file system breaks its specification, with the numbers that failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(transparent)]
pub struct Corrupt(#[from] pub(crate) CorruptKind);

/// What this driver will not do, by name.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(transparent)]
pub struct Unsupported(#[from] pub(crate) UnsupportedKind);

/// The reasons of [`Corrupt`]. Byte positions are those of the volume.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum CorruptKind {
    #[error("superblock: {field} is {value}, {expected} expected")]
    Superblock {
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("{what} at byte {position}: checksum is {found:#x}, computed {computed:#x}")]
    Checksum {
        what: &'static str,
        position: u64,
        found: u32,
        computed: u32,
    },
    #[error("{what} at byte {position}: {field} is {value:#x}, {expected} expected")]
    Field {
        what: &'static str,
        position: u64,
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("allocation group {group}: {field} is {value}, {expected} expected")]
    Group {
        group: u32,
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("inode {inode}: {field} is {value}, {expected} expected")]
    Inode {
        inode: u64,
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("inode {inode}: {what} at content block {logical} lies outside the file system")]
    ExtentOutside {
        inode: u64,
        logical: u64,
        what: &'static str,
    },
    #[error("inode {inode}: content block {logical} comes after {previous} in the map")]
    ExtentOrder {
        inode: u64,
        logical: u64,
        previous: u64,
    },
    #[error("inode {inode}: content block {logical} is not there")]
    Hole { inode: u64, logical: u64 },
    #[error("inode {inode} lies outside the file system")]
    NoSuchInode { inode: u64 },
    #[error("inode {inode} is named in a directory, but is not in use")]
    UnusedInode { inode: u64 },
    #[error("inode {inode} belongs to the file system itself, but is named in a directory")]
    ReservedNamed { inode: u64 },
    #[error("directory inode {inode}, block {block}, byte {at}: {reason} ({value})")]
    Directory {
        inode: u64,
        /// Block of the directory's content, in blocks of the file system.
        block: u64,
        at: usize,
        reason: &'static str,
        value: u64,
    },
    #[error("attributes of inode {inode}, block {block}, byte {at}: {reason} ({value})")]
    Attribute {
        inode: u64,
        /// Block of the attributes, in blocks of the file system.
        block: u64,
        at: usize,
        reason: &'static str,
        value: u64,
    },
    #[error("an access control list is broken: {reason}")]
    AccessList { reason: &'static str },
    #[error("log block {block}: {reason} ({value})")]
    Log {
        /// In units of 512 bytes from the start of the log.
        block: u64,
        reason: &'static str,
        value: u64,
    },
}

/// The reasons of [`Unsupported`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum UnsupportedKind {
    #[error("incompatible feature {names}")]
    Incompatible { names: String },
    #[error("writing with feature {names}")]
    WriteFeature { names: String },
    #[error("{0}")]
    Other(&'static str),
    #[error("inode {inode}: {what}")]
    Inode { inode: u64, what: &'static str },
    #[error("{field} is {value}, at most {cap} is supported")]
    TooLarge {
        field: &'static str,
        value: u64,
        cap: u64,
    },
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

impl From<Error> for fs::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Block(error) => Self::Block(error),
            Error::Corrupt(corrupt) => Self::Corrupt(Box::new(corrupt)),
            Error::Unsupported(unsupported) => Self::Unsupported(Box::new(unsupported)),
            error @ Error::NotXfs { .. } => Self::Corrupt(Box::new(error)),
            Error::NotFound => Self::NotFound,
            Error::Exists => Self::Exists,
            Error::NotADirectory => Self::NotADirectory,
            Error::IsADirectory => Self::IsADirectory,
            Error::NotAFile => Self::NotAFile,
            Error::NotEmpty => Self::NotEmpty,
            Error::BadName => Self::BadName,
            Error::NoSpace { needed, free } => Self::NoSpace { needed, free },
            Error::NoInodes => Self::NoInodes,
        }
    }
}

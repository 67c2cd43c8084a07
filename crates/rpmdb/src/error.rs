//! Why a list could not be read.

use thiserror::Error;

/// Why a list could not be read.
///
/// [`Corrupt`] breaks the format; [`Unsupported`] is legal, or something else altogether.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("the list of packages cannot be read")]
    Block(#[from] block::Error),
    /// The file breaks its format.
    #[error("the list of packages is damaged")]
    Corrupt(#[from] Corrupt),
    /// The file is not one that is read here.
    #[error("the list of packages cannot be understood")]
    Unsupported(#[from] Unsupported),
}

/// How a file breaks its format, with the numbers that failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(transparent)]
pub struct Corrupt(#[from] pub(crate) CorruptKind);

/// What is not read, by name.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(transparent)]
pub struct Unsupported(#[from] pub(crate) UnsupportedKind);

/// The reasons of [`Corrupt`]. Positions are bytes of the file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum CorruptKind {
    #[error("{what} at byte {position}: {field} is {value}, {expected} expected")]
    Field {
        what: &'static str,
        position: u64,
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("{what} at byte {position} ends before its {field}")]
    Short {
        what: &'static str,
        position: u64,
        field: &'static str,
    },
    #[error("{what} at byte {position}: checksum is {found:#x}, computed {computed:#x}")]
    Checksum {
        what: &'static str,
        position: u64,
        found: u32,
        computed: u32,
    },
    #[error("page {page} lies beyond the end of the file, which has {pages} pages")]
    NoSuchPage { page: u32, pages: u32 },
    #[error("the parts of the file name each other again and again")]
    Cycle,
    #[error("the file ends before byte {end}")]
    FileEnd { end: u64 },
    #[error("the header at byte {position} has no {tag}")]
    MissingTag { position: u64, tag: &'static str },
    #[error("the file has no table of packages")]
    NoTable,
}

/// The reasons of [`Unsupported`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum UnsupportedKind {
    #[error("it is none of Berkeley DB, ndb and SQLite")]
    NoList,
    #[error("version {found} of {format} is not read, {known} are")]
    Version {
        format: &'static str,
        found: u32,
        known: &'static str,
    },
    #[error("{0} is not read")]
    Feature(&'static str),
    #[error("it holds more than 200000 packages")]
    TooManyPackages,
}

impl Corrupt {
    /// Whether no more headers can be found after it.
    pub(crate) fn is_of_the_walk(&self) -> bool {
        matches!(self.0, CorruptKind::Cycle)
    }
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

//! What can be wrong with a VMDK image.

use thiserror::Error;

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("it begins with neither a sparse header nor a descriptor")]
    Magic,
    #[error("the extent {0:?} has no sparse header")]
    ExtentMagic(String),
    #[error("the line ends of the header were changed: it was copied as text")]
    LineEnds,
    #[error("grainSize is {0} sectors, a power of two is legal")]
    GrainSize(u64),
    #[error("numGTEsPerGT is {0}")]
    TableLength(u32),
    #[error("grains are flagged as compressed, but compressAlgorithm is 0")]
    NoAlgorithm,
    #[error("there is no footer at the end of the file, where the header says it is")]
    NoFooter,
    #[error("descriptor line {line}: {text:?} is not understood")]
    Descriptor { line: usize, text: String },
    #[error("the descriptor lacks {0}")]
    DescriptorLacks(&'static str),
    #[error("the descriptor is not text at byte {0}")]
    DescriptorNotText(usize),
    #[error("{len} sectors are expected from the extent {name:?}, it has {have}")]
    ExtentSize { name: String, len: u64, have: u64 },
    #[error("the extents have more sectors than can be counted")]
    TooManySectors,
    #[error("grain table entry {entry} at byte {at} points into the header")]
    GrainInHeader { at: u64, entry: u64 },
    #[error("the entry {entry:#x} at byte {at} is of no known kind")]
    Entry { at: u64, entry: u64 },
    #[error("the entry {entry:#x} at byte {at} points out of the part of the file it counts in")]
    OutsideArea { at: u64, entry: u64 },
    #[error("the grain directory has {have} entries, {needed} are needed")]
    ShortDirectory { have: u64, needed: u64 },
    #[error("there is no volatile header at byte {0}")]
    VolatileMagic(u64),
    #[error(
        "the marker at byte {at} is of the grain at sector {found}, that at sector {expected} is \
         expected"
    )]
    Marker { at: u64, expected: u64, found: u64 },
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("its sparse header is of version {0}, 1 to 3 are read")]
    Version(u32),
    #[error("its grains have {0} sectors, at most {1} are read")]
    GrainSize(u64, u64),
    #[error("its grains are compressed with the unknown algorithm {0}")]
    Compression(u16),
    #[error("it is encrypted")]
    Encrypted,
    #[error("its COWD header is of version {0}, 1 is read")]
    CowdVersion(u32),
    #[error("its COWD header has the flags {0:#x}, 3 are known")]
    CowdFlags(u32),
    #[error("the {name} of its seSparse header is {value:#x}, {known:#x} is read")]
    SeSparse {
        name: &'static str,
        value: u64,
        known: u64,
    },
    #[error(
        "its seSparse journal has to be replayed; let ESXi do that, by opening and closing the \
         disk once"
    )]
    Journal,
    #[error("its descriptor is not in UTF-8, and names in the encoding {0:?} are not understood")]
    Encoding(String),
    #[error("its extents are of type {0:?}")]
    ExtentType(String),
    #[error("the extent {0:?} may not be accessed (NOACCESS)")]
    NoAccess(String),
    #[error("its embedded descriptor names {0} extents")]
    EmbeddedExtents(usize),
    #[error(
        "it is {kind}; open the disk's descriptor file{} instead", guess(.descriptor)
    )]
    ExtentAlone {
        kind: &'static str,
        /// What the descriptor file is called, if the extent's name follows the custom.
        descriptor: Option<String>,
    },
}

fn guess(descriptor: &Option<String>) -> String {
    descriptor
        .as_ref()
        .map_or_else(String::new, |name| format!(" (probably {name:?})"))
}

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
    GrainInHeader { at: u64, entry: u32 },
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
    #[error("it is a VMFS sparse disk (COWD), a snapshot of ESX")]
    Cowd,
    #[error("it is a space-efficient sparse disk (seSparse), a snapshot of ESXi")]
    SeSparse,
    #[error("its extents are of type {0:?}")]
    ExtentType(String),
    #[error("the extent {0:?} may not be accessed (NOACCESS)")]
    NoAccess(String),
    #[error("its embedded descriptor names {0} extents")]
    EmbeddedExtents(usize),
    #[error("it is one extent of a split disk; open the disk's descriptor file instead")]
    ExtentAlone,
}

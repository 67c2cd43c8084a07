//! What can be wrong with OVA and OVF packages.

use super::Container;
use std::fmt;
use thiserror::Error;

/// A rule that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("the tar header at byte {at} has the checksum {found}, {stored} is stored")]
    TarChecksum { at: u64, stored: Field, found: u64 },
    #[error("{field} of the tar header at byte {at} is {value:?}, which is no number")]
    TarNumber {
        at: u64,
        field: &'static str,
        value: Field,
    },
    #[error("the pax record {record:?} at byte {at} is not understood")]
    TarPax { at: u64, record: String },
    #[error("the tar header at byte {at} is of type {kind:?}, but {len} bytes long")]
    TarLength { at: u64, kind: char, len: u64 },
    #[error("it has several members called {0:?}")]
    SameName(String),
    #[error("it is not XML as OVF descriptors are: {0}")]
    Xml(String),
    #[error("it is not text at byte {0}")]
    NotText(usize),
    #[error("its root element is {0}, not the Envelope of an OVF descriptor")]
    NotEnvelope(String),
    #[error("a {element} element lacks the attribute {attribute}")]
    Lacks {
        element: &'static str,
        attribute: &'static str,
    },
    #[error("{what} is {value:?}, which is no number")]
    Number { what: &'static str, value: String },
    #[error("two {element} elements have the identifier {id:?}")]
    SameId { element: &'static str, id: String },
    #[error("{by} refers to {id:?}, which is not listed in {section}")]
    Dangling {
        by: String,
        id: String,
        section: &'static str,
    },
    #[error("line {line} of the manifest, {text:?}, is not understood")]
    ManifestLine { line: usize, text: String },
    #[error("its {algorithm} is {found}, the manifest {manifest} says {expected}")]
    Digest {
        manifest: String,
        algorithm: &'static str,
        expected: String,
        found: String,
    },
    #[error("the descriptor says that it is compressed with gzip, but it does not begin so")]
    NotGzip,
    #[error("it cannot be expanded: {why} (after {done} of its bytes)")]
    Gzip { done: u64, why: String },
    #[error("it expands to more than {limit} bytes, the descriptor says {declared}")]
    Bomb { limit: u64, declared: u64 },
    #[error("it has {len} bytes, the descriptor says that the disk has {capacity}")]
    ShorterThanDisk { len: u64, capacity: u64 },
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("it is {0}, which holds disks, where one disk is expected")]
    Container(Container),
    #[error("it goes on in another volume (the tar header at byte {0})")]
    MultiVolume(u64),
    #[error("a global pax header at byte {0} sets the {1} of all members")]
    GlobalPax(u64, &'static str),
    #[error("its member {0:?} is stored as a sparse file; pack it again without tar's --sparse")]
    SparseMember(String),
    #[error("its member {0:?} is not a file but a link, a directory or a device")]
    NotAFile(String),
    #[error("it has {0} OVF descriptors, one is expected")]
    Descriptors(usize),
    #[error("the compression {0:?} of a file")]
    Compression(String),
    #[error("the file {0:?} is split into chunks (chunkSize)")]
    Chunks(String),
    #[error("the disk {disk:?} is a delta over the disk {parent:?} (parentRef)")]
    ParentRef { disk: String, parent: String },
    #[error(
        "the size of the empty disk {disk:?} is not a number of bytes up to {max}, but {text:?}"
    )]
    BlankSize {
        disk: String,
        text: String,
        max: u64,
    },
    #[error("the hard disk {item:?} is on {resource:?}, not on a disk or file of the descriptor")]
    HostResource { item: String, resource: String },
    #[error(
        "its descriptor is of {0} machines; name the disks of one of them, one at a time, by their \
         numbers"
    )]
    Machines(usize),
    #[error("its descriptor has no disks")]
    NoDisks,
    #[error("the manifest {manifest} uses the digest {algorithm:?}")]
    Algorithm { manifest: String, algorithm: String },
}

/// The bytes of a field that should hold digits.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Field(pub(crate) Vec<u8>);

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

//! Why an image could not be opened, read or written.

use crate::content_id::ContentId;
use crate::format::Foreign;
use crate::{Format, ovf, qcow2, vhd, vhdx, vmdk};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why an image could not be opened, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The host could not open, read or write a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb: "open", "read".
        action: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// The bytes break the rules of their format.
    #[error(transparent)]
    Corrupt(Box<Corrupt>),
    /// The image is legal but not supported.
    #[error(transparent)]
    Unsupported(Box<Unsupported>),
    /// A file that an image names may not be opened: see [`crate::Gate`].
    #[error(transparent)]
    Refused(Box<Refused>),
    /// A file that an image names does not exist.
    #[error("{} names {name:?} as its {role}, which does not exist", by.display())]
    Missing {
        /// The image that names the file.
        by: PathBuf,
        /// The name, as it stands in the image.
        name: String,
        /// What the file is to the image.
        role: &'static str,
    },
    /// The file is of no known format, and its name does not say that it is raw.
    #[error("{} is not recognised: {reason}", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// The target exists and may not be replaced.
    #[error("{} exists already", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The options cannot be followed.
    #[error("{reason}")]
    Options {
        /// What is wrong with them.
        reason: String,
    },
    /// The device that is written to an image could not be read.
    #[error("the source disk cannot be read")]
    Source(#[from] block::Error),
    /// A package has several disks, and none was chosen.
    #[error(
        "{} holds {} disks, choose one of them by its number: {}",
        path.display(), disks.len(), listed(disks)
    )]
    SeveralDisks {
        /// The OVA or OVF.
        path: PathBuf,
        /// What the disks are called, in the order of their numbers; the first is 1.
        disks: Vec<String>,
    },
    /// Content that can be read only once could not be kept in a temporary file.
    #[error(
        "cannot keep {} in a temporary file in {} (TMPDIR says where)",
        path.display(), directory.display()
    )]
    Spool {
        /// What was to be kept.
        path: PathBuf,
        /// Where the file is, or was to be.
        directory: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The work was stopped from outside.
    #[error(transparent)]
    Interrupted(#[from] ondisk::Interrupted),
}

/// Disks with their numbers, as many as can be read at a glance.
fn listed(disks: &[String]) -> String {
    const SHOWN: usize = 32;
    let mut words: Vec<_> = (1_usize..)
        .zip(disks.iter().take(SHOWN))
        .map(|(number, name)| format!("{number} is {name}"))
        .collect();
    if disks.len() > SHOWN {
        words.push("…".to_owned());
    }
    words.join(", ")
}

/// Which rule an image breaks, and where.
#[derive(Debug, Error)]
#[error("{} is damaged: {damage}", path.display())]
pub struct Corrupt {
    path: PathBuf,
    damage: Damage,
}

/// A rule that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("{len} bytes expected at byte {offset}, but the file ends at byte {end}")]
    Truncated { offset: u64, len: u64, end: u64 },
    #[error(
        "the {unit} at guest offset {guest} maps to bytes {offset} to {to}, beyond the end of the \
         file ({end} bytes)", to = offset.saturating_add(*len)
    )]
    BeyondEnd {
        unit: &'static str,
        guest: u64,
        offset: u64,
        len: u64,
        end: u64,
    },
    #[error("a part of it is not there: {0}")]
    Lost(String),
    #[error(transparent)]
    TooLarge(#[from] ondisk::cap::TooLarge),
    #[error("the file refers to itself through {0}")]
    Cycle(String),
    #[error("its content id is {}, but its child was made over {expected}", found_id(.found))]
    ParentChanged {
        expected: ContentId,
        found: Option<ContentId>,
    },
    #[error(
        "the compressed {unit} at guest offset {guest} (byte {offset}) cannot be expanded: {why}"
    )]
    Codec {
        unit: &'static str,
        guest: u64,
        offset: u64,
        why: String,
    },
    #[error(transparent)]
    Qcow2(#[from] qcow2::Damage),
    #[error(transparent)]
    Vmdk(#[from] vmdk::Damage),
    #[error(transparent)]
    Vhd(#[from] vhd::Damage),
    #[error(transparent)]
    Ovf(#[from] ovf::Damage),
    #[error(transparent)]
    Vhdx(#[from] vhdx::Damage),
}

fn found_id(found: &Option<ContentId>) -> String {
    found.map_or_else(|| "absent".to_owned(), |id| id.to_string())
}

/// What is legal in an image but not supported.
#[derive(Debug, Error)]
#[error("{} is not supported: {feature}", path.display())]
pub struct Unsupported {
    path: PathBuf,
    feature: Feature,
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("it is {0}, which is recognised but cannot be read yet{hint}", hint = .0.hint())]
    Foreign(Foreign),
    #[error("it is neither a regular file nor a block device")]
    FileType,
    #[error("the chain of backing files is deeper than {0}")]
    Depth(usize),
    #[error("its backing file is of format {0:?}")]
    BackingFormat(String),
    #[error(transparent)]
    Qcow2(#[from] qcow2::Feature),
    #[error(transparent)]
    Vmdk(#[from] vmdk::Feature),
    #[error(transparent)]
    Vhd(#[from] vhd::Feature),
    #[error(transparent)]
    Ovf(#[from] ovf::Feature),
    #[error(transparent)]
    Vhdx(#[from] vhdx::Feature),
}

/// A name inside an image that may not be followed.
#[derive(Debug, Error)]
#[error("{} names {name:?} as its {role}: {reason}", by.display())]
pub struct Refused {
    pub(crate) by: PathBuf,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) reason: RefusedReason,
}

/// Why a name may not be followed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum RefusedReason {
    #[error("only plain file names are followed")]
    NotPlain,
    #[error("addresses and options of other programs are not followed")]
    Url,
    #[error("it leads to {}, outside the directories that are allowed", .0.display())]
    Outside(PathBuf),
    #[error("block devices are followed only in directories that are allowed")]
    BlockDevice,
    #[error("the name is not text")]
    NotText,
    #[error(
        "it may not be followed there, and there is no other {0:?} beside the image: put it there, \
         or allow its directory"
    )]
    NotBeside(String),
    #[error("what comes from the standard input has no files beside it")]
    Nowhere,
    #[error("only names inside the archive are followed there")]
    OutsideArchive,
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source: source.into(),
        }
    }

    pub(crate) fn corrupt(path: &Path, damage: impl Into<Damage>) -> Self {
        Self::Corrupt(Box::new(Corrupt {
            path: path.to_owned(),
            damage: damage.into(),
        }))
    }

    pub(crate) fn unsupported(path: &Path, feature: impl Into<Feature>) -> Self {
        Self::Unsupported(Box::new(Unsupported {
            path: path.to_owned(),
            feature: feature.into(),
        }))
    }

    pub(crate) fn refused(
        by: &Path,
        name: &[u8],
        role: &'static str,
        reason: RefusedReason,
    ) -> Self {
        Self::Refused(Box::new(Refused {
            by: by.to_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
            role,
            reason,
        }))
    }

    /// The format whose content was recognised, if that is why the image was not opened.
    pub fn recognised_format(&self) -> Option<Foreign> {
        match self {
            Self::Unsupported(unsupported) => match unsupported.feature {
                Feature::Foreign(foreign) => Some(foreign),
                _ => None,
            },
            _ => None,
        }
    }

    /// As a device's error for the access at `offset`.
    pub(crate) fn at(self, offset: u64) -> block::Error {
        block::Error::Format {
            offset,
            source: Box::new(self),
        }
    }
}

impl Corrupt {
    /// The damaged file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Unsupported {
    /// The file that is not supported.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Refused {
    /// The name that was not followed, as it stands in the image.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A format name that is none of ours.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("unknown image format {name:?}, known are {}", Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat {
    pub(crate) name: String,
}

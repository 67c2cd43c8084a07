//! VMware virtual disks.

use crate::Error;
use crate::file::ImageFile;
use crate::open::{Opened, Opener};
use std::path::Path;
use thiserror::Error;

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {
    #[error("its content id is {found:08x?}, but the child was made over {expected:08x}")]
    ParentChanged { expected: u32, found: Option<u32> },
}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("reading VMDK images comes next")]
    Reading,
}

pub(crate) fn is_recognised(head: &[u8]) -> bool {
    head.starts_with(b"KDMV") || head.starts_with(b"# Disk DescriptorFile")
}

pub(crate) fn parent_changed(path: &Path, expected: u32, found: Option<u32>) -> Error {
    Error::corrupt(
        path,
        crate::error::Damage::Vmdk(Damage::ParentChanged { expected, found }),
    )
}

pub(crate) fn open(file: ImageFile, _: &mut Opener) -> Result<Opened, Error> {
    Err(Error::unsupported(
        file.path(),
        crate::error::Feature::Vmdk(Feature::Reading),
    ))
}

//! QEMU copy-on-write images, versions 2 and 3.

use crate::Error;
use crate::file::ImageFile;
use crate::open::{Opened, Opener};
use thiserror::Error;

/// The first bytes of every qcow image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// A rule of the format that was broken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Damage {}

/// A legal thing that is not done.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Feature {
    #[error("reading qcow2 images comes next")]
    Reading,
}

pub(crate) fn open(file: ImageFile, _: &mut Opener) -> Result<Opened, Error> {
    Err(Error::unsupported(
        file.path(),
        crate::error::Feature::Qcow2(Feature::Reading),
    ))
}

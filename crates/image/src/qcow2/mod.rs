//! QEMU copy-on-write images, versions 2 and 3 (`docs/interop/qcow2.txt` of QEMU).
//!
//! Refcounts and internal snapshots are not looked at: reading the current state needs neither.

mod allocator;
mod error;
mod header;
mod metadata;
mod raw;
mod read;
mod write;

pub(crate) use error::{Damage, Feature};
pub(crate) use write::write;
pub use write::{Compression, Qcow2Options};

use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use crate::open::{Next, Opened, Opener};
use crate::{Error, Format};
use header::{Backing, Header};
use read::Qcow2Layer;
use std::sync::Arc;

/// The first bytes of every qcow image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Opens an image, its external data file and its backing file.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let header = Header::read(&file)?;
    let data_file = match &header.data_file {
        Some(name) => Some(opener.named(file.path(), name, "data file")?),
        None => None,
    };
    let parent = match &header.backing {
        Some(backing) => Some(open_backing(&file, backing, opener)?),
        None => None,
    };
    Ok(Opened {
        layer: Arc::new(Qcow2Layer::new(file, data_file, &header)?),
        parent,
        content_id: None,
        details: Vec::new(),
    })
}

fn open_backing(file: &ImageFile, backing: &Backing, opener: &mut Opener) -> Result<Next, Error> {
    // Without a format the backing file is probed, as it is by everyone who wrote such images.
    let format = match &backing.format {
        Some(name) => Some(backing_format(file, name)?),
        None => None,
    };
    Ok(Next {
        file: opener.named(file.path(), &backing.name, "backing file")?,
        format,
        content_id: None,
    })
}

fn backing_format(file: &ImageFile, name: &[u8]) -> Result<Format, Error> {
    let name = String::from_utf8_lossy(name);
    name.parse()
        .map_err(|_| Error::unsupported(file.path(), AnyFeature::BackingFormat(name.into_owned())))
}

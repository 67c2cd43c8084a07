//! VMware virtual disks (VMware, "Virtual Disk Format 5.0"): a descriptor with its extents, or
//! one sparse file with the descriptor inside.

mod descriptor;
mod error;
mod header;
mod metadata;
mod raw;
mod read;

pub(crate) use error::{Damage, Feature};

use crate::content_id::ContentId;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use crate::open::{Next, Opened, Opener};
use crate::{Error, Format};
use descriptor::Descriptor;
use header::Header;
use ondisk::cap;
use read::{SparseExtent, VmdkLayer};
use std::sync::Arc;

/// Most bytes of a descriptor file.
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// Whether a file begins as one of VMware's disks.
pub(crate) fn is_recognised(head: &[u8]) -> bool {
    head.starts_with(&raw::MAGIC_SPARSE)
        || head.starts_with(&raw::MAGIC_COWD)
        || head.starts_with(&raw::MAGIC_SESPARSE)
        || descriptor::is_descriptor(head)
}

/// Opens an image, its extents and its parent.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let mut head = [0; 512];
    let len = file.read_up_to(0, &mut head)?;
    let head = &head[..len];
    let unsupported = |feature| Error::unsupported(file.path(), AnyFeature::Vmdk(feature));
    if head.starts_with(&raw::MAGIC_COWD) {
        return Err(unsupported(Feature::Cowd));
    }
    if head.starts_with(&raw::MAGIC_SESPARSE) {
        return Err(unsupported(Feature::SeSparse));
    }
    if head.starts_with(&raw::MAGIC_SPARSE) {
        return open_sparse(file, opener);
    }
    if !descriptor::is_descriptor(head) {
        return Err(Error::corrupt(file.path(), Damage::Magic));
    }
    let len = cap::length(
        "the size of the descriptor file",
        file.len(),
        MAX_DESCRIPTOR,
    )
    .map_err(|error| Error::corrupt(file.path(), error))?;
    let mut text = vec![0; len];
    file.read_exact(0, &mut text)?;
    let descriptor = Descriptor::parse(file.path(), &text)?;
    let layer = VmdkLayer::described(file.path(), &descriptor.extents, opener)?;
    Ok(Opened {
        layer: Arc::new(layer),
        parent: open_parent(&file, &descriptor, opener)?,
        content_id: descriptor.cid.map(ContentId::Vmdk),
        details: Vec::new(),
        snapshots: Vec::new(),
    })
}

/// Opens a sparse file, in which the names of extents mean nothing: it may have been renamed.
fn open_sparse(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let unsupported = |feature| Error::unsupported(file.path(), AnyFeature::Vmdk(feature));
    let header = Header::read(&file)?;
    let mut text = Vec::new();
    if let Some((offset, len)) = header.descriptor {
        text.resize(len, 0);
        file.read_exact(offset, &mut text)?;
    }
    let descriptor = match text.first() {
        Some(first) if *first != 0 => Descriptor::parse(file.path(), &text)?,
        // Streams are whole disks; what is not compressed belongs to a descriptor file.
        _ if header.compressed => Descriptor::default(),
        _ => return Err(unsupported(Feature::ExtentAlone)),
    };
    if descriptor.extents.len() > 1 {
        let count = descriptor.extents.len();
        return Err(unsupported(Feature::EmbeddedExtents(count)));
    }
    let parent = open_parent(&file, &descriptor, opener)?;
    Ok(Opened {
        layer: Arc::new(VmdkLayer::monolithic(SparseExtent::new(file, &header)?)),
        parent,
        content_id: descriptor.cid.map(ContentId::Vmdk),
        details: Vec::new(),
        snapshots: Vec::new(),
    })
}

fn open_parent(
    file: &ImageFile,
    descriptor: &Descriptor,
    opener: &mut Opener,
) -> Result<Option<Next>, Error> {
    let Some(parent) = &descriptor.parent else {
        return Ok(None);
    };
    Ok(Some(Next {
        file: opener.named(file.path(), parent.hint.as_bytes(), "parent")?,
        format: Some(Format::Vmdk),
        content_id: Some(ContentId::Vmdk(parent.cid)),
    }))
}

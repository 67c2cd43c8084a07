//! VMware virtual disks (VMware, "Virtual Disk Format 5.0"): a descriptor with its extents, or
//! one sparse file with the descriptor inside. Extents are flat, hosted sparse (also compressed),
//! VMFS sparse (COWD) and seSparse.

mod cowd;
mod descriptor;
mod encoding;
mod entries;
mod error;
mod extent;
mod header;
mod metadata;
mod names;
mod raw;
mod read;
mod sesparse;
mod write;

pub(crate) use error::{Damage, Feature};
pub(crate) use write::write;

use crate::content_id::ContentId;
use crate::error::{Feature as AnyFeature, Refused, RefusedReason};
use crate::file::ImageFile;
use crate::open::{Detail, Next, Opened, Opener, Parent};
use crate::{Error, Format};
use descriptor::Descriptor;
use extent::{SparseExtent, SparseKind};
use header::Header;
use ondisk::cap;
use read::VmdkLayer;
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a descriptor file.
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// Whether a file begins as one of VMware's disks.
pub(crate) fn is_recognised(head: &[u8]) -> bool {
    SparseKind::of(head).is_some() || descriptor::is_descriptor(head)
}

/// Opens an image, its extents and its parent.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let mut head = [0; 512];
    let len = file.read_up_to(0, &mut head)?;
    let head = &head[..len];
    match SparseKind::of(head) {
        Some(SparseKind::Hosted) => return open_sparse(file, opener),
        // Nothing in them says which parent they need, or that they need none.
        Some(SparseKind::Cowd) => {
            return Err(alone(&file, "an extent of a VMFS sparse disk (COWD)"));
        }
        Some(SparseKind::SeSparse) => {
            return Err(alone(&file, "an extent of a seSparse disk"));
        }
        None => {}
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
    open_described(&file, &descriptor, opener)
}

/// Opens the extents that a descriptor names.
fn open_described(
    file: &ImageFile,
    descriptor: &Descriptor,
    opener: &mut Opener,
) -> Result<Opened, Error> {
    let layer = VmdkLayer::described(file.path(), &descriptor.extents, opener)?;
    let parent = open_parent(file.path(), descriptor, opener)?;
    Ok(told(layer, parent, descriptor))
}

/// Opens a sparse file, in which the names of extents mean nothing: it may have been renamed.
fn open_sparse(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let header = Header::read(&file)?;
    let mut text = Vec::new();
    if let Some((offset, len)) = header.descriptor {
        text.resize(len, 0);
        file.read_exact(offset, &mut text)?;
    }
    let descriptor = match text.first() {
        Some(first) if *first != 0 => Descriptor::parse(file.path(), &text)?,
        // Streams are whole disks; what is not compressed belongs to a descriptor file.
        _ if header.layout.compressed => Descriptor::default(),
        _ => return Err(alone(&file, "one extent of a split disk")),
    };
    // A header without sectors only carries a descriptor, whose extents are other files.
    if header.layout.capacity == 0 && !descriptor.extents.is_empty() {
        return open_described(&file, &descriptor, opener);
    }
    if descriptor.extents.len() > 1 {
        let feature = Feature::EmbeddedExtents(descriptor.extents.len());
        return Err(Error::unsupported(file.path(), AnyFeature::Vmdk(feature)));
    }
    let parent = open_parent(file.path(), &descriptor, opener)?;
    let layer = VmdkLayer::monolithic(SparseExtent::hosted(file, header)?);
    Ok(told(layer, parent, &descriptor))
}

/// An extent that was opened without its descriptor.
fn alone(file: &ImageFile, kind: &'static str) -> Error {
    let descriptor = names::descriptor_of(file.path());
    let feature = Feature::ExtentAlone { kind, descriptor };
    Error::unsupported(file.path(), AnyFeature::Vmdk(feature))
}

fn told(layer: VmdkLayer, parent: Option<Parent>, descriptor: &Descriptor) -> Opened {
    let mut details = Vec::new();
    let mut tell = |name, value: Option<String>| {
        details.extend(value.map(|value| Detail::new(name, value)));
    };
    tell("create-type", descriptor.create_type.clone());
    tell("cid", descriptor.cid.map(|cid| format!("{cid:08x}")));
    let parent_cid = descriptor.parent.as_ref().map(|parent| parent.cid);
    tell("parent-cid", parent_cid.map(|cid| format!("{cid:08x}")));
    tell("hardware-version", descriptor.hardware.clone());
    details.extend(layer.details());
    Opened {
        layer: Arc::new(layer),
        parent,
        content_id: descriptor.cid.map(ContentId::Vmdk),
        details,
        snapshots: Vec::new(),
    }
}

fn open_parent(
    by: &Path,
    descriptor: &Descriptor,
    opener: &mut Opener,
) -> Result<Option<Parent>, Error> {
    let Some(parent) = &descriptor.parent else {
        return Ok(None);
    };
    let found = parent_file(by, &parent.hint, opener).map(|file| Next {
        file,
        format: Some(Format::Vmdk),
        content_id: Some(ContentId::Vmdk(parent.cid)),
    });
    opener.or_lost(by, found).map(Some)
}

/// The parent where the hint says, if the gate allows that, and else beside the child.
///
/// Linked clones name their parents by the path on the host they came from; when they are brought
/// here, the files come to lie together. The name alone would not be enough to take another file
/// for the parent, but its content id has to be the expected one too.
fn parent_file(by: &Path, hint: &str, opener: &mut Opener) -> Result<ImageFile, Error> {
    let error = match opener.named(by, hint.as_bytes(), PARENT) {
        Err(error @ Error::Missing { .. }) => error,
        Err(Error::Refused(refused)) if refused.reason != RefusedReason::Url => {
            Error::Refused(refused)
        }
        result => return result,
    };
    let Some(name) = names::last_component(hint) else {
        return Err(error);
    };
    match opener.named(by, name.as_bytes(), PARENT) {
        // A clone is often called as its parent is, in a directory of its own.
        Err(Error::Missing { .. } | Error::Corrupt(_)) => Err(match error {
            Error::Refused(refused) => Error::Refused(Box::new(Refused {
                reason: RefusedReason::NotBeside(name.to_owned()),
                ..*refused
            })),
            missing => missing,
        }),
        result => result,
    }
}

/// What the parent is to a child.
const PARENT: &str = "parent";

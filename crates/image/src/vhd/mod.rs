//! Virtual hard disks of Virtual PC and Hyper-V, generation 1 (Microsoft's "Virtual Hard Disk
//! Image Format Specification" 1.0): fixed, dynamic and differencing.

mod content;
mod error;
mod footer;
mod geometry;
mod header;
mod metadata;
mod parent;
mod raw;
mod read;
mod write;

pub(crate) use error::{Damage, Feature};
pub(crate) use write::write;
pub use write::{VhdOptions, VhdSubformat};

use crate::Error;
use crate::content_id::ContentId;
use crate::file::ImageFile;
use crate::open::{Detail, Opened, Opener};
use footer::{Footer, Kind, Place};
use header::Header;
use read::VhdLayer;
use std::sync::Arc;

/// Whether a file, whose first bytes are `head`, is a VHD image.
pub(crate) fn is_recognised(file: &ImageFile, head: &[u8]) -> Result<bool, Error> {
    footer::is_recognised(file, head)
}

/// Opens an image and its parent.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let footer = Footer::read(&file)?;
    let content_id = Some(ContentId::Vhd(footer.unique_id));
    let mut details = details(&footer);
    if footer.kind == Kind::Fixed {
        return Ok(Opened {
            layer: Arc::new(VhdLayer::fixed(file, &footer, opener.salvage)?),
            parent: None,
            content_id,
            details,
            snapshots: Vec::new(),
        });
    }
    let header = Header::read(&file, &footer)?;
    details.push(Detail::new("block-size", header.block_size));
    let parent = match header.parent(&footer) {
        Some(raw) => {
            details.push(Detail::new(
                "parent-unique-id",
                ContentId::Vhd(raw.parent_unique_id),
            ));
            let found = parent::open(&file, raw, opener);
            Some(opener.or_lost(file.path(), found)?)
        }
        None => None,
    };
    Ok(Opened {
        layer: Arc::new(VhdLayer::blocks(file, &footer, &header, opener.salvage)?),
        parent,
        content_id,
        details,
        snapshots: Vec::new(),
    })
}

fn details(footer: &Footer) -> Vec<Detail> {
    let mut details = vec![
        Detail::new("kind", footer.kind),
        Detail::new("creator", &footer.creator),
        Detail::new("unique-id", ContentId::Vhd(footer.unique_id)),
    ];
    if footer.sized_by_geometry {
        details.push(Detail::new("size-by", "disk geometry"));
    }
    if footer.saved_state {
        details.push(Detail::new("saved-state", "yes"));
    }
    if footer.place == Place::Copy {
        details.push(Detail::new("footer", "lost, its copy is used"));
    }
    details
}

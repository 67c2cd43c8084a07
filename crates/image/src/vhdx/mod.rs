//! Hyper-V virtual hard disks, version 2 (\[MS-VHDX\]): fixed, dynamic and differencing.
//!
//! A log that was not replayed is replayed in memory: files are never written to.

mod bat;
mod error;
mod header;
mod locator;
mod log;
mod metadata;
mod raw;
mod read;
mod region;
mod view;
mod write;

pub(crate) use error::{Damage, Feature};
pub use write::VhdxOptions;
pub(crate) use write::write;

use crate::content_id::ContentId;
use crate::file::ImageFile;
use crate::open::{Detail, Next, Opened, Opener};
use crate::{Error, Format};
use bat::Bat;
use header::Header;
use locator::Locator;
use metadata::Metadata;
use read::VhdxLayer;
use region::Regions;
use std::sync::Arc;
use view::View;

/// The first bytes of every VHDX image.
pub(crate) const MAGIC: [u8; 8] = raw::SIGNATURE;

/// Opens an image and its parent.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let header = Header::read(&file)?;
    let (view, replayed) = match log::replay(&file, &header)? {
        None => (View::plain(file), None),
        Some(replay) => (
            View::replayed(file, replay.patches, replay.len),
            Some(replay.entries),
        ),
    };
    let regions = Regions::read(&view, &header.log, opener.salvage)?;
    let metadata = Metadata::read(&view, &regions.metadata)?;
    let bat = Bat::new(&view, &regions, &metadata)?;
    let parent = match &metadata.parent {
        Some(locator) => {
            let found = open_parent(view.file(), locator, opener);
            Some(opener.or_lost(view.file().path(), found)?)
        }
        None => None,
    };
    Ok(Opened {
        details: details(&header, &metadata, replayed),
        layer: Arc::new(VhdxLayer::new(bat, view)),
        parent,
        content_id: Some(ContentId::Vhdx(header.data_write_guid)),
        snapshots: Vec::new(),
    })
}

/// Opens the first of the names of the parent that leads to a file.
fn open_parent(file: &ImageFile, locator: &Locator, opener: &mut Opener) -> Result<Next, Error> {
    let mut failure: Option<Error> = None;
    for name in locator.names() {
        match opener.named(file.path(), name.as_bytes(), "parent") {
            Ok(parent) => return parent_over(parent, locator),
            // That a file is not there is more of use to know than that a path is not followed.
            Err(error @ Error::Missing { .. }) => {
                if !matches!(failure, Some(Error::Missing { .. })) {
                    failure = Some(error);
                }
            }
            Err(error @ Error::Refused(_)) => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    // A locator without a path is not let through.
    Err(failure.unwrap_or_else(|| Error::corrupt(file.path(), Damage::LocatorLacks("a path"))))
}

fn parent_over(file: ImageFile, locator: &Locator) -> Result<Next, Error> {
    // Of two legal identities the one that the parent has is expected, the first one else.
    let expected = match locator.linkage2 {
        Some(other) if Header::read(&file)?.data_write_guid == other => other,
        _ => locator.linkage,
    };
    Ok(Next {
        file,
        format: Some(Format::Vhdx),
        content_id: Some(ContentId::Vhdx(expected)),
    })
}

fn details(header: &Header, metadata: &Metadata, replayed: Option<usize>) -> Vec<Detail> {
    let kind = match (&metadata.parent, metadata.leave_block_allocated) {
        (Some(_), _) => "differencing",
        (None, true) => "fixed",
        (None, false) => "dynamic",
    };
    let log = match replayed {
        None => "empty".to_owned(),
        Some(entries) => format!("replayed in memory, entries: {entries}"),
    };
    let mut details = vec![
        Detail::new("kind", kind),
        Detail::new("block-size", metadata.block_size.bytes()),
        Detail::new("logical-sector-size", metadata.logical_sector_size.bytes()),
    ];
    if let Some(size) = metadata.physical_sector_size {
        details.push(Detail::new("physical-sector-size", size));
    }
    if let Some(id) = metadata.virtual_disk_id {
        details.push(Detail::new("disk-id", id));
    }
    details.push(Detail::new("data-write-id", header.data_write_guid));
    details.push(Detail::new("log", log));
    details.push(Detail::new("creator", &header.creator));
    details
}

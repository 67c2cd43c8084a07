//! QEMU copy-on-write images, versions 2 and 3 (`docs/interop/qcow2.txt` of QEMU).
//!
//! Refcounts are not looked at: reading needs none. Dirty bitmaps are read when they are asked for.

mod allocator;
mod bitmap;
mod error;
mod header;
mod metadata;
mod raw;
mod read;
mod snapshot;
mod write;

pub(crate) use bitmap::Bitmaps;
pub use bitmap::{BitmapInfo, Dirty};
pub(crate) use error::{Damage, Feature};
pub use snapshot::SnapshotInfo;
pub(crate) use write::write;
pub use write::{Compression, Qcow2Options};

use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use crate::open::{Detail, Next, Opened, Opener};
use crate::{Error, Format};
use header::{Backing, Header};
use read::Qcow2Layer;
use std::sync::Arc;

/// The first bytes of every qcow image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Opens an image, its external data file and its backing file.
pub(crate) fn open(file: ImageFile, opener: &mut Opener) -> Result<Opened, Error> {
    let mut header = Header::read(&file)?;
    let mut details = details(&header);
    let current = opener.snapshot.is_none();
    let snapshots = match (snapshot::read(&file, &header), opener.snapshot.take()) {
        (Ok(snapshots), Some(wanted)) => {
            snapshot::find(&file, &snapshots, wanted)?.apply(&file, &mut header)?;
            details.push(Detail::new("snapshot", wanted));
            snapshots
        }
        (Ok(snapshots), None) => snapshots,
        (Err(error), Some(_)) => return Err(error),
        // The current state can be read all the same.
        (Err(error), None) => {
            details.push(Detail::new("snapshots", error));
            Vec::new()
        }
    };
    let data_file = match &header.data_file {
        Some(name) => Some(opener.named(file.path(), name, "data file")?),
        None => None,
    };
    let parent = match &header.backing {
        Some(backing) => {
            let found = open_backing(&file, backing, opener);
            Some(opener.or_lost(file.path(), found)?)
        }
        None => None,
    };
    Ok(Opened {
        details,
        snapshots: snapshots.into_iter().map(|s| s.info).collect(),
        layer: Arc::new(Qcow2Layer::new(
            file,
            data_file,
            &header,
            current,
            opener.salvage,
        )?),
        parent,
        content_id: None,
    })
}

fn details(header: &Header) -> Vec<Detail> {
    let mut details = vec![
        Detail::new("version", header.version),
        Detail::new("cluster-size", header.cluster.bytes()),
        Detail::new("compression-type", header.codec),
        Detail::new("refcount-bits", header.refcount_bits),
        Detail::new("extended-l2", header.extended_l2),
        Detail::new("dirty", header.dirty),
    ];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(backing) = &header.backing {
        details.push(Detail::new("backing-file", text(&backing.name)));
        if let Some(format) = &backing.format {
            details.push(Detail::new("backing-format", text(format)));
        }
    }
    if let Some(name) = &header.data_file {
        details.push(Detail::new("data-file", text(name)));
    }
    details
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

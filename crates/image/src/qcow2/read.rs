//! A qcow2 image as a layer.

use super::bitmap::{Bitmaps, Place as BitmapPlace};
use super::header::Header;
use super::metadata::{self, Tables};
use crate::Error;
use crate::file::ImageFile;
use crate::granules::{Granules, Stream};
use crate::layer::{Layer, Place, Run};

/// An open qcow2 image, without its backing file.
#[derive(Debug)]
pub(super) struct Qcow2Layer {
    size: u64,
    cluster: u64,
    tables: Tables,
    file: ImageFile,
    data_file: Option<ImageFile>,
    granules: Granules,
    bitmaps: Option<BitmapPlace>,
}

impl Qcow2Layer {
    /// `current` says whether `header` is that of the disk as it is now.
    pub(super) fn new(
        file: ImageFile,
        data_file: Option<ImageFile>,
        header: &Header,
        current: bool,
        salvage: bool,
    ) -> Result<Self, Error> {
        let cluster = header.cluster.bytes().get();
        Ok(Self {
            size: header.size,
            cluster,
            tables: Tables::read(&file, header, data_file.as_ref(), salvage)?,
            granules: Granules::new(header.codec, "cluster", cluster, header.size),
            bitmaps: BitmapPlace::of(header, current),
            file,
            data_file,
        })
    }
}

impl Layer for Qcow2Layer {
    fn size(&self) -> u64 {
        self.size
    }

    fn granule(&self) -> u64 {
        self.cluster
    }

    fn map(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.tables.map(&self.file, offset, wanted)
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        match (place.packed, &self.data_file) {
            (Some(packed), _) => self.granules.read(&self.file, &packed, buf, || {
                Ok(Stream {
                    offset: place.offset,
                    len: packed.len,
                })
            }),
            (None, Some(data_file)) => data_file.read_exact(place.offset, buf),
            (None, None) => self.file.read_exact(place.offset, buf),
        }
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        match number {
            metadata::IMAGE => Some(&self.file),
            metadata::DATA_FILE => self.data_file.as_ref(),
            _ => None,
        }
    }

    fn bitmaps(&self) -> Option<Bitmaps<'_>> {
        let place = self.bitmaps.as_ref()?;
        let file = &self.file;
        Some(Bitmaps { file, place })
    }
}

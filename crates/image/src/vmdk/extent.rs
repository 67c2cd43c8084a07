//! One extent: where its bytes are, and reading them.

use super::descriptor::{ExtentKind, ExtentLine};
use super::error::Damage;
use super::header::Header;
use super::metadata::{Grains, Layout};
use super::raw::{self, GrainMarker, SECTOR};
use super::{cowd, sesparse};
use crate::Error;
use crate::codec::Codec;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::granules::{Granules, Stream};
use crate::layer::{Packed, Place, Run};
use crate::lost::Lost;
use crate::open::Opener;
use ondisk::width::u64_of;
use std::path::Path;
use zerocopy::FromBytes;

/// What an extent consists of.
#[derive(Debug)]
pub(super) enum Content {
    /// The disk's bytes, from an offset of the file on.
    Flat {
        file: ImageFile,
        offset: u64,
    },
    Sparse(Box<SparseExtent>),
    Zero,
    /// The file is not there, and reading goes on without it.
    Lost(Lost),
}

/// A file with grain tables.
#[derive(Debug)]
pub(super) struct SparseExtent {
    file: ImageFile,
    kind: SparseKind,
    grains: Grains,
    granules: Granules,
    /// Whether compressed grains follow a marker.
    markers: bool,
}

/// Which header a file with grain tables has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SparseKind {
    /// That of hosted products, and of streams.
    Hosted,
    Cowd,
    SeSparse,
}

impl SparseKind {
    /// Tells the kind by the first bytes of a file.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(&raw::MAGIC_SPARSE) {
            Some(Self::Hosted)
        } else if head.starts_with(&raw::MAGIC_COWD) {
            Some(Self::Cowd)
        } else if head.starts_with(&raw::MAGIC_SESPARSE) {
            Some(Self::SeSparse)
        } else {
            None
        }
    }
}

impl Content {
    /// Opens the extent of `len` bytes that a line of the descriptor at `by` describes.
    pub(super) fn open(
        by: &Path,
        line: &ExtentLine,
        len: u64,
        opener: &mut Opener,
    ) -> Result<Self, Error> {
        match Self::open_whole(by, line, len, opener) {
            Err(error @ (Error::Missing { .. } | Error::Corrupt(_))) if opener.salvage => {
                Ok(Self::Lost(Lost::new(by, &error)))
            }
            result => result,
        }
    }

    fn open_whole(
        by: &Path,
        line: &ExtentLine,
        len: u64,
        opener: &mut Opener,
    ) -> Result<Self, Error> {
        // What lies beyond the end of a file is found again when it is read.
        let salvage = opener.salvage;
        let check = |name: &str, have: u64| {
            if have >= len || salvage {
                return Ok(());
            }
            Err(Error::corrupt(
                by,
                Damage::ExtentSize {
                    name: name.to_owned(),
                    len: line.sectors,
                    have: have / SECTOR,
                },
            ))
        };
        match &line.kind {
            ExtentKind::Zero => Ok(Self::Zero),
            ExtentKind::Flat { name, offset } => {
                let file = opener.named(by, name.as_bytes(), "extent")?;
                let offset = offset.saturating_mul(SECTOR);
                check(name, file.len().saturating_sub(offset))?;
                Ok(Self::Flat { file, offset })
            }
            ExtentKind::Sparse { name } => {
                let file = opener.named(by, name.as_bytes(), "extent")?;
                let mut head = [0; 8];
                let read = file.read_up_to(0, &mut head)?;
                // The header says of which kind it is; that the line may say another does no harm.
                let kind = SparseKind::of(&head[..read])
                    .ok_or_else(|| Error::corrupt(by, Damage::ExtentMagic(name.clone())))?;
                let extent = match kind {
                    SparseKind::Hosted => {
                        let header = Header::read(&file)?;
                        SparseExtent::hosted(file, header)?
                    }
                    SparseKind::Cowd => {
                        let layout = cowd::read(&file)?;
                        SparseExtent::new(file, kind, layout, false)?
                    }
                    SparseKind::SeSparse => {
                        let layout = sesparse::read(&file)?;
                        SparseExtent::new(file, kind, layout, false)?
                    }
                };
                check(name, extent.capacity())?;
                Ok(Self::Sparse(Box::new(extent)))
            }
        }
    }

    /// What people call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Flat { .. } => "flat",
            Self::Zero => "zero",
            Self::Lost(_) => "lost",
            Self::Sparse(extent) => match extent.kind {
                SparseKind::Hosted => "sparse",
                SparseKind::Cowd => "VMFS sparse",
                SparseKind::SeSparse => "seSparse",
            },
        }
    }
}

impl SparseExtent {
    /// An extent with the header of hosted products.
    pub(super) fn hosted(file: ImageFile, header: Header) -> Result<Self, Error> {
        Self::new(file, SparseKind::Hosted, header.layout, header.markers)
    }

    fn new(
        file: ImageFile,
        kind: SparseKind,
        layout: Layout,
        markers: bool,
    ) -> Result<Self, Error> {
        let (grain, capacity) = (layout.grain.get(), layout.capacity);
        Ok(Self {
            kind,
            grains: Grains::read(&file, layout)?,
            granules: Granules::new(Codec::Zlib, "grain", grain, capacity),
            markers,
            file,
        })
    }

    /// Bytes of the disk that it holds.
    pub(super) fn capacity(&self) -> u64 {
        self.grains.layout().capacity
    }

    /// Entries of its grain directory.
    pub(super) fn directory_len(&self) -> u64 {
        u64_of(self.grains.layout().directory_len)
    }

    /// Bytes of a grain.
    pub(super) fn grain(&self) -> u64 {
        self.grains.layout().grain.get()
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.grains.layout().compressed
    }

    pub(super) fn file(&self) -> &ImageFile {
        &self.file
    }

    /// Where the bytes from `offset` of the extent on are; `number` is that of the extent.
    pub(super) fn map(&self, number: usize, offset: u64, wanted: u64) -> Result<Run, Error> {
        // A header that knows less than the descriptor is opened only to save what is there.
        let left = self.capacity().saturating_sub(offset);
        if left == 0 {
            return Err(Error::corrupt(
                self.file.path(),
                AnyDamage::BeyondEnd {
                    unit: "extent",
                    guest: offset,
                    offset,
                    len: wanted,
                    end: self.capacity(),
                },
            ));
        }
        self.grains.map(&self.file, number, offset, wanted)
    }

    /// Reads bytes at a place that [`map`](Self::map) gave.
    pub(super) fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        let Some(packed) = place.packed else {
            return self.file.read_exact(place.offset, buf);
        };
        self.granules.read(&self.file, &packed, buf, || {
            if self.markers {
                self.marked_stream(place.offset, &packed)
            } else {
                Ok(Stream {
                    offset: place.offset,
                    len: packed.len,
                })
            }
        })
    }

    /// Where the compressed bytes of a grain are, by its marker.
    fn marked_stream(&self, at: u64, packed: &Packed) -> Result<Stream, Error> {
        let mut bytes = [0; size_of::<GrainMarker>()];
        self.file.read_exact(at, &mut bytes)?;
        let marker = GrainMarker::read_from_bytes(&bytes)
            // The buffer has the size of the structure.
            .expect("sizes agree");
        let (expected, found) = (packed.guest / SECTOR, marker.lba.get());
        let corrupt = |damage: Damage| Error::corrupt(self.file.path(), damage);
        if found != expected {
            return Err(corrupt(Damage::Marker {
                at,
                expected,
                found,
            }));
        }
        let len = u64::from(marker.size.get());
        ondisk::cap::length("the size in a grain marker", len, packed.len)
            .map_err(|error| Error::corrupt(self.file.path(), error))?;
        Ok(Stream {
            offset: at.saturating_add(u64_of(bytes.len())),
            len,
        })
    }
}

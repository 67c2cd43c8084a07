//! A VMDK image as a layer: extents behind each other.

use super::descriptor::{ExtentKind, ExtentLine};
use super::error::Damage;
use super::header::Header;
use super::metadata::Grains;
use super::raw::{self, GrainMarker, SECTOR};
use crate::Error;
use crate::codec::Codec;
use crate::file::ImageFile;
use crate::granules::{Granules, Stream};
use crate::layer::{Layer, Packed, Place, Run, State};
use crate::open::Opener;
use std::path::Path;
use zerocopy::FromBytes;

/// An open VMDK image, without its parent.
#[derive(Debug)]
pub(super) struct VmdkLayer {
    extents: Vec<Extent>,
    size: u64,
}

/// A run of the disk with its own file.
#[derive(Debug)]
struct Extent {
    /// First byte of the disk.
    start: u64,
    /// Bytes of the disk.
    len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The disk's bytes, from an offset of the file on.
    Flat {
        file: ImageFile,
        offset: u64,
    },
    Sparse(Box<SparseExtent>),
    Zero,
}

/// A file with a sparse header.
#[derive(Debug)]
pub(super) struct SparseExtent {
    file: ImageFile,
    capacity: u64,
    grain: u64,
    grains: Grains,
    granules: Granules,
    markers: bool,
}

impl VmdkLayer {
    /// A disk that is one sparse file.
    pub(super) fn monolithic(extent: SparseExtent) -> Self {
        let size = extent.capacity;
        Self {
            size,
            extents: vec![Extent {
                start: 0,
                len: size,
                content: Content::Sparse(Box::new(extent)),
            }],
        }
    }

    /// A disk that the descriptor at `by` describes.
    pub(super) fn described(
        by: &Path,
        lines: &[ExtentLine],
        opener: &mut Opener,
    ) -> Result<Self, Error> {
        let mut layer = Self {
            extents: Vec::with_capacity(lines.len()),
            size: 0,
        };
        for line in lines {
            let (end, len) = line
                .sectors
                .checked_mul(SECTOR)
                .and_then(|len| Some((layer.size.checked_add(len)?, len)))
                .filter(|(end, _)| *end < u64::MAX / 2)
                .ok_or_else(|| Error::corrupt(by, Damage::TooManySectors))?;
            let extent = Extent {
                start: layer.size,
                len,
                content: Content::open(by, line, len, opener)?,
            };
            // An empty extent would make runs empty.
            if len > 0 {
                layer.extents.push(extent);
            }
            layer.size = end;
        }
        Ok(layer)
    }

    /// The number of the extent that holds a byte of the disk, and the extent.
    fn extent(&self, offset: u64) -> Option<(usize, &Extent)> {
        let number = self
            .extents
            .partition_point(|extent| extent.start.saturating_add(extent.len) <= offset);
        Some((number, self.extents.get(number)?))
    }

    fn locate_in(&self, offset: u64, wanted: u64, ask_host: bool) -> Result<Run, Error> {
        let Some((number, extent)) = self.extent(offset) else {
            return Ok(Run {
                len: wanted,
                state: State::Zero,
            });
        };
        let within = offset.saturating_sub(extent.start);
        let left = extent.len.saturating_sub(within);
        let mut run = match &extent.content {
            Content::Zero => Run {
                len: left,
                state: State::Zero,
            },
            Content::Sparse(sparse) => {
                sparse
                    .grains
                    .map(&sparse.file, number, within, wanted.min(left))?
            }
            Content::Flat { file, offset } => {
                let at = offset.saturating_add(within);
                let place = Place {
                    file: number,
                    offset: at,
                    packed: None,
                };
                match ask_host.then(|| file.host_run(at)) {
                    Some(host) if host.hole => Run {
                        len: host.len,
                        state: State::Zero,
                    },
                    host => Run {
                        len: host.map_or(left, |host| host.len),
                        state: State::Data(place),
                    },
                }
            }
        };
        run.len = run.len.min(left);
        Ok(run)
    }
}

impl Layer for VmdkLayer {
    fn size(&self) -> u64 {
        self.size
    }

    fn granule(&self) -> u64 {
        let grains = self.extents.iter().map(|extent| match &extent.content {
            Content::Sparse(sparse) => sparse.grain,
            Content::Flat { .. } | Content::Zero => 1,
        });
        grains.max().unwrap_or(1)
    }

    fn map(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.locate_in(offset, wanted, true)
    }

    fn locate(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.locate_in(offset, wanted, false)
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        match self.extents.get(place.file).map(|extent| &extent.content) {
            Some(Content::Flat { file, .. }) => file.read_exact(place.offset, buf),
            Some(Content::Sparse(sparse)) => sparse.read(place, buf),
            Some(Content::Zero) | None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        match &self.extents.get(number)?.content {
            Content::Flat { file, .. } => Some(file),
            Content::Sparse(sparse) => Some(&sparse.file),
            Content::Zero => None,
        }
    }
}

impl Content {
    fn open(by: &Path, line: &ExtentLine, len: u64, opener: &mut Opener) -> Result<Self, Error> {
        let too_short = |name: &str, have: u64| {
            Error::corrupt(
                by,
                Damage::ExtentSize {
                    name: name.to_owned(),
                    len: line.sectors,
                    have: have / SECTOR,
                },
            )
        };
        match &line.kind {
            ExtentKind::Zero => Ok(Self::Zero),
            ExtentKind::Flat { name, offset } => {
                let file = opener.named(by, name.as_bytes(), "extent")?;
                let offset = offset.saturating_mul(SECTOR);
                let have = file.len().saturating_sub(offset);
                if have < len {
                    return Err(too_short(name, have));
                }
                Ok(Self::Flat { file, offset })
            }
            ExtentKind::Sparse { name } => {
                let file = opener.named(by, name.as_bytes(), "extent")?;
                let mut magic = [0; 4];
                if file.read_up_to(0, &mut magic)? < magic.len() || magic != raw::MAGIC_SPARSE {
                    return Err(Error::corrupt(by, Damage::ExtentMagic(name.clone())));
                }
                let header = Header::read(&file)?;
                let extent = SparseExtent::new(file, &header)?;
                if extent.capacity < len {
                    return Err(too_short(name, extent.capacity));
                }
                Ok(Self::Sparse(Box::new(extent)))
            }
        }
    }
}

impl SparseExtent {
    pub(super) fn new(file: ImageFile, header: &Header) -> Result<Self, Error> {
        let grain = header.grain.get();
        Ok(Self {
            capacity: header.capacity,
            grain,
            grains: Grains::read(&file, header)?,
            granules: Granules::new(Codec::Zlib, "grain", grain, header.capacity),
            markers: header.markers,
            file,
        })
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
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
            offset: at.saturating_add(ondisk::width::u64_of(bytes.len())),
            len,
        })
    }
}

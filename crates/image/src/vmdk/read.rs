//! A VMDK image as a layer: extents behind each other.

use super::descriptor::ExtentLine;
use super::error::Damage;
use super::extent::{Content, SparseExtent};
use super::header::MAX_DIRECTORY;
use super::raw::SECTOR;
use crate::Error;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run, State};
use crate::open::{Detail, Opener};
use ondisk::cap;
use std::path::Path;

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

impl VmdkLayer {
    /// A disk that is one sparse file.
    pub(super) fn monolithic(extent: SparseExtent) -> Self {
        let size = extent.capacity();
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
        // Directories are in memory, and a small file may have one of many holes.
        let mut entries = 0_u64;
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
            if let Content::Sparse(sparse) = &extent.content {
                entries = entries.saturating_add(sparse.directory_len());
                let what = "the number of grain directory entries of all extents";
                cap::length(what, entries, MAX_DIRECTORY)
                    .map_err(|error| Error::corrupt(by, error))?;
            }
            // An empty extent would make runs empty.
            if len > 0 {
                layer.extents.push(extent);
            }
            layer.size = end;
        }
        Ok(layer)
    }

    /// What the extents are.
    pub(super) fn details(&self) -> Vec<Detail> {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        let (mut grains, mut compressed) = (Vec::new(), false);
        for extent in &self.extents {
            let kind = extent.content.kind();
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => kinds.push((kind, 1)),
            }
            if let Content::Sparse(sparse) = &extent.content {
                compressed |= sparse.is_compressed();
                if !grains.contains(&sparse.grain()) {
                    grains.push(sparse.grain());
                }
            }
        }
        let joined = |parts: Vec<String>| parts.join(", ");
        let counted = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
        let mut details = vec![Detail::new("extents", joined(counted.collect()))];
        if !grains.is_empty() {
            let sizes = grains.iter().map(u64::to_string);
            details.push(Detail::new("grain-size", joined(sizes.collect())));
        }
        if compressed {
            details.push(Detail::new("compression", "zlib"));
        }
        details
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
            Content::Lost(lost) => return Err(lost.error()),
            Content::Zero => Run {
                len: left,
                state: State::Zero,
            },
            Content::Sparse(sparse) => sparse.map(number, within, wanted.min(left))?,
            Content::Flat { file, offset } => {
                let at = offset.saturating_add(within);
                // A file that is too short is opened only to save what is there.
                if at >= file.len() {
                    return Err(Error::corrupt(
                        file.path(),
                        AnyDamage::Truncated {
                            offset: at,
                            len: left,
                            end: file.len(),
                        },
                    ));
                }
                let left = left.min(file.len().saturating_sub(at));
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
            Content::Sparse(sparse) => sparse.grain(),
            Content::Flat { .. } | Content::Zero | Content::Lost(_) => 1,
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
            Some(Content::Lost(lost)) => Err(lost.error()),
            Some(Content::Zero) | None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        match &self.extents.get(number)?.content {
            Content::Flat { file, .. } => Some(file),
            Content::Sparse(sparse) => Some(sparse.file()),
            Content::Zero | Content::Lost(_) => None,
        }
    }
}

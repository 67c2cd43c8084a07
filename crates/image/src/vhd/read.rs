//! A VHD image as a layer.

use super::error::Damage;
use super::footer::{Footer, Place as FooterPlace};
use super::header::Header;
use super::metadata::{BlockRun, Blocks};
use crate::Error;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::layer::{Layer, Place, Run, State};

/// An open VHD image, without its parent.
#[derive(Debug)]
pub(super) struct VhdLayer {
    file: ImageFile,
    size: u64,
    granule: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The disk's bytes are the file's, up to this one.
    Fixed {
        end: u64,
    },
    Blocks(Box<Blocks>),
}

/// Largest granule: blocks can be hundreds of times larger, but none is ever read as a whole.
const MAX_GRANULE: u64 = 2 << 20;

impl VhdLayer {
    /// A fixed disk; one that is too short is refused unless damage may wait for a read.
    pub(super) fn fixed(file: ImageFile, footer: &Footer, salvage: bool) -> Result<Self, Error> {
        let end = match footer.place {
            FooterPlace::End(at) => at,
            FooterPlace::Copy => file.len(),
        };
        if footer.size > end && !salvage {
            let size = footer.size;
            return Err(Error::corrupt(
                file.path(),
                Damage::FixedSize { size, at: end },
            ));
        }
        Ok(Self {
            file,
            size: footer.size,
            granule: 1,
            content: Content::Fixed { end },
        })
    }

    pub(super) fn blocks(
        file: ImageFile,
        footer: &Footer,
        header: &Header,
        salvage: bool,
    ) -> Result<Self, Error> {
        let blocks = Blocks::read(&file, footer, header, salvage)?;
        Ok(Self {
            size: footer.size,
            granule: header.block_size.get().min(MAX_GRANULE),
            content: Content::Blocks(Box::new(blocks)),
            file,
        })
    }

    fn run(&self, offset: u64, wanted: u64) -> Result<BlockRun, Error> {
        match &self.content {
            Content::Blocks(blocks) => blocks.run(&self.file, offset, wanted),
            Content::Fixed { end } => {
                let wanted_end = self.size.min(offset.saturating_add(wanted.max(1)));
                if offset >= *end {
                    let damage = AnyDamage::Truncated {
                        offset,
                        len: wanted_end.saturating_sub(offset),
                        end: *end,
                    };
                    return Err(Error::corrupt(self.file.path(), damage));
                }
                Ok(BlockRun {
                    len: self.size.min(*end).saturating_sub(offset),
                    at: Some(offset),
                })
            }
        }
    }

    fn locate_in(&self, offset: u64, wanted: u64, ask_host: bool) -> Result<Run, Error> {
        let BlockRun { len, at } = self.run(offset, wanted)?;
        let Some(at) = at else {
            let state = State::Parent;
            return Ok(Run { len, state });
        };
        let place = Place {
            file: 0,
            offset: at,
            packed: None,
        };
        Ok(match ask_host.then(|| self.file.host_run(at)) {
            Some(host) if host.hole => Run {
                len: host.len.min(len),
                state: State::Zero,
            },
            host => Run {
                len: host.map_or(len, |host| host.len.min(len)),
                state: State::Data(place),
            },
        })
    }
}

impl Layer for VhdLayer {
    fn size(&self) -> u64 {
        self.size
    }

    fn granule(&self) -> u64 {
        self.granule
    }

    fn map(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.locate_in(offset, wanted, true)
    }

    fn locate(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.locate_in(offset, wanted, false)
    }

    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(place.offset, buf)
    }

    fn file(&self, number: usize) -> Option<&ImageFile> {
        (number == 0).then_some(&self.file)
    }
}

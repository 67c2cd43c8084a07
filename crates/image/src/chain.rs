//! Layers over each other as one device.

use crate::Error;
use crate::coarse::Coarse;
use crate::layer::{Layer, Run, State};
use block::{BlockRead, Extent, ExtentKind};
use ondisk::Interrupt;
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// An image and its parents, the image first.
///
/// A parent that is shorter than its child reads as zeros beyond its end.
#[derive(Debug)]
pub(crate) struct Chain {
    layers: Vec<Arc<dyn Layer>>,
    size: u64,
    granule: u64,
}

impl Chain {
    pub(crate) fn new(layers: Vec<Arc<dyn Layer>>) -> Self {
        Self {
            size: layers.first().map_or(0, |layer| layer.size()),
            granule: layers.iter().map(|l| l.granule()).max().unwrap_or(1),
            layers,
        }
    }

    /// Fills `buf` as the layers from `depth` on see it.
    fn read_from(&self, depth: usize, mut offset: u64, mut buf: &mut [u8]) -> Result<(), Error> {
        let Some(layer) = self.layers.get(depth) else {
            buf.fill(0);
            return Ok(());
        };
        while !buf.is_empty() {
            if offset >= layer.size() {
                buf.fill(0);
                return Ok(());
            }
            let run = layer.locate(offset, u64_of(buf.len()))?;
            let len = usize_of(run.len.min(u64_of(buf.len())));
            let (part, rest) = buf.split_at_mut(len);
            match run.state {
                State::Data(place) => layer.read(&place, part)?,
                State::Zero => part.fill(0),
                State::Parent => self.read_from(depth.saturating_add(1), offset, part)?,
            }
            buf = rest;
            offset = offset.saturating_add(u64_of(len));
        }
        Ok(())
    }

    /// The run from `offset` on, which is on the disk, through every layer: its length, its state
    /// and the number of the layer that decided it. A run that no layer knows is of `Parent`.
    pub(crate) fn run(&self, offset: u64) -> Result<(Run, usize), Error> {
        let mut len = self.size.saturating_sub(offset);
        let mut depth = 0_usize;
        for layer in &self.layers {
            if offset >= layer.size() {
                break;
            }
            let run = layer.map(offset, len)?;
            len = len.min(run.len);
            if run.state != State::Parent {
                let state = run.state;
                return Ok((Run { len, state }, depth));
            }
            depth = depth.saturating_add(1);
        }
        let state = State::Parent;
        Ok((Run { len, state }, depth))
    }

    /// Where the first `layers` layers decide what the disk holds, in whole granules: everything
    /// else is as the layers below have it, on a disk of the size that these have.
    pub(crate) fn decided_above(
        &self,
        layers: usize,
        granule: NonZeroU64,
        interrupt: &Interrupt,
    ) -> Result<Vec<Range<u64>>, Error> {
        let mut decided = Coarse::new(granule, self.size);
        let mut at = 0;
        while at < self.size {
            interrupt.check()?;
            let (len, here) = self.decides(layers, at)?;
            // A layer that answers with nothing would keep us here for ever.
            let end = at.saturating_add(len.max(1));
            if here {
                decided.add(&(at..end));
            }
            at = end.max(decided.end());
        }
        Ok(decided.finish())
    }

    /// Whether the first `layers` layers decide what is at `offset`, and for how many bytes.
    fn decides(&self, layers: usize, offset: u64) -> Result<(u64, bool), Error> {
        let mut len = self.size.saturating_sub(offset);
        let (above, below) = self.layers.split_at(layers.min(self.layers.len()));
        for layer in above {
            // A layer that ends hides what those below it have there.
            let Some(left) = left(&**layer, offset) else {
                return Ok((len, true));
            };
            let run = layer.locate(offset, len.min(left))?;
            len = len.min(run.len);
            if run.state != State::Parent {
                return Ok((len, true));
            }
        }
        match below.first() {
            None => Ok((len, false)),
            Some(layer) => match left(&**layer, offset) {
                None => Ok((len, true)),
                Some(left) => Ok((len.min(left), false)),
            },
        }
    }

    /// The layer with a number that [`run`](Self::run) gave.
    pub(crate) fn layer(&self, depth: usize) -> Option<&dyn Layer> {
        self.layers.get(depth).map(|layer| &**layer)
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), block::Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(block::Error::OutOfBounds {
                offset,
                len,
                size: self.size,
            }),
        }
    }
}

/// Bytes of a layer from `offset` on, if there are any.
fn left(layer: &dyn Layer, offset: u64) -> Option<u64> {
    layer.size().checked_sub(offset).filter(|left| *left > 0)
}

impl BlockRead for Chain {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        self.check(offset, u64_of(buf.len()))?;
        self.read_from(0, offset, buf).map_err(|e| e.at(offset))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        self.check(offset, 1)?;
        let (run, _) = self.run(offset).map_err(|e| e.at(offset))?;
        Ok(Extent {
            range: offset..offset.saturating_add(run.len),
            kind: match run.state {
                State::Data(_) => ExtentKind::Data,
                State::Zero | State::Parent => ExtentKind::Zero,
            },
        })
    }

    fn granule(&self) -> u64 {
        self.granule
    }
}

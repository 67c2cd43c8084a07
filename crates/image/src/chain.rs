//! Layers over each other as one device.

use crate::Error;
use crate::layer::{Layer, Run, State};
use block::{BlockRead, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
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

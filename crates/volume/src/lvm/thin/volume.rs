//! A thin volume as a device.

use super::pool::Pool;
use super::tree::{Found, Tree};
use super::{BlockError, ThinDamage};
use ::block::{BlockRead, BlockWrite, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error;

/// A thin volume: blocks that are not mapped are those of its origin, or zeros.
#[derive(Debug)]
pub(in super::super) struct ThinVolume {
    pool: Arc<Pool>,
    /// As people call it.
    name: String,
    tree: Tree,
    /// When it was last snapshotted, in the pool's own time: what was written before is shared.
    snapshotted: u32,
    size: u64,
    origin: Option<Arc<dyn BlockWrite>>,
}

/// Why a thin volume cannot be written somewhere.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ThinRefusal {
    /// The pool would have to give the volume another block.
    #[error(
        "the thin volume {volume} has no block of its pool there, and giving it one is not \
         supported: convert a copy of the volume that is not thin, or fill its free space before \
         (with a file of zeros that is removed again)"
    )]
    NotMapped {
        /// The volume.
        volume: String,
    },
    /// Another volume has the same block.
    #[error(
        "the thin volume {volume} shares its block there with a snapshot: remove its snapshots \
         and write it anew, or convert a copy of it that is not thin"
    )]
    Shared {
        /// The volume.
        volume: String,
    },
}

/// Where a block is.
enum Place {
    /// Byte of the pool's data, and when it was written.
    Data { at: u64, time: u32 },
    /// Nowhere, nor any other before this block.
    Nowhere { until: u64 },
}

/// One block's part of an access.
struct Piece {
    block: u64,
    within: u64,
    range: Range<usize>,
}

impl ThinVolume {
    pub(super) fn new(
        pool: Arc<Pool>,
        name: String,
        tree: Tree,
        snapshotted: u32,
        size: u64,
        origin: Option<Arc<dyn BlockWrite>>,
    ) -> Self {
        Self {
            pool,
            name,
            tree,
            snapshotted,
            size,
            origin,
        }
    }

    fn find(&self, block: u64) -> Result<Place, ThinDamage> {
        let value = match self.tree.find(&self.pool.blocks, block)? {
            Found::NothingBelow(until) => return Ok(Place::Nowhere { until }),
            Found::Value(value) => value,
        };
        // `unpack_block_time`: the block above 24 bits of time.
        let value = value.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let size = self.pool.block_size.get();
        let at = (value >> 24).checked_mul(size).filter(|at| {
            let end = at.checked_add(size);
            end.is_some_and(|end| end <= self.pool.data_size())
        });
        let at = at.ok_or(ThinDamage::Fields {
            what: "mapping",
            block: self.tree.root,
            why: "a block beyond the pool's end",
        })?;
        // 24 bits fit.
        let time = u32::try_from(value & 0xff_ffff).unwrap_or(0);
        Ok(Place::Data { at, time })
    }

    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = Piece> {
        let (mut done, size) = (0_usize, self.pool.block_size);
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset.saturating_add(u64_of(done));
            let within = at % size;
            let left = u64_of(len.saturating_sub(done));
            let n = usize_of(size.get().saturating_sub(within).min(left));
            let range = done..done.saturating_add(n);
            done = range.end;
            Some(Piece {
                block: at / size,
                within,
                range,
            })
        })
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), BlockError> {
        let (len, size) = (u64_of(len), self.size);
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(BlockError::OutOfBounds { offset, len, size }),
        }
    }

    /// Reads what lies under a block that is not mapped.
    fn read_below(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        buf.fill(0);
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        // An origin may be smaller than the volume.
        let there = origin.size().saturating_sub(offset);
        let len = usize_of(there.min(u64_of(buf.len())));
        match buf.get_mut(..len) {
            Some(part) if len > 0 => origin.read_at(offset, part),
            _ => Ok(()),
        }
    }

    /// Whether no other volume uses a block.
    fn is_alone(&self, at: u64, time: u32) -> Result<bool, ThinDamage> {
        let pool = &self.pool;
        let block = at / pool.block_size;
        // `__snapshotted_since`: nodes of trees are shared as well, so counts alone say nothing.
        let since = self.snapshotted <= time || pool.single;
        Ok(since && pool.data_space.count(&pool.blocks, block)? == 1)
    }
}

fn damaged(offset: u64) -> impl FnOnce(ThinDamage) -> BlockError {
    move |damage| BlockError::Format {
        offset,
        source: Box::new(damage),
    }
}

impl BlockRead for ThinVolume {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.check(offset, buf.len())?;
        for piece in self.pieces(offset, buf.len()) {
            let here = offset.saturating_add(u64_of(piece.range.start));
            let part = &mut buf[piece.range];
            match self.find(piece.block).map_err(damaged(here))? {
                Place::Data { at, .. } => {
                    let at = at.saturating_add(piece.within);
                    self.pool.data.read_at(at, part)?;
                }
                Place::Nowhere { .. } => self.read_below(here, part)?,
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, BlockError> {
        self.check(offset, 1)?;
        let size = self.pool.block_size.get();
        let block = offset / self.pool.block_size;
        let start = block.saturating_mul(size);
        let end = |block: u64| block.saturating_mul(size).min(self.size);
        match self.find(block).map_err(damaged(offset))? {
            Place::Data { at, .. } => {
                let within = offset.saturating_sub(start);
                let there = self.pool.data.extent_at(at.saturating_add(within))?;
                let shift = |there: u64| {
                    let within = there.saturating_sub(at).min(size);
                    start.saturating_add(within).min(self.size)
                };
                Ok(Extent {
                    range: shift(there.range.start)..shift(there.range.end),
                    kind: there.kind,
                })
            }
            Place::Nowhere { until } => Ok(Extent {
                range: start..match self.origin {
                    Some(_) => end(block.saturating_add(1)),
                    None => end(until),
                },
                kind: match self.origin {
                    Some(_) => ExtentKind::Data,
                    None => ExtentKind::Zero,
                },
            }),
        }
    }
}

impl BlockWrite for ThinVolume {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), BlockError> {
        self.check(offset, buf.len())?;
        for piece in self.pieces(offset, buf.len()) {
            let here = offset.saturating_add(u64_of(piece.range.start));
            let part = &buf[piece.range];
            let volume = self.name.clone();
            let refusal = match self.find(piece.block).map_err(damaged(here))? {
                Place::Data { at, time } => {
                    if self.is_alone(at, time).map_err(damaged(here))? {
                        let at = at.saturating_add(piece.within);
                        self.pool.data.write_at(at, part)?;
                        continue;
                    }
                    ThinRefusal::Shared { volume }
                }
                Place::Nowhere { .. } => ThinRefusal::NotMapped { volume },
            };
            return Err(BlockError::Refused {
                offset: here,
                source: Box::new(refusal),
            });
        }
        Ok(())
    }
}

//! Reading on over damage.

use crate::Error;
use block::{BlockRead, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A range of a disk that could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostRange {
    /// Bytes of the disk; they read as zeros.
    pub range: Range<u64>,
    /// Why its first piece could not be read.
    pub reason: String,
}

/// A device that reads zeros where the one below is damaged, and remembers where that was.
#[derive(Debug)]
pub(crate) struct Salvage {
    inner: Arc<dyn BlockRead>,
    lost: Mutex<Lost>,
}

/// What was lost, by first byte. Ranges neither overlap nor touch.
#[derive(Debug, Default)]
struct Lost(BTreeMap<u64, LostRange>);

/// Smallest piece that is given up where the host fails: a page, or a sector of a modern disk.
const HOST_PIECE: u64 = 4096;
/// Smallest piece that is given up where the image is damaged, unless its granules are larger.
const FORMAT_PIECE: u64 = 64 << 10;
/// Most ranges that are kept apart; further ones are joined to the last one before them.
const MAX_RANGES: usize = 100_000;

impl Salvage {
    pub(crate) fn new(inner: Arc<dyn BlockRead>) -> Self {
        Self {
            inner,
            lost: Mutex::default(),
        }
    }

    /// Every range that could not be read so far, ascending.
    pub(crate) fn lost(&self) -> Vec<LostRange> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.0.values().cloned().collect()
    }

    /// Reads what can be read, in pieces of `piece` bytes on its grid.
    fn read_pieces(&self, offset: u64, buf: &mut [u8], piece: u64) {
        let (mut at, mut left) = (offset, buf);
        while !left.is_empty() {
            let step = piece.saturating_sub(at.checked_rem(piece).unwrap_or(0));
            let len = usize_of(step.min(u64_of(left.len())));
            let (part, rest) = left.split_at_mut(len);
            if let Err(error) = self.inner.read_at(at, part) {
                let finer = finest(&error, self.granule());
                if finer < piece {
                    self.read_pieces(at, part, finer);
                } else {
                    part.fill(0);
                    self.lose(at..at.saturating_add(u64_of(len)), &error);
                }
            }
            left = rest;
            at = at.saturating_add(u64_of(len));
        }
    }

    fn lose(&self, range: Range<u64>, error: &block::Error) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.add(range, || reason(error));
    }
}

impl BlockRead for Salvage {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        match self.inner.read_at(offset, buf) {
            Err(error) if is_damage(&error) => {
                self.read_pieces(offset, buf, self.granule().max(FORMAT_PIECE));
                Ok(())
            }
            result => result,
        }
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        match self.inner.extent_at(offset) {
            Err(error) if is_damage(&error) => {
                // Called data, so that it is read, and found lost, piece by piece.
                let piece = self.granule().max(FORMAT_PIECE);
                let start = offset.saturating_sub(offset.checked_rem(piece).unwrap_or(0));
                Ok(Extent {
                    range: start..start.saturating_add(piece).min(self.size()),
                    kind: ExtentKind::Data,
                })
            }
            result => result,
        }
    }

    fn granule(&self) -> u64 {
        self.inner.granule()
    }
}

impl Lost {
    fn add(&mut self, range: Range<u64>, reason: impl FnOnce() -> String) {
        let full = self.0.len() >= MAX_RANGES;
        let mut merged = LostRange {
            range: range.clone(),
            reason: String::new(),
        };
        // Whatever overlaps or touches becomes one with it.
        if let Some((_, before)) = self.0.range(..=range.start).next_back()
            && (before.range.end >= range.start || full)
        {
            merged.range.start = before.range.start;
            merged.range.end = merged.range.end.max(before.range.end);
            merged.reason.clone_from(&before.reason);
        }
        while let Some((key, next)) = self.0.range(merged.range.start..=merged.range.end).next() {
            let key = *key;
            if merged.reason.is_empty() && next.range.start <= range.start {
                merged.reason.clone_from(&next.reason);
            }
            merged.range.end = merged.range.end.max(next.range.end);
            self.0.remove(&key);
        }
        if merged.reason.is_empty() {
            merged.reason = reason();
        }
        self.0.insert(merged.range.start, merged);
    }
}

/// Whether going on is of use: an access beyond the end is a mistake of the caller.
fn is_damage(error: &block::Error) -> bool {
    !matches!(error, block::Error::OutOfBounds { .. })
}

/// The smallest piece that is worth trying after an error.
fn finest(error: &block::Error, granule: u64) -> u64 {
    let host = match error {
        block::Error::Io { .. } => true,
        block::Error::Format { source, .. } => {
            matches!(source.downcast_ref::<Error>(), Some(Error::Io { .. }))
        }
        block::Error::OutOfBounds { .. } => false,
        _ => false,
    };
    if host {
        HOST_PIECE
    } else {
        granule.max(HOST_PIECE)
    }
}

/// What went wrong, without the words that every layer above adds.
fn reason(error: &block::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut words = Vec::new();
    while let Some(source) = cause.source() {
        words.push(source.to_string());
        cause = source;
    }
    if words.is_empty() {
        words.push(error.to_string());
    }
    words.join(": ")
}

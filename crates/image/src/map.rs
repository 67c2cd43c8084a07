//! Where the bytes of a disk are kept.

use crate::chain::Chain;
use crate::layer::State;
use std::ops::Range;
use std::path::PathBuf;

/// A run of the disk that is kept in one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// Where they are.
    pub place: MappedPlace,
}

/// Where a run of the disk is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MappedPlace {
    /// In a file.
    Data {
        /// Number of the layer: 0 is the image itself, 1 its parent.
        depth: usize,
        /// The file, by the path it was opened with.
        file: PathBuf,
        /// Byte position in the file of the run, or of its compressed form.
        offset: u64,
        /// Whether it is compressed; then the run is one cluster or grain.
        compressed: bool,
    },
    /// A layer says that it is zero.
    Zero {
        /// Number of the layer.
        depth: usize,
    },
    /// No layer has it: it reads as zeros.
    Unallocated,
}

/// Walks a disk as runs in ascending order; ends after the first error.
#[derive(Debug)]
pub struct Mappings<'i> {
    chain: &'i Chain,
    at: u64,
    /// A run that was found not to go on from the one before it.
    ahead: Option<Mapping>,
    failed: bool,
}

impl<'i> Mappings<'i> {
    pub(crate) fn new(chain: &'i Chain) -> Self {
        Self {
            chain,
            at: 0,
            ahead: None,
            failed: false,
        }
    }

    /// The next run as the layers tell it, which is not always all of it.
    fn piece(&mut self) -> Option<Result<Mapping, block::Error>> {
        if let Some(ahead) = self.ahead.take() {
            return Some(Ok(ahead));
        }
        let start = self.at;
        if self.failed || start >= block::BlockRead::size(self.chain) {
            return None;
        }
        let (run, depth) = match self.chain.run(start) {
            Ok(found) => found,
            Err(error) => {
                self.failed = true;
                return Some(Err(error.at(start)));
            }
        };
        // A layer that answers with nothing would keep us here for ever.
        self.at = start.saturating_add(run.len.max(1));
        let place = match run.state {
            State::Parent => MappedPlace::Unallocated,
            State::Zero => MappedPlace::Zero { depth },
            State::Data(place) => {
                let file = self.chain.layer(depth).and_then(|l| l.file(place.file));
                MappedPlace::Data {
                    depth,
                    file: file.map(|file| file.path().to_owned()).unwrap_or_default(),
                    offset: place.offset,
                    compressed: place.packed.is_some(),
                }
            }
        };
        let range = start..self.at;
        Some(Ok(Mapping { range, place }))
    }
}

impl Iterator for Mappings<'_> {
    type Item = Result<Mapping, block::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut mapping = match self.piece()? {
            Ok(mapping) => mapping,
            Err(error) => return Some(Err(error)),
        };
        loop {
            match self.piece() {
                Some(Ok(next)) if mapping.is_continued_by(&next) => {
                    mapping.range.end = next.range.end;
                }
                Some(Ok(next)) => {
                    self.ahead = Some(next);
                    break;
                }
                // The run up to here is sound: the error is told when it is asked for again.
                Some(Err(_)) => {
                    self.failed = false;
                    break;
                }
                None => break,
            }
        }
        Some(Ok(mapping))
    }
}

impl Mapping {
    fn is_continued_by(&self, next: &Self) -> bool {
        let len = self.range.end.saturating_sub(self.range.start);
        match (&self.place, &next.place) {
            (
                MappedPlace::Data {
                    depth,
                    file,
                    offset,
                    compressed: false,
                },
                MappedPlace::Data {
                    depth: next_depth,
                    file: next_file,
                    offset: next_offset,
                    compressed: false,
                },
            ) => {
                depth == next_depth
                    && offset.checked_add(len) == Some(*next_offset)
                    && file == next_file
            }
            (MappedPlace::Data { .. }, _) => false,
            (place, next) => place == next,
        }
    }
}

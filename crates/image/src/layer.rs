//! One layer of an image, before its parents are looked at.

use crate::Error;
use crate::file::ImageFile;
use crate::qcow2::Bitmaps;
use std::fmt::Debug;

/// One image file (with the files that belong to it) of a chain.
///
/// It answers *where* a range is apart from *reading* it, so that holes and unallocated ranges are
/// told without moving bytes.
pub(crate) trait Layer: Debug + Send + Sync {
    /// Bytes of the guest disk as this layer knows it.
    fn size(&self) -> u64;

    /// Bytes that are mapped or expanded at once.
    fn granule(&self) -> u64;

    /// Where the bytes from `offset` on are; `offset` is inside the layer. The run is not empty,
    /// ends inside the layer, and need not be maximal nor longer than `wanted`.
    fn map(&self, offset: u64, wanted: u64) -> Result<Run, Error>;

    /// As [`map`](Self::map), for a read that follows: what only the host's file system knows to
    /// be a hole may be called data.
    fn locate(&self, offset: u64, wanted: u64) -> Result<Run, Error> {
        self.map(offset, wanted)
    }

    /// Reads bytes at a place that the layer gave; `buf` ends inside the run.
    fn read(&self, place: &Place, buf: &mut [u8]) -> Result<(), Error>;

    /// The file with a number that a [`Place`] has.
    fn file(&self, number: usize) -> Option<&ImageFile>;

    /// The dirty bitmaps that are kept in it.
    fn bitmaps(&self) -> Option<Bitmaps<'_>> {
        None
    }
}

/// A run of guest bytes with one state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    /// Bytes from the asked offset on.
    pub(crate) len: u64,
    pub(crate) state: State,
}

/// What a layer knows about a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// The layer holds the bytes.
    Data(Place),
    /// The bytes are zero, whatever the parent says.
    Zero,
    /// The parent decides; zero if there is none.
    Parent,
}

impl State {
    /// Whether what is `distance` bytes further on belongs to the same run. A compressed granule
    /// stands alone.
    pub(crate) fn goes_on_as(&self, distance: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Zero, Self::Zero) | (Self::Parent, Self::Parent) => true,
            (Self::Data(a), Self::Data(b)) => {
                a.packed.is_none()
                    && b.packed.is_none()
                    && a.offset.checked_add(distance) == Some(b.offset)
            }
            _ => false,
        }
    }
}

/// Where a layer holds bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Which of the layer's files.
    pub(crate) file: usize,
    /// Byte position in it, of the bytes themselves or of their compressed granule.
    pub(crate) offset: u64,
    /// How to get at them, if they are compressed.
    pub(crate) packed: Option<Packed>,
}

/// A compressed granule, and where in it the asked bytes begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Packed {
    /// Most bytes that the compressed form takes.
    pub(crate) len: u64,
    /// Guest offset of the granule.
    pub(crate) guest: u64,
    /// Bytes from the granule's beginning to the asked ones.
    pub(crate) within: u64,
}

//! Writing files that grow with the disk: units of the disk are prepared on all threads, get their
//! places in order, and are stored on one.

use crate::Error;
use crate::units::{self, Unit, Units};
use crate::write::Job;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A format whose pieces get their places one after another.
///
/// Places depend on the disk's content alone, never on threads, so that the same content gives the
/// same bytes.
pub(crate) trait Growth: Sync {
    /// What becomes of a unit before it has a place.
    type Prepared: Send;

    /// Takes a unit to pieces: tells zeros, compresses. `bytes` are those of the unit.
    fn prepare(&self, unit: &Unit, bytes: &[u8]) -> Result<Self::Prepared, Error>;

    /// Gives the pieces of a unit their places; called in the order of the disk. What it adds to
    /// `out` is written later, at the same time as other units.
    fn place(
        &mut self,
        unit: &Unit,
        prepared: Self::Prepared,
        out: &mut Vec<Piece>,
    ) -> Result<(), Error>;
}

/// Bytes that have a place in the file.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Byte position in the file.
    pub(crate) offset: u64,
    pub(crate) bytes: PieceBytes,
}

/// What is written.
#[derive(Debug)]
pub(crate) enum PieceBytes {
    /// A range of the unit, as it was read.
    OfUnit(Range<usize>),
    /// Something that was made of it.
    Made(Vec<u8>),
}

/// A unit on its way.
struct Slot<P> {
    unit: Option<Unit>,
    bytes: Vec<u8>,
    prepared: Option<P>,
    pieces: Vec<Piece>,
}

/// Units that each thread has at hand at one time: enough that none waits long for the last one.
const UNITS_FOR_EACH_THREAD: usize = 8;
/// Most units at hand: with the ones that are being stored, twice as many are in memory.
const MAX_UNITS: usize = 32;

/// Walks the whole device. The file has every piece when this returns.
pub(crate) fn write<G: Growth>(job: &Job, growth: &mut G) -> Result<(), Error> {
    let mut units = Units::new(job.device, units::LARGE, job.interrupt);
    let batch_len = rayon::current_num_threads()
        .saturating_mul(UNITS_FOR_EACH_THREAD)
        .min(MAX_UNITS);
    let (mut filled, mut stored) = (Vec::new(), Vec::new());
    // One batch is written while the next one is read and prepared; their buffers change places.
    loop {
        job.interrupt.check()?;
        let count = fill(&mut units, &mut filled, batch_len)?;
        let (written, prepared) = rayon::join(
            || store(job, &mut stored),
            || prepare(job, growth, &mut filled),
        );
        written?;
        prepared?;
        if count == 0 {
            break;
        }
        for slot in &mut filled {
            if let (Some(unit), Some(prepared)) = (&slot.unit, slot.prepared.take()) {
                growth.place(unit, prepared, &mut slot.pieces)?;
            }
        }
        std::mem::swap(&mut filled, &mut stored);
    }
    job.task.advance(units.rest());
    Ok(())
}

/// Gives slots the next units, and says how many there were.
fn fill<P>(units: &mut Units, slots: &mut Vec<Slot<P>>, batch_len: usize) -> Result<usize, Error> {
    slots.resize_with(batch_len, || Slot {
        unit: None,
        bytes: Vec::new(),
        prepared: None,
        pieces: Vec::new(),
    });
    let mut count = 0_usize;
    for slot in slots {
        slot.pieces.clear();
        slot.unit = units.next().transpose()?;
        count = count.saturating_add(usize::from(slot.unit.is_some()));
    }
    Ok(count)
}

fn prepare<G: Growth>(job: &Job, growth: &G, slots: &mut [Slot<G::Prepared>]) -> Result<(), Error> {
    slots.par_iter_mut().try_for_each(|slot| {
        let Some(unit) = &slot.unit else {
            return Ok(());
        };
        job.interrupt.check()?;
        unit.read(job.device, &mut slot.bytes)?;
        slot.prepared = Some(growth.prepare(unit, &slot.bytes)?);
        Ok(())
    })
}

/// On one thread: the kernel lets only one write into a file, and the others would spin.
fn store<P>(job: &Job, slots: &mut [Slot<P>]) -> Result<(), Error> {
    for slot in slots {
        for piece in slot.pieces.drain(..) {
            let bytes = match &piece.bytes {
                PieceBytes::OfUnit(range) => &slot.bytes[range.clone()],
                PieceBytes::Made(bytes) => bytes,
            };
            job.write_at(bytes, piece.offset)?;
        }
        if let Some(unit) = slot.unit.take() {
            job.task.advance(unit.advance);
        }
    }
    Ok(())
}

impl Job<'_> {
    /// Writes all of `bytes` into the file.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| self.failed(e))
    }
}

//! Writing raw images: sparse files, and block devices in place.

use crate::Error;
use crate::units::{self, Units};
use crate::write::{Job, Written};
use crate::zeros::data_runs;
use block::ExtentKind;
use ondisk::width::{u64_of, usize_of};
use rayon::iter::{ParallelBridge, ParallelIterator};
use rustix::fs::FallocateFlags;
use std::io::{Seek, SeekFrom};
use std::ops::Range;

/// Bytes that are written or left out together: a page of most file systems.
const PIECE: usize = 4096;
/// Bytes of zeros written at once.
const ZEROS: usize = 1 << 20;

/// Fills an empty file.
pub(crate) fn write(job: &Job) -> Result<Written, Error> {
    let size = job.device.size();
    job.file.set_len(size).map_err(|e| job.failed(e))?;
    if job.preallocate && size > 0 {
        rustix::fs::fallocate(job.file, FallocateFlags::empty(), 0, size)
            .map_err(|e| Error::io(job.path, "reserve room for", e))?;
    }
    let data = write_sparse(job, |_, _| {})?;
    Ok(Written {
        virtual_size: size,
        data,
    })
}

/// Overwrites the beginning of a block device, zeros included.
pub(crate) fn write_in_place(job: &Job) -> Result<Written, Error> {
    let size = job.device.size();
    let mut file = job.file;
    let have = file.seek(SeekFrom::End(0)).map_err(|e| job.failed(e))?;
    if have < size {
        return Err(Error::Options {
            reason: format!(
                "{} has {have} bytes, the disk has {size}",
                job.path.display()
            ),
        });
    }
    // Units tell only of data; what they leave out must be zero before they are written.
    for extent in job.device.extents() {
        let extent = extent?;
        match extent.kind {
            ExtentKind::Zero => write_zeros(job, extent.range)?,
            ExtentKind::Data => {}
        }
    }
    let data = write_data(job, Zeros::Written, |_, _| {})?;
    Ok(Written {
        virtual_size: size,
        data,
    })
}

/// What happens to zeros inside of what the device calls data.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Zeros {
    LeftOut,
    Written,
}

/// Writes the disk from the file's beginning on, without the pages that are zero, and says how many
/// bytes were written. `seen` is told where on the disk each run of them is.
pub(crate) fn write_sparse(job: &Job, seen: impl Fn(u64, &[u8]) + Sync) -> Result<u64, Error> {
    write_data(job, Zeros::LeftOut, seen)
}

/// Writes what the device calls data, and says how many bytes of it were not zero.
fn write_data(job: &Job, zeros: Zeros, seen: impl Fn(u64, &[u8]) + Sync) -> Result<u64, Error> {
    let mut units = Units::new(job.device, units::SMALL);
    let data = units
        .by_ref()
        .par_bridge()
        .map_init(Vec::new, |buf, unit| {
            job.interrupt.check()?;
            let unit = unit?;
            unit.read(job.device, buf)?;
            let runs = data_runs(buf, PIECE);
            let data: usize = runs.iter().map(ExactSizeIterator::len).sum();
            let written = match zeros {
                Zeros::LeftOut => runs,
                Zeros::Written => {
                    let index = |r: &Range<u64>| unit.index(r.start)..unit.index(r.end);
                    unit.data.iter().map(index).collect()
                }
            };
            for run in written {
                let at = unit.range.start.saturating_add(u64_of(run.start));
                let bytes = &buf[run];
                seen(at, bytes);
                job.write_at(bytes, at)?;
            }
            job.task.advance(unit.advance);
            Ok::<_, Error>(u64_of(data))
        })
        .try_reduce(|| 0, |a, b| Ok(a.saturating_add(b)))?;
    job.task.advance(units.rest());
    Ok(data)
}

/// Makes a range of a block device zero, by its own means if it has any.
fn write_zeros(job: &Job, range: Range<u64>) -> Result<(), Error> {
    let len = range.end.saturating_sub(range.start);
    if rustix::fs::fallocate(job.file, FallocateFlags::ZERO_RANGE, range.start, len).is_ok() {
        return Ok(());
    }
    let zeros = vec![0; ZEROS];
    let mut at = range.start;
    while at < range.end {
        job.interrupt.check()?;
        let len = usize_of(range.end.saturating_sub(at)).min(ZEROS);
        job.write_at(&zeros[..len], at)?;
        at = at.saturating_add(u64_of(len));
    }
    Ok(())
}

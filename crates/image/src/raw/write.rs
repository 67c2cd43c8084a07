//! Writing raw images: sparse files, and block devices in place.

use super::one_writer::{OneWriter, Piece};
use crate::Error;
use crate::units::{self, Units};
use crate::write::{Job, Written};
use crate::zeros::data_runs;
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
    let data = write_data(job, Zeros::Written, |_, _| {})?;
    Ok(Written {
        virtual_size: size,
        data,
    })
}

/// What happens to zeros.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Zeros {
    /// The file has them already.
    LeftOut,
    /// What was there before is overwritten, whether the device calls them data or not. It is asked
    /// once only: a second answer could be another one, and leave something out in both.
    Written,
}

/// Writes the disk from the file's beginning on, without the pages that are zero, and says how many
/// bytes were written. `seen` is told where on the disk each run of them is.
pub(crate) fn write_sparse(job: &Job, seen: impl Fn(u64, &[u8]) + Sync) -> Result<u64, Error> {
    write_data(job, Zeros::LeftOut, seen)
}

/// Writes the disk, and says how many bytes of it were not zero.
fn write_data(job: &Job, zeros: Zeros, seen: impl Fn(u64, &[u8]) + Sync) -> Result<u64, Error> {
    let mut units = Units::new(job.device, units::SMALL, job.interrupt);
    let writer = OneWriter::new(job);
    let data = units
        .by_ref()
        .par_bridge()
        .map_init(Vec::new, |buf, unit| {
            job.interrupt.check()?;
            let unit = unit?;
            unit.read(job.device, buf)?;
            let runs = data_runs(buf, PIECE);
            let data: usize = runs.iter().map(ExactSizeIterator::len).sum();
            let offset = unit.range.start;
            let at = |run: &Range<usize>| offset.saturating_add(u64_of(run.start));
            if zeros == Zeros::Written {
                // Many threads may write into a device.
                for range in unit.zeros() {
                    write_zeros(job, range)?;
                }
                for range in &unit.data {
                    let run = unit.index(range.start)..unit.index(range.end);
                    job.write_at(&buf[run.clone()], at(&run))?;
                }
                job.task.advance(unit.advance);
                return Ok(u64_of(data));
            }
            for run in &runs {
                seen(at(run), &buf[run.clone()]);
            }
            *buf = writer.write(Piece {
                offset,
                bytes: std::mem::take(buf),
                runs,
                advance: unit.advance,
            })?;
            Ok::<_, Error>(u64_of(data))
        })
        .try_reduce(|| 0, |a, b| Ok(a.saturating_add(b)))?;
    let rest = units.rest();
    if zeros == Zeros::Written && rest > 0 {
        let size = job.device.size();
        write_zeros(job, size.saturating_sub(rest)..size)?;
    }
    job.task.advance(rest);
    Ok(data)
}

/// Makes a range of a block device zero, by its own means if it has any.
fn write_zeros(job: &Job, range: Range<u64>) -> Result<(), Error> {
    let len = range.end.saturating_sub(range.start);
    if rustix::fs::fallocate(job.file, FallocateFlags::ZERO_RANGE, range.start, len).is_ok() {
        return Ok(());
    }
    let zeros = vec![0; usize_of(len).min(ZEROS)];
    let mut at = range.start;
    while at < range.end {
        job.interrupt.check()?;
        let len = usize_of(range.end.saturating_sub(at)).min(ZEROS);
        job.write_at(&zeros[..len], at)?;
        at = at.saturating_add(u64_of(len));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{BlockRead, Extent, ExtentKind};
    use ondisk::{Interrupt, NoProgress};
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const M: u64 = 1 << 20;

    /// Ones at some ranges. What is behind `fickle` is data when it is asked for the first time
    /// and zero afterwards, as over a file that cannot be read only now and then.
    #[derive(Debug)]
    struct Disk {
        data: Vec<Range<u64>>,
        fickle: u64,
        asked: AtomicUsize,
    }

    impl BlockRead for Disk {
        fn size(&self) -> u64 {
            9 * M + 5
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
            for (at, byte) in (offset..).zip(buf) {
                *byte = u8::from(self.data.iter().any(|range| range.contains(&at)));
            }
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            let inside = self.data.iter().find(|range| range.contains(&offset));
            let starts = self.data.iter().map(|range| range.start);
            let next = starts.filter(|start| *start > offset).min();
            let first = offset >= self.fickle && self.asked.fetch_add(1, Ordering::Relaxed) == 0;
            Ok(Extent {
                range: match inside {
                    Some(range) => offset..range.end,
                    None => offset..next.unwrap_or(self.size()),
                },
                kind: if inside.is_some() || first {
                    ExtentKind::Data
                } else {
                    ExtentKind::Zero
                },
            })
        }
    }

    #[test]
    fn nothing_is_left_of_what_a_device_held() {
        let file = tempfile::tempfile().unwrap();
        let one = |range: Range<u64>| vec![range];
        for data in [
            vec![],
            one(0..9 * M + 5),
            one(9 * M..9 * M + 5),
            vec![7..9, 600_000..M, 3 * M..3 * M + 1, 8 * M - 1..8 * M],
        ] {
            let last = data.last().map_or(0, |range| range.end);
            let disk = Disk {
                data,
                fickle: last,
                asked: AtomicUsize::new(0),
            };
            let size = usize_of(disk.size());
            file.write_all_at(&vec![0xff; size + 100], 0).unwrap();
            let job = Job {
                device: &disk,
                file: &file,
                path: Path::new("device"),
                task: &NoProgress,
                interrupt: &Interrupt::default(),
                preallocate: false,
            };
            write_in_place(&job).unwrap();
            let mut expected = vec![0xee; size];
            disk.read_at(0, &mut expected).unwrap();
            expected.resize(size + 100, 0xff);
            let mut found = vec![0; size + 100];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected, "{:?}", disk.data);
        }
    }
}

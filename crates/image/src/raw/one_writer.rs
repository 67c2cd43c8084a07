//! Many threads, one of which writes.
//!
//! Linux lets one thread at a time write into a file (the inode's `i_rwsem`), and those that would
//! like to do not sleep but spin as long as it runs. Where the pages of the file cache are slow to
//! come, as on a virtual machine whose host gives memory when it is touched, that takes more time
//! than all the rest of a copy.

use crate::Error;
use crate::write::Job;
use ondisk::width::u64_of;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Writes what threads bring: whoever comes when nobody writes does, until nothing is left.
pub(super) struct OneWriter<'j> {
    job: &'j Job<'j>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Bytes that may wait.
    room: usize,
}

#[derive(Default)]
struct Queue {
    is_written: bool,
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    /// Buffers that were written.
    spare: Vec<Vec<u8>>,
}

/// A piece of the file.
pub(super) struct Piece {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// What of it is written.
    pub(super) runs: Vec<Range<usize>>,
    /// How far the work is when it is written.
    pub(super) advance: u64,
}

/// Bytes that wait, at most, for each thread and for all. One piece always may.
const WAITING: usize = 2 << 20;
const MAX_WAITING: usize = 16 << 20;

/// A thread's time to write; others may when it is over, however it ends.
struct Turn<'w, 'j> {
    writer: &'w OneWriter<'j>,
    is_over: bool,
}

impl<'j> OneWriter<'j> {
    pub(super) fn new(job: &'j Job<'j>) -> Self {
        Self {
            job,
            queue: Mutex::default(),
            changed: Condvar::new(),
            room: rayon::current_num_threads()
                .saturating_mul(WAITING)
                .min(MAX_WAITING),
        }
    }

    /// Has a piece written now or soon, by this thread or another one, and gives a buffer for the
    /// next. When no thread is in here any more, all is written.
    pub(super) fn write(&self, mut piece: Piece) -> Result<Vec<u8>, Error> {
        let mut queue = self.lock();
        while queue.is_written && queue.waiting_bytes >= self.room {
            let changed = self.changed.wait(queue);
            queue = changed.unwrap_or_else(PoisonError::into_inner);
        }
        if queue.is_written {
            queue.waiting_bytes = queue.waiting_bytes.saturating_add(piece.bytes.len());
            queue.waiting.push_back(piece);
            return Ok(queue.spare.pop().unwrap_or_default());
        }
        queue.is_written = true;
        let mut turn = Turn {
            writer: self,
            is_over: false,
        };
        loop {
            drop(queue);
            self.job.interrupt.check()?;
            self.write_now(&piece)?;
            queue = self.lock();
            queue.spare.push(piece.bytes);
            let Some(next) = queue.waiting.pop_front() else {
                // Before anybody else can bring something.
                queue.is_written = false;
                turn.is_over = true;
                self.changed.notify_all();
                return Ok(queue.spare.pop().unwrap_or_default());
            };
            queue.waiting_bytes = queue.waiting_bytes.saturating_sub(next.bytes.len());
            self.changed.notify_all();
            piece = next;
        }
    }

    fn write_now(&self, piece: &Piece) -> Result<(), Error> {
        for run in &piece.runs {
            let at = piece.offset.saturating_add(u64_of(run.start));
            self.job.write_at(&piece.bytes[run.clone()], at)?;
        }
        self.job.task.advance(piece.advance);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Whole at any time.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.writer.lock().is_written = false;
            self.writer.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{BlockRead, Extent, ExtentKind};
    use ondisk::width::usize_of;
    use ondisk::{Interrupt, NoProgress};
    use rayon::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    #[derive(Debug)]
    struct Nothing;

    impl BlockRead for Nothing {
        fn size(&self) -> u64 {
            0
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), block::Error> {
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            Ok(Extent {
                range: offset..0,
                kind: ExtentKind::Zero,
            })
        }
    }

    const PIECES: u64 = 500;
    const LEN: u64 = 3000;

    /// Has eight threads write pieces of their number, all but the last ten bytes of each.
    fn write(file: &File) -> Result<(), Error> {
        let job = Job {
            device: &Nothing,
            file,
            path: Path::new("file"),
            task: &NoProgress,
            interrupt: &Interrupt::default(),
            preallocate: false,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8);
        pool.build().unwrap().install(|| {
            let writer = OneWriter::new(&job);
            (0..PIECES).into_par_iter().try_for_each(|number| {
                let mut bytes = vec![number.to_le_bytes()[0]; usize_of(LEN)];
                for _ in 0..2 {
                    bytes = writer.write(Piece {
                        offset: number.saturating_mul(LEN),
                        runs: vec![0..7, 7..bytes.len().saturating_sub(10)],
                        bytes,
                        advance: 1,
                    })?;
                    bytes.clear();
                    bytes.resize(usize_of(LEN), number.to_le_bytes()[0]);
                }
                Ok(())
            })
        })
    }

    #[test]
    fn all_is_written_when_all_have_left() {
        let file = tempfile::tempfile().unwrap();
        write(&file).unwrap();
        let mut found = vec![0; usize_of(PIECES * LEN) - 10];
        file.read_exact_at(&mut found, 0).unwrap();
        for (number, piece) in (0..PIECES).zip(found.chunks(usize_of(LEN))) {
            let (data, rest) = piece.split_at(usize_of(LEN) - 10);
            let byte = number.to_le_bytes()[0];
            assert!(data.iter().all(|found| *found == byte), "{number}");
            assert!(rest.iter().all(|found| *found == 0), "{number}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_said_and_nobody_waits_for_it() {
        let file = File::open("/dev/null").unwrap();
        assert!(matches!(write(&file), Err(Error::Io { .. })));
    }
}

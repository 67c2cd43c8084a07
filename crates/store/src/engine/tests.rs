use super::*;
use crate::{Digest, SinkError};
use block::{BlockRead, Extent, ExtentKind, Memory};
use ondisk::NoProgress;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

/// A disk of blocks that each hold one byte, over and over; `None` is a hole.
#[derive(Debug)]
struct Disk {
    blocks: Vec<Option<u8>>,
    size: u64,
    granule: u64,
    reads: Mutex<Vec<Range<u64>>>,
}

fn disk(blocks: &[Option<u8>]) -> Disk {
    Disk {
        size: u64_of(blocks.len()) * BLOCK,
        blocks: blocks.to_vec(),
        granule: 1,
        reads: Mutex::default(),
    }
}

impl BlockRead for Disk {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        let end = offset + u64_of(buf.len());
        assert!(end <= self.size);
        self.reads
            .lock()
            .unwrap()
            .push(offset / BLOCK..end.div_ceil(BLOCK));
        for (at, chunk) in buf.chunks_mut(usize_of(BLOCK)).enumerate() {
            chunk.fill(self.blocks[usize_of(offset / BLOCK) + at].unwrap_or(0));
        }
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        let at = offset / BLOCK;
        let kind = match self.blocks[usize_of(at)] {
            Some(_) => ExtentKind::Data,
            None => ExtentKind::Zero,
        };
        Ok(Extent {
            range: at * BLOCK..((at + 1) * BLOCK).min(self.size),
            kind,
        })
    }
    fn granule(&self) -> u64 {
        self.granule
    }
}

/// Remembers what was put.
#[derive(Default)]
struct Sink {
    put: Mutex<BTreeMap<u32, u8>>,
    before: Vec<Record>,
}

impl SnapshotSink for Sink {
    fn put(&self, block: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        assert_eq!(u64_of(content.len()), BLOCK);
        assert_eq!(digest, Digest::from(Sha256::digest(&content)));
        let twice = self.put.lock().unwrap().insert(block, content[0]);
        assert_eq!(twice, None, "block {block}");
        Ok(())
    }
    fn put_before(&self) -> &[Record] {
        &self.before
    }
}

fn digest(byte: u8) -> Digest {
    Sha256::digest(vec![byte; usize_of(BLOCK)]).into()
}

fn job(disk: &dyn BlockRead) -> Job<'_> {
    Job {
        disk,
        parent: None,
        encrypted: false,
        zero_fill: false,
        changed: None,
    }
}

/// What is put, as block and byte, and the outcome; the same however many blocks are hashed together.
fn done(job: &Job<'_>, before: &[Record]) -> (Vec<(u32, u8)>, Outcome) {
    let one_by_one = done_together(job, before, 1);
    assert_eq!(done_together(job, before, 8), one_by_one);
    one_by_one
}

/// What each of the two runs of [`done`] has read, ascending.
fn reads_of_both(disk: &Disk) -> Vec<Range<u64>> {
    let mut reads = std::mem::take(&mut *disk.reads.lock().unwrap());
    reads.sort_by_key(|range| range.start);
    let (pairs, rest) = reads.as_chunks();
    assert!(
        rest.is_empty() && pairs.iter().all(|[a, b]| a == b),
        "{reads:?}"
    );
    pairs.iter().map(|[read, _]| read.clone()).collect()
}

fn done_together(job: &Job<'_>, before: &[Record], together: u32) -> (Vec<(u32, u8)>, Outcome) {
    let sink = Sink {
        before: before.to_vec(),
        ..Sink::default()
    };
    let interrupt = Interrupt::default();
    let outcome = run_together(job, &sink, &NoProgress, &interrupt, together).unwrap();
    (
        sink.put.into_inner().unwrap().into_iter().collect(),
        outcome,
    )
}

fn records(blocks: &[(u32, u8)]) -> Vec<Record> {
    blocks
        .iter()
        .map(|(block, byte)| (*block, digest(*byte)))
        .collect()
}

const HOLE: Option<u8> = None;

#[test]
fn without_a_parent_zeros_are_left_out_and_holes_are_not_read() {
    let disk = disk(&[Some(1), HOLE, Some(0), Some(2), HOLE]);
    let (put, outcome) = done(&job(&disk), &[]);
    assert_eq!(put, [(0, 1), (3, 2)]);
    assert_eq!(outcome.put, records(&put));
    assert_eq!(outcome.index.records(), outcome.put);
    assert_eq!(outcome.read, 3 * BLOCK);
    assert_eq!(reads_of_both(&disk), [0..1, 2..3, 3..4]);
}

#[test]
fn an_encrypted_snapshot_gets_the_zeros_that_it_has_no_parent_for() {
    let disk = disk(&[Some(1), HOLE, Some(0)]);
    let encrypted = Job {
        encrypted: true,
        ..job(&disk)
    };
    let (put, outcome) = done(&encrypted, &[]);
    assert_eq!(put, [(0, 1), (2, 0)]);
    assert_eq!(outcome.index.records(), records(&put));
    let filled = Job {
        zero_fill: true,
        ..encrypted
    };
    let (put, filled) = done(&filled, &[]);
    assert_eq!(put, [(0, 1), (1, 0), (2, 0)]);
    // The child of the one inherits its zeros; the hole that was never put is put with `zero_fill`.
    for (zero_fill, parent, expected) in [
        (false, &outcome.index, &[][..]),
        (true, &outcome.index, &[(1, 0)]),
        (true, &filled.index, &[]),
    ] {
        let child = Job {
            zero_fill,
            parent: Some(parent),
            ..encrypted
        };
        assert_eq!(done(&child, &[]).0, expected);
    }
}

#[test]
fn what_became_zeros_is_put_as_zeros_over_a_parent() {
    let before = disk(&[Some(1), Some(2), Some(3), Some(4), HOLE]);
    let parent = done(&job(&before), &[]).1.index;
    let after = disk(&[Some(1), HOLE, Some(0), Some(5), Some(0)]);
    for encrypted in [false, true] {
        let job = Job {
            parent: Some(&parent),
            encrypted,
            ..job(&after)
        };
        let (put, outcome) = done(&job, &[]);
        let zero = (4, 0);
        let expected = [(1, 0), (2, 0), (3, 5), zero];
        assert_eq!(put, expected[..if encrypted { 4 } else { 3 }]);
        assert_eq!(outcome.put, records(&put));
        let kept = outcome.index.records().iter();
        let kept: Vec<Record> = kept.filter(|record| record.1 != ZERO).copied().collect();
        assert_eq!(kept, records(&[(0, 1), (3, 5)]));
        assert_eq!(outcome.index.len(), if encrypted { 5 } else { 2 });
    }
}

#[test]
fn only_what_can_have_changed_is_read() {
    let before = disk(&[Some(1), Some(2), Some(3), HOLE, Some(5), Some(6)]);
    let parent = done(&job(&before), &[]).1.index;
    let after = disk(&[Some(9), Some(9), HOLE, Some(9), Some(5), Some(9)]);
    let changed = [4 * BLOCK - 1..4 * BLOCK + 1, BLOCK..2 * BLOCK + 1, 7..7];
    let with = Job {
        parent: Some(&parent),
        changed: Some(&changed),
        ..job(&after)
    };
    let (put, outcome) = done(&with, &[]);
    assert_eq!(put, [(1, 9), (2, 0), (3, 9)]);
    assert_eq!(outcome.read, 3 * BLOCK);
    let expected = records(&[(0, 1), (1, 9), (3, 9), (4, 5), (5, 6)]);
    assert_eq!(outcome.index.records(), expected);
    // Without a parent there is nothing that could be unchanged.
    let without = Job {
        changed: Some(&changed),
        ..job(&after)
    };
    assert_eq!(done(&without, &[]).0.len(), 5);
}

#[test]
fn disks_that_grew_or_shrank_end_in_zeros() {
    let bytes = |size: u64| Memory::new(vec![7; usize_of(size)]);
    let (small, large) = (bytes(BLOCK + 5), bytes(3 * BLOCK));
    let parent = done(&job(&large), &[]).1.index;
    let shrunk = Job {
        parent: Some(&parent),
        changed: Some(&[]),
        ..job(&small)
    };
    let (put, outcome) = done(&shrunk, &[]);
    assert_eq!(put, [(1, 7)]);
    assert_eq!(outcome.index.len(), 2);
    assert_eq!(outcome.index, done(&job(&small), &[]).1.index);
    let grown = Job {
        parent: Some(&outcome.index),
        ..job(&large)
    };
    let (put, again) = done(&grown, &[]);
    assert_eq!(put, [(1, 7), (2, 7)]);
    assert_eq!(again.index, parent);
}

#[test]
fn an_interrupted_run_goes_on_and_what_changed_since_is_put_again() {
    let parent = done(&job(&disk(&[Some(1), Some(2), HOLE, HOLE])), &[])
        .1
        .index;
    let after = disk(&[Some(9), Some(2), HOLE, Some(4)]);
    // Block 0 is right; 1 and 2 were put, and the disk is as the parent has it again.
    let before = records(&[(0, 9), (1, 3), (2, 3)]);
    for changed in [None, Some(&[0..BLOCK, 3 * BLOCK..4 * BLOCK][..])] {
        let job = Job {
            parent: Some(&parent),
            changed,
            ..job(&after)
        };
        let (put, outcome) = done(&job, &before);
        assert_eq!(put, [(1, 2), (2, 0), (3, 4)]);
        assert_eq!(outcome.put, records(&[(0, 9), (1, 2), (2, 0), (3, 4)]));
        assert_eq!(outcome.index.records(), records(&[(0, 9), (1, 2), (3, 4)]));
    }
    let sink = Sink {
        before: records(&[(4, 1)]),
        ..Sink::default()
    };
    let result = run(&job(&after), &sink, &NoProgress, &Interrupt::default());
    assert!(matches!(
        result,
        Err(Error::Resume {
            block: 4,
            disk_blocks: 4
        })
    ));
}

#[test]
fn what_is_decompressed_at_once_is_read_at_once() {
    let mut blocks: Vec<_> = (1..20).map(Some).collect();
    for hole in [5, 8, 9] {
        blocks[hole] = HOLE;
    }
    blocks[13] = Some(0);
    let mut disk = disk(&blocks);
    disk.size -= 100;
    for (granule, expected) in [
        (4 * BLOCK, &[0..4, 4..5, 6..8, 10..12, 12..16, 16..19][..]),
        (1 << 40, &[0..5, 6..8, 10..16, 16..19]),
    ] {
        disk.granule = granule;
        let put = done(&job(&disk), &[]).0;
        let numbers = (0..5).chain(6..8).chain(10..13).chain(14..19);
        let all: Vec<_> = numbers
            .map(|at| (at, u8::try_from(at).unwrap() + 1))
            .collect();
        assert_eq!(put, all);
        assert_eq!(reads_of_both(&disk), expected, "{granule}");
    }
}

#[test]
fn the_end_of_the_disk_is_followed_by_zeros_whatever_the_buffers_held() {
    let mut disk = disk(&[Some(9), Some(9), Some(1), Some(2)]);
    disk.size -= 100;
    for piece in [1, 2] {
        let unit = |blocks| Unit {
            blocks,
            seen: Seen::Data,
            advance: 0,
            piece,
        };
        let mut room = Room::default();
        room.read(&disk, &unit(0..2)).unwrap();
        let (contents, read) = room.read(&disk, &unit(2..4)).unwrap();
        assert_eq!((contents.len(), read), (2, 2 * BLOCK - 100));
        assert!(contents[0].iter().all(|byte| *byte == 1));
        let (content, padding) = contents[1].split_at(usize_of(BLOCK - 100));
        assert!(content.iter().all(|byte| *byte == 2));
        assert_eq!(padding, [0; 100]);
    }
}

#[test]
fn progress_adds_up_to_what_is_looked_at() {
    #[derive(Clone, Debug, Default)]
    struct Sum(std::sync::Arc<Mutex<(u64, Option<u64>)>>);
    impl Progress for Sum {
        fn start(&self, _: &str, _: ondisk::Unit, total: Option<u64>) -> Box<dyn ondisk::Task> {
            *self.0.lock().unwrap() = (0, total);
            Box::new(self.clone())
        }
    }
    impl ondisk::Task for Sum {
        fn advance(&self, units: u64) {
            self.0.lock().unwrap().0 += units;
        }
    }
    let mut disk = disk(&[
        HOLE,
        Some(1),
        HOLE,
        HOLE,
        Some(1),
        HOLE,
        Some(1),
        Some(2),
        HOLE,
    ]);
    disk.granule = 4 * BLOCK;
    let parent = Index::default();
    for (parent, changed, total) in [
        (None, None, 9),
        (
            Some(&parent),
            Some(&[BLOCK..5 * BLOCK, 8 * BLOCK..9 * BLOCK][..]),
            5,
        ),
        (Some(&parent), Some(&[][..]), 0),
    ] {
        let job = Job {
            parent,
            changed,
            ..job(&disk)
        };
        let sum = Sum::default();
        run(&job, &Sink::default(), &sum, &Interrupt::default()).unwrap();
        let expected = (total * BLOCK, Some(total * BLOCK));
        assert_eq!(*sum.0.lock().unwrap(), expected);
    }
}

#[test]
fn failures_and_interrupts_end_the_run() {
    struct Full;
    impl SnapshotSink for Full {
        fn put(&self, block: u32, _: Digest, _: Vec<u8>) -> Result<(), SinkError> {
            if block == 1 {
                Err("full".into())
            } else {
                Ok(())
            }
        }
    }
    let disk = disk(&[Some(1), Some(2), Some(3)]);
    let result = run(&job(&disk), &Full, &NoProgress, &Interrupt::default());
    assert!(matches!(result, Err(Error::Put { block: 1, .. })));
    let interrupt = Interrupt::default();
    interrupt.set();
    let result = run(&job(&disk), &Full, &NoProgress, &interrupt);
    assert!(matches!(result, Err(Error::Interrupted(_))));
    let huge = Disk {
        size: MAX_DISK + 1,
        ..disk
    };
    let result = run(&job(&huge), &Full, &NoProgress, &Interrupt::default());
    assert!(matches!(result, Err(Error::TooLarge(_))));
}

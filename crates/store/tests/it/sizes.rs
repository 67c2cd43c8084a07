//! What a change costs.

use crate::support::{Random, files, write};
use block::{BlockRead, Error, Extent, ExtentKind, Memory};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{BLOCK, Digest, Job, NewSnapshot, SinkError, SnapshotSink, Store};

/// A disk of any size: data in some ranges, zeros elsewhere; `changed` bytes are others.
#[derive(Debug)]
struct Large {
    size: u64,
    data: Vec<Range<u64>>,
    changed: Range<u64>,
}

impl BlockRead for Large {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        for (number, page) in (offset / 4096..).zip(buf.chunks_mut(4096)) {
            let at = number * 4096;
            let byte = if self.changed.contains(&at) { 2 } else { 1 };
            page.fill(byte);
            page[..8].copy_from_slice(&at.to_le_bytes());
        }
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        let inside = self.data.iter().find(|range| range.contains(&offset));
        let next = self.data.iter().map(|range| range.start);
        let next = next.filter(|start| *start > offset).min();
        let (range, kind) = match inside {
            Some(range) => (range.clone(), ExtentKind::Data),
            None => (offset..next.unwrap_or(self.size), ExtentKind::Zero),
        };
        Ok(Extent { range, kind })
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl SnapshotSink for Count {
    fn put(&self, _: u32, _: Digest, _: Vec<u8>) -> Result<(), SinkError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn run(
    disk: &Large,
    parent: Option<&store::Index>,
    changed: Option<&[Range<u64>]>,
) -> (u64, store::Outcome) {
    let job = Job {
        disk,
        parent,
        encrypted: false,
        zero_fill: false,
        changed,
    };
    let sink = Count::default();
    let outcome = store::engine::run(&job, &sink, &NoProgress, &Interrupt::default()).unwrap();
    (sink.0.into_inner(), outcome)
}

#[test]
fn a_change_of_one_percent_costs_at_most_one_point_one() {
    let size = 1000 * BLOCK;
    let one = std::iter::once;
    let mut disk = Large {
        size,
        data: one(0..size).collect(),
        changed: 0..0,
    };
    let (all, first) = run(&disk, None, None);
    assert_eq!(all, 1000);
    // One percent that does not start with a block.
    disk.changed = 400 * BLOCK + 8192..410 * BLOCK + 8192;
    let (put, second) = run(&disk, Some(&first.index), None);
    assert_eq!((put, second.read), (11, size));
    let told: Vec<_> = one(disk.changed.clone()).collect();
    let (put, told) = run(&disk, Some(&first.index), Some(&told));
    assert_eq!((put, told.read), (11, 11 * BLOCK));
    assert_eq!(told.index, second.index);
}

#[test]
fn a_large_disk_costs_what_is_on_it() {
    let size = 64 << 40;
    let data = (0..64).map(|at| at << 40..(at << 40) + 4 * BLOCK).collect();
    let disk = Large {
        size,
        data,
        changed: 0..0,
    };
    let (put, outcome) = run(&disk, None, None);
    assert_eq!((put, outcome.read), (256, 256 * BLOCK));
    assert_eq!(run(&disk, Some(&outcome.index), None).0, 0);
}

#[test]
fn ten_daily_snapshots_are_little_more_than_one_and_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let mut random = Random(7);
    let mut bytes = vec![0; 48 << 20];
    random.fill(&mut bytes);
    let used = || -> u64 {
        let sizes = files(dir.path()).into_iter();
        sizes.map(|path| path.metadata().unwrap().len()).sum()
    };
    let new = NewSnapshot {
        machine: "web1",
        disk: "1",
        ..NewSnapshot::default()
    };
    let mut parent = write(&store, &Memory::new(bytes.clone()), &new).id;
    let one = used();
    let mut changes = 0;
    for day in 1..10 {
        // A mebibyte that is written in one go, and two pages elsewhere.
        for len in [1 << 20, 4096, 4096] {
            let page = usize_of(random.below(u64_of((bytes.len() - len) / 4096))) * 4096;
            random.fill(&mut bytes[page..page + len]);
            changes += u64_of(len);
        }
        let next = NewSnapshot {
            parent: Some(&parent),
            created: day,
            ..new
        };
        parent = write(&store, &Memory::new(bytes.clone()), &next).id;
    }
    assert_eq!(store.snapshots().unwrap().len(), 10);
    let (all, fair) = (used(), one + changes);
    assert!(all * 10 < fair * 13, "{all} bytes for {fair}");
}

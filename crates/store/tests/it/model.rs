//! The engine and the store against a model that knows bytes alone: what a snapshot has without a
//! put, and so how many blocks have to be put.

use crate::support::{CELL, Disk, Random, write};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{BLOCK, Digest, Index, Job, NewSnapshot, Record, SinkError, SnapshotSink, Store};

/// What a service holds of a snapshot: blocks that were put in it or in its parents.
type Held = BTreeMap<u32, Vec<u8>>;

/// A snapshot that is being made in the service.
struct Pending {
    held: Mutex<Held>,
    own: Mutex<BTreeMap<u32, Digest>>,
    before: Vec<Record>,
    /// Puts until it breaks.
    left: AtomicU64,
    puts: AtomicU64,
}

impl Pending {
    fn new(held: Held, own: BTreeMap<u32, Digest>, left: u64) -> Self {
        Self {
            held: Mutex::new(held),
            before: own.clone().into_iter().collect(),
            own: Mutex::new(own),
            left: AtomicU64::new(left),
            puts: AtomicU64::new(0),
        }
    }
}

impl SnapshotSink for Pending {
    fn put(&self, block: u32, digest: Digest, content: Vec<u8>) -> Result<(), SinkError> {
        assert_eq!(digest, Digest::from(Sha256::digest(&content)));
        let left = |left: u64| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .map_err(|_| "the connection broke")?;
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.held.lock().unwrap().insert(block, content);
        self.own.lock().unwrap().insert(block, digest);
        Ok(())
    }
    fn put_before(&self) -> &[Record] {
        &self.before
    }
}

fn change(disk: &mut Disk, random: &mut Random) {
    if random.one_in(4) {
        let size = random.below(9 * BLOCK);
        disk.resize(if random.one_in(2) {
            size
        } else {
            size / BLOCK * BLOCK
        });
    }
    for _ in 0..random.below(12) {
        if disk.cells() > 0 {
            let cell = random.below(disk.cells());
            let whole = random.one_in(3);
            let byte = [None, Some(0), Some(1), Some(2)][usize_of(random.below(4))];
            let cells = if whole { BLOCK / CELL } else { 1 };
            for cell in cell / cells * cells..cell / cells * cells + cells {
                if cell < disk.cells() {
                    disk.set(cell, byte);
                }
            }
        }
    }
}

/// Bytes where two disks differ, roughly, and all that the second one has beyond the first.
fn changed(old: &Disk, new: &Disk, random: &mut Random) -> Vec<Range<u64>> {
    let grown = u64_of(old.bytes.len())..u64_of(new.bytes.len());
    let mut ranges: Vec<_> = std::iter::once(grown).collect();
    for (at, cell) in new.bytes.chunks(usize_of(CELL)).enumerate() {
        let start = at * usize_of(CELL);
        let end = (start + cell.len()).min(old.bytes.len());
        let same = start < end && old.bytes[start..end] == cell[..end - start];
        if !same || random.one_in(50) {
            ranges.insert(0, u64_of(start)..u64_of(start + cell.len()));
        }
    }
    ranges
}

struct Chain {
    encrypted: bool,
    zero_fill: bool,
    held: Held,
    index: Option<Index>,
    disk: Disk,
}

impl Chain {
    /// The blocks that have to be put over what is held, by their bytes.
    fn needed(&self, held: &Held, disk: &Disk, looked_at: impl Fn(u64) -> bool) -> u64 {
        let zeros = vec![0; usize_of(BLOCK)];
        let needed = |block: &usize| {
            let (bytes, data) = disk.block(*block);
            match held.get(&u32::try_from(*block).unwrap()) {
                Some(held) => *held != bytes,
                None if self.encrypted => (data || self.zero_fill) && looked_at(u64_of(*block)),
                None => bytes != zeros,
            }
        };
        u64_of((0..disk.blocks()).filter(needed).count())
    }

    /// Makes the next snapshot, now and then in several runs.
    fn next(&mut self, random: &mut Random) -> u64 {
        let old = self.disk.clone();
        change(&mut self.disk, random);
        let changes =
            (self.index.is_some() && random.one_in(2)).then(|| changed(&old, &self.disk, random));
        let size = self.disk.size();
        let looked_at = |block: u64| {
            changes.as_ref().is_none_or(|ranges| {
                let overlaps = |range: &Range<u64>| {
                    range.start < range.end
                        && range.start / BLOCK <= block
                        && block <= (range.end - 1) / BLOCK
                };
                let last = !size.is_multiple_of(BLOCK) && block == size / BLOCK;
                last || ranges.iter().any(overlaps)
            })
        };
        let blocks = u32::try_from(self.disk.blocks()).unwrap();
        let mut held = self.held.clone();
        held.retain(|block, _| *block < blocks);
        let mut own = BTreeMap::new();
        loop {
            let needed = self.needed(&held, &self.disk, looked_at);
            let breaks = needed > 0 && random.one_in(3);
            let left = if breaks {
                random.below(needed)
            } else {
                u64::MAX
            };
            let pending = Pending::new(held, own, left);
            let job = Job {
                disk: &self.disk,
                parent: self.index.as_ref(),
                encrypted: self.encrypted,
                zero_fill: self.zero_fill,
                changed: changes.as_deref(),
            };
            let result = store::engine::run(&job, &pending, &NoProgress, &Interrupt::default());
            let puts = pending.puts.into_inner();
            held = pending.held.into_inner().unwrap();
            own = pending.own.into_inner().unwrap();
            if breaks {
                assert!(result.is_err());
                assert_eq!(puts, left);
                // The source may have changed when it goes on; all may, if it was not told where.
                if changes.is_none() && random.one_in(2) {
                    let size = self.disk.size();
                    change(&mut self.disk, random);
                    self.disk.resize(size);
                }
                continue;
            }
            let outcome = result.unwrap();
            assert_eq!(puts, needed);
            let all: Vec<Record> = own.into_iter().collect();
            assert_eq!(outcome.put, all);
            let raw: Vec<u8> = all.iter().flat_map(|(_, digest)| *digest).collect();
            let aggregate = Digest::from(Sha256::digest(raw));
            assert_eq!(store::linear(&outcome.put), aggregate);
            self.check(&held, &outcome.index, &looked_at);
            (self.held, self.index) = (held, Some(outcome.index));
            return needed;
        }
    }

    /// What the snapshot holds is the disk, and the index is what it holds.
    fn check(&self, held: &Held, index: &Index, looked_at: &dyn Fn(u64) -> bool) {
        for block in 0..self.disk.blocks() {
            let (bytes, data) = self.disk.block(block);
            let number = u32::try_from(block).unwrap();
            match held.get(&number) {
                Some(held) => assert!(*held == bytes, "block {block}"),
                None if !self.encrypted => assert!(bytes.iter().all(|byte| *byte == 0)),
                None => assert!(!(data || self.zero_fill) || !looked_at(u64_of(block))),
            }
            let digest = Digest::from(Sha256::digest(&bytes));
            match index.get(number) {
                Some(indexed) => assert_eq!(*indexed, digest),
                None if self.encrypted => assert!(!held.contains_key(&number)),
                None => assert!(bytes.iter().all(|byte| *byte == 0)),
            }
        }
        assert!(
            index
                .records()
                .iter()
                .all(|(block, _)| held.contains_key(block))
        );
    }
}

#[test]
fn every_snapshot_of_every_chain_is_its_disk_with_no_put_too_many() {
    let mut puts = 0;
    for seed in 1..=40 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut chain = Chain {
            encrypted: random.one_in(2),
            zero_fill: random.one_in(3),
            held: Held::new(),
            index: None,
            disk: Disk::new(random.below(8 * BLOCK)),
        };
        for _ in 0..6 {
            puts += chain.next(&mut random);
        }
    }
    assert!(puts > 300, "only {puts} puts were tried");
}

#[test]
fn a_store_agrees_with_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    for seed in 1..=8 {
        let mut random = Random(seed * 0x51_7cc1);
        let mut chain = Chain {
            encrypted: false,
            zero_fill: false,
            held: Held::new(),
            index: None,
            disk: Disk::new(random.below(8 * BLOCK)),
        };
        let mut parent = None;
        let machine = format!("machine {seed}");
        for _ in 0..6 {
            let old = chain.disk.clone();
            chain.next(&mut random);
            let disk = &chain.disk;
            let mut held = match &parent {
                None => Held::new(),
                Some(_) => (0..)
                    .zip((0..old.blocks()).map(|block| old.block(block).0))
                    .collect(),
            };
            held.retain(|block, _| u64::from(*block) < u64_of(disk.blocks()));
            let needed = chain.needed(&held, disk, |_| true);
            let mut changes = random.one_in(2).then(|| changed(&old, disk, &mut random));
            if let Some(changes) = &mut changes {
                // The store knows itself by how much the disk has grown.
                changes.retain(|range| range.start < old.size());
            }
            let new = NewSnapshot {
                parent: parent.as_ref(),
                machine: &machine,
                changed: changes.as_deref(),
                ..NewSnapshot::default()
            };
            let written = write(&store, disk, &new);
            assert_eq!(written.put_blocks, needed);
            assert_eq!(write(&store, disk, &new).id, written.id);
            let snapshot = store.read(&written.id).unwrap();
            assert_eq!(Some(snapshot.index()), chain.index.as_ref());
            assert!(crate::support::content(&store, &written.id) == disk.bytes);
            // On demand it is the same: any bytes, in any order.
            for _ in 0..20 {
                let at = random.below(snapshot.size() + 1);
                let len = random.below((snapshot.size() - at).min(2 * BLOCK) + 1);
                let mut part = vec![0xee; usize_of(len)];
                snapshot.read_at(at, &mut part).unwrap();
                assert!(part == disk.bytes[usize_of(at)..usize_of(at + len)]);
            }
            if let Some(parent) = &parent {
                let at = |disk: &Disk, block| {
                    let inside = block < disk.blocks();
                    inside
                        .then(|| disk.block(block).0)
                        .unwrap_or(vec![0; usize_of(BLOCK)])
                };
                let most = old.blocks().max(disk.blocks());
                let differ = (0..most).filter(|block| at(&old, *block) != at(disk, *block));
                let told = store.diff(parent, &written.id).unwrap();
                let told = told
                    .iter()
                    .flat_map(|range| range.start / BLOCK..range.end.div_ceil(BLOCK));
                assert!(told.eq(differ.map(u64_of)));
            }
            parent = Some(written.id);
        }
        let latest = store.latest(&machine, "", store::Role::Staging).unwrap();
        assert_eq!(latest.map(|manifest| manifest.id), parent);
    }
    let report = store.fsck(&NoProgress, &Interrupt::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.snapshots > 40);
}

//! The engine and the store against a model that knows bytes alone: what a snapshot has without a
//! put, and so how many blocks have to be put.

use crate::support::{CELL, Disk, Random, write};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{
    BLOCK, Children, Digest, Index, Job, NewSnapshot, Record, Role, SinkError, SnapshotId,
    SnapshotSink, Store,
};

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
        let latest = store.latest(&machine, "", Role::Staging).unwrap();
        assert_eq!(latest.map(|manifest| manifest.id), parent);
    }
    let report = store.fsck(&NoProgress, &Interrupt::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.snapshots > 40);
}

/// A snapshot as the model has it.
#[derive(Clone)]
struct Kept {
    id: SnapshotId,
    parent: Option<SnapshotId>,
    machine: usize,
    created: u64,
    bytes: Vec<u8>,
}

/// The one that is no parent of another one of its machine; of several the last.
fn latest_of(kept: &[Kept], machine: usize) -> Option<&Kept> {
    let mut best: Option<&Kept> = None;
    for one in kept.iter().filter(|one| one.machine == machine) {
        let is_parent = kept
            .iter()
            .any(|other| other.machine == machine && other.parent.as_ref() == Some(&one.id));
        let later = best.is_none_or(|best| (best.created, &best.id) < (one.created, &one.id));
        if !is_parent && later {
            best = Some(one);
        }
    }
    best
}

/// The distinct blocks of some disks that are not zeros.
fn blocks_of(kept: &[Kept]) -> BTreeSet<Vec<u8>> {
    let blocks = kept.iter().flat_map(|one| {
        one.bytes.chunks(usize_of(BLOCK)).map(|block| {
            let mut block = block.to_vec();
            block.resize(usize_of(BLOCK), 0);
            block
        })
    });
    blocks
        .filter(|block| block.iter().any(|byte| *byte != 0))
        .collect()
}

#[test]
fn after_any_removals_and_collections_the_others_are_exact() {
    let (progress, interrupt) = (NoProgress, Interrupt::default());
    let (mut made, mut same, mut removed, mut collected) = (0, 0, 0, 0);
    for seed in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        let mut random = Random(seed * 0x77_1f3d);
        let mut disks = [0, 1].map(|_| Disk::new(3 * BLOCK));
        let mut kept: Vec<Kept> = Vec::new();
        // What is in the store; what nobody needs stays until it is collected.
        let mut present: BTreeSet<Vec<u8>> = BTreeSet::new();
        for created in 1..=40 {
            let machine = usize_of(random.below(2));
            let name = format!("m{machine}");
            match random.below(6) {
                0 if !kept.is_empty() => {
                    let one = kept[usize_of(random.below(u64_of(kept.len())))].clone();
                    let has_child = kept
                        .iter()
                        .any(|other| other.parent == Some(one.id.clone()));
                    let keep = random.one_in(2);
                    let children = if keep {
                        Children::Keep
                    } else {
                        Children::Refuse
                    };
                    let result = store.remove(std::slice::from_ref(&one.id), children, &interrupt);
                    assert_eq!(result.is_ok(), keep || !has_child);
                    if result.is_ok() {
                        removed += 1;
                        kept.retain(|other| other.id != one.id);
                    }
                }
                1 => {
                    let needed = blocks_of(&kept);
                    let gone = store.gc(&progress, &interrupt).unwrap();
                    assert_eq!(gone.kept, u64_of(needed.len()));
                    assert_eq!(gone.blocks, u64_of(present.len() - needed.len()));
                    collected += gone.blocks;
                    present = needed;
                }
                _ => {
                    let disk = &mut disks[machine];
                    if !random.one_in(4) {
                        change(disk, &mut random);
                    }
                    let parent = latest_of(&kept, machine).cloned();
                    let told = store.latest(&name, "1", Role::Staging).unwrap();
                    assert_eq!(
                        told.map(|one| one.id),
                        parent.as_ref().map(|one| one.id.clone())
                    );
                    let only_if_changed = random.one_in(2);
                    let new = NewSnapshot {
                        parent: parent.as_ref().map(|one| &one.id),
                        machine: &name,
                        disk: "1",
                        created,
                        only_if_changed,
                        ..NewSnapshot::default()
                    };
                    let written = write(&store, disk, &new);
                    let before = parent.as_ref().map_or(&[][..], |one| &one.bytes);
                    let chunk = |bytes: &[u8], at: usize| {
                        let from = (at * usize_of(BLOCK)).min(bytes.len());
                        let to = (from + usize_of(BLOCK)).min(bytes.len());
                        let mut block = bytes[from..to].to_vec();
                        block.resize(usize_of(BLOCK), 0);
                        block
                    };
                    let differ = |at: &usize| chunk(before, *at) != chunk(&disk.bytes, *at);
                    let puts = (0..disk.blocks()).filter(differ).count();
                    assert_eq!(written.put_blocks, u64_of(puts));
                    if parent.as_ref().is_some_and(|one| one.bytes == disk.bytes) && only_if_changed
                    {
                        assert!(!written.made);
                        assert_eq!(Some(&written.id), parent.as_ref().map(|one| &one.id));
                        same += 1;
                        continue;
                    }
                    let one = Kept {
                        id: written.id,
                        parent: parent.map(|one| one.id),
                        machine,
                        created,
                        bytes: disk.bytes.clone(),
                    };
                    let new_blocks: Vec<_> = blocks_of(std::slice::from_ref(&one))
                        .into_iter()
                        .filter(|block| !present.contains(block))
                        .collect();
                    assert_eq!(written.new_blocks, u64_of(new_blocks.len()));
                    present.extend(new_blocks);
                    assert_eq!(written.made, kept.iter().all(|other| other.id != one.id));
                    if written.made {
                        kept.push(one);
                        made += 1;
                    }
                }
            }
            let mut ids: Vec<_> = kept.iter().map(|one| one.id.clone()).collect();
            ids.sort();
            assert_eq!(store.ids().unwrap(), ids);
        }
        for one in &kept {
            assert!(crate::support::content(&store, &one.id) == one.bytes);
        }
        let report = store.fsck(&progress, &interrupt).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.blocks, u64_of(present.len()));
        assert_eq!(
            report.unneeded,
            u64_of(present.len() - blocks_of(&kept).len())
        );
    }
    assert!(
        made > 60 && same > 5 && removed > 10 && collected > 3,
        "{made} {same} {removed} {collected}"
    );
}

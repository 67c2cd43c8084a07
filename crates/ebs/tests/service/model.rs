//! Chains of snapshots of random disks against a model that knows bytes alone: what the service must
//! hold after each upload, which blocks had to be put for it, and what is read back.

use crate::common::{Random, fake, long, request};
use crate::connect;
use block::{BlockRead, Error, Extent, ExtentKind};
use ebs::{Ebs, EbsSnapshot, Encryption, UploadRequest};
use fake_aws::{Action, FakeAws};
use ondisk::{Interrupt, NoProgress};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use store::{BLOCK, Digest, Index};

const BLOCK_LEN: usize = 512 << 10;
/// Bytes that are data or hole together; blocks do not begin with them.
const CELL: usize = 96 << 10;
/// The smallest volume.
const VOLUME: usize = 2048;

/// A disk that says of each cell whether it is data.
#[derive(Clone, Debug)]
struct Disk {
    bytes: Vec<u8>,
    data: Vec<bool>,
}

impl Disk {
    fn new(size: usize) -> Self {
        let mut disk = Self {
            bytes: Vec::new(),
            data: Vec::new(),
        };
        disk.resize(size);
        disk
    }

    fn resize(&mut self, size: usize) {
        self.bytes.resize(size, 0);
        self.data.resize(size.div_ceil(CELL), false);
    }

    fn cell(&self, cell: usize) -> Range<usize> {
        cell * CELL..((cell + 1) * CELL).min(self.bytes.len())
    }

    /// A write of one byte all over, or a hole.
    fn set(&mut self, cell: usize, byte: Option<u8>) {
        let range = self.cell(cell);
        self.bytes[range].fill(byte.unwrap_or(0));
        self.data[cell] = byte.is_some();
    }

    /// A block as a volume has it.
    fn block(&self, block: usize) -> Vec<u8> {
        let len = self.bytes.len();
        let range = (block * BLOCK_LEN).min(len)..((block + 1) * BLOCK_LEN).min(len);
        let mut bytes = self.bytes[range].to_vec();
        bytes.resize(BLOCK_LEN, 0);
        bytes
    }

    /// Whether a guest may have written something of it.
    fn is_data(&self, block: usize) -> bool {
        let end = ((block + 1) * BLOCK_LEN)
            .div_ceil(CELL)
            .min(self.data.len());
        (block * BLOCK_LEN / CELL..end).any(|cell| self.data[cell])
    }

    fn blocks(&self) -> usize {
        self.bytes.len().div_ceil(BLOCK_LEN)
    }
}

impl BlockRead for Disk {
    fn size(&self) -> u64 {
        u64_of(self.bytes.len())
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let start = usize_of(offset);
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent, Error> {
        let cell = usize_of(offset) / CELL;
        let range = self.cell(cell);
        let kind = if self.data[cell] {
            ExtentKind::Data
        } else {
            ExtentKind::Zero
        };
        Ok(Extent {
            range: u64_of(range.start)..u64_of(range.end),
            kind,
        })
    }
}

fn u64_of(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

fn below(random: &mut Random, end: usize) -> usize {
    usize_of(random.below(u64_of(end)))
}

/// What happens to a disk between two snapshots.
fn change(disk: &mut Disk, random: &mut Random) {
    match random.below(8) {
        0..3 => disk.resize(disk.bytes.len() + below(random, 6 * BLOCK_LEN)),
        3 => disk.resize((disk.blocks() + 2) * BLOCK_LEN),
        4 => disk.resize(below(random, disk.bytes.len() + 1)),
        _ => {}
    }
    let contents = [None, None, Some(0), Some(1), Some(2), Some(3)];
    for _ in 0..random.below(14) {
        if disk.data.is_empty() {
            return;
        }
        let cell = below(random, disk.data.len());
        // A bit of a block, or whole ones.
        let cells = [1, 1, 6, 24][below(random, 4)];
        let byte = contents[below(random, contents.len())];
        for cell in cell..(cell + cells).min(disk.data.len()) {
            disk.set(cell, byte);
        }
    }
}

/// All that was written or punched since, and something that was not; in no order.
fn changed(old: &Disk, new: &Disk, random: &mut Random) -> Vec<Range<u64>> {
    let (before, now) = (old.bytes.len(), new.bytes.len());
    let mut ranges = Vec::new();
    if now > before {
        ranges.push(u64_of(before)..u64_of(now));
    }
    for cell in 0..new.data.len() {
        let range = new.cell(cell);
        let end = range.end.min(before);
        let same = range.start < end
            && old.bytes[range.start..end] == new.bytes[range.start..end]
            && old.data[cell] == new.data[cell];
        if !same || random.below(40) == 0 {
            let at = below(random, ranges.len() + 1);
            ranges.insert(at, u64_of(range.start)..u64_of(range.end));
        }
    }
    ranges
}

/// What the service holds of the last snapshot of a chain, and the one after it.
struct Chain {
    encrypted: bool,
    zero_fill: bool,
    disk: Disk,
    /// For each block up to the largest end of the disk its bytes; none where nothing was ever put.
    held: Vec<Option<Vec<u8>>>,
    parent: Option<(String, Index)>,
}

impl Chain {
    fn new(random: &mut Random) -> Self {
        let encrypted = random.below(2) == 0;
        let mut disk = Disk::new(below(random, 12 * BLOCK_LEN));
        change(&mut disk, random);
        Self {
            encrypted,
            zero_fill: random.below(3) == 0,
            disk,
            held: Vec::new(),
            parent: None,
        }
    }

    /// Puts into `held` what has to be put, and says which blocks these are.
    fn put(&mut self, changes: Option<&[Range<u64>]>) -> BTreeSet<usize> {
        let mut put = BTreeSet::new();
        self.held
            .resize(self.held.len().max(self.disk.blocks()), None);
        for block in 0..self.held.len() {
            let bytes = self.disk.block(block);
            let at = u64_of(block) * BLOCK..u64_of(block + 1) * BLOCK;
            let looked_at = changes.is_none_or(|ranges| {
                let overlap = |range: &Range<u64>| range.start < at.end && at.start < range.end;
                ranges.iter().any(overlap)
            });
            let needed = match &self.held[block] {
                Some(held) => *held != bytes,
                None if self.encrypted => {
                    // What is behind the disk nobody ever wrote.
                    let on_disk = block < self.disk.blocks();
                    looked_at && on_disk && (self.disk.is_data(block) || self.zero_fill)
                }
                None => bytes.iter().any(|byte| *byte != 0),
            };
            if needed {
                self.held[block] = Some(bytes);
                put.insert(block);
            }
        }
        put
    }

    /// The next snapshot of the chain.
    fn next(
        &mut self,
        fake: &FakeAws,
        ebs: &Ebs,
        dir: &Path,
        name: &str,
        random: &mut Random,
    ) -> usize {
        let old = self.disk.clone();
        if self.parent.is_some() {
            change(&mut self.disk, random);
        }
        let listed = self.parent.is_some() && random.below(2) == 0;
        let changes = listed.then(|| changed(&old, &self.disk, random));
        let expected = self.put(changes.as_deref());
        let parent = self.parent.take();
        let disk = self.disk.clone();
        let upload = UploadRequest {
            parent: parent
                .as_ref()
                .map(|(id, index)| crate::parent(id, index, self.encrypted)),
            encryption: match (&parent, self.encrypted) {
                (None, true) => Encryption::DefaultKey,
                (None, false) => Encryption::Unencrypted,
                (Some(_), _) => Encryption::Default,
            },
            zero_fill: self.zero_fill,
            changed: changes.as_deref(),
            ..request(&disk, dir, name)
        };
        let done = ebs
            .upload(&upload, &NoProgress, &Interrupt::default())
            .unwrap();

        let asked: Vec<usize> = fake
            .log()
            .iter()
            .filter(|entry| entry.action == Action::PutSnapshotBlock)
            .filter(|entry| entry.snapshot.as_deref() == Some(&done.id))
            .map(|entry| usize::try_from(entry.index.unwrap()).unwrap())
            .collect();
        assert_eq!(
            asked.len(),
            expected.len(),
            "{name}: not each block was put once"
        );
        assert_eq!(BTreeSet::from_iter(asked), expected, "{name}");
        assert_eq!((done.put, done.put_before), (u64_of(expected.len()), 0));
        self.assert_held(fake, &done.id);
        self.assert_index(&done.index);
        let (saved, _) = ebs::load_index(dir, &done.id).unwrap().unwrap();
        assert_eq!(saved, done.index);

        let snapshot = ebs.open(&done.id, &Interrupt::default()).unwrap();
        self.assert_export(&snapshot);
        self.assert_on_demand(&snapshot, random);
        if let Some((parent, _)) = &parent {
            let told = ebs
                .changed(parent, &done.id, &Interrupt::default())
                .unwrap();
            let told = told
                .iter()
                .flat_map(|range| range.start / BLOCK..range.end / BLOCK);
            assert_eq!(
                told.map(usize_of).collect::<BTreeSet<_>>(),
                expected,
                "{name}"
            );
        }
        self.parent = Some((done.id, done.index));
        expected.len()
    }

    /// That the service holds what the model does, and that this is the disk.
    fn assert_held(&self, fake: &FakeAws, id: &str) {
        let state = fake.snapshot(id).unwrap();
        assert_eq!((state.status, state.message), ("completed", None));
        assert_eq!(state.key.is_some(), self.encrypted);
        let content = fake.snapshot_content(id).unwrap();
        let mut found = content.into_iter().peekable();
        for (block, held) in self.held.iter().enumerate() {
            let bytes = self.disk.block(block);
            let found = found.next_if(|found| usize::try_from(found.index).unwrap() == block);
            let found = found.map(|found| found.data.unwrap());
            assert!(found.as_deref() == held.as_deref(), "block {block}");
            match found {
                Some(found) => assert!(found == bytes, "block {block}"),
                // Undefined: nobody reads what nobody wrote.
                None if self.encrypted => {
                    let on_disk = block < self.disk.blocks();
                    assert!(!self.disk.is_data(block), "block {block} is undefined");
                    assert!(!(self.zero_fill && on_disk), "block {block} is undefined");
                }
                None => assert!(bytes.iter().all(|byte| *byte == 0), "block {block}"),
            }
        }
        assert_eq!(found.next(), None);
    }

    /// The index says what is held; where zeros need no record there is none.
    fn assert_index(&self, index: &Index) {
        use sha2::Digest as _;
        let last = index.records().last().map_or(0, |(block, _)| *block);
        assert!(usize_of(u64::from(last)) <= self.held.len());
        for (block, held) in self.held.iter().enumerate() {
            let digest = held
                .as_ref()
                .map(|bytes| Digest::from(sha2::Sha256::digest(bytes)));
            let digest = digest.filter(|digest| self.encrypted || *digest != store::ZERO);
            let block = u32::try_from(block).unwrap();
            assert_eq!(index.get(block), digest.as_ref(), "block {block}");
        }
    }

    fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in range.start / BLOCK_LEN..range.end.div_ceil(BLOCK_LEN) {
            match self.held.get(block) {
                Some(Some(held)) => bytes.extend_from_slice(held),
                _ => bytes.resize(bytes.len() + BLOCK_LEN, 0),
            }
        }
        let start = range.start % BLOCK_LEN;
        bytes[start..start + range.len()].to_vec()
    }

    /// All that is data is read, as an export does it; the rest is what was never put.
    fn assert_export(&self, snapshot: &EbsSnapshot) {
        assert_eq!(snapshot.size(), u64_of(VOLUME) * BLOCK);
        let device: &dyn BlockRead = snapshot;
        let mut seen = 0;
        for extent in device.extents().map(Result::unwrap) {
            let (start, end) = (usize_of(extent.range.start), usize_of(extent.range.end));
            assert_eq!(start, seen);
            seen = end;
            if extent.kind == ExtentKind::Zero {
                let mut blocks = self
                    .held
                    .iter()
                    .take(end / BLOCK_LEN)
                    .skip(start / BLOCK_LEN);
                assert!(blocks.all(Option::is_none), "{start}");
                continue;
            }
            let mut bytes = vec![0xee; end - start];
            snapshot.read_at(extent.range.start, &mut bytes).unwrap();
            assert!(bytes == self.bytes(start..end), "{start}");
        }
        assert_eq!(seen, VOLUME * BLOCK_LEN);
    }

    /// Any bytes in any order.
    fn assert_on_demand(&self, snapshot: &EbsSnapshot, random: &mut Random) {
        for _ in 0..12 {
            let start = below(random, self.disk.bytes.len() + 2 * BLOCK_LEN);
            let len = [1, 512, 5000, 700_000, 3 * BLOCK_LEN][below(random, 5)];
            let end = (start + len).min(VOLUME * BLOCK_LEN);
            let mut bytes = vec![0xee; end - start];
            snapshot.read_at(u64_of(start), &mut bytes).unwrap();
            assert!(bytes == self.bytes(start..end), "{start} to {end}");
        }
    }
}

#[test]
fn every_snapshot_of_every_chain_is_its_disk_with_no_put_too_many() {
    let (mut puts, mut snapshots) = (0, 0);
    for seed in 0..if long() { 200 } else { 12 } {
        let mut random = Random(seed);
        let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
        let ebs = connect(&fake);
        let mut chain = Chain::new(&mut random);
        for generation in 0..5 {
            let name = format!("seed {seed}, generation {generation}");
            puts += chain.next(&fake, &ebs, dir.path(), &name, &mut random);
            snapshots += 1;
        }
        // Journals are gone, and only the indexes are left.
        let left = std::fs::read_dir(dir.path()).unwrap();
        let mut left = left.map(|entry| entry.unwrap().path());
        assert!(left.all(|path| path.extension().unwrap() == "index"));
    }
    println!("{snapshots} snapshots, {puts} puts");
    assert!(puts > 4 * snapshots, "only {puts} puts were tried");
}

//! Disks with holes, and numbers that look random.

use block::{BlockRead, Error, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use std::path::{Path, PathBuf};
use store::{NewSnapshot, Store, Written};

/// Bytes that are data or hole together.
pub(crate) const CELL: u64 = 64 << 10;

/// A disk whose holes read as zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Vec<u8>,
    /// For each cell whether it is data.
    pub(crate) data: Vec<bool>,
}

impl Disk {
    pub(crate) fn new(size: u64) -> Self {
        let mut disk = Self::default();
        disk.resize(size);
        disk
    }

    pub(crate) fn resize(&mut self, size: u64) {
        self.bytes.resize(usize_of(size), 0);
        self.data.resize(usize_of(size.div_ceil(CELL)), false);
    }

    /// Makes a cell data, all of one byte, or a hole.
    pub(crate) fn set(&mut self, cell: u64, byte: Option<u8>) {
        let (start, size) = (usize_of(cell * CELL), self.bytes.len());
        self.bytes[start..(start + usize_of(CELL)).min(size)].fill(byte.unwrap_or(0));
        self.data[usize_of(cell)] = byte.is_some();
    }

    pub(crate) fn cells(&self) -> u64 {
        u64_of(self.data.len())
    }

    /// A block, padded with zeros, and whether any of it is data.
    pub(crate) fn block(&self, block: usize) -> (Vec<u8>, bool) {
        let len = usize_of(store::BLOCK);
        let range = block * len..((block + 1) * len).min(self.bytes.len());
        let mut bytes = self.bytes[range].to_vec();
        bytes.resize(len, 0);
        let cells = usize_of(store::BLOCK / CELL);
        let of_block = self.data.iter().skip(block * cells).take(cells);
        (bytes, of_block.into_iter().any(|data| *data))
    }

    pub(crate) fn blocks(&self) -> usize {
        self.bytes.len().div_ceil(usize_of(store::BLOCK))
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
        let cell = offset / CELL;
        let kind = match self.data[usize_of(cell)] {
            true => ExtentKind::Data,
            false => ExtentKind::Zero,
        };
        let range = cell * CELL..((cell + 1) * CELL).min(self.size());
        Ok(Extent { range, kind })
    }
}

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&(self.next() << 16 ^ self.next()).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn write(store: &Store, disk: &dyn BlockRead, new: &NewSnapshot<'_>) -> Written {
    store
        .write(disk, new, &NoProgress, &Interrupt::default())
        .unwrap()
}

pub(crate) fn content(store: &Store, id: &store::SnapshotId) -> Vec<u8> {
    let snapshot = store.read(id).unwrap();
    let mut bytes = vec![0xee; usize_of(snapshot.size())];
    snapshot.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

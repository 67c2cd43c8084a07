//! Logs made here: where they end, what was torn, and that a clean end is found again.

use super::area::{BLOCK, HEADER_MAGIC, LogArea};
use super::head::{Head, find, next_cycle};
use super::record::{FMT_LINUX_LE, HEADER_COVERS, Record, field, seal};
use super::{clean, transaction};
use block::Memory;
use std::sync::Arc;

const UUID: [u8; 16] = *b"0123456789abcdef";

/// A log that is written as the kernel writes one.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    pub(super) area: LogArea,
    memory: Arc<Memory>,
    cycle: u32,
    block: u32,
    last: u32,
    tail_lsn: u64,
}

impl Ring {
    fn new(blocks: u32, unit: u32, version2: bool) -> Self {
        let memory = Arc::new(Memory::new(vec![
            0;
            usize::try_from(blocks).unwrap() * BLOCK
        ]));
        let area = LogArea {
            device: memory.clone(),
            start: 0,
            blocks,
            version2,
            summed: true,
            uuid: UUID,
            unit,
        };
        Self {
            area,
            memory,
            cycle: 1,
            block: 0,
            last: 0,
            tail_lsn: 1 << 32,
        }
    }

    /// A record with `len` bytes that are easy to tell apart.
    fn record(&self, len: usize, operations: u32) -> Vec<u8> {
        let rest = self.record_of(&vec![0; len], operations).len();
        // Up to the end, some words are the magic number of headers.
        let data: Vec<u8> = (0..rest).map(pattern).collect();
        let headers = rest - self.padded(len);
        self.record_of(&data[..rest - headers], operations)
    }

    /// Bytes of data that a record has for `len` bytes.
    fn padded(&self, len: usize) -> usize {
        let unit = usize::try_from(self.area.unit).unwrap();
        let headers = if self.area.version2 { 8 * BLOCK } else { BLOCK };
        (headers + len).next_multiple_of(unit) - headers
    }

    /// A record of data, as it lies in the log.
    fn record_of(&self, data: &[u8], operations: u32) -> Vec<u8> {
        let len = data.len();
        let unit = usize::try_from(self.area.unit).unwrap();
        let size = if self.area.version2 {
            256 * 1024_u32
        } else {
            32 * 1024
        };
        let headers = match self.area.version2 {
            true => usize::try_from(size / HEADER_COVERS).unwrap() * BLOCK,
            false => BLOCK,
        };
        let whole = (headers + len).next_multiple_of(unit);
        let mut bytes = vec![0; whole];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let be = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
        put(field::MAGIC, &HEADER_MAGIC.to_be_bytes());
        put(field::CYCLE, &self.cycle.to_be_bytes());
        put(
            field::VERSION,
            &(1 + u32::from(self.area.version2)).to_be_bytes(),
        );
        put(field::LEN, &be(whole - headers));
        put(field::LSN, &self.lsn().to_be_bytes());
        put(field::TAIL_LSN, &self.tail_lsn.to_be_bytes());
        put(field::PREV_BLOCK, &self.last.to_be_bytes());
        put(field::NUM_LOGOPS, &operations.to_be_bytes());
        put(field::FMT, &FMT_LINUX_LE.to_be_bytes());
        put(field::FS_UUID, &self.area.uuid);
        put(field::SIZE, &size.to_be_bytes());
        bytes[headers..headers + len].copy_from_slice(data);
        let left = usize::try_from(self.area.blocks - self.block).unwrap();
        let wrapped = (left < whole / BLOCK).then_some(left);
        seal(&mut bytes, self.cycle, wrapped, true);
        bytes
    }

    fn lsn(&self) -> u64 {
        u64::from(self.cycle) << 32 | u64::from(self.block)
    }

    /// A log that nothing was written to.
    pub(super) fn after_nothing() -> Self {
        Self::new(1024, 512, true)
    }

    /// The header of a record with so many operations.
    pub(super) fn header_of(&self, operations: u32) -> super::record::RecordHeader {
        super::record::RecordHeader::parse(0, &self.record_of(&[], operations))
    }

    /// Goes on with a log that is clean.
    pub(super) fn after(memory: &Arc<Memory>, area: LogArea) -> Self {
        let head = find(&area).unwrap().unwrap();
        assert!(head.clean);
        let ring = Self {
            area,
            memory: memory.clone(),
            cycle: head.cycle,
            block: head.block,
            last: head.last,
            tail_lsn: 0,
        };
        Self {
            tail_lsn: ring.lsn(),
            ..ring
        }
    }

    /// Writes operations, each of which fits into a record, in as many records as they take.
    pub(super) fn write_operations(&mut self, operations: &[Vec<u8>]) {
        let mut left = operations;
        while !left.is_empty() {
            let mut len = 0;
            let fit = left.iter().take_while(|operation| {
                len += operation.len();
                len <= 32 * 1024 - BLOCK
            });
            let (now, later) = left.split_at(fit.count());
            let record = self.record_of(&now.concat(), u32::try_from(now.len()).unwrap());
            self.area.write(self.block, &record).unwrap();
            self.pass(record.len());
            left = later;
        }
    }

    /// Moves on behind a record.
    fn pass(&mut self, len: usize) {
        self.last = self.block;
        self.block += u32::try_from(len / BLOCK).unwrap();
        if self.block >= self.area.blocks {
            self.block -= self.area.blocks;
            self.cycle = next_cycle(self.cycle);
        }
    }

    fn write(&mut self, len: usize) {
        let record = self.record(len, 7);
        self.area.write(self.block, &record).unwrap();
        self.pass(record.len());
    }

    fn expected(&self) -> Head {
        Head {
            block: self.block,
            cycle: self.cycle,
            last: self.last,
            tail: u32::try_from(self.tail_lsn & 0xffff_ffff).unwrap(),
            clean: false,
        }
    }

    /// A copy that can be damaged.
    fn copy(&self) -> Self {
        let memory = Arc::new(Memory::new(self.memory.bytes()));
        let mut copy = self.clone();
        copy.area.device = memory.clone();
        copy.memory = memory;
        copy
    }
}

fn pattern(index: usize) -> u8 {
    match index % 4096 < 4 {
        true => HEADER_MAGIC.to_be_bytes()[index % 4],
        false => u8::try_from(index % 251).unwrap(),
    }
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn rings() -> Vec<Ring> {
    vec![
        Ring::new(1024, 512, false),
        Ring::new(1024, 512, true),
        Ring::new(6000, 512, true),
        Ring::new(2048, 4096, true),
        Ring::new(2048, 65536, true),
        Ring::new(4608, 262_144, true),
    ]
}

fn largest(ring: &Ring) -> usize {
    let all = if ring.area.version2 {
        256 * 1024
    } else {
        32 * 1024
    };
    all - if ring.area.version2 { 8 * BLOCK } else { BLOCK }
}

#[test]
fn the_end_is_found_wherever_it_lies() {
    for mut ring in rings() {
        let mut numbers = Numbers(1);
        assert_eq!(find(&ring.area).unwrap(), None);
        let limit = if ring.area.blocks > 2048 { 3 } else { 5 };
        let mut behind = std::collections::VecDeque::new();
        while ring.cycle < limit {
            behind.push_back(ring.lsn());
            // The tail is some records behind, never more than half the ring.
            if behind.len() > 1 + usize::from(ring.area.blocks > 5000) {
                behind.pop_front();
            }
            ring.tail_lsn = behind[0];
            let len = 1 + numbers.below(largest(&ring));
            ring.write(len);
            assert_eq!(find(&ring.area).unwrap(), Some(ring.expected()), "{ring:?}");
        }
    }
}

#[test]
fn what_was_torn_never_counted() {
    for mut ring in rings() {
        let mut numbers = Numbers(2);
        while ring.cycle < 3 {
            ring.tail_lsn = ring.lsn();
            ring.write(1 + numbers.below(largest(&ring)));
            let torn = ring.copy();
            let next = torn.record(1 + numbers.below(largest(&ring) / 2), 7);
            let blocks = next.len() / BLOCK;
            // Some block did not arrive: the header, any, or all behind one.
            let lost = numbers.below(blocks);
            let behind = numbers.below(2) == 0;
            for (index, block) in next.chunks(BLOCK).enumerate() {
                if index == lost || (behind && index > lost) {
                    continue;
                }
                let at = torn.block + u32::try_from(index).unwrap();
                torn.area.write(at, block).unwrap();
            }
            let found = find(&torn.area).unwrap();
            assert_eq!(
                found,
                Some(ring.expected()),
                "{ring:?}, block {lost} of {blocks}"
            );
            let (mut cleaned, head) = (torn.copy(), ring.expected());
            clean::write(&cleaned.area, &head).unwrap();
            cleaned.pass(usize::try_from(2 * 512.max(ring.area.unit / 2)).unwrap());
            let found = find(&cleaned.area).unwrap().unwrap();
            assert!(found.clean);
            assert_eq!((found.block, found.cycle), (cleaned.block, cleaned.cycle));
        }
    }
}

#[test]
fn a_clean_end_is_found_and_written_on_from() {
    for mut ring in rings() {
        let mut numbers = Numbers(3);
        while ring.cycle < 3 {
            let head = ring.expected();
            clean::write(&ring.area, &head).unwrap();
            ring.pass(usize::try_from(2 * 512.max(ring.area.unit / 2)).unwrap());
            let found = find(&ring.area).unwrap().unwrap();
            assert!(found.clean, "{ring:?}");
            assert_eq!(
                (found.block, found.cycle),
                (ring.block, ring.cycle),
                "{ring:?}"
            );
            ring.tail_lsn = ring.lsn();
            ring.write(1 + numbers.below(largest(&ring)));
            assert_eq!(find(&ring.area).unwrap(), Some(ring.expected()), "{ring:?}");
        }
    }
}

#[test]
fn records_come_back_as_they_were_written() {
    for mut ring in rings() {
        for len in [1, 512, 32 * 1024 - 512, largest(&ring) / 2, largest(&ring)] {
            let at = ring.block;
            ring.tail_lsn = ring.lsn();
            ring.write(len);
            let (_, data) = Record::read(&ring.area, at)
                .unwrap()
                .unpack(&ring.area)
                .unwrap();
            assert!(data.len() >= len);
            for (index, byte) in data.iter().enumerate() {
                assert_eq!(*byte, pattern(index), "{ring:?}, {len}: {index}");
            }
        }
    }
}

#[test]
fn records_of_other_file_systems_and_sizes_are_damage() {
    let mut ring = Ring::new(1024, 512, true);
    ring.write(1000);
    let broken = |at: usize, bytes: &[u8]| {
        let copy = ring.copy();
        let mut block = copy.area.read(0, 1).unwrap();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        copy.area.write(0, &block).unwrap();
        let found = find(&copy.area);
        found.map(|head| head.map(|head| head.block))
    };
    assert_eq!(
        broken(field::PREV_BLOCK, &[0; 4]).unwrap(),
        Some(ring.block)
    );
    assert!(broken(field::FS_UUID, &[7; 16]).is_err());
    // All of these leave no whole record.
    assert!(broken(field::LEN, &[0xff; 4]).is_err());
    assert!(broken(field::CRC, &[1; 4]).is_err());
    assert!(broken(field::TAIL_LSN, &[0x7f; 8]).is_err());
    assert!(broken(field::VERSION, &1_u32.to_be_bytes()).is_err());
}

/// An operation of a transaction.
pub(super) fn operation(id: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend([transaction::CLIENTS[0], flags, 0, 0]);
    bytes.extend(content);
    bytes
}

/// The regions of the items of each transaction that the records commit.
fn committed(records: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<Vec<u8>>>, crate::Error> {
    let ring = Ring::new(1024, 512, true);
    let mut transactions = transaction::Transactions::default();
    let mut all = Vec::new();
    for operations in records {
        let header = ring.header_of(u32::try_from(operations.len()).unwrap());
        transactions.add(&header, &operations.concat(), |transaction| {
            let items = transaction.items.iter();
            let regions = |item: &transaction::Item| {
                let mut regions = vec![item.description().to_vec()];
                regions.extend(item.content().map(<[u8]>::to_vec));
                regions
            };
            all.push(items.flat_map(regions).collect());
            Ok(())
        })?;
    }
    Ok(all)
}

/// The header of a transaction.
pub(super) const HEADER: &[u8] = b"NART------------";

#[test]
fn transactions_may_be_cut_anywhere_and_lie_across_each_other() {
    let two_regions = [1, 2, 2, 0, 9, 9, 9, 9];
    let found = committed(&[
        vec![
            // The rest of one that began before the tail.
            operation(5, 0, &[1; 8]),
            operation(1, 1, &[]),
            operation(1, 4, &HEADER[..8]),
            operation(2, 1, &[]),
            operation(2, 0, HEADER),
        ],
        vec![
            operation(1, 0x18, &HEADER[8..]),
            operation(1, 0, &two_regions),
            operation(2, 0, &[7, 0, 1, 0]),
            operation(1, 4, &[]),
            operation(1, 4, &[3; 4]),
            operation(2, 2, &[]),
        ],
        vec![
            operation(1, 0x0c, &[4; 4]),
            operation(1, 0x18, &[5; 4]),
            operation(1, 2, &[]),
            // Never committed.
            operation(3, 1, &[]),
        ],
    ]);
    let joined = [[3; 4], [4; 4], [5; 4]].concat();
    assert_eq!(
        found.unwrap(),
        [vec![vec![7, 0, 1, 0]], vec![two_regions.to_vec(), joined]]
    );
}

#[test]
fn transactions_that_cannot_be_are_damage() {
    let started = || vec![operation(1, 1, &[]), operation(1, 0, HEADER)];
    let one = |operation: Vec<u8>| {
        let mut operations = started();
        operations.push(operation);
        committed(&[operations])
    };
    assert!(one(operation(1, 2, &[])).is_ok());
    assert!(one(operation(1, 1, &[])).is_err(), "started twice");
    assert!(
        one(operation(1, 0x18, &[1; 4])).is_err(),
        "no region to go on with"
    );
    assert!(
        one(operation(1, 0, &[1, 0, 0, 0])).is_err(),
        "an item of no regions"
    );
    assert!(
        one(operation(1, 0, &[1, 0, 2, 2])).is_err(),
        "an item of too many regions"
    );
    assert!(
        one(operation(1, 0, &[1, 0])).is_err(),
        "a description without a size"
    );
    assert!(one(vec![0; 5]).is_err(), "half an operation");
    let mut client = operation(1, 0, &[1; 8]);
    client[8] = 7;
    assert!(one(client).is_err(), "an unknown client");
    let mut long = operation(1, 0, &[1; 8]);
    long[4..8].copy_from_slice(&9_u32.to_be_bytes());
    assert!(one(long).is_err(), "content behind the record");
    let mut half = started();
    half.extend([operation(1, 0, &[1, 0, 2, 0]), operation(1, 2, &[])]);
    assert!(committed(&[half]).is_err(), "an item that is not whole");
    let no_header = vec![operation(1, 1, &[]), operation(1, 0, &[1; 16])];
    assert!(committed(&[no_header]).is_err(), "no header");
}

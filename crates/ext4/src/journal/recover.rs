//! The three passes of recovery: find the log's end, collect what is revoked, replay.

use super::commit::Commit;
use super::descriptor::tags;
use super::fast_commit;
use super::log::{BlockKind, Log, MAGIC, Position, be32, corrupt, header, read_block};
use super::revoke::Revoked;
use super::superblock::{Checksums, JournalSuperblock};
use crate::Error;
use crate::checksum::{crc32_be, low_half};
use crate::error::{CorruptKind, UnsupportedKind};

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Recovered {
    /// Transactions that were replayed.
    pub(crate) transactions: u32,
    /// Blocks that were written to their places.
    pub(crate) blocks: u64,
}

/// Replays every whole transaction of the log and leaves the log empty. An empty log is left as it
/// is.
///
/// The caller clears `needs_recovery` afterwards, in a superblock that it reads anew.
///
/// # Errors
/// What jbd2 refuses to mount: a transaction that was committed but whose sums are wrong. A
/// transaction without its commit block is the end of the log. Fast commits behind the log are
/// [`Unsupported`](Error::Unsupported) if there are any.
pub(crate) fn recover(log: &mut dyn Log, block_size: u32) -> Result<Recovered, Error> {
    let superblock = JournalSuperblock::read(log, block_size)?;
    let Some(start) = superblock.start else {
        return Ok(Recovered::default());
    };
    let mut walk = Walk {
        superblock: &superblock,
        start,
        end: None,
    };
    let end = walk.scan(log)?;
    if fast_commit::are_present(log, &superblock, end)? {
        return Err(UnsupportedKind::JournalFeature {
            names: "fast_commit, with changes that are only there".into(),
        }
        .into());
    }
    walk.end = Some(end);
    let revoked = walk.collect_revoked(log)?;
    let blocks = walk.replay(log, &revoked)?;
    let transactions = end.wrapping_sub(superblock.sequence);
    superblock.write_empty(log, end.wrapping_add(1))?;
    Ok(Recovered {
        transactions,
        blocks,
    })
}

/// A walk over the log from its start.
struct Walk<'a> {
    superblock: &'a JournalSuperblock,
    start: Position,
    /// The first transaction that is not replayed, once it is known.
    end: Option<u32>,
}

/// A block of the log that belongs to the transaction being read.
struct Step {
    at: Position,
    kind: BlockKind,
    sequence: u32,
    bytes: Vec<u8>,
}

/// Where a walk stands.
#[derive(Clone, Copy)]
struct Place {
    next: Position,
    sequence: u32,
    /// Blocks read; no walk takes more than the log has.
    walked: u32,
}

impl Walk<'_> {
    /// Finds the first transaction that was not committed whole.
    fn scan(&self, log: &dyn Log) -> Result<u32, Error> {
        let mut place = self.place();
        let mut whole = u32::MAX;
        let mut last_time = (0, 0);
        // The first block whose sum is wrong: only the commit block tells whether it matters.
        let mut suspect: Option<Error> = None;
        while let Some(step) = self.step(log, &mut place)? {
            match step.kind {
                BlockKind::Descriptor => {
                    if let Err(error) = self.check_tail(&step, "a descriptor") {
                        suspect.get_or_insert(error);
                    }
                    if self.superblock.checksums == Checksums::Whole {
                        whole = crc32_be(whole, &step.bytes);
                    }
                    for _ in tags(&step.bytes, self.superblock) {
                        if self.superblock.checksums == Checksums::Whole {
                            let logged = read_block(log, self.superblock, place.next)?;
                            whole = crc32_be(whole, &logged);
                        }
                        self.pass(&mut place, 1);
                    }
                }
                BlockKind::Revoke => {
                    if let Err(error) = self.check_tail(&step, "a revoke block") {
                        suspect.get_or_insert(error);
                    }
                }
                BlockKind::Commit => {
                    let commit = Commit::parse(&step.bytes, self.superblock.checksums, whole);
                    // What was committed before the transaction before it was left there by an
                    // earlier use of the blocks.
                    let stale = commit.time < last_time;
                    if let Some(error) = suspect {
                        return if stale {
                            Ok(place.sequence)
                        } else {
                            Err(error)
                        };
                    }
                    if !commit.sound {
                        // With asynchronous commits, a crash leaves commit blocks before what
                        // they commit.
                        if stale || self.superblock.async_commit {
                            return Ok(place.sequence);
                        }
                        return Err(CorruptKind::JournalChecksum {
                            block: step.at.0,
                            sequence: step.sequence,
                            what: "a commit block",
                            found: commit.found,
                            computed: commit.computed,
                        }
                        .into());
                    }
                    whole = u32::MAX;
                    last_time = commit.time;
                    place.sequence = place.sequence.wrapping_add(1);
                }
            }
        }
        Ok(place.sequence)
    }

    fn collect_revoked(&self, log: &dyn Log) -> Result<Revoked, Error> {
        let mut revoked = Revoked::default();
        let mut place = self.place();
        while let Some(step) = self.step(log, &mut place)? {
            match step.kind {
                BlockKind::Descriptor => {
                    let count = tags(&step.bytes, self.superblock).len();
                    self.pass(&mut place, u32::try_from(count).unwrap_or(u32::MAX));
                }
                BlockKind::Revoke => {
                    revoked.note(step.at.0, &step.bytes, step.sequence, self.superblock)?;
                }
                BlockKind::Commit => place.sequence = place.sequence.wrapping_add(1),
            }
        }
        self.check_end(place)?;
        Ok(revoked)
    }

    fn replay(&self, log: &mut dyn Log, revoked: &Revoked) -> Result<u64, Error> {
        let mut written = 0_u64;
        let mut place = self.place();
        while let Some(step) = self.step(log, &mut place)? {
            match step.kind {
                BlockKind::Descriptor => {
                    self.check_tail(&step, "a descriptor")?;
                    for tag in tags(&step.bytes, self.superblock) {
                        let at = place.next;
                        self.pass(&mut place, 1);
                        if revoked.covers(tag.block, step.sequence) {
                            continue;
                        }
                        let mut bytes = read_block(log, self.superblock, at)?;
                        self.check_logged(at, step.sequence, tag.checksum, &bytes)?;
                        if tag.escaped {
                            bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
                        }
                        log.write_home(tag.block, &bytes)?;
                        written = written.saturating_add(1);
                    }
                }
                BlockKind::Revoke => {}
                BlockKind::Commit => place.sequence = place.sequence.wrapping_add(1),
            }
        }
        self.check_end(place)?;
        Ok(written)
    }

    fn place(&self) -> Place {
        Place {
            next: self.start,
            sequence: self.superblock.sequence,
            walked: 0,
        }
    }

    /// Reads the next block if it belongs to the transaction that the walk has come to.
    fn step(&self, log: &dyn Log, place: &mut Place) -> Result<Option<Step>, Error> {
        if self.end == Some(place.sequence) {
            return Ok(None);
        }
        let ring = self.superblock.end.saturating_sub(self.superblock.first);
        if place.walked >= ring {
            return Ok(None);
        }
        let at = place.next;
        let bytes = read_block(log, self.superblock, at)?;
        self.pass(place, 1);
        let Some((Some(kind), sequence)) = header(&bytes) else {
            return Ok(None);
        };
        if sequence != place.sequence {
            return Ok(None);
        }
        Ok(Some(Step {
            at,
            kind,
            sequence,
            bytes,
        }))
    }

    fn pass(&self, place: &mut Place, blocks: u32) {
        place.next = place.next.after(blocks, self.superblock);
        place.walked = place.walked.saturating_add(blocks);
    }

    fn check_tail(&self, step: &Step, what: &'static str) -> Result<(), Error> {
        let Some(seed) = self.superblock.checksums.seed() else {
            return Ok(());
        };
        let found = be32(&step.bytes, step.bytes.len().saturating_sub(4));
        let computed = seed.block_with_tail(&step.bytes);
        check(step.at, step.sequence, what, found, computed)
    }

    fn check_logged(
        &self,
        at: Position,
        sequence: u32,
        found: u32,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let computed = match self.superblock.checksums {
            Checksums::None | Checksums::Whole => return Ok(()),
            Checksums::PerBlock16(seed) => u32::from(low_half(seed.logged(sequence, bytes))),
            Checksums::PerBlock32(seed) => seed.logged(sequence, bytes),
        };
        check(at, sequence, "a logged block", found, computed)
    }

    /// Every pass must come to the same end.
    fn check_end(&self, place: Place) -> Result<(), Error> {
        if self.end == Some(place.sequence) {
            return Ok(());
        }
        let sequence = u64::from(place.sequence);
        Err(corrupt(
            place.next.0,
            "the passes of recovery end apart",
            sequence,
        ))
    }
}

fn check(
    at: Position,
    sequence: u32,
    what: &'static str,
    found: u32,
    computed: u32,
) -> Result<(), Error> {
    if found == computed {
        return Ok(());
    }
    Err(CorruptKind::JournalChecksum {
        block: at.0,
        sequence,
        what,
        found,
        computed,
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{JournalSeed, journal_superblock};
    use std::collections::BTreeMap;

    const BLOCK: usize = 1024;
    const BLOCKS: usize = 40;
    const FIRST_SEQUENCE: u32 = u32::MAX - 1;

    /// A journal in memory, written as jbd2 writes it.
    #[derive(Clone)]
    struct Writer {
        blocks: Vec<Vec<u8>>,
        home: BTreeMap<u64, Vec<u8>>,
        incompat: u32,
        compat: u32,
        next: usize,
        sequence: u32,
        time: u64,
        whole: u32,
    }

    impl Writer {
        /// A log whose first transaction starts two blocks before the end of the ring.
        fn new(compat: u32, incompat: u32) -> Self {
            let mut writer = Self {
                blocks: vec![vec![0; BLOCK]; BLOCKS],
                home: BTreeMap::new(),
                incompat,
                compat,
                next: BLOCKS - 2,
                sequence: FIRST_SEQUENCE,
                time: 1000,
                whole: u32::MAX,
            };
            let superblock = &mut writer.blocks[0];
            for (at, value) in [
                (0, MAGIC),
                (4, 4),
                (12, 1024),
                (0x10, 40),
                (0x14, 1),
                (0x18, FIRST_SEQUENCE),
                (0x1c, 38),
                (0x24, compat),
                (0x28, incompat),
            ] {
                superblock[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            }
            superblock[0x50] = 4;
            writer.sum_superblock();
            writer
        }

        fn sum_superblock(&mut self) {
            let sum = journal_superblock(&self.blocks[0]).to_be_bytes();
            self.blocks[0][0xfc..0x100].copy_from_slice(&sum);
        }

        fn seed(&self) -> Option<JournalSeed> {
            (self.incompat & 0x18 != 0).then(|| JournalSeed::of_uuid(&[0; 16]))
        }

        fn wide(&self) -> bool {
            self.incompat & 2 != 0
        }

        fn put(&mut self, bytes: Vec<u8>) {
            assert_eq!(bytes.len(), BLOCK);
            self.blocks[self.next] = bytes;
            self.next = if self.next + 1 == BLOCKS {
                1
            } else {
                self.next + 1
            };
        }

        fn block(&self, kind: u32) -> Vec<u8> {
            let mut bytes = Vec::new();
            for value in [MAGIC, kind, self.sequence] {
                bytes.extend(value.to_be_bytes());
            }
            bytes
        }

        fn tail(&self, mut bytes: Vec<u8>) -> Vec<u8> {
            bytes.resize(BLOCK, 0);
            if let Some(seed) = self.seed() {
                let sum = seed.block_with_tail(&bytes).to_be_bytes();
                bytes[BLOCK - 4..].copy_from_slice(&sum);
            }
            bytes
        }

        fn log(&mut self, writes: &[(u64, u8)]) {
            let mut descriptor = self.block(1);
            let mut logged = Vec::new();
            for (index, (block, fill)) in writes.iter().enumerate() {
                let mut bytes = vec![*fill; BLOCK];
                let mut flags = 0_u16;
                if *fill == 0xc0 {
                    // Stands for a block that starts with the magic number.
                    bytes[..4].fill(0);
                    flags |= 1;
                }
                if index > 0 {
                    flags |= 2;
                }
                if index + 1 == writes.len() {
                    flags |= 8;
                }
                let sum = self
                    .seed()
                    .map_or(0, |seed| seed.logged(self.sequence, &bytes));
                let [a, b, c, d, high @ ..] = block.to_le_bytes();
                let high = u32::from_le_bytes(high);
                descriptor.extend(u32::from_le_bytes([a, b, c, d]).to_be_bytes());
                let half = sum.to_be_bytes();
                if self.incompat & 0x10 != 0 {
                    descriptor.extend(u32::from(flags).to_be_bytes());
                    descriptor.extend(high.to_be_bytes());
                    descriptor.extend(sum.to_be_bytes());
                } else {
                    descriptor.extend(&half[2..]);
                    descriptor.extend(flags.to_be_bytes());
                    if self.wide() {
                        descriptor.extend(high.to_be_bytes());
                    }
                    if self.incompat & 8 != 0 {
                        descriptor.extend([0; 2]);
                    }
                }
                if index == 0 {
                    descriptor.extend([0; 16]);
                }
                logged.push(bytes);
            }
            let descriptor = self.tail(descriptor);
            self.whole = crc32_be(self.whole, &descriptor);
            self.put(descriptor);
            for bytes in logged {
                self.whole = crc32_be(self.whole, &bytes);
                self.put(bytes);
            }
        }

        fn revoke(&mut self, blocks: &[u64]) {
            let mut bytes = self.block(5);
            let len = if self.wide() { 8 } else { 4 };
            let count = u32::try_from(16 + blocks.len() * len).unwrap();
            bytes.extend(count.to_be_bytes());
            for block in blocks {
                bytes.extend(&block.to_be_bytes()[8 - len..]);
            }
            self.put(self.tail(bytes));
        }

        fn commit(&mut self) {
            let mut bytes = self.block(2);
            bytes.resize(BLOCK, 0);
            bytes[0x30..0x38].copy_from_slice(&self.time.to_be_bytes());
            if let Some(seed) = self.seed() {
                let sum = seed.commit(&bytes).to_be_bytes();
                bytes[16..20].copy_from_slice(&sum);
            }
            if self.compat & 1 != 0 {
                bytes[12..14].copy_from_slice(&[1, 4]);
                bytes[16..20].copy_from_slice(&self.whole.to_be_bytes());
            }
            self.whole = u32::MAX;
            self.put(bytes);
            self.sequence = self.sequence.wrapping_add(1);
            self.time += 5;
        }

        fn recovered(&self) -> (Self, Result<Recovered, Error>) {
            let mut log = self.clone();
            let result = recover(&mut log, 1024);
            (log, result)
        }
    }

    impl Log for Writer {
        fn len(&self) -> u32 {
            u32::try_from(self.blocks.len()).unwrap()
        }
        fn read(&self, logical: u32) -> Result<Vec<u8>, Error> {
            Ok(self.blocks[ondisk::width::usize_of_u32(logical)].clone())
        }
        fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error> {
            self.blocks[ondisk::width::usize_of_u32(logical)] = bytes.to_vec();
            Ok(())
        }
        fn write_home(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error> {
            self.home.insert(block, bytes.to_vec());
            Ok(())
        }
    }

    /// No checksums, the first kind, and both kinds of one for each block; narrow and wide.
    const FORMS: [(u32, u32); 7] = [
        (0, 1),
        (0, 3),
        (1, 3),
        (0, 0x9),
        (0, 0xb),
        (0, 0x11),
        (0, 0x13),
    ];

    /// Three transactions over the end of the ring and over the end of the numbers.
    fn three(form: (u32, u32)) -> Writer {
        let mut log = Writer::new(form.0, form.1);
        log.log(&[(100, 1), (101, 1), (102, 1)]);
        log.commit();
        log.revoke(&[101]);
        log.log(&[(100, 2), (103, 0xc0)]);
        log.commit();
        log.log(&[(104, 3)]);
        log.log(&[(105, 3)]);
        log.commit();
        log
    }

    #[test]
    fn whole_transactions_are_replayed_in_every_form() {
        for form in FORMS {
            let (log, result) = three(form).recovered();
            let recovered = result.unwrap();
            assert_eq!(
                (recovered.transactions, recovered.blocks),
                (3, 6),
                "{form:?}"
            );
            let homes: Vec<_> = log.home.iter().map(|(block, b)| (*block, b[4])).collect();
            assert_eq!(homes, [(100, 2), (102, 1), (103, 0xc0), (104, 3), (105, 3)]);
            assert_eq!(log.home[&103][..4], MAGIC.to_be_bytes());
            assert_eq!(be32(&log.blocks[0], 0x1c), 0);
            // One number is left out, as by jbd2.
            assert_eq!(be32(&log.blocks[0], 0x18), FIRST_SEQUENCE.wrapping_add(4));
            let (_, again) = log.recovered();
            assert_eq!(again.unwrap(), Recovered::default());
        }
    }

    #[test]
    fn a_transaction_without_its_commit_block_is_the_end() {
        for form in FORMS {
            let mut log = three(form);
            log.log(&[(100, 9)]);
            let (log, result) = log.recovered();
            assert_eq!(result.unwrap().transactions, 3);
            assert_eq!(log.home[&100][4], 2);
        }
    }

    #[test]
    fn damage_in_a_committed_transaction_is_an_error() {
        for form in FORMS
            .into_iter()
            .filter(|form| *form != (0, 1) && *form != (0, 3))
        {
            // A logged block, a descriptor, and a commit block of the first transaction.
            for block in [BLOCKS - 1, BLOCKS - 2, 3] {
                let mut log = three(form);
                log.blocks[block][200] ^= 1;
                let (log, result) = log.recovered();
                let whole = form.0 == 1;
                if whole && block == 3 {
                    // This kind does not cover the commit block itself.
                    assert!(result.is_ok());
                    continue;
                }
                assert!(matches!(result, Err(Error::Corrupt(_))), "{form:?} {block}");
                assert_ne!(be32(&log.blocks[0], 0x1c), 0);
            }
        }
    }

    #[test]
    fn an_asynchronous_commit_before_its_blocks_is_the_end() {
        let mut log = three((0, 0x17));
        let last = log.next - 1;
        log.blocks[last][0x30] ^= 1;
        // The sum is wrong, and the time is late enough.
        let (_, result) = log.recovered();
        assert_eq!(result.unwrap().transactions, 2);
    }

    #[test]
    fn what_an_earlier_round_left_is_not_damage() {
        let mut log = three((0, 0x13));
        log.time = 1;
        log.log(&[(100, 9)]);
        let descriptor = log.next - 2;
        log.commit();
        log.blocks[descriptor][200] ^= 1;
        let (_, result) = log.recovered();
        assert_eq!(result.unwrap().transactions, 3);
    }

    #[test]
    fn a_log_that_never_ends_is_read_once() {
        let mut log = Writer::new(0, 3);
        for _ in 0..BLOCKS {
            log.revoke(&[7]);
        }
        let (_, result) = log.recovered();
        assert_eq!(result.unwrap().transactions, 0);
    }

    #[test]
    fn a_broken_superblock_is_an_error() {
        for (at, value) in [
            (0, 0),
            (4, 1),
            (12, 2048),
            (0x10, 41),
            (0x14, 0),
            (0x14, 40),
            (0x1c, 40),
            (0x28, 0x1b),
            (0x28, 0x4000),
            (0x2c, 1),
        ] {
            let mut log = three((0, 3));
            log.blocks[0][at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            let (log, result) = log.recovered();
            assert!(result.is_err(), "{at:#x}");
            assert!(log.home.is_empty());
        }
        let mut log = three((0, 0x13));
        log.blocks[0][0x40] ^= 1;
        assert!(matches!(log.recovered().1, Err(Error::Corrupt(_))));
    }

    #[test]
    fn a_revoke_block_that_leaves_its_block_is_corrupt() {
        let mut log = Writer::new(0, 3);
        log.revoke(&[7]);
        log.commit();
        log.blocks[BLOCKS - 2][14] = 0xff;
        assert!(matches!(log.recovered().1, Err(Error::Corrupt(_))));
    }
}

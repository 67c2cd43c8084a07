//! Replay: two walks over the log. The first finds out what was freed and is not to be brought
//! back, what work is unfinished, and whether all of it is known here; nothing is written until
//! then. The second puts back what was logged, unless what lies on the volume is newer.

use super::area::LogArea;
use super::buffer::{BufferFormat, Holds, copy, copy_unlinked};
use super::chunk::NewChunk;
use super::head::{Head, Walked, walk};
use super::inode::{InodeItem, MAGIC, Outcome};
use super::intent::{Intents, Work};
use super::owner;
use super::quota::{self, QuotaItem};
use super::structure::Structure;
use super::transaction::{Item, Transaction, Transactions};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::superblock::Superblock;
use block::BlockWrite;
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::BTreeMap;

/// `XFS_LI_INODE`, `XFS_LI_BUF`, `XFS_LI_DQUOT`, `XFS_LI_QUOTAOFF`, `XFS_LI_ICREATE`.
mod kind {
    pub(super) const INODE: u16 = 0x123b;
    pub(super) const BUFFER: u16 = 0x123c;
    pub(super) const QUOTA: u16 = 0x123d;
    pub(super) const QUOTA_OFF: u16 = 0x123e;
    pub(super) const CHUNK: u16 = 0x123f;
}

/// Freed buffers that are remembered at most, some 200 MiB.
const MAX_CANCELLED: usize = 1 << 22;
/// Bytes of one buffer at most: a cluster of the largest inodes.
const MAX_BUFFER: usize = 1 << 17;

/// What replay did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Replayed {
    /// Transactions that were committed.
    pub(crate) transactions: u64,
    /// Buffers, inodes, chunks of inodes and records of quota that were written.
    pub(crate) written: u64,
    /// Those that were not, because the volume has a newer one or they were freed.
    pub(crate) passed_over: u64,
}

/// Replays the log up to `head` and says what is left to do.
///
/// # Errors
/// Items that are damaged or not known here, before anything is written; damage of what they
/// belong to.
pub(super) fn replay(
    area: &LogArea,
    superblock: &Superblock,
    head: &Head,
) -> Result<(Replayed, Vec<Work>), Error> {
    let mut survey = Survey {
        superblock,
        cancelled: Cancelled::default(),
        quota_off: 0,
        intents: Intents::default(),
    };
    each_transaction(area, head, |transaction| survey.transaction(&transaction))?;
    let work = survey.intents.finish()?;
    let mut replay = Replay {
        area,
        superblock: superblock.clone(),
        cancelled: survey.cancelled,
        quota_off: survey.quota_off,
        unstamped: Unstamped::default(),
        visited: 0,
        done: Replayed::default(),
    };
    each_transaction(area, head, |transaction| replay.transaction(&transaction))?;
    replay.stamp()?;
    Ok((replay.done, work))
}

/// Visits the committed transactions in the order of their commits.
fn each_transaction(
    area: &LogArea,
    head: &Head,
    mut visit: impl FnMut(Transaction) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut transactions = Transactions::default();
    let walked = walk(area, head.tail, head.block, |record| {
        record.header.check_replayable(area)?;
        let (header, data) = record.unpack(area)?;
        transactions.add(&header, &data, &mut visit)
    })?;
    match walked {
        Walked::Whole => Ok(()),
        Walked::Bad { error, .. } => Err(error),
    }
}

/// The first walk.
struct Survey<'a> {
    superblock: &'a Superblock,
    cancelled: Cancelled,
    quota_off: u8,
    intents: Intents,
}

impl Survey<'_> {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), Error> {
        for item in &transaction.items {
            match item.kind() {
                kind::BUFFER => {
                    let format = BufferFormat::parse(item)?;
                    if format.is_cancel() {
                        self.cancelled.note(format.place)?;
                    } else {
                        format.pieces(item)?;
                    }
                }
                kind::INODE => {
                    let v5 = self.superblock.features.v5();
                    InodeItem::parse(item, v5, self.superblock.inode_size)?;
                }
                // Growing may have made groups that are not known yet.
                kind::CHUNK => {}
                kind::QUOTA => {
                    QuotaItem::parse(item)?;
                }
                kind::QUOTA_OFF => self.quota_off |= quota::switched_off(item),
                known if Intents::knows(known) => self.intents.note(item)?,
                unknown => {
                    return Err(UnsupportedKind::TooLarge {
                        field: "the type of an item in the log",
                        value: unknown.into(),
                        cap: 0x124f,
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}

/// Buffers that were freed, with how often: an item is void until as many notes were passed.
#[derive(Debug, Default)]
struct Cancelled(BTreeMap<(u64, u16), u32>);

impl Cancelled {
    fn note(&mut self, place: (u64, u16)) -> Result<(), Error> {
        let times = self.0.entry(place).or_default();
        *times = times.saturating_add(1);
        if self.0.len() <= MAX_CANCELLED {
            return Ok(());
        }
        Err(UnsupportedKind::TooLarge {
            field: "freed buffers in the log",
            value: u64_of(self.0.len()),
            cap: u64_of(MAX_CANCELLED),
        }
        .into())
    }

    fn pass(&mut self, place: (u64, u16)) {
        if let Some(times) = self.0.get_mut(&place) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(&place);
            }
        }
    }

    fn covers(&self, place: (u64, u16)) -> bool {
        self.0.contains_key(&place)
    }
}

/// Buffers that were written but do not say yet when.
///
/// Several transactions can have the same number, and each of them may change the same buffer: it
/// gets its number when none of those can follow.
#[derive(Debug, Default)]
struct Unstamped {
    lsn: u64,
    buffers: BTreeMap<u64, usize>,
}

/// The second walk.
struct Replay<'a> {
    area: &'a LogArea,
    /// As it is at this point of the replay: growing a file system changes it.
    superblock: Superblock,
    cancelled: Cancelled,
    quota_off: u8,
    unstamped: Unstamped,
    /// Blocks of trees that changed hands.
    visited: usize,
    done: Replayed,
}

impl Replay<'_> {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), Error> {
        self.done.transactions = self.done.transactions.saturating_add(1);
        let lsn = transaction.lsn;
        if self.unstamped.lsn != lsn {
            self.stamp()?;
            self.unstamped.lsn = lsn;
        }
        // Buffers first, among them new inodes; then what changes them; then the chain of unlinked
        // inodes, which are free by then; last the notes of what was freed, which end its being
        // void.
        for turn in 0..4 {
            for item in &transaction.items {
                if self.turn(item)? != turn {
                    continue;
                }
                let written = match item.kind() {
                    kind::BUFFER => self.buffer(item, lsn),
                    kind::INODE => self.inode(item, lsn),
                    kind::CHUNK => self.chunk(item),
                    kind::QUOTA => self.quota(item, lsn),
                    _ => continue,
                }?;
                let count = if written {
                    &mut self.done.written
                } else {
                    &mut self.done.passed_over
                };
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// When in its transaction an item is replayed.
    fn turn(&self, item: &Item) -> Result<u8, Error> {
        Ok(match item.kind() {
            kind::BUFFER => {
                let format = BufferFormat::parse(item)?;
                match format.holds() {
                    _ if format.is_cancel() => 3,
                    Holds::UnlinkedInodes => 2,
                    _ => 0,
                }
            }
            kind::CHUNK => 0,
            _ => 1,
        })
    }

    fn buffer(&mut self, item: &Item, lsn: u64) -> Result<bool, Error> {
        let format = BufferFormat::parse(item)?;
        if format.is_cancel() {
            self.cancelled.pass(format.place);
            return Ok(false);
        }
        if self.cancelled.covers(format.place) {
            return Ok(false);
        }
        let (block, units) = format.place;
        let position = block.saturating_mul(UNIT);
        let holds = format.holds();
        if let Holds::Quota(types) = holds
            && !self.counts_quota(types)
        {
            return Ok(false);
        }
        let mut bytes = self.read(position, usize::from(units).saturating_mul(512))?;
        if self.is_newer(&bytes, position, holds, lsn)? {
            return Ok(false);
        }
        let pieces = format.pieces(item)?;
        let v5 = self.superblock.features.v5();
        if holds == Holds::UnlinkedInodes {
            let inode_size = usize_of_u32(self.superblock.inode_size);
            copy_unlinked(&mut bytes, &pieces, &format, inode_size, v5)?;
        } else {
            copy(&mut bytes, &pieces);
        }
        if v5 {
            self.check(&bytes, position, holds)?;
        }
        self.area.device.write_at(position, &bytes)?;
        // Inodes and records of quota have numbers of their own, and may look like a structure by
        // chance: an inode by its owner.
        if v5 && holds == Holds::Structure && Structure::of(&bytes).is_some() {
            self.unstamped.buffers.insert(position, bytes.len());
        }
        if position == 0 && bytes.starts_with(b"XFSB") {
            if v5 {
                // Reading it checks its sum.
                self.stamp_one(0, bytes.len(), lsn)?;
            }
            self.superblock = Superblock::read(&self.area.device)?;
        }
        Ok(true)
    }

    /// Whether a buffer on the volume is not older than `lsn`, or as old. Only version 5 says.
    fn is_newer(&self, bytes: &[u8], position: u64, holds: Holds, lsn: u64) -> Result<bool, Error> {
        if !self.superblock.features.v5() || holds == Holds::Bytes {
            return Ok(false);
        }
        let Some(structure) = Structure::of(bytes) else {
            return Ok(false);
        };
        let written = structure.lsn(bytes, &self.superblock);
        let newer =
            written.is_some_and(|written| written != 0 && written != u64::MAX && written >= lsn);
        if newer && !self.unstamped.buffers.contains_key(&position) {
            structure.verify(bytes, position)?;
        }
        Ok(newer)
    }

    /// Checks that what a buffer became is what its item says that it holds.
    fn check(&self, bytes: &[u8], position: u64, holds: Holds) -> Result<(), Error> {
        let sound = match holds {
            Holds::Structure => Structure::of(bytes).is_some(),
            Holds::Quota(_) => quota::is_record(bytes),
            Holds::Inodes => bytes.starts_with(&MAGIC.to_be_bytes()),
            Holds::UnlinkedInodes | Holds::Bytes => true,
        };
        if sound {
            return Ok(());
        }
        Err(CorruptKind::Field {
            what: "buffer after replay",
            position,
            field: "magic number",
            value: super::area::be32(bytes, 0).into(),
            expected: "one of the kind that was logged",
        }
        .into())
    }

    fn inode(&mut self, item: &Item, lsn: u64) -> Result<bool, Error> {
        let v5 = self.superblock.features.v5();
        let inode = InodeItem::parse(item, v5, self.superblock.inode_size)?;
        if self.cancelled.covers(inode.cluster) {
            return Ok(false);
        }
        let position = inode.position;
        let size = self.superblock.inode_size;
        let mut bytes = self.read(position, usize_of_u32(size))?;
        let outcome = inode.replay(&mut bytes, lsn)?;
        if outcome == Outcome::Written {
            self.area.device.write_at(position, &bytes)?;
        }
        // The tree may be older than the inode.
        if v5 && inode.changes_owner() && bytes.get(2..4) != Some(&[0, 0]) {
            let (data, attributes) = forks(&bytes);
            let (of_data, of_attributes) = inode.changed_forks();
            for (fork, changed) in [(data, of_data), (attributes, of_attributes)] {
                if changed {
                    let (device, visited) = (&self.area.device, &mut self.visited);
                    owner::change(device, &self.superblock, inode.number, fork, visited)?;
                }
            }
        }
        Ok(outcome == Outcome::Written)
    }

    fn chunk(&mut self, item: &Item) -> Result<bool, Error> {
        let chunk = NewChunk::parse(item, &self.superblock)?;
        let clusters = chunk.clusters(&self.superblock);
        if clusters
            .iter()
            .any(|cluster| self.cancelled.covers(*cluster))
        {
            return Ok(false);
        }
        let (position, bytes) = (
            chunk.position(&self.superblock),
            chunk.bytes(&self.superblock),
        );
        self.check_place(position, bytes.len())?;
        self.area.device.write_at(position, &bytes)?;
        Ok(true)
    }

    fn quota(&mut self, item: &Item, lsn: u64) -> Result<bool, Error> {
        let quota = QuotaItem::parse(item)?;
        if !self.counts_quota(quota.types) {
            return Ok(false);
        }
        let mut bytes = self.read(quota.position, QuotaItem::LEN)?;
        let v5 = self.superblock.features.v5();
        let written = quota.replay(&mut bytes, lsn, v5)?;
        if written {
            self.area.device.write_at(quota.position, &bytes)?;
        }
        Ok(written)
    }

    /// Whether quota of the types is counted: it was not switched off in the log, and the
    /// superblock says that it is on.
    fn counts_quota(&self, types: u8) -> bool {
        let on = quota::types(self.superblock.raw().sb_qflags.get().into());
        on != 0 && self.quota_off & types == 0
    }

    /// Says in the buffers that were written when that was.
    fn stamp(&mut self) -> Result<(), Error> {
        let lsn = self.unstamped.lsn;
        for (position, len) in std::mem::take(&mut self.unstamped.buffers) {
            self.stamp_one(position, len, lsn)?;
        }
        Ok(())
    }

    fn stamp_one(&self, position: u64, len: usize, lsn: u64) -> Result<(), Error> {
        let mut bytes = vec![0; len];
        self.area.device.read_at(position, &mut bytes)?;
        if let Some(structure) = Structure::of(&bytes) {
            structure.stamp(&mut bytes, lsn);
            self.area.device.write_at(position, &bytes)?;
        }
        Ok(())
    }

    fn read(&self, position: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.check_place(position, len)?;
        let mut bytes = vec![0; len];
        self.area.device.read_at(position, &mut bytes)?;
        Ok(bytes)
    }

    /// Checks that bytes lie in the file system and not in its log.
    fn check_place(&self, position: u64, len: usize) -> Result<(), Error> {
        let end = position.checked_add(u64_of(len));
        let inside = end.is_some_and(|end| end <= self.superblock.end());
        if inside && len <= MAX_BUFFER && !self.area.overlaps(position, len) {
            return Ok(());
        }
        Err(CorruptKind::Field {
            what: "place of an item in the log",
            position,
            field: "length",
            value: u64_of(len),
            expected: "a place in the file system, outside its log",
        }
        .into())
    }
}

/// The forks of an inode of version 3 as it lies on the volume.
fn forks(inode: &[u8]) -> (&[u8], &[u8]) {
    let forks = inode
        .get(size_of::<crate::raw::RawInode>()..)
        .unwrap_or_default();
    let border = inode
        .get(82)
        .map_or(0, |units| usize::from(*units).saturating_mul(8));
    match border {
        0 => (forks, &[]),
        border => forks.split_at_checked(border).unwrap_or((forks, &[])),
    }
}

/// Bytes of the unit that places in the log are given in.
const UNIT: u64 = 512;

//! The journal's own superblock, in the first block of its inode.

use super::log::{Log, MAGIC, Position, be32, corrupt};
use crate::Error;
use crate::checksum::{JOURNAL_SUPERBLOCK_CHECKSUM, JournalSeed, journal_superblock};
use crate::error::{CorruptKind, UnsupportedKind};

/// A journal superblock whose fields are usable.
#[derive(Clone, Debug)]
pub(super) struct JournalSuperblock {
    bytes: Vec<u8>,
    /// Bytes per block, the same as the file system's.
    pub(super) block_size: u32,
    /// The first block of the log's ring.
    pub(super) first: u32,
    /// One past the last block of the log's ring.
    pub(super) end: u32,
    /// Where the log's oldest transaction starts; none if the log is empty.
    pub(super) start: Option<Position>,
    /// The number of that transaction.
    pub(super) sequence: u32,
    /// How the log is protected.
    pub(super) checksums: Checksums,
    /// Whether block numbers have 64 bits.
    pub(super) wide: bool,
    /// Whether commit blocks are written without waiting for what they commit.
    pub(super) async_commit: bool,
    /// The area of fast commits: first block and one past the last.
    pub(super) fast_commits: Option<(u32, u32)>,
}

/// The kinds of checksums that were invented for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Checksums {
    None,
    /// One crc32 over a whole transaction, in its commit block.
    Whole,
    /// One crc32c for each block; tags keep half of it.
    PerBlock16(JournalSeed),
    /// One crc32c for each block.
    PerBlock32(JournalSeed),
}

impl Checksums {
    /// The seed, if each block has a sum.
    pub(super) fn seed(self) -> Option<JournalSeed> {
        match self {
            Self::None | Self::Whole => None,
            Self::PerBlock16(seed) | Self::PerBlock32(seed) => Some(seed),
        }
    }
}

impl JournalSuperblock {
    /// Reads and checks the superblock of a journal in a file system with blocks of `block_size`.
    pub(super) fn read(log: &dyn Log, block_size: u32) -> Result<Self, Error> {
        let bytes = log.read(0)?;
        if bytes.len() < SIZE {
            return Err(corrupt(0, "the block is not whole", 0));
        }
        let magic = be32(&bytes, 0);
        if magic != MAGIC {
            return Err(corrupt(
                0,
                "h_magic of the superblock is wrong",
                magic.into(),
            ));
        }
        let has_features = match be32(&bytes, 4) {
            3 => false,
            4 => true,
            kind => return Err(corrupt(0, "h_blocktype is no superblock's", kind.into())),
        };
        let feature = |at| if has_features { be32(&bytes, at) } else { 0 };
        let (compat, incompat, ro_compat) = (feature(0x24), feature(0x28), feature(0x2c));
        check_features(incompat, ro_compat)?;
        let checksums = checksums(compat, incompat, &bytes)?;

        let stored = be32(&bytes, 12);
        if stored != block_size {
            return Err(corrupt(
                0,
                "s_blocksize is not the file system's",
                stored.into(),
            ));
        }
        let maxlen = be32(&bytes, 0x10);
        if maxlen > log.len() {
            return Err(corrupt(
                0,
                "s_maxlen is beyond the journal's inode",
                maxlen.into(),
            ));
        }
        let fast_commits = fast_commit_area(incompat, maxlen, be32(&bytes, 0x54));
        // The block before the area is left out on purpose: the kernel skips it, too.
        let end = fast_commits.map_or(maxlen, |(first, _)| first.saturating_sub(1));
        let first = be32(&bytes, 0x14);
        if first == 0 || first >= end {
            return Err(corrupt(
                0,
                "s_first lies outside of the journal",
                first.into(),
            ));
        }
        let start = match be32(&bytes, 0x1c) {
            0 => None,
            start if start >= first && start < end => Some(Position(start)),
            start => return Err(corrupt(0, "s_start lies outside of the log", start.into())),
        };
        Ok(Self {
            block_size,
            first,
            end,
            start,
            sequence: be32(&bytes, 0x18),
            checksums,
            wide: incompat & INCOMPAT_64BIT != 0,
            async_commit: incompat & INCOMPAT_ASYNC_COMMIT != 0,
            fast_commits,
            bytes,
        })
    }

    /// Says on disk that the log is empty and goes on with transaction `next`.
    pub(super) fn write_empty(mut self, log: &mut dyn Log, next: u32) -> Result<(), Error> {
        self.bytes[0x18..0x1c].copy_from_slice(&next.to_be_bytes());
        self.bytes[0x1c..0x20].fill(0);
        if self.checksums.seed().is_some() {
            let sum = journal_superblock(&self.bytes[..SIZE]).to_be_bytes();
            self.bytes[JOURNAL_SUPERBLOCK_CHECKSUM..][..4].copy_from_slice(&sum);
        }
        log.write(0, &self.bytes)
    }
}

fn check_features(incompat: u32, ro_compat: u32) -> Result<(), Error> {
    let unknown = incompat & !KNOWN_INCOMPAT;
    if unknown == 0 && ro_compat == 0 {
        return Ok(());
    }
    Err(UnsupportedKind::JournalFeature {
        names: format!("incompat {unknown:#x}, ro_compat {ro_compat:#x}"),
    }
    .into())
}

fn checksums(compat: u32, incompat: u32, bytes: &[u8]) -> Result<Checksums, Error> {
    let uuid = bytes.get(0x30..).and_then(<[u8]>::first_chunk);
    // The block holds all of the superblock.
    let seed = JournalSeed::of_uuid(uuid.unwrap_or(&[0; 16]));
    let whole = compat & COMPAT_CHECKSUM != 0;
    let checksums = match (
        whole,
        incompat & INCOMPAT_CSUM_V2 != 0,
        incompat & INCOMPAT_CSUM_V3 != 0,
    ) {
        (false, false, false) => Checksums::None,
        (true, false, false) => Checksums::Whole,
        (false, true, false) => Checksums::PerBlock16(seed),
        (false, false, true) => Checksums::PerBlock32(seed),
        _ => {
            return Err(corrupt(
                0,
                "several kinds of checksums at once",
                incompat.into(),
            ));
        }
    };
    if checksums.seed().is_none() {
        return Ok(checksums);
    }
    let kind = bytes.get(0x50).copied().unwrap_or(0);
    if kind != CRC32C {
        return Err(corrupt(0, "s_checksum_type is not crc32c", kind.into()));
    }
    let found = be32(bytes, JOURNAL_SUPERBLOCK_CHECKSUM);
    let computed = journal_superblock(bytes.get(..SIZE).unwrap_or(bytes));
    if found == computed {
        return Ok(checksums);
    }
    Err(CorruptKind::JournalChecksum {
        block: 0,
        sequence: be32(bytes, 0x18),
        what: "the superblock",
        found,
        computed,
    }
    .into())
}

/// Fast commits take the journal's last blocks, if enough are left for the log.
fn fast_commit_area(incompat: u32, maxlen: u32, s_num_fc_blks: u32) -> Option<(u32, u32)> {
    if incompat & INCOMPAT_FAST_COMMIT == 0 {
        return None;
    }
    let blocks = match s_num_fc_blks {
        0 => DEFAULT_FAST_COMMIT_BLOCKS,
        blocks => blocks,
    };
    let log_end = maxlen
        .checked_sub(blocks)
        .filter(|left| *left >= MIN_JOURNAL_BLOCKS)?;
    Some((log_end.saturating_add(1), maxlen))
}

const SIZE: usize = 1024;
const CRC32C: u8 = 4;
const COMPAT_CHECKSUM: u32 = 0x1;
const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const KNOWN_INCOMPAT: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;
/// `JBD2_DEFAULT_FAST_COMMIT_BLOCKS`.
const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;
/// `JBD2_MIN_JOURNAL_BLOCKS`.
const MIN_JOURNAL_BLOCKS: u32 = 1024;

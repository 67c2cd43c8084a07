//! Buffers: runs of blocks of which changed chunks of 128 bytes were logged.

use super::area::be32;
use super::transaction::{Item, le16, le32, le64};
use crate::checksum;
use crate::error::{CorruptKind, Error};
use ondisk::width::usize_of_u32;

/// Bytes of a chunk, `XFS_BLF_CHUNK`.
const CHUNK: usize = 128;
/// Words of the map of chunks: what a buffer of 64 KiB needs, and one for alignment.
const MAX_MAP_WORDS: u32 = 17;
/// Where the map lies in `struct xfs_buf_log_format`.
const MAP: usize = 20;

/// `XFS_BLF_INODE_BUF`: only the chain of unlinked inodes counts.
const INODES: u16 = 1;
/// `XFS_BLF_CANCEL`: the blocks were freed; what was logged of them before is void.
const CANCEL: u16 = 1 << 1;

/// What a buffer holds, of `enum xfs_blft`, as far as replay makes a difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    /// Something whose kind its magic number says.
    Structure,
    /// Records of quota, of the given types as [`super::quota`] has them.
    Quota(u8),
    /// Inodes as they are when they are made.
    Inodes,
    /// The chain of unlinked inodes in a cluster of inodes.
    UnlinkedInodes,
    /// Bytes that nothing is known about.
    Bytes,
}

/// The description of a logged buffer, `struct xfs_buf_log_format`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BufferFormat {
    flags: u16,
    /// Where the buffer lies: unit of 512 bytes and how many of them.
    pub(super) place: (u64, u16),
    map_words: u32,
}

impl BufferFormat {
    /// Reads the description of a buffer item.
    ///
    /// # Errors
    /// A map that is too long or not there.
    pub(super) fn parse(item: &Item) -> Result<Self, Error> {
        let bytes = item.description();
        let (block, map_words) = (le64(bytes, 8), le32(bytes, 16));
        let end = usize_of_u32(map_words)
            .saturating_mul(4)
            .saturating_add(MAP);
        let mapped = usize_of_u32(map_words).saturating_mul(32 * CHUNK);
        let len = le16(bytes, 6);
        let fits = usize::from(len).saturating_mul(512) <= mapped;
        if map_words > MAX_MAP_WORDS || bytes.len() < end || !fits || len == 0 {
            return Err(damaged(
                "words in the map of chunks",
                block,
                map_words.into(),
            ));
        }
        Ok(Self {
            flags: le16(bytes, 4),
            place: (block, len),
            map_words,
        })
    }

    /// Whether the item says that the blocks were freed.
    pub(super) fn is_cancel(&self) -> bool {
        self.flags & CANCEL != 0
    }

    /// What the buffer holds.
    pub(super) fn holds(&self) -> Holds {
        // `XFS_BLF_UDQUOT_BUF`, `XFS_BLF_PDQUOT_BUF`, `XFS_BLF_GDQUOT_BUF`
        let quota = (self.flags >> 2) & 7;
        match self.flags >> 11 {
            _ if self.flags & INODES != 0 => Holds::UnlinkedInodes,
            _ if quota != 0 => Holds::Quota(u8::try_from(quota).unwrap_or(0)),
            1..=3 => Holds::Quota(1 << ((self.flags >> 11).saturating_sub(1))),
            4..=7 | 9..=16 | 18 => Holds::Structure,
            8 => Holds::Inodes,
            _ => Holds::Bytes,
        }
    }

    /// The logged pieces and where in the buffer they belong; all lie in it.
    ///
    /// # Errors
    /// More regions than the map has chunks for, or fewer, and chunks behind the buffer's end.
    pub(super) fn pieces<'i>(&self, item: &'i Item) -> Result<Vec<(usize, &'i [u8])>, Error> {
        let map = item.description().get(MAP..).unwrap_or_default();
        let chunks = usize_of_u32(self.map_words).saturating_mul(32);
        let is_logged = |chunk: usize| {
            let word = le32(map, chunk.saturating_div(32).saturating_mul(4));
            chunk < chunks && word & (1 << (chunk & 31)) != 0
        };
        let block = self.place.0;
        let len = usize::from(self.place.1).saturating_mul(512);
        let mut next = 0;
        let mut pieces = Vec::new();
        let mut regions = item.content();
        while let Some(first) = (next..chunks).find(|chunk| is_logged(*chunk)) {
            let run = (first..chunks)
                .take_while(|chunk| is_logged(*chunk))
                .count();
            let Some(region) = regions.next() else {
                return Err(damaged("a chunk that was not logged", block, bit(first)));
            };
            // A run may have been logged in several regions.
            let here = run.min(region.len().saturating_div(CHUNK));
            let at = first.saturating_mul(CHUNK);
            let bytes = region.get(..here.saturating_mul(CHUNK)).unwrap_or_default();
            if here == 0 || at.saturating_add(bytes.len()) > len {
                return Err(damaged("a chunk that does not fit", block, bit(first)));
            }
            pieces.push((at, bytes));
            next = first.saturating_add(here);
        }
        if regions.next().is_some() {
            return Err(damaged(
                "regions without chunks, behind chunk",
                block,
                bit(next),
            ));
        }
        Ok(pieces)
    }
}

/// Puts pieces of a buffer where they belong.
pub(super) fn copy(buffer: &mut [u8], pieces: &[(usize, &[u8])]) {
    for (at, bytes) in pieces {
        let place = buffer.get_mut(*at..at.saturating_add(bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }
}

/// Puts the chain of unlinked inodes, of a cluster of inodes of `inode_size` bytes, where it
/// belongs. Everything else about inodes is logged by inode, so the rest of the pieces may be old.
///
/// # Errors
/// An inode that would be followed by inode 0.
pub(super) fn copy_unlinked(
    cluster: &mut [u8],
    pieces: &[(usize, &[u8])],
    format: &BufferFormat,
    inode_size: usize,
    summed: bool,
) -> Result<(), Error> {
    for (index, inode) in cluster.chunks_exact_mut(inode_size).enumerate() {
        let at = index
            .saturating_mul(inode_size)
            .saturating_add(NEXT_UNLINKED);
        let logged = pieces.iter().find_map(|(start, bytes)| {
            let within = at.checked_sub(*start)?;
            bytes.get(within..)?.first_chunk::<4>()
        });
        let Some(logged) = logged else {
            continue;
        };
        if be32(logged, 0) == 0 {
            let block = format.place.0;
            return Err(damaged(
                "an unlinked inode that is followed by inode",
                block,
                0,
            ));
        }
        if let Some(next) = inode
            .get_mut(NEXT_UNLINKED..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *next = *logged;
        }
        if summed {
            checksum::set(inode, checksum::place::INODE);
        }
    }
    Ok(())
}

/// `di_next_unlinked`.
const NEXT_UNLINKED: usize = 96;

fn bit(chunk: usize) -> u64 {
    ondisk::width::u64_of(chunk)
}

fn damaged(field: &'static str, block: u64, value: u64) -> Error {
    CorruptKind::Field {
        what: "buffer in the log, of the place",
        position: block.saturating_mul(512),
        field,
        value,
        expected: "a sound description",
    }
    .into()
}

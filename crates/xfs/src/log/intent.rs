//! Intents: work that a transaction announced and that later ones do, each with a note when it is
//! done. What has no such note is still to be done.

use super::transaction::{Item, le16, le32, le64};
use crate::allocator::{Blocks, Purpose};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::rmap;
use crate::superblock::FsBlock;
use ondisk::width::{u64_of, usize_of_u32};
use std::collections::BTreeMap;

/// What is to become of a record of who owns blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OwnerChange {
    /// The blocks got an owner.
    Map,
    /// The blocks lost this owner.
    Unmap,
    /// The blocks were written or became unwritten: the opposite of what is recorded.
    Convert,
}

/// A change of the tree of owners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnerUpdate {
    pub(crate) change: OwnerChange,
    pub(crate) blocks: Blocks,
    /// Who has them, from which place of its file on, and whether they are written, afterwards.
    pub(crate) purpose: Purpose,
}

/// What is to become of the number of files that share blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ShareChange {
    Increase,
    /// Blocks that nobody has any more are free then.
    Decrease,
    /// The blocks are set aside for content that is to replace shared content.
    Reserve,
    /// The blocks are no longer set aside; they belong to a file now, or are freed by other work.
    Unreserve,
}

/// A change of an extent map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mapping {
    /// Whether the blocks become content, or are no longer.
    pub(crate) map: bool,
    pub(crate) inode: u64,
    pub(crate) blocks: Blocks,
    /// Block of the fork's content.
    pub(crate) offset: u64,
    pub(crate) attributes: bool,
    pub(crate) unwritten: bool,
}

/// One thing that is still to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// The blocks are free. If a record says that somebody owns them, it goes too.
    Free(Blocks),
    Owner(OwnerUpdate),
    Share(ShareChange, Blocks),
    Mapping(Mapping),
}

/// Which kinds of items announce work, which say that it is done, and what they are called.
const KINDS: [(u16, u16, &str); 9] = [
    (FREE, 0x1237, "extent free"),
    (OWNER, 0x1241, "owner update"),
    (SHARE, 0x1243, "reference count update"),
    (MAP, 0x1245, "extent map update"),
    (0x1246, 0x1247, "attribute update"),
    (0x1248, 0x1249, "exchange of contents"),
    (0x124a, 0x124b, "realtime extent free"),
    (0x124c, 0x124d, "realtime owner update"),
    (0x124e, 0x124f, "realtime reference count update"),
];
/// `XFS_LI_EFI`, `XFS_LI_RUI`, `XFS_LI_CUI`, `XFS_LI_BUI`.
const FREE: u16 = 0x1236;
const OWNER: u16 = 0x1240;
const SHARE: u16 = 0x1242;
const MAP: u16 = 0x1244;

/// Announcements kept at most. The kernel reserves room in the log for each, so that even one of
/// 2 GiB has fewer.
const MAX_PENDING: usize = 1 << 15;
/// Things to do kept at most; each may have to look through the owners of a whole group.
const MAX_WORK: usize = 1 << 16;
/// Where the list of an announcement starts.
const LIST: usize = 16;

/// Announcements without a note that they are done, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Intents {
    /// By their number in the log, with their kind.
    pending: BTreeMap<u64, (u16, Vec<Work>)>,
    /// The numbers of those that a note names by kind and identifier.
    named: BTreeMap<(u16, u64), Vec<u64>>,
    next: u64,
    work: usize,
}

impl Intents {
    /// Whether an item is an announcement or a note.
    pub(super) fn knows(kind: u16) -> bool {
        KINDS
            .iter()
            .any(|(intent, done, _)| [*intent, *done].contains(&kind))
    }

    /// Takes an item that [`knows`](Self::knows) knows.
    ///
    /// # Errors
    /// Announcements that cannot be, and more of them than are kept.
    pub(super) fn note(&mut self, item: &Item) -> Result<(), Error> {
        let kind = item.kind();
        let bytes = item.description();
        let id = le64(bytes, 8);
        if bytes.len() < LIST {
            return Err(damaged(kind, "length", u64_of(bytes.len()), "at least 16"));
        }
        if let Some((intent, _, _)) = KINDS.iter().find(|(_, done, _)| *done == kind) {
            for number in self.named.remove(&(*intent, id)).unwrap_or_default() {
                let done = self
                    .pending
                    .remove(&number)
                    .map_or(0, |(_, work)| work.len());
                self.work = self.work.saturating_sub(done);
            }
            return Ok(());
        }
        let work = match kind {
            FREE => free(bytes)?,
            OWNER => list(bytes, 32, owner)?,
            SHARE => list(bytes, 16, share)?,
            MAP => list(bytes, 32, mapping)?,
            // Refused at the end, unless there is a note that it was done.
            _ => Vec::new(),
        };
        self.work = self.work.saturating_add(work.len());
        if self.work > MAX_WORK || self.pending.len() >= MAX_PENDING {
            return Err(UnsupportedKind::TooLarge {
                field: "unfinished work in the log",
                value: u64_of(self.work.max(self.pending.len())),
                cap: u64_of(MAX_WORK),
            }
            .into());
        }
        self.pending.insert(self.next, (kind, work));
        self.named.entry((kind, id)).or_default().push(self.next);
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// What is still to be done, in order.
    ///
    /// # Errors
    /// [`Unsupported`](Error::Unsupported) for what is not done here, by name.
    pub(super) fn finish(self) -> Result<Vec<Work>, Error> {
        let mut work = Vec::new();
        for (kind, announced) in self.pending.into_values() {
            if announced.is_empty() {
                return Err(UnsupportedKind::Other(refusal(kind)).into());
            }
            work.extend(announced);
        }
        Ok(work)
    }
}

fn refusal(kind: u16) -> &'static str {
    match kind {
        0x1246 => "a log with an unfinished attribute update",
        0x1248 => "a log with an unfinished exchange of contents",
        _ => "a log with unfinished realtime work",
    }
}

/// Reads blocks to free. Machines of 32 bits leave no padding between them.
fn free(bytes: &[u8]) -> Result<Vec<Work>, Error> {
    let count = usize_of_u32(le32(bytes, 4));
    let body = bytes.get(LIST..).unwrap_or_default();
    let size = if body.len() == count.saturating_mul(12) {
        12
    } else {
        16
    };
    list(bytes, size, |extent| {
        Ok(Work::Free(Blocks {
            start: FsBlock(le64(extent, 0)),
            count: le32(extent, 8),
        }))
    })
}

/// Reads a list of `size` bytes each.
fn list(
    bytes: &[u8],
    size: usize,
    read: impl Fn(&[u8]) -> Result<Work, Error>,
) -> Result<Vec<Work>, Error> {
    let count = le32(bytes, 4);
    let body = bytes.get(LIST..).unwrap_or_default();
    if count == 0 || body.len() != usize_of_u32(count).saturating_mul(size) {
        let expected = "the number of what follows";
        return Err(damaged(le16(bytes, 0), "nextents", count.into(), expected));
    }
    body.chunks_exact(size).map(read).collect()
}

/// Reads a `struct xfs_map_extent`: number, blocks, offset, and what is to be done.
fn extent(bytes: &[u8]) -> (u64, Blocks, u64, u32) {
    let blocks = Blocks {
        start: FsBlock(le64(bytes, 8)),
        count: le32(bytes, 24),
    };
    (le64(bytes, 0), blocks, le64(bytes, 16), le32(bytes, 28))
}

fn owner(bytes: &[u8]) -> Result<Work, Error> {
    const ATTRIBUTES: u32 = 1 << 31;
    const TREE: u32 = 1 << 30;
    const UNWRITTEN: u32 = 1 << 29;
    let (owner, blocks, offset, flags) = extent(bytes);
    let change = match flags & !(ATTRIBUTES | TREE | UNWRITTEN) {
        // Whether records of others may overlap is told apart, and of no importance here.
        1 | 2 | 7 => OwnerChange::Map,
        3 | 4 | 8 => OwnerChange::Unmap,
        5 | 6 => OwnerChange::Convert,
        _ => {
            return Err(damaged(
                OWNER,
                "me_flags",
                flags.into(),
                "a kind from 1 to 8",
            ));
        }
    };
    let (tree, attributes) = (flags & TREE != 0, flags & ATTRIBUTES != 0);
    let purpose = Purpose {
        owner: rmap::Owner::of_number(owner, tree, attributes),
        offset,
        unwritten: flags & UNWRITTEN != 0,
    };
    Ok(Work::Owner(OwnerUpdate {
        change,
        blocks,
        purpose,
    }))
}

fn share(bytes: &[u8]) -> Result<Work, Error> {
    let flags = le32(bytes, 12);
    let change = match flags {
        1 => ShareChange::Increase,
        2 => ShareChange::Decrease,
        3 => ShareChange::Reserve,
        4 => ShareChange::Unreserve,
        _ => {
            return Err(damaged(
                SHARE,
                "pe_flags",
                flags.into(),
                "a kind from 1 to 4",
            ));
        }
    };
    let blocks = Blocks {
        start: FsBlock(le64(bytes, 0)),
        count: le32(bytes, 8),
    };
    Ok(Work::Share(change, blocks))
}

fn mapping(bytes: &[u8]) -> Result<Work, Error> {
    const ATTRIBUTES: u32 = 1 << 31;
    const UNWRITTEN: u32 = 1 << 30;
    let (inode, blocks, offset, flags) = extent(bytes);
    let map = match flags & !(ATTRIBUTES | UNWRITTEN) {
        1 => true,
        2 => false,
        _ => {
            return Err(damaged(
                MAP,
                "me_flags",
                flags.into(),
                "1 or 2, not realtime",
            ));
        }
    };
    Ok(Work::Mapping(Mapping {
        map,
        inode,
        blocks,
        offset,
        attributes: flags & ATTRIBUTES != 0,
        unwritten: flags & UNWRITTEN != 0,
    }))
}

fn damaged(kind: u16, field: &'static str, value: u64, expected: &'static str) -> Error {
    let name = KINDS
        .iter()
        .find(|(intent, done, _)| [*intent, *done].contains(&kind));
    CorruptKind::Field {
        what: name.map_or("item in the log", |(_, _, name)| name),
        position: 0,
        field,
        value,
        expected,
    }
    .into()
}

//! Who owns the blocks of a group: records of the tree "rmapbt".

use crate::error::{CorruptKind, Error};
use crate::free_space::pair;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

/// Who owns blocks: an inode, or a part of the file system itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Owner {
    /// An inode number, or one of the `OWN_` numbers.
    number: u64,
    kind: Use,
}

/// What an owner has blocks for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Use {
    /// Blocks of the file system itself, which have no place in a file.
    Plain,
    Data,
    DataMap,
    Attributes,
    AttributesMap,
}

/// The owners of the blocks of a group.
///
/// The key is what cannot occur twice: an owner, and a place in its file; or, where blocks have no
/// such place, the first block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    extents: BTreeMap<(Owner, u64), Owned>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Owned {
    start: u32,
    count: u32,
    unwritten: bool,
}

/// `XFS_RMAP_OFF_ATTR_FORK`.
const ATTRIBUTES: u64 = 1 << 63;
/// `XFS_RMAP_OFF_BMBT_BLOCK`.
const MAP: u64 = 1 << 62;
/// `XFS_RMAP_OFF_UNWRITTEN`.
const UNWRITTEN: u64 = 1 << 61;
const FLAGS: u64 = ATTRIBUTES | MAP | UNWRITTEN;
/// Bytes of a record.
const LEN: usize = 24;
/// The smallest of the `XFS_RMAP_OWN_` numbers, which are negative.
const FIRST_SPECIAL: u64 = 1 << 63;

impl Owner {
    /// Headers of groups: `XFS_RMAP_OWN_FS`.
    pub(crate) const HEADERS: Self = Self::special(-3);
    /// The log: `XFS_RMAP_OWN_LOG`.
    pub(crate) const LOG: Self = Self::special(-4);
    /// The trees of free space and of owners, and the reserved blocks: `XFS_RMAP_OWN_AG`.
    pub(crate) const GROUP: Self = Self::special(-5);
    /// The trees of inodes: `XFS_RMAP_OWN_INOBT`.
    pub(crate) const INODE_TREES: Self = Self::special(-6);
    /// Chunks of inodes: `XFS_RMAP_OWN_INODES`.
    pub(crate) const INODES: Self = Self::special(-7);
    /// The tree of shared blocks: `XFS_RMAP_OWN_REFC`.
    pub(crate) const SHARING: Self = Self::special(-8);
    /// Blocks that are reserved for copies on write: `XFS_RMAP_OWN_COW`.
    pub(crate) const COPIES: Self = Self::special(-9);

    const fn special(number: i64) -> Self {
        Self {
            number: u64::from_ne_bytes(number.to_ne_bytes()),
            kind: Use::Plain,
        }
    }

    /// Whom a number stands for: an inode, of whose data or attributes the blocks hold the content
    /// or the B+tree that maps it, or a part of the file system itself.
    pub(crate) fn of_number(number: u64, tree: bool, attributes: bool) -> Self {
        match (number >= FIRST_SPECIAL, tree) {
            (true, _) => Self {
                number,
                kind: Use::Plain,
            },
            (false, true) => Self::map(number, attributes),
            (false, false) => Self::content(number, attributes),
        }
    }

    /// The content of an inode, or its attributes.
    pub(crate) fn content(inode: u64, attributes: bool) -> Self {
        let kind = if attributes {
            Use::Attributes
        } else {
            Use::Data
        };
        Self {
            number: inode,
            kind,
        }
    }

    /// The B+tree that maps the content of an inode, or its attributes.
    pub(crate) fn map(inode: u64, attributes: bool) -> Self {
        let kind = if attributes {
            Use::AttributesMap
        } else {
            Use::DataMap
        };
        Self {
            number: inode,
            kind,
        }
    }

    /// Whether blocks have a place in a file.
    fn has_places(self) -> bool {
        matches!(self.kind, Use::Data | Use::Attributes)
    }

    fn flags(self) -> u64 {
        match self.kind {
            Use::Plain | Use::Data => 0,
            Use::DataMap => MAP,
            Use::Attributes => ATTRIBUTES,
            Use::AttributesMap => ATTRIBUTES | MAP,
        }
    }

    fn key(self, start: u32, offset: u64) -> (Self, u64) {
        (
            self,
            if self.has_places() {
                offset
            } else {
                start.into()
            },
        )
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let number = self.number;
        let what = match (*self, self.kind) {
            (Self::HEADERS, _) => "a header",
            (Self::LOG, _) => "the log",
            (Self::GROUP, _) => "a tree or list of free space",
            (Self::INODE_TREES, _) => "a tree of inodes",
            (Self::INODES, _) => "a chunk of inodes",
            (Self::SHARING, _) => "a tree of shared blocks",
            (Self::COPIES, _) => "a copy that was not finished",
            (_, Use::Plain) => "an unknown part of the file system",
            (_, Use::Data) => return write!(f, "inode {number}"),
            (_, Use::DataMap) => return write!(f, "the map of inode {number}"),
            (_, Use::Attributes) => return write!(f, "attributes of inode {number}"),
            (_, Use::AttributesMap) => return write!(f, "the map of attributes of inode {number}"),
        };
        f.write_str(what)
    }
}

impl Owners {
    /// Reads the records of the tree.
    ///
    /// # Errors
    /// Records that are empty, twice there, or outside of `blocks`.
    pub(crate) fn parse(group: u32, records: &[u8], blocks: Range<u32>) -> Result<Self, Error> {
        let mut owners = Self::default();
        for record in records.chunks_exact(LEN) {
            let (start, count) = pair(record);
            let (number, offset) = (long(record, 8), long(record, 16));
            let owner = Owner::of_number(number, offset & MAP != 0, offset & ATTRIBUTES != 0);
            let owned = Owned {
                start,
                count,
                unwritten: offset & UNWRITTEN != 0,
            };
            let end = start.checked_add(count).filter(|end| *end <= blocks.end);
            let key = owner.key(start, offset & !FLAGS);
            if count == 0 || end.is_none() || owners.extents.insert(key, owned).is_some() {
                return Err(CorruptKind::Group {
                    group,
                    field: "owned extent at block",
                    value: start.into(),
                    expected: "extents within the group, each once",
                }
                .into());
            }
        }
        Ok(owners)
    }

    /// The records of the tree.
    pub(crate) fn records(&self) -> Vec<u8> {
        let mut sorted: Vec<(u32, u64, u64, u32)> = Vec::with_capacity(self.extents.len());
        for ((owner, place), owned) in &self.extents {
            let offset = if owner.has_places() { *place } else { 0 };
            let unwritten = if owned.unwritten { UNWRITTEN } else { 0 };
            let offset = offset | owner.flags() | unwritten;
            sorted.push((owned.start, owner.number, offset, owned.count));
        }
        sorted.sort_unstable_by_key(|(start, owner, offset, _)| {
            (*start, *owner, *offset & !UNWRITTEN)
        });
        let mut records = Vec::with_capacity(sorted.len().saturating_mul(LEN));
        for (start, owner, offset, count) in sorted {
            records.extend_from_slice(&start.to_be_bytes());
            records.extend_from_slice(&count.to_be_bytes());
            records.extend_from_slice(&owner.to_be_bytes());
            records.extend_from_slice(&offset.to_be_bytes());
        }
        records
    }

    /// Whether others have the same blocks for the same, however they are put into records. If not,
    /// the first difference in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let (here, there) = (self.joined(), other.joined());
        let lacks = |(key, owned): (&(Owner, u64), &Owned), other: &Self, what| {
            let end = owned.start.saturating_add(owned.count);
            let is_same = other.extents.get(key) == Some(owned);
            (!is_same).then(|| format!("blocks {:?} of {}: {what}", owned.start..end, key.0))
        };
        let mut kept = here.extents.iter();
        let mut found = there.extents.iter();
        kept.find_map(|extent| lacks(extent, &there, "kept as theirs, but they are not"))
            .or_else(|| found.find_map(|extent| lacks(extent, &here, "not kept as theirs")))
    }

    /// The same with all neighbours joined.
    fn joined(&self) -> Self {
        let mut joined = Self::default();
        for ((owner, place), owned) in &self.extents {
            joined.add(*owner, *place, (owned.start, owned.count), owned.unwritten);
        }
        joined
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> usize {
        self.extents.len()
    }

    /// Notes that `owner` has these blocks, from `offset` of its file on.
    pub(crate) fn add(
        &mut self,
        owner: Owner,
        offset: u64,
        (start, count): (u32, u32),
        unwritten: bool,
    ) {
        let mut offset = offset;
        let mut owned = Owned {
            start,
            count,
            unwritten,
        };
        let key = owner.key(start, offset);
        let before = self.extents.range(..key).next_back();
        if let Some(((before_owner, place), before)) = before
            && *before_owner == owner
            && before.unwritten == unwritten
            && before.start.checked_add(before.count) == Some(start)
            && (!owner.has_places() || place.checked_add(before.count.into()) == Some(offset))
            && let Some(joined) = before.count.checked_add(count)
        {
            let key = (owner, *place);
            (owned.start, owned.count) = (before.start, joined);
            offset = *place;
            self.extents.remove(&key);
        }
        let end = owned.start.saturating_add(owned.count);
        let next = owner.key(end, offset.saturating_add(owned.count.into()));
        if let Some(after) = self.extents.get(&next)
            && after.start == end
            && after.unwritten == unwritten
            && let Some(joined) = owned.count.checked_add(after.count)
        {
            owned.count = joined;
            self.extents.remove(&next);
        }
        self.extents.insert(owner.key(owned.start, offset), owned);
    }

    /// Notes that `owner` has these blocks no more, and says whether it had all of them so.
    #[must_use]
    pub(crate) fn remove(
        &mut self,
        owner: Owner,
        offset: u64,
        (start, count): (u32, u32),
        unwritten: bool,
    ) -> bool {
        let key = owner.key(start, offset);
        let Some((found, owned)) = self.extents.range(..=key).next_back() else {
            return false;
        };
        let (found, owned) = (*found, *owned);
        let skipped = key.1.saturating_sub(found.1);
        let Ok(skipped) = u32::try_from(skipped) else {
            return false;
        };
        let behind = owned
            .count
            .checked_sub(skipped)
            .and_then(|left| left.checked_sub(count));
        let Some(behind) = behind.filter(|_| {
            found.0 == owner
                && owned.unwritten == unwritten
                && owned.start.checked_add(skipped) == Some(start)
        }) else {
            return false;
        };
        self.extents.remove(&found);
        if skipped > 0 {
            let count = skipped;
            self.extents.insert(found, Owned { count, ..owned });
        }
        if behind > 0 {
            let start = start.saturating_add(count);
            let key = owner.key(start, offset.saturating_add(count.into()));
            let rest = Owned {
                start,
                count: behind,
                unwritten,
            };
            self.extents.insert(key, rest);
        }
        true
    }
}

impl Owners {
    /// Notes that nobody has these blocks any more, whoever had them, and says whether that was one
    /// owner or none: not two, and not a part of the blocks.
    #[must_use]
    pub(crate) fn remove_any(&mut self, (start, count): (u32, u32)) -> bool {
        let end = start.saturating_add(count);
        let mut overlapping = self.extents.iter().filter(|(_, owned)| {
            owned.start < end && owned.start.saturating_add(owned.count) > start
        });
        let Some(((owner, place), owned)) = overlapping.next() else {
            return true;
        };
        if overlapping.next().is_some() || owned.start > start {
            return false;
        }
        let (owner, unwritten) = (*owner, owned.unwritten);
        let skipped = start.saturating_sub(owned.start);
        let offset = if owner.has_places() {
            place.saturating_add(skipped.into())
        } else {
            0
        };
        self.remove(owner, offset, (start, count), unwritten)
    }
}

/// The lowest and the highest key of a record, as nodes keep them.
pub(crate) fn keys(record: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (start, count) = pair(record);
    let (owner, offset) = (long(record, 8), long(record, 16) & !UNWRITTEN);
    let key = |start: u32, offset: u64| {
        let mut key = start.to_be_bytes().to_vec();
        key.extend_from_slice(&owner.to_be_bytes());
        key.extend_from_slice(&offset.to_be_bytes());
        key
    };
    let more = count.saturating_sub(1);
    let last = if owner >= FIRST_SPECIAL || offset & MAP != 0 {
        offset
    } else {
        offset.saturating_add(more.into())
    };
    (key(start, offset), key(start.saturating_add(more), last))
}

fn long(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk::<8>);
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_of_a_file_join_where_both_places_do() {
        let mut owners = Owners::default();
        let file = Owner::content(131, false);
        owners.add(file, 0, (100, 5), false);
        owners.add(file, 10, (110, 5), false);
        owners.add(file, 5, (105, 5), false);
        assert_eq!(owners.count(), 1);
        assert!(owners.remove(file, 3, (103, 4), false));
        assert_eq!(owners.count(), 2);
        assert!(!owners.remove(file, 3, (103, 1), false));
        assert!(!owners.remove(file, 8, (109, 1), false));
        assert!(!owners.remove(file, 8, (108, 1), true));
        owners.add(file, 3, (103, 4), true);
        assert_eq!(owners.count(), 3);
        let records = owners.records();
        assert_eq!(
            Owners::parse(0, &records, 4..1000).unwrap().records(),
            records
        );
    }

    #[test]
    fn blocks_go_whoever_has_them_unless_two_do() {
        let mut owners = Owners::default();
        owners.add(Owner::content(131, false), 7, (100, 5), true);
        owners.add(Owner::GROUP, 0, (105, 3), false);
        assert!(owners.remove_any((90, 10)));
        assert!(!owners.remove_any((104, 2)));
        assert!(!owners.remove_any((99, 2)));
        assert_eq!(owners.count(), 2);
        assert!(owners.remove_any((102, 2)));
        assert!(owners.remove_any((107, 1)));
        let mut expected = Owners::default();
        expected.add(Owner::content(131, false), 7, (100, 2), true);
        expected.add(Owner::content(131, false), 11, (104, 1), true);
        expected.add(Owner::GROUP, 0, (105, 2), false);
        assert_eq!(owners.records(), expected.records());
    }

    #[test]
    fn blocks_of_the_group_join_by_place_alone() {
        let mut owners = Owners::default();
        owners.add(Owner::GROUP, 0, (10, 1), false);
        owners.add(Owner::GROUP, 0, (12, 1), false);
        owners.add(Owner::INODES, 0, (13, 8), false);
        owners.add(Owner::GROUP, 0, (11, 1), false);
        assert_eq!(owners.count(), 2);
        assert!(owners.remove(Owner::GROUP, 0, (11, 1), false));
        assert_eq!(owners.count(), 3);
    }
}

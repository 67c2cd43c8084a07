//! How often blocks of a group are in use: records of the tree "refcountbt".

use crate::error::{CorruptKind, Error};
use crate::free_space::pair;
use std::collections::BTreeMap;
use std::ops::Range;

/// Shared blocks of a group, and blocks that are reserved for copies on write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharing {
    /// First block, length, count of users: at least two. No two neighbours have the same count.
    shared: BTreeMap<u32, (u32, u32)>,
    /// First block and length of what is reserved.
    reserved: BTreeMap<u32, u32>,
}

/// The bit of `rc_startblock` that says that blocks are reserved, `XFS_REFC_COWFLAG`.
const RESERVED: u32 = 1 << 31;
/// Bytes of a record.
const LEN: usize = 12;
/// `XFS_REFC_REFCOUNT_MAX`: blocks with so many users have them for ever.
const MAX_USERS: u32 = u32::MAX;

impl Sharing {
    /// Reads the records of the tree.
    ///
    /// # Errors
    /// Extents that are empty, unsorted, overlap or lie outside of `blocks`, or impossible counts.
    pub(crate) fn parse(group: u32, records: &[u8], blocks: Range<u32>) -> Result<Self, Error> {
        let mut sharing = Self::default();
        let mut behind = blocks.start;
        for record in records.chunks_exact(LEN) {
            let (first, len) = pair(record);
            let users = record.get(4..).map_or(0, |record| pair(record).1);
            let (start, is_reserved) = (first & !RESERVED, first & RESERVED != 0);
            if is_reserved && sharing.reserved.is_empty() {
                behind = blocks.start;
            }
            let end = start.checked_add(len).filter(|end| *end <= blocks.end);
            let counted = if is_reserved { users == 1 } else { users >= 2 };
            let sorted = start >= behind && (is_reserved || sharing.reserved.is_empty());
            let Some(end) = end.filter(|_| len > 0 && counted && sorted) else {
                return Err(CorruptKind::Group {
                    group,
                    field: "shared extent at block",
                    value: start.into(),
                    expected: "sorted extents within the group that are used more than once",
                }
                .into());
            };
            behind = end;
            if is_reserved {
                sharing.reserved.insert(start, len);
            } else {
                sharing.shared.insert(start, (len, users));
            }
        }
        Ok(sharing)
    }

    /// The records of the tree.
    pub(crate) fn records(&self) -> Vec<u8> {
        let mut records = Vec::with_capacity(self.shared.len().saturating_mul(LEN));
        for (start, (len, users)) in &self.shared {
            for number in [start, len, users] {
                records.extend_from_slice(&number.to_be_bytes());
            }
        }
        for (start, len) in &self.reserved {
            for number in [start | RESERVED, *len, 1] {
                records.extend_from_slice(&number.to_be_bytes());
            }
        }
        records
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.len().saturating_add(self.reserved.len())
    }

    /// Splits a range into pieces of the same number of users.
    pub(crate) fn pieces(&self, range: Range<u32>) -> Vec<(Range<u32>, u32)> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let before = self.shared.range(..range.start).next_back();
        for (start, (len, users)) in before.into_iter().chain(self.shared.range(range.clone())) {
            let end = start.saturating_add(*len).min(range.end);
            let start = (*start).max(range.start);
            if start >= end {
                continue;
            }
            if at < start {
                pieces.push((at..start, 1));
            }
            pieces.push((start..end, *users));
            at = end;
        }
        if at < range.end {
            pieces.push((at..range.end, 1));
        }
        pieces
    }

    /// Takes one user from all blocks of a range, and says which have none left.
    pub(crate) fn drop_user(&mut self, range: Range<u32>) -> Vec<Range<u32>> {
        let mut unused = Vec::new();
        let pieces = self.pieces(range.clone());
        let is_shared = pieces.iter().any(|(_, users)| *users > 1);
        if is_shared {
            self.split(range.start);
            self.split(range.end);
        }
        for (piece, users) in pieces {
            match users {
                0 | 1 => unused.push(piece),
                2 => {
                    self.shared.remove(&piece.start);
                }
                MAX_USERS => {}
                _ => {
                    if let Some((_, users)) = self.shared.get_mut(&piece.start) {
                        *users = users.saturating_sub(1);
                    }
                }
            }
        }
        if is_shared {
            self.join(range);
        }
        unused
    }

    /// Gives all blocks of a range one user more.
    pub(crate) fn add_user(&mut self, range: Range<u32>) {
        self.split(range.start);
        self.split(range.end);
        for (piece, users) in self.pieces(range.clone()) {
            let len = piece.end.saturating_sub(piece.start);
            self.shared
                .insert(piece.start, (len, users.saturating_add(1)));
        }
        self.join(range);
    }

    /// What is reserved.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = (u32, u32)> {
        self.reserved.iter().map(|(start, len)| (*start, *len))
    }

    /// Reserves blocks, and says whether none of them was.
    #[must_use]
    pub(crate) fn reserve(&mut self, (start, count): (u32, u32)) -> bool {
        let Some(end) = start.checked_add(count) else {
            return false;
        };
        let before = self.reserved.range(..end).next_back();
        if before.is_some_and(|(first, len)| first.saturating_add(*len) > start) {
            return false;
        }
        let (mut first, mut behind) = (start, end);
        if let Some((before, len)) = self.reserved.range(..start).next_back()
            && before.saturating_add(*len) == start
        {
            first = *before;
        }
        if let Some(len) = self.reserved.remove(&end) {
            behind = end.saturating_add(len);
        }
        self.reserved.insert(first, behind.saturating_sub(first));
        true
    }

    /// Says that blocks are reserved no more, and whether all of them were.
    #[must_use]
    pub(crate) fn unreserve(&mut self, (start, count): (u32, u32)) -> bool {
        let Some((first, len)) = self.reserved.range(..=start).next_back() else {
            return false;
        };
        let (first, behind) = (*first, first.saturating_add(*len));
        let Some(end) = start.checked_add(count).filter(|end| *end <= behind) else {
            return false;
        };
        self.reserved.remove(&first);
        for (from, to) in [(first, start), (end, behind)] {
            if from < to {
                self.reserved.insert(from, to.saturating_sub(from));
            }
        }
        true
    }

    /// Cuts the extent that `block` lies in the middle of.
    fn split(&mut self, block: u32) {
        let Some((start, (len, users))) = self.shared.range(..block).next_back() else {
            return;
        };
        let (start, len, users) = (*start, *len, *users);
        let end = start.saturating_add(len);
        if block < end {
            self.shared
                .insert(start, (block.saturating_sub(start), users));
            self.shared
                .insert(block, (end.saturating_sub(block), users));
        }
    }

    /// Joins extents of the same count in and beside a range.
    fn join(&mut self, range: Range<u32>) {
        let before = self.shared.range(..range.start).next_back();
        let first = before.map_or(range.start, |(start, _)| *start);
        let near = self.shared.range(first..=range.end);
        let near: Vec<_> = near
            .map(|(start, (len, users))| (*start, *len, *users))
            .collect();
        let mut last: Option<(u32, u32, u32)> = None;
        for (start, len, users) in near {
            if let Some((before, before_len, before_users)) = last
                && before.saturating_add(before_len) == start
                && before_users == users
            {
                let len = before_len.saturating_add(len);
                self.shared.remove(&start);
                self.shared.insert(before, (len, users));
                last = Some((before, len, users));
            } else {
                last = Some((start, len, users));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing(extents: &[(u32, u32, u32)]) -> Sharing {
        let numbers = extents.iter().flat_map(|(a, b, c)| [*a, *b, *c]);
        let records: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
        let sharing = Sharing::parse(0, &records, 4..1000).unwrap();
        assert_eq!(sharing.records(), records);
        sharing
    }

    fn shared(sharing: &Sharing) -> Vec<(u32, u32, u32)> {
        let all = sharing.shared.iter();
        all.map(|(start, (len, users))| (*start, *len, *users))
            .collect()
    }

    #[test]
    fn only_blocks_with_one_user_become_unused() {
        let mut sharing = sharing(&[(10, 10, 2), (20, 10, 3), (RESERVED | 40, 5, 1)]);
        assert_eq!(sharing.drop_user(5..25), vec![5..10]);
        // What had three users has two, what had two has one.
        assert_eq!(shared(&sharing), [(20, 5, 2), (25, 5, 3)]);
        assert_eq!(sharing.drop_user(25..30), []);
        assert_eq!(shared(&sharing), [(20, 10, 2)]);
        assert_eq!(sharing.drop_user(15..35), [15..20, 30..35]);
        assert_eq!(sharing.count(), 1);
    }

    #[test]
    fn one_user_more_is_taken_back_by_one_less() {
        let before = [(10, 10, 2), (20, 10, 3), (RESERVED | 40, 5, 1)];
        for range in [5..25, 10..20, 12..14, 28..33, 35..36] {
            let mut sharing = sharing(&before);
            sharing.add_user(range.clone());
            assert_eq!(sharing.drop_user(range), []);
            assert_eq!(shared(&sharing), before[..2]);
        }
    }

    #[test]
    fn what_is_reserved_joins_and_splits() {
        let mut sharing = sharing(&[(RESERVED | 40, 5, 1), (RESERVED | 50, 5, 1)]);
        assert!(!sharing.reserve((44, 2)));
        assert!(!sharing.reserve((49, 2)));
        assert!(sharing.reserve((45, 5)));
        assert_eq!(sharing.reserved().collect::<Vec<_>>(), [(40, 15)]);
        assert!(!sharing.unreserve((54, 2)));
        assert!(sharing.unreserve((42, 3)));
        assert_eq!(sharing.reserved().collect::<Vec<_>>(), [(40, 2), (45, 10)]);
    }

    #[test]
    fn counts_below_two_are_damage() {
        let records = [10_u32, 1, 1].into_iter().flat_map(u32::to_be_bytes);
        let records: Vec<u8> = records.collect();
        assert!(Sharing::parse(0, &records, 4..1000).is_err());
    }
}

//! Blocks with names: entries and unused space behind each other, without a gap.
//!
//! The header keeps the three largest unused places. Unused places touch no other, tell their
//! length at their start, and, as entries, where they start at their end.
//!
//! Source: `xfs_dir2_data_hdr`, `_entry` and `_unused` in the kernel's `libxfs/xfs_da_format.h`;
//! what must hold is in `__xfs_dir3_data_check`.

use super::entry::{Entry, Target, is_name};
use super::format::Format;
use crate::da::{Fault, be16, be32, be64, put};
use ondisk::width::u64_of;

/// A block whose parts are known to be sound.
#[derive(Clone, Debug)]
pub(super) struct DataBlock {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// An entry, or unused space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    at: usize,
    len: usize,
    used: bool,
}

/// What a block starts with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DataKind {
    /// The only block of a directory, which has its index at the end.
    Single,
    /// One of several.
    Data,
}

/// What unused space starts with: no inode number does.
const FREE_TAG: u16 = 0xffff;
/// How many unused places the header keeps.
const BEST: usize = 3;
/// Bytes of an entry before its name.
const NAME: usize = 9;

impl DataKind {
    fn magic(self, v5: bool) -> [u8; 4] {
        match (self, v5) {
            (Self::Single, false) => *b"XD2B",
            (Self::Single, true) => *b"XDB3",
            (Self::Data, false) => *b"XD2D",
            (Self::Data, true) => *b"XDD3",
        }
    }

    /// Which kind of block this is.
    ///
    /// # Errors
    /// Neither.
    pub(super) fn of(v5: bool, bytes: &[u8]) -> Result<Self, Fault> {
        let kinds = [Self::Single, Self::Data];
        let found = kinds
            .into_iter()
            .find(|kind| bytes.starts_with(&kind.magic(v5)));
        found.ok_or_else(|| Fault {
            at: 0,
            reason: "no block of a directory's names",
            value: be32(bytes, 0).into(),
        })
    }
}

impl DataBlock {
    /// A block of several, with nothing in it.
    pub(super) fn empty(format: &Format) -> Self {
        Self::new(format, DataKind::Data, format.block_size())
    }

    /// A block whose names end before `end`, with nothing in it.
    pub(super) fn new(format: &Format, kind: DataKind, end: usize) -> Self {
        let mut bytes = vec![0; format.block_size()];
        put(&mut bytes, 0, &kind.magic(format.v5()));
        let start = format.first_entry();
        let mut block = Self {
            bytes,
            spans: Vec::new(),
        };
        let len = end.saturating_sub(start);
        if len > 0 {
            block.spans.push(Span {
                at: start,
                len,
                used: false,
            });
            block.write_unused(0);
        }
        block
    }

    /// Checks all parts of a block of this kind, up to `end`.
    ///
    /// # Errors
    /// What breaks the format.
    pub(super) fn parse(
        format: &Format,
        kind: DataKind,
        bytes: Vec<u8>,
        end: usize,
    ) -> Result<Self, Fault> {
        if DataKind::of(format.v5(), &bytes)? != kind {
            return Err(Fault {
                at: 0,
                reason: "the block belongs to a directory of another form",
                value: be32(&bytes, 0).into(),
            });
        }
        let mut spans: Vec<Span> = Vec::new();
        let mut at = format.first_entry();
        while at < end {
            let fault = |reason, value| Fault { at, reason, value };
            let used = be16(&bytes, at) != FREE_TAG;
            let len = if used {
                entry_at(format, &bytes, at)?;
                format.entry_len(name_len(&bytes, at).into())
            } else {
                let len = be16(&bytes, at.saturating_add(2));
                if len == 0 || !len.is_multiple_of(8) {
                    return Err(fault("unused space has a wrong length", len.into()));
                }
                len.into()
            };
            let next = at.saturating_add(len);
            if next > end {
                return Err(fault("the entry goes beyond the end", u64_of(len)));
            }
            if !used {
                let tag = be16(&bytes, next.saturating_sub(2));
                if usize::from(tag) != at {
                    return Err(fault("unused space ends with a wrong place", tag.into()));
                }
                if spans.last().is_some_and(|span| !span.used) {
                    return Err(fault("unused space follows unused space", u64_of(len)));
                }
            }
            spans.push(Span { at, len, used });
            at = next;
        }
        Ok(Self { bytes, spans })
    }

    /// All entries, with where each lies.
    pub(super) fn entries(&self, format: &Format) -> Result<Vec<(usize, Entry)>, Fault> {
        let used = self.spans.iter().filter(|span| span.used);
        used.map(|span| Ok((span.at, entry_at(format, &self.bytes, span.at)?)))
            .collect()
    }

    /// The length of the largest unused place.
    pub(super) fn largest_unused(&self) -> u16 {
        self.best_unused()[0].1
    }

    /// Whether the header keeps the largest unused places. Of two of one length either will do.
    pub(super) fn knows_its_unused(&self, format: &Format) -> bool {
        let kept = (0..BEST).map(|index| {
            let place = best_place(format, index);
            let (at, len) = (
                be16(&self.bytes, place),
                be16(&self.bytes, place.saturating_add(2)),
            );
            (usize::from(at), usize::from(len))
        });
        let best = self.best_unused().map(|(_, len)| usize::from(len));
        let exists = |(at, len): (usize, usize)| {
            let unused = Span {
                at,
                len,
                used: false,
            };
            (at, len) == (0, 0) || self.spans.contains(&unused)
        };
        kept.clone().all(exists) && kept.map(|(_, len)| len).eq(best)
    }

    /// Whether no name is left.
    pub(super) fn is_empty(&self) -> bool {
        !self.spans.iter().any(|span| span.used)
    }

    /// Puts an entry into the smallest unused place that takes it, and says where that is; none,
    /// and nothing changed, if none does.
    pub(super) fn insert(&mut self, format: &Format, name: &[u8], target: Target) -> Option<usize> {
        let len = format.entry_len(name.len());
        let fitting = |(_, span): &(usize, &Span)| !span.used && span.len >= len;
        let places = self.spans.iter().enumerate().filter(fitting);
        let (index, _) = places.min_by_key(|(_, span)| span.len)?;
        self.insert_at(format, index, name, target)
    }

    /// Puts an entry behind all others; none, and nothing changed, if there is no room.
    pub(super) fn append(&mut self, format: &Format, name: &[u8], target: Target) -> Option<usize> {
        let last = self.spans.len().checked_sub(1)?;
        self.insert_at(format, last, name, target)
    }

    fn insert_at(
        &mut self,
        format: &Format,
        index: usize,
        name: &[u8],
        target: Target,
    ) -> Option<usize> {
        let len = format.entry_len(name.len());
        let span = self.spans.get_mut(index).filter(|span| !span.used)?;
        let rest = span.len.checked_sub(len)?;
        let at = span.at;
        (span.len, span.used) = (len, true);
        if rest > 0 {
            let unused = Span {
                at: at.saturating_add(len),
                len: rest,
                used: false,
            };
            let next = index.saturating_add(1);
            self.spans.insert(next, unused);
            self.write_unused(next);
        }
        write_entry(format, &mut self.bytes, at, name, target);
        Some(at)
    }

    /// Removes the entry at `at`; false if none starts there.
    #[must_use]
    pub(super) fn remove(&mut self, at: usize) -> bool {
        let found = self
            .spans
            .iter()
            .position(|span| span.used && span.at == at);
        let Some(index) = found else {
            return false;
        };
        if let Some(span) = self.spans.get_mut(index) {
            span.used = false;
        }
        let joined = self.join(index);
        self.write_unused(joined);
        true
    }

    /// Joins the unused place with those that touch it, and says which one it is now.
    fn join(&mut self, index: usize) -> usize {
        let next = index.saturating_add(1);
        if let Some(Span {
            len, used: false, ..
        }) = self.spans.get(next).copied()
        {
            self.spans.remove(next);
            if let Some(span) = self.spans.get_mut(index) {
                span.len = span.len.saturating_add(len);
            }
        }
        let Some(before) = index.checked_sub(1) else {
            return index;
        };
        let len = self.spans.get(index).map_or(0, |span| span.len);
        match self.spans.get_mut(before) {
            Some(span) if !span.used => {
                span.len = span.len.saturating_add(len);
                self.spans.remove(index);
                before
            }
            _ => index,
        }
    }

    /// The bytes, with the largest unused places in the header.
    pub(super) fn into_bytes(mut self, format: &Format) -> Vec<u8> {
        for (index, (at, len)) in self.best_unused().into_iter().enumerate() {
            let place = best_place(format, index);
            put(&mut self.bytes, place, &at.to_be_bytes());
            put(&mut self.bytes, place.saturating_add(2), &len.to_be_bytes());
        }
        self.bytes
    }

    /// Place and length of the largest unused places, the largest first; zeros where there are
    /// fewer.
    fn best_unused(&self) -> [(u16, u16); BEST] {
        let mut unused: Vec<_> = self.spans.iter().filter(|span| !span.used).collect();
        unused.sort_by_key(|span| std::cmp::Reverse(span.len));
        let mut best = [(0, 0); BEST];
        for (best, span) in best.iter_mut().zip(unused) {
            // A block has at most 64 KiB, and its header is used.
            let narrow = |value| u16::try_from(value).unwrap_or(0);
            *best = (narrow(span.at), narrow(span.len));
        }
        best
    }

    fn write_unused(&mut self, index: usize) {
        let Some(Span { at, len, .. }) = self.spans.get(index).copied() else {
            return;
        };
        let narrow = |value| u16::try_from(value).unwrap_or(0).to_be_bytes();
        put(&mut self.bytes, at, &FREE_TAG.to_be_bytes());
        put(&mut self.bytes, at.saturating_add(2), &narrow(len));
        let end = at.saturating_add(len);
        put(&mut self.bytes, end.saturating_sub(2), &narrow(at));
    }
}

/// The entry that starts at `at`, where the index leads.
///
/// # Errors
/// No sound entry there.
pub(super) fn entry_at(format: &Format, bytes: &[u8], at: usize) -> Result<Entry, Fault> {
    let fault = |reason, value| Fault { at, reason, value };
    if at < format.first_entry() || !at.is_multiple_of(8) {
        return Err(fault("no entry can be here", u64_of(at)));
    }
    let name_len = name_len(bytes, at);
    let len = format.entry_len(name_len.into());
    let entry = at
        .checked_add(len)
        .and_then(|end| bytes.get(at..end))
        .ok_or_else(|| fault("the entry goes beyond the end", u64_of(len)))?;
    if be16(entry, 0) == FREE_TAG {
        return Err(fault("unused space, and no entry", u64_of(len)));
    }
    let tag = be16(entry, len.saturating_sub(2));
    if usize::from(tag) != at {
        return Err(fault("the entry ends with a wrong place", tag.into()));
    }
    let rest = entry.get(NAME..).unwrap_or_default();
    let (name, rest) = rest.split_at_checked(name_len.into()).unwrap_or_default();
    if !is_name(name) {
        return Err(fault("not a name", name_len.into()));
    }
    let file_type = match rest.first() {
        Some(file_type) if format.file_type => *file_type,
        _ => 0,
    };
    Ok(Entry {
        name: name.to_vec(),
        target: Target::stored(be64(entry, 0), file_type),
    })
}

/// Lets the entry that starts at `at`, which is sound, name something else.
pub(super) fn retarget(format: &Format, bytes: &mut [u8], at: usize, target: Target) {
    put(bytes, at, &target.inode.to_be_bytes());
    if format.file_type {
        let name_len = usize::from(name_len(bytes, at));
        let place = at.saturating_add(NAME).saturating_add(name_len);
        put(bytes, place, &[target.file_type()]);
    }
}

/// Where the header keeps the largest unused place, or the next ones.
fn best_place(format: &Format, index: usize) -> usize {
    let first: usize = if format.v5() { 48 } else { 4 };
    first.saturating_add(index.saturating_mul(4))
}

fn name_len(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at.saturating_add(8)).copied().unwrap_or(0)
}

fn write_entry(format: &Format, bytes: &mut [u8], at: usize, name: &[u8], target: Target) {
    let end = at.saturating_add(format.entry_len(name.len()));
    if let Some(entry) = bytes.get_mut(at..end) {
        entry.fill(0);
    }
    // Names are at most 255 bytes long where they come from.
    let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    put(bytes, at.saturating_add(8), &[name_len]);
    put(bytes, at.saturating_add(NAME), name);
    retarget(format, bytes, at, target);
    let tag = u16::try_from(at).unwrap_or(0);
    put(bytes, end.saturating_sub(2), &tag.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::tests::format;
    use super::*;

    fn target(inode: u64) -> Target {
        Target::stored(inode, 1)
    }

    fn filled(format: &Format) -> (DataBlock, Vec<usize>) {
        let mut block = DataBlock::empty(format);
        let mut places = Vec::new();
        while let Some(at) = {
            let name = format!("name{}", places.len());
            block.insert(format, name.as_bytes(), target(5))
        } {
            places.push(at);
        }
        (block, places)
    }

    fn reread(format: &Format, block: DataBlock) -> DataBlock {
        let spans = block.spans.clone();
        let bytes = block.into_bytes(format);
        let read = DataBlock::parse(format, DataKind::Data, bytes, format.block_size()).unwrap();
        assert_eq!(read.spans, spans);
        read
    }

    #[test]
    fn what_is_removed_joins_and_is_used_again() {
        for (size, v5) in [(512, true), (4096, false), (65536, true)] {
            let format = format(size, v5);
            let (block, places) = filled(&format);
            let mut block = reread(&format, block);
            assert_eq!(block.entries(&format).unwrap().len(), places.len());
            let before = block.largest_unused();
            assert!(before < 24);
            // Two neighbours, then one before and one behind.
            for at in [&places[3..5], &places[2..3], &places[5..6]].concat() {
                assert!(block.remove(at));
                assert!(!block.remove(at));
                block = reread(&format, block);
            }
            assert_eq!(usize::from(block.largest_unused()), places[6] - places[2]);
            let name = vec![b'x'; 50];
            assert_eq!(block.insert(&format, &name, target(7)), Some(places[2]));
            let block = reread(&format, block);
            let entry = entry_at(&format, &block.bytes, places[2]).unwrap();
            assert_eq!((entry.name, entry.target), (name, target(7)));
        }
    }

    #[test]
    fn a_block_whose_names_all_go_is_empty() {
        let format = format(4096, true);
        let (mut block, places) = filled(&format);
        assert!(!block.is_empty());
        for at in places
            .iter()
            .step_by(2)
            .chain(places[1..].iter().step_by(2))
        {
            assert!(block.remove(*at));
        }
        let block = reread(&format, block);
        assert!(block.is_empty());
        assert_eq!(block.largest_unused(), 4096 - 64);
    }

    #[test]
    fn every_broken_field_is_found() {
        let format = format(512, true);
        let mut block = DataBlock::empty(&format);
        block.insert(&format, b"name", target(5)).unwrap();
        let bytes = block.into_bytes(&format);
        for (at, value, reason) in [
            (0, b'Y', "no block of a directory's names"),
            (2, b'B', "the block belongs to a directory of another form"),
            (72, 0, "not a name"),
            (72, 255, "the entry ends with a wrong place"),
            (73, b'/', "not a name"),
            (79, 1, "the entry ends with a wrong place"),
            (82, 0, "unused space has a wrong length"),
            (83, 1, "unused space has a wrong length"),
            (82, 8, "the entry goes beyond the end"),
            (511, 1, "unused space ends with a wrong place"),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            if at == 82 && value == 0 {
                broken[83] = 0;
            }
            let parsed = DataBlock::parse(&format, DataKind::Data, broken, 512);
            assert_eq!(parsed.unwrap_err().reason, reason, "byte {at}");
        }
        // Space that was cut in two.
        let mut broken = bytes;
        put(&mut broken, 80, &[0xff, 0xff, 0, 8, 0, 0, 0, 80]);
        put(&mut broken, 88, &[0xff, 0xff, 1, 168]);
        put(&mut broken, 510, &88_u16.to_be_bytes());
        let parsed = DataBlock::parse(&format, DataKind::Data, broken, 512);
        assert_eq!(
            parsed.unwrap_err().reason,
            "unused space follows unused space"
        );
    }

    #[test]
    fn an_index_that_leads_elsewhere_is_found() {
        let format = format(512, true);
        let (block, places) = filled(&format);
        let bytes = block.into_bytes(&format);
        assert!(entry_at(&format, &bytes, places[1]).is_ok());
        for at in [0, 8, places[1] + 4, places[1] + 8, 512, 1 << 20] {
            assert!(entry_at(&format, &bytes, at).is_err(), "{at}");
        }
    }
}

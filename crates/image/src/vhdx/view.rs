//! The file as it is once its log is replayed, without writing into it.

use super::raw::LOG_SECTOR;
use crate::Error;
use crate::error::Damage;
use crate::file::ImageFile;
use ondisk::width::{u64_of, usize_of};
use std::collections::BTreeMap;

/// A file, and what its log changes. Every structure but the headers is read through it.
#[derive(Debug)]
pub(super) struct View {
    file: ImageFile,
    patches: Patches,
    /// Bytes of the file after the replay, which may make it longer.
    len: u64,
}

/// What the log changes, in whole sectors of it; ranges by their first byte, without overlaps.
#[derive(Debug, Default)]
pub(super) struct Patches(BTreeMap<u64, Patch>);

#[derive(Clone, Debug)]
struct Patch {
    end: u64,
    content: Content,
}

/// What takes the place of a range of the file.
#[derive(Clone, Debug)]
enum Content {
    Zero,
    /// One sector: its descriptor keeps the bytes in whose place the log has its own marks.
    Sector {
        /// Where in the file the log has it.
        at: u64,
        leading: [u8; 8],
        trailing: [u8; 4],
    },
}

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Segment {
    /// In the file, where the view has them.
    Plain,
    /// Nowhere: they are zero.
    Zero,
    /// In a sector of the log.
    Logged,
}

impl View {
    /// A file whose log is empty.
    pub(super) fn plain(file: ImageFile) -> Self {
        let len = file.len();
        Self::replayed(file, Patches::default(), len)
    }

    /// A file that a replay of its log would patch, and make `len` bytes long at least.
    pub(super) fn replayed(file: ImageFile, patches: Patches, len: u64) -> Self {
        Self {
            len: len.max(file.len()),
            file,
            patches,
        }
    }

    pub(super) fn file(&self) -> &ImageFile {
        &self.file
    }

    /// Bytes of the file after the replay.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf`, or says that the file is too short.
    pub(super) fn read_exact(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), Error> {
        self.check(offset, u64_of(buf.len()))?;
        while !buf.is_empty() {
            let (content, len) = self.run(offset, u64_of(buf.len()));
            let (part, rest) = buf.split_at_mut(usize_of(len));
            match content {
                None => self.file.read_exact(offset, part)?,
                Some(Content::Zero) => part.fill(0),
                Some(sector) => self.read_logged(sector, usize_of(offset % LOG_SECTOR), part)?,
            }
            buf = rest;
            offset = offset.saturating_add(len);
        }
        Ok(())
    }

    /// What kind of bytes those from `offset` on are, and how many of `wanted` are of that kind.
    pub(super) fn segment(&self, offset: u64, wanted: u64) -> (Segment, u64) {
        let (content, len) = self.run(offset, wanted);
        let segment = match content {
            None => Segment::Plain,
            Some(Content::Zero) => Segment::Zero,
            Some(Content::Sector { .. }) => Segment::Logged,
        };
        (segment, len)
    }

    /// How many bytes from `offset` on are known to be zero without reading them.
    pub(super) fn zeros(&self, offset: u64) -> u64 {
        match self.run(offset, self.len.saturating_sub(offset)) {
            (Some(Content::Zero), len) => len,
            (Some(Content::Sector { .. }), _) => 0,
            (None, len) => match self.file.host_run(offset) {
                host if host.hole => host.len.min(len),
                _ => 0,
            },
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::corrupt(
                self.file.path(),
                Damage::Truncated {
                    offset,
                    len,
                    end: self.len,
                },
            )),
        }
    }

    /// What takes the place of the file from `offset` on, and for how many bytes of `wanted`.
    fn run(&self, offset: u64, wanted: u64) -> (Option<&Content>, u64) {
        if let Some((_, patch)) = self.patches.0.range(..=offset).next_back()
            && patch.end > offset
        {
            let len = patch.end.saturating_sub(offset).min(wanted);
            return (Some(&patch.content), len);
        }
        let next = self.patches.0.range(offset..).next();
        let left = next.map_or(u64::MAX, |(start, _)| start.saturating_sub(offset));
        let len = wanted.min(left);
        match self.file.len().checked_sub(offset) {
            // What the replay appends has no other content.
            None | Some(0) => (Some(&Content::Zero), len),
            Some(stored) => (None, len.min(stored)),
        }
    }

    /// Reads out of a sector of the log, from byte `from` of it on.
    fn read_logged(&self, content: &Content, from: usize, buf: &mut [u8]) -> Result<(), Error> {
        let Content::Sector {
            at,
            leading,
            trailing,
        } = content
        else {
            buf.fill(0);
            return Ok(());
        };
        let mut sector = [0; usize_of(LOG_SECTOR)];
        self.file.read_exact(*at, &mut sector)?;
        let (body, end) = sector.split_at_mut(usize_of(LOG_SECTOR).saturating_sub(trailing.len()));
        body[..leading.len()].copy_from_slice(leading);
        end.copy_from_slice(trailing);
        let to = from.saturating_add(buf.len());
        if let Some(part) = sector.get(from..to) {
            // A run ends with its sector, so the part is always there.
            buf.copy_from_slice(part);
        }
        Ok(())
    }
}

impl Patches {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes whole sectors of the file zero.
    pub(super) fn zero(&mut self, start: u64, end: u64) {
        if start < end {
            self.put(start, end, Content::Zero);
        }
    }

    /// Replaces a sector of the file, which does not end beyond what can be counted, by one of the
    /// log at byte `at` and the bytes that its descriptor has.
    pub(super) fn sector(&mut self, start: u64, at: u64, leading: [u8; 8], trailing: [u8; 4]) {
        let content = Content::Sector {
            at,
            leading,
            trailing,
        };
        self.put(start, start.saturating_add(LOG_SECTOR), content);
    }

    /// Later patches hide earlier ones. Of those only ranges of zeros are ever cut, as all begin
    /// and end with sectors.
    fn put(&mut self, start: u64, end: u64, content: Content) {
        if let Some((_, before)) = self.0.range_mut(..start).next_back()
            && before.end > start
        {
            let rest = before.clone();
            before.end = start;
            if rest.end > end {
                self.0.insert(end, rest);
            }
        }
        while let Some((key, _)) = self.0.range(start..end).next() {
            let key = *key;
            if let Some(hidden) = self.0.remove(&key)
                && hidden.end > end
            {
                self.0.insert(end, hidden);
            }
        }
        self.0.insert(start, Patch { end, content });
    }
}

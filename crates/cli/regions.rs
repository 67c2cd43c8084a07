//! Which parts of a disk held data, changed and were uploaded, for reports.

use crate::target::Output;
use anyhow::{Context, Result};
use block::{BlockRead, ExtentKind};
use guest::{Disk, VolumeId};
use ondisk::Interrupt;
use report::{ChangedSince, Guest, Painter};
use std::ops::Range;
use store::{BLOCK, Store};

/// What is told about a disk that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    /// The disk as it was written.
    pub(crate) device: &'a dyn BlockRead,
    /// What a conversion wrote to it; none if there was no conversion.
    pub(crate) converted: Option<&'a [Range<u64>]>,
    /// What it became.
    pub(crate) output: &'a Output,
}

/// Which parts of a disk were put into a snapshot.
enum Put {
    Ranges(Vec<Range<u64>>),
    /// All that hold data, in whole blocks.
    Data,
}

impl Written<'_> {
    /// Paints the disk. What was uploaded, and what changed since the last snapshot, is left open
    /// where the place of the snapshots does not tell it.
    pub(crate) fn paint(&self, painter: &mut Painter, interrupt: &Interrupt) -> Result<()> {
        let size = self.device.size();
        self.each_data(interrupt, |range| painter.data(range))?;
        for range in self.converted.into_iter().flatten() {
            painter.changed(range.clone());
        }
        if self.converted.is_some() {
            painter.changed_since(ChangedSince::Conversion);
        }
        let Some(put) = self.put(interrupt)? else {
            return Ok(());
        };
        painter.uploads_are_known();
        let snapshot = self.output.snapshot();
        let inherits = snapshot.is_some_and(|it| it.parent.is_some() || !it.made);
        let is_staging = self.converted.is_none() && inherits;
        if is_staging {
            painter.changed_since(ChangedSince::LastSnapshot);
        }
        match put {
            Put::Data => self.each_data(interrupt, |range| painter.uploaded(whole(&range, size))),
            Put::Ranges(ranges) => {
                for range in ranges {
                    if is_staging {
                        painter.changed(range.clone());
                    }
                    painter.uploaded(range);
                }
                Ok(())
            }
        }
    }

    /// Which parts of the disk were put into the snapshot, if that can be told.
    fn put(&self, interrupt: &Interrupt) -> Result<Option<Put>> {
        let Some(snapshot) = self.output.snapshot() else {
            return Ok(None);
        };
        if !snapshot.made || snapshot.put_blocks == 0 {
            return Ok(Some(Put::Ranges(Vec::new())));
        }
        let store = snapshot.store.map(Store::open).transpose()?;
        if let (Some(store), Some(parent)) = (store, &snapshot.parent) {
            let ranges = store.diff(&parent.parse()?, &snapshot.id.parse()?)?;
            return Ok(Some(Put::Ranges(ranges)));
        }
        // How many blocks were put is known, not which. Where as many could have been put as were,
        // it was these.
        let size = self.device.size();
        let mut could = Blocks::default();
        let put = match (snapshot.parent, self.converted) {
            (None, _) => {
                self.each_data(interrupt, |range| could.count(&whole(&range, size)))?;
                Put::Data
            }
            (Some(_), Some(written)) => {
                let written: Vec<_> = written.iter().map(|range| whole(range, size)).collect();
                written.iter().for_each(|range| could.count(range));
                Put::Ranges(written)
            }
            (Some(_), None) => return Ok(None),
        };
        Ok((could.count == snapshot.put_blocks).then_some(put))
    }

    /// The ranges that hold data, in ascending order.
    fn each_data(&self, interrupt: &Interrupt, mut tell: impl FnMut(Range<u64>)) -> Result<()> {
        for extent in self.device.extents() {
            interrupt.check()?;
            let extent = extent.context("cannot tell where the disk holds data")?;
            if extent.kind == ExtentKind::Data {
                tell(extent.range);
            }
        }
        Ok(())
    }
}

/// A range widened to whole blocks of a snapshot.
fn whole(range: &Range<u64>, size: u64) -> Range<u64> {
    let end = range.end.next_multiple_of(BLOCK).min(size);
    range.start / BLOCK * BLOCK..end
}

/// Counts blocks of ranges in ascending order, each once.
#[derive(Default)]
struct Blocks {
    count: u64,
    end: u64,
}

impl Blocks {
    fn count(&mut self, range: &Range<u64>) {
        let start = range.start.max(self.end);
        self.count += range.end.saturating_sub(start).div_ceil(BLOCK);
        self.end = self.end.max(range.end);
    }
}

/// Names the partitions of a disk with this index in its machine.
pub(crate) fn partitions(painter: &mut Painter, index: usize, disk: &Disk, guest: Option<&Guest>) {
    let mut partitions: Vec<_> = disk
        .table
        .partitions
        .iter()
        .filter(|it| it.number != 0 && !it.kind.is_extended())
        .collect();
    partitions.sort_by_key(|it| it.start);
    for partition in partitions {
        let id = VolumeId::partition(index, partition.number).to_string();
        let volume = guest.and_then(|guest| guest.volumes.iter().find(|it| it.name == id));
        let mut name = partition.number.to_string();
        for word in volume
            .into_iter()
            .flat_map(|it| [Some(&it.content), it.mounted_at.as_ref()])
            .flatten()
        {
            name.push(' ');
            name.push_str(word);
        }
        painter.part(name, partition.start, partition.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
    fn blocks_are_counted_once() {
        let size = 3 * BLOCK + 7;
        for (ranges, expected) in [
            (vec![], 0),
            (vec![1..2], 1),
            (vec![1..2, 3..BLOCK], 1),
            (vec![1..BLOCK + 1, 3 * BLOCK..3 * BLOCK + 1], 3),
            (vec![BLOCK - 1..BLOCK, BLOCK..BLOCK + 1], 2),
            (vec![0..size], 4),
        ] {
            let mut blocks = Blocks::default();
            for range in &ranges {
                blocks.count(&whole(range, size));
            }
            assert_eq!(blocks.count, expected, "{ranges:?}");
        }
        assert_eq!(
            whole(&(3 * BLOCK + 1..3 * BLOCK + 2), size),
            3 * BLOCK..size
        );
    }
}

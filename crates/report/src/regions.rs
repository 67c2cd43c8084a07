//! Which parts of a disk held data, changed, and were uploaded: small enough for any disk, with
//! exact totals.
//!
//! A disk is divided into at most [`MAX_CELLS`] cells of one size, and each cell counts its bytes
//! of each class. Neighbours that are alike are written as one run.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;

/// Most cells of a disk: more than a screen has columns.
pub const MAX_CELLS: u64 = 4096;

/// Smallest cell, in bytes: what a snapshot is made of.
const SMALLEST_CELL: u64 = 512 << 10;

/// Which parts of a disk held data, changed, and were uploaded.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", try_from = "Raw")]
pub struct Regions {
    /// The disk, as in messages.
    pub disk: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of a cell; the last one of a disk may be shorter.
    pub cell: u64,
    /// What "changed" means here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_since: Option<ChangedSince>,
    /// Bytes of the whole disk: the sums over all cells.
    pub totals: Cell,
    /// Whether it is known which parts were uploaded; else the totals have none.
    pub uploads_known: bool,
    /// The partitions, in the order of the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The cells in the order of the disk.
    pub runs: Vec<CellRun>,
}

/// A partition.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// Its number and what it holds: `1 ext4 /`.
    pub name: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// What "changed" means.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangedSince {
    /// The conversion wrote it: it differs from the source.
    Conversion,
    /// It differs from the last snapshot.
    LastSnapshot,
}

/// Bytes of each class; what holds no data is a hole or zeros.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cell {
    /// Bytes that hold data.
    pub data: u64,
    /// Bytes that changed.
    pub changed: u64,
    /// Bytes that were uploaded, or stored.
    pub uploaded: u64,
}

/// Neighbouring cells that are alike; in JSON `[count, data, changed, uploaded]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CellRun {
    /// How many.
    pub count: u64,
    /// What each of them holds.
    pub each: Cell,
}

impl Serialize for CellRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Cell {
            data,
            changed,
            uploaded,
        } = self.each;
        [self.count, data, changed, uploaded].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CellRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [count, data, changed, uploaded] = <[u64; 4]>::deserialize(deserializer)?;
        if count == 0 {
            return Err(D::Error::custom("a run has at least one cell"));
        }
        let each = Cell {
            data,
            changed,
            uploaded,
        };
        Ok(Self { count, each })
    }
}

/// Regions as somebody wrote them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    disk: String,
    size: u64,
    cell: u64,
    changed_since: Option<ChangedSince>,
    totals: Cell,
    uploads_known: bool,
    #[serde(default)]
    parts: Vec<Part>,
    runs: Vec<CellRun>,
}

impl TryFrom<Raw> for Regions {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let regions = Self {
            disk: raw.disk,
            size: raw.size,
            cell: raw.cell,
            changed_since: raw.changed_since,
            totals: raw.totals,
            uploads_known: raw.uploads_known,
            parts: raw.parts,
            runs: raw.runs,
        };
        regions.check().map(|()| regions)
    }
}

impl Regions {
    /// Begins to paint a disk of `size` bytes.
    pub fn of(disk: impl Into<String>, size: u64) -> Painter {
        let mut cell = SMALLEST_CELL;
        while size.div_ceil(cell) > MAX_CELLS {
            cell = cell.saturating_mul(2);
        }
        let count = usize::try_from(size.div_ceil(cell)).unwrap_or_default();
        Painter {
            disk: disk.into(),
            size,
            cell,
            cells: vec![Cell::default(); count],
            at: [0; 3],
            changed_since: None,
            uploads_known: false,
            parts: Vec::new(),
        }
    }

    /// The number of cells.
    pub fn cells(&self) -> u64 {
        self.size.checked_div(self.cell).map_or(0, |whole| {
            whole + u64::from(!self.size.is_multiple_of(self.cell))
        })
    }

    /// Checks what pictures rely on: no more cells than there may be, and that they add up.
    fn check(&self) -> Result<(), String> {
        let disk = &self.disk;
        if self.cell == 0 || self.size.div_ceil(self.cell) > MAX_CELLS {
            return Err(format!(
                "the regions of {disk:?} have more than {MAX_CELLS} cells"
            ));
        }
        let mut count = 0_u64;
        let mut sum = [0_u128; 3];
        for run in &self.runs {
            count = count.saturating_add(run.count);
            let Cell {
                data,
                changed,
                uploaded,
            } = run.each;
            for (sum, bytes) in sum.iter_mut().zip([data, changed, uploaded]) {
                if bytes > self.cell {
                    return Err(format!(
                        "a cell of the regions of {disk:?} holds more than its {} bytes",
                        self.cell
                    ));
                }
                *sum = sum.saturating_add(u128::from(bytes) * u128::from(run.count));
            }
        }
        let Cell {
            data,
            changed,
            uploaded,
        } = self.totals;
        if count != self.cells() || sum != [data, changed, uploaded].map(u128::from) {
            return Err(format!("the regions of {disk:?} do not add up"));
        }
        Ok(())
    }
}

/// Regions while they are painted.
///
/// The ranges of each class are told in ascending order; bytes before the end of the last one are
/// not counted again, and bytes behind the end of the disk never.
#[derive(Clone, Debug)]
pub struct Painter {
    disk: String,
    size: u64,
    cell: u64,
    cells: Vec<Cell>,
    at: [u64; 3],
    changed_since: Option<ChangedSince>,
    uploads_known: bool,
    parts: Vec<Part>,
}

impl Painter {
    /// These bytes hold data.
    pub fn data(&mut self, range: Range<u64>) {
        self.paint(0, range, |cell| &mut cell.data);
    }

    /// These bytes changed.
    pub fn changed(&mut self, range: Range<u64>) {
        self.paint(1, range, |cell| &mut cell.changed);
    }

    /// These bytes were uploaded, or stored.
    pub fn uploaded(&mut self, range: Range<u64>) {
        self.uploads_known = true;
        self.paint(2, range, |cell| &mut cell.uploaded);
    }

    /// It is known which parts were uploaded, even if there were none.
    pub fn uploads_are_known(&mut self) {
        self.uploads_known = true;
    }

    /// Says what "changed" means.
    pub fn changed_since(&mut self, since: ChangedSince) {
        self.changed_since = Some(since);
    }

    /// Here is a partition; they are told in the order of the disk.
    pub fn part(&mut self, name: impl Into<String>, start: u64, size: u64) {
        self.parts.push(Part {
            name: name.into(),
            start,
            size,
        });
    }

    fn paint(&mut self, class: usize, range: Range<u64>, field: fn(&mut Cell) -> &mut u64) {
        let Some(at) = self.at.get_mut(class) else {
            return;
        };
        let (mut start, end) = (range.start.max(*at), range.end.min(self.size));
        *at = end.max(*at);
        while start < end {
            let index = start / self.cell;
            let next = index.saturating_add(1).saturating_mul(self.cell).min(end);
            let cell = usize::try_from(index).ok();
            if let Some(cell) = cell.and_then(|index| self.cells.get_mut(index)) {
                *field(cell) += next - start;
            }
            start = next;
        }
    }

    /// What was painted.
    pub fn finish(self) -> Regions {
        let mut totals = Cell::default();
        let mut runs: Vec<CellRun> = Vec::new();
        for each in self.cells {
            totals.data += each.data;
            totals.changed += each.changed;
            totals.uploaded += each.uploaded;
            match runs.last_mut() {
                Some(run) if run.each == each => run.count += 1,
                _ => runs.push(CellRun { count: 1, each }),
            }
        }
        Regions {
            disk: self.disk,
            size: self.size,
            cell: self.cell,
            changed_since: self.changed_since,
            totals,
            uploads_known: self.uploads_known,
            parts: self.parts,
            runs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random and are the same every time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end.max(1)
        }
    }

    /// Ascending ranges that touch neither each other nor the end.
    fn ranges(dice: &mut Dice, size: u64) -> Vec<Range<u64>> {
        let mut ends: Vec<u64> = (0..2 * dice.below(200)).map(|_| dice.below(size)).collect();
        ends.sort_unstable();
        ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
    }

    fn sum(ranges: &[Range<u64>]) -> u64 {
        ranges.iter().map(|range| range.end - range.start).sum()
    }

    #[test]
    fn totals_are_those_of_what_was_told_and_of_all_cells() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for size in [
            0,
            1,
            512,
            (512 << 10) + 1,
            (2 << 30) - 512,
            2 << 30,
            (2 << 30) + 512,
            37 << 30,
            16 << 40,
            u64::MAX,
        ] {
            for _ in 0..20 {
                let mut painter = Regions::of("a", size);
                let layers = [(); 3].map(|()| ranges(&mut dice, size));
                let [data, changed, uploaded] = layers.clone();
                data.into_iter().for_each(|range| painter.data(range));
                changed.into_iter().for_each(|range| painter.changed(range));
                uploaded
                    .into_iter()
                    .for_each(|range| painter.uploaded(range));
                let regions = painter.finish();
                let expected = layers.map(|layer| sum(&layer));
                let Cell {
                    data,
                    changed,
                    uploaded,
                } = regions.totals;
                assert_eq!([data, changed, uploaded], expected, "size {size}");
                assert_eq!(regions.check(), Ok(()), "size {size}");
                assert!(regions.cells() <= MAX_CELLS);
                let json = serde_json::to_string(&regions).unwrap();
                assert_eq!(serde_json::from_str::<Regions>(&json).unwrap(), regions);
            }
        }
    }

    #[test]
    fn a_full_disk_of_16_tib_is_one_run_of_cells_of_4_gib() {
        let size = 16 << 40;
        let mut painter = Regions::of("a", size);
        painter.data(0..size);
        let regions = painter.finish();
        assert_eq!(regions.cell, 4 << 30);
        let each = Cell {
            data: 4 << 30,
            ..Cell::default()
        };
        assert_eq!(regions.runs, [CellRun { count: 4096, each }]);
        assert!(!regions.uploads_known);
    }

    #[test]
    fn what_is_told_twice_or_lies_outside_is_counted_once_or_not() {
        let mut painter = Regions::of("a", 1 << 20);
        painter.data(0..1000);
        painter.data(500..1500);
        painter.data(0..10);
        painter.data((1 << 20) - 1..u64::MAX);
        painter.data(u64::MAX - 1..u64::MAX);
        assert_eq!(painter.finish().totals.data, 1501);
    }

    #[test]
    fn regions_that_do_not_add_up_are_refused() {
        let mut painter = Regions::of("a", 4 << 20);
        painter.data(0..1 << 20);
        let good = serde_json::to_value(painter.finish()).unwrap();
        assert!(serde_json::from_value::<Regions>(good.clone()).is_ok());
        for (field, value, expected) in [
            ("size", serde_json::json!(8 << 20), "do not add up"),
            ("size", serde_json::json!(u64::MAX), "more than 4096 cells"),
            ("cell", serde_json::json!(0), "more than 4096 cells"),
            (
                "totals",
                serde_json::json!({"data": 1, "changed": 0, "uploaded": 0}),
                "do not add up",
            ),
            ("runs", serde_json::json!([]), "do not add up"),
            (
                "runs",
                serde_json::json!([[8, u64::MAX, 0, 0]]),
                "holds more than its",
            ),
            (
                "runs",
                serde_json::json!([[u64::MAX, 1, 0, 0], [u64::MAX, 1, 0, 0]]),
                "do not add up",
            ),
            ("runs", serde_json::json!([[0, 0, 0, 0]]), "at least one"),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = serde_json::from_value::<Regions>(bad).unwrap_err();
            assert!(error.to_string().contains(expected), "{field}: {error}");
        }
    }
}

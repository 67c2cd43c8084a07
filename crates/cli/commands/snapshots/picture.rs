//! The picture of a disk's changed regions.

use serde::Serialize;
use std::ops::Range;

/// Bytes that changed.
#[derive(Serialize)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// The ranges as far as they are on a disk of `size` bytes: the last block may end behind it, and a
/// parent may have been larger.
pub(super) fn runs(ranges: &[Range<u64>], size: u64) -> Vec<Run> {
    let run = |range: &Range<u64>| Run {
        start: range.start,
        length: range.end.min(size).saturating_sub(range.start),
    };
    let runs = ranges.iter().map(run);
    runs.filter(|run| run.length > 0).collect()
}

/// The disk as a line of cells: the more of a cell changed, the darker it is. What changed at all
/// is never blank, and what did not is.
pub(super) fn picture(runs: &[Run], size: u64, shades: bool) -> String {
    const CELLS: u64 = 64;
    /// Shades besides the blank.
    const STEPS: u128 = 4;
    let scale: [char; 5] = if shades {
        [' ', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}']
    } else {
        [' ', '.', ':', '+', '#']
    };
    // Wide numbers: a disk has up to 2^46 bytes, and shares are multiplied.
    let edge = |cell: u64| u128::from(cell) * u128::from(size) / u128::from(CELLS);
    let mut runs = runs.iter().peekable();
    let mut picture = String::new();
    for cell in 0..CELLS {
        let (start, end) = (edge(cell), edge(cell + 1));
        let mut changed = 0;
        while let Some(run) = runs.peek() {
            let (from, to) = (
                u128::from(run.start),
                u128::from(run.start) + u128::from(run.length),
            );
            changed += to.min(end).saturating_sub(from.max(start));
            if to > end {
                break;
            }
            runs.next();
        }
        let shade = (changed * STEPS).div_ceil((end - start).max(1));
        let shade = usize::try_from(shade).unwrap_or_default();
        picture.push(scale.get(shade).copied().unwrap_or(' '));
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_where_and_how_much() {
        let run = |start, length| Run { start, length };
        let nothing = picture(&[], 64 << 20, false);
        assert_eq!(nothing, " ".repeat(64));
        let all = picture(&[run(0, 64 << 20)], 64 << 20, false);
        assert_eq!(all, "#".repeat(64));
        let runs = [run(0, 1), run(1 << 20, 1 << 19), run(63 << 20, 1 << 20)];
        let some = picture(&runs, 64 << 20, false);
        assert_eq!(some, format!(".:{}#", " ".repeat(61)));
        let shaded = picture(&runs, 64 << 20, true);
        assert_eq!(
            shaded,
            format!("\u{2591}\u{2592}{}\u{2588}", " ".repeat(61))
        );
        assert_eq!(picture(&[run(0, 10)], 10, false).chars().count(), 64);
        assert_eq!(picture(&[], 0, false).chars().count(), 64);
        let huge = picture(&[run(0, 64 << 40)], 64 << 40, false);
        assert_eq!(huge, "#".repeat(64));
    }
}

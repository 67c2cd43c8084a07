//! Columns of text.

use crate::terminal::{Colour, Terminal};
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Columns as wide as what is in them, the head in bold; those in `numbers` to the right.
pub(crate) fn table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    numbers: &RangeInclusive<usize>,
    terminal: &Terminal,
) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if numbers.contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        let line = line.trim_end();
        if number == 0 {
            text.push_str(&terminal.paint(Colour::Bold, line));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

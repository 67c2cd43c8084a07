//! Pictures: which regions of a disk held data, changed and were uploaded; what was done when.
//!
//! Drawn as inline SVG of fixed proportions that is stretched to the width of the page, with the
//! words beside it as HTML, so that these keep their size on a phone.

use super::room::Room;
use super::{Shown, Writer, brief, more, section};
use crate::regions::Part;
use crate::size::{bytes, duration, grouped, percent};
use crate::{Cell, ChangedSince, Outcome, Regions};

/// Columns of a picture: about as many as a phone has pixels, so that each can be seen.
const COLUMNS: u64 = 256;

/// Smallest width of what is marked, in columns.
const MARK: u64 = 2;

pub(super) fn regions(html: &mut Writer, one: &Shown<'_>) {
    let disks = &one.machine.regions;
    if disks.is_empty() {
        return;
    }
    section(html, "Regions of the disks", None, |html| {
        for disk in disks.iter().take(Room::LIST) {
            html.element("div", "disk", |html| self::disk(html, disk));
        }
        more(
            html,
            disks.len().saturating_sub(Room::LIST),
            "disks",
            one.file,
        );
    });
}

fn disk(html: &mut Writer, disk: &Regions) {
    html.element("h3", "", |html| {
        html.leaf("span", "path", &brief(&disk.disk));
        html.text(" ");
        html.leaf("span", "note", &bytes(disk.size));
    });
    if !disk.parts.is_empty() && disk.size > 0 {
        parts(html, disk);
    }
    let columns = columns(disk);
    let totals = disk.totals;
    lane(html, disk, "data", "Data", totals.data, &columns, |it| {
        it.data
    });
    let changed = match disk.changed_since {
        Some(ChangedSince::Conversion) => Some("Changed by the conversion"),
        Some(ChangedSince::LastSnapshot) => Some("Changed since the last snapshot"),
        None if totals.changed > 0 => Some("Changed"),
        None => None,
    };
    if let Some(changed) = changed {
        lane(
            html,
            disk,
            "edit",
            changed,
            totals.changed,
            &columns,
            |it| it.changed,
        );
    }
    if disk.uploads_known {
        lane(
            html,
            disk,
            "sent",
            "Uploaded",
            totals.uploaded,
            &columns,
            |it| it.uploaded,
        );
    }
    html.element("div", "axis", |html| {
        for quarter in 0..=4_u64 {
            let at = u128::from(disk.size) * u128::from(quarter) / 4;
            html.leaf("span", "", &bytes(u64::try_from(at).unwrap_or(u64::MAX)));
        }
    });
    html.element("p", "note", |html| {
        let holes = disk.size.saturating_sub(totals.data);
        html.text(&format!(
            "Holes and zeros: {} ({}). The picture has {} of {}; the stronger the colour, the more \
             of a column, and however little there is can be seen.",
            exactly(holes),
            percent(holes, disk.size),
            plural_columns(columns.len()),
            bytes(disk.size.div_ceil(COLUMNS).max(disk.cell)),
        ));
    });
}

fn plural_columns(count: usize) -> String {
    if count == 1 {
        "one column".to_owned()
    } else {
        format!("{count} columns")
    }
}

fn exactly(size: u64) -> String {
    if size < 1024 {
        bytes(size)
    } else {
        format!("{} = {} bytes", bytes(size), grouped(size))
    }
}

/// The partitions, as boxes above the lanes, and a list of those that are too narrow for a name.
fn parts(html: &mut Writer, disk: &Regions) {
    const SHOWN: usize = 64;
    let share = |part: &Part| part.size.saturating_mul(12) >= disk.size;
    html.element("div", "parts", |html| {
        for part in disk.parts.iter().take(SHOWN) {
            let style = format!(
                "left:{};width:{}",
                per_cent_of(part.start, disk.size),
                per_cent_of(part.size, disk.size)
            );
            html.with(
                "span",
                &[("style", &style), ("title", &brief(&part.name))],
                |html| {
                    if share(part) {
                        html.text(&brief(&part.name));
                    }
                },
            );
        }
    });
    let narrow: Vec<_> = disk.parts.iter().filter(|part| !share(part)).collect();
    if !narrow.is_empty() {
        let names = narrow.iter().take(SHOWN).map(|part| {
            format!(
                "{} ({} at {})",
                brief(&part.name),
                bytes(part.size),
                bytes(part.start)
            )
        });
        let names: Vec<_> = names.collect();
        html.leaf(
            "p",
            "note",
            &format!("Too narrow to name: {}", names.join(", ")),
        );
    }
}

/// A share as CSS writes it, to a hundredth of a percent.
fn per_cent_of(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let hundredths = (u128::from(part) * 10_000 / whole).min(10_000);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// Bytes of each class in each column, and how many bytes a column has.
struct Column {
    bytes: u64,
    holds: Cell,
}

/// Puts cells together to columns; each column is a whole number of cells.
fn columns(disk: &Regions) -> Vec<Column> {
    let cells = disk.cells();
    let per_column = cells.div_ceil(COLUMNS).max(1);
    let mut columns: Vec<Column> = Vec::new();
    let mut at = 0_u64;
    for run in &disk.runs {
        let mut left = run.count;
        while left > 0 {
            if at.is_multiple_of(per_column) {
                let start = at.saturating_mul(disk.cell);
                let whole = per_column.saturating_mul(disk.cell);
                columns.push(Column {
                    bytes: disk.size.saturating_sub(start).min(whole),
                    holds: Cell::default(),
                });
            }
            let count = left.min(per_column - at % per_column);
            if let Some(column) = columns.last_mut() {
                let add = |sum: &mut u64, each: u64| {
                    *sum = sum.saturating_add(each.saturating_mul(count));
                };
                add(&mut column.holds.data, run.each.data);
                add(&mut column.holds.changed, run.each.changed);
                add(&mut column.holds.uploaded, run.each.uploaded);
            }
            at = at.saturating_add(count);
            left -= count;
        }
    }
    columns
}

/// A line of the picture: its name, its total, and the strip.
fn lane(
    html: &mut Writer,
    disk: &Regions,
    class: &str,
    name: &str,
    total: u64,
    columns: &[Column],
    of: fn(&Cell) -> u64,
) {
    html.element("div", "lane", |html| {
        html.leaf("span", &format!("lane-name {class}"), name);
        html.element("span", "note", |html| {
            html.text(&format!(
                "{} ({})",
                exactly(total),
                percent(total, disk.size)
            ));
        });
        // An empty strip says no more than the number.
        if total == 0 {
            return;
        }
        let width = columns.len().max(1).to_string();
        let label = format!("{name}, {} of {}", bytes(total), bytes(disk.size));
        html.with(
            "svg",
            &[
                ("class", &format!("strip {class}")),
                ("viewBox", &format!("0 0 {width} 10")),
                ("preserveAspectRatio", "none"),
                ("role", "img"),
                ("aria-label", &label),
            ],
            |html| {
                for (at, count, level) in levels(columns, of) {
                    mark(html, at, count, level, columns.len());
                }
            },
        );
    });
}

/// Runs of columns of one level, as start, number and level from 1 to 8; empty ones are left out.
fn levels(columns: &[Column], of: fn(&Cell) -> u64) -> Vec<(u64, u64, u64)> {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for (at, column) in (0..).zip(columns) {
        let held = u128::from(of(&column.holds));
        let level = (held * 8).div_ceil(u128::from(column.bytes.max(1)));
        let level = u64::try_from(level).unwrap_or(8).min(8);
        match runs.last_mut() {
            Some((start, count, last)) if *last == level && *start + *count == at => *count += 1,
            _ if level > 0 => runs.push((at, 1, level)),
            _ => {}
        }
    }
    runs
}

fn mark(html: &mut Writer, at: u64, count: u64, level: u64, columns: usize) {
    // A single column may be less than a pixel wide.
    let wide = u64::try_from(columns).is_ok_and(|columns| columns > COLUMNS / 2);
    let width = if wide { count.max(MARK) } else { count };
    html.with(
        "rect",
        &[
            ("class", &format!("l{level}")),
            ("x", &at.to_string()),
            ("width", &width.to_string()),
            ("height", "10"),
        ],
        |_| {},
    );
}

/// What was done when.
pub(super) fn steps(html: &mut Writer, one: &Shown<'_>) {
    let steps = &one.machine.steps;
    if steps.is_empty() {
        return;
    }
    let end = steps.iter().map(|it| it.at.saturating_add(it.took)).max();
    let end = end.unwrap_or_default().max(1);
    section(html, "Steps", None, |html| {
        html.element("ol", "steps", |html| {
            for step in steps.iter().take(Room::LIST) {
                let failed = step.result == Outcome::Failed;
                html.element("li", if failed { "failed" } else { "" }, |html| {
                    html.leaf("span", "step", &brief(&step.name));
                    html.element("span", "note", |html| {
                        html.text(&duration(step.took));
                        if failed {
                            html.text(", failed");
                        }
                    });
                    bar(html, step.at, step.took, end);
                });
            }
        });
        more(
            html,
            steps.len().saturating_sub(Room::LIST),
            "steps",
            one.file,
        );
    });
}

fn bar(html: &mut Writer, at: u64, took: u64, end: u64) {
    const WIDTH: u128 = 1000;
    let scale = |value: u64| u128::from(value.min(end)) * WIDTH / u128::from(end);
    // What took no time is drawn all the same, and inside.
    let width = scale(took).max(4);
    let start = scale(at).min(WIDTH - width.min(WIDTH));
    html.with(
        "svg",
        &[
            ("class", "bar"),
            ("viewBox", "0 0 1000 8"),
            ("preserveAspectRatio", "none"),
            ("aria-hidden", "true"),
        ],
        |html| {
            html.with(
                "rect",
                &[
                    ("x", &start.to_string()),
                    ("width", &width.to_string()),
                    ("height", "8"),
                ],
                |_| {},
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_what_the_cells_hold() {
        for size in [1 << 20, 3 << 30, (3 << 30) + 512, 16 << 40] {
            let mut painter = Regions::of("a", size);
            painter.data(0..size / 3);
            painter.changed(size / 2..size / 2 + 1);
            painter.uploaded(size - 1..size);
            let disk = painter.finish();
            let columns = columns(&disk);
            assert!(columns.len() <= 256, "size {size}: {}", columns.len());
            let sum = |of: fn(&Column) -> u64| columns.iter().map(of).sum::<u64>();
            assert_eq!(sum(|it| it.bytes), size);
            assert_eq!(sum(|it| it.holds.data), size / 3);
            assert_eq!(sum(|it| it.holds.changed), 1);
            assert_eq!(sum(|it| it.holds.uploaded), 1);
            assert_eq!(levels(&columns, |it| it.changed).len(), 1, "one byte shows");
        }
    }

    #[test]
    fn shares_stay_inside() {
        assert_eq!(per_cent_of(1, 3), "33.33%");
        assert_eq!(per_cent_of(7, 0), "100.00%");
        assert_eq!(per_cent_of(u64::MAX, 1), "100.00%");
    }
}

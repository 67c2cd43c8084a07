//! The table of machines at the top of a page of several.

use super::room::Room;
use super::{Shown, Writer, anchor, brief, section, verdict};
use crate::{Moment, Outcome, Report, Severity};

pub(super) fn write(html: &mut Writer, reports: &[(String, Report)], shown: &[Shown<'_>]) {
    html.element("header", "hero plain", |html| {
        html.leaf("p", "kind", "rehost report");
        html.leaf("h1", "name", &format!("{} machines", shown.len()));
        let classes = shown.iter().map(|one| verdict::of(one).class);
        let classes: Vec<_> = classes.collect();
        let count = |class| classes.iter().filter(|it| **it == class).count();
        html.element("ul", "tiles", |html| {
            tile(html, "good", count("good"), "well");
            tile(html, "warn", count("warn"), "with warnings");
            tile(html, "bad", count("bad"), "failed, or with problems");
            tile(html, "", reports.len(), "reports");
        });
    });
    let empty = reports
        .iter()
        .filter(|(_, report)| report.run.result == Outcome::Failed && report.machines.is_empty());
    let empty: Vec<_> = empty.collect();
    if !empty.is_empty() {
        section(
            html,
            "Runs that failed before any machine",
            Some(empty.len()),
            |html| {
                html.element("ul", "cards", |html| {
                    for (file, report) in empty.iter().take(Room::LIST) {
                        html.element("li", "problem", |html| {
                            html.leaf("b", "", file);
                            html.text(" ");
                            html.text(&brief(&report.run.error.join(": ")));
                        });
                    }
                });
            },
        );
    }
    section(html, "Machines", Some(shown.len()), |html| {
        let rows = shown.iter().enumerate().take(Room::MACHINES);
        table(html, rows.map(|(number, one)| Row::of(one, anchor(number))));
        if shown.len() > Room::MACHINES {
            let left = shown.len() - Room::MACHINES;
            html.leaf("p", "cut", &format!("and {left} more machines."));
        }
    });
}

pub(super) fn tile(html: &mut Writer, class: &str, number: usize, what: &str) {
    html.element("li", if number == 0 { "" } else { class }, |html| {
        html.leaf("b", "", &number.to_string());
        html.text(" ");
        html.leaf("span", "", what);
    });
}

/// A machine in the table.
pub(super) struct Row {
    /// Where it is in the page, if it is.
    pub(super) anchor: Option<String>,
    pub(super) name: String,
    pub(super) class: &'static str,
    pub(super) word: String,
    pub(super) system: String,
    /// Numbers of problems, warnings and changes.
    pub(super) counts: [usize; 3],
    /// When, by what, and what else is to say.
    pub(super) run: String,
}

impl Row {
    pub(super) fn of(one: &Shown<'_>, anchor: String) -> Self {
        let verdict = verdict::of(one);
        let machine = one.machine;
        let count = |severity| {
            let findings = machine.findings.iter();
            findings.filter(|it| it.severity == severity).count()
        };
        Self {
            anchor: Some(anchor),
            name: machine.name.clone(),
            class: verdict.class,
            word: verdict.word.to_owned(),
            system: machine
                .guest
                .as_ref()
                .map_or_else(String::new, |it| it.os.clone()),
            counts: [
                count(Severity::Problem),
                count(Severity::Warning),
                machine.changes.len(),
            ],
            run: format!("{} {}", one.run.command, minute(one.run.ended)),
        }
    }
}

/// A time to the minute, as people write it.
fn minute(moment: Moment) -> String {
    let text = moment.to_string().replace('T', " ");
    text.chars().take("2026-01-31 23:59".len()).collect()
}

/// A table that becomes a list of cards on a phone.
pub(super) fn table(html: &mut Writer, rows: impl Iterator<Item = Row>) {
    const HEADS: [&str; 7] = [
        "Machine", "Result", "System", "Problems", "Warnings", "Changes", "Run",
    ];
    html.element("table", "", |html| {
        html.element("thead", "", |html| {
            html.element("tr", "", |html| {
                for head in HEADS {
                    html.with("th", &[("scope", "col")], |html| html.text(head));
                }
            });
        });
        html.element("tbody", "", |html| {
            for row in rows {
                html.element("tr", "", |html| self::row(html, &row, &HEADS));
            }
        });
    });
}

fn row(html: &mut Writer, row: &Row, heads: &[&str; 7]) {
    let [machine, result, system, problems, warnings, changes, run] = *heads;
    let cell = |html: &mut Writer, head: &str, class: &str, text: &str| {
        html.with("td", &[("data-head", head), ("class", class)], |html| {
            html.text(&brief(text));
        });
    };
    html.with(
        "td",
        &[("data-head", machine), ("class", "name")],
        |html| match &row.anchor {
            Some(anchor) => html.with("a", &[("href", &format!("#{anchor}"))], |html| {
                html.text(&brief(&row.name));
            }),
            None => html.text(&brief(&row.name)),
        },
    );
    html.with("td", &[("data-head", result)], |html| {
        html.leaf("span", &format!("pill {}", row.class), &row.word);
    });
    cell(html, system, "", &row.system);
    for (head, number) in [problems, warnings, changes].into_iter().zip(row.counts) {
        let class = if number == 0 { "number zero" } else { "number" };
        cell(html, head, class, &number.to_string());
    }
    cell(html, run, "note", &row.run);
}

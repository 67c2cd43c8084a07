//! One self-contained HTML page of one report or several: no scripts, nothing from outside.
//!
//! A page stays small whatever the reports hold ([`Room`]): what is cut says where the whole is.

mod changes;
mod facts;
mod fleet;
mod index;
mod lists;
mod picture;
mod room;
mod summary;
#[cfg(test)]
mod tests;
mod verdict;
mod writer;

pub use fleet::fleet_page;

use crate::{Machine, Report, Run};
use room::Room;
use writer::Writer;

/// Makes one page of reports, each with the name of its file.
pub fn page(reports: &[(String, Report)]) -> String {
    let shown: Vec<Shown<'_>> = shown(reports);
    let title = match shown.as_slice() {
        [one] => format!(
            "{} · {} · rehost",
            brief(&one.machine.name),
            one.run.command
        ),
        several => format!("{} machines · rehost", several.len()),
    };
    document(&title, |html| {
        if shown.len() != 1 {
            index::write(html, reports, &shown);
        }
        machines(html, &shown);
    })
}

/// A machine of a report, on its way to a page.
#[derive(Clone, Copy)]
struct Shown<'a> {
    machine: &'a Machine,
    run: &'a Run,
    /// The file of the report.
    file: &'a str,
}

fn shown(reports: &[(String, Report)]) -> Vec<Shown<'_>> {
    let mut shown = Vec::new();
    for (file, report) in reports {
        shown.extend(report.machines.iter().map(|machine| Shown {
            machine,
            run: &report.run,
            file,
        }));
    }
    shown
}

/// The place of a machine in the page.
fn anchor(number: usize) -> String {
    format!("m{}", number + 1)
}

fn machines(html: &mut Writer, shown: &[Shown<'_>]) {
    let mut room = Room::default();
    for (number, one) in shown.iter().enumerate() {
        let start = html.len();
        html.with(
            "article",
            &[("id", &anchor(number)), ("class", "machine")],
            |html| {
                summary::write(html, one, shown.len() == 1);
                if room.is_left() && shown.len() == 1 {
                    details(html, one, &mut room);
                } else if room.is_left() {
                    html.element("details", "all", |html| {
                        html.leaf(
                            "summary",
                            "",
                            &format!("All about {}", name(&one.machine.name)),
                        );
                        html.element("div", "", |html| details(html, one, &mut room));
                    });
                } else {
                    html.element("p", "cut", |html| {
                        html.text("The details are left out, the page is long enough: ");
                        html.leaf("code", "", &format!("rehost report {}", one.file));
                        html.text(" shows them.");
                    });
                }
            },
        );
        room.take(html.len() - start);
    }
}

fn details(html: &mut Writer, one: &Shown<'_>, room: &mut Room) {
    lists::findings(html, one);
    lists::checks(html, one);
    changes::write(html, one, room);
    picture::regions(html, one);
    picture::steps(html, one);
    lists::outputs(html, one);
    facts::target(html, one);
    facts::write(html, one);
}

fn document(title: &str, inside: impl FnOnce(&mut Writer)) -> String {
    Writer::document(|html| {
        html.element("head", "", |html| {
            html.void("meta", &[("charset", "utf-8")]);
            html.void(
                "meta",
                &[
                    ("name", "viewport"),
                    ("content", "width=device-width, initial-scale=1"),
                ],
            );
            // Nothing in the page asks for anything; should a mistake let something through, the
            // browser stays silent all the same.
            html.void(
                "meta",
                &[
                    ("http-equiv", "Content-Security-Policy"),
                    ("content", "default-src 'none'; style-src 'unsafe-inline'"),
                ],
            );
            html.void(
                "meta",
                &[("name", "color-scheme"), ("content", "light dark")],
            );
            html.leaf("title", "", title);
            html.style(include_str!("style.css"));
        });
        html.element("body", "", |html| {
            html.element("main", "", inside);
            html.element("footer", "", |html| {
                html.text("Made by rehost ");
                html.text(env!("CARGO_PKG_VERSION"));
                html.text(". Times are in UTC.");
            });
        });
    })
}

/// A section with a heading.
fn section(html: &mut Writer, title: &str, count: Option<usize>, inside: impl FnOnce(&mut Writer)) {
    html.element("section", "", |html| {
        html.element("h2", "", |html| {
            html.text(title);
            if let Some(count) = count {
                html.text(" ");
                html.leaf("span", "count", &count.to_string());
            }
        });
        inside(html);
    });
}

/// Says that there is more than is shown.
fn more(html: &mut Writer, left_out: usize, what: &str, file: &str) {
    if left_out == 0 {
        return;
    }
    html.element("p", "cut", |html| {
        html.text(&format!("{left_out} more {what} are in "));
        html.leaf("code", "", file);
        html.text(".");
    });
}

/// Text of a bounded length.
fn brief(text: &str) -> String {
    cut_off(text, 1200)
}

/// A name, of which as much is shown as tells it from others.
fn name(text: &str) -> String {
    cut_off(text, 160)
}

fn cut_off(text: &str, longest: usize) -> String {
    let mut letters = text.chars();
    let mut shown: String = letters.by_ref().take(longest).collect();
    let left_out = letters.count();
    if left_out > 0 {
        shown.push_str(&format!(" … ({left_out} more letters)"));
    }
    shown
}

/// Text of our own or of a rule, in which what stands between backticks is code.
fn prose(html: &mut Writer, text: &str) {
    let text = brief(text);
    let pieces: Vec<&str> = text.split('`').collect();
    // Without its end a backtick is one.
    if pieces.len().is_multiple_of(2) {
        html.text(&text);
        return;
    }
    for (number, piece) in pieces.into_iter().enumerate() {
        if number.is_multiple_of(2) {
            html.text(piece);
        } else {
            html.leaf("code", "", piece);
        }
    }
}

/// A sentence begins with a capital.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

//! What was changed in the guest: by rule, with the reasons and diffs.

use super::room::Room;
use super::{Shown, Writer, brief, capitalised, more, name, prose, section};
use crate::diff::beginning;
use crate::size::{bytes, grouped};
use crate::{Change, ChangeKind, Diff, Object, ObjectKind};

/// The rule under which the originals of changed files are kept, and the receipt.
const ORIGINALS: &str = "originals";

/// A diff of so few lines is shown at once, as long as there are few changes.
const SHORT: usize = 14;
const FEW: usize = 20;

pub(super) fn write(html: &mut Writer, one: &Shown<'_>, room: &mut Room) {
    let changes = &one.machine.changes;
    if changes.is_empty() {
        return;
    }
    let shown = changes.get(..changes.len().min(Room::CHANGES));
    let groups = groups(shown.unwrap_or_default());
    section(html, "Changes in the guest", Some(changes.len()), |html| {
        let few = changes.len() <= FEW;
        for (rule, group) in groups.iter().filter(|(rule, _)| *rule != ORIGINALS) {
            html.element("div", "rule-group", |html| {
                html.element("h3", "", |html| {
                    html.text(&capitalised(&name(summary(rule).unwrap_or(rule))));
                    html.text(" ");
                    html.leaf("code", "rule", &name(rule));
                });
                for change in group {
                    self::change(html, change, rule, one.file, few, room);
                }
            });
        }
        for (_, group) in groups.iter().filter(|(rule, _)| *rule == ORIGINALS) {
            originals(html, group);
        }
        let left_out = changes.len().saturating_sub(Room::CHANGES);
        more(html, left_out, "changes", one.file);
    });
}

/// Changes by the first rule that asked for each, in the order of these rules' first changes.
fn groups(changes: &[Change]) -> Vec<(&str, Vec<&Change>)> {
    let mut groups: Vec<(&str, Vec<&Change>)> = Vec::new();
    for change in changes {
        let rule = change.because.first();
        let rule = rule.map_or("no rule", |because| because.rule.as_str());
        match groups.iter_mut().find(|(it, _)| *it == rule) {
            Some((_, group)) => group.push(change),
            None => groups.push((rule, vec![change])),
        }
    }
    groups
}

fn summary(rule: &str) -> Option<&'static str> {
    let rule = convert::RULES.iter().find(|it| it.id == rule);
    rule.map(|rule| rule.summary)
}

fn originals(html: &mut Writer, group: &[&Change]) {
    html.element("details", "change", |html| {
        html.element("summary", "", |html| {
            html.leaf("span", "path", "The originals of what was changed");
            html.text(" ");
            html.leaf(
                "span",
                "note",
                &format!("{} objects under /var/lib/rehost", group.len()),
            );
        });
        html.element("ul", "plain", |html| {
            for change in group.iter().take(Room::LIST) {
                html.leaf("li", "path", &brief(&change.path));
            }
        });
        if group.len() > Room::LIST {
            html.leaf(
                "p",
                "cut",
                &format!("and {} more.", group.len() - Room::LIST),
            );
        }
    });
}

fn change(html: &mut Writer, change: &Change, rule: &str, file: &str, few: bool, room: &mut Room) {
    let lines = change.diff.as_ref().map(|diff| diff.text.lines().count());
    let open = few && lines.is_some_and(|lines| lines <= SHORT);
    let attributes: &[_] = if open {
        &[("class", "change"), ("open", "")]
    } else {
        &[("class", "change")]
    };
    html.with("details", attributes, |html| {
        html.element("summary", "", |html| {
            let (class, sign, word) = match change.kind {
                ChangeKind::Added => ("added", "+", "added"),
                ChangeKind::Changed => ("changed", "~", "changed"),
                ChangeKind::Removed => ("removed", "−", "removed"),
            };
            html.with(
                "span",
                &[("class", &format!("sign {class}")), ("title", word)],
                |html| html.text(sign),
            );
            html.text(" ");
            html.leaf("span", "path", &brief(&change.path));
            html.text(" ");
            html.leaf("span", "note", &sizes(change));
        });
        html.element("div", "inside", |html| {
            for because in change.because.iter().take(Room::LIST) {
                html.element("p", "why", |html| {
                    prose(html, &because.reason);
                    if because.rule != rule {
                        html.text(" ");
                        html.leaf("code", "rule", &name(&because.rule));
                    }
                });
            }
            if let Some(note) = &change.note {
                html.leaf("p", "note", &brief(note));
            }
            match &change.diff {
                Some(diff) => self::diff(html, diff, file, room),
                None => objects(html, change),
            }
        });
    });
}

/// What becomes of the size, in a few words.
fn sizes(change: &Change) -> String {
    let target = change.after.as_ref().and_then(|it| it.target.as_ref());
    if let Some(target) = target {
        return format!("→ {}", name(target));
    }
    let size = |object: &Option<Object>| object.as_ref().and_then(|it| it.size);
    match (size(&change.before), size(&change.after)) {
        (Some(before), Some(after)) if before == after => bytes(after),
        (Some(before), Some(after)) => format!("{} → {}", bytes(before), bytes(after)),
        (None, Some(size)) | (Some(size), None) => bytes(size),
        (None, None) => String::new(),
    }
}

fn objects(html: &mut Writer, change: &Change) {
    html.element("dl", "facts", |html| {
        for (name, object) in [("before", &change.before), ("after", &change.after)] {
            html.leaf("dt", "", name);
            html.element("dd", "", |html| match object {
                Some(object) => self::object(html, object),
                None => html.text("not there"),
            });
        }
    });
}

fn object(html: &mut Writer, object: &Object) {
    let kind = match object.kind {
        ObjectKind::File => "file",
        ObjectKind::Symlink => "symbolic link",
        ObjectKind::Dir => "directory",
        ObjectKind::Special => "device, pipe or socket",
    };
    let mut words = vec![kind.to_owned()];
    words.extend(object.target.as_ref().map(|it| format!("to {it}")));
    words.extend(object.size.map(|it| format!("{} bytes", grouped(it))));
    words.extend(object.mode.as_ref().map(|it| format!("mode {it}")));
    words.extend(object.owner.as_ref().map(|it| format!("owner {it}")));
    html.text(&brief(&words.join(", ")));
    if let Some(digest) = &object.sha256 {
        html.text(" ");
        html.leaf("code", "digest", &brief(&format!("SHA-256 {digest}")));
    }
}

fn diff(html: &mut Writer, diff: &Diff, file: &str, room: &mut Room) {
    let shown = beginning(&diff.text, room.for_diff(diff.text.len()));
    let mut lines = 0;
    let mut written = 0;
    html.element("pre", "diff", |html| {
        for line in shown.split_inclusive('\n').take(Room::DIFF_LINES) {
            written += line.len();
            lines += 1;
            self::line(html, line);
        }
    });
    let whole = diff.text.len();
    if written < whole {
        let all = diff.text.lines().count();
        html.element("p", "cut", |html| {
            html.text(&format!(
                "{} more lines of the diff are in ",
                all - lines.min(all)
            ));
            html.leaf("code", "", file);
            html.text(".");
        });
    }
    if diff.cut > 0 {
        html.element("p", "cut", |html| {
            html.text(&format!(
                "The report holds {} of this diff and leaves out {}; ",
                bytes(u64::try_from(whole).unwrap_or(u64::MAX)),
                bytes(diff.cut)
            ));
            html.leaf("code", "", "rehost plan");
            html.text(" of the source shows all of it.");
        });
    }
}

fn line(html: &mut Writer, line: &str) {
    let tag = match line.as_bytes().first() {
        Some(b'+') => "ins",
        Some(b'-') => "del",
        _ => "span",
    };
    let class = if line.starts_with("@@") { "hunk" } else { "" };
    let text = line.strip_suffix('\n').unwrap_or(line);
    html.element(tag, class, |html| {
        let end = text.char_indices().nth(Room::LINE).map(|(at, _)| at);
        match end {
            None => html.text(text),
            Some(end) => {
                let (shown, rest) = text.split_at(end);
                html.text(shown);
                html.leaf(
                    "i",
                    "",
                    &format!(" … {} more letters", rest.chars().count()),
                );
            }
        }
        html.text("\n");
    });
}

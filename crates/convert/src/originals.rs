//! Keeping in the guest what was there before, and the receipt of what was done.
//!
//! `/var/lib/rehost/original/PATH` holds the original of every file and link that a conversion
//! changes or removes, under its own path: beside the file it could be read by whatever scans the
//! directory. An extended initramfs is not copied, its original is the file's beginning: the
//! receipt says how long it was.

use crate::change::{After, Because, Content};
use crate::labels::{Found, Labels};
use crate::{Bytes, Change, Error, State};
use fs::NewNode;
use guest::{Guest, GuestPath};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where originals and receipts are kept.
pub(crate) const HOME: &str = "/var/lib/rehost";
/// Stands in for a rule's id in the reasons of these changes; it cannot be skipped.
const ID: &str = "originals";

#[derive(Serialize)]
struct Receipt<'a> {
    tool: &'static str,
    version: &'static str,
    changes: Vec<ReceiptLine<'a>>,
}

#[derive(Serialize)]
struct ReceiptLine<'a> {
    path: &'a GuestPath,
    before: State,
    after: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    because: &'a [Because],
}

/// Puts the copies of all originals before `changes` and the receipt behind them.
pub(crate) fn keep(
    guest: &Guest,
    labels: &Labels<'_>,
    changes: Vec<Change>,
) -> Result<Vec<Change>, Error> {
    if changes.is_empty() {
        return Ok(changes);
    }
    let home = guest.canonical(&GuestPath::from(HOME), true)?;
    let mut kept = BTreeMap::new();
    let mut lines = Vec::new();
    for change in &changes {
        let original = original_of(&home, change);
        let mut note = None;
        if let Some((path, after)) = original {
            let (path, there) = free_place(guest, &path, &change.before)?;
            note = Some(path.to_string());
            if !there {
                make_parents(guest, labels, &path, &mut kept)?;
                let reason = format!("{} is changed; this is the original", change.path);
                let change = new_change(labels, path.clone(), after, reason)?;
                kept.insert(path, change);
            }
        }
        lines.push(ReceiptLine {
            path: &change.path,
            before: without_content(&change.before),
            after: change.after.state(),
            original: note.or_else(|| extended(change)),
            because: &change.because,
        });
    }
    let receipt = Receipt {
        tool: "rehost",
        version: env!("CARGO_PKG_VERSION"),
        changes: lines,
    };
    let mut text = serde_json::to_string_pretty(&receipt).expect("a receipt holds only strings");
    text.push('\n');
    let path = receipt_path(guest, &home)?;
    make_parents(guest, labels, &path, &mut kept)?;
    let content = Content::Whole(Bytes(text.into_bytes()));
    let after = After::File {
        content,
        node: NewNode::root(0o600),
        selinux: None,
    };
    let reason = "says what was changed, when somebody asks".to_owned();
    let receipt = new_change(labels, path, after, reason)?;
    Ok(kept.into_values().chain(changes).chain([receipt]).collect())
}

/// Whether a change only keeps an original, or is the receipt.
pub(crate) fn is_record(change: &Change) -> bool {
    change.because.iter().all(|because| because.rule == ID)
}

/// Where the original of a changed object goes, and what has to be there.
fn original_of(home: &GuestPath, change: &Change) -> Option<(GuestPath, After)> {
    let mut path = home.join("original");
    for part in change.path.components() {
        path = path.join(part);
    }
    let after = match &change.before {
        State::File { .. } if extended(change).is_some() => return None,
        State::File {
            size, sha256, node, ..
        } => {
            let content = Content::Copy {
                from: change.path.clone(),
                size: *size,
                sha256: *sha256,
            };
            After::File {
                content,
                node: *node,
                selinux: None,
            }
        }
        State::Symlink { target, .. } => After::Symlink {
            target: target.clone(),
            node: NewNode::root(0o777),
            selinux: None,
        },
        State::Absent | State::Dir { .. } | State::Special => return None,
    };
    Some((path, after))
}

/// The place, or the next one numbered, where nothing is kept yet or just this is: what an earlier
/// conversion kept stays. Says whether it is there.
fn free_place(
    guest: &Guest,
    wanted: &GuestPath,
    original: &State,
) -> Result<(GuestPath, bool), Error> {
    let mut place = wanted.clone();
    // A copy has the label of its own place.
    let original = original.clone().labelled(None);
    let mut number = 1_u32;
    loop {
        let found = State::of(guest, &place)?;
        if matches!(found, State::Absent) {
            return Ok((place, false));
        }
        if found.labelled(None).same(&original) {
            return Ok((place, true));
        }
        number += 1;
        let mut name = wanted.name().unwrap_or_default().to_vec();
        name.extend_from_slice(format!(".{number}").as_bytes());
        place = wanted.parent().unwrap_or_else(GuestPath::root).join(name);
    }
}

/// For a file whose original is its own beginning: how to get it back.
fn extended(change: &Change) -> Option<String> {
    match (&change.before, &change.after) {
        (
            State::File { size, .. },
            After::File {
                content: Content::Extend { keep, .. },
                ..
            },
        ) if keep == size => Some(format!("the first {keep} bytes of the file")),
        _ => None,
    }
}

/// The first receipt is `receipt.json`; those of later conversions are numbered.
fn receipt_path(guest: &Guest, home: &GuestPath) -> Result<GuestPath, Error> {
    let mut path = home.join("receipt.json");
    let mut number = 1_u32;
    while guest.stat(&path)?.is_some() {
        number += 1;
        path = home.join(format!("receipt-{number}.json"));
    }
    Ok(path)
}

fn make_parents(
    guest: &Guest,
    labels: &Labels<'_>,
    path: &GuestPath,
    kept: &mut BTreeMap<GuestPath, Change>,
) -> Result<(), Error> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if kept.contains_key(&parent) || State::of(guest, &parent)? != State::Absent {
        return Ok(());
    }
    make_parents(guest, labels, &parent, kept)?;
    // Originals keep their modes, but nobody has to see that they are there.
    let after = After::Dir {
        node: NewNode::root(0o700),
        selinux: None,
    };
    let reason = "holds originals and receipts".to_owned();
    let change = new_change(labels, parent.clone(), after, reason)?;
    kept.insert(parent, change);
    Ok(())
}

/// A new object. Where its label is not known, the rule for labels had the guest label itself.
fn new_change(
    labels: &Labels<'_>,
    path: GuestPath,
    after: After,
    reason: String,
) -> Result<Change, Error> {
    let label = match after.kind() {
        Some(kind) => labels.label(&path, kind)?,
        None => Found::Label(None),
    };
    let after = match label {
        Found::Label(label) => after.labelled(label),
        Found::Missing(_) => after,
    };
    let because = vec![Because {
        rule: ID.to_owned(),
        reason,
    }];
    Ok(Change {
        path,
        before: State::Absent,
        after,
        because,
    })
}

fn without_content(state: &State) -> State {
    match state {
        State::File {
            size,
            sha256,
            node,
            selinux,
            content: _,
        } => State::File {
            size: *size,
            sha256: *sha256,
            node: *node,
            selinux: selinux.clone(),
            content: None,
        },
        other => other.clone(),
    }
}

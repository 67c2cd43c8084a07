//! `rehost snapshots` of snapshots in EBS.

use super::picture::{self, Run};
use crate::args::AwsArgs;
use crate::facts::Facts;
use crate::table::table;
use crate::terminal::Terminal;
use crate::{date, ebs, output, size};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Lists what rehost made, a machine's disks together and the oldest first, as of a store.
pub(super) fn list(
    machine: Option<&str>,
    json: bool,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<()> {
    let mut found = ebs::list(machine, aws, terminal)?;
    // They come with the latest first, and the order of those of a second is kept.
    found.reverse();
    found.sort_by(|a, b| (&a.machine, &a.disk, a.created).cmp(&(&b.machine, &b.disk, b.created)));
    render(&found, json, terminal)
}

fn render(found: &[Facts], json: bool, terminal: &Terminal) -> Result<()> {
    if json {
        return output::json(&found);
    }
    const HEAD: [&str; 9] = [
        "MACHINE",
        "DISK",
        "ROLE",
        "CREATED (UTC)",
        "SIZE",
        "STATE",
        "ENCRYPTED",
        "ID",
        "PARENT",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(found.iter().map(|one| {
        [
            output::printable(&one.machine),
            output::printable(&one.disk),
            output::printable(&one.role),
            date::text(one.created),
            size::text(one.virtual_size),
            output::printable(&one.state),
            if one.encrypted { "yes" } else { "no" }.to_owned(),
            output::printable(&one.id),
            output::printable(one.parent.as_deref().unwrap_or("-")),
        ]
    }));
    output::write(table(&rows, &(4..=4), terminal).as_bytes())
}

/// A snapshot and what changed in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    facts: Facts,
    /// Where it differs from its parent, or what it holds without one; not there if the parent was
    /// removed or the snapshot is not completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<Run>>,
}

pub(super) fn show(id: &str, json: bool, aws: &AwsArgs, terminal: &Terminal) -> Result<()> {
    let facts = ebs::describe(id, aws, terminal)?;
    let completed = facts.state == "completed";
    let size = facts.virtual_size;
    let changed = if completed {
        ebs::changed(&facts, aws, terminal)?
    } else {
        None
    };
    let changed = changed.map(|ranges| picture::runs(&ranges, size));
    if json {
        return output::json(&Shown { facts, changed });
    }
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12} {}", output::printable(value));
        }
    };
    field("id", &facts.id);
    field("parent", facts.parent.as_deref().unwrap_or("none"));
    field("machine", &facts.machine);
    field("disk", &facts.disk);
    field("role", &facts.role);
    field("set", facts.set.as_deref().unwrap_or_default());
    field("description", &facts.description);
    field("begun", &format!("{} UTC", date::text(facts.created)));
    field("size", &format!("{size} ({})", size::text(size)));
    field("state", &facts.state);
    field("message", &facts.message);
    field("encrypted", if facts.encrypted { "yes" } else { "no" });
    if !facts.ours {
        field("made by", "somebody else than rehost");
    }
    let text = match (changed, &facts.parent) {
        (Some(runs), parent) => {
            let against = match parent {
                Some(_) => "changed against its parent",
                None => "what it holds",
            };
            let picture = picture::picture(&runs, size, terminal.shows_shades());
            format!("{text}\n{against}, from the disk's beginning to its end:\n|{picture}|\n")
        }
        (None, Some(_)) if completed => {
            format!("{text}\nits parent was removed, so what changed is not known\n")
        }
        (None, _) => text,
    };
    output::write(text.as_bytes())
}

pub(super) fn rm(
    ids: &[String],
    keep_children: bool,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<()> {
    ebs::remove(ids, keep_children, aws, terminal)?;
    eprintln!("{} removed", ids.len());
    Ok(())
}

/// Removes uploads that nobody goes on with; with `dry_run` only lists them.
pub(super) fn gc(
    age: Duration,
    dry_run: bool,
    json: bool,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<()> {
    let found = ebs::abandoned(age, aws, terminal)?;
    if !dry_run {
        let ids: Vec<String> = found.iter().map(|one| one.id.clone()).collect();
        // Nothing can be made from a snapshot that is not complete.
        ebs::remove(&ids, true, aws, terminal)?;
    }
    if json || dry_run {
        return render(&found, json, terminal);
    }
    let text = match found.len() {
        1 => "1 unfinished snapshot removed\n".to_owned(),
        count => format!("{count} unfinished snapshots removed\n"),
    };
    output::write(text.as_bytes())
}

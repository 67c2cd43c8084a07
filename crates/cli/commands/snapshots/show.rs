//! `rehost snapshots show` of a snapshot in a store.

use super::picture::{self, Run};
use crate::locator::Source;
use crate::terminal::Terminal;
use crate::{date, output, size};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use store::{BLOCK, Manifest, Store};

/// A snapshot and what changed in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    manifest: Manifest,
    /// Where it differs from its parent, or from zeros without one; not there if the parent was
    /// removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<Run>>,
}

pub(super) fn show(text: &str, json: bool, terminal: &Terminal) -> Result<()> {
    let (dir, id) = Source::snapshot(text)?;
    let store = Store::open(&dir)?;
    let snapshot = store.read(&id)?;
    let manifest = snapshot.manifest().clone();
    let size = manifest.disk_size;
    let changed = match &manifest.parent {
        None => Some(snapshot.index().diff(&store::Index::default())),
        Some(parent) => match store.diff(parent, &id) {
            Ok(ranges) => Some(ranges),
            Err(store::Error::NoSnapshot { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    let runs = changed.map(|ranges| picture::runs(&ranges, size));
    if json {
        return output::json(&Shown {
            manifest,
            changed: runs,
        });
    }
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", output::printable(&value));
    };
    let blocks = |count: u64| format!("{count} ({})", size::text(count.saturating_mul(BLOCK)));
    field("id", manifest.id.to_string());
    let parent = manifest.parent.as_ref().map(ToString::to_string);
    field(
        "parent",
        parent.clone().unwrap_or_else(|| "none".to_owned()),
    );
    field("machine", manifest.machine);
    field("disk", manifest.disk);
    field("role", manifest.role.to_string());
    field("description", manifest.description);
    field("created", format!("{} UTC", date::text(manifest.created)));
    field("size", format!("{size} ({})", size::text(size)));
    field("blocks", blocks(manifest.blocks));
    field("put", blocks(manifest.put_blocks));
    field("linear", manifest.linear_sha256);
    let against = if parent.is_some() {
        "its parent"
    } else {
        "zeros"
    };
    match runs {
        Some(runs) => {
            let picture = picture::picture(&runs, size, terminal.shows_shades());
            let _ = writeln!(
                text,
                "\nchanged against {against}, from the disk's beginning to its end:"
            );
            let _ = writeln!(text, "|{picture}|");
        }
        None => {
            let _ = writeln!(
                text,
                "\nits parent was removed, so what changed is not known"
            );
        }
    }
    output::write(text.as_bytes())
}

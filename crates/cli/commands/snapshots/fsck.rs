//! `rehost snapshots fsck`

use crate::exit::SOURCE;
use crate::output;
use crate::terminal::Terminal;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;
use store::{SnapshotId, Store};

#[derive(Serialize)]
struct Checked {
    sound: bool,
    snapshots: u64,
    blocks: u64,
    unneeded_blocks: u64,
    unfinished_files: u64,
    problems: Vec<String>,
    more_problems: u64,
    hurt: Vec<Hurt>,
}

/// A snapshot that cannot be read whole.
#[derive(Serialize)]
struct Hurt {
    id: SnapshotId,
    blocks: u64,
}

pub(super) fn fsck(store: &Store, json: bool, terminal: &Terminal) -> Result<ExitCode> {
    let report = store.fsck(&*terminal.progress, &terminal.interrupt)?;
    let checked = Checked {
        sound: report.is_sound(),
        snapshots: report.snapshots,
        blocks: report.blocks,
        unneeded_blocks: report.unneeded,
        unfinished_files: report.unfinished,
        problems: report
            .problems
            .iter()
            .map(|problem| reasons(problem))
            .collect(),
        more_problems: report.more_problems,
        hurt: report
            .hurt
            .into_iter()
            .map(|(id, blocks)| Hurt { id, blocks })
            .collect(),
    };
    if json {
        output::json(&checked)?;
    } else {
        output::write(checked.text().as_bytes())?;
    }
    Ok(if checked.sound { 0 } else { SOURCE }.into())
}

/// An error with all that is behind it, in a line.
pub(super) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let _ = write!(text, ": {error}");
        below = error.source();
    }
    text
}

impl Checked {
    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(text, "{}", output::printable(problem));
        }
        if self.more_problems > 0 {
            let _ = writeln!(text, "and {} problems more", self.more_problems);
        }
        for hurt in &self.hurt {
            let _ = writeln!(text, "{} lost {} blocks", hurt.id, hurt.blocks);
        }
        if self.unfinished_files > 0 {
            let _ = writeln!(
                text,
                "{} files are unfinished: a run was killed, and `rehost snapshots gc` removes them, \
                 or it goes on",
                self.unfinished_files
            );
        }
        let verdict = if self.sound {
            "all is well"
        } else {
            "the store is damaged"
        };
        let _ = writeln!(
            text,
            "{} snapshots and {} blocks are whole, {} of them needed by none; {verdict}",
            self.snapshots, self.blocks, self.unneeded_blocks
        );
        text
    }
}

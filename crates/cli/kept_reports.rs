//! Reports of runs that were not told where to write theirs, the newest of them.

use crate::state;
use anyhow::{Context, Result};
use report::Moment;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How many are kept.
const KEPT: usize = 100;

fn dir() -> Option<PathBuf> {
    state::dir(None).map(|dir| dir.join("reports"))
}

/// Where the report of a run of `command` goes that began at this moment; makes the directory, and
/// removes what is too old. None if no place for state is known.
pub(crate) fn place(command: &str, began: Moment) -> Result<Option<PathBuf>> {
    let Some(dir) = dir() else { return Ok(None) };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let names = list(&dir)?;
    // With the one that is to come.
    for name in &names[..(names.len() + 1).saturating_sub(KEPT)] {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            // Another run was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
        }
    }
    // By name they are in the order of time.
    let time = began.to_string().replace(['-', ':'], "");
    let name = format!("{time}-{command}-{}.json", std::process::id());
    Ok(Some(dir.join(name)))
}

/// The newest one.
pub(crate) fn newest() -> Result<PathBuf> {
    let dir = dir().context("neither HOME nor REHOST_STATE is set: name a report")?;
    let none = || format!("no run has left a report in {}; name one", dir.display());
    let last = list(&dir)?.pop().with_context(none)?;
    Ok(dir.join(last))
}

/// The names of all that are there, in the order of time. What is called otherwise is not ours.
fn list(dir: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot list {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(failed)?.file_name();
        names.extend(name.into_string().ok().filter(|name| is_ours(name)));
    }
    names.sort();
    Ok(names)
}

/// Whether a file is called as [`place`] calls them: `20261126T190142Z-convert-4711.json`.
fn is_ours(name: &str) -> bool {
    let mut parts = name.strip_suffix(".json").unwrap_or("").splitn(3, '-');
    let (time, command, process) = (parts.next(), parts.next(), parts.next());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    time.is_some_and(|time| {
        time.len() == 16 && time.ends_with('Z') && time.starts_with(|c: char| c.is_ascii_digit())
    }) && command.is_some_and(|command| !command.is_empty())
        && process.is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_of_runs_are_ours() {
        assert!(is_ours("20261126T190142Z-convert-4711.json"));
        for other in [
            "web1.json",
            "20261126T190142Z-convert-4711.json.new",
            "20261126T190142Z-convert-.json",
            "20261126T190142Z.json",
            ".20261126T190142-convert-1.json",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}

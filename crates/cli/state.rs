//! Where rehost keeps what outlives a run and can be done without: journals of uploads, reports.

use std::path::{Path, PathBuf};

/// The directory: the one given, else `REHOST_STATE`, else what the XDG base directory
/// specification says. None if not even a home directory is known.
pub(crate) fn dir(given: Option<&Path>) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let own = given.map(Path::to_owned);
    own.or_else(|| variable("REHOST_STATE").map(PathBuf::from))
        .or_else(|| Some(PathBuf::from(variable("XDG_STATE_HOME")?).join("rehost")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state/rehost")))
}

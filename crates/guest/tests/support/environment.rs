//! Files of others that the environment names.

use std::path::PathBuf;

/// The directory that an environment variable names; a test that gets none says so and passes.
pub(crate) fn directory(variable: &str) -> Option<PathBuf> {
    let directory = std::env::var_os(variable).map(PathBuf::from);
    if directory.is_none() {
        println!("skipped: {variable} names no directory");
    }
    directory
}

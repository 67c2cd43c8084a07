//! `rehost launch`

pub(crate) mod local;

use crate::args::LaunchArgs;
use crate::terminal::Terminal;
use anyhow::Result;
use std::process::ExitCode;

pub(super) fn run(args: &LaunchArgs, terminal: &Terminal) -> Result<ExitCode> {
    local::run(args, terminal)
}

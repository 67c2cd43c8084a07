//! `rehost report`

use crate::args::ReportArgs;
use crate::{kept_reports, output, whole_file};
use ::report::{Report, page};
use anyhow::Result;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(args: &ReportArgs) -> Result<ExitCode> {
    if let Some(path) = &args.output {
        claim(path)?;
    }
    let mut paths = args.reports.clone();
    if paths.is_empty() {
        paths.push(kept_reports::newest()?);
    }
    let mut reports = Vec::new();
    for path in &paths {
        reports.push((path.display().to_string(), Report::read(path)?));
    }
    let page = page(&reports);
    match &args.output {
        Some(path) => whole_file::write(path, page.as_bytes())?,
        None => output::write(page.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks that a page may be written: it replaces another page and nothing else.
pub(super) fn claim(path: &Path) -> Result<()> {
    whole_file::claim(path, "HTML page", |path| {
        const BEGIN: &[u8] = b"<!doctype html>";
        let mut begin = [0; BEGIN.len()];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
        read.is_ok() && begin.eq_ignore_ascii_case(BEGIN)
    })
}

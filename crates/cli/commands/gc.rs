//! `rehost gc`

use crate::args::GcArgs;
use crate::exit::GoesOn;
use crate::migration::{Migration, strays};
use crate::output;
use crate::table::table;
use crate::terminal::Terminal;
use anyhow::Result;
use std::process::ExitCode;

pub(super) fn run(args: &GcArgs, terminal: &Terminal) -> Result<ExitCode> {
    let migration = Migration::open(&args.whole_project())?;
    let mut found = strays::find(&migration, terminal)?;
    if args.remove {
        let removed = found.remove(&migration, terminal);
        removed.map_err(|error| match terminal.interrupt.is_set() {
            true => error.context(GoesOn),
            false => error,
        })?;
    }
    // What stayed for somebody works on it is no longer among it.
    let list = found.list();
    if args.json {
        output::json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.is_empty() {
        eprintln!("nothing that belongs to no launch");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["MACHINE", "WHAT", "ID"].map(str::to_owned)];
    rows.extend(list.iter().map(|stray| {
        [
            output::printable(&stray.machine),
            stray.what.to_owned(),
            output::printable(&stray.id),
        ]
    }));
    output::write(table(&rows, &(3..=3), terminal).as_bytes())?;
    if args.remove {
        eprintln!("all of it is removed");
    } else {
        eprintln!("--remove removes it");
    }
    Ok(ExitCode::SUCCESS)
}

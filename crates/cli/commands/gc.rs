//! `rehost gc`

use crate::args::GcArgs;
use crate::migration::{Migration, strays};
use crate::output;
use crate::table::table;
use crate::terminal::Terminal;
use anyhow::Result;
use std::process::ExitCode;

pub(super) fn run(args: &GcArgs, terminal: &Terminal) -> Result<ExitCode> {
    let migration = Migration::open(&args.whole_project())?;
    let found = strays::find(&migration, terminal)?;
    let list = found.list();
    if args.remove {
        found.remove(&migration, terminal)?;
    }
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

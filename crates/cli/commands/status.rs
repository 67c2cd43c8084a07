//! `rehost status`

use crate::args::StatusArgs;
use crate::migration::{self, Behind, Migration, Status};
use crate::table::table;
use crate::terminal::{Colour, Terminal};
use crate::{output, size};
use anyhow::Result;
use launch::lifecycle::State;
use launch::project::Machine;
use launch::record::Launched;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) fn run(args: &StatusArgs, terminal: &Terminal) -> Result<ExitCode> {
    loop {
        let started = Instant::now();
        // Read anew each time: machines may have been added.
        let migration = Migration::open(&args.project)?;
        let machines = migration.machines(&args.machines)?;
        let seen: Mutex<Vec<Status>> = Mutex::default();
        let each = |machine: &Machine| {
            let status = migration::status(&migration, machine, args.offline, terminal)?;
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(status);
            Ok(())
        };
        let ended = migration::each(&machines, args.project.jobs, terminal, each);
        let mut all = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        // In the order of the project file, whichever was looked at first.
        all.sort_by_key(|status| machines.iter().position(|one| one.name == status.machine));
        terminal.interrupt.check()?;
        render(&all, args, terminal)?;
        ended?;
        let Some(every) = args.watch else {
            return Ok(ExitCode::SUCCESS);
        };
        if wait(every.saturating_sub(started.elapsed()), terminal) {
            // Nothing was going on that could have been stopped halfway.
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits; says whether the user wants it to end.
fn wait(time: Duration, terminal: &Terminal) -> bool {
    const STEP: Duration = Duration::from_millis(100);
    let started = Instant::now();
    while !terminal.interrupt.is_set() {
        match time.checked_sub(started.elapsed()) {
            Some(rest) if !rest.is_zero() => std::thread::sleep(rest.min(STEP)),
            _ => return false,
        }
    }
    true
}

fn render(all: &[Status], args: &StatusArgs, terminal: &Terminal) -> Result<()> {
    if args.json {
        return output::json(&all);
    }
    const HEAD: [&str; 7] = [
        "MACHINE", "STATE", "SNAPSHOT", "BEHIND", "TEST", "CUTOVER", "TARGET",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(all.iter().map(row));
    let mut text = String::new();
    if args.watch.is_some() && terminal.shows_shades() {
        // The screen is cleared, and the table is written where the last one was.
        text.push_str("\x1b[2J\x1b[H");
    }
    text.push_str(&table(&rows, &(3..=3), terminal));
    output::write(text.as_bytes())?;
    for status in all {
        if let Some(problem) = &status.problem {
            let text = format!("{}: {}", status.machine, output::printable(problem));
            eprintln!("{}", terminal.paint_err(Colour::Warning, &text));
        }
        for finding in &status.findings {
            eprintln!("{}: {}", status.machine, output::printable(finding));
        }
    }
    Ok(())
}

fn row(status: &Status) -> [String; 7] {
    let none = || "-".to_owned();
    let mut state = status.state.to_string();
    if let Some(running) = &status.running {
        state = format!("{state} (launch {} is not done)", running.launch);
    }
    let targets: Vec<_> = status
        .targets
        .iter()
        .map(|target| {
            let name = target.instance.as_deref().unwrap_or("local");
            let addresses = target.addresses.join(" ");
            format!("{name} {addresses}").trim_end().to_owned()
        })
        .collect();
    [
        status.machine.clone(),
        state,
        status
            .snapshot_age
            .map_or_else(none, |age| format!("{} ago", short(age))),
        match status.behind {
            Behind::AtMost { bytes: 0 } => "nothing".to_owned(),
            Behind::AtMost { bytes } => format!("up to {}", size::text(bytes)),
            Behind::Unknown { bytes } if status.state == State::New => size::text(bytes),
            Behind::Unknown { bytes } => format!("? of {}", size::text(bytes)),
            Behind::Unseen => none(),
        },
        status.last_test.as_ref().map_or_else(none, launched),
        status.last_cutover.as_ref().map_or_else(none, launched),
        if targets.is_empty() {
            none()
        } else {
            output::printable(&targets.join(", "))
        },
    ]
}

fn launched(last: &Launched) -> String {
    let age = short(migration::now().saturating_sub(last.at));
    let verdict = if last.came_up { "came up" } else { "failed" };
    format!("{verdict} {age} ago")
}

/// A duration in its largest unit.
fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (200_000, "2d"),
        ] {
            assert_eq!(short(seconds), text);
        }
    }
}

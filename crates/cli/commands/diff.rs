//! `rehost diff`: ranges are printed as they are found, so that any number of them takes no memory.

use super::compare::open_pair;
use crate::args::DiffArgs;
use crate::source::{Content, Disk};
use crate::terminal::Terminal;
use crate::{output, size};
use anyhow::{Context, Result};
use block::{BlockRead, ExtentKind};
use ondisk::width::usize_of;
use ondisk::{Interrupt, Task, Unit};
use rayon::prelude::*;
use serde::Serialize;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use store::BLOCK;

/// A run of bytes; `replicate --changed` takes it.
#[derive(Serialize)]
struct Run {
    start: u64,
    length: u64,
}

pub(super) fn run(args: &DiffArgs, terminal: &Terminal) -> Result<ExitCode> {
    let disks = open_pair(&args.pair, terminal)?;
    let [left, right] = disks.each_ref().map(Disk::device);
    let mut printer = Printer {
        json: args.json,
        width: left
            .size()
            .max(right.size())
            .to_string()
            .len()
            .max("length".len()),
        last: None,
        runs: 0,
        bytes: 0,
    };
    output::stream(|out| {
        printer.begin(out)?;
        let known = match &disks.each_ref().map(|disk| &disk.content) {
            [Content::Snapshot(a), Content::Snapshot(b)] => a.diff(b)?,
            _ => None,
        };
        match known {
            Some(ranges) => {
                for range in ranges {
                    printer.add(out, range)?;
                }
            }
            None => {
                let names = || format!("cannot compare {} with {}", disks[0].name, disks[1].name);
                let total = left.size().max(right.size());
                let task = terminal.progress.start("compare", Unit::Bytes, Some(total));
                let mut blocks = Blocks::new(&*left, &*right, &terminal.interrupt);
                while let Some(ranges) = blocks.differing(&*task).with_context(names)? {
                    for range in ranges {
                        printer.add(out, range)?;
                    }
                }
            }
        }
        printer.end(out)
    })?;
    if !args.json {
        eprintln!(
            "{} ranges, {} differ",
            printer.runs,
            size::text(printer.bytes)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Walks two disks block by block; zeros follow the end of the smaller one.
struct Blocks<'d> {
    sides: [&'d dyn BlockRead; 2],
    interrupt: &'d Interrupt,
    size: u64,
    at: u64,
}

/// Blocks that are at hand at a time. They are only numbers, but threads wait for the last of them.
const BATCH: usize = 256;

impl<'d> Blocks<'d> {
    fn new(left: &'d dyn BlockRead, right: &'d dyn BlockRead, interrupt: &'d Interrupt) -> Self {
        Self {
            sides: [left, right],
            interrupt,
            size: left.size().max(right.size()),
            at: 0,
        }
    }

    /// Those of the next blocks that differ, ascending; none at the end.
    fn differing(&mut self, task: &dyn Task) -> Result<Option<Vec<Range<u64>>>> {
        let from = self.at;
        let mut batch = Vec::new();
        while self.at < self.size && batch.len() < BATCH {
            self.interrupt.check()?;
            let end = self.at.saturating_add(BLOCK).min(self.size);
            let zeros_until = self.zeros_until()?;
            if zeros_until >= self.size {
                self.at = self.size;
            } else if zeros_until >= end {
                self.at = zeros_until - zeros_until % BLOCK;
            } else {
                batch.push(self.at..end);
                self.at = end;
            }
        }
        let differs = batch
            .par_iter()
            .map_init(Default::default, |buffers, range| {
                self.interrupt.check()?;
                self.differs(range, buffers)
            });
        let differs: Vec<bool> = differs.collect::<Result<_>>()?;
        task.advance(self.at - from);
        if batch.is_empty() {
            return Ok(None);
        }
        let found = batch
            .into_iter()
            .zip(differs)
            .filter(|(_, differs)| *differs);
        Ok(Some(found.map(|(range, _)| range).collect()))
    }

    /// The end of what both disks tell to be zeros from the current position on.
    fn zeros_until(&self) -> Result<u64> {
        let mut until = u64::MAX;
        for side in self.sides {
            if self.at < side.size() {
                let extent = side.extent_at(self.at)?;
                until = until.min(match extent.kind {
                    ExtentKind::Zero if extent.range.end < side.size() => extent.range.end,
                    ExtentKind::Zero => u64::MAX,
                    ExtentKind::Data => self.at,
                });
            }
        }
        Ok(until)
    }

    fn differs(&self, range: &Range<u64>, [left, right]: &mut [Vec<u8>; 2]) -> Result<bool> {
        for (side, buffer) in self.sides.into_iter().zip([&mut *left, &mut *right]) {
            let len = usize_of(range.end - range.start);
            let there = side.size().clamp(range.start, range.end) - range.start;
            buffer.clear();
            buffer.resize(len, 0);
            if there > 0 {
                side.read_at(range.start, &mut buffer[..usize_of(there)])?;
            }
        }
        Ok(left != right)
    }
}

/// Joins ranges that touch, and prints them.
struct Printer {
    json: bool,
    /// Of the numbers of a table.
    width: usize,
    /// Something may follow it.
    last: Option<Range<u64>>,
    runs: u64,
    bytes: u64,
}

impl Printer {
    fn begin(&self, out: &mut dyn Write) -> Result<()> {
        if self.json {
            write!(out, "[")?;
        } else {
            let width = self.width;
            writeln!(out, "{:>width$} {:>width$}", "start", "length")?;
        }
        Ok(())
    }

    fn add(&mut self, out: &mut dyn Write, range: Range<u64>) -> Result<()> {
        match &mut self.last {
            Some(last) if last.end == range.start => last.end = range.end,
            last => {
                if let Some(run) = last.replace(range) {
                    self.print(out, run)?;
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, out: &mut dyn Write, range: Range<u64>) -> Result<()> {
        let run = Run {
            start: range.start,
            length: range.end - range.start,
        };
        if self.json {
            let before = if self.runs == 0 { "" } else { ",\n" };
            write!(out, "{before}{}", serde_json::to_string(&run)?)?;
        } else {
            let width = self.width;
            writeln!(out, "{:>width$} {:>width$}", run.start, run.length)?;
        }
        self.runs += 1;
        self.bytes += run.length;
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        if let Some(run) = self.last.take() {
            self.print(out, run)?;
        }
        if self.json {
            writeln!(out, "]")?;
        }
        Ok(())
    }
}

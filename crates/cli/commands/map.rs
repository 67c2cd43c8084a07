//! `rehost map`: runs are printed as they are found, so that any number of them takes no memory.

use crate::args::MapArgs;
use crate::output;
use crate::source::{self, Content, Purpose};
use crate::terminal::Terminal;
use anyhow::Result;
use block::{BlockRead, Extent, ExtentKind};
use image::{MappedPlace, Mapping};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// A run of the disk. The keys that `qemu-img map` has too mean the same.
#[derive(Serialize)]
struct Run {
    start: u64,
    length: u64,
    /// Number of the layer that says what is there; nobody does about what is not present.
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    present: bool,
    zero: bool,
    data: bool,
    compressed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

enum Printer {
    Json {
        empty: bool,
    },
    /// With the width of the numbers.
    Table(usize),
}

pub(super) fn run(args: &MapArgs, terminal: &Terminal) -> Result<ExitCode> {
    let disk = source::open_one(&args.source, &args.disk, Purpose::Look, "--disk", terminal)?;
    let mut printer = if args.json {
        Printer::Json { empty: true }
    } else {
        Printer::Table(disk.device().size().to_string().len().max("length".len()))
    };
    output::stream(|out| {
        printer.begin(out)?;
        match &disk.content {
            Content::Image(image) => {
                for mapping in image.mappings() {
                    terminal.interrupt.check()?;
                    printer.run(out, &mapping?.into())?;
                }
            }
            Content::Snapshot(snapshot) => {
                let device = snapshot.device();
                let device: &dyn BlockRead = &*device;
                for extent in device.extents() {
                    terminal.interrupt.check()?;
                    printer.run(out, &extent?.into())?;
                }
            }
        }
        printer.end(out)
    })?;
    Ok(ExitCode::SUCCESS)
}

impl From<Mapping> for Run {
    fn from(Mapping { range, place }: Mapping) -> Self {
        let nothing = Self {
            start: range.start,
            length: range.end.saturating_sub(range.start),
            depth: None,
            present: false,
            zero: true,
            data: false,
            compressed: false,
            offset: None,
            file: None,
        };
        match place {
            MappedPlace::Unallocated => nothing,
            MappedPlace::Zero { depth } => Self {
                depth: Some(depth),
                present: true,
                ..nothing
            },
            MappedPlace::Data {
                depth,
                file,
                offset,
                compressed,
            } => Self {
                depth: Some(depth),
                present: true,
                zero: false,
                data: true,
                compressed,
                offset: Some(offset),
                file: Some(file),
                ..nothing
            },
        }
    }
}

impl From<Extent> for Run {
    /// Blocks of a store are no runs of a file, so it is not said where they are.
    fn from(Extent { range, kind }: Extent) -> Self {
        let data = kind == ExtentKind::Data;
        Self {
            start: range.start,
            length: range.end.saturating_sub(range.start),
            depth: data.then_some(0),
            present: data,
            zero: !data,
            data,
            compressed: data,
            offset: None,
            file: None,
        }
    }
}

impl Printer {
    fn begin(&self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Json { .. } => write!(out, "[")?,
            Self::Table(width) => {
                let (start, length, offset) = ("start", "length", "offset");
                writeln!(
                    out,
                    "{start:>width$} {length:>width$} what       depth {offset:>width$} file"
                )?;
            }
        }
        Ok(())
    }

    fn run(&mut self, out: &mut dyn Write, run: &Run) -> Result<()> {
        match self {
            Self::Json { empty } => {
                let before = if *empty { "" } else { ",\n" };
                *empty = false;
                write!(out, "{before}{}", serde_json::to_string(run)?)?;
            }
            Self::Table(width) => {
                let text = |number: Option<u64>| {
                    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
                };
                let depth = run.depth.map_or_else(|| "-".to_owned(), |d| d.to_string());
                let file = run
                    .file
                    .as_deref()
                    .map(|file| output::printable(&file.display().to_string()));
                writeln!(
                    out,
                    "{:>width$} {:>width$} {:<10} {depth:>5} {:>width$} {}",
                    run.start,
                    run.length,
                    run.what(),
                    text(run.offset),
                    file.as_deref().unwrap_or("-"),
                )?;
            }
        }
        Ok(())
    }

    fn end(&self, out: &mut dyn Write) -> Result<()> {
        if let Self::Json { .. } = self {
            writeln!(out, "]")?;
        }
        Ok(())
    }
}

impl Run {
    fn what(&self) -> &'static str {
        match self {
            Self {
                compressed: true, ..
            } => "compressed",
            Self { data: true, .. } => "data",
            Self { present: true, .. } => "zero",
            _ => "hole",
        }
    }
}

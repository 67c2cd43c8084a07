//! `rehost compare`

use crate::args::{CompareArgs, DiskArgs, PairArgs};
use crate::exit::DIFFERENT;
use crate::output;
use crate::source::{self, Disk, Purpose};
use crate::terminal::Terminal;
use anyhow::{Context, Result};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Report {
    equal: bool,
    left: Side,
    right: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

#[derive(Serialize)]
struct Side {
    name: String,
    virtual_size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Difference {
    /// The disks have different sizes, and that counts.
    Size,
    /// The first byte that is not the same.
    Byte { offset: u64, left: u8, right: u8 },
}

pub(super) fn run(args: &CompareArgs, terminal: &Terminal) -> Result<ExitCode> {
    let [left, right] = open_pair(&args.pair, terminal)?;
    let (left_device, right_device) = (left.device(), right.device());
    let side = |name, size| Side {
        name,
        virtual_size: size,
    };
    let mut report = Report {
        equal: true,
        left: side(left.name, left_device.size()),
        right: side(right.name, right_device.size()),
        difference: None,
    };
    report.difference = if args.strict && left_device.size() != right_device.size() {
        Some(Difference::Size)
    } else {
        let (progress, interrupt) = (&*terminal.progress, &terminal.interrupt);
        let found = image::compare(&*left_device, &*right_device, progress, interrupt);
        let found = found.with_context(|| {
            format!("cannot compare {} with {}", args.pair.left, args.pair.right)
        })?;
        found.map(|found| Difference::Byte {
            offset: found.offset,
            left: found.left,
            right: found.right,
        })
    };
    report.equal = report.difference.is_none();
    if args.json {
        output::json(&report)?;
    } else {
        output::write(report.text().as_bytes())?;
    }
    let status = if report.equal { 0 } else { DIFFERENT };
    Ok(status.into())
}

/// Opens both disks.
pub(super) fn open_pair(args: &PairArgs, terminal: &Terminal) -> Result<[Disk; 2]> {
    let [left, right] = args.disks();
    let open = |text, disk: &DiskArgs, option| {
        source::open_one(text, disk, Purpose::Look, option, terminal)
    };
    Ok([
        open(&args.left, &left, "--disk-a")?,
        open(&args.right, &right, "--disk-b")?,
    ])
}

impl Report {
    fn text(&self) -> String {
        let (left, right) = (&self.left, &self.right);
        match self.difference {
            None if left.virtual_size == right.virtual_size => "the disks are equal\n".to_owned(),
            None => format!(
                "the disks are equal, but for zeros at the end of one: {} and {} bytes\n",
                left.virtual_size, right.virtual_size
            ),
            Some(Difference::Size) => format!(
                "the disks differ in size: {} has {} bytes, {} has {}\n",
                left.name, left.virtual_size, right.name, right.virtual_size
            ),
            Some(Difference::Byte {
                offset,
                left: in_left,
                right: in_right,
            }) => format!(
                "the disks differ at byte {offset}: {} has {in_left:#04x}, {} has {in_right:#04x}\n",
                left.name, right.name
            ),
        }
    }
}

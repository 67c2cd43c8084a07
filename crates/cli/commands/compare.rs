//! `rehost compare`

use crate::args::CompareArgs;
use crate::exit::DIFFERENT;
use crate::output;
use crate::source::{self, Purpose};
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
    let [left_args, right_args] = args.disks();
    let left = source::open_one(&args.left, &left_args, Purpose::Look, "--disk-a", terminal)?;
    let right = source::open_one(
        &args.right,
        &right_args,
        Purpose::Look,
        "--disk-b",
        terminal,
    )?;
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
        let found =
            found.with_context(|| format!("cannot compare {} with {}", args.left, args.right))?;
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

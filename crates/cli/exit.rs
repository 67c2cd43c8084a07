//! What the process says when it ends.

use crate::terminal::{Colour, Terminal};
use anyhow::Error;
use ondisk::Interrupted;
use std::process::ExitCode;

/// `plan --check` found changes.
pub(crate) const CHANGES: u8 = 3;
/// The user stopped the work.
pub(crate) const INTERRUPTED: u8 = 130;
const FAILED: u8 = 1;
const SOURCE: u8 = 4;
const GUEST: u8 = 5;

/// Says on stderr what failed, with every reason below it, and sorts it into an exit status.
pub(crate) fn report(error: &Error, terminal: &Terminal) -> ExitCode {
    let status = status(error);
    if status == INTERRUPTED {
        eprintln!("rehost: interrupted; nothing was published");
        return status.into();
    }
    eprintln!("{} {error}", terminal.paint_err(Colour::Removed, "rehost:"));
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    status.into()
}

fn status(error: &Error) -> u8 {
    for cause in error.chain() {
        if is_interruption(cause) {
            return INTERRUPTED;
        }
        if let Some(error) = cause.downcast_ref::<convert::Error>() {
            match error {
                convert::Error::Stale(_)
                | convert::Error::NoSpace { .. }
                | convert::Error::PlanFormat { .. }
                | convert::Error::Initramfs { .. } => return GUEST,
                convert::Error::UnknownRule(_) => return FAILED,
                _ => {}
            }
        }
        if cause.downcast_ref::<Unconvertible>().is_some() {
            return GUEST;
        }
        if is_about_the_source(cause) {
            return SOURCE;
        }
    }
    FAILED
}

/// The libraries' errors show an interruption as their own text, so it is no cause of theirs.
fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    let image = cause.downcast_ref::<image::Error>();
    let store = cause.downcast_ref::<store::Error>();
    cause.downcast_ref::<Interrupted>().is_some()
        || matches!(image, Some(image::Error::Interrupted(_)))
        || matches!(store, Some(store::Error::Interrupted(_)))
}

fn is_about_the_source(cause: &(dyn std::error::Error + 'static)) -> bool {
    let image = cause.downcast_ref::<image::Error>();
    let image = image.is_some_and(|error| !matches!(error, image::Error::Io { .. }));
    let block = cause.downcast_ref::<block::Error>();
    let block = block.is_some_and(|error| matches!(error, block::Error::Format { .. }));
    let fs = cause.downcast_ref::<fs::Error>();
    let fs = fs.is_some_and(|e| matches!(e, fs::Error::Corrupt(_) | fs::Error::Unsupported(_)));
    image || block || fs || cause.downcast_ref::<volume::Error>().is_some()
}

/// The guest is not one that can be converted as asked.
#[derive(Debug)]
pub(crate) struct Unconvertible(pub(crate) String);

impl std::fmt::Display for Unconvertible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unconvertible {}

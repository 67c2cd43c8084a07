//! What the process says when it ends.

use crate::terminal::{Colour, Terminal};
use crate::{ebs, migration};
use anyhow::Error;
use ondisk::Interrupted;
use std::path::PathBuf;
use std::process::ExitCode;

/// `plan --check` found changes, or `compare` a difference.
pub(crate) const DIFFERENT: u8 = 3;
/// The source is damaged or not supported.
pub(crate) const SOURCE: u8 = 4;
/// The target did not come up.
pub(crate) const NOT_UP: u8 = 6;
/// The user stopped the work.
pub(crate) const INTERRUPTED: u8 = 130;
/// `fleet report` found a machine that failed.
pub(crate) const MACHINE: u8 = 6;
const FAILED: u8 = 1;
const GUEST: u8 = 5;

/// Whether it is the user who stopped the work.
pub(crate) fn is_interrupted(error: &Error) -> bool {
    status(error) == INTERRUPTED
}

/// Says on stderr what failed, with every reason below it, and sorts it into an exit status.
pub(crate) fn report(error: &Error, terminal: &Terminal) -> ExitCode {
    let status = status(error);
    if status == INTERRUPTED {
        let partly = error.downcast_ref::<Partly>().map(ToString::to_string);
        let kept = error.downcast_ref::<Kept>().map(ToString::to_string);
        let goes_on = error.downcast_ref::<GoesOn>().map(ToString::to_string);
        let what = partly.or(kept).or(goes_on);
        let what = what.unwrap_or_else(|| "nothing was published".to_owned());
        eprintln!("rehost: interrupted; {what}");
        return status.into();
    }
    eprintln!("{} {error}", terminal.paint_err(Colour::Removed, "rehost:"));
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    status.into()
}

fn status(error: &Error) -> u8 {
    let mut status = FAILED;
    for cause in error.chain() {
        if is_interruption(cause) {
            return INTERRUPTED;
        }
        let conversion = cause.downcast_ref::<convert::Error>();
        if let Some(status) = conversion.and_then(of_conversion) {
            return status;
        }
        if let Some(several) = cause.downcast_ref::<Several>() {
            return several.status;
        }
        if cause.downcast_ref::<Unconvertible>().is_some() {
            return GUEST;
        }
        if cause.downcast_ref::<Absent>().is_some() {
            return NOT_UP;
        }
        match blame(cause) {
            Blame::Host => return FAILED,
            Blame::Source => return SOURCE,
            Blame::SourceUnless => status = SOURCE,
            Blame::Unknown => {}
        }
    }
    status
}

/// The status of a conversion that failed, where it tells. What is behind a rule stands in a box,
/// which the chain of causes shows as the box.
fn of_conversion(error: &convert::Error) -> Option<u8> {
    match error {
        convert::Error::Rule { source, .. } => of_conversion(source),
        convert::Error::Stale(_)
        | convert::Error::NoSpace { .. }
        | convert::Error::PlanFormat { .. }
        | convert::Error::NoKernel { .. }
        | convert::Error::Initramfs { .. } => Some(GUEST),
        convert::Error::UnknownRule(_) => Some(FAILED),
        _ => None,
    }
}

/// Whose fault something is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blame {
    /// The host's, or that of who wrote the command line.
    Host,
    Source,
    /// The source's, unless what is behind it says that the host failed.
    SourceUnless,
    Unknown,
}

/// The libraries' errors show an interruption as their own text, so it is no cause of theirs.
fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    let image = cause.downcast_ref::<image::Error>();
    let store = cause.downcast_ref::<store::Error>();
    let launch = cause.downcast_ref::<launch::local::Error>();
    cause.downcast_ref::<Interrupted>().is_some()
        || matches!(launch, Some(launch::local::Error::Interrupted(_)))
        || matches!(image, Some(image::Error::Interrupted(_)))
        || matches!(store, Some(store::Error::Interrupted(_)))
        || ebs::is_interruption(cause)
        || migration::is_interruption(cause)
}

fn blame(cause: &(dyn std::error::Error + 'static)) -> Blame {
    if let Some(error) = cause.downcast_ref::<image::Error>() {
        return match error {
            image::Error::Io { .. }
            | image::Error::Exists { .. }
            | image::Error::Options { .. } => Blame::Host,
            image::Error::Source(_) => Blame::Unknown,
            _ => Blame::Source,
        };
    }
    if let Some(error) = cause.downcast_ref::<store::Error>() {
        return match error {
            store::Error::Corrupt { .. } | store::Error::Json { .. } => Blame::Source,
            store::Error::Block(_) => Blame::Unknown,
            _ => Blame::Host,
        };
    }
    if let Some(blame) = ebs::blame(cause) {
        return blame;
    }
    if let Some(block::Error::Format { .. }) = cause.downcast_ref() {
        return Blame::SourceUnless;
    }
    if let Some(fs::Error::Corrupt(_) | fs::Error::Unsupported(_)) = cause.downcast_ref() {
        return Blame::Source;
    }
    if cause.downcast_ref::<volume::Error>().is_some() {
        return Blame::Source;
    }
    Blame::Unknown
}

/// A block device was being written when the work ended.
#[derive(Debug)]
pub(crate) struct Partly(pub(crate) PathBuf);

impl std::fmt::Display for Partly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} may hold a part of the disk now", self.0.display())
    }
}

/// What was made before the work ended stays.
#[derive(Debug)]
pub(crate) struct Kept;

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the snapshots that were printed stay")
    }
}

/// Work on machines of a project ended somewhere between its steps.
#[derive(Debug)]
pub(crate) struct GoesOn;

impl std::fmt::Display for GoesOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "what was made and removed until then stays so, and the same command goes on from there",
        )
    }
}

/// A target was launched and did not come up.
#[derive(Debug)]
pub(crate) struct Absent(pub(crate) String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the target did not come up: {}", self.0)
    }
}

impl std::error::Error for Absent {}

/// Several machines failed, which were reported one by one.
#[derive(Debug)]
pub(crate) struct Several {
    failed: usize,
    of: usize,
    status: u8,
    may_pass: bool,
}

impl Several {
    /// Sums up failures. What may be different the next time decides, for it is worth a retry; else
    /// the highest status does.
    pub(crate) fn new(failed: &[Error], of: usize) -> Self {
        let statuses = || failed.iter().map(status);
        let retry = statuses().any(|status| status == FAILED);
        Self {
            failed: failed.len(),
            of,
            may_pass: failed.iter().all(ebs::may_pass),
            status: if retry {
                FAILED
            } else {
                statuses().max().unwrap_or(FAILED)
            },
        }
    }
}

/// Whether what failed may go well a moment later, with nothing changed here.
pub(crate) fn may_pass(error: &Error) -> bool {
    match error.downcast_ref::<Several>() {
        Some(several) => several.may_pass,
        None => ebs::may_pass(error),
    }
}

impl std::fmt::Display for Several {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} machines failed", self.failed, self.of)
    }
}

impl std::error::Error for Several {}

/// The guest is not one that can be converted as asked.
#[derive(Debug)]
pub(crate) struct Unconvertible(pub(crate) String);

impl std::fmt::Display for Unconvertible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unconvertible {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    fn host() -> image::Error {
        image::Error::Io {
            path: "disk.raw".into(),
            action: "read",
            source: std::io::ErrorKind::PermissionDenied.into(),
        }
    }

    fn at_byte_7(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> block::Error {
        block::Error::Format {
            offset: 7,
            source: source.into(),
        }
    }

    #[test]
    fn the_status_says_whose_fault_it_is() {
        let options = image::Error::Options {
            reason: "bad".to_owned(),
        };
        let exists = image::Error::Exists { path: "x".into() };
        let missing = image::Error::Missing {
            by: "a.qcow2".into(),
            name: "b".to_owned(),
            role: "backing file",
        };
        let no_kernel = convert::Error::Rule {
            rule: "kernel-choice",
            source: Box::new(convert::Error::NoKernel {
                wanted: "Nitro instances",
                kernels: "2.6.32 (no nvme)".to_owned(),
                advice: "it can run on Xen instances".to_owned(),
            }),
        };
        let store = store::Error::Corrupt {
            path: "s".into(),
            what: "bad".to_owned(),
        };
        for (error, expected) in [
            (Error::new(host()), FAILED),
            (Error::new(options), FAILED),
            (Error::new(exists), FAILED),
            (Error::new(missing), SOURCE),
            (Error::new(image::Error::Source(at_byte_7(host()))), FAILED),
            (
                Error::new(image::Error::Source(at_byte_7("damaged"))),
                SOURCE,
            ),
            (Error::new(at_byte_7(store)), SOURCE),
            (
                Error::new(image::Error::Interrupted(Interrupted)),
                INTERRUPTED,
            ),
            (Error::new(Unconvertible("no".to_owned())), GUEST),
            (Error::new(no_kernel), GUEST),
            (Error::msg("something"), FAILED),
        ] {
            assert_eq!(status(&error), expected, "{error}");
            let wrapped = Err::<(), _>(error).context("more").unwrap_err();
            assert_eq!(status(&wrapped), expected, "{wrapped}");
        }
    }

    #[test]
    fn of_several_failures_one_that_may_pass_decides() {
        let absent = || Error::new(Absent("a panic".to_owned())).context("web1 failed");
        let guest = || Error::new(Unconvertible("no".to_owned()));
        for (failed, expected) in [
            (vec![absent(), absent()], NOT_UP),
            (vec![guest(), absent()], NOT_UP),
            (vec![absent(), Error::msg("no room"), guest()], FAILED),
        ] {
            let several = Several::new(&failed, 7);
            assert_eq!(status(&Error::new(several)), expected, "{failed:?}");
        }
    }

    #[test]
    fn that_a_device_was_written_in_part_is_found_behind_other_words() {
        let error = Error::new(Interrupted).context(Partly("/dev/x".into()));
        let error = Err::<(), _>(error).context("cannot write").unwrap_err();
        assert_eq!(status(&error), INTERRUPTED);
        assert!(error.downcast_ref::<Partly>().is_some());
    }
}

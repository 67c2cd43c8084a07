//! Why a conversion could not be planned, applied or trusted.

use guest::GuestPath;
use thiserror::Error;

/// Why a conversion failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The guest cannot be read or written.
    #[error(transparent)]
    Guest(#[from] guest::Error),
    /// An initramfs cannot be read or extended.
    #[error("cannot work on the initramfs {path}")]
    Initramfs {
        /// The initramfs.
        path: GuestPath,
        /// What its reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A rule cannot do its work.
    #[error("rule {rule} failed; `--skip {rule}` leaves it out")]
    Rule {
        /// The rule's id.
        rule: &'static str,
        /// Why.
        source: Box<Error>,
    },
    /// No kernel of the guest drives the target's disks and network.
    #[error("no installed kernel drives {wanted}: {kernels}; {advice}")]
    NoKernel {
        /// The instances, in words.
        wanted: &'static str,
        /// The kernels, each with what it lacks.
        kernels: String,
        /// What can be done.
        advice: String,
    },
    /// The guest is not the one that was planned for.
    #[error(transparent)]
    Stale(Box<Stale>),
    /// A file system has no room for what would be written.
    #[error(
        "no space on the guest's {mount}: {needed} bytes needed, {free} free; \
         nothing was written. Remove an old kernel in the source, or skip the rule that writes most"
    )]
    NoSpace {
        /// Where the file system is mounted in the guest.
        mount: GuestPath,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file is larger than any file of its kind.
    #[error("{path} has {size} bytes, at most {cap} are accepted; look at it in the source")]
    TooLarge {
        /// The file.
        path: GuestPath,
        /// Its size in bytes.
        size: u64,
        /// The largest accepted size.
        cap: u64,
    },
    /// `--skip` names a rule that does not exist.
    #[error("there is no rule {0:?}; `rehost rules` lists them")]
    UnknownRule(String),
    /// What was written does not read back; nothing may be published.
    #[error("verification failed, nothing was published: {0}")]
    Verify(String),
    /// A plan that was written by another version.
    #[error("the plan has format {found}, this rehost reads format {expected}")]
    PlanFormat {
        /// The plan's.
        found: u32,
        /// Ours.
        expected: u32,
    },
}

impl Error {
    /// What it says and what is behind it, in a line.
    pub(crate) fn in_a_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}

/// What differs from the plan.
#[derive(Debug, Error)]
#[error("the plan is stale: {path} was {expected}, now there is {found}; nothing was written")]
pub struct Stale {
    /// The object.
    pub path: GuestPath,
    /// What the plan saw.
    pub expected: String,
    /// What is there now.
    pub found: String,
}

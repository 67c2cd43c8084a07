//! What became of a target.

use super::{Accelerator, Hardware};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// What became of a target.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub machine: String,
    /// Whether it came up.
    pub verdict: Verdict,
    /// What decided that, for people; it may quote the console.
    pub reason: String,
    /// Seconds from the start of the machine to the verdict.
    pub seconds: f64,
    /// What its serial console said, as it said it, with escape sequences. A limit in
    /// [`Options`](super::Options) bounds it.
    pub console: PathBuf,
    /// The screen when it was given up, if that could be told: PNG, or PPM from a QEMU before 7.1.
    pub screenshot: Option<PathBuf>,
    /// The last lines of the serial console, without escape sequences. They are the guest's.
    pub console_tail: Vec<String>,
    /// The lines on a screen in text mode, if it did not come up and has such a screen.
    pub screen_text: Vec<String>,
    /// What ran the instructions.
    pub accelerator: Accelerator,
    /// What it ran on.
    pub hardware: Hardware,
    /// The serial numbers of its volumes, as its NVMe controllers tell them.
    pub volumes: Vec<String>,
    /// The version of QEMU, as it tells it.
    pub qemu: String,
    /// What was not as asked for, in sentences.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Whether the target came up.
    pub fn is_up(&self) -> bool {
        self.verdict == Verdict::CameUp
    }
}

/// Whether a target came up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It came up.
    CameUp,
    /// It said that it will not.
    Failed,
    /// It said something, but nothing that decides, until the time was up.
    TimedOut,
    /// It said nothing at all until the time was up.
    Silent,
    /// QEMU ended by itself.
    Died,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CameUp => "came up",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Silent => "is silent",
            Self::Died => "died",
        })
    }
}

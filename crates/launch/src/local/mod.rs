//! Launching a target on this machine: its volumes boot in QEMU, on hardware as near to an EC2
//! instance as QEMU has it, and what the serial console says decides whether it came up.
//!
//! [`launch`] makes the volumes and boots them; [`boot`] boots volumes that are there. Neither needs
//! an account, root, or a shell, and neither changes a disk that it was given.
//!
//! ```no_run
//! use launch::local::{Firmware, Hardware, Options, Source, Target, VolumeFormat, launch};
//! use ondisk::{Interrupt, NoProgress};
//!
//! let target = Target {
//!     name: "web1".to_owned(),
//!     hardware: Hardware { firmware: Firmware::Uefi, ..Hardware::default() },
//!     sources: vec![Source::File { path: "web1.raw".into(), format: VolumeFormat::Raw }],
//! };
//! let options = Options::new("/tmp".into(), "console.log".into(), "screen.png".into());
//! let outcome = launch(&target, &options, &NoProgress, &Interrupt::default())?;
//! println!("{}: {}", outcome.verdict, outcome.reason);
//! # Ok::<(), launch::local::Error>(())
//! ```
//!
//! # Errors
//! A target that does not come up is an [`Outcome`], not an error. [`Error`] is what kept the
//! question from being asked: no QEMU, no firmware, no room.
//!
//! # What differs from EC2
//! QEMU has no ENA, so the network interface is another; NVMe controllers carry EC2's serial
//! numbers, but not its model name. `docs/local-target.md` has the list.
//!
//! # What ends QEMU
//! It runs in a process group of its own, which is killed when the value that holds it goes away: at
//! every return, error and panic. When this process is killed itself, the kernel kills QEMU, as
//! util-linux's `setpriv` asks it to; where there is no such program, a killed process leaves QEMU
//! behind.

mod accelerator;
mod arguments;
mod boot;
mod error;
mod firmware;
mod hardware;
mod judge;
mod outcome;
mod process;
mod qemu;
mod qmp;
mod screen;
mod target;
mod volume;

pub use accelerator::{Accel, Accelerator};
pub use boot::{Options, boot};
pub use error::Error;
pub use hardware::{Architecture, Firmware, Hardware, MAX_VOLUMES, Nic};
pub use outcome::{Outcome, Verdict};
pub use target::{Source, Target, launch};
pub use volume::{Volume, VolumeFormat};

//! What runs the target's instructions: KVM where it works, else emulation.
//!
//! A KVM that opens is not always one that runs a kernel: under some hypervisors it hangs or stops in
//! a kernel's first instructions, and a good target would be reported as bad. So KVM is tried with
//! the target's own kernel: without an initramfs and a disk, it must get as far as its panic over
//! the missing root file system, which takes a second or two.

use super::process::Process;
use super::qemu::Qemu;
use super::{Architecture, Error};
use crate::console::Lines;
use ondisk::Interrupt;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// What the caller wants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Accel {
    /// KVM if a kernel is known to run on it, else emulation.
    #[default]
    Auto,
    /// KVM, untried.
    Kvm,
    /// Emulation: ten to fifty times slower, and the same everywhere.
    Tcg,
}

/// What runs the target's instructions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Accelerator {
    /// Whether it is KVM; else the target is emulated.
    pub kvm: bool,
    /// The CPU, as QEMU calls it.
    pub cpu: &'static str,
    /// Why it is this one, for people.
    pub because: String,
}

impl Accelerator {
    fn emulation(because: impl Into<String>) -> Self {
        Self {
            kvm: false,
            cpu: "max",
            because: because.into(),
        }
    }
}

impl Display for Accelerator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kvm { "KVM" } else { "emulation" })
    }
}

/// CPUs for KVM, the best first: nested KVM may refuse the host's own.
const CPUS: [&str; 4] = ["host", "max", "EPYC", "qemu64"];
/// A kernel that runs takes two seconds for this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chooses; `kernel` is an uncompressed-or-not image of the target's own, to try KVM with.
pub(super) fn choose(
    qemu: &Qemu,
    architecture: Architecture,
    wanted: Accel,
    kernel: Option<&Path>,
    dir: &Path,
    interrupt: &Interrupt,
) -> Result<Accelerator, Error> {
    if wanted == Accel::Tcg {
        return Ok(Accelerator::emulation("asked for"));
    }
    if let Some(why) = no_kvm(architecture) {
        return match wanted {
            Accel::Kvm => Err(Error::NoKvm(why)),
            _ => Ok(Accelerator::emulation(why)),
        };
    }
    if wanted == Accel::Kvm {
        return Ok(Accelerator {
            kvm: true,
            cpu: "host",
            because: "asked for".to_owned(),
        });
    }
    let Some(kernel) = kernel else {
        return Ok(Accelerator::emulation(
            "no kernel of the target was found to try KVM with",
        ));
    };
    let mut refused = String::new();
    for cpu in CPUS {
        match try_kernel(qemu, architecture, cpu, kernel, dir, interrupt)? {
            Tried::Runs => {
                return Ok(Accelerator {
                    kvm: true,
                    cpu,
                    because: "the target's kernel runs on it".to_owned(),
                });
            }
            Tried::Refused(why) => refused = why,
            Tried::Hangs => {
                return Ok(Accelerator::emulation(
                    "KVM is there, but does not run the target's kernel",
                ));
            }
        }
    }
    Ok(Accelerator::emulation(format!("KVM refuses: {refused}")))
}

/// Why KVM is out of the question.
fn no_kvm(architecture: Architecture) -> Option<String> {
    let host = std::env::consts::ARCH;
    let native = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "aarch64",
    };
    if host != native {
        return Some(format!("the host is {host}, the target {architecture}"));
    }
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.err().map(|error| format!("/dev/kvm: {error}"))
}

enum Tried {
    Runs,
    Refused(String),
    Hangs,
}

fn try_kernel(
    qemu: &Qemu,
    architecture: Architecture,
    cpu: &str,
    kernel: &Path,
    dir: &Path,
    interrupt: &Interrupt,
) -> Result<Tried, Error> {
    let (machine, console) = match architecture {
        Architecture::X86_64 => ("pc", "ttyS0"),
        Architecture::Arm64 => ("virt,gic-version=host", "ttyAMA0"),
    };
    let append = format!("console={console} panic=-1");
    let mut arguments: Vec<OsString> = [
        "-machine",
        machine,
        "-accel",
        "kvm",
        "-cpu",
        cpu,
        "-m",
        "512",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
        "-append",
        &append,
        "-kernel",
    ]
    .map(OsString::from)
    .into();
    arguments.push(kernel.into());
    let mut process = Process::start(&qemu.program, &arguments, dir)?;
    let (mut lines, mut spoke) = (Lines::default(), false);
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        interrupt.check()?;
        match process.output.recv_timeout(Duration::from_millis(100)) {
            Ok(bytes) => {
                spoke = true;
                let whole = lines.push(&bytes);
                let panicked = |line: &String| line.contains("Unable to mount root fs");
                if whole.iter().any(panicked) {
                    return Ok(Tried::Runs);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                process.wait(Duration::from_secs(5))?;
                return Ok(if spoke {
                    Tried::Hangs
                } else {
                    Tried::Refused(process.said())
                });
            }
        }
    }
    Ok(Tried::Hangs)
}

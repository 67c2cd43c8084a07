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
/// A kernel that runs takes two seconds to panic, and half of one to say its first word.
const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(10);

/// Chooses; `kernel` is an image of the target's own kernel, to try KVM with.
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

#[derive(Debug, Eq, PartialEq)]
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
    let start = Instant::now();
    while start.elapsed() < if spoke { PATIENCE } else { SILENCE } {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn tried(script: &str) -> Tried {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("qemu");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let qemu = Qemu {
            program,
            version: String::new(),
        };
        let kernel = Path::new("/vmlinuz");
        let interrupt = Interrupt::default();
        try_kernel(
            &qemu,
            Architecture::X86_64,
            "host",
            kernel,
            dir.path(),
            &interrupt,
        )
        .unwrap()
    }

    #[test]
    fn only_a_kernel_that_gets_to_its_end_shows_that_kvm_works() {
        let panics = "echo '[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on \
                      unknown-block(0,0)'; sleep 600";
        assert_eq!(tried(panics), Tried::Runs);
        let refuses = "echo 'failed to set MSR 0x10a' >&2; exit 1";
        assert_eq!(
            tried(refuses),
            Tried::Refused("failed to set MSR 0x10a".to_owned())
        );
        let stops = "echo 'early console in setup code'; exit 1";
        assert_eq!(tried(stops), Tried::Hangs);
    }

    #[test]
    fn a_foreign_target_is_emulated_and_kvm_for_it_refused() {
        let foreign = match std::env::consts::ARCH {
            "aarch64" => Architecture::X86_64,
            _ => Architecture::Arm64,
        };
        let qemu = Qemu {
            program: "/nowhere".into(),
            version: String::new(),
        };
        let (dir, interrupt) = (Path::new("/tmp"), Interrupt::default());
        let choose = |wanted| choose(&qemu, foreign, wanted, None, dir, &interrupt);
        let chosen = choose(Accel::Auto).unwrap();
        assert!(
            !chosen.kvm && chosen.because.contains("the host is"),
            "{chosen:?}"
        );
        assert!(matches!(choose(Accel::Kvm), Err(Error::NoKvm(_))));
        assert_eq!(choose(Accel::Tcg).unwrap().because, "asked for");
    }
}

//! The hardware of a target, as far as QEMU can be told about it.

use super::Error;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// Most volumes of a machine: the slots of its PCI bus that nothing else is in.
pub const MAX_VOLUMES: usize = 26;

/// What the target is to run on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Hardware {
    /// Its instruction set.
    pub architecture: Architecture,
    /// What starts the boot loader.
    pub firmware: Firmware,
    /// Memory in MiB, 128 at least. No more is given than the host has to spare.
    pub memory_mib: u32,
    /// Virtual CPUs, 1 at least. No more are given than the host has, and one where it is emulated.
    pub cpus: u32,
    /// The network interface.
    pub nic: Nic,
}

impl Default for Hardware {
    /// As a t3.small has it.
    fn default() -> Self {
        Self {
            architecture: Architecture::X86_64,
            firmware: Firmware::Bios,
            memory_mib: 2048,
            cpus: 2,
            nic: Nic::Virtio,
        }
    }
}

/// Instruction sets, by EC2's names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Architecture {
    /// 64-bit PC.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm64,
}

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI with an empty variable store, as a new instance has it.
    Uefi,
}

/// What stands for EC2's network interface, which QEMU cannot emulate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nic {
    /// virtio-net: every Linux drives it.
    Virtio,
    /// Intel's 82574L.
    E1000e,
    /// No network.
    None,
}

impl Display for Architecture {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        })
    }
}

impl Display for Firmware {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bios => "BIOS",
            Self::Uefi => "UEFI",
        })
    }
}

const LEAST_MEMORY_MIB: u32 = 128;

impl Hardware {
    /// Whether there is such a machine.
    pub(super) fn check(&self, volumes: usize) -> Result<(), Error> {
        let problem = if volumes == 0 {
            "a target needs a volume to boot from".to_owned()
        } else if volumes > MAX_VOLUMES {
            format!("{volumes} volumes do not fit into the machine, {MAX_VOLUMES} do")
        } else if self.memory_mib < LEAST_MEMORY_MIB {
            format!(
                "{} MiB of memory are too little, {LEAST_MEMORY_MIB} are the least",
                self.memory_mib
            )
        } else if self.cpus == 0 {
            "a machine needs a CPU".to_owned()
        } else if self.architecture == Architecture::Arm64 && self.firmware == Firmware::Bios {
            "arm64 machines boot with UEFI only".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Machine(problem))
    }

    /// The same, but no more than the host has, and a sentence for everything that was cut.
    pub(super) fn fit(self, host: &Host) -> (Self, Vec<String>) {
        let (mut fitted, mut notes) = (self, Vec::new());
        if let Some(most) = host.spare_mib.filter(|most| *most < self.memory_mib) {
            fitted.memory_mib = most.max(LEAST_MEMORY_MIB);
            notes.push(format!(
                "the target has {} MiB of memory instead of {}: the host has no more to spare",
                fitted.memory_mib, self.memory_mib
            ));
        }
        if let Some(most) = host.cpus.filter(|most| *most < self.cpus) {
            fitted.cpus = most.max(1);
            notes.push(format!(
                "the target has {} CPUs instead of {}: the host has no more",
                fitted.cpus, self.cpus
            ));
        }
        (fitted, notes)
    }
}

/// What this machine can give away; absent where it cannot be told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Host {
    /// Three quarters of the memory that is available, in MiB.
    pub(super) spare_mib: Option<u32>,
    pub(super) cpus: Option<u32>,
}

impl Host {
    pub(super) fn look() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cpus = std::thread::available_parallelism().ok();
        Self {
            spare_mib: spare_mib(&meminfo),
            cpus: cpus.and_then(|cpus| u32::try_from(cpus.get()).ok()),
        }
    }

    /// What one of so many targets may have. CPUs are shared anyway.
    pub(super) fn shared_by(self, targets: u32) -> Self {
        let spare_mib = self.spare_mib.map(|spare| spare / targets.max(1));
        Self { spare_mib, ..self }
    }
}

fn spare_mib(meminfo: &str) -> Option<u32> {
    let mut lines = meminfo.lines();
    let rest = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1024 / 4 * 3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_gets_no_more_than_the_host_has_and_that_is_said() {
        let wanted = Hardware {
            memory_mib: 8192,
            cpus: 4,
            ..Hardware::default()
        };
        let host = Host {
            spare_mib: spare_mib("MemFree: 1 kB\nMemAvailable:    4194304 kB\n"),
            cpus: Some(2),
        };
        let (fitted, notes) = wanted.fit(&host);
        assert_eq!((fitted.memory_mib, fitted.cpus), (3072, 2));
        assert!(notes[0].contains("3072 MiB of memory instead of 8192"));
        assert!(notes[1].contains("2 CPUs instead of 4"));
        let (fitted, _) = wanted.fit(&host.shared_by(4));
        assert_eq!((fitted.memory_mib, fitted.cpus), (768, 2));
        assert_eq!(wanted.fit(&Host::default()), (wanted, Vec::new()));
        let (fitted, _) = wanted.fit(&Host {
            spare_mib: Some(1),
            cpus: Some(0),
        });
        assert!(fitted.check(1).is_ok(), "{fitted:?}");
    }

    #[test]
    fn machines_that_cannot_be_are_refused() {
        let good = Hardware::default();
        assert!(good.check(MAX_VOLUMES).is_ok());
        for (hardware, volumes, said) in [
            (good, 0, "needs a volume"),
            (good, 27, "26 do"),
            (
                Hardware {
                    memory_mib: 127,
                    ..good
                },
                1,
                "128 are the least",
            ),
            (Hardware { cpus: 0, ..good }, 1, "needs a CPU"),
            (
                Hardware {
                    architecture: Architecture::Arm64,
                    ..good
                },
                1,
                "UEFI only",
            ),
        ] {
            let error = hardware.check(volumes).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}

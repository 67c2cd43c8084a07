//! Whether a guest can run on each generation of instances, before anything is converted.

use crate::plan::INSPECT;
use crate::rules::RULES;
use crate::{Error, Options, Severity, Target, plan};
use guest::{Architecture, Facts, Guest};
use serde::{Deserialize, Serialize};

/// A generation of instances.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// Nitro instances with processors of Intel and AMD: NVMe disks, ENA network, BIOS or UEFI.
    Nitro,
    /// Xen instances: paravirtual disks and network, BIOS.
    Xen,
    /// Nitro instances with Graviton processors: NVMe disks, ENA network, UEFI.
    Arm64,
}

/// How far a guest is from running there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It runs as it is.
    Ready,
    /// A conversion makes it run.
    AfterConversion,
    /// It does not run there, converted or not.
    NotPossible,
}

/// What is to be said of a guest on one generation of instances.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Readiness {
    /// The instances.
    pub generation: Generation,
    /// Whether it runs there.
    pub verdict: Verdict,
    /// Why it does not run there, or what a conversion has to do first.
    pub reasons: Vec<String>,
    /// What may need work by hand after launch.
    pub warnings: Vec<String>,
}

/// Judges a guest for every generation. Nothing is changed: it is planned what a conversion would do.
pub fn readiness(guest: &Guest, facts: &Facts) -> Vec<Readiness> {
    let generations = [Generation::Nitro, Generation::Xen, Generation::Arm64];
    let judged = generations.map(|generation| judge(guest, facts, generation));
    judged.into()
}

fn judge(guest: &Guest, facts: &Facts, generation: Generation) -> Readiness {
    let mut readiness = Readiness {
        generation,
        verdict: Verdict::NotPossible,
        reasons: obstacles(facts, generation),
        warnings: Vec::new(),
    };
    if !readiness.reasons.is_empty() {
        return readiness;
    }
    let target = match generation {
        Generation::Xen => Target::Xen,
        Generation::Nitro | Generation::Arm64 => Target::Nitro,
    };
    let options = Options {
        target,
        ..Options::default()
    };
    let plan = match plan(guest, facts, &options) {
        Ok(plan) => plan,
        Err(error) => {
            readiness.reasons = vec![reason(&error)];
            return readiness;
        }
    };
    let of = |severity| {
        let findings = plan.findings.iter();
        // What inspection found is said once, beside the verdicts.
        let of_rules = findings.filter(|finding| finding.rule != INSPECT);
        let findings = of_rules.filter(move |finding| finding.severity == severity);
        findings.map(|finding| finding.text.clone())
    };
    readiness.reasons = of(Severity::Problem).collect();
    readiness.warnings = of(Severity::Warning).collect();
    if !readiness.reasons.is_empty() {
        return readiness;
    }
    let because = plan.changes.iter().flat_map(|change| &change.because);
    let asked: Vec<&str> = because.map(|because| because.rule.as_str()).collect();
    let rules = RULES.iter().filter(|rule| asked.contains(&rule.id));
    readiness.reasons = rules.map(|rule| rule.summary.to_owned()).collect();
    readiness.verdict = if plan.is_empty() {
        Verdict::Ready
    } else {
        Verdict::AfterConversion
    };
    readiness
}

/// What no conversion changes: processor and firmware.
fn obstacles(facts: &Facts, generation: Generation) -> Vec<String> {
    let mut obstacles = Vec::new();
    let arm = generation == Generation::Arm64;
    let processor = match facts.architecture {
        Architecture::Aarch64 if !arm => Some("64-bit ARM"),
        Architecture::X86_64 if arm => Some("64-bit PCs"),
        Architecture::X86 if arm => Some("32-bit PCs"),
        // A kernel of 64 bits may run programs of 32.
        Architecture::X86 if generation == Generation::Nitro && !has_64_bit_kernel(facts) => {
            Some("32-bit PCs")
        }
        _ => None,
    };
    if let Some(processor) = processor {
        obstacles.push(format!("the guest is made for {processor}"));
    }
    match generation {
        Generation::Arm64 if obstacles.is_empty() && !facts.firmware.has_uefi() => {
            obstacles
                .push("it has no EFI system partition, and these instances boot by UEFI".into());
        }
        Generation::Xen if obstacles.is_empty() && !facts.firmware.has_bios() => {
            obstacles.push("it boots by UEFI alone, and these instances have a BIOS".into());
        }
        _ => {}
    }
    obstacles
}

fn has_64_bit_kernel(facts: &Facts) -> bool {
    let mut kernels = facts.kernels.iter();
    kernels.any(|kernel| {
        ["x86_64", "amd64"]
            .iter()
            .any(|bits| kernel.version.contains(bits))
    })
}

/// Why nothing can be planned. Which rule failed matters to who skips it alone.
fn reason(error: &Error) -> String {
    match error {
        Error::Rule { source, .. } => source.in_a_line(),
        other => other.in_a_line(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};
    use guest::{Firmware, Kernel};

    fn facts(drivers: &[&str]) -> Facts {
        Facts {
            architecture: Architecture::X86_64,
            firmware: Firmware::Bios,
            kernels: vec![Kernel {
                version: "6.1.0-18-amd64".to_owned(),
                image: "/boot/vmlinuz-6.1.0-18-amd64".into(),
                initramfs: None,
                modules: None,
                config: None,
                debug: false,
                paravirtual: false,
                drivers: Some(drivers.iter().map(|driver| (*driver).to_owned()).collect()),
            }],
            ..Facts::default()
        }
    }

    fn guest(systemd: bool) -> Guest {
        let mut fs = MemoryFs::new("f0ae", None);
        let root = fs.root();
        if systemd {
            let sbin = fs.make_dir(root, b"sbin", NewNode::root(0o755)).unwrap();
            fs.symlink(sbin, b"init", b"/lib/systemd/systemd", NewNode::root(0o777))
                .unwrap();
        } else {
            let etc = fs.make_dir(root, b"etc", NewNode::root(0o755)).unwrap();
            fs.create(etc, b"inittab", NewNode::root(0o644)).unwrap();
        }
        Guest::of(Box::new(fs))
    }

    fn verdicts(guest: &Guest, facts: &Facts) -> [Verdict; 3] {
        let readiness = readiness(guest, facts);
        let [nitro, xen, arm] = &readiness[..] else {
            panic!("{readiness:?}");
        };
        let generations = [nitro.generation, xen.generation, arm.generation];
        assert_eq!(
            generations,
            [Generation::Nitro, Generation::Xen, Generation::Arm64]
        );
        [nitro.verdict, xen.verdict, arm.verdict]
    }

    const ALL: [&str; 4] = ["nvme", "ena", "xen_blkfront", "xen_netfront"];

    #[test]
    fn a_guest_without_work_is_ready() {
        use Verdict::{AfterConversion, NotPossible, Ready};
        let all = facts(&ALL);
        assert_eq!(verdicts(&guest(true), &all), [Ready, Ready, NotPossible]);
        // Its inittab has no serial console.
        let sysv = guest(false);
        assert_eq!(
            verdicts(&sysv, &all),
            [AfterConversion, AfterConversion, NotPossible]
        );
        let reasons = &readiness(&sysv, &all)[0].reasons;
        assert_eq!(
            reasons,
            &["start a login on the serial console in guests without systemd"]
        );
    }

    #[test]
    fn drivers_decide_between_nitro_and_xen() {
        use Verdict::{NotPossible, Ready};
        let old = facts(&["xen_blkfront", "xen_netfront"]);
        assert_eq!(
            verdicts(&guest(true), &old),
            [NotPossible, Ready, NotPossible]
        );
        let reasons = &readiness(&guest(true), &old)[0].reasons;
        assert!(reasons[0].contains("no nvme, no ena"), "{reasons:?}");
        assert!(!reasons[0].contains("--skip"), "{reasons:?}");
    }

    #[test]
    fn processor_and_firmware_cannot_be_converted() {
        use Verdict::{NotPossible, Ready};
        let mut facts = facts(&ALL);
        facts.firmware = Firmware::Uefi;
        let esp = "the EFI system partition is not mounted";
        let uefi = readiness(&guest(true), &facts);
        assert!(uefi[0].reasons[0].starts_with(esp), "{uefi:?}");
        assert_eq!(uefi[1].verdict, NotPossible);
        facts.architecture = Architecture::Aarch64;
        facts.firmware = Firmware::Bios;
        assert_eq!(verdicts(&guest(true), &facts), [NotPossible; 3]);
        facts.architecture = Architecture::X86;
        assert_eq!(verdicts(&guest(true), &facts), [Ready, Ready, NotPossible]);
        facts.kernels[0].version = "2.6.32-754.el6.i686".to_owned();
        assert_eq!(
            verdicts(&guest(true), &facts),
            [NotPossible, Ready, NotPossible]
        );
    }
}

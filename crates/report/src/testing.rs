//! A report with something of everything.

use crate::{
    Because, Boot, Change, ChangeKind, ChangedSince, Console, Diff, Finding, Guest, Kernel,
    Machine, Moment, Object, Outcome, Output, Regions, Report, Run, Severity, Shard, SourceDisk,
    Step, Target, TargetVolume, Volume,
};
use std::error::Error;

/// An error with every reason below it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A run of two machines, of which the second failed.
pub(crate) fn report() -> Report {
    let mut run = Run::begin("test", Moment(1_767_225_600));
    run.host = Some("worker-1".to_owned());
    run.shard = Some(Shard { index: 1, count: 4 });
    run.end(Moment(1_767_225_660));
    let mut failed = Machine::new("db1");
    failed.fail(["db1 was not converted", "no operating system was found"]);
    Report::new(run, vec![machine(), failed])
}

fn machine() -> Machine {
    let mut regions = Regions::of("web1.vmdk", 8 << 30);
    regions.changed_since(ChangedSince::Conversion);
    regions.data(0..1 << 30);
    regions.data(3 << 30..4 << 30);
    regions.changed(4096..8192);
    regions.uploaded(0..512 << 10);
    let mut machine = Machine {
        lifecycle: Some("tested".to_owned()),
        sources: vec![SourceDisk {
            name: "web1.vmdk".to_owned(),
            size: 8 << 30,
            format: Some("vmdk".to_owned()),
            path: Some("disks/web1.vmdk".to_owned()),
        }],
        guest: Some(Guest {
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            hostname: Some("web1".to_owned()),
            architecture: "x86_64".to_owned(),
            firmware: "bios".to_owned(),
            kernels: vec![Kernel {
                version: "6.1.0-18-amd64".to_owned(),
                initramfs: Some("/boot/initrd.img-6.1.0-18-amd64".to_owned()),
            }],
            volumes: vec![Volume {
                name: "disk 1 partition 1".to_owned(),
                size: 7 << 30,
                content: "ext4".to_owned(),
                mounted_at: Some("/".to_owned()),
            }],
            interfaces: vec!["eth0 static 192.0.2.7/24 (/etc/network/interfaces)".to_owned()],
            source_tools: vec!["OpenVmTools".to_owned()],
        }),
        findings: vec![
            finding(Severity::Info, "cloud-init", "cloud-init is not installed"),
            finding(Severity::Warning, "fstab-nofail", "/dev/sdc1 stayed behind"),
            finding(Severity::Problem, "blueprint", "boot mode does not fit"),
        ],
        changes: vec![
            change("/etc/fstab", "fstab-by-uuid", "-/dev/sda1 /\n+UUID=1 /\n"),
            change("/etc/mtab", "fstab-by-uuid", "-a\n+b\n"),
        ],
        regions: vec![regions.finish()],
        outputs: vec![Output {
            kind: "ebs-snapshot".to_owned(),
            name: "snap-0123456789abcdef0".to_owned(),
            disk: Some("web1.vmdk".to_owned()),
            place: Some("eu-west-1".to_owned()),
            parent: Some("snap-0fedcba9876543210".to_owned()),
            put_blocks: Some(1),
            read: Some(1 << 20),
            made: true,
            ..Output::default()
        }],
        steps: vec![
            step("inspect and plan", 0, 1200, Outcome::Ok),
            step("write web1.vmdk", 1200, 30_000, Outcome::Ok),
            step("boot", 31_200, 28_000, Outcome::Failed),
        ],
        target: Some(target()),
        ..Machine::new("web1")
    };
    machine.derive_checks();
    machine
}

pub(crate) fn finding(severity: Severity, rule: &str, text: &str) -> Finding {
    Finding {
        severity,
        rule: rule.to_owned(),
        text: text.to_owned(),
    }
}

pub(crate) fn change(path: &str, rule: &str, diff: &str) -> Change {
    let object = |size| Object {
        size: Some(size),
        sha256: Some("ab".repeat(32)),
        mode: Some("0644".to_owned()),
        owner: Some("0:0".to_owned()),
        ..Object::default()
    };
    Change {
        path: path.to_owned(),
        kind: ChangeKind::Changed,
        because: vec![Because {
            rule: rule.to_owned(),
            reason: "device names change".to_owned(),
        }],
        before: Some(object(100)),
        after: Some(object(120)),
        diff: Some(Diff::new(diff, diff.len())),
        note: None,
    }
}

fn step(name: &str, at: u64, took: u64, result: Outcome) -> Step {
    Step {
        name: name.to_owned(),
        at,
        took,
        result,
    }
}

fn target() -> Target {
    Target {
        kind: "ec2".to_owned(),
        place: Some("eu-west-1a".to_owned()),
        instance_type: Some("m7i.large".to_owned()),
        instance: Some("i-0123456789abcdef0".to_owned()),
        image: Some("ami-0123456789abcdef0".to_owned()),
        addresses: vec!["private 10.0.0.7".to_owned()],
        volumes: vec![TargetVolume {
            name: "vol-0123456789abcdef0".to_owned(),
            device: Some("/dev/xvda".to_owned()),
            snapshot: Some("snap-0123456789abcdef0".to_owned()),
            size: Some(8 << 30),
        }],
        replaced: vec!["i-0fedcba9876543210".to_owned()],
        boot: Some(Boot {
            up: true,
            evidence: "login prompt".to_owned(),
            took: Some(28_000),
            screenshot: None,
        }),
        console: Some(Console::new(
            b"Debian GNU/Linux 12 web1 ttyS0\n\nweb1 login: ",
        )),
    }
}

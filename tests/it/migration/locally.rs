//! Projects whose snapshots are in a local store, and whose targets a script stands for.

use crate::support::{Ran, phony, program, temp};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const UP: &str = "printf 'Linux version 6.1\\r\\nDebian 12 web1 ttyS0\\r\\n\\r\\nweb1 login: '";
const PANICS: &str = "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs'";

/// A project of two machines, and a QEMU.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: temp() };
        super::copy(&phony(&["debian12"]), &desk.path("web1.raw"));
        super::copy(&phony(&["debian12"]), &desk.path("db1.raw"));
        desk.write(
            "rehost.yaml",
            "metadata: {name: shop}\nstore: 'store:snaps'\nmachines:\n\
             - {name: web1, sources: [web1.raw], blueprint: web1.yaml}\n\
             - {name: db1, sources: [db1.raw]}\n",
        );
        desk.write(
            "web1.yaml",
            "metadata: {machine: web1}\ninstance: {type: t3.nano}\n",
        );
        desk.qemu(UP);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn qemu(&self, says: &str) {
        let log = self.path("arguments");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 'QEMU emulator version 0'; exit; }}\n\
             echo \"$*\" >>'{}'\n{says}\nexec sleep 600\n",
            log.display()
        );
        self.write("qemu", &text);
        fs::set_permissions(self.path("qemu"), Permissions::from_mode(0o755)).unwrap();
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.dir.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.program(arguments).output().unwrap())
    }

    fn test(&self, arguments: &[&str]) -> Ran {
        let qemu = self.path("qemu");
        let mut all = vec!["test", "--local", "--accel", "tcg", "--qemu"];
        all.push(qemu.to_str().unwrap());
        all.extend(arguments);
        self.run(&all)
    }
}

#[test]
fn a_project_is_the_same_one_from_every_directory() {
    let desk = Desk::new();
    desk.run(&["replicate", "--project", "rehost.yaml"]).ok();
    desk.test(&["--no-snapshot", "web1"]).ok();
    let project = desk.path("rehost.yaml");
    let project = project.to_str().unwrap();
    let qemu = desk.path("qemu");
    let mut elsewhere = program();
    elsewhere.args(["test", "--local", "--no-snapshot", "--accel", "tcg"]);
    elsewhere.args(["--project", project, "--json", "--qemu"]);
    let outcome = Ran::of(elsewhere.arg(&qemu).output().unwrap()).json();
    let snapshots = outcome[0]["converted"][0].as_str().unwrap();
    let store = format!("store:{}#", desk.path("snaps").display());
    assert!(snapshots.starts_with(&store), "{outcome}");
    // Conversions of one snapshot are one, wherever they are looked at from.
    let here = desk.run(&["convert", "--project", "rehost.yaml", "--json", "web1"]);
    let here = here.json();
    assert_eq!(here["machine"], "web1");
    let id = |text: &str| text.rsplit_once('#').unwrap().1.to_owned();
    let converted = here["converted"][0].as_str().unwrap();
    assert_eq!(id(converted), id(snapshots));
}

#[test]
fn a_store_that_is_only_begun_has_no_snapshots_yet() {
    let desk = Desk::new();
    fs::create_dir(desk.path("snaps")).unwrap();
    desk.run(&["status"]).ok();
    desk.run(&["replicate", "--project", "rehost.yaml", "web1"])
        .ok();
}

#[test]
fn targets_that_do_not_come_up_are_told_from_failures() {
    let desk = Desk::new();
    desk.qemu(PANICS);
    let ran = desk.test(&["--report", "reports"]);
    let said = ran.stderr.clone();
    ran.ended(6);
    assert!(said.contains("2 of 2 machines failed"), "{said}");
    // Every line says whose it is.
    for line in said.lines() {
        let names = ["web1:", "db1:", "rehost:", "  because:"];
        assert!(names.iter().any(|name| line.starts_with(name)), "{line}");
    }
    let console = desk.path(".rehost/targets/web1/console.log");
    assert!(console.is_file());
    assert!(
        said.contains("web1: its console: ./.rehost/targets/web1/console.log"),
        "{said}"
    );
}

#[test]
fn a_local_target_has_the_size_of_its_instance_type() {
    let desk = Desk::new();
    desk.test(&["web1"]).ok();
    desk.test(&["--no-snapshot", "--memory", "256M", "--cpus", "1", "web1"])
        .ok();
    let qemu = desk.path("qemu");
    let mut launch = desk.program(&["launch", "--local", "--accel", "tcg", "--blueprint"]);
    launch.args(["web1.yaml", "web1.raw", "--qemu"]).arg(&qemu);
    let said = Ran::of(launch.output().unwrap());
    assert!(said.stderr.contains("512 MiB"), "{}", said.stderr);
    let arguments = fs::read_to_string(desk.path("arguments")).unwrap();
    let sizes: Vec<&str> = arguments
        .lines()
        .filter_map(|line| line.split_once(" -m ")?.1.split(' ').next())
        .collect();
    // A t3.nano has half a GiB.
    assert_eq!(sizes, ["512M", "256M", "512M"], "{arguments}");
}

#[test]
fn a_blueprint_that_is_wrong_is_told_before_anything_is_done() {
    let desk = Desk::new();
    desk.write(
        "web1.yaml",
        "metadata: {machine: web1}\ninstance: {type: t9.nano}\n",
    );
    let said = desk.test(&["web1"]).failed(1);
    assert!(said.contains("web1.yaml:2:18: instance.type"), "{said}");
    assert!(!desk.path("snaps").exists(), "a snapshot was taken");
    desk.write("types.json", TYPES);
    desk.test(&["--instance-types", "types.json", "web1"]).ok();
}

/// What EC2 says about a type that is newer than the program.
const TYPES: &str = r#"{"InstanceTypes": [{
    "InstanceType": "t9.nano", "CurrentGeneration": true, "Hypervisor": "nitro", "BareMetal": false,
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "VCpuInfo": {"DefaultVCpus": 1, "DefaultCores": 1, "DefaultThreadsPerCore": 1},
    "MemoryInfo": {"SizeInMiB": 512},
    "SupportedBootModes": ["legacy-bios", "uefi"],
    "EbsInfo": {"EbsOptimizedSupport": "default", "NvmeSupport": "required"},
    "NetworkInfo": {"EnaSupport": "required", "MaximumNetworkInterfaces": 2,
        "Ipv4AddressesPerInterface": 2, "Ipv6AddressesPerInterface": 2}
}]}"#;

#[test]
fn options_that_would_do_nothing_are_refused() {
    let desk = Desk::new();
    desk.run(&["test", "--memory", "4G"]).ended(2);
    desk.run(&["test", "--keep", "kept", "web1"]).ended(2);
    desk.test(&["--lift-protection"]).ended(2);
    desk.run(&["gc", "--shard", "1/2"]).ended(2);
    let said = desk.run(&["test", "web1"]).failed(1);
    assert!(
        said.contains("`rehost test --local` needs no EC2"),
        "{said}"
    );
    let said = desk.run(&["cutover", "--untested", "web1"]).failed(1);
    assert!(!said.contains("--local"), "{said}");
}

#[test]
fn machines_without_a_report_are_missing_from_the_fleet() {
    let desk = Desk::new();
    desk.test(&["--report", "reports", "web1"]).ok();
    desk.run(&["fleet", "report", "reports"]).ok();
    let all = ["fleet", "report", "reports", "--project", "rehost.yaml"];
    let ran = desk.run(&all).ended(6);
    let missing = ran.lines().find(|line| line.starts_with("db1"));
    assert!(
        missing.is_some_and(|line| line.contains("MISSING")),
        "{ran}"
    );
    // Not one task of the fleet wrote anything.
    fs::create_dir(desk.path("none")).unwrap();
    let ran = desk.run(&["fleet", "report", "none", "--project", "rehost.yaml"]);
    assert!(ran.ended(6).contains("2 missing"));
    desk.run(&["fleet", "report", "none"]).failed(1);
}

#[test]
fn a_damaged_record_does_not_hide_the_other_machines() {
    let desk = Desk::new();
    desk.run(&["replicate", "--project", "rehost.yaml"]).ok();
    desk.write(".rehost/web1.json", "{");
    let ran = desk.run(&["status"]);
    let said = ran.stderr.clone();
    let table = ran.ended(1);
    assert!(table.contains("db1") && !table.contains("web1"), "{table}");
    assert!(said.contains("web1.json is damaged"), "{said}");
}

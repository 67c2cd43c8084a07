//! A project with a local store, whose targets run in QEMU: a script stands in for it here.

use super::copy;
use crate::support::{Ran, phony, program, temp};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;

struct Site(TempDir);

impl Site {
    /// A project of one machine, and a QEMU that prints what `console` says.
    fn new(console: &str) -> Self {
        let dir = temp();
        copy(&phony(&["debian12"]), &dir.path().join("web1.raw"));
        fs::write(
            dir.path().join("rehost.yaml"),
            "metadata: {name: shop}\nstore: store:store\nmachines:\n\
             - {name: web1, sources: [web1.raw]}\n",
        )
        .unwrap();
        let site = Self(dir);
        site.qemu(console);
        site
    }

    fn qemu(&self, console: &str) {
        let path = self.0.path().join("qemu");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 'QEMU emulator version 0'; exit; }}\n\
             printf '{console}'; exec sleep 600\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.program(arguments).output().unwrap())
    }

    fn test(&self) -> Ran {
        let local = [
            "test", "--local", "--accel", "tcg", "--qemu", "./qemu", "--json",
        ];
        self.run(&local)
    }

    fn status(&self) -> Value {
        self.run(&["status", "--json"]).json()[0].clone()
    }
}

#[test]
fn a_local_test_is_a_gate() {
    let site = Site::new("Debian 12 web1 ttyS0\\r\\n\\r\\nweb1 login: ");
    let outcome: Value = serde_json::from_str(&site.test().ended(0)).unwrap();
    assert_eq!(outcome[0]["cameUp"], true, "{outcome}");
    assert_eq!(outcome[0]["place"], "local");
    let status = site.status();
    assert_eq!(
        (&status["state"], &status["lastTest"]["cameUp"]),
        (&"tested".into(), &true.into())
    );
    let report = site.0.path().join(".rehost/reports/test/web1.json");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let machine = &report["machines"][0];
    assert_eq!(machine["target"]["boot"]["up"], true);
    assert_eq!(machine["lifecycle"], "tested");
    let steps = machine["steps"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["name"] == "launch the target"),
        "{steps:?}"
    );

    // Nothing changed, so nothing is stored or converted anew.
    let first = status["snapshot"]["disks"].clone();
    let second: Value = serde_json::from_str(&site.test().ended(0)).unwrap();
    assert_eq!(second[0]["snapshots"], first);
    assert_eq!(second[0]["converted"], outcome[0]["converted"]);
    assert_eq!(second[0]["launch"], 2);

    site.qemu("[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\\r\\n");
    let failed = site.test();
    assert_eq!(failed.status, Some(6), "{}", failed.stderr);
    assert!(failed.stderr.contains("Kernel panic"), "{}", failed.stderr);
    let status = site.status();
    assert_eq!(status["state"], "testing");
    assert_eq!(status["lastTest"]["cameUp"], false);
}

#[test]
fn what_was_converted_with_other_options_is_converted_anew() {
    let site = Site::new("web1 login: ");
    let convert = ["convert", "--project", "rehost.yaml"];
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    let first = site.run(&convert).ok();
    assert_eq!(site.run(&convert).ok(), first, "nothing is done twice");
    let project = site.0.path().join("rehost.yaml");
    let text = fs::read_to_string(&project).unwrap();
    let text = text.replace(
        "sources: [web1.raw]",
        "sources: [web1.raw], blueprint: web1.yaml",
    );
    fs::write(&project, text).unwrap();
    let blueprint = "metadata: {machine: web1}\nconversion: {network: leave}\n";
    fs::write(site.0.path().join("web1.yaml"), blueprint).unwrap();
    let second = site.run(&convert).ok();
    assert_ne!(first, second);
    // A conversion that somebody removed is made again.
    let id = second.trim().to_owned();
    site.run(&["snapshots", "rm", &id]).ok();
    assert_eq!(site.run(&convert).ok().trim(), id);
}

#[test]
fn a_machine_that_somebody_works_on_is_left_alone() {
    let site = Site::new("");
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    let mut child = site
        .program(&["test", "--local", "--accel", "tcg", "--qemu", "./qemu"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let console = site.0.path().join(".rehost/targets/web1/console.log");
    crate::ebs::until(|| console.exists());
    let refused = site
        .run(&["replicate", "--project", "rehost.yaml"])
        .failed(1);
    assert!(refused.contains("being worked on"), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
}

#[test]
fn a_conversion_is_the_same_however_its_store_is_named() {
    let site = Site::new("web1 login: ");
    let file = site.0.path().join("rehost.yaml");
    let file = file.to_str().unwrap();
    let mut converted = Vec::new();
    for project in ["rehost.yaml", file] {
        let local = [
            "test",
            "--local",
            "--accel",
            "tcg",
            "--qemu",
            "./qemu",
            "--json",
            "--project",
            project,
        ];
        let outcome = site.run(&local).json();
        let disk = outcome[0]["converted"][0].as_str().unwrap();
        let (_, id) = disk.rsplit_once('#').unwrap();
        converted.push(id.to_owned());
    }
    assert_eq!(converted[0], converted[1]);
}

#[test]
fn several_machines_that_do_not_come_up_are_a_gate_as_one_is() {
    let site = Site::new("Kernel panic - not syncing: no root\r\n");
    fs::write(
        site.0.path().join("rehost.yaml"),
        "metadata: {name: shop}\nstore: store:store\nmachines:\n\
         - {name: web1, sources: [web1.raw]}\n- {name: web2, sources: [web2.raw]}\n",
    )
    .unwrap();
    copy(&phony(&["debian12"]), &site.0.path().join("web2.raw"));
    let failed = site.test();
    assert_eq!(failed.status, Some(6), "{}", failed.stderr);
    for said in ["2 of 2 machines failed", "web1 failed", "web2 failed"] {
        assert_eq!(failed.stderr.matches(said).count(), 1, "{}", failed.stderr);
    }
}

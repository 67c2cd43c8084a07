//! Runs that were killed, and the next one.

use super::{Aws, disk, until};
use crate::support::{qemu_img, qemu_io};
use fake_aws::{Action, Faults, State};
use std::path::Path;
use std::process::Stdio;

#[test]
fn a_killed_replication_continues_the_same_snapshots() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    disk(&disks[0], 4, 1);
    disk(&disks[1], 64, 48);
    let slow = |latency_ms| {
        aws.fake.set_faults(Faults {
            latency_ms,
            ..Faults::default()
        });
    };
    for round in 0..3 {
        let put_before = aws.ok(Action::PutSnapshotBlock);
        slow(20);
        let mut child = aws
            .program()
            .args(["replicate", "--full", "--to", "ebs:", names[0], names[1]])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(|| aws.ok(Action::PutSnapshotBlock) >= put_before + 2 + 25);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        slow(0);
        let pending = |state: &State| state.status == "pending";
        let pending: Vec<_> = aws.fake.snapshots().into_iter().filter(pending).collect();
        assert_eq!(pending.len(), 1, "round {round}");
        // Meanwhile the disk goes on.
        qemu_io(
            &disks[1],
            "raw",
            &[&format!("write -P {} 1M 1k", round + 1)],
        );
        let report = aws.replicate(&[names[0], names[1], "--full"]);
        let output = &report["outputs"][1];
        assert_eq!(output["id"], pending[0].id, "round {round}");
        let again = output["put_before"].as_u64().unwrap();
        assert!(again > 0, "{output}");
        aws.assert_holds(&pending[0].id, &disks[1]);
        assert_eq!(report["outputs"][0]["set"], output["set"]);
        // The first disk twice, the second once and what was under way.
        let put = aws.ok(Action::PutSnapshotBlock) - put_before;
        assert!((2 + 2 + 96..=2 + 2 + 96 + 70).contains(&put), "{put}");
    }
}

#[test]
fn what_was_killed_while_it_was_completed_is_not_taken_for_what_the_disk_has_now() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 8, 4);
    for arguments in [
        &["replicate", name, "--to", "ebs:"][..],
        &["replicate", name, "--to", "ebs:", "--full"],
        &["copy", name, "ebs:"],
    ] {
        qemu_io(
            &path,
            "raw",
            &[&format!("write -P {} 2M 1k", arguments.len())],
        );
        aws.fake.set_faults(Faults {
            completion_delay_ms: 1500,
            ..Faults::default()
        });
        let sealed = aws.ok(Action::CompleteSnapshot);
        let mut child = aws
            .program()
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(|| aws.ok(Action::CompleteSnapshot) > sealed);
        child.kill().unwrap();
        child.wait().unwrap();
        qemu_io(
            &path,
            "raw",
            &[&format!("write -P {} 1M 1k", arguments.len())],
        );
        let id = aws.run(arguments).ok();
        aws.assert_holds(id.trim(), &path);
    }
}

#[test]
fn what_was_discarded_after_a_kill_is_not_in_the_next_snapshot() {
    let aws = Aws::new();
    let raw = aws.path("a.raw");
    let [base, first, second] = ["a.qcow2", "b.qcow2", "c.qcow2"].map(|name| aws.path(name));
    disk(&raw, 16, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &base];
    crate::deltas::settle();
    let arguments = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        ["replicate", "--to", "ebs:", "--machine", "web1"]
            .map(str::to_owned)
            .into_iter()
            .chain([path])
            .collect::<Vec<_>>()
    };
    aws.run(&arguments(&base)).ok();
    for (path, write) in [(&first, "write -P 7 2M 1k"), (&second, "write -P 8 4M 1k")] {
        qemu_img![
            "create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", path
        ];
        qemu_io(path, "qcow2", &[write]);
    }
    crate::deltas::settle();
    aws.fake.set_faults(Faults {
        completion_delay_ms: 6000,
        ..Faults::default()
    });
    let sealed = aws.ok(Action::CompleteSnapshot);
    let mut child = aws
        .program()
        .args(arguments(&first))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(|| aws.ok(Action::CompleteSnapshot) > sealed);
    child.kill().unwrap();
    child.wait().unwrap();
    // The machine was set back: what the first layer held is no more.
    let ran = aws.run(&arguments(&second));
    assert!(ran.stderr.contains("1 layer above"), "{}", ran.stderr);
    let id = ran.ok();
    qemu_io(&raw, "raw", &["write -P 8 4M 1k"]);
    aws.assert_holds(id.trim(), &raw);
}

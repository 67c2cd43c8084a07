//! Chains of snapshots of a machine, and what the next run needs.

use super::{Aws, BLOCK, MIB, disk, text};
use crate::support::{qemu_img, qemu_io};
use fake_aws::Action;
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;

#[test]
fn two_disks_are_two_chains_and_each_snapshot_holds_what_changed() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    disk(&disks[0], 16, 4);
    disk(&disks[1], 9, 3);
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    let mut before = [Value::Null, Value::Null];
    for (writes, puts) in [
        ([&[][..], &[][..]], [8, 6]),
        (
            [
                &["write -P 7 1000 512", "write -P 9 9M 1k"][..],
                &["write -z 512k 512k"][..],
            ],
            [2, 1],
        ),
        ([&["write -P 1 15M 1M"][..], &[][..]], [2, 0]),
    ] {
        for (path, writes) in disks.iter().zip(writes) {
            qemu_io(path, "raw", writes);
        }
        let put_before = aws.ok(Action::PutSnapshotBlock);
        let report = aws.replicate(&names);
        let outputs = report["outputs"].as_array().unwrap();
        let put = aws.ok(Action::PutSnapshotBlock) - put_before;
        assert_eq!(put, puts.iter().sum::<u64>(), "{report}");
        for (at, output) in outputs.iter().enumerate() {
            let id = text(&output["id"]);
            assert_eq!(output["put_blocks"], puts[at], "{output}");
            aws.assert_holds(id, &disks[at]);
            if puts[at] == 0 {
                assert_eq!(
                    (&output["id"], &output["made"]),
                    (&before[at], &false.into())
                );
                continue;
            }
            assert_eq!(output["parent"], before[at], "{output}");
            let state = aws.snapshot(id);
            assert_eq!(state.parent.as_deref(), before[at].as_str());
            let tag = |name: &str| state.tags[&format!("rehost:{name}")].clone();
            assert_eq!(
                (tag("machine"), tag("disk")),
                ("web1".into(), (at + 1).to_string())
            );
            assert_eq!(
                (tag("role"), tag("tool")),
                ("staging".into(), "rehost".into())
            );
            assert_eq!(tag("set"), text(&output["set"]));
            before[at] = output["id"].clone();
        }
        if puts[1] > 0 {
            assert_eq!(outputs[0]["set"], outputs[1]["set"]);
        }
    }
    // Nothing changed: nothing is begun, and the same ids are printed.
    let begun = aws.asked(Action::StartSnapshot);
    let ran = aws.run(&["replicate", "--to", "ebs:", names[0], names[1]]);
    assert!(
        ran.stderr.contains("nothing changed since"),
        "{}",
        ran.stderr
    );
    let lines = before.each_ref().map(text).join("\n");
    assert_eq!(ran.ok(), format!("{lines}\n"));
    assert_eq!(aws.asked(Action::StartSnapshot), begun);
    // A full one is new each time.
    let full = || text(&aws.replicate(&[names[0], "--full"])["outputs"][0]["id"]).to_owned();
    let (first, second) = (full(), full());
    assert_ne!(first, second);
    for id in [first, second] {
        assert_eq!(aws.snapshot(&id).parent, None);
        aws.assert_holds(&id, &disks[0]);
    }
    let left = fs::read_dir(aws.state().join("ebs/us-east-1")).unwrap();
    for entry in left {
        let path = entry.unwrap().path();
        let kind = path.extension().unwrap();
        assert!(kind == "index" || kind == "source", "{}", path.display());
    }
}

#[test]
fn what_a_list_says_is_read_and_what_the_disk_has_grown_by() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 16, 4);
    let name = path.to_str().unwrap();
    aws.replicate(&[name]);
    qemu_io(&path, "raw", &["write -P 7 1M 512", "write -P 7 3M 512"]);
    File::options()
        .append(true)
        .open(&path)
        .and_then(|file| file.set_len(20 * MIB))
        .unwrap();
    qemu_io(&path, "raw", &["write -P 8 18M 512"]);
    let list = aws.path("changed");
    fs::write(&list, "1048576 512\n").unwrap();
    let report = aws.replicate(&[name, "--changed", list.to_str().unwrap()]);
    let output = &report["outputs"][0];
    // What the list left out is believed to be as it was.
    assert_eq!(output["put_blocks"], 2, "{output}");
    assert!(output["read"].as_u64().unwrap() <= 9 * BLOCK, "{output}");
    qemu_io(&path, "raw", &["write -P 1 3M 512"]);
    let report = aws.replicate(&[name]);
    assert_eq!(report["outputs"][0]["put_blocks"], 1);
    aws.assert_holds(text(&report["outputs"][0]["id"]), &path);
    // A smaller disk cannot be the child of a larger one.
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(8 * MIB))
        .unwrap();
    let ran = aws.run(&["replicate", "--to", "ebs:", name]);
    assert!(ran.stderr.contains("a new chain begins"), "{}", ran.stderr);
    let id = ran.ok();
    assert_eq!(aws.snapshot(id.trim()).parent, None);
    aws.assert_holds(id.trim(), &path);
}

/// The ids of the snapshots of which an index is kept, and of those of which the source is.
fn kept(aws: &Aws) -> [Vec<String>; 2] {
    let dir = aws.state().join("ebs/us-east-1");
    let names = || {
        let entries = fs::read_dir(&dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    ["index", "source"].map(|kind| {
        let end = format!(".{kind}");
        let names = names().filter_map(|name| Some(name.strip_suffix(&end)?.to_owned()));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    })
}

#[test]
fn only_what_the_next_run_needs_is_kept() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    disk(&disks[0], 8, 2);
    disk(&disks[1], 8, 2);
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    let ids = |report: &Value| {
        let outputs = report["outputs"].as_array().unwrap().iter();
        let mut ids: Vec<_> = outputs
            .map(|output| text(&output["id"]).to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut last = Vec::new();
    for round in 1..=3 {
        qemu_io(&disks[0], "raw", &[&format!("write -P {round} 1M 512")]);
        crate::deltas::settle();
        last = ids(&aws.replicate(&names));
        let [indexes, sources] = kept(&aws);
        assert_eq!((&indexes, &sources), (&last, &last), "round {round}");
    }
    // What is no end of a chain leaves nothing, and takes nothing away.
    aws.run(&["copy", names[0], "ebs:"]).ok();
    let source = format!("ebs:{}", last[0]);
    aws.run(&["convert", &source, "-o", "ebs:", "--allow-unconverted"])
        .ok();
    assert_eq!(kept(&aws)[0], last);
    // A run that fails takes back what it made, and the next one goes on from what was before.
    qemu_io(&disks[0], "raw", &["write -P 9 1M 512"]);
    let got = aws.asked(Action::GetSnapshotBlock);
    let broken = aws.path("broken.qcow2");
    damaged_image(&aws.path("broken.raw"), &broken);
    let broken = broken.to_str().unwrap();
    aws.run(&["replicate", "--to", "ebs:", names[0], broken])
        .failed(4);
    assert_eq!(aws.ok(Action::DeleteSnapshot), 1);
    assert_eq!(kept(&aws)[0], last);
    let next = ids(&aws.replicate(&names));
    assert_eq!(aws.asked(Action::GetSnapshotBlock), got);
    assert_eq!(kept(&aws)[0], next);
}

#[test]
fn zeros_that_a_larger_disk_left_behind_the_end_are_nothing() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 12);
    aws.replicate(&[name]);
    qemu_io(&path, "raw", &["write -z 8M 8M"]);
    aws.replicate(&[name]);
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(8 * MIB))
        .unwrap();
    qemu_io(&path, "raw", &["write -P 7 2M 1k"]);
    let last = aws.replicate(&[name])["outputs"][0].take();
    assert_eq!(last["put_blocks"], 1, "{last}");
    let elsewhere = aws.path("elsewhere");
    for _ in 0..2 {
        let state = elsewhere.to_str().unwrap();
        let ran = aws.run(&["replicate", name, "--to", "ebs:", "--state", state]);
        assert!(!ran.stderr.contains("new chain begins"), "{}", ran.stderr);
        assert_eq!(ran.ok().trim(), text(&last["id"]));
    }
}

#[test]
fn on_another_host_the_parent_is_read_to_be_compared_with() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 8);
    let first = text(&aws.replicate(&[name])["outputs"][0]["id"]).to_owned();
    qemu_io(&path, "raw", &["write -P 7 2M 1k"]);
    let elsewhere = aws.path("elsewhere");
    let state = elsewhere.to_str().unwrap();
    let ran = aws.run(&["replicate", name, "--to", "ebs:", "--state", state]);
    assert!(ran.stderr.contains("read from EBS"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--full"), "{}", ran.stderr);
    let second = ran.ok();
    assert_eq!(aws.ok(Action::GetSnapshotBlock), 16);
    let state_of = aws.snapshot(second.trim());
    assert_eq!((state_of.parent, state_of.own_blocks), (Some(first), 1));
    aws.assert_holds(second.trim(), &path);
    // It is known from then on.
    let third = aws
        .run(&["replicate", name, "--to", "ebs:", "--state", state])
        .ok();
    assert_eq!(third, second);
    assert_eq!(aws.ok(Action::GetSnapshotBlock), 16);
}

#[test]
fn of_an_image_with_a_new_layer_only_that_is_read() {
    let aws = Aws::new();
    let (raw, base, top) = (aws.path("a.raw"), aws.path("a.qcow2"), aws.path("b.qcow2"));
    disk(&raw, 16, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &base];
    crate::deltas::settle();
    let replicate = |path: &Path, state: &str| {
        let arguments = [
            "replicate",
            "--json",
            "--to",
            "ebs:",
            "--machine",
            "web1",
            "--state",
        ];
        let mut all = arguments.to_vec();
        all.extend([state, path.to_str().unwrap()]);
        aws.run(&all).json()["outputs"][0].take()
    };
    let (here, elsewhere) = (aws.path("here"), aws.path("elsewhere"));
    let (here, elsewhere) = (here.to_str().unwrap(), elsewhere.to_str().unwrap());
    let first = replicate(&base, here);
    qemu_img![
        "create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", &top
    ];
    qemu_io(&top, "qcow2", &["write -P 7 2M 1k"]);
    let second = replicate(&top, here);
    assert_eq!(second["parent"], first["id"], "{second}");
    assert_eq!(
        (&second["put_blocks"], &second["read"]),
        (&1.into(), &BLOCK.into())
    );
    qemu_io(&raw, "raw", &["write -P 7 2M 1k"]);
    aws.assert_holds(text(&second["id"]), &raw);
    // Where nobody knows of which files it was made, all of it is read.
    let third = replicate(&top, elsewhere);
    assert_eq!(
        (&third["id"], &third["made"]),
        (&second["id"], &false.into())
    );
    assert_eq!(third["read"], 16 * BLOCK);
}

/// A raw disk of 4 MiB, and a compressed image of it that opens but cannot be read to its end. Gives
/// the image as it was.
fn damaged_image(raw: &Path, image: &Path) -> Vec<u8> {
    // What can be compressed, but not much: most of the file is data then.
    let mut state = 1_u64;
    let words = (0..4 * MIB / 8).flat_map(|_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 8) & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()
    });
    fs::write(raw, words.collect::<Vec<u8>>()).unwrap();
    qemu_img!["convert", "-O", "qcow2", "-c", raw, image];
    let whole = fs::read(image).unwrap();
    let mut damaged = whole.clone();
    let half = damaged.len() / 2;
    damaged[half..half + 2048].fill(0xff);
    fs::write(image, damaged).unwrap();
    whole
}

#[test]
fn if_one_disk_fails_the_others_of_the_run_are_removed() {
    let aws = Aws::new();
    let (good, raw, bad) = (aws.path("a.raw"), aws.path("b.raw"), aws.path("b.qcow2"));
    disk(&good, 8, 2);
    let whole = damaged_image(&raw, &bad);
    let names = [&good, &bad].map(|path| path.to_str().unwrap());
    let said = aws
        .run(&["replicate", "--to", "ebs:", names[0], names[1]])
        .failed(4);
    assert!(said.contains("b.qcow2"), "{said}");
    assert_eq!(aws.ok(Action::DeleteSnapshot), 1);
    assert!(
        aws.fake
            .snapshots()
            .iter()
            .all(|state| state.status == "pending")
    );
    fs::write(&bad, whole).unwrap();
    let report = aws.replicate(&names);
    for (output, image) in report["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .zip([&good, &raw])
    {
        aws.assert_holds(text(&output["id"]), image);
    }
    assert_eq!(report["outputs"][0]["set"], report["outputs"][1]["set"]);
}

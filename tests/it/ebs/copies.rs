//! Conversions, copies and comparisons, and encryption.

use super::{Aws, BLOCK, MIB, disk, text};
use crate::support::{Ran, phony, program, qemu_img, qemu_io, rehost};
use fake_aws::{Action, Faults};
use serde_json::Value;
use std::process::Command;

#[test]
fn two_disks_that_a_store_has_under_one_name_become_two_snapshots() {
    let aws = Aws::new();
    let disks = ["a.raw", "b.raw"].map(|name| aws.path(name));
    let store = format!("store:{}", aws.path("s").display());
    let sources: Vec<_> = disks
        .iter()
        .zip([2, 4])
        .map(|(path, data)| {
            disk(path, 8, data);
            let id = rehost!["copy", path, &store].ok();
            format!("{store}#{}", id.trim())
        })
        .collect();
    let arguments = ["convert", "--allow-unconverted", "-o", "ebs:"];
    let mut all = arguments.to_vec();
    all.extend(sources.iter().map(String::as_str));
    let ids = aws.run(&all).ok();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 2);
    for (id, path) in ids.iter().zip(&disks) {
        aws.assert_holds(id, path);
    }
}

#[test]
fn a_conversion_reads_what_it_needs_and_puts_what_it_rewrote() {
    let aws = Aws::new();
    let os = phony(&["debian12"]);
    let staged = aws.replicate(&[os.to_str().unwrap(), "--machine", "web1"]);
    let staged = text(&staged["outputs"][0]["id"]).to_owned();
    let source = format!("ebs:{staged}");
    let inspected = aws.run(&["inspect", "--json", &source]).json();
    assert!(
        text(&inspected["os"]["pretty_name"]).contains("Debian"),
        "{inspected}"
    );
    let fstab = aws.run(&["cat", &source, "/etc/fstab"]).ok();
    assert_eq!(fstab, rehost!["cat", &os, "/etc/fstab"].ok());
    assert_eq!(
        aws.run(&["ls", &source, "/etc"]).ok(),
        rehost!["ls", &os, "/etc"].ok()
    );
    let dated = |command: &mut Command| {
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        Ran::of(command.output().unwrap())
    };
    aws.fake.clear_log();
    let mut command = aws.program();
    command.args(["convert", &source, "-o", "ebs:", "--json"]);
    let report = dated(&mut command).json();
    let output = &report[0]["outputs"][0];
    let (got, put) = (
        aws.asked(Action::GetSnapshotBlock),
        aws.ok(Action::PutSnapshotBlock),
    );
    println!("converting read {got} blocks and put {put}: {output}");
    assert!(got * BLOCK < 64 * MIB, "{got} blocks were read");
    assert_eq!(output["put_blocks"], put);
    let id = text(&output["id"]);
    let state = aws.snapshot(id);
    assert_eq!(state.parent.as_ref(), Some(&staged));
    assert_eq!(u64::try_from(state.own_blocks).unwrap(), put);
    let tag = |name: &str| state.tags[&format!("rehost:{name}")].clone();
    assert_eq!(
        (tag("role"), tag("machine"), tag("disk")),
        ("converted".into(), "web1".into(), "1".into())
    );
    // It is what a conversion of the image is, and every block of it differs from the parent's.
    let raw = aws.path("converted.raw");
    let mut command = program();
    command.arg("convert").arg(&os).arg("-o").arg(&raw);
    dated(&mut command).ok();
    aws.assert_holds(id, &raw);
    let contents = [&staged, id].map(|id| aws.fake.snapshot_content(id).unwrap());
    let same = |block: &&fake_aws::ContentBlock| {
        contents[0]
            .iter()
            .any(|old| old.index == block.index && old.digest == block.digest)
    };
    let changed = contents[1].iter().filter(|block| !same(block)).count();
    assert_eq!(u64::try_from(changed).unwrap(), put);
    aws.run(&["plan", "--check", &format!("ebs:{id}")]).ended(0);
    // The next replication goes on from the staging snapshot.
    let again = aws.replicate(&[os.to_str().unwrap(), "--machine", "web1"]);
    assert_eq!(
        (&again["outputs"][0]["id"], &again["outputs"][0]["made"]),
        (&staged.as_str().into(), &false.into())
    );
    // No index of the converted one was kept as if it were whole.
    assert!(
        !aws.state()
            .join(format!("ebs/us-east-1/{id}.index"))
            .exists()
    );
    // Down again.
    let down = aws.path("down.raw");
    let mut command = aws.program();
    command.arg("convert").arg(&source).arg("-o").arg(&down);
    dated(&mut command).ok();
    rehost!["compare", &down, &raw].ok();
    // From an image all of it goes up.
    let whole = aws
        .run(&["convert", os.to_str().unwrap(), "-o", "ebs:", "--json"])
        .json();
    let whole = &whole[0]["outputs"][0];
    assert_eq!(whole["parent"], Value::Null);
    assert!(whole["put_blocks"].as_u64().unwrap() > put);
    rehost!["compare", &raw, &raw].ok();
}

#[test]
fn disks_are_copied_and_compared_both_ways() {
    let aws = Aws::new();
    let (raw, image, back) = (
        aws.path("a.raw"),
        aws.path("a.qcow2"),
        aws.path("back.qcow2"),
    );
    disk(&raw, 1024, 5);
    qemu_img!["convert", "-O", "qcow2", "-c", &raw, &image];
    let image = image.to_str().unwrap();
    let id = aws
        .run(&["copy", image, "ebs:", "--tag", "owner=me", "--tag", "x="])
        .ok();
    let id = id.trim();
    aws.assert_holds(id, &raw);
    let state = aws.snapshot(id);
    assert_eq!(
        (state.tags["owner"].as_str(), state.tags["x"].as_str()),
        ("me", "")
    );
    assert_eq!(state.tags["rehost:role"], "copy");
    let source = format!("ebs:{id}");
    aws.run(&["copy", &source, back.to_str().unwrap()]).ok();
    qemu_img!["compare", "-f", "raw", "-F", "qcow2", &raw, &back];
    aws.run(&["compare", "--strict", &source, image]).ok();
    qemu_io(&raw, "raw", &["write -P 7 2M 1k"]);
    let said = aws
        .run(&["compare", raw.to_str().unwrap(), &source])
        .ended(3);
    assert!(said.contains("byte 2097152"), "{said}");
    let info = aws.run(&["info", "--json", &source]).json();
    assert_eq!(
        (&info[0]["format"], &info[0]["virtual_size"]),
        (&"ebs".into(), &(1024 * MIB).into())
    );
    assert_eq!(info[0]["extents"]["data"], 5 * MIB);
    let map = aws.run(&["map", "--json", &source]).json();
    assert_eq!(map[0]["length"], 5 * MIB);
    // Through a store and up again, by another limit.
    let store = format!("store:{}", aws.path("s").display());
    let local = aws.run(&["copy", &source, &store]).ok();
    let local = format!("{store}#{}", local.trim());
    let again = aws
        .run(&[
            "copy",
            &local,
            "ebs:",
            "--max-requests",
            "200",
            "--max-mbps",
            "1000",
        ])
        .ok();
    assert_ne!(again.trim(), id);
    let again = format!("ebs:{}", again.trim());
    aws.run(&["compare", "--strict", &again, &source]).ok();
    let child = aws
        .run(&["replicate", "--to", "ebs:", raw.to_str().unwrap()])
        .ok();
    let diff = aws
        .run(&["diff", "--json", &format!("ebs:{}", child.trim()), &source])
        .json();
    assert_eq!(
        (&diff[0]["start"], &diff[0]["length"]),
        (&(2 * MIB).into(), &BLOCK.into())
    );
}

#[test]
fn an_encrypted_snapshot_has_no_undefined_block_and_its_child_is_encrypted() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 4);
    let first = aws.replicate(&[name, "--encrypt"])["outputs"][0].take();
    assert_eq!(
        (&first["put_blocks"], &first["encrypted"]),
        (&32.into(), &true.into())
    );
    aws.assert_holds(text(&first["id"]), &path);
    // A child is encrypted as its parent is, whatever is asked for.
    let arguments = ["replicate", "--to", "ebs:", name];
    let ran = aws.run(&[&arguments[..], &["--unencrypted"]].concat());
    assert!(ran.stderr.contains("its parent snap-"), "{}", ran.stderr);
    assert_eq!(ran.ok().trim(), text(&first["id"]));
    qemu_io(&path, "raw", &["write -P 7 12M 1k"]);
    let second = aws.replicate(&[name, "--encrypt"])["outputs"][0].take();
    assert_eq!(
        (&second["put_blocks"], &second["parent"]),
        (&1.into(), &first["id"])
    );
    assert!(aws.snapshot(text(&second["id"])).key.is_some());
    let key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-4333-8444-555555555555";
    let holes = aws
        .run(&["copy", name, "ebs:", "--kms-key", key, "--no-zero-fill"])
        .ok();
    let state = aws.snapshot(holes.trim());
    assert_eq!((state.key.as_deref(), state.own_blocks), (Some(key), 9));
    aws.fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    let said = aws.run(&["copy", name, "ebs:", "--unencrypted"]).failed(1);
    assert!(said.contains("StartSnapshot"), "{said}");
    let by_default = aws.run(&["copy", name, "ebs:"]).ok();
    assert_eq!(aws.snapshot(by_default.trim()).own_blocks, 32);
    aws.run(&["copy", name, "ebs:", "--unencrypted", "--encrypt"])
        .ended(2);
}

//! Looking after snapshots in EBS: `snapshots list`, `show`, `rm` and `gc`, and what IAM has to allow.

use super::{Aws, disk, text};
use crate::support::{Ran, program, qemu_io};
use fake_aws::Action;
use serde_json::{Value, json};
use std::process::Stdio;

/// A machine of one disk with two snapshots, the second one made from the first.
fn chain(aws: &Aws) -> [String; 2] {
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 64, 8);
    let first = text(&aws.replicate(&[name])["outputs"][0]["id"]).to_owned();
    qemu_io(&path, "raw", &["write -P 7 32M 4k"]);
    let second = text(&aws.replicate(&[name])["outputs"][0]["id"]).to_owned();
    [first, second]
}

fn rehost(arguments: &[&str]) -> Ran {
    Ran::of(program().args(arguments).output().unwrap())
}

fn ids(found: &Value) -> Vec<&str> {
    let found = found.as_array().unwrap().iter();
    found.map(|one| text(&one["id"])).collect()
}

#[test]
fn what_rehost_made_is_listed_and_shown_with_what_changed() {
    let aws = Aws::new();
    let [first, second] = chain(&aws);
    let other = aws.path("db1.raw");
    disk(&other, 1, 1);
    let other = aws.replicate(&[other.to_str().unwrap()]);
    let other = text(&other["outputs"][0]["id"]);
    let all = aws.run(&["snapshots", "list", "ebs:", "--json"]).json();
    assert_eq!(ids(&all), [other, first.as_str(), second.as_str()]);
    let of_web1 = ["snapshots", "list", "ebs:", "--machine", "web1", "--json"];
    let of_web1 = aws.run(&of_web1).json();
    assert_eq!(ids(&of_web1), [first.as_str(), second.as_str()]);
    let of = |key: &str| of_web1[1][key].clone();
    assert_eq!(of("machine"), "web1");
    assert_eq!(of("disk"), "1");
    assert_eq!(of("role"), "staging");
    assert_eq!(of("state"), "completed");
    assert_eq!(of("parent"), first.as_str());
    assert_eq!(of("virtual_size"), 64 << 20);
    let table = aws.run(&["snapshots", "list", "ebs:"]).ok();
    assert_eq!(table.lines().count(), 4, "{table}");

    let show = |id: &str| {
        let name = format!("ebs:{id}");
        let shown = aws.run(&["snapshots", "show", &name, "--json"]).json();
        let picture = aws.run(&["snapshots", "show", &name]).ok();
        let line = picture.lines().last().unwrap().to_owned();
        (shown["changed"].clone(), line)
    };
    let (changed, picture) = show(&first);
    assert_eq!(changed, json!([{"start": 0, "length": 8 << 20}]));
    assert_eq!(picture, format!("|{}{}|", "#".repeat(8), " ".repeat(56)));
    let (changed, picture) = show(&second);
    assert_eq!(changed, json!([{"start": 32 << 20, "length": 512 << 10}]));
    assert_eq!(picture, format!("|{}:{}|", " ".repeat(32), " ".repeat(31)));
}

#[test]
fn only_what_rehost_made_is_removed_and_what_has_children_only_with_them() {
    let aws = Aws::new();
    let [first, second] = chain(&aws).map(|id| format!("ebs:{id}"));
    let said = aws.run(&["snapshots", "rm", &first]).failed(1);
    assert!(said.contains("--keep-children"), "{said}");
    let strange = fake_aws::Seed {
        volume_size: 1,
        ..fake_aws::Seed::default()
    };
    let strange = aws.fake.seed_snapshot(strange).unwrap();
    let strange = format!("ebs:{strange}");
    let said = aws.run(&["snapshots", "rm", &second, &strange]).failed(1);
    assert!(said.contains("was not made by rehost"), "{said}");
    assert_eq!(aws.fake.snapshots().len(), 3);
    aws.run(&["snapshots", "rm", &first, &second]).ok();
    assert_eq!(aws.fake.snapshots().len(), 1);
    let said = aws.run(&["snapshots", "rm", &first]).failed(1);
    assert!(said.contains("there is no snapshot"), "{said}");
}

#[test]
fn a_parent_that_was_removed_leaves_its_child_whole() {
    let aws = Aws::new();
    let [first, second] = chain(&aws).map(|id| format!("ebs:{id}"));
    aws.run(&["snapshots", "rm", "--keep-children", &first])
        .ok();
    let image = aws.path("web1.raw");
    aws.run(&["compare", image.to_str().unwrap(), &second]).ok();
    let shown = aws.run(&["snapshots", "show", &second]).ok();
    assert!(shown.contains("its parent was removed"), "{shown}");
}

#[test]
fn uploads_that_nobody_completed_are_found_and_removed() {
    let aws = Aws::new();
    chain(&aws);
    let path = aws.path("big.raw");
    disk(&path, 64, 48);
    let slow = fake_aws::Faults {
        latency_ms: 30,
        ..fake_aws::Faults::default()
    };
    aws.fake.set_faults(slow);
    let puts = || aws.fake.counter(Action::PutSnapshotBlock).ok;
    let before = puts();
    let mut child = aws
        .program()
        .args(["copy", path.to_str().unwrap(), "ebs:"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while puts() < before + 4 {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    aws.fake.set_faults(fake_aws::Faults::default());
    let gc = |more: &[&str]| {
        let mut all = vec!["snapshots", "gc", "ebs:", "--json"];
        all.extend(more);
        aws.run(&all).json()
    };
    // It may still be continued.
    assert_eq!(gc(&[]), json!([]));
    assert_eq!(gc(&["--older-than", "1h"]), json!([]));
    while gc(&["--older-than", "1s", "--dry-run"]) == json!([]) {
        std::thread::yield_now();
    }
    assert_eq!(aws.fake.snapshots().len(), 3);
    let removed = gc(&["--older-than", "1s"]);
    assert_eq!(removed[0]["state"], "pending");
    assert_eq!(ids(&removed).len(), 1);
    let left = aws.fake.snapshots();
    assert!(left.iter().all(|state| state.status == "completed"));
    assert_eq!(left.len(), 2);
}

#[test]
fn stores_and_ebs_are_not_mixed_up() {
    let aws = Aws::new();
    let store = format!("store:{}", aws.path("store").display());
    for (arguments, why) in [
        (vec!["snapshots", "fsck", "ebs:"], "rehost compare"),
        (vec!["snapshots", "gc", &store, "--dry-run"], "ebs:"),
        (vec!["snapshots", "list", "web1.raw"], "store:DIR"),
    ] {
        let said = aws.run(&arguments).failed(1);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_policy_allows_what_its_commands_do_and_nothing_else() {
    let policy = |arguments: &[&str]| -> Value {
        let mut all = vec!["iam-policy"];
        all.extend(arguments);
        rehost(&all).json()
    };
    let actions = |policy: &Value| -> Vec<String> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        let all = statements.flat_map(|one| one["Action"].as_array().unwrap());
        let mut all: Vec<_> = all.map(|action| text(action).to_owned()).collect();
        all.sort();
        all
    };
    let read = ["ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"];
    assert_eq!(actions(&policy(&["read"])), read);
    let all = policy(&["replicate", "convert", "copy", "read", "diff", "snapshots"]);
    assert_eq!(all["Version"], "2012-10-17");
    let everything = [
        "ebs:CompleteSnapshot",
        "ebs:GetSnapshotBlock",
        "ebs:ListChangedBlocks",
        "ebs:ListSnapshotBlocks",
        "ebs:PutSnapshotBlock",
        "ebs:StartSnapshot",
        "ec2:CreateTags",
        "ec2:DeleteSnapshot",
        "ec2:DescribeSnapshots",
    ];
    assert_eq!(actions(&all), everything);
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let with_key = policy(&["replicate", "--kms-key", key]);
    let keys = with_key["Statement"].as_array().unwrap().iter();
    assert!(keys.filter(|one| one["Resource"] == key).count() > 0);
    rehost(&["iam-policy", "launch"]).ended(2);

    // Handing on a role is allowed for one that is named, and nothing else.
    let sids = |policy: &Value| -> Vec<String> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        statements.map(|one| text(&one["Sid"]).to_owned()).collect()
    };
    let role = "arn:aws:iam::111122223333:role/web";
    for command in ["test", "cutover"] {
        let with_role = policy(&[command, "--role", role]);
        let mut expected = sids(&with_role);
        let pass = expected.pop().unwrap();
        assert_eq!(pass, "TargetPass");
        let statements = with_role["Statement"].as_array().unwrap();
        assert_eq!(statements[expected.len()]["Resource"][0], role);
        assert_eq!(sids(&policy(&[command])), expected);
    }
    assert!(!sids(&policy(&["gc"])).contains(&"TargetRun".to_owned()));
    let status = sids(&policy(&["status"]));
    assert_eq!(status, ["Read", "Describe", "TargetDescribe"]);
    // Without names it is all of it, and AWS takes no longer policy for a role.
    let whole = policy(&[]);
    assert!(actions(&whole).contains(&"ec2:RunInstances".to_owned()));
    assert!(whole.to_string().len() < 10_240, "{whole}");
}

/// Every call that commands make is in the policy that is printed for them.
#[test]
fn commands_ask_for_nothing_that_their_policy_does_not_allow() {
    let allowed = |command: &str| -> String { rehost(&["iam-policy", command]).ok() };
    let check = |aws: &Aws, command: &str| {
        let policy = allowed(command);
        for (action, counter) in aws.fake.counters() {
            let iam = match action {
                Action::DescribeSnapshots | Action::DeleteSnapshot | Action::CreateTags => {
                    format!("ec2:{action:?}")
                }
                _ => format!("ebs:{action:?}"),
            };
            assert!(
                counter.requests == 0 || policy.contains(&iam),
                "{command} asks for {iam}"
            );
        }
        aws.fake.clear_log();
    };
    let aws = Aws::new();
    let [first, second] = chain(&aws).map(|id| format!("ebs:{id}"));
    check(&aws, "replicate");
    let image = aws.path("web1.raw");
    aws.run(&["compare", image.to_str().unwrap(), &second]).ok();
    check(&aws, "read");
    aws.run(&["diff", &first, &second]).ok();
    check(&aws, "diff");
    aws.run(&["copy", &second, "ebs:", "--encrypt"]).ok();
    check(&aws, "copy");
    aws.run(&["snapshots", "show", &second]).ok();
    aws.run(&["snapshots", "rm", &second]).ok();
    check(&aws, "snapshots");
}

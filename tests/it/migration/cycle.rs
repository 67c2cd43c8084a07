//! Replicate, test, replicate, test again, cutover: two machines, one of two disks.

use super::{DB, Site, WEB};
use fake_aws::Action;
use serde_json::Value;
use std::collections::BTreeMap;

/// What EC2 has, as JSON.
fn resources(site: &Site) -> Value {
    serde_json::to_value(site.aws.fake.resources()).unwrap()
}

/// The instances of a machine that are not terminated.
fn living(site: &Site, machine: &str) -> Vec<Value> {
    let all = resources(site);
    let of_machine =
        |one: &&Value| one["tags"]["rehost:machine"] == machine && one["state"] != "terminated";
    let all = all["instances"].as_array().unwrap().iter();
    all.filter(of_machine).cloned().collect()
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// What there is besides the snapshots of the sources: names of kinds and how many of them.
pub(super) fn counted(site: &Site) -> BTreeMap<&'static str, usize> {
    let all = resources(site);
    let count = |kind: &str| all[kind].as_array().unwrap().len();
    let alive = |one: &&Value| one["state"] != "terminated";
    let snapshots = site.aws.fake.snapshots();
    let of = |role: &str, status: &str| {
        let is = |state: &&fake_aws::State| {
            state
                .tags
                .get("rehost:role")
                .is_some_and(|value| value == role)
                && state.status == status
        };
        snapshots.iter().filter(is).count()
    };
    BTreeMap::from([
        (
            "instances",
            all["instances"]
                .as_array()
                .unwrap()
                .iter()
                .filter(alive)
                .count(),
        ),
        ("images", count("images")),
        ("volumes", count("volumes")),
        ("interfaces", count("interfaces")),
        ("converted", of("converted", "completed")),
        (
            "pending",
            of("converted", "pending") + of("staging", "pending"),
        ),
    ])
}

/// What there is when both machines run.
pub(super) fn both() -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("instances", 2),
        ("images", 2),
        ("volumes", 3),
        ("interfaces", 2),
        ("converted", 3),
        ("pending", 0),
    ])
}

#[test]
fn two_machines_are_tested_twice_and_cut_over() {
    let site = Site::new();
    assert_eq!(site.states(), ["new", "new"]);
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    assert_eq!(site.states(), ["ready", "ready"]);
    let refused = site.run(&["cutover"]);
    let refused = refused.failed(1);
    assert!(refused.contains("no test has come up"), "{refused}");

    let first = site.json(&["test"]);
    assert_eq!(site.states(), ["tested", "tested"]);
    assert_eq!(counted(&site), both());
    let names: Vec<String> = ["web1", "db1"]
        .map(|machine| {
            let [one] = living(&site, machine).try_into().unwrap();
            text(&one["id"]).to_owned()
        })
        .into();
    assert_eq!(first.as_array().unwrap().len(), 2);
    assert_hardware(&site);

    // The sources live on.
    site.write_to("web1.raw", 7);
    site.write_to("db1.raw", 8);
    let puts = site.aws.fake.counter(Action::PutSnapshotBlock).ok;
    site.run(&["replicate", "--project", "rehost.yaml"]).ok();
    assert_eq!(site.aws.fake.counter(Action::PutSnapshotBlock).ok - puts, 2);
    site.run(&["test"]).ok();
    assert_eq!(counted(&site), both(), "the first targets are gone");
    for (machine, address, first) in [("web1", WEB, &names[0]), ("db1", DB, &names[1])] {
        let [one] = living(&site, machine).try_into().unwrap();
        assert_ne!(text(&one["id"]), first);
        assert_eq!(one["private_address"], address, "the address is used again");
        assert_eq!(one["tags"]["rehost:launch"], "2");
        assert_eq!(one["tags"]["rehost:kind"], "test");
    }

    // Nothing changed, so nothing is put but what conversions write.
    let starts = site.aws.fake.counter(Action::StartSnapshot).ok;
    site.run(&["cutover"]).ok();
    assert_eq!(site.aws.fake.counter(Action::StartSnapshot).ok, starts);
    assert_eq!(site.states(), ["cut-over", "cut-over"]);
    assert_eq!(counted(&site), both());
    for machine in ["web1", "db1"] {
        let [one] = living(&site, machine).try_into().unwrap();
        assert_eq!(one["tags"]["rehost:kind"], "cutover");
        assert_eq!(one["tags"]["rehost:state"], "launched");
    }
    for command in ["test", "cutover"] {
        let refused = site.run(&[command, "web1"]);
        let refused = refused.failed(1);
        assert!(refused.contains("mark ready"), "{refused}");
    }
    let log = site.aws.fake.log();
    // What went with its instance is looked for once more before its removal.
    let gone = |entry: &&fake_aws::Entry| {
        let error = entry.error.as_deref().unwrap_or_default();
        entry.action.name().starts_with("Describe") && error.ends_with(".NotFound")
    };
    let bad: Vec<_> = log
        .iter()
        .filter(|entry| entry.status >= 400 && !gone(entry))
        .collect();
    assert!(bad.is_empty(), "EC2 refused {bad:?}");
}

/// The instances are what the blueprints say.
fn assert_hardware(site: &Site) {
    let all = resources(site);
    let [web] = living(site, "web1").try_into().unwrap();
    assert_eq!(web["instance_type"], "t3.small");
    assert_eq!(web["private_address"], WEB);
    assert_eq!(web["current_boot_mode"], "legacy-bios");
    assert_eq!(web["tags"]["tier"], "web");
    let [db] = living(site, "db1").try_into().unwrap();
    assert_eq!(db["current_boot_mode"], "uefi");
    assert_eq!(db["ena"], true);
    // The second disk is the one that it boots from.
    let root = text(&db["root_device"]);
    let of_db = |one: &&Value| one["attachment"]["instance"] == db["id"];
    let volumes: Vec<_> = all["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_db)
        .collect();
    assert_eq!(volumes.len(), 2);
    for volume in volumes {
        let snapshot = text(&volume["snapshot"]);
        let state = site.aws.fake.snapshot(snapshot).unwrap();
        let disk = state.tags["rehost:disk"].as_str();
        let is_root = volume["attachment"]["device"] == root;
        assert_eq!(disk == "2", is_root, "{volume}");
        if !is_root {
            assert_eq!(volume["shape"]["size"], 8, "{volume}");
            assert_eq!(volume["shape"]["iops"], 4000, "{volume}");
        }
        assert_eq!(volume["tags"]["rehost:machine"], "db1");
    }
}

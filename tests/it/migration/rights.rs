//! What commands ask of AWS is in the policy that is printed for them.

use super::Site;
use crate::support::rehost;
use fake_aws::Action;
use std::collections::BTreeSet;

/// What the commands since the last look asked for.
fn asked(site: &Site) -> BTreeSet<String> {
    let counters = site.aws.fake.counters().into_iter();
    let asked = counters.filter(|(_, counter)| counter.requests > 0);
    let names = asked.map(|(action, _)| {
        let service = match action {
            Action::StartSnapshot
            | Action::PutSnapshotBlock
            | Action::CompleteSnapshot
            | Action::ListSnapshotBlocks
            | Action::ListChangedBlocks
            | Action::GetSnapshotBlock => "ebs",
            _ => "ec2",
        };
        format!("{service}:{}", action.name())
    });
    let names = names.collect();
    site.aws.fake.clear_log();
    names
}

fn allowed(command: &str) -> BTreeSet<String> {
    let policy = rehost!["iam-policy", command].json();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|one| one["Action"].as_array().unwrap());
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn commands_about_machines_ask_for_nothing_that_their_policy_does_not_allow() {
    let site = Site::new();
    let check = |command: &str, must: &str| {
        let (asked, allowed) = (asked(&site), allowed(command));
        assert!(asked.contains(must), "{command}: {asked:?}");
        let more: Vec<_> = asked.difference(&allowed).collect();
        assert!(more.is_empty(), "{command} asks for {more:?}");
    };
    site.run(&["test", "web1"]).ok();
    site.run(&["test", "--dry-run", "--no-snapshot", "web1"])
        .ok();
    site.write_to("web1.raw", 7);
    site.run(&["test", "web1"]).ok();
    check("test", "ec2:TerminateInstances");
    std::fs::remove_dir_all(site.aws.path(".rehost")).unwrap();
    site.run(&["status"]).ok();
    check("status", "ec2:DescribeInstances");
    site.run(&["cutover", "web1"]).ok();
    check("cutover", "ec2:RunInstances");
    site.run(&["test", "db1"]).ok();
    site.write(
        "rehost.yaml",
        "metadata: {name: shop}\nstore: 'ebs:'\nmachines:\n- {name: other, sources: [x.raw]}\n",
    );
    asked(&site);
    site.run(&["gc", "--remove"]).ok();
    check("gc", "ec2:DeregisterImage");
}

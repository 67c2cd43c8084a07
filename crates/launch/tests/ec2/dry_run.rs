//! What a launch would meet.

use crate::common::{FIXED, Machine, PLAIN, connect, fake, limits};
use fake_aws::{Action, FakeAws, Faults};
use launch::ec2::{Ec2, Finding, Level};
use ondisk::Interrupt;

fn findings(ec2: &Ec2, machine: &Machine) -> Vec<Finding> {
    let findings = machine.with(|new| ec2.dry_run(new, &Interrupt::default()));
    findings.unwrap()
}

fn problems(ec2: &Ec2, machine: &Machine) -> Vec<Finding> {
    let mut findings = findings(ec2, machine);
    findings.retain(|finding| finding.level == Level::Problem);
    findings
}

fn assert_nothing_made(fake: &FakeAws) {
    let resources = fake.resources();
    assert!(resources.images.is_empty() && resources.instances.is_empty());
}

#[test]
fn what_can_be_launched_has_no_problem_and_nothing_is_made() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, FIXED);
    let found = findings(&ec2, &machine);
    assert!(
        found.iter().all(|finding| finding.level < Level::Problem),
        "{found:?}"
    );
    let good = |found: &[Finding], subject: &str| {
        let mut all = found.iter();
        all.any(|finding| finding.level == Level::Good && finding.subject == subject)
    };
    assert!(good(&found, "ec2:RegisterImage"));
    assert!(found.iter().any(|finding| finding.subject == "permissions"));
    assert_nothing_made(&fake);

    // With a target there is something to try the rest on, and its address is not in the way.
    let mut machine = machine;
    machine.launch(&ec2).unwrap();
    machine.launch = 2;
    let found = findings(&ec2, &machine);
    assert!(
        found.iter().all(|finding| finding.level < Level::Problem),
        "{found:?}"
    );
    for action in [
        "RunInstances",
        "TerminateInstances",
        "CreateTags",
        "RegisterImage",
    ] {
        assert!(good(&found, &format!("ec2:{action}")), "{action} {found:?}");
    }
    assert_eq!(fake.resources().instances.len(), 1);
}

#[test]
fn all_problems_are_found_at_once() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let taken = crate::common::interface(&fake);
    let address = fake.resources().interfaces[0].addresses[0];
    let fields = format!(
        "network:
  interfaces:
  - {{subnetId: subnet-0000000000000000a, privateIps: [{address}, 10.0.2.9], \
         securityGroupIds: [sg-0000000000000000c]}}
  - {{subnetId: subnet-0000000000000000b}}
  - {{eniId: eni-0000000000000000c}}
launch: {{keyName: nobody}}
"
    );
    let machine = Machine::new(&fake, &fields);
    let found = problems(&ec2, &machine);
    let has = |subject: &str, words: &str| {
        let mut all = found.iter();
        assert!(
            all.any(|one| one.subject == subject && one.message.contains(words)),
            "{subject} {words}: {found:?}"
        );
    };
    has("network.interfaces[0].privateIps", &taken);
    has("network.interfaces[0].privateIps", "10.0.2.9 is not one of");
    has(
        "network.interfaces[0].securityGroupIds",
        "sg-0000000000000000c",
    );
    has("network.interfaces[1].subnetId", "us-east-1b");
    has("network.interfaces[2].eniId", "eni-0000000000000000c");
    has("launch.keyName", "nobody");
    assert_nothing_made(&fake);
}

#[test]
fn what_iam_has_to_allow_is_named() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    machine.launch(&ec2).unwrap();
    let denied = [
        Action::RegisterImage,
        Action::RunInstances,
        Action::TerminateInstances,
        Action::DescribeSubnets,
    ];
    fake.set_faults(Faults {
        denied: denied.into(),
        ..Faults::default()
    });
    let found = problems(&ec2, &machine);
    for action in denied {
        let name = format!("ec2:{}", action.name());
        let named = found
            .iter()
            .any(|one| one.subject == name && one.message.contains(&name));
        assert!(named, "{name}: {found:?}");
    }
}

#[test]
fn a_type_that_is_not_offered_there_and_a_missing_snapshot_are_problems() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let mut machine = Machine::new(
        &fake,
        &format!("instance: {{type: u-3tb1.56xlarge}}\n{PLAIN}"),
    );
    "snap-0123456789abcdef0".clone_into(&mut machine.disks[0].1);
    let found = problems(&ec2, &machine);
    let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["disks", "instance.type"], "{found:?}");
}

#[test]
fn a_request_that_contradicts_itself_is_the_only_finding() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, &format!("disks: [{{sizeGiB: 1}}]\n{PLAIN}"));
    let found = findings(&ec2, &machine);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].subject, "disks[0].sizeGiB");
    assert!(fake.log().is_empty());
}

#[test]
fn encryption_by_default_is_told() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    let found = findings(&ec2, &machine);
    let told = |one: &Finding| one.level == Level::Hint && one.message.contains("encrypts");
    assert!(found.iter().any(told), "{found:?}");
}

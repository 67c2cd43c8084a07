//! The policy allows what is asked, and nothing that never is.

use crate::common::{Machine, SUBNET, connect, fake, limits};
use fake_aws::{Chance, FakeAws, Faults};
use launch::ec2::{RemoveOptions, Use};
use ondisk::Interrupt;
use std::collections::BTreeSet;

/// What was asked since the log was cleared.
fn asked(fake: &FakeAws) -> BTreeSet<String> {
    let log = fake.log();
    let names = log
        .iter()
        .map(|entry| format!("ec2:{}", entry.action.name()));
    let names = names.collect();
    fake.clear_log();
    names
}

fn allowed(uses: &[Use]) -> BTreeSet<String> {
    let actions = uses.iter().flat_map(|one| one.actions());
    actions.map(|action| action.iam().to_owned()).collect()
}

#[test]
fn what_is_asked_is_what_the_policy_allows() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let interrupt = Interrupt::default();
    let allocation = crate::common::allocate(&fake);
    let fields = format!(
        "network:
  interfaces:
  - {{subnetId: {SUBNET}, privateIps: [10.0.1.20], securityGroupIds: [sg-0000000000000000a],
       eipAllocationId: {allocation}, sourceDestCheck: false}}
disks: [{{deleteOnTermination: false}}]
launch: {{wait: status-ok, disposition: stopped, terminationProtection: true, keyName: rehost}}
"
    );
    let mut machine = Machine::new(&fake, &fields);
    fake.clear_log();
    machine.launch(&ec2).unwrap();
    let mut launch = asked(&fake);
    machine.launch = 2;
    machine.blueprint.network.interfaces.clear();
    fake.set_faults(Faults {
        launch_fails: Chance::next(1),
        ..Faults::default()
    });
    machine.launch(&ec2).unwrap_err();
    launch.extend(asked(&fake));
    assert_eq!(launch, allowed(&[Use::Launch]));

    machine.blueprint = crate::common::blueprint(&fields);
    machine.launch = 3;
    machine.with(|new| ec2.dry_run(new, &interrupt)).unwrap();
    let all = allowed(&[Use::Check, Use::Launch, Use::Remove]);
    let tried = asked(&fake);
    assert!(tried.is_subset(&all), "{tried:?}");
    let looked = tried.intersection(&allowed(&[Use::Check])).count();
    assert_eq!(looked, Use::Check.actions().len(), "{tried:?}");

    let found = machine.find(&ec2).there;
    assert_eq!(asked(&fake), allowed(&[Use::Find]));

    let options = RemoveOptions {
        lift_protection: true,
    };
    // As if it had been left behind: an instance takes its own with it.
    let orphan = crate::common::tagged_interface(&fake);
    let mut all = machine.find(&ec2).there;
    assert!(all.len() > found.len() && all.iter().any(|one| one.id == orphan));
    all.retain(|one| one.launch != Some(2));
    fake.clear_log();
    ec2.remove(&all, options, &mut |_| {}, &interrupt).unwrap();
    assert_eq!(asked(&fake), allowed(&[Use::Remove]));
}

//! A process that is killed at any request, and started again.

use crate::common::{FIXED, Machine, connect, fake, limits};
use fake_aws::{FakeAws, Faults, Hold, InstanceState, Life};
use launch::ec2::{Ec2, Error};
use ondisk::{Interrupt, Interrupted};
use std::thread;
use std::time::Duration;

/// A fake whose instances need no more than a look or two.
fn quick() -> FakeAws {
    let fake = fake();
    fake.set_faults(Faults {
        life: Life {
            pending_ms: 5,
            status_ms: 5,
            stopping_ms: 5,
            shutting_down_ms: 5,
            ..Life::default()
        },
        ..Faults::default()
    });
    fake
}

/// Two disks, an address, and everything that is done after the instance runs.
fn machine(fake: &FakeAws) -> Machine {
    let fields = format!("{FIXED}launch: {{disposition: stopped, wait: status-ok}}\n");
    let disks = [("sdb", 4, false), ("sda", 8, true)];
    let mut machine = Machine::with_disks(fake, &fields, &disks);
    let interface = &mut machine.blueprint.network.interfaces[0];
    interface.source_dest_check = Some(false);
    interface.eip_allocation_id = Some(crate::common::allocate(fake));
    machine
}

/// Does something whose request number `at` is not answered, and which is then gone. Whether there
/// was such a request.
fn killed(
    fake: &FakeAws,
    at: u64,
    after: bool,
    act: impl FnOnce(&Ec2, &Interrupt) -> Result<(), Error> + Send,
) -> bool {
    fake.hold(Hold {
        at,
        after,
        ..Hold::default()
    });
    let ec2 = connect(fake, &limits());
    let interrupt = Interrupt::default();
    let held = thread::scope(|scope| {
        let work = scope.spawn(|| act(&ec2, &interrupt));
        while !work.is_finished() && fake.held().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        let held = fake.held().is_some();
        interrupt.set();
        let result = work.join().unwrap();
        if held {
            assert!(
                matches!(result, Err(Error::Interrupted(Interrupted))),
                "{result:?}"
            );
        } else {
            result.unwrap();
        }
        held
    });
    drop(ec2);
    fake.release();
    held
}

fn assert_one_target(fake: &FakeAws, at: u64) {
    let resources = fake.resources();
    assert_eq!(resources.images.len(), 1, "{at}");
    assert_eq!(resources.instances.len(), 1, "{at}");
    assert_eq!(resources.volumes.len(), 2, "{at}");
    assert_eq!(resources.interfaces.len(), 1, "{at}");
    let instance = &resources.instances[0];
    assert_eq!(instance.state, InstanceState::Stopped, "{at}");
    assert_eq!(instance.tags["rehost:state"], "launched", "{at}");
    let association = resources.addresses[0].association.as_ref();
    assert_eq!(
        association.map(|one| one.interface.as_str()),
        Some(resources.interfaces[0].id.as_str()),
        "{at}"
    );
    assert!(!resources.interfaces[0].source_dest_check, "{at}");
    for volume in &resources.volumes {
        assert!(volume.tags.contains_key("rehost:disk"), "{at}");
    }
}

#[test]
fn a_launch_that_is_killed_at_any_request_ends_as_one_target() {
    for after in [false, true] {
        let mut tried = 0;
        for at in 1..200 {
            let fake = quick();
            let machine = machine(&fake);
            let act = |ec2: &Ec2, interrupt: &Interrupt| {
                machine.with(|new| ec2.launch(new, &mut |_| {}, interrupt).map(drop))
            };
            let held = killed(&fake, at, after, act);
            let ec2 = connect(&fake, &limits());
            machine.launch(&ec2).unwrap();
            assert_one_target(&fake, at);
            machine.remove(&ec2).unwrap();
            assert!(machine.find(&ec2).there.is_empty(), "{at}");
            if !held {
                break;
            }
            tried = at;
        }
        // Find, register, run, look, tag, address, check, stop, mark.
        assert!(tried >= 12, "{tried}");
    }
}

#[test]
fn a_removal_that_is_killed_at_any_request_ends_with_nothing() {
    for after in [false, true] {
        let mut tried = 0;
        for at in 1..200 {
            let fake = quick();
            let mut machine = machine(&fake);
            machine.blueprint.disks = vec![
                launch::blueprint::Disk {
                    delete_on_termination: Some(false),
                    ..launch::blueprint::Disk::default()
                };
                2
            ];
            let ec2 = connect(&fake, &limits());
            machine.launch(&ec2).unwrap();
            let found = machine.find(&ec2).there;
            let act = |ec2: &Ec2, interrupt: &Interrupt| {
                let options = launch::ec2::RemoveOptions::default();
                ec2.remove(&found, options, &mut |_| {}, interrupt)
            };
            let held = killed(&fake, at, after, act);
            machine.remove(&ec2).unwrap();
            let resources = fake.resources();
            assert!(resources.images.is_empty(), "{at}");
            assert!(resources.volumes.is_empty(), "{at}");
            assert!(resources.interfaces.is_empty(), "{at}");
            assert!(resources.addresses[0].association.is_none(), "{at}");
            if !held {
                break;
            }
            tried = at;
        }
        assert!(tried >= 8, "{tried}");
    }
}

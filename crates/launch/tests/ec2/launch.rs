//! Launching: from nothing, again, in the place of an earlier one.

use crate::common::{FIXED, Machine, PLAIN, SUBNET, WEB, connect, fake, limits, source};
use fake_aws::{Action, Faults, InstanceState, Life};
use launch::ec2::{Error, Event, Kind};
use launch::instances::Architecture;

#[test]
fn a_target_is_made_and_found_again_by_its_tags() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    let mut events = Vec::new();
    let target = machine
        .launch_told(&ec2, &mut |event| events.push(event))
        .unwrap();
    assert_eq!(target.state, "running");
    assert_eq!(target.volumes.len(), 1);
    assert_eq!(target.interfaces.len(), 1);
    assert_eq!((target.kind, target.launch), (Kind::Test, 1));
    assert!(target.private_ip.is_some() && target.launched.is_some());
    assert_eq!(
        events.last(),
        Some(&Event::Complete {
            id: target.instance.clone()
        })
    );

    let found = machine.find(&ec2);
    let mut ids: Vec<&str> = found.there.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    let mut made = vec![
        target.instance.as_str(),
        target.image.as_str(),
        target.volumes[0].id.as_str(),
        target.interfaces[0].id.as_str(),
    ];
    made.sort_unstable();
    assert_eq!(ids, made);
    assert!(found.there.iter().all(|one| {
        one.kind == Some(Kind::Test) && one.launch == Some(1) && one.machine == "web1"
    }));
    let instance = &found.there[0];
    assert!(instance.is_complete());
    assert_eq!(instance.mark.as_deref(), Some("launched"));
    assert_eq!(found.highest_launch("web1"), 1);
    assert!(found.gone.is_empty());
    // Of the machine alone, or all of the project.
    let interrupt = ondisk::Interrupt::default();
    assert!(
        ec2.find("p", Some("web"), &interrupt)
            .unwrap()
            .there
            .is_empty()
    );
    assert!(ec2.find("q", None, &interrupt).unwrap().there.is_empty());
    assert_eq!(ec2.find("p", None, &interrupt).unwrap().there.len(), 4);
}

#[test]
fn a_complete_launch_is_only_looked_at() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    let first = machine.launch(&ec2).unwrap();
    fake.clear_log();
    let again = machine.launch(&ec2).unwrap();
    assert_eq!(first, again);
    let asked: Vec<Action> = fake.log().iter().map(|entry| entry.action).collect();
    assert_eq!(asked, [Action::DescribeInstances]);
}

#[test]
fn a_target_takes_the_address_of_the_one_before_once_that_is_gone() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let mut machine = Machine::new(&fake, FIXED);
    let first = machine.launch(&ec2).unwrap();
    assert_eq!(first.private_ip.as_deref(), Some("10.0.1.20"));

    // While it is there, its address is not to be had.
    machine.launch = 2;
    machine.kind = Kind::Cutover;
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");

    // What that left is of launch 2, and goes on once the address is free.
    let found = machine.find(&ec2);
    let earlier: Vec<_> = found
        .there
        .into_iter()
        .filter(|one| one.launch == Some(1))
        .collect();
    let options = launch::ec2::RemoveOptions::default();
    ec2.remove(
        &earlier,
        options,
        &mut |_| {},
        &ondisk::Interrupt::default(),
    )
    .unwrap();
    let second = machine.launch(&ec2).unwrap();
    assert_eq!(second.private_ip.as_deref(), Some("10.0.1.20"));
    assert_ne!(second.instance, first.instance);

    let resources = fake.resources();
    let running = resources.instances.iter();
    let running = running.filter(|one| one.state == InstanceState::Running);
    assert_eq!(running.count(), 1);
    assert_eq!((resources.images.len(), resources.volumes.len()), (1, 1));
    let found = machine.find(&ec2);
    assert_eq!(found.gone.len(), 1);
    assert_eq!(found.highest_launch("web1"), 2);
}

#[test]
fn what_the_guest_boots_from_is_the_root_whatever_the_order() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let disks = [("data0", 20, false), ("data1", 4, false), ("boot", 8, true)];
    let machine = Machine::with_disks(&fake, PLAIN, &disks);
    let target = machine.launch(&ec2).unwrap();

    let image = &fake.resources().images[0];
    assert_eq!(image.root_device, "/dev/sda1");
    let of = |device: &str| {
        let mut all = image.mappings.iter();
        all.find(|mapping| mapping.device == device).unwrap()
    };
    let snapshot = |at: usize| Some(machine.disks[at].1.clone());
    assert_eq!(of("/dev/sda1").snapshot, snapshot(2));
    assert_eq!(of("/dev/sdf").snapshot, snapshot(0));
    assert_eq!(of("/dev/sdg").snapshot, snapshot(1));
    let volumes = fake.resources().volumes;
    for (device, name) in [
        ("/dev/sda1", "boot"),
        ("/dev/sdf", "data0"),
        ("/dev/sdg", "data1"),
    ] {
        let id = &target
            .volumes
            .iter()
            .find(|volume| volume.device == device)
            .unwrap()
            .id;
        let volume = volumes.iter().find(|volume| volume.id == *id).unwrap();
        assert_eq!(volume.tags["rehost:disk"], name);
        assert_eq!(volume.tags["rehost:machine"], "web1");
    }
}

#[test]
fn a_role_that_the_guest_contradicts_is_refused_before_anything_is_asked() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let fields = format!("{PLAIN}disks:\n- {{role: root}}\n- {{}}\n");
    let disks = [("data", 20, false), ("boot", 8, true)];
    let machine = Machine::with_disks(&fake, &fields, &disks);
    let error = machine.launch(&ec2).unwrap_err();
    let Error::Request { field, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(field, "disks[0].role");
    assert!(fake.log().is_empty());
}

#[test]
fn every_firmware_boots_in_a_mode_that_it_has() {
    let arm = "instance: {type: m6g.large}\n";
    for (fields, bios, uefi, architecture, mode) in [
        ("", true, false, Architecture::X86_64, "legacy-bios"),
        ("", false, true, Architecture::X86_64, "uefi"),
        ("", true, true, Architecture::X86_64, "uefi-preferred"),
        (
            "boot: {mode: uefi}\n",
            true,
            true,
            Architecture::X86_64,
            "uefi",
        ),
        (
            "boot: {mode: legacy-bios}\n",
            true,
            true,
            Architecture::X86_64,
            "legacy-bios",
        ),
        (arm, false, true, Architecture::Arm64, "uefi"),
    ] {
        let fake = fake();
        let ec2 = connect(&fake, &limits());
        let mut machine = Machine::new(&fake, &format!("{fields}{PLAIN}"));
        machine.source = source(bios, uefi, architecture);
        machine.launch(&ec2).unwrap();
        let image = &fake.resources().images[0];
        assert_eq!(image.boot_mode.as_deref(), Some(mode));
        assert_eq!(image.architecture, architecture.name());
        assert_eq!(image.virtualization, "hvm");
    }
}

#[test]
fn a_guest_and_a_type_that_do_not_go_together_are_refused_before_anything_is_asked() {
    let arm = "instance: {type: m6g.large}\n";
    let xen = "instance: {type: t2.small}\n";
    for (fields, bios, uefi, architecture, field) in [
        ("", false, false, Architecture::X86_64, "boot.mode"),
        (arm, false, true, Architecture::X86_64, "instance.type"),
        ("", false, true, Architecture::Arm64, "instance.type"),
        (arm, true, false, Architecture::Arm64, "boot.mode"),
        (xen, false, true, Architecture::X86_64, "instance.type"),
        (
            "boot: {mode: uefi}\n",
            true,
            false,
            Architecture::X86_64,
            "boot.mode",
        ),
        (
            "instance: {type: m6i.nano}\n",
            true,
            false,
            Architecture::X86_64,
            "instance.type",
        ),
        (
            "instance: {type: copy-origin}\n",
            true,
            false,
            Architecture::X86_64,
            "instance.type",
        ),
    ] {
        let fake = fake();
        let ec2 = connect(&fake, &limits());
        let mut machine = Machine::new(&fake, &format!("{fields}{PLAIN}"));
        machine.source = source(bios, uefi, architecture);
        let error = machine.launch(&ec2).unwrap_err();
        let Error::Request { field: found, why } = &error else {
            panic!("{error}");
        };
        assert_eq!(found, field, "{why}");
        assert!(fake.log().is_empty());
    }
}

#[test]
fn a_target_may_be_stopped_when_it_is_there() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let fields = format!("{PLAIN}launch: {{disposition: stopped, wait: status-ok}}\n");
    let machine = Machine::new(&fake, &fields);
    let mut states = Vec::new();
    let target = machine
        .launch_told(&ec2, &mut |event| {
            if let Event::State { id, state } = event
                && id.starts_with("i-")
            {
                states.push(state);
            }
        })
        .unwrap();
    assert_eq!(target.state, "stopped");
    assert_eq!(states.first().map(String::as_str), Some("pending"));
    assert!(states.contains(&"running, guest ok, system ok".to_owned()));
    assert_eq!(states.last().map(String::as_str), Some("stopped"));
}

#[test]
fn addresses_and_forwarding_are_set_up() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let allocation = crate::common::allocate(&fake);
    let fields = format!(
        "network:\n  interfaces:\n  - {{subnetId: {SUBNET}, privateIps: [10.0.1.20, 10.0.1.21], \
         securityGroupIds: [{WEB}], eipAllocationId: {allocation}, sourceDestCheck: false}}\n"
    );
    let mut machine = Machine::new(&fake, &fields);
    let target = machine.launch(&ec2).unwrap();
    let resources = fake.resources();
    let address = &resources.addresses[0];
    assert_eq!(target.public_ip, Some(address.ip.to_string()));
    assert!(!resources.interfaces[0].source_dest_check);
    assert_eq!(target.interfaces[0].private_ips, ["10.0.1.20", "10.0.1.21"]);

    // Another machine cannot take it, and leaves it where it is.
    machine.name = "web2";
    machine.blueprint.network.interfaces[0].private_ips.clear();
    machine.blueprint.network.interfaces[0].private_ip_action = None;
    let error = machine.launch(&ec2).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    let association = fake.resources().addresses[0].association.clone();
    assert_eq!(association.unwrap().interface, target.interfaces[0].id);
}

#[test]
fn what_is_new_may_be_unknown_for_a_while() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    fake.set_faults(Faults {
        describe_lag_ms: 400,
        life: Life {
            image_ms: 200,
            ..Life::default()
        },
        ..Faults::default()
    });
    let machine = Machine::new(&fake, PLAIN);
    let target = machine.launch(&ec2).unwrap();
    assert_eq!(target.state, "running");
    let resources = fake.resources();
    assert_eq!((resources.images.len(), resources.instances.len()), (1, 1));
}

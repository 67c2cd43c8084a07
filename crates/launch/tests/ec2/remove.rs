//! Removing: what is ours goes, what is not stays.

use crate::common::{Machine, PLAIN, SUBNET, connect, fake, limits, others};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use fake_aws::{FakeAws, InstanceState};
use launch::ec2::{Ec2, Error, Event, RemoveOptions, Resource};
use ondisk::Interrupt;

fn remove(ec2: &Ec2, resources: &[Resource]) -> Result<(), Error> {
    let options = RemoveOptions::default();
    ec2.remove(resources, options, &mut |_| {}, &Interrupt::default())
}

/// A volume and an interface of somebody's, with these tags.
fn plant(fake: &FakeAws, tags: &[(&str, &str)]) -> (String, String) {
    let (connection, client) = others(fake);
    let tags = |of: ResourceType| {
        let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
        let all: Vec<Tag> = tags.iter().map(tag).collect();
        let specification = TagSpecification::builder()
            .resource_type(of)
            .set_tags(Some(all.clone()))
            .build();
        (!all.is_empty()).then(|| vec![specification])
    };
    let volume = client
        .create_volume()
        .availability_zone("us-east-1a")
        .size(1)
        .set_tag_specifications(tags(ResourceType::Volume))
        .send();
    let volume = connection.handle().block_on(volume).unwrap();
    let interface = client
        .create_network_interface()
        .subnet_id(SUBNET)
        .set_tag_specifications(tags(ResourceType::NetworkInterface))
        .send();
    let interface = connection.handle().block_on(interface).unwrap();
    let interface = interface.network_interface().unwrap();
    (
        volume.volume_id().unwrap().to_owned(),
        interface.network_interface_id().unwrap().to_owned(),
    )
}

#[test]
fn all_of_a_target_goes_and_look_alikes_stay() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    machine.launch(&ec2).unwrap();
    // Of another project, of another machine, of another tool, of nobody; and a target beside ours.
    let stay = [
        plant(
            &fake,
            &[
                ("rehost:tool", "rehost"),
                ("rehost:project", "q"),
                ("rehost:machine", "web1"),
            ],
        ),
        plant(
            &fake,
            &[
                ("rehost:tool", "rehost"),
                ("rehost:project", "p"),
                ("rehost:machine", "web10"),
            ],
        ),
        plant(
            &fake,
            &[
                ("rehost:tool", "other"),
                ("rehost:project", "p"),
                ("rehost:machine", "web1"),
            ],
        ),
        plant(
            &fake,
            &[("rehost:project", "p"), ("rehost:machine", "web1")],
        ),
        plant(&fake, &[]),
    ];
    let mut other = Machine::new(&fake, PLAIN);
    other.project = "q";
    let beside = other.launch(&ec2).unwrap();

    let mut events = Vec::new();
    let found = machine.find(&ec2).there;
    ec2.remove(
        &found,
        RemoveOptions::default(),
        &mut |event| events.push(event),
        &Interrupt::default(),
    )
    .unwrap();
    for one in &found {
        let removed = Event::Removed { id: one.id.clone() };
        assert!(events.contains(&removed), "{}", one.id);
    }
    let found = machine.find(&ec2);
    assert!(found.there.is_empty());
    assert_eq!(found.gone.len(), 1);
    let resources = fake.resources();
    let has_volume = |id: &str| resources.volumes.iter().any(|one| one.id == id);
    let has_interface = |id: &str| resources.interfaces.iter().any(|one| one.id == id);
    for (volume, interface) in &stay {
        assert!(has_volume(volume) && has_interface(interface));
    }
    assert!(has_volume(&beside.volumes[0].id));
    assert_eq!(resources.images.len(), 1);
    let running = resources.instances.iter();
    let running: Vec<_> = running
        .filter(|one| one.state == InstanceState::Running)
        .collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].id, beside.instance);
    // Once more is no error.
    remove(&ec2, &machine.find(&ec2).there).unwrap();
}

#[test]
fn what_lost_its_tags_since_it_was_found_is_not_touched_nor_what_comes_after() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    let target = machine.launch(&ec2).unwrap();
    let found = machine.find(&ec2).there;
    crate::common::untag(&fake, &target.instance);
    let error = remove(&ec2, &found).unwrap_err();
    let Error::NotOurs { id, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*id, target.instance);
    let resources = fake.resources();
    assert_eq!(resources.instances[0].state, InstanceState::Running);
    assert_eq!(resources.images.len(), 1);
    let (_, ours) = (fake.clear_log(), found);

    // A resource that claims to be ours, and names what belongs to another machine.
    let mut other = Machine::new(&fake, PLAIN);
    other.name = "web2";
    let beside = other.launch(&ec2).unwrap();
    let mut forged = ours[0].clone();
    forged.id.clone_from(&beside.instance);
    let error = remove(&ec2, &[forged]).unwrap_err();
    assert!(error.to_string().contains("rehost:machine"), "{error}");
    let running = |id: &str| {
        let resources = fake.resources();
        let found = resources.instances.iter().find(|one| one.id == id);
        found.unwrap().state == InstanceState::Running
    };
    assert!(running(&beside.instance) && running(&target.instance));
}

#[test]
fn an_image_and_a_volume_are_looked_at_again_as_well() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let mut machine = Machine::new(&fake, PLAIN);
    machine.blueprint.disks = vec![launch::blueprint::Disk {
        delete_on_termination: Some(false),
        ..launch::blueprint::Disk::default()
    }];
    let target = machine.launch(&ec2).unwrap();
    for id in [&target.image, &target.volumes[0].id] {
        let found = machine.find(&ec2).there;
        crate::common::untag(&fake, id);
        let one: Vec<Resource> = found.into_iter().filter(|one| one.id == *id).collect();
        assert_eq!(one.len(), 1);
        let error = remove(&ec2, &one).unwrap_err();
        assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    }
    // What is left of ours goes, and those two stay.
    machine.remove(&ec2).unwrap();
    let resources = fake.resources();
    assert_eq!((resources.images.len(), resources.volumes.len()), (1, 1));
}

#[test]
fn a_protected_instance_is_removed_when_that_is_said_alone() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let fields = format!("{PLAIN}launch: {{terminationProtection: true}}\n");
    let machine = Machine::new(&fake, &fields);
    let target = machine.launch(&ec2).unwrap();
    let error = machine.remove(&ec2).unwrap_err();
    let Error::Protected { instance } = &error else {
        panic!("{error}");
    };
    assert_eq!(*instance, target.instance);
    assert!(error.to_string().contains("--no-disable-api-termination"));
    assert_eq!(fake.resources().instances[0].state, InstanceState::Running);

    let options = RemoveOptions {
        lift_protection: true,
    };
    let found = machine.find(&ec2).there;
    ec2.remove(&found, options, &mut |_| {}, &Interrupt::default())
        .unwrap();
    assert!(machine.find(&ec2).there.is_empty());
}

#[test]
fn a_volume_that_another_instance_has_is_not_taken_away() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    machine.launch(&ec2).unwrap();
    let found = machine.find(&ec2).there;
    // The volume alone: its instance is not being removed.
    let volume: Vec<Resource> = found
        .into_iter()
        .filter(|one| one.id.starts_with("vol-"))
        .collect();
    let error = remove(&ec2, &volume).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(fake.resources().volumes.len(), 1);
}

#[test]
fn what_was_marked_since_it_was_found_is_not_touched() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    let target = machine.launch(&ec2).unwrap();
    let found = machine.find(&ec2).there;
    // The volumes tell as well that their launch is complete.
    let volume = found.iter().find(|one| one.id.starts_with("vol-")).unwrap();
    assert_eq!(volume.mark.as_deref(), Some("launched"));
    let mark = [(launch::ec2::tag::STATE, "cut-over")];
    ec2.tag(&[&target.instance], &mark, &Interrupt::default())
        .unwrap();
    let error = remove(&ec2, &found).unwrap_err();
    assert!(error.to_string().contains("cut-over"), "{error}");
    assert_eq!(machine.find(&ec2).there.len(), found.len());
    remove(&ec2, &machine.find(&ec2).there).unwrap();
}

#[test]
fn marks_are_tags() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, PLAIN);
    let target = machine.launch(&ec2).unwrap();
    let mark = [(launch::ec2::tag::STATE, "tested")];
    ec2.tag(&[&target.instance], &mark, &Interrupt::default())
        .unwrap();
    let found = machine.find(&ec2);
    assert_eq!(found.there[0].mark.as_deref(), Some("tested"));
    assert!(found.there[0].is_complete());
}

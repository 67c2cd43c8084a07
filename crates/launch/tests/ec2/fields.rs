//! Everything that a blueprint says reaches EC2.

use crate::common::{Machine, PLAIN, connect, fake, limits, source};
use fake_aws::VolumeType;
use launch::instances::Architecture;
use std::net::Ipv4Addr;

const ALL: &str = "availabilityZone: us-east-1a
instance:
  type: t3.large
  placementGroup: {name: parts, partition: 2}
  ebsOptimized: true
  cpuOptions: {coreCount: 1, threadsPerCore: 1}
  creditSpecification: unlimited
boot:
  mode: uefi
  rootDeviceName: /dev/xvda
  tpm: v2.0
  uefiData: QU1aTlVFRkk=
  imdsSupport: v2.0
disks:
- {type: io2, sizeGiB: 16, iops: 500, deleteOnTermination: true}
- type: gp3
  deviceName: /dev/sdh
  sizeGiB: 40
  iops: 4000
  throughput: 250
  encrypted: true
  kmsKeyId: 'arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555'
  deleteOnTermination: false
  volumeInitializationRate: 200
  tags: {purpose: database}
network:
  interfaces:
  - subnetId: subnet-0000000000000000a
    privateIps: [10.0.1.20, 10.0.1.21]
    securityGroupIds: [sg-0000000000000000a, sg-0000000000000000b]
  - subnetId: subnet-0000000000000000a
    privateIps: [10.0.1.30]
iam: {instanceProfile: rehost-target}
metadataOptions: {httpTokens: required, hopLimit: 3, instanceTags: true}
tags: {owner: team}
launch:
  userData: \"#!/bin/sh\\necho hello\\n\"
  terminationProtection: true
  keyName: rehost
";

#[test]
fn every_field_reaches_the_target() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let disks = [("sda", 8, true), ("sdb", 30, false)];
    let mut machine = Machine::with_disks(&fake, ALL, &disks);
    machine.source = source(false, true, Architecture::X86_64);
    machine.launch(&ec2).unwrap();
    let resources = fake.resources();

    let image = &resources.images[0];
    assert_eq!(image.boot_mode.as_deref(), Some("uefi"));
    assert_eq!(image.root_device, "/dev/xvda");
    assert!(image.tpm && image.ena && image.imds_v2);
    assert_eq!(image.uefi_data.as_deref(), Some("QU1aTlVFRkk="));
    assert_eq!(image.tags["owner"], "team");
    assert_eq!(image.tags["rehost:tool"], "rehost");
    assert!(
        image.name.starts_with("rehost p/web1/1-test/"),
        "{}",
        image.name
    );

    let instance = &resources.instances[0];
    assert_eq!(instance.instance_type, "t3.large");
    assert_eq!(instance.zone, "us-east-1a");
    assert_eq!(instance.placement_group.as_deref(), Some("parts"));
    assert_eq!(instance.partition, Some(2));
    assert!(instance.ebs_optimized && instance.termination_protection);
    assert_eq!(instance.cpu, (1, 1));
    assert_eq!(instance.cpu_credits.as_deref(), Some("unlimited"));
    assert_eq!(instance.profile.as_deref(), Some("rehost-target"));
    assert_eq!(instance.key_name.as_deref(), Some("rehost"));
    assert_eq!(
        instance.user_data.as_deref(),
        Some("IyEvYmluL3NoCmVjaG8gaGVsbG8K")
    );
    assert_eq!(instance.metadata.tokens, "required");
    assert_eq!(instance.metadata.hop_limit, 3);
    assert_eq!(instance.metadata.tags, "enabled");
    for (key, value) in [
        ("Name", "web1"),
        ("owner", "team"),
        ("rehost:project", "p"),
        ("rehost:machine", "web1"),
        ("rehost:kind", "test"),
        ("rehost:launch", "1"),
        ("rehost:state", "launched"),
    ] {
        assert_eq!(instance.tags[key], value, "{key}");
    }
    assert_eq!(instance.client_token.as_ref().map(String::len), Some(64));

    let volume = |device: &str| {
        let mut all = resources.volumes.iter();
        all.find(|volume| volume.attachment.as_ref().unwrap().device == device)
            .unwrap()
    };
    let root = volume("/dev/xvda");
    assert_eq!((root.shape.kind, root.shape.size), (VolumeType::Io2, 16));
    assert_eq!(root.shape.iops, Some(500));
    assert!(root.attachment.as_ref().unwrap().delete_on_termination && !root.encrypted);
    let data = volume("/dev/sdh");
    assert_eq!((data.shape.kind, data.shape.size), (VolumeType::Gp3, 40));
    assert_eq!(
        (data.shape.iops, data.shape.throughput),
        (Some(4000), Some(250))
    );
    assert!(data.encrypted && data.key.as_deref().unwrap().ends_with("555555555555"));
    assert!(!data.attachment.as_ref().unwrap().delete_on_termination);
    assert_eq!(data.initialization_rate, Some(200));
    assert_eq!(data.tags["purpose"], "database");
    assert_eq!(data.tags["rehost:disk"], "sdb");
    assert_eq!(data.snapshot.as_ref(), Some(&machine.disks[1].1));

    let interface = |index: u32| {
        let mut all = resources.interfaces.iter();
        all.find(|one| one.attachment.as_ref().unwrap().device_index == index)
            .unwrap()
    };
    let address = |last| Ipv4Addr::new(10, 0, 1, last);
    assert_eq!(interface(0).addresses, [address(20), address(21)]);
    assert_eq!(interface(0).security_groups.len(), 2);
    assert_eq!(interface(1).addresses, [address(30)]);
    assert!(
        interface(1)
            .attachment
            .as_ref()
            .unwrap()
            .delete_on_termination
    );
    assert_eq!(interface(1).tags["rehost:machine"], "web1");
}

#[test]
fn a_host_a_public_address_and_an_address_of_the_source_are_asked_for() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let fields = "instance:
  type: m6i.large
  tenancy: host
  hostId: h-0000000000000000a
network:
  interfaces:
  - subnetId: subnet-0000000000000000a
    privateIpAction: copy-origin
    publicIp: yes
";
    let mut machine = Machine::new(&fake, fields);
    machine.source.addresses = vec![Ipv4Addr::new(10, 0, 1, 99)];
    let target = machine.launch(&ec2).unwrap();
    assert_eq!(target.private_ip.as_deref(), Some("10.0.1.99"));
    assert!(target.public_ip.is_some());
    let instance = &fake.resources().instances[0];
    assert_eq!(instance.tenancy, "host");
    assert_eq!(instance.host.as_deref(), Some("h-0000000000000000a"));
}

#[test]
fn an_interface_that_is_there_is_used_and_stays() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let eni = crate::common::interface(&fake);
    let fields = format!("network:\n  interfaces:\n  - {{eniId: {eni}}}\n");
    let machine = Machine::new(&fake, &fields);
    let target = machine.launch(&ec2).unwrap();
    assert_eq!(target.interfaces[0].id, eni);
    machine.remove(&ec2).unwrap();
    let resources = fake.resources();
    assert_eq!(resources.interfaces.len(), 1);
    assert!(resources.interfaces[0].attachment.is_none());
    assert!(resources.interfaces[0].tags.is_empty());
}

#[test]
fn a_volume_cannot_be_smaller_than_its_disk() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let machine = Machine::new(&fake, &format!("{PLAIN}disks:\n- {{sizeGiB: 7}}\n"));
    let error = machine.launch(&ec2).unwrap_err().to_string();
    assert!(
        error.starts_with("disks[0].sizeGiB: 7 GiB are less"),
        "{error}"
    );
}

#[test]
fn tags_beyond_what_ec2_takes_are_refused_before_anything_is_asked() {
    let fake = fake();
    let ec2 = connect(&fake, &limits());
    let mut machine = Machine::new(&fake, PLAIN);
    let tag = ("rehost:tool".to_owned(), "other".to_owned());
    machine.blueprint.tags = [tag].into();
    assert!(machine.launch(&ec2).is_err());
    let many = (0..50).map(|at| (format!("k{at}"), String::new()));
    machine.blueprint.tags = many.collect();
    assert!(machine.launch(&ec2).is_err());
    assert!(fake.log().is_empty());
}

//! RunInstances: what it makes.

use crate::client::{completed, unsigned, with};
use crate::query::{
    GROUP, SUBNET_A, all, image, instance, of_snapshot, ok, refused, run, terminate, try_run, until,
};
use fake_aws::{Chance, FakeAws, Faults, InstanceState, Seed, VolumeType};

/// An image with a root of 8 GiB and a data disk, and their snapshots.
pub(crate) fn two_disks(fake: &FakeAws) -> (String, String, String) {
    let root = Seed {
        volume_size: 8,
        ..Seed::default()
    };
    let root = fake.seed_snapshot(root).expect("a snapshot");
    let data = completed(fake, None, &[]);
    let form = format!(
        "Name=two-disks&{}&BlockDeviceMapping.1.Ebs.VolumeType=gp3&\
         BlockDeviceMapping.2.DeviceName=/dev/sdf&BlockDeviceMapping.2.Ebs.SnapshotId={data}&\
         BlockDeviceMapping.2.Ebs.DeleteOnTermination=false",
        of_snapshot(&root)
    );
    let id = ok(fake, "RegisterImage", &form).element("imageId");
    (id.expect("an id"), root, data)
}

#[test]
fn a_launch_makes_instance_interface_and_volumes() {
    let fake = unsigned();
    let (image, root, data) = two_disks(&fake);
    let tags = [(1, "instance"), (2, "volume"), (3, "network-interface")].map(|(number, kind)| {
        let tag = format!("TagSpecification.{number}");
        let value = kind.len();
        format!("{tag}.ResourceType={kind}&{tag}.Tag.1.Key=of&{tag}.Tag.1.Value={value}")
    });
    let form = format!(
        "SubnetId={SUBNET_A}&SecurityGroupId.1={GROUP}&PrivateIpAddress=10.0.1.10&ClientToken=t1&\
         IamInstanceProfile.Name=rehost-target&KeyName=rehost&UserData=aGVsbG8%3D&\
         MetadataOptions.HttpTokens=required&MetadataOptions.HttpPutResponseHopLimit=2&\
         MetadataOptions.InstanceMetadataTags=enabled&DisableApiTermination=true&\
         InstanceInitiatedShutdownBehavior=terminate&EbsOptimized=true&\
         CpuOptions.CoreCount=1&CpuOptions.ThreadsPerCore=1&Monitoring.Enabled=true&\
         Placement.AvailabilityZone=us-east-1a&Placement.Tenancy=host&\
         Placement.HostId=h-0000000000000000a&Placement.GroupName=parts&Placement.PartitionNumber=3&\
         BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1.Ebs.VolumeSize=20&\
         BlockDeviceMapping.1.Ebs.Iops=4000&BlockDeviceMapping.1.Ebs.Throughput=200&\
         BlockDeviceMapping.2.DeviceName=/dev/sdg&BlockDeviceMapping.2.Ebs.VolumeSize=5&\
         BlockDeviceMapping.2.Ebs.VolumeType=io2&BlockDeviceMapping.2.Ebs.Iops=500&\
         BlockDeviceMapping.2.Ebs.Encrypted=true&{}",
        tags.join("&")
    );
    let answer = try_run(&fake, &image, &form);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.element("instanceId").expect("an id");
    assert_eq!(answer.element("blockDeviceMapping").as_deref(), Some(""));
    assert_eq!(all(&answer, "name")[0], "pending");
    until(&fake, &id, InstanceState::Running);
    let answer = ok(&fake, "DescribeInstances", &format!("InstanceId.1={id}"));
    for (name, value) in [
        ("instanceType", "m5.large"),
        ("imageId", image.as_str()),
        ("privateIpAddress", "10.0.1.10"),
        ("subnetId", SUBNET_A),
        ("vpcId", "vpc-00000000000000001"),
        ("groupId", GROUP),
        ("availabilityZone", "us-east-1a"),
        ("tenancy", "host"),
        ("hostId", "h-0000000000000000a"),
        ("partitionNumber", "3"),
        ("keyName", "rehost"),
        ("clientToken", "t1"),
        ("architecture", "x86_64"),
        ("currentInstanceBootMode", "legacy-bios"),
        ("enaSupport", "true"),
        ("ebsOptimized", "true"),
        ("coreCount", "1"),
        ("httpTokens", "required"),
        ("httpPutResponseHopLimit", "2"),
        ("instanceMetadataTags", "enabled"),
        (
            "arn",
            "arn:aws:iam::123456789012:instance-profile/rehost-target",
        ),
        ("rootDeviceName", "/dev/sda1"),
        ("sourceDestCheck", "true"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        all(&answer, "deviceName"),
        ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    );

    let seen = instance(&fake, &id);
    assert!(seen.termination_protection && seen.monitoring && seen.ebs_optimized);
    assert_eq!(seen.user_data.as_deref(), Some("aGVsbG8="));
    assert_eq!(seen.shutdown_behavior, "terminate");
    assert_eq!(seen.tags["of"], "8");
    let mut volumes = fake.resources().volumes;
    volumes.sort_by_key(|volume| volume.attachment.as_ref().map(|it| it.device.clone()));
    let shapes: Vec<_> = volumes
        .iter()
        .map(|it| {
            (
                it.shape.kind,
                it.shape.size,
                it.shape.iops,
                it.shape.throughput,
            )
        })
        .collect();
    assert_eq!(
        shapes,
        [
            (VolumeType::Gp3, 20, Some(4000), Some(200)),
            (VolumeType::Gp2, 1, Some(100), None),
            (VolumeType::Io2, 5, Some(500), None),
        ]
    );
    let snapshots: Vec<_> = volumes.iter().map(|it| it.snapshot.as_deref()).collect();
    assert_eq!(snapshots, [Some(root.as_str()), Some(&data), None]);
    let deleted: Vec<_> = volumes
        .iter()
        .filter_map(|it| it.attachment.as_ref())
        .map(|it| it.delete_on_termination)
        .collect();
    assert_eq!(deleted, [true, false, true]);
    assert!(volumes[2].encrypted && volumes[2].key.is_some() && !volumes[0].encrypted);
    assert!(volumes.iter().all(|volume| volume.tags["of"] == "6"));
    assert_eq!(fake.resources().interfaces[0].tags["of"], "17");
}

#[test]
fn the_same_token_gives_the_same_instance() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let first = run(&fake, &image, "ClientToken=one");
    assert_eq!(run(&fake, &image, "ClientToken=one"), first);
    let other = try_run(&fake, &image, "ClientToken=one&KeyName=rehost");
    refused(&other, 400, "IdempotentParameterMismatch");
    assert_eq!(fake.resources().instances.len(), 1);
    // Even when it is terminated, as long as it can be seen.
    terminate(&fake, &first);
    assert_eq!(run(&fake, &image, "ClientToken=one"), first);
    assert_ne!(run(&fake, &image, "ClientToken=two"), first);
    let long = format!("ClientToken={}", "t".repeat(65));
    refused(&try_run(&fake, &image, &long), 400, "InvalidParameterValue");
}

#[test]
fn an_address_is_in_use_until_its_instance_is_terminated() {
    let fake = with(Faults {
        life: fake_aws::Life {
            shutting_down_ms: 400,
            ..fake_aws::Life::default()
        },
        ..Faults::default()
    });
    let image = image(&fake, "web", "");
    let form = format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.10");
    let first = run(&fake, &image, &form);
    refused(
        &try_run(&fake, &image, &form),
        400,
        "InvalidIPAddress.InUse",
    );
    ok(
        &fake,
        "TerminateInstances",
        &format!("InstanceId.1={first}"),
    );
    assert_eq!(instance(&fake, &first).state, InstanceState::ShuttingDown);
    refused(
        &try_run(&fake, &image, &form),
        400,
        "InvalidIPAddress.InUse",
    );
    until(&fake, &first, InstanceState::Terminated);
    run(&fake, &image, &form);
}

#[test]
fn interfaces_can_be_many_and_existing() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let form = format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.20");
    let spare = ok(&fake, "CreateNetworkInterface", &form).element("networkInterfaceId");
    let spare = spare.expect("an id");
    let form = format!(
        "NetworkInterface.1.DeviceIndex=1&NetworkInterface.1.SubnetId={SUBNET_A}&\
         NetworkInterface.1.SecurityGroupId.1={GROUP}&NetworkInterface.1.DeleteOnTermination=false&\
         NetworkInterface.1.PrivateIpAddresses.1.PrivateIpAddress=10.0.1.30&\
         NetworkInterface.1.PrivateIpAddresses.1.Primary=true&\
         NetworkInterface.1.PrivateIpAddresses.2.PrivateIpAddress=10.0.1.31&\
         NetworkInterface.2.DeviceIndex=0&NetworkInterface.2.NetworkInterfaceId={spare}"
    );
    let id = run(&fake, &image, &form);
    until(&fake, &id, InstanceState::Running);
    let answer = ok(&fake, "DescribeInstances", "");
    assert_eq!(
        answer.element("privateIpAddress").as_deref(),
        Some("10.0.1.20")
    );
    assert_eq!(all(&answer, "deviceIndex"), ["0", "1"]);
    let again = try_run(&fake, &image, &form);
    refused(&again, 400, "InvalidNetworkInterface.InUse");
    terminate(&fake, &id);
    // Neither was to go with the instance.
    let left = fake.resources().interfaces;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|interface| interface.attachment.is_none()));
}

#[test]
fn ipv6_addresses_are_those_of_the_subnet_and_used_once() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let nic = format!("NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={SUBNET_A}");
    let of =
        |address: &str| format!("{nic}&NetworkInterface.1.Ipv6Addresses.1.Ipv6Address={address}");
    let id = run(&fake, &image, &of("2001:db8:0:1::5"));
    let answer = ok(&fake, "DescribeInstances", &format!("InstanceId.1={id}"));
    assert_eq!(
        answer.element("ipv6Address").as_deref(),
        Some("2001:db8:0:1::5")
    );
    refused(
        &try_run(&fake, &image, &of("2001:db8:0:1::5")),
        400,
        "InvalidIPAddress.InUse",
    );
    refused(
        &try_run(&fake, &image, &of("2001:db8:0:2::5")),
        400,
        "InvalidParameterValue",
    );
    refused(
        &try_run(&fake, &image, &of("10.0.1.5")),
        400,
        "InvalidParameterValue",
    );
    let count = format!("{nic}&NetworkInterface.1.Ipv6AddressCount");
    refused(
        &try_run(&fake, &image, &format!("{count}=11")),
        400,
        "Ipv6AddressLimitExceeded",
    );
    let two = run(&fake, &image, &format!("{count}=2"));
    let interface = instance(&fake, &two).interfaces[0].clone();
    let all = fake.resources().interfaces;
    let mine = all.iter().find(|it| it.id == interface).expect("it");
    assert_eq!(mine.ipv6.len(), 2);
    terminate(&fake, &id);
    run(&fake, &image, &of("2001:db8:0:1::5"));
}

#[test]
fn a_public_address_comes_and_goes_with_running() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(
        &fake,
        &image,
        "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.AssociatePublicIpAddress=true",
    );
    until(&fake, &id, InstanceState::Running);
    let public = || ok(&fake, "DescribeInstances", "").element("ipAddress");
    let first = public().expect("an address");
    ok(&fake, "StopInstances", &format!("InstanceId.1={id}"));
    until(&fake, &id, InstanceState::Stopped);
    assert_eq!(public(), None);
    ok(&fake, "StartInstances", &format!("InstanceId.1={id}"));
    until(&fake, &id, InstanceState::Running);
    assert_ne!(public().expect("an address"), first);
}

#[test]
fn an_image_can_want_imdsv2() {
    let fake = unsigned();
    let image = image(&fake, "web", "ImdsSupport=v2.0");
    let id = run(&fake, &image, "");
    let metadata = instance(&fake, &id).metadata;
    assert_eq!(
        (metadata.tokens.as_str(), metadata.hop_limit),
        ("required", 2)
    );
}

#[test]
fn new_volumes_are_encrypted_when_the_account_wants_that() {
    let fake = with(Faults {
        encryption_by_default: false,
        ..Faults::default()
    });
    let image = image(&fake, "web", "");
    fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    run(&fake, &image, "");
    assert!(fake.resources().volumes[0].encrypted);
}

#[test]
fn a_launch_can_find_no_host_or_fail_later() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    fake.set_faults(Faults {
        insufficient_capacity: Chance::next(1),
        launch_fails: Chance::next(1),
        ..Faults::default()
    });
    let form = format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.10");
    refused(
        &try_run(&fake, &image, &form),
        500,
        "InsufficientInstanceCapacity",
    );
    let id = run(&fake, &image, &form);
    until(&fake, &id, InstanceState::Terminated);
    let answer = ok(&fake, "DescribeInstances", &format!("InstanceId.1={id}"));
    assert!(
        answer
            .element("stateReason")
            .expect("why")
            .contains("Server.InternalError")
    );
    assert!(fake.resources().volumes.is_empty());
    run(&fake, &image, &form);
}

//! RunInstances: what it makes, and what it refuses.

use crate::client::{completed, unsigned, with};
use crate::query::{
    GROUP, SUBNET_A, SUBNET_B, all, all_refused, ec2, image, instance, of_snapshot, ok, refused,
    run, terminate, try_run, until,
};
use fake_aws::{
    Chance, Cidr, Config, FakeAws, Faults, InstanceState, Seed, Signatures, Surroundings,
};
use fake_aws::{SecurityGroup, VolumeType, Vpc};
use std::net::Ipv4Addr;

const GIB_8: u32 = 8;

/// An image with a root of 8 GiB and a data disk, and their snapshots.
fn two_disks(fake: &FakeAws) -> (String, String, String) {
    let root = Seed {
        volume_size: GIB_8,
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
fn a_type_must_be_able_to_start_the_image() {
    let fake = unsigned();
    let of = |more: &str, name: &str| image(&fake, name, more);
    let bios = of("", "bios");
    let uefi = of("BootMode=uefi", "uefi");
    let both = of("BootMode=uefi-preferred", "both");
    let tpm = of("BootMode=uefi&TpmSupport=v2.0", "tpm");
    let plain = of("EnaSupport=false", "plain");
    let arm = of("Architecture=arm64", "arm");
    let old = of(
        "Architecture=i386&VirtualizationType=paravirtual&EnaSupport=false",
        "old",
    );
    let paravirtual = of(
        "VirtualizationType=paravirtual&EnaSupport=false",
        "paravirtual",
    );
    for (image, kind, expected) in [
        (&bios, "m5.large", "legacy-bios"),
        (&bios, "t2.micro", "legacy-bios"),
        (&bios, "m5.metal", "legacy-bios"),
        (&uefi, "m5.large", "uefi"),
        (&uefi, "t2.micro", "InvalidParameterValue"),
        (&uefi, "m4.large", "InvalidParameterValue"),
        (&uefi, "m5.metal", "InvalidParameterValue"),
        (&both, "m5.large", "uefi"),
        (&both, "t2.micro", "legacy-bios"),
        (&tpm, "m5.large", "uefi"),
        (&tpm, "t3.micro", "uefi"),
        (&plain, "m5.large", "InvalidParameterCombination"),
        (&plain, "t2.micro", "legacy-bios"),
        (&arm, "m6g.large", "uefi"),
        (&arm, "m6g.metal", "uefi"),
        (&arm, "m5.large", "InvalidParameterValue"),
        (&bios, "m6g.large", "InvalidParameterValue"),
        (&old, "m5.large", "InvalidParameterValue"),
        (&paravirtual, "m5.large", "InvalidParameterCombination"),
        (&paravirtual, "t2.micro", "InvalidParameterCombination"),
        (&paravirtual, "m3.medium", "legacy-bios"),
        (&bios, "m99.large", "InvalidParameterValue"),
    ] {
        let answer = try_run(&fake, image, &format!("InstanceType={kind}"));
        let got = answer
            .element("Code")
            .or_else(|| answer.element("currentInstanceBootMode"));
        assert_eq!(got.as_deref(), Some(expected), "{kind}: {}", answer.text());
    }
}

#[test]
fn wrong_launches_are_refused() {
    let fake = unsigned();
    let (image, ..) = two_disks(&fake);
    let spare = ok(
        &fake,
        "CreateNetworkInterface",
        &format!("SubnetId={SUBNET_A}"),
    );
    let spare = spare.element("networkInterfaceId").expect("an id");
    let base = format!("ImageId={image}&InstanceType=m5.large&MinCount=1&MaxCount=1");
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        (1..=count).map(one).collect::<Vec<_>>().join("&")
    };
    let nics = many(4, &|n| {
        format!("NetworkInterface.{n}.DeviceIndex={}", n - 1)
    });
    let disks = many(29, &|n| {
        let letter = char::from(b'a' + u8::try_from(n % 26).expect("small"));
        let other = if n < 26 { "xvdb" } else { "xvdc" };
        format!(
            "BlockDeviceMapping.{n}.DeviceName=/dev/{other}{letter}&BlockDeviceMapping.{n}.Ebs.VolumeSize=1"
        )
    });
    let addresses = many(11, &|n| {
        format!(
            "NetworkInterface.1.PrivateIpAddresses.{n}.PrivateIpAddress=10.0.1.{}&\
             NetworkInterface.1.PrivateIpAddresses.{n}.Primary={}",
            n + 20,
            n == 1
        )
    });
    let groups = many(6, &|n| format!("SecurityGroupId.{n}={GROUP}"));
    let user_data = "QUJD".repeat(5462);
    let root = "BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1";
    let nic = "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1";
    let own = format!("{nic}.NetworkInterfaceId={spare}&NetworkInterface.1");
    all_refused(
        &fake,
        "RunInstances",
        &base,
        &[
            ("MinCount=0", "InvalidParameterValue"),
            ("MaxCount=2", "InvalidParameterValue"),
            ("ImageId=", "MissingParameter"),
            ("ImageId=ami-0123", "InvalidAMIID.NotFound"),
            ("ImageId=web", "InvalidAMIID.Malformed"),
            ("SubnetId=subnet-0123", "InvalidSubnetID.NotFound"),
            ("SecurityGroupId.1=sg-0123", "InvalidGroup.NotFound"),
            ("SecurityGroupId.1=web", "InvalidGroupId.Malformed"),
            (&groups, "SecurityGroupsPerInterfaceLimitExceeded"),
            ("PrivateIpAddress=10.0.1.10", "InvalidParameterCombination"),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.2.10"),
                "InvalidParameterValue",
            ),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.3"),
                "InvalidParameterValue",
            ),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.255"),
                "InvalidParameterValue",
            ),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1"),
                "InvalidParameterValue",
            ),
            ("IamInstanceProfile.Name=nobody", "InvalidParameterValue"),
            (
                "IamInstanceProfile.Arn=arn:aws:iam::111111111111:instance-profile/rehost-target",
                "InvalidParameterValue",
            ),
            (
                "IamInstanceProfile.Name=rehost-target&IamInstanceProfile.Arn=arn:aws:iam::123456789012:instance-profile/rehost-target",
                "InvalidParameterCombination",
            ),
            ("KeyName=nobody", "InvalidKeyPair.NotFound"),
            ("UserData=hello", "InvalidParameterValue"),
            (&format!("UserData={user_data}"), "InvalidParameterValue"),
            ("MetadataOptions.HttpTokens=maybe", "InvalidParameterValue"),
            (
                "MetadataOptions.HttpPutResponseHopLimit=65",
                "InvalidParameterValue",
            ),
            (
                "MetadataOptions.HttpPutResponseHopLimit=0",
                "InvalidParameterValue",
            ),
            (
                "MetadataOptions.InstanceMetadataTags=enabled&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a/b",
                "InvalidParameterValue",
            ),
            (
                "Placement.AvailabilityZone=us-east-1z",
                "InvalidParameterValue",
            ),
            (
                &format!("SubnetId={SUBNET_B}&Placement.AvailabilityZone=us-east-1a"),
                "InvalidParameterValue",
            ),
            ("Placement.Tenancy=shared", "InvalidParameterValue"),
            ("Placement.HostId=h-1", "InvalidHostID.NotFound"),
            (
                "Placement.HostId=h-0000000000000000a&Placement.Tenancy=dedicated",
                "InvalidParameterCombination",
            ),
            (
                &format!("SubnetId={SUBNET_B}&Placement.HostId=h-0000000000000000a"),
                "InvalidParameterValue",
            ),
            (
                "Placement.GroupName=nobody",
                "InvalidPlacementGroup.Unknown",
            ),
            ("Placement.PartitionNumber=1", "InvalidParameterCombination"),
            (
                "Placement.GroupName=close&Placement.PartitionNumber=1",
                "InvalidParameterCombination",
            ),
            (
                "Placement.GroupName=parts&Placement.PartitionNumber=4",
                "InvalidParameterValue",
            ),
            ("InstanceType=t2.micro&EbsOptimized=true", "Unsupported"),
            ("CpuOptions.CoreCount=1", "MissingParameter"),
            (
                "CpuOptions.CoreCount=2&CpuOptions.ThreadsPerCore=1",
                "InvalidParameterValue",
            ),
            (
                "InstanceType=t2.micro&CpuOptions.CoreCount=1&CpuOptions.ThreadsPerCore=1",
                "InvalidParameterCombination",
            ),
            (
                "CreditSpecification.CpuCredits=standard",
                "InvalidParameterCombination",
            ),
            (
                "InstanceType=t3.micro&CreditSpecification.CpuCredits=all",
                "InvalidParameterValue",
            ),
            (
                "InstanceInitiatedShutdownBehavior=reboot",
                "InvalidParameterValue",
            ),
            (&nics, "AttachmentLimitExceeded"),
            (&disks, "AttachmentLimitExceeded"),
            (
                &format!("{nic}.SubnetId={SUBNET_A}&{addresses}"),
                "PrivateIpAddressLimitExceeded",
            ),
            (
                &format!("{nic}.SubnetId={SUBNET_A}&SubnetId={SUBNET_A}"),
                "InvalidParameterCombination",
            ),
            (
                &format!("{nic}.SubnetId={SUBNET_A}&SecurityGroupId.1={GROUP}"),
                "InvalidParameterCombination",
            ),
            (
                &format!("NetworkInterface.1.SubnetId={SUBNET_A}"),
                "InvalidParameterValue",
            ),
            ("NetworkInterface.1.DeviceIndex=1", "UnsupportedOperation"),
            (
                "NetworkInterface.1.DeviceIndex=0&NetworkInterface.2.DeviceIndex=0",
                "InvalidParameterValue",
            ),
            (
                &format!("{nic}.AssociatePublicIpAddress=true&NetworkInterface.2.DeviceIndex=1"),
                "InvalidParameterCombination",
            ),
            (
                &format!(
                    "{nic}.SubnetId={SUBNET_A}&NetworkInterface.2.DeviceIndex=1&NetworkInterface.2.SubnetId={SUBNET_B}"
                ),
                "InvalidParameterCombination",
            ),
            (
                &format!(
                    "{nic}.SubnetId={SUBNET_A}&NetworkInterface.1.PrivateIpAddress=10.0.1.9&NetworkInterface.2.DeviceIndex=1&NetworkInterface.2.SubnetId={SUBNET_A}&NetworkInterface.2.PrivateIpAddress=10.0.1.9"
                ),
                "InvalidIPAddress.InUse",
            ),
            (
                "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId=eni-0123",
                "InvalidNetworkInterfaceID.NotFound",
            ),
            (
                &format!("{own}.SubnetId={SUBNET_A}"),
                "InvalidParameterCombination",
            ),
            (
                &format!("{own}.SecurityGroupId.1={GROUP}"),
                "InvalidParameterCombination",
            ),
            (
                &format!("{own}.PrivateIpAddress=10.0.1.9"),
                "InvalidParameterCombination",
            ),
            (
                &format!("{own}.DeleteOnTermination=true"),
                "InvalidParameterCombination",
            ),
            (
                &format!("{own}.AssociatePublicIpAddress=true"),
                "InvalidParameterCombination",
            ),
            (
                &format!(
                    "{nic}.NetworkInterfaceId={spare}&TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=a"
                ),
                "InvalidParameterCombination",
            ),
            (
                &format!("{root}.Ebs.VolumeSize=7"),
                "InvalidBlockDeviceMapping",
            ),
            (&format!("{root}.NoDevice="), "InvalidBlockDeviceMapping"),
            (
                &format!("{root}.Ebs.SnapshotId=snap-0123"),
                "InvalidBlockDeviceMapping",
            ),
            (
                &format!("{root}.Ebs.VolumeType=sc1&BlockDeviceMapping.1.Ebs.VolumeSize=125"),
                "InvalidBlockDeviceMapping",
            ),
            (&format!("{root}.Ebs.Iops=99"), "InvalidParameterValue"),
            (&format!("{root}.Ebs.VolumeType=io1"), "MissingParameter"),
            (
                &format!("{root}.Ebs.KmsKeyId=k"),
                "InvalidParameterDependency",
            ),
            (
                "InstanceType=m4.large&BlockDeviceMapping.1.DeviceName=/dev/sdg&BlockDeviceMapping.1.Ebs.VolumeSize=100&BlockDeviceMapping.1.Ebs.VolumeType=io2&BlockDeviceMapping.1.Ebs.Iops=40000",
                "InvalidParameterCombination",
            ),
            (
                "TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=a",
                "InvalidParameterValue",
            ),
            (
                "TagSpecification.1.ResourceType=volume",
                "InvalidParameterValue",
            ),
            ("LaunchTemplate.LaunchTemplateName=x", "UnknownParameter"),
        ],
    );
    let dry = ec2(&fake, "RunInstances", &format!("{base}&DryRun=true"));
    refused(&dry, 412, "DryRunOperation");
    let dry = ec2(
        &fake,
        "RunInstances",
        &format!("{base}&KeyName=nobody&DryRun=true"),
    );
    refused(&dry, 400, "InvalidKeyPair.NotFound");
    assert!(fake.resources().instances.is_empty());
}

#[test]
fn a_group_of_another_network_is_refused() {
    let mut surroundings = Surroundings::default();
    let vpc = Vpc {
        id: "vpc-00000000000000002".into(),
        cidr: Cidr::new(Ipv4Addr::new(10, 1, 0, 0), 16),
    };
    surroundings.security_groups.push(SecurityGroup {
        id: "sg-0000000000000000c".into(),
        name: "other".into(),
        vpc: vpc.id.clone(),
        tags: Default::default(),
    });
    surroundings.vpcs.push(vpc);
    let fake = FakeAws::start(Config {
        signatures: Signatures::Off,
        surroundings,
        ..Config::default()
    })
    .expect("a fake");
    let image = image(&fake, "web", "");
    let other = format!("SubnetId={SUBNET_A}&SecurityGroupId.1=sg-0000000000000000c");
    refused(&try_run(&fake, &image, &other), 400, "InvalidParameter");
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

//! RunInstances: what it refuses.

use crate::client::unsigned;
use crate::launch::two_disks;
use crate::query::{
    GROUP, SUBNET_A, SUBNET_B, all, all_refused, ec2, image, ok, refused, run, try_run,
};
use fake_aws::{Cidr, Config, FakeAws, SecurityGroup, Signatures, Surroundings, Vpc};
use std::net::Ipv4Addr;

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
fn a_type_may_be_missing_in_a_zone() {
    let fake = FakeAws::start(Config {
        signatures: Signatures::Off,
        surroundings: Surroundings {
            not_offered: vec![("m5.large".into(), 'b')],
            ..Surroundings::default()
        },
        ..Config::default()
    })
    .expect("a fake");
    let image = image(&fake, "web", "");
    let there = try_run(&fake, &image, &format!("SubnetId={SUBNET_B}"));
    refused(&there, 400, "Unsupported");
    run(&fake, &image, &format!("SubnetId={SUBNET_A}"));
    let only = "Filter.1.Name=instance-type&Filter.1.Value.1=m5.large";
    let offered = |form: &str| {
        all(
            &ok(
                &fake,
                "DescribeInstanceTypeOfferings",
                &format!("{only}&{form}"),
            ),
            "location",
        )
    };
    assert_eq!(offered(""), ["us-east-1"]);
    assert_eq!(offered("LocationType=availability-zone"), ["us-east-1a"]);
    let zone = "LocationType=availability-zone&Filter.2.Name=location&Filter.2.Value.1=us-east-1b";
    assert!(offered(zone).is_empty());
    refused(
        &ec2(
            &fake,
            "DescribeInstanceTypeOfferings",
            "LocationType=planet",
        ),
        400,
        "InvalidParameterValue",
    );
}

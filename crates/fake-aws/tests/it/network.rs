//! Subnets, groups, interfaces, Elastic IP addresses, and the lists that never change.

use crate::client::unsigned;
use crate::query::{
    GROUP, SUBNET_A, SUBNET_B, all, all_refused, ec2, image, instance, ok, pages, refused, run,
    terminate, until,
};
use fake_aws::InstanceState;

#[test]
fn the_surroundings_are_described() {
    let fake = unsigned();
    let list = |action: &str, form: &str, name: &str| all(&ok(&fake, action, form), name);
    let subnets = "DescribeSubnets";
    assert_eq!(list(subnets, "", "subnetId"), [SUBNET_A, SUBNET_B]);
    let zone = "Filter.1.Name=availability-zone&Filter.1.Value.1=us-east-1b";
    assert_eq!(list(subnets, zone, "cidrBlock"), ["10.0.2.0/24"]);
    assert_eq!(list(subnets, "", "availableIpAddressCount"), ["251", "251"]);
    run(&fake, &image(&fake, "web", ""), "");
    assert_eq!(list(subnets, "", "availableIpAddressCount"), ["250", "251"]);
    let groups = "DescribeSecurityGroups";
    assert_eq!(list(groups, "", "groupName"), ["default", "web"]);
    assert_eq!(
        list(groups, &format!("GroupId.1={GROUP}"), "groupName"),
        ["web"]
    );
    let named = "Filter.1.Name=group-name&Filter.1.Value.1=web";
    assert_eq!(list(groups, named, "groupId"), [GROUP]);
    let zones = list("DescribeAvailabilityZones", "", "zoneName");
    assert_eq!(zones, ["us-east-1a", "us-east-1b"]);
    assert_eq!(
        list("DescribeKeyPairs", "KeyName.1=rehost", "keyName"),
        ["rehost"]
    );
    for (action, form, code) in [
        (
            subnets,
            "SubnetId.1=subnet-0123",
            "InvalidSubnetID.NotFound",
        ),
        (groups, "GroupId.1=sg-0123", "InvalidGroup.NotFound"),
        (groups, "GroupName.1=nobody", "InvalidGroup.NotFound"),
        (
            "DescribeAvailabilityZones",
            "ZoneName.1=x",
            "InvalidParameterValue",
        ),
        ("DescribeKeyPairs", "KeyName.1=x", "InvalidKeyPair.NotFound"),
        (
            subnets,
            "Filter.1.Name=mood&Filter.1.Value.1=x",
            "InvalidParameterValue",
        ),
    ] {
        refused(&ec2(&fake, action, form), 400, code);
    }
}

#[test]
fn instance_types_are_described() {
    let fake = unsigned();
    let answer = ok(&fake, "DescribeInstanceTypes", "InstanceType.1=m6i.large");
    for (name, value) in [
        ("instanceType", "m6i.large"),
        ("hypervisor", "nitro"),
        ("bareMetal", "false"),
        ("supportedArchitectures", "<item>x86_64</item>"),
        ("defaultVCpus", "2"),
        ("defaultCores", "1"),
        ("sizeInMiB", "8192"),
        ("maximumNetworkInterfaces", "3"),
        ("ipv4AddressesPerInterface", "10"),
        ("maximumEbsAttachments", "27"),
        ("attachmentLimitType", "shared"),
        ("enaSupport", "required"),
        ("nvmeSupport", "required"),
        (
            "supportedBootModes",
            "<item>legacy-bios</item><item>uefi</item>",
        ),
        ("nitroTpmSupport", "supported"),
        ("burstablePerformanceSupported", "false"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    let answer = ok(&fake, "DescribeInstanceTypes", "InstanceType.1=m5.metal");
    assert_eq!(answer.element("hypervisor"), None);
    let arm = "Filter.1.Name=processor-info.supported-architecture&Filter.1.Value.1=arm64";
    let found = all(&ok(&fake, "DescribeInstanceTypes", arm), "instanceType");
    assert!(found.contains(&"m6g.large".to_owned()) && !found.contains(&"m5.large".to_owned()));
    let pages = pages(&fake, "DescribeInstanceTypes", "instanceType");
    assert!(pages.len() > 5 && pages.iter().all(|page| page.len() <= 5));
    refused(
        &ec2(&fake, "DescribeInstanceTypes", "InstanceType.1=m99.huge"),
        400,
        "InvalidInstanceType",
    );
}

#[test]
fn an_interface_is_made_changed_and_deleted() {
    let fake = unsigned();
    let form = format!(
        "SubnetId={SUBNET_A}&SecurityGroupId.1={GROUP}&Description=spare&ClientToken=one&\
         PrivateIpAddresses.1.PrivateIpAddress=10.0.1.40&PrivateIpAddresses.1.Primary=true&\
         SecondaryPrivateIpAddressCount=2&TagSpecification.1.ResourceType=network-interface&\
         TagSpecification.1.Tag.1.Key=m&TagSpecification.1.Tag.1.Value=web"
    );
    let answer = ok(&fake, "CreateNetworkInterface", &form);
    let id = answer.element("networkInterfaceId").expect("an id");
    for (name, value) in [
        ("status", "available"),
        ("privateIpAddress", "10.0.1.40"),
        ("groupId", GROUP),
        ("description", "spare"),
        ("sourceDestCheck", "true"),
        ("key", "m"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(fake.resources().interfaces[0].addresses.len(), 3);
    let again = ok(&fake, "CreateNetworkInterface", &form);
    assert_eq!(
        again.element("networkInterfaceId").as_deref(),
        Some(id.as_str())
    );
    refused(
        &ec2(
            &fake,
            "CreateNetworkInterface",
            &format!("{form}&Description=x"),
        ),
        400,
        "IdempotentParameterMismatch",
    );
    all_refused(
        &fake,
        "CreateNetworkInterface",
        "Description=x",
        &[
            ("", "MissingParameter"),
            ("SubnetId=subnet-0123", "InvalidSubnetID.NotFound"),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.1.40"),
                "InvalidIPAddress.InUse",
            ),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddress=10.0.9.1"),
                "InvalidParameterValue",
            ),
            (
                &format!("SubnetId={SUBNET_A}&SecurityGroupId.1=sg-0123"),
                "InvalidGroup.NotFound",
            ),
            (
                &format!("SubnetId={SUBNET_A}&SecondaryPrivateIpAddressCount=300"),
                "InsufficientFreeAddressesInSubnet",
            ),
            (
                &format!("SubnetId={SUBNET_A}&PrivateIpAddresses.1.PrivateIpAddress=10.0.1.50"),
                "InvalidParameterCombination",
            ),
        ],
    );
    let modify = format!("NetworkInterfaceId={id}&SourceDestCheck.Value=false");
    ok(&fake, "ModifyNetworkInterfaceAttribute", &modify);
    assert!(!fake.resources().interfaces[0].source_dest_check);
    let address = "Filter.1.Name=addresses.private-ip-address&Filter.1.Value.1=10.0.1.40";
    let found = ok(&fake, "DescribeNetworkInterfaces", address);
    assert_eq!(
        found.element("networkInterfaceId").as_deref(),
        Some(id.as_str())
    );

    let machine = run(
        &fake,
        &image(&fake, "web", ""),
        &format!("NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId={id}"),
    );
    let delete = || {
        ec2(
            &fake,
            "DeleteNetworkInterface",
            &format!("NetworkInterfaceId={id}"),
        )
    };
    refused(&delete(), 400, "InvalidNetworkInterface.InUse");
    terminate(&fake, &machine);
    assert_eq!(delete().status, 200);
    refused(&delete(), 400, "InvalidNetworkInterfaceID.NotFound");
}

#[test]
fn an_elastic_address_is_lent_moved_and_given_back() {
    let fake = unsigned();
    let tags = "TagSpecification.1.ResourceType=elastic-ip&TagSpecification.1.Tag.1.Key=m";
    let answer = ok(&fake, "AllocateAddress", &format!("Domain=vpc&{tags}"));
    let id = answer.element("allocationId").expect("an id");
    let ip = answer.element("publicIp").expect("an address");
    let image = image(&fake, "web", "");
    let (one, two) = (run(&fake, &image, ""), run(&fake, &image, ""));
    let associate = |instance: &str, more: &str| {
        let form = format!("AllocationId={id}&InstanceId={instance}{more}");
        ec2(&fake, "AssociateAddress", &form)
    };
    refused(&associate(&one, ""), 400, "InvalidInstanceID");
    until(&fake, &one, InstanceState::Running);
    until(&fake, &two, InstanceState::Running);
    let answer = associate(&one, "");
    let association = answer.element("associationId").expect("an id");
    assert_eq!(
        associate(&one, "").element("associationId"),
        Some(association)
    );
    refused(&associate(&two, ""), 400, "Resource.AlreadyAssociated");
    let seen = ok(&fake, "DescribeInstances", &format!("InstanceId.1={one}"));
    assert_eq!(seen.element("ipAddress").as_deref(), Some(ip.as_str()));
    let moved = associate(&two, "&AllowReassociation=true");
    let association = moved.element("associationId").expect("an id");
    let seen = ok(&fake, "DescribeAddresses", &format!("AllocationId.1={id}"));
    assert_eq!(seen.element("instanceId").as_deref(), Some(two.as_str()));
    let release = || ec2(&fake, "ReleaseAddress", &format!("AllocationId={id}"));
    refused(&release(), 400, "InvalidIPAddress.InUse");
    let disassociate = format!("AssociationId={association}");
    ok(&fake, "DisassociateAddress", &disassociate);
    refused(
        &ec2(&fake, "DisassociateAddress", &disassociate),
        400,
        "InvalidAssociationID.NotFound",
    );
    // An interface can have it while its instance is anywhere, and loses it with its end.
    let interface = instance(&fake, &one).interfaces[0].clone();
    let form = format!("AllocationId={id}&NetworkInterfaceId={interface}");
    refused(
        &ec2(
            &fake,
            "AssociateAddress",
            &format!("{form}&PrivateIpAddress=10.0.1.9"),
        ),
        400,
        "InvalidParameterValue",
    );
    ok(&fake, "AssociateAddress", &form);
    terminate(&fake, &one);
    assert!(fake.resources().addresses[0].association.is_none());
    assert_eq!(release().status, 200);
    refused(&release(), 400, "InvalidAllocationID.NotFound");
    for _ in 0..5 {
        ok(&fake, "AllocateAddress", "");
    }
    refused(
        &ec2(&fake, "AllocateAddress", ""),
        400,
        "AddressLimitExceeded",
    );
    refused(
        &ec2(
            &fake,
            "AssociateAddress",
            "AllocationId=eipalloc-0123&InstanceId=i-0123",
        ),
        400,
        "InvalidInstanceID.NotFound",
    );
}

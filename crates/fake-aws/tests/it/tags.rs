//! Tags of every sort of resource.

use crate::client::{completed, unsigned};
use crate::query::{GROUP, SUBNET_A, all, ec2, image, ok, refused, run};

#[test]
fn every_resource_can_have_tags() {
    let fake = unsigned();
    let snapshot = completed(&fake, None, &[]);
    let image = image(&fake, "web", "");
    let instance = run(&fake, &image, "");
    ok(&fake, "AllocateAddress", "");
    let resources = fake.resources();
    let ids = [
        snapshot.as_str(),
        &image,
        &instance,
        &resources.volumes[0].id,
        &resources.interfaces[0].id,
        &resources.addresses[0].id,
        SUBNET_A,
        GROUP,
    ];
    let named: Vec<String> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| format!("ResourceId.{}={id}", n + 1))
        .collect();
    let named = named.join("&");
    ok(
        &fake,
        "CreateTags",
        &format!("{named}&Tag.1.Key=m&Tag.1.Value=web&Tag.2.Key=n&Tag.2.Value=1"),
    );
    let tags = ok(
        &fake,
        "DescribeTags",
        "Filter.1.Name=key&Filter.1.Value.1=m",
    );
    let mut types = all(&tags, "resourceType");
    types.sort();
    assert_eq!(
        types,
        [
            "elastic-ip",
            "image",
            "instance",
            "network-interface",
            "security-group",
            "snapshot",
            "subnet",
            "volume"
        ]
    );
    for (action, name) in [
        ("DescribeSnapshots", "snapshotId"),
        ("DescribeImages", "imageId"),
        ("DescribeInstances", "instanceId"),
        ("DescribeVolumes", "volumeId"),
        ("DescribeNetworkInterfaces", "networkInterfaceId"),
        ("DescribeAddresses", "allocationId"),
        ("DescribeSubnets", "subnetId"),
        ("DescribeSecurityGroups", "groupId"),
    ] {
        let answer = ok(&fake, action, "Filter.1.Name=tag:m&Filter.1.Value.1=web");
        let found = answer.element(name).expect("an id");
        assert!(ids.contains(&found.as_str()), "{action}: {found}");
        let none = ok(&fake, action, "Filter.1.Name=tag:m&Filter.1.Value.1=db");
        assert_eq!(none.element(name), None, "{action}");
    }
    // Only the value that is there, then whatever it is.
    let delete = |form: &str| ok(&fake, "DeleteTags", &format!("{named}&{form}"));
    let count = || all(&ok(&fake, "DescribeTags", ""), "key").len();
    delete("Tag.1.Key=m&Tag.1.Value=db");
    assert_eq!(count(), 16);
    delete("Tag.1.Key=m");
    assert_eq!(count(), 8);
    delete("");
    assert_eq!(count(), 0);
}

#[test]
fn wrong_tags_change_nothing() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    let many: Vec<String> = (1..=51).map(|n| format!("Tag.{n}.Key=k{n}")).collect();
    for (action, form, code) in [
        ("CreateTags", many.join("&"), "TagLimitExceeded"),
        (
            "CreateTags",
            "Tag.1.Key=aws:a".into(),
            "InvalidParameterValue",
        ),
        (
            "CreateTags",
            "Tag.1.Key=a&Tag.2.Key=a".into(),
            "InvalidParameterValue",
        ),
        (
            "CreateTags",
            format!("Tag.1.Key=a&Tag.1.Value={}", "v".repeat(257)),
            "InvalidParameterValue",
        ),
        (
            "CreateTags",
            "Tag.1.Key=a&ResourceId.2=vol-0123".into(),
            "InvalidVolume.NotFound",
        ),
        (
            "DeleteTags",
            "Tag.1.Key=aws:a".into(),
            "InvalidParameterValue",
        ),
        (
            "DeleteTags",
            "Tag.1.Key=a&ResourceId.2=ami-0123".into(),
            "InvalidAMIID.NotFound",
        ),
    ] {
        let answer = ec2(&fake, action, &format!("ResourceId.1={id}&{form}"));
        refused(&answer, 400, code);
    }
    let dry = ec2(
        &fake,
        "CreateTags",
        &format!("ResourceId.1={id}&Tag.1.Key=a&DryRun=true"),
    );
    refused(&dry, 412, "DryRunOperation");
    assert!(fake.resources().instances[0].tags.is_empty());
    let specification: Vec<String> = (1..=51)
        .map(|n| format!("TagSpecification.1.Tag.{n}.Key=k{n}"))
        .collect();
    let form = format!(
        "TagSpecification.1.ResourceType=instance&{}",
        specification.join("&")
    );
    refused(
        &crate::query::try_run(&fake, &image, &form),
        400,
        "TagLimitExceeded",
    );
}

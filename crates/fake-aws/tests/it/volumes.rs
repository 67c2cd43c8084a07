//! Volumes apart from launches.

use crate::client::{completed, eventually, started, unsigned, with};
use crate::query::{SUBNET_B, all_refused, ec2, image, ok, pages, refused, run, terminate, until};
use fake_aws::{Faults, InstanceState, Life, Seed};

fn create(fake: &fake_aws::FakeAws, form: &str) -> String {
    let form = format!("AvailabilityZone=us-east-1a&{form}");
    ok(fake, "CreateVolume", &form)
        .element("volumeId")
        .expect("an id")
}

#[test]
fn a_volume_is_what_was_asked_for() {
    let fake = unsigned();
    let snapshot = completed(&fake, None, &[]);
    let form = format!(
        "SnapshotId={snapshot}&Size=10&VolumeType=gp3&Iops=3500&Throughput=300&Encrypted=true&\
         VolumeInitializationRate=150&ClientToken=one&TagSpecification.1.ResourceType=volume&\
         TagSpecification.1.Tag.1.Key=m&TagSpecification.1.Tag.1.Value=web"
    );
    let id = create(&fake, &form);
    assert!(id.starts_with("vol-") && id.len() == 4 + 17, "{id}");
    let answer = ok(&fake, "DescribeVolumes", &format!("VolumeId.1={id}"));
    for (name, value) in [
        ("snapshotId", snapshot.as_str()),
        ("size", "10"),
        ("volumeType", "gp3"),
        ("iops", "3500"),
        ("throughput", "300"),
        ("encrypted", "true"),
        ("volumeInitializationRate", "150"),
        ("availabilityZone", "us-east-1a"),
        ("status", "available"),
        ("attachmentSet", ""),
        ("key", "m"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(create(&fake, &form), id);
    let other = ec2(
        &fake,
        "CreateVolume",
        &format!("AvailabilityZone=us-east-1a&{form}&Size=11"),
    );
    refused(&other, 400, "IdempotentParameterMismatch");
    let plain = create(&fake, "Size=1&VolumeType=gp3");
    let answer = ok(&fake, "DescribeVolumes", &format!("VolumeId.1={plain}"));
    assert_eq!(answer.element("throughput").as_deref(), Some("125"));
    assert_eq!(answer.element("iops").as_deref(), Some("3000"));
}

#[test]
fn wrong_volumes_are_refused() {
    let fake = unsigned();
    let seed = Seed {
        volume_size: 10,
        ..Seed::default()
    };
    let big = fake.seed_snapshot(seed).expect("a snapshot");
    let seed = Seed {
        key: Some("arn:aws:kms:us-east-1:123456789012:key/k".into()),
        ..Seed::default()
    };
    let secret = fake.seed_snapshot(seed).expect("a snapshot");
    let pending = started(&fake);
    all_refused(
        &fake,
        "CreateVolume",
        "AvailabilityZone=us-east-1a",
        &[
            ("", "MissingParameter"),
            ("AvailabilityZone=&Size=1", "MissingParameter"),
            (
                "AvailabilityZone=us-east-1z&Size=1",
                "InvalidParameterValue",
            ),
            (
                "AvailabilityZone=eu-west-1a&Size=1",
                "InvalidParameterValue",
            ),
            (&format!("SnapshotId={big}&Size=9"), "InvalidParameterValue"),
            ("SnapshotId=snap-0&Size=9", "InvalidSnapshot.NotFound"),
            (&format!("SnapshotId={pending}"), "IncorrectState"),
            (
                &format!("SnapshotId={secret}&Encrypted=false"),
                "InvalidParameterCombination",
            ),
            ("Size=1&KmsKeyId=k", "InvalidParameterDependency"),
            (
                "Size=1&VolumeInitializationRate=200",
                "InvalidParameterCombination",
            ),
            ("Size=1&Iops=3000", "InvalidParameterCombination"),
            ("Size=many", "InvalidParameterValue"),
            ("Size=1&MultiAttachEnabled=true", "UnknownParameter"),
        ],
    );
    let dry = "AvailabilityZone=us-east-1a&Size=1&DryRun=true";
    refused(&ec2(&fake, "CreateVolume", dry), 412, "DryRunOperation");
    // An encrypted snapshot's volume is encrypted with its key.
    create(&fake, &format!("SnapshotId={secret}"));
    assert!(
        fake.resources().volumes[0]
            .key
            .as_deref()
            .expect("a key")
            .ends_with("key/k")
    );
}

#[test]
fn a_volume_is_attached_detached_and_deleted() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    until(&fake, &id, InstanceState::Running);
    let volume = create(&fake, "Size=1");
    let other = ok(&fake, "CreateVolume", "AvailabilityZone=us-east-1b&Size=1");
    let other = other.element("volumeId").expect("an id");
    let act = |action: &str, form: &str| ec2(&fake, action, form);
    let attach = |volume: &str, device: &str| {
        act(
            "AttachVolume",
            &format!("VolumeId={volume}&InstanceId={id}&Device={device}"),
        )
    };
    refused(
        &attach(&other, "/dev/sdf"),
        400,
        "InvalidVolume.ZoneMismatch",
    );
    refused(&attach(&volume, "/dev/sda1"), 400, "InvalidParameterValue");
    refused(
        &attach("vol-0123", "/dev/sdf"),
        400,
        "InvalidVolume.NotFound",
    );
    assert_eq!(
        attach(&volume, "/dev/sdf").element("status").as_deref(),
        Some("attaching")
    );
    refused(&attach(&volume, "/dev/sdg"), 400, "VolumeInUse");
    let delete = format!("VolumeId={volume}");
    refused(&act("DeleteVolume", &delete), 400, "VolumeInUse");
    let describe = "Filter.1.Name=attachment.device&Filter.1.Value.1=/dev/sdf";
    let answer = ok(&fake, "DescribeVolumes", describe);
    assert_eq!(answer.element("volumeId").as_deref(), Some(volume.as_str()));
    // What was attached later stays.
    assert_eq!(
        answer.element("deleteOnTermination").as_deref(),
        Some("false")
    );

    let detach = |form: &str| act("DetachVolume", &format!("VolumeId={volume}{form}"));
    refused(
        &detach("&Device=/dev/sdq"),
        400,
        "InvalidAttachment.NotFound",
    );
    assert_eq!(detach("").element("status").as_deref(), Some("detaching"));
    refused(&detach(""), 400, "IncorrectState");
    refused(
        &act("DeleteVolume", &format!("{delete}&DryRun=true")),
        412,
        "DryRunOperation",
    );
    assert_eq!(act("DeleteVolume", &delete).status, 200);
    refused(&act("DeleteVolume", &delete), 400, "InvalidVolume.NotFound");
    refused(
        &act("DeleteVolume", "VolumeId=x"),
        400,
        "InvalidVolumeID.Malformed",
    );
}

#[test]
fn a_root_volume_is_swapped_while_the_instance_is_stopped() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    let id = run(&fake, &image, "");
    until(&fake, &id, InstanceState::Running);
    let root = fake.resources().volumes[0].id.clone();
    let detach = || ec2(&fake, "DetachVolume", &format!("VolumeId={root}"));
    refused(&detach(), 400, "OperationNotPermitted");
    ok(&fake, "StopInstances", &format!("InstanceId.1={id}"));
    until(&fake, &id, InstanceState::Stopped);
    assert_eq!(detach().status, 200);
    let other = create(&fake, "Size=2");
    let form = format!("VolumeId={other}&InstanceId={id}&Device=/dev/sda1");
    ok(&fake, "AttachVolume", &form);
    terminate(&fake, &id);
    assert_eq!(fake.resources().volumes.len(), 2);
    assert!(
        fake.resources()
            .volumes
            .iter()
            .all(|it| it.state() == "available")
    );
}

#[test]
fn a_new_volume_may_be_creating() {
    let fake = with(Faults {
        life: Life {
            volume_ms: 400,
            ..Life::default()
        },
        ..Faults::default()
    });
    let id = create(&fake, "Size=1");
    let delete = || ec2(&fake, "DeleteVolume", &format!("VolumeId={id}"));
    refused(&delete(), 400, "IncorrectState");
    eventually(|| (delete().status == 200).then_some(()));
}

#[test]
fn volumes_come_in_pages_and_by_tags() {
    let fake = unsigned();
    let ids: Vec<String> = (0..7)
        .map(|n| {
            create(
                &fake,
                &format!(
                    "Size={}&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=n&\
                     TagSpecification.1.Tag.1.Value={n}",
                    n + 1
                ),
            )
        })
        .collect();
    let pages = pages(&fake, "DescribeVolumes", "volumeId");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    let found = ok(
        &fake,
        "DescribeVolumes",
        "Filter.1.Name=tag:n&Filter.1.Value.1=3",
    );
    assert_eq!(found.element("volumeId").as_deref(), Some(ids[3].as_str()));
    let found = ok(
        &fake,
        "DescribeVolumes",
        "Filter.1.Name=size&Filter.1.Value.1=7",
    );
    assert_eq!(found.element("volumeId").as_deref(), Some(ids[6].as_str()));
}

#[test]
fn volumes_are_where_the_subnet_is() {
    let fake = unsigned();
    let image = image(&fake, "web", "");
    run(&fake, &image, &format!("SubnetId={SUBNET_B}"));
    assert_eq!(fake.resources().volumes[0].zone, "us-east-1b");
}

//! RegisterImage, DeregisterImage, DescribeImages.

use crate::client::{completed, started, unsigned, with};
use crate::query::{all_refused, ec2, image, of_snapshot, ok, pages, refused};
use fake_aws::{Faults, Life, Seed, VolumeType};

#[test]
fn an_image_is_what_was_registered() {
    let fake = unsigned();
    let (root, data) = (completed(&fake, None, &[]), completed(&fake, None, &[]));
    let form = format!(
        "Name=web-1+2026&Description=a%3Cb&{}&BootMode=uefi&TpmSupport=v2.0&ImdsSupport=v2.0&\
         UefiData=QU1aTlVFRkk%3D&SriovNetSupport=simple&\
         BlockDeviceMapping.1.Ebs.VolumeType=gp3&BlockDeviceMapping.1.Ebs.VolumeSize=8&\
         BlockDeviceMapping.1.Ebs.Iops=4000&BlockDeviceMapping.1.Ebs.Throughput=250&\
         BlockDeviceMapping.2.DeviceName=/dev/sdf&BlockDeviceMapping.2.Ebs.SnapshotId={data}&\
         BlockDeviceMapping.2.Ebs.DeleteOnTermination=false&\
         BlockDeviceMapping.2.Ebs.VolumeInitializationRate=200&\
         TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=rehost:machine&\
         TagSpecification.1.Tag.1.Value=web-1",
        of_snapshot(&root)
    );
    let id = ok(&fake, "RegisterImage", &form)
        .element("imageId")
        .expect("an id");
    assert!(id.starts_with("ami-") && id.len() == 4 + 17, "{id}");
    let answer = ok(
        &fake,
        "DescribeImages",
        &format!("ImageId.1={id}&Owner.1=self"),
    );
    for (name, value) in [
        ("imageId", id.as_str()),
        ("imageState", "available"),
        ("name", "web-1 2026"),
        ("description", "a&lt;b"),
        ("architecture", "x86_64"),
        ("virtualizationType", "hvm"),
        ("rootDeviceName", "/dev/sda1"),
        ("rootDeviceType", "ebs"),
        ("bootMode", "uefi"),
        ("tpmSupport", "v2.0"),
        ("imdsSupport", "v2.0"),
        ("sriovNetSupport", "simple"),
        ("enaSupport", "true"),
        ("snapshotId", root.as_str()),
        ("volumeSize", "8"),
        ("volumeType", "gp3"),
        ("iops", "4000"),
        ("throughput", "250"),
        ("encrypted", "false"),
        ("deleteOnTermination", "true"),
        ("VolumeInitializationRate", "200"),
        ("imageOwnerId", "123456789012"),
        ("isPublic", "false"),
        ("key", "rehost:machine"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    let [image] = fake.resources().images.try_into().expect("one image");
    assert!(image.tpm && image.ena && image.imds_v2);
    assert_eq!(image.mappings.len(), 2);
    assert_eq!(image.mappings[1].shape.kind, VolumeType::Gp2);
    assert!(!image.mappings[1].delete_on_termination);
}

#[test]
fn what_is_forgotten_is_i386_and_paravirtual() {
    let fake = unsigned();
    let snapshot = completed(&fake, None, &[]);
    let form = format!(
        "Name=forgotten&BlockDeviceMapping.1.DeviceName=/dev/sda1&\
         BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}"
    );
    ok(&fake, "RegisterImage", &form);
    let answer = ok(&fake, "DescribeImages", "");
    assert_eq!(answer.element("architecture").as_deref(), Some("i386"));
    assert_eq!(
        answer.element("virtualizationType").as_deref(),
        Some("paravirtual")
    );
    assert_eq!(answer.element("enaSupport").as_deref(), Some("false"));
    assert_eq!(answer.element("bootMode"), None);
}

#[test]
fn wrong_images_are_refused() {
    let fake = unsigned();
    let (root, pending) = (completed(&fake, None, &[]), started(&fake));
    let big = Seed {
        volume_size: 10,
        ..Seed::default()
    };
    let big = fake.seed_snapshot(big).expect("a snapshot");
    image(&fake, "taken", "");
    let base = of_snapshot(&root);
    let second = "BlockDeviceMapping.2.DeviceName=/dev/sdf&BlockDeviceMapping.2.Ebs";
    all_refused(
        &fake,
        "RegisterImage",
        &base,
        &[
            ("", "MissingParameter"),
            ("Name=ab", "InvalidAMIName.Malformed"),
            ("Name=a:b:c", "InvalidAMIName.Malformed"),
            (
                &format!("Name={}", "n".repeat(129)),
                "InvalidAMIName.Malformed",
            ),
            ("Name=taken", "InvalidAMIName.Duplicate"),
            ("Name=new&Architecture=sparc", "InvalidParameterValue"),
            ("Name=new&VirtualizationType=kvm", "InvalidParameterValue"),
            ("Name=new&BootMode=bios", "InvalidParameterValue"),
            (
                "Name=new&BootMode=uefi&VirtualizationType=paravirtual",
                "InvalidParameterCombination",
            ),
            (
                "Name=new&VirtualizationType=paravirtual",
                "InvalidParameterCombination",
            ),
            (
                "Name=new&Architecture=arm64&BootMode=legacy-bios",
                "InvalidParameterCombination",
            ),
            (
                "Name=new&Architecture=arm64&BootMode=uefi-preferred",
                "InvalidParameterCombination",
            ),
            ("Name=new&TpmSupport=v1.2", "InvalidParameterValue"),
            ("Name=new&TpmSupport=v2.0", "InvalidParameterCombination"),
            (
                "Name=new&TpmSupport=v2.0&BootMode=uefi-preferred",
                "InvalidParameterCombination",
            ),
            (
                "Name=new&TpmSupport=v2.0&BootMode=uefi&Architecture=arm64",
                "InvalidParameterCombination",
            ),
            ("Name=new&ImdsSupport=v1.0", "InvalidParameterValue"),
            ("Name=new&UefiData=QUJD", "InvalidParameterCombination"),
            (
                "Name=new&UefiData=%21&BootMode=uefi",
                "InvalidParameterValue",
            ),
            ("Name=new&EnaSupport=yes", "InvalidParameterValue"),
            (
                "Name=new&RootDeviceName=/dev/xvda",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.Encrypted=true",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.1.DeviceName=sda1",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.SnapshotId=snap-0",
                "InvalidSnapshot.NotFound",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.SnapshotId=x",
                "InvalidSnapshotID.Malformed",
            ),
            (
                &format!("Name=new&BlockDeviceMapping.1.Ebs.SnapshotId={pending}"),
                "IncorrectState",
            ),
            (
                &format!(
                    "Name=new&BlockDeviceMapping.1.Ebs.SnapshotId={big}&BlockDeviceMapping.1.Ebs.VolumeSize=9"
                ),
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.VolumeType=gp4",
                "InvalidParameterValue",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.VolumeType=st1&BlockDeviceMapping.1.Ebs.VolumeSize=125",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.VolumeType=io1",
                "InvalidParameterValue",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.Iops=3000",
                "InvalidParameterCombination",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.VolumeType=gp3&BlockDeviceMapping.1.Ebs.Throughput=9999",
                "InvalidParameterValue",
            ),
            (
                "Name=new&BlockDeviceMapping.1.Ebs.VolumeInitializationRate=99",
                "InvalidParameterValue",
            ),
            (
                &format!("Name=new&{second}.VolumeType=gp3"),
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.2.DeviceName=/dev/sdf",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&BlockDeviceMapping.2.DeviceName=/dev/sda1&BlockDeviceMapping.2.Ebs.VolumeSize=1",
                "InvalidBlockDeviceMapping",
            ),
            (
                "Name=new&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a",
                "InvalidParameterValue",
            ),
            (
                "Name=new&TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=aws:a",
                "InvalidParameterValue",
            ),
            ("Name=new&Mood=good", "UnknownParameter"),
        ],
    );
    let dry = ec2(
        &fake,
        "RegisterImage",
        &format!("{base}&Name=new&DryRun=true"),
    );
    refused(&dry, 412, "DryRunOperation");
    let dry = ec2(
        &fake,
        "RegisterImage",
        &format!("{base}&Name=taken&DryRun=true"),
    );
    refused(&dry, 400, "InvalidAMIName.Duplicate");
    assert_eq!(fake.resources().images.len(), 1);
}

#[test]
fn a_snapshot_of_an_image_stays_until_the_image_is_gone() {
    let fake = unsigned();
    let snapshot = completed(&fake, None, &[]);
    let form = format!("Name=web&{}", of_snapshot(&snapshot));
    let id = ok(&fake, "RegisterImage", &form)
        .element("imageId")
        .expect("an id");
    let delete = || ec2(&fake, "DeleteSnapshot", &format!("SnapshotId={snapshot}"));
    refused(&delete(), 400, "InvalidSnapshot.InUse");
    assert!(fake.snapshot(&snapshot).is_some());
    let deregister = || ec2(&fake, "DeregisterImage", &format!("ImageId={id}"));
    refused(
        &ec2(
            &fake,
            "DeregisterImage",
            &format!("ImageId={id}&DryRun=true"),
        ),
        412,
        "DryRunOperation",
    );
    assert_eq!(deregister().status, 200);
    refused(&deregister(), 400, "InvalidAMIID.Unavailable");
    for (id, code) in [
        ("ami-0123", "InvalidAMIID.NotFound"),
        ("image", "InvalidAMIID.Malformed"),
    ] {
        let answer = ec2(&fake, "DeregisterImage", &format!("ImageId={id}"));
        refused(&answer, 400, code);
    }
    refused(
        &ec2(&fake, "DescribeImages", &format!("ImageId.1={id}")),
        400,
        "InvalidAMIID.NotFound",
    );
    assert_eq!(delete().status, 200);
    assert!(fake.snapshot(&snapshot).is_none());
    // The name is free again.
    image(&fake, "web", "");
}

#[test]
fn images_are_found_by_name_and_tags() {
    let fake = unsigned();
    let tag = |value: &str| {
        format!(
            "TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=m&\
             TagSpecification.1.Tag.1.Value={value}"
        )
    };
    let (a, b) = (
        image(&fake, "web-1", &tag("web")),
        image(&fake, "db-1", &tag("db")),
    );
    for (form, expected) in [
        ("Filter.1.Name=name&Filter.1.Value.1=web-*", vec![&a]),
        ("Filter.1.Name=tag:m&Filter.1.Value.1=db", vec![&b]),
        (
            "Filter.1.Name=tag-key&Filter.1.Value.1=m&Filter.2.Name=state&Filter.2.Value.1=available&Filter.3.Name=name&Filter.3.Value.1=db-1",
            vec![&b],
        ),
        ("Owner.1=111111111111", vec![]),
        (
            &format!("Filter.1.Name=image-id&Filter.1.Value.1={a}"),
            vec![&a],
        ),
        ("Filter.1.Name=state&Filter.1.Value.1=pending", vec![]),
    ] {
        let answer = ok(&fake, "DescribeImages", form);
        let found = crate::query::all(&answer, "imageId");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{form}");
    }
    refused(
        &ec2(
            &fake,
            "DescribeImages",
            "Filter.1.Name=mood&Filter.1.Value.1=x",
        ),
        400,
        "InvalidParameterValue",
    );
    for number in 0..9 {
        image(&fake, &format!("more-{number}"), "");
    }
    let pages = pages(&fake, "DescribeImages", "imageId");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 1]);
}

#[test]
fn a_new_image_may_be_pending_or_unseen() {
    let fake = with(Faults {
        describe_lag_ms: 300,
        life: Life {
            image_ms: 600,
            ..Life::default()
        },
        ..Faults::default()
    });
    let id = image(&fake, "slow", "");
    let describe = || ec2(&fake, "DescribeImages", &format!("ImageId.1={id}"));
    refused(&describe(), 400, "InvalidAMIID.NotFound");
    assert!(!ok(&fake, "DescribeImages", "").text().contains(&id));
    let states = crate::client::eventually(|| describe().element("imageState"));
    assert_eq!(states, "pending");
    refused(
        &crate::query::try_run(&fake, &id, ""),
        400,
        "InvalidAMIID.Unavailable",
    );
    crate::client::eventually(|| {
        (describe().element("imageState").as_deref() == Some("available")).then_some(())
    });
}

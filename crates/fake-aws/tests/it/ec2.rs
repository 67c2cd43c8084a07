//! The actions of EC2 around snapshots.

use crate::client::{
    Answer, block, complete, completed, id, put, send, start, started, unsigned, with,
};
use crate::query::{all, ec2, refused};
use fake_aws::{Action, Faults};
use std::time::Duration;

/// The ids of the snapshots in an answer, in their order.
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    all(answer, "snapshotId")
}

#[test]
fn describe_tells_what_a_snapshot_is() {
    let fake = unsigned();
    let body = r#"{"VolumeSize":3,"Encrypted":true,"Description":"a <b> & c",
                   "Tags":[{"Key":"rehost:machine","Value":"web"}]}"#;
    let id = id(&start(&fake, body));
    let describe = || ec2(&fake, "DescribeSnapshots", &format!("SnapshotId.1={id}"));
    let answer = describe();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/xml;charset=UTF-8")
    );
    for (name, value) in [
        ("snapshotId", id.as_str()),
        ("status", "pending"),
        ("progress", "0%"),
        ("volumeSize", "3"),
        ("encrypted", "true"),
        ("ownerId", "123456789012"),
        ("description", "a &lt;b&gt; &amp; c"),
        ("key", "rehost:machine"),
        ("value", "web"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{name}");
    }
    let time = answer.element("startTime").expect("a time");
    assert!(
        time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
        "{time}"
    );
    complete(&fake, &id, 1);
    let answer = describe();
    assert_eq!(answer.element("status").as_deref(), Some("error"));
    assert!(
        answer
            .element("statusMessage")
            .expect("why")
            .contains("0 blocks were put")
    );
    let good = completed(&fake, None, &[]);
    let answer = ec2(&fake, "DescribeSnapshots", &format!("SnapshotId.1={good}"));
    assert_eq!(answer.element("status").as_deref(), Some("completed"));
    assert_eq!(answer.element("progress").as_deref(), Some("100%"));
}

#[test]
fn filters_choose_snapshots() {
    let fake = unsigned();
    let make = |machine: &str, role: &str| {
        let body = format!(
            r#"{{"VolumeSize":1,"Tags":[{{"Key":"rehost:machine","Value":"{machine}"}},
                {{"Key":"rehost:role","Value":"{role}"}}]}}"#
        );
        id(&start(&fake, &body))
    };
    let (a, b, c) = (
        make("web-1", "staging"),
        make("web-1", "converted"),
        make("web-2", "staging"),
    );
    complete(&fake, &a, 0);
    let describe = |form: &str| {
        let mut found = ids(&ec2(&fake, "DescribeSnapshots", form));
        found.sort();
        found
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    let machine = "Filter.1.Name=tag%3Arehost%3Amachine&Filter.1.Value.1=web-1";
    assert_eq!(describe("Owner.1=self"), sorted(&[&a, &b, &c]));
    assert_eq!(describe("Owner.1=111111111111"), sorted(&[]));
    assert_eq!(describe(machine), sorted(&[&a, &b]));
    let both = format!("{machine}&Filter.2.Name=tag%3Arehost%3Arole&Filter.2.Value.1=staging");
    assert_eq!(describe(&both), sorted(&[&a]));
    let either = "Filter.1.Name=tag:rehost:machine&Filter.1.Value.1=web-2&Filter.1.Value.2=x";
    assert_eq!(describe(either), sorted(&[&c]));
    assert_eq!(
        describe("Filter.1.Name=tag:rehost:machine&Filter.1.Value.1=web-*"),
        sorted(&[&a, &b, &c])
    );
    assert_eq!(
        describe("Filter.1.Name=tag-key&Filter.1.Value.1=rehost%3A*"),
        sorted(&[&a, &b, &c])
    );
    assert_eq!(
        describe("Filter.1.Name=status&Filter.1.Value.1=pending"),
        sorted(&[&b, &c])
    );
    assert_eq!(
        describe(&format!("Filter.1.Name=snapshot-id&Filter.1.Value.1={c}")),
        sorted(&[&c])
    );
    refused(
        &ec2(
            &fake,
            "DescribeSnapshots",
            "Filter.1.Name=mood&Filter.1.Value.1=x",
        ),
        400,
        "InvalidParameterValue",
    );
}

#[test]
fn describe_comes_in_pages() {
    let fake = unsigned();
    let all: Vec<String> = (0..12).map(|_| started(&fake)).collect();
    let (mut found, mut sizes, mut more) = (Vec::new(), Vec::new(), String::new());
    loop {
        let answer = ec2(&fake, "DescribeSnapshots", &format!("MaxResults=5{more}"));
        sizes.push(ids(&answer).len());
        found.extend(ids(&answer));
        let Some(next) = answer.element("nextToken") else {
            break;
        };
        more = format!("&NextToken={}", crate::client::encoded(&next));
    }
    assert_eq!(sizes, [5, 5, 2]);
    found.sort();
    let mut all = all;
    all.sort();
    assert_eq!(found, all);
    refused(
        &ec2(&fake, "DescribeSnapshots", "MaxResults=4"),
        400,
        "InvalidParameterValue",
    );
    refused(
        &ec2(&fake, "DescribeSnapshots", "NextToken=x"),
        400,
        "InvalidParameterValue",
    );
    let form = format!("MaxResults=5&SnapshotId.1={}", all[0]);
    refused(
        &ec2(&fake, "DescribeSnapshots", &form),
        400,
        "InvalidParameterCombination",
    );
}

#[test]
fn unknown_ids_and_actions_are_refused() {
    let fake = unsigned();
    let snapshot = completed(&fake, None, &[]);
    for (form, code) in [
        ("SnapshotId.1=snap-0123", "InvalidSnapshot.NotFound"),
        ("SnapshotId.1=snap-XYZ", "InvalidSnapshotID.Malformed"),
        (
            &format!("SnapshotId.1={snapshot}&SnapshotId.2=snap-0"),
            "InvalidSnapshot.NotFound",
        ),
    ] {
        refused(&ec2(&fake, "DescribeSnapshots", form), 400, code);
    }
    refused(
        &ec2(&fake, "DeleteSnapshot", "SnapshotId=snap-0"),
        400,
        "InvalidSnapshot.NotFound",
    );
    refused(&ec2(&fake, "DeleteSnapshot", ""), 400, "MissingParameter");
    refused(
        &ec2(&fake, "RunScheduledInstances", ""),
        400,
        "InvalidAction",
    );
    refused(
        &ec2(&fake, "DescribeSnapshots", "Mood=good"),
        400,
        "UnknownParameter",
    );
    let old = send(
        &fake,
        "POST",
        "/",
        &[],
        b"Action=DescribeSnapshots&Version=2010-01-01",
    );
    refused(&old, 400, "InvalidParameterValue");
}

#[test]
fn a_deleted_snapshot_leaves_its_children_whole() {
    let fake = unsigned();
    let parent = completed(&fake, None, &[(0, 1)]);
    let child = completed(&fake, Some(&parent), &[(1, 2)]);
    let dry = ec2(
        &fake,
        "DeleteSnapshot",
        &format!("SnapshotId={parent}&DryRun=true"),
    );
    refused(&dry, 412, "DryRunOperation");
    let answer = ec2(&fake, "DeleteSnapshot", &format!("SnapshotId={parent}"));
    assert_eq!(
        (answer.status, answer.element("return").as_deref()),
        (200, Some("true"))
    );
    assert!(fake.snapshot(&parent).is_none());
    assert_eq!(fake.snapshot_content(&child).expect("content").len(), 2);
    // A pending one goes too, and its puts find nothing.
    let pending = started(&fake);
    ec2(&fake, "DeleteSnapshot", &format!("SnapshotId={pending}"));
    assert_eq!(put(&fake, &pending, 0, &block(1)).status, 404);
}

#[test]
fn tags_are_added_and_replaced() {
    let fake = unsigned();
    let (one, two) = (started(&fake), started(&fake));
    let form = format!(
        "ResourceId.1={one}&ResourceId.2={two}&Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b+c&Tag.2.Value=%C3%BC"
    );
    assert_eq!(ec2(&fake, "CreateTags", &form).status, 200);
    ec2(
        &fake,
        "CreateTags",
        &format!("ResourceId.1={one}&Tag.1.Key=a&Tag.1.Value=2"),
    );
    let tags = |id: &str| {
        let tags = fake.snapshot(id).expect("it").tags;
        tags.into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(tags(&one), ["a=2", "b c=ü"]);
    assert_eq!(tags(&two), ["a=1", "b c=ü"]);
    let many: Vec<String> = (1..=49).map(|n| format!("Tag.{n}.Key=k{n}")).collect();
    let form = format!("ResourceId.1={two}&ResourceId.2={one}&{}", many.join("&"));
    refused(&ec2(&fake, "CreateTags", &form), 400, "TagLimitExceeded");
    assert_eq!(tags(&two).len(), 2, "none of them");
    for (form, code) in [
        (format!("ResourceId.1={one}"), "MissingParameter"),
        ("Tag.1.Key=a".into(), "MissingParameter"),
        (
            format!("ResourceId.1={one}&Tag.1.Key=aws:a"),
            "InvalidParameterValue",
        ),
        (
            format!("ResourceId.1={one}&Tag.1.Key={}", "k".repeat(129)),
            "InvalidParameterValue",
        ),
        ("ResourceId.1=x-0123&Tag.1.Key=a".into(), "InvalidID"),
        (
            "ResourceId.1=i-0123&Tag.1.Key=a".into(),
            "InvalidInstanceID.NotFound",
        ),
        (
            "ResourceId.1=snap-0&Tag.1.Key=a".into(),
            "InvalidSnapshot.NotFound",
        ),
    ] {
        refused(&ec2(&fake, "CreateTags", &form), 400, code);
    }
}

#[test]
fn ec2_has_its_own_words_for_faults() {
    let fake = with(Faults {
        denied: [Action::DescribeSnapshots].into(),
        ..Faults::default()
    });
    let describe = || ec2(&fake, "DescribeSnapshots", "");
    refused(&describe(), 403, "UnauthorizedOperation");
    assert!(describe().text().contains("ec2:DescribeSnapshots"));
    fake.set_faults(Faults {
        expired_credentials: true,
        ..Faults::default()
    });
    refused(&describe(), 400, "RequestExpired");
    fake.set_faults(Faults {
        throttle: fake_aws::Chance::next(1),
        ..Faults::default()
    });
    refused(&describe(), 503, "RequestLimitExceeded");
    fake.set_faults(Faults {
        server_error: fake_aws::Chance::next(1),
        ..Faults::default()
    });
    refused(&describe(), 500, "InternalError");
    assert_eq!(describe().status, 200);
}

#[test]
fn describe_lags_behind_when_told_to() {
    let fake = with(Faults {
        describe_lag_ms: 600,
        ..Faults::default()
    });
    let id = started(&fake);
    let describe = || ec2(&fake, "DescribeSnapshots", &format!("SnapshotId.1={id}"));
    refused(&describe(), 400, "InvalidSnapshot.NotFound");
    std::thread::sleep(Duration::from_millis(650));
    assert_eq!(ids(&describe()), [id.as_str()]);
}

#[test]
fn encryption_by_default_can_be_asked_for() {
    let fake = unsigned();
    let ask = || ec2(&fake, "GetEbsEncryptionByDefault", "").element("ebsEncryptionByDefault");
    assert_eq!(ask().as_deref(), Some("false"));
    fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    assert_eq!(ask().as_deref(), Some("true"));
}

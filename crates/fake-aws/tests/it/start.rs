//! StartSnapshot.

use crate::client::{complete, completed, id, refused, start, started, status, unsigned, with};
use fake_aws::{Action, Config, FakeAws, Faults, Signatures};

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[test]
fn an_answer_has_what_was_asked_for() {
    let fake = unsigned();
    let answer = start(
        &fake,
        r#"{"VolumeSize":7,"Description":"d","Tags":[{"Key":"k","Value":"v"}],"Timeout":4320,
            "ClientToken":"t","SomethingNew":1}"#,
    );
    assert_eq!(answer.status, 201);
    let body = answer.json();
    assert_eq!(body["VolumeSize"], 7);
    assert_eq!(body["BlockSize"], 524_288);
    assert_eq!(body["Status"], "pending");
    assert_eq!(body["Description"], "d");
    assert_eq!(body["Tags"][0]["Value"], "v");
    assert_eq!(body["OwnerId"], "123456789012");
    assert!(body["StartTime"].is_f64());
    assert!(body.get("KmsKeyArn").is_none() && body.get("ParentSnapshotId").is_none());
    let id = id(&answer);
    assert!(id.starts_with("snap-0") && id.len() == 22, "{id}");
    assert!(answer.header("x-amzn-requestid").is_some());
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let fake = unsigned();
    let tags = |count: usize| {
        let tags: Vec<String> = (0..count)
            .map(|n| format!(r#"{{"Key":"k{n}","Value":""}}"#))
            .collect();
        format!(r#""VolumeSize":1,"Tags":[{}]"#, tags.join(","))
    };
    let tag = |key: &str, value: &str| {
        format!(r#""VolumeSize":1,"Tags":[{{"Key":"{key}","Value":"{value}"}}]"#)
    };
    let long = |length: usize| "x".repeat(length);
    let size = "INVALID_VOLUME_SIZE";
    let value = "INVALID_PARAMETER_VALUE";
    for (body, reason) in [
        (String::new(), size),
        (r#""VolumeSize":0"#.into(), size),
        (r#""VolumeSize":-1"#.into(), size),
        (r#""VolumeSize":65537"#.into(), size),
        (r#""VolumeSize":70000"#.into(), size),
        (r#""VolumeSize":1,"Timeout":9"#.into(), value),
        (r#""VolumeSize":1,"Timeout":4321"#.into(), value),
        (
            format!(r#""VolumeSize":1,"Description":"{}""#, long(256)),
            value,
        ),
        (
            format!(r#""VolumeSize":1,"ClientToken":"{}""#, long(65)),
            value,
        ),
        (r#""VolumeSize":1,"ClientToken":"a b""#.into(), value),
        (r#""VolumeSize":1,"ClientToken":"""#.into(), value),
        (tags(51), "INVALID_TAG"),
        (tag(&long(128), ""), "INVALID_TAG"),
        (tag("", ""), "INVALID_TAG"),
        (tag("k", &long(256)), "INVALID_TAG"),
        (tag("aws:k", ""), "INVALID_TAG"),
        (
            r#""VolumeSize":1,"Tags":[{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}]"#.into(),
            "INVALID_TAG",
        ),
        (
            r#""VolumeSize":1,"KmsKeyArn":"alias/mine""#.into(),
            "INVALID_CUSTOMER_KEY",
        ),
        (
            r#""VolumeSize":1,"KmsKeyArn":"arn:aws:kms:us-east-1:1234:key/a""#.into(),
            "INVALID_CUSTOMER_KEY",
        ),
        (
            r#""VolumeSize":1,"KmsKeyArn":"arn:aws:kms:us-east-1:123456789012:alias/a""#.into(),
            "INVALID_CUSTOMER_KEY",
        ),
        (
            format!(r#""VolumeSize":1,"Encrypted":false,"KmsKeyArn":"{KEY}""#),
            value,
        ),
        (
            r#""VolumeSize":1,"ParentSnapshotId":"snap-XYZ""#.into(),
            "INVALID_SNAPSHOT_ID",
        ),
    ] {
        let answer = start(&fake, &format!("{{{body}}}"));
        refused(&answer, 400, "ValidationException", reason);
    }
    refused(
        &start(&fake, r#"{"VolumeSize":"1"}"#),
        400,
        "SerializationException",
        "",
    );
    assert!(fake.snapshots().is_empty());
    // Just within.
    for body in [
        r#""VolumeSize":65536,"Timeout":10"#.to_owned(),
        tags(50),
        tag(&long(127), &long(255)),
        format!(
            r#""VolumeSize":1,"ClientToken":"{}","Description":"{}""#,
            long(64),
            long(255)
        ),
    ] {
        id(&start(&fake, &format!("{{{body}}}")));
    }
}

#[test]
fn a_parent_must_exist_be_completed_and_not_be_larger() {
    let fake = unsigned();
    let child = |parent: &str| {
        start(
            &fake,
            &format!(r#"{{"VolumeSize":1,"ParentSnapshotId":"{parent}"}}"#),
        )
    };
    refused(
        &child("snap-0"),
        404,
        "ResourceNotFoundException",
        "SNAPSHOT_NOT_FOUND",
    );
    refused(
        &child(&started(&fake)),
        400,
        "ValidationException",
        "INVALID_SNAPSHOT_ID",
    );
    let large = id(&start(&fake, r#"{"VolumeSize":2}"#));
    complete(&fake, &large, 0);
    refused(
        &child(&large),
        400,
        "ValidationException",
        "INVALID_VOLUME_SIZE",
    );
    let good = completed(&fake, None, &[]);
    assert_eq!(child(&good).json()["ParentSnapshotId"], good);
}

#[test]
fn a_parent_excludes_encrypted_and_a_key() {
    let fake = unsigned();
    let parent = completed(&fake, None, &[]);
    for more in [
        r#""Encrypted":true"#,
        r#""Encrypted":false"#,
        &format!(r#""KmsKeyArn":"{KEY}""#),
    ] {
        let answer = start(
            &fake,
            &format!(r#"{{"VolumeSize":1,"ParentSnapshotId":"{parent}",{more}}}"#),
        );
        refused(
            &answer,
            400,
            "ValidationException",
            "INVALID_PARAMETER_VALUE",
        );
    }
}

#[test]
fn encryption_follows_the_table_of_the_guide() {
    let fake = unsigned();
    let default_key = Config::default().default_key;
    let key = |more: &str| {
        let answer = start(&fake, &format!(r#"{{"VolumeSize":1{more}}}"#));
        if answer.status != 201 {
            refused(
                &answer,
                400,
                "ValidationException",
                "INVALID_PARAMETER_VALUE",
            );
            return Err(());
        }
        Ok(answer.json()["KmsKeyArn"].as_str().map(str::to_owned))
    };
    let with_key = format!(r#","KmsKeyArn":"{KEY}""#);
    let plain = completed(&fake, None, &[]);
    let child_of_plain = format!(r#","ParentSnapshotId":"{plain}""#);
    let secret = id(&start(&fake, &format!(r#"{{"VolumeSize":1{with_key}}}"#)));
    complete(&fake, &secret, 0);
    let child_of_secret = format!(r#","ParentSnapshotId":"{secret}""#);

    assert_eq!(key(""), Ok(None));
    assert_eq!(key(r#","Encrypted":true"#), Ok(Some(default_key.clone())));
    assert_eq!(key(r#","Encrypted":false"#), Ok(None));
    assert_eq!(key(&with_key), Ok(Some(KEY.into())));
    assert_eq!(
        key(&format!(r#"{with_key},"Encrypted":true"#)),
        Ok(Some(KEY.into()))
    );
    assert_eq!(key(&child_of_plain), Ok(None));
    assert_eq!(key(&child_of_secret), Ok(Some(KEY.into())));

    fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    assert_eq!(key(""), Ok(Some(default_key)));
    assert_eq!(key(r#","Encrypted":false"#), Err(()));
    assert_eq!(key(&with_key), Ok(Some(KEY.into())));
    assert_eq!(key(&child_of_plain), Err(()));
    assert_eq!(key(&child_of_secret), Ok(Some(KEY.into())));
}

#[test]
fn a_key_that_does_not_exist_is_refused() {
    let config = Config {
        signatures: Signatures::Off,
        keys: vec![KEY.into()],
        ..Config::default()
    };
    let fake = FakeAws::start(config).expect("a fake");
    let known = start(&fake, &format!(r#"{{"VolumeSize":1,"KmsKeyArn":"{KEY}"}}"#));
    assert_eq!(known.status, 201);
    let unknown = KEY.replace("1234abcd", "aaaaaaaa");
    let answer = start(
        &fake,
        &format!(r#"{{"VolumeSize":1,"KmsKeyArn":"{unknown}"}}"#),
    );
    refused(&answer, 400, "ValidationException", "INVALID_CUSTOMER_KEY");
}

#[test]
fn a_client_token_finds_its_snapshot_again() {
    let fake = unsigned();
    let body = r#"{"VolumeSize":1,"ClientToken":"token","Description":"d"}"#;
    let first = id(&start(&fake, body));
    assert_eq!(id(&start(&fake, body)), first);
    complete(&fake, &first, 0);
    let again = start(&fake, body);
    assert_eq!(again.json()["Status"], "completed");
    assert_eq!(id(&again), first);
    for other in [
        r#"{"VolumeSize":2,"ClientToken":"token","Description":"d"}"#,
        r#"{"VolumeSize":1,"ClientToken":"token"}"#,
        r#"{"VolumeSize":1,"ClientToken":"token","Description":"d","Tags":[{"Key":"k"}]}"#,
    ] {
        refused(&start(&fake, other), 409, "ConflictException", "");
    }
    let other = r#"{"VolumeSize":1,"ClientToken":"Token","Description":"d"}"#;
    assert_ne!(id(&start(&fake, other)), first);
    assert_eq!(fake.snapshots().len(), 2);
}

#[test]
fn one_token_from_many_threads_makes_one_snapshot() {
    let fake = unsigned();
    let body = r#"{"VolumeSize":1,"ClientToken":"token"}"#;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| id(&start(&fake, body)));
        }
    });
    assert_eq!(fake.snapshots().len(), 1);
}

#[test]
fn pending_snapshots_and_all_snapshots_have_their_quotas() {
    let fake = unsigned();
    let ids: Vec<String> = (0..100).map(|_| started(&fake)).collect();
    let body = r#"{"VolumeSize":1}"#;
    refused(
        &start(&fake, body),
        400,
        "ConcurrentLimitExceededException",
        "",
    );
    complete(&fake, &ids[0], 0);
    assert_eq!(start(&fake, body).status, 201);

    let config = Config {
        signatures: Signatures::Off,
        snapshot_limit: 1,
        ..Config::default()
    };
    let fake = FakeAws::start(config).expect("a fake");
    started(&fake);
    let answer = start(&fake, body);
    refused(
        &answer,
        402,
        "ServiceQuotaExceededException",
        "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
    );
}

#[test]
fn tags_need_the_permission_to_tag() {
    let fake = with(Faults {
        denied: [Action::CreateTags].into(),
        ..Faults::default()
    });
    let answer = start(
        &fake,
        r#"{"VolumeSize":1,"Tags":[{"Key":"k","Value":"v"}]}"#,
    );
    refused(
        &answer,
        403,
        "AccessDeniedException",
        "DEPENDENCY_ACCESS_DENIED",
    );
    assert!(
        answer.text().contains("ec2:CreateTags"),
        "{}",
        answer.text()
    );
    assert_eq!(status(&fake, &started(&fake)), "pending");
}

//! The switches, the log, the control endpoint, and the program.

use crate::client::{
    Answer, block, complete, completed, encoded, get, put, refused, send, start, started, try_put,
    try_send, unsigned, with,
};
use fake_aws::{Action, Chance, FakeAws, Faults, Limits};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn every_nth_request_meets_a_5xx() {
    let fake = with(Faults {
        server_error: Chance::every(3),
        ..Faults::default()
    });
    let statuses: Vec<u16> = (0..6)
        .map(|_| start(&fake, r#"{"VolumeSize":1}"#).status)
        .collect();
    assert_eq!(statuses, [201, 201, 500, 201, 201, 500]);
    let log = fake.log();
    assert_eq!(log[2].fault, Some("server_error"));
    assert_eq!(log[2].error.as_deref(), Some("InternalServerException"));
    assert_eq!(fake.snapshots().len(), 4);
}

#[test]
fn a_slow_line_is_shared_by_those_who_send() {
    let fake = with(Faults {
        line_bytes_per_second: 4 << 20,
        ..Faults::default()
    });
    let id = started(&fake);
    let from = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..4 {
            let (fake, id) = (&fake, &id);
            scope.spawn(move || assert_eq!(put(fake, id, index, &block(1)).status, 201));
        }
    });
    // 2 MiB.
    assert!(from.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_refused_put_reads_its_block_so_that_the_answer_arrives() {
    let fake = unsigned();
    let id = started(&fake);
    fake.set_faults(Faults {
        server_error: Chance::every(1),
        ..Faults::default()
    });
    for _ in 0..20 {
        refused(
            &put(&fake, &id, 0, &block(1)),
            500,
            "InternalServerException",
            "",
        );
    }
}

#[test]
fn throttling_comes_in_every_spelling() {
    let fake = unsigned();
    let id = started(&fake);
    fake.set_faults(Faults {
        throttle: Chance::every(1),
        ..Faults::default()
    });
    let mut seen: Vec<(u16, String, String)> = (0..40)
        .map(|_| put(&fake, &id, 0, &block(1)).error())
        .collect();
    seen.sort();
    seen.dedup();
    let request = |reason: &str| (400, "RequestThrottledException".into(), reason.into());
    assert_eq!(
        seen,
        [
            request("ACCOUNT_THROTTLED"),
            request("DEPENDENCY_REQUEST_THROTTLED"),
            (400, "ThrottlingException".into(), String::new()),
        ]
    );
    assert_eq!(fake.counter(Action::PutSnapshotBlock).throttled, 40);
}

/// Puts as fast as it goes for a while; how many were answered with success.
fn hammer(fake: &FakeAws, id: &str, time: Duration) -> usize {
    let (begin, bytes) = (Instant::now(), block(1));
    let mut accepted = 0;
    while begin.elapsed() < time {
        accepted += usize::from(put(fake, id, 0, &bytes).status == 201);
    }
    accepted
}

#[test]
fn the_rate_of_an_account_and_of_a_snapshot_is_kept() {
    let fake = unsigned();
    let id = started(&fake);
    let limits = Limits {
        put: Some(20.0),
        ..Limits::default()
    };
    fake.set_faults(Faults {
        limits,
        ..Faults::default()
    });
    let accepted = hammer(&fake, &id, Duration::from_millis(1500));
    assert!((10..=33).contains(&accepted), "{accepted} in 1.5 s at 20/s");
    let counter = fake.counter(Action::PutSnapshotBlock);
    assert!(counter.peak_ok <= 23, "{counter:?}");
    assert!(
        counter.throttled > 0 && counter.peak > counter.peak_ok,
        "{counter:?}"
    );
    assert!(
        fake.log()
            .iter()
            .any(|it| it.error.as_deref() == Some("ThrottlingException"))
    );

    let limits = Limits {
        put_snapshot: Some(1.0),
        ..Limits::default()
    };
    fake.set_faults(Faults {
        limits,
        ..Faults::default()
    });
    let other = started(&fake);
    let first = [&id, &other].map(|id| put(&fake, id, 0, &block(1)).status);
    assert_eq!(first, [201, 201], "each has its own");
    let answer = put(&fake, &id, 0, &block(1));
    refused(
        &answer,
        400,
        "RequestThrottledException",
        "RESOURCE_LEVEL_THROTTLE",
    );
}

#[test]
fn other_actions_have_their_own_rates() {
    let fake = unsigned();
    let id = completed(&fake, None, &[]);
    let one = Some(1.0);
    let limits = Limits {
        list: one,
        start: one,
        complete: one,
        ec2: one,
        ..Limits::default()
    };
    fake.set_faults(Faults {
        limits,
        ..Faults::default()
    });
    let describe = || {
        send(
            &fake,
            "POST",
            "/",
            &[],
            b"Action=DescribeSnapshots&Version=2016-11-15",
        )
    };
    let list = || get(&fake, &format!("/snapshots/{id}/blocks"));
    let new = || start(&fake, r#"{"VolumeSize":1}"#);
    let done = || complete(&fake, "snap-0", 0);
    let twice = |request: &dyn Fn() -> Answer| [request().status, request().status];
    assert_eq!(twice(&list), [200, 400]);
    assert_eq!(twice(&new), [201, 400]);
    assert_eq!(twice(&done), [404, 400]);
    assert_eq!(twice(&describe), [200, 503]);
    let quotas = Limits::quotas();
    assert_eq!(
        (quotas.put, quotas.list, quotas.start),
        (Some(1000.0), Some(50.0), Some(10.0))
    );
}

#[test]
fn a_reset_before_undoes_and_a_reset_after_hides() {
    let fake = unsigned();
    let id = started(&fake);
    fake.set_faults(Faults {
        reset_before: Chance::next(1),
        ..Faults::default()
    });
    let error = try_put(&fake, &id, 0, &block(1)).expect_err("a reset");
    assert!(is_reset(&error), "{error:?}");
    assert_eq!(fake.snapshot(&id).expect("it").own_blocks, 0);
    fake.set_faults(Faults {
        reset_after: Chance::next(1),
        ..Faults::default()
    });
    let error = try_put(&fake, &id, 0, &block(1)).expect_err("a reset");
    assert!(is_reset(&error), "{error:?}");
    assert_eq!(fake.snapshot(&id).expect("it").own_blocks, 1);
    let log = fake.log();
    let seen: Vec<_> = log
        .iter()
        .map(|entry| (entry.status, entry.fault))
        .collect();
    assert_eq!(
        seen,
        [
            (201, None),
            (0, Some("reset_before")),
            (0, Some("reset_after"))
        ]
    );
    assert_eq!(put(&fake, &id, 1, &block(1)).status, 201);
}

fn is_reset(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe)
}

/// A completed snapshot with one block, and the path to read it.
fn readable(fake: &FakeAws) -> String {
    let id = completed(fake, None, &[(0, 1)]);
    let body = get(fake, &format!("/snapshots/{id}/blocks")).json();
    let token = encoded(body["Blocks"][0]["BlockToken"].as_str().expect("a token"));
    format!("/snapshots/{id}/blocks/0?blockToken={token}")
}

#[test]
fn a_body_breaks_off_or_comes_slowly() {
    let fake = unsigned();
    let path = readable(&fake);
    fake.set_faults(Faults {
        reset_in_body: Chance::next(1),
        ..Faults::default()
    });
    let error = try_send(fake.address(), "GET", &path, &[], b"").expect_err("half a body");
    assert!(
        is_reset(&error) || error.kind() == std::io::ErrorKind::UnexpectedEof,
        "{error:?}"
    );
    let slow = Faults {
        slow_body: Chance::next(1),
        slow_body_ms: 320,
        ..Faults::default()
    };
    fake.set_faults(slow);
    let begin = Instant::now();
    assert_eq!(get(&fake, &path).body, block(1));
    assert!(
        begin.elapsed() >= Duration::from_millis(280),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        fake.log().last().expect("an entry").took_us < 280_000,
        "the head was not late"
    );
    assert_eq!(get(&fake, &path).body, block(1));
}

#[test]
fn latency_is_had_by_many_at_once() {
    let fake = with(Faults {
        latency_ms: 200,
        ..Faults::default()
    });
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| started(&fake));
        }
    });
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
}

#[test]
fn a_young_snapshot_is_not_found_by_puts() {
    let fake = with(Faults {
        not_found_ms: 600,
        ..Faults::default()
    });
    let id = started(&fake);
    let answer = put(&fake, &id, 0, &block(1));
    refused(
        &answer,
        404,
        "ResourceNotFoundException",
        "SNAPSHOT_NOT_FOUND",
    );
    std::thread::sleep(Duration::from_millis(650));
    assert_eq!(put(&fake, &id, 0, &block(1)).status, 201);
}

#[test]
fn a_denied_action_is_named() {
    let fake = with(Faults {
        denied: [Action::PutSnapshotBlock].into(),
        ..Faults::default()
    });
    let id = started(&fake);
    let answer = put(&fake, &id, 0, &block(1));
    refused(
        &answer,
        403,
        "AccessDeniedException",
        "UNAUTHORIZED_ACCOUNT",
    );
    assert!(
        answer.text().contains("ebs:PutSnapshotBlock"),
        "{}",
        answer.text()
    );
    fake.set_faults(Faults {
        expired_credentials: true,
        ..Faults::default()
    });
    refused(
        &put(&fake, &id, 0, &block(1)),
        403,
        "ExpiredTokenException",
        "",
    );
}

#[test]
fn a_signature_that_is_too_old_is_good_when_it_is_made_again() {
    let fake = with(Faults {
        expired_signature: Chance::next(1).of([Action::PutSnapshotBlock]),
        ..Faults::default()
    });
    let id = started(&fake);
    let answer = put(&fake, &id, 0, &block(1));
    refused(&answer, 403, "InvalidSignatureException", "");
    assert!(answer.text().contains("Signature expired"));
    assert_eq!(fake.log().last().unwrap().fault, Some("expired_signature"));
    assert_eq!(put(&fake, &id, 0, &block(1)).status, 201);
}

#[test]
fn failed_to_read_is_a_validation_error_without_a_reason() {
    let fake = with(Faults {
        failed_to_read: Chance::next(1),
        ..Faults::default()
    });
    let id = started(&fake);
    let answer = put(&fake, &id, 0, &block(1));
    refused(&answer, 400, "ValidationException", "");
    assert!(answer.text().contains("Failed to read block data"));
    assert_eq!(put(&fake, &id, 0, &block(1)).status, 201);
}

#[test]
fn the_log_says_who_asked_for_what() {
    let fake = unsigned();
    let id = started(&fake);
    put(&fake, &id, 7, &block(1));
    put(&fake, &id, 4096, &block(1));
    let log = fake.log();
    let seen: Vec<_> = log
        .iter()
        .map(|it| {
            (
                it.number,
                it.method.as_str(),
                it.action,
                it.index,
                it.status,
                it.body,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, "POST", Action::StartSnapshot, None, 201, 16),
            (2, "PUT", Action::PutSnapshotBlock, Some(7), 201, 524_288),
            (3, "PUT", Action::PutSnapshotBlock, Some(4096), 400, 524_288),
        ]
    );
    assert!(
        log.iter()
            .all(|entry| entry.snapshot.as_deref() == Some(id.as_str()))
    );
    let counter = fake.counter(Action::PutSnapshotBlock);
    assert_eq!((counter.requests, counter.ok, counter.failed), (2, 1, 1));
    assert_eq!(
        (
            fake.peak(),
            get(&fake, "/_control/peak").json()["requests_per_second"].as_u64()
        ),
        (3, Some(3))
    );
    fake.clear_log();
    assert!(fake.log().is_empty() && fake.counters().is_empty() && fake.peak() == 0);
}

#[test]
fn the_control_endpoint_does_what_the_value_does() {
    let fake = unsigned();
    let id = started(&fake);
    put(&fake, &id, 7, &block(0));
    let log = get(&fake, "/_control/log?since=1").json();
    assert_eq!(log.as_array().map(Vec::len), Some(1));
    assert_eq!(log[0]["action"], "PutSnapshotBlock");
    assert_eq!(log[0]["index"], 7);
    assert_eq!(
        get(&fake, "/_control/counters").json()["PutSnapshotBlock"]["ok"],
        1
    );
    let snapshot = get(&fake, &format!("/_control/snapshots/{id}")).json();
    assert_eq!(snapshot["status"], "pending");
    assert_eq!(snapshot["effective"][0][0], 7);
    assert!(
        snapshot["effective"][0][1]
            .as_str()
            .expect("hex")
            .starts_with("07854d2f")
    );
    assert_eq!(get(&fake, "/_control/snapshots").json()[0]["id"], id);
    let faults =
        br#"{"latency_ms":3,"denied":["StartSnapshot"],"throttle":{"every":2},"limits":{"put":5}}"#;
    assert_eq!(
        send(&fake, "PUT", "/_control/faults", &[], faults).status,
        200
    );
    let set = fake.faults();
    assert_eq!(
        (set.latency_ms, set.throttle.every, set.limits.put),
        (3, 2, Some(5.0))
    );
    assert_eq!(get(&fake, "/_control/faults").json()["latency_ms"], 3);
    assert_eq!(
        send(&fake, "PUT", "/_control/faults", &[], br#"{"latencyms":3}"#).status,
        400
    );
    assert_eq!(
        send(&fake, "POST", "/_control/expire", &[], b"").json()["expired"],
        1
    );
    assert_eq!(fake.snapshot(&id).expect("it").status, "error");
    assert_eq!(send(&fake, "DELETE", "/_control/log", &[], b"").status, 200);
    assert!(fake.log().is_empty());
    assert_eq!(get(&fake, "/_control/nothing").status, 404);
}

#[test]
fn it_stops_when_dropped_even_with_a_connection_open() {
    let fake = unsigned();
    let address = fake.address();
    let open = std::net::TcpStream::connect(address).expect("a connection");
    let begin = Instant::now();
    fake.stop();
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(try_send(address, "GET", "/_control/log", &[], b"").is_err());
    drop(open);
}

#[test]
fn the_program_prints_its_address_and_serves() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-aws"))
        .args([
            "--no-signatures",
            "--digests-only",
            "--faults",
            r#"{"encryption_by_default":true}"#,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line
        .trim()
        .strip_prefix("http://")
        .expect("a URL")
        .parse()
        .expect("an address");
    let answer = try_send(address, "POST", "/snapshots", &[], br#"{"VolumeSize":1}"#);
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    assert!(answer.expect("an answer").json()["KmsKeyArn"].is_string());
}

//! PutSnapshotBlock and CompleteSnapshot.

use crate::client::{
    block, checksum, complete, completed, eventually, put, refused, send, start, started, status,
    try_send, unsigned, with,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fake_aws::{BLOCK, Chance, Config, FakeAws, Faults, Signatures};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A put whose headers are changed: an empty value takes the header away.
fn put_with(
    fake: &FakeAws,
    path: &str,
    changes: &[(&str, &str)],
    bytes: &[u8],
) -> crate::client::Answer {
    let sum = checksum(bytes);
    let mut headers = vec![
        ("x-amz-data-length", "524288"),
        ("x-amz-checksum", sum.as_str()),
        ("x-amz-checksum-algorithm", "SHA256"),
    ];
    for change in changes {
        headers.retain(|(name, _)| name != &change.0);
        if !change.1.is_empty() {
            headers.push(*change);
        }
    }
    send(fake, "PUT", path, &headers, bytes)
}

#[test]
fn a_put_answers_its_checksum() {
    let fake = unsigned();
    let id = started(&fake);
    let answer = put(&fake, &id, 2047, &block(7));
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.header("x-amz-checksum"),
        Some(checksum(&block(7)).as_str())
    );
    assert_eq!(answer.header("x-amz-checksum-algorithm"), Some("SHA256"));
    let content = fake.snapshot_content(&id).expect("content");
    assert_eq!(content.len(), 1);
    assert_eq!(content[0].index, 2047);
    assert_eq!(content[0].data.as_deref(), Some(block(7).as_slice()));
    assert_eq!(
        content[0].digest,
        <[u8; 32]>::from(Sha256::digest(block(7)))
    );
}

#[test]
fn the_zero_block_has_the_checksum_that_others_know() {
    assert_eq!(
        checksum(&block(0)),
        "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE="
    );
}

#[test]
fn what_a_put_says_wrongly_is_refused() {
    let fake = unsigned();
    let id = started(&fake);
    let path = format!("/snapshots/{id}/blocks/0");
    for (name, value) in [
        ("x-amz-data-length", ""),
        ("x-amz-data-length", "524287"),
        ("x-amz-data-length", "1048576"),
        ("x-amz-data-length", "many"),
        ("x-amz-checksum", ""),
        ("x-amz-checksum", "AAAA"),
        ("x-amz-checksum", "not base64!"),
        ("x-amz-checksum-algorithm", ""),
        ("x-amz-checksum-algorithm", "CRC32"),
        ("x-amz-progress", "101"),
        ("x-amz-progress", "-1"),
        ("x-amz-progress", "half"),
    ] {
        let answer = put_with(&fake, &path, &[(name, value)], &block(1));
        refused(
            &answer,
            400,
            "ValidationException",
            "INVALID_PARAMETER_VALUE",
        );
    }
    let encoding = [("content-encoding", "aws-chunked")];
    let answer = put_with(&fake, &path, &encoding, &block(1));
    refused(
        &answer,
        400,
        "ValidationException",
        "INVALID_CONTENT_ENCODING",
    );
    // A hex digest is valid base64 of the wrong length: the classic mistake.
    let hex = Sha256::digest(block(1))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    let answer = put_with(&fake, &path, &[("x-amz-checksum", &hex)], &block(1));
    refused(
        &answer,
        400,
        "ValidationException",
        "INVALID_PARAMETER_VALUE",
    );
    for length in [0, 1, BLOCK - 1, BLOCK + 1, 2 * BLOCK] {
        let answer = put_with(&fake, &path, &[], &vec![1; length]);
        refused(&answer, 400, "ValidationException", "INVALID_BLOCK");
    }
    for index in ["2048", "4294967296", "2147483648", "-1", "x"] {
        let answer = put_with(
            &fake,
            &format!("/snapshots/{id}/blocks/{index}"),
            &[],
            &block(1),
        );
        refused(&answer, 400, "ValidationException", "INVALID_BLOCK");
    }
    for (id, status, kind, reason) in [
        (
            "snap-0123",
            404,
            "ResourceNotFoundException",
            "SNAPSHOT_NOT_FOUND",
        ),
        ("snap-", 400, "ValidationException", "INVALID_SNAPSHOT_ID"),
        (
            "snap-ABC",
            400,
            "ValidationException",
            "INVALID_SNAPSHOT_ID",
        ),
        (
            "vol-0123",
            400,
            "ValidationException",
            "INVALID_SNAPSHOT_ID",
        ),
    ] {
        let answer = put_with(&fake, &format!("/snapshots/{id}/blocks/0"), &[], &block(1));
        refused(&answer, status, kind, reason);
    }
    assert_eq!(fake.snapshot(&id).expect("it").own_blocks, 0);
    assert_eq!(
        put_with(&fake, &path, &[("x-amz-progress", "100")], &block(1)).status,
        201
    );
}

#[test]
fn a_wrong_checksum_looks_like_a_wrong_signature() {
    let fake = unsigned();
    let id = started(&fake);
    let path = format!("/snapshots/{id}/blocks/0");
    let other = checksum(&block(2));
    let answer = put_with(&fake, &path, &[("x-amz-checksum", &other)], &block(1));
    refused(&answer, 403, "InvalidSignatureException", "");
    assert!(
        answer
            .text()
            .contains("does not match the computed checksum"),
        "{}",
        answer.text()
    );
    assert_eq!(fake.snapshot(&id).expect("it").own_blocks, 0);
}

#[test]
fn a_body_far_too_long_is_not_read_to_its_end() {
    let fake = unsigned();
    let id = started(&fake);
    let path = format!("/snapshots/{id}/blocks/0");
    // The answer may come, or be lost when the connection is closed under the writer.
    let headers = [
        ("x-amz-data-length", "524288"),
        ("x-amz-checksum", &checksum(b"")),
        ("x-amz-checksum-algorithm", "SHA256"),
    ];
    let answer = try_send(fake.address(), "PUT", &path, &headers, &vec![0; 64 << 20]);
    assert!(answer.map_or(true, |answer| answer.status == 400));
    let read: u64 = fake.log().iter().map(|entry| entry.body).sum();
    assert!(read < 3 << 20, "{read} bytes read");
}

#[test]
fn a_block_put_again_is_overwritten_and_counts_once() {
    let fake = unsigned();
    let id = started(&fake);
    for fill in [1, 2] {
        assert_eq!(put(&fake, &id, 3, &block(fill)).status, 201);
    }
    complete(&fake, &id, 1);
    assert_eq!(status(&fake, &id), "completed");
    let content = fake.snapshot_content(&id).expect("content");
    assert_eq!(content[0].data.as_deref(), Some(block(2).as_slice()));
}

#[test]
fn nothing_is_put_or_completed_after_complete() {
    let fake = unsigned();
    let id = completed(&fake, None, &[(0, 1)]);
    let answer = put(&fake, &id, 0, &block(2));
    refused(&answer, 400, "ValidationException", "INVALID_SNAPSHOT_ID");
    refused(
        &complete(&fake, &id, 1),
        400,
        "ValidationException",
        "INVALID_SNAPSHOT_ID",
    );
    fake.set_faults(Faults {
        repeat_complete: true,
        ..Faults::default()
    });
    let again = complete(&fake, &id, 1);
    assert_eq!(
        (again.status, again.json()["Status"].as_str()),
        (202, Some("completed"))
    );
}

#[test]
fn a_block_that_is_coming_in_cannot_be_written_by_another() {
    let fake = unsigned();
    let id = started(&fake);
    let mut slow = TcpStream::connect(fake.address()).expect("a connection");
    let head = format!(
        "PUT /snapshots/{id}/blocks/5 HTTP/1.1\r\nhost: x\r\nx-amz-data-length: 524288\r\n\
         x-amz-checksum: {}\r\nx-amz-checksum-algorithm: SHA256\r\ncontent-length: 524288\r\n\
         expect: 100-continue\r\n\r\n",
        checksum(&block(1))
    );
    slow.write_all(head.as_bytes()).expect("sent");
    // The body is asked for once the block is claimed. Without waiting for that, the other put
    // could be the first, and this one the one that is refused.
    let mut go_on = [0; 12];
    slow.read_exact(&mut go_on).expect("an answer to the head");
    assert_eq!(&go_on, b"HTTP/1.1 100");
    slow.write_all(&[1; 1000]).expect("sent");
    let conflict = put(&fake, &id, 5, &block(2));
    refused(
        &conflict,
        400,
        "ValidationException",
        "CONFLICTING_BLOCK_UPDATE",
    );
    assert_eq!(
        put(&fake, &id, 6, &block(2)).status,
        201,
        "another block can be"
    );
    drop(slow);
    // The claim ends with the connection.
    eventually(|| (put(&fake, &id, 5, &block(3)).status == 201).then_some(()));
}

#[test]
fn half_a_block_is_no_block() {
    let fake = unsigned();
    let id = started(&fake);
    let mut stream = TcpStream::connect(fake.address()).expect("a connection");
    let head = format!(
        "PUT /snapshots/{id}/blocks/5 HTTP/1.1\r\nhost: x\r\nx-amz-data-length: 524288\r\n\
         x-amz-checksum: {}\r\nx-amz-checksum-algorithm: SHA256\r\ncontent-length: 524288\r\n\r\n",
        checksum(&block(1))
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&block(1)[..BLOCK / 2]).expect("sent");
    drop(stream);
    let fault = eventually(|| fake.log().get(1).map(|entry| entry.fault));
    assert_eq!(fault, Some("client_went_away"));
    assert_eq!(fake.snapshot(&id).expect("it").own_blocks, 0);
}

/// Completes with an aggregate over `fills` in the order of their indexes.
fn complete_with(fake: &FakeAws, id: &str, count: &str, checksum: &str) -> crate::client::Answer {
    let headers = [
        ("x-amz-ChangedBlocksCount", count),
        ("x-amz-Checksum", checksum),
        ("x-amz-Checksum-Algorithm", "SHA256"),
        ("x-amz-Checksum-Aggregation-Method", "LINEAR"),
    ];
    send(
        fake,
        "POST",
        &format!("/snapshots/completion/{id}"),
        &headers,
        b"",
    )
}

#[test]
fn a_wrong_count_or_aggregate_is_accepted_and_ends_in_error() {
    let fake = unsigned();
    let uploaded = || {
        let id = started(&fake);
        // Not in the order of the indexes, and one of them twice.
        for (index, fill) in [(9, 1), (2, 7), (2, 2), (1000, 3)] {
            assert_eq!(put(&fake, &id, index, &block(fill)).status, 201);
        }
        id
    };
    let raw: Vec<[u8; 32]> = [2, 1, 3]
        .map(|fill| Sha256::digest(block(fill)).into())
        .into();
    let right = STANDARD.encode(Sha256::digest(raw.concat()));
    let text: String = raw.iter().map(|digest| STANDARD.encode(digest)).collect();
    let of_text = STANDARD.encode(Sha256::digest(text));
    let in_order_of_puts = STANDARD.encode(Sha256::digest([raw[1], raw[0], raw[2]].concat()));
    for (count, checksum, end) in [
        ("3", &right, "completed"),
        ("2", &right, "error"),
        ("4", &right, "error"),
        ("3", &of_text, "error"),
        ("3", &in_order_of_puts, "error"),
    ] {
        let id = uploaded();
        let answer = complete_with(&fake, &id, count, checksum);
        assert_eq!(
            (answer.status, answer.json()["Status"].as_str()),
            (202, Some("pending"))
        );
        assert_eq!(status(&fake, &id), end);
        assert_eq!(
            fake.snapshot(&id).expect("it").message.is_some(),
            end == "error"
        );
    }
}

#[test]
fn what_a_completion_says_wrongly_is_refused() {
    let fake = unsigned();
    let id = started(&fake);
    let path = format!("/snapshots/completion/{id}");
    let sum = checksum(b"");
    let good = [("x-amz-changedblockscount", "0")];
    for headers in [
        vec![],
        vec![("x-amz-changedblockscount", "-1")],
        vec![("x-amz-changedblockscount", "x")],
        vec![good[0], ("x-amz-checksum", &sum)],
        vec![
            good[0],
            ("x-amz-checksum", &sum),
            ("x-amz-checksum-algorithm", "SHA256"),
        ],
        vec![
            good[0],
            ("x-amz-checksum", "AA"),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-checksum-aggregation-method", "LINEAR"),
        ],
        vec![
            good[0],
            ("x-amz-checksum", &sum),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-checksum-aggregation-method", "TREE"),
        ],
    ] {
        let answer = send(&fake, "POST", &path, &headers, b"");
        refused(
            &answer,
            400,
            "ValidationException",
            "INVALID_PARAMETER_VALUE",
        );
    }
    refused(
        &complete(&fake, "snap-0", 0),
        404,
        "ResourceNotFoundException",
        "SNAPSHOT_NOT_FOUND",
    );
    assert_eq!(status(&fake, &id), "pending");
    assert_eq!(send(&fake, "POST", &path, &good, b"").status, 202);
}

#[test]
fn completion_takes_its_time_or_fails_when_told_to() {
    let fake = with(Faults {
        completion_delay_ms: 600,
        ..Faults::default()
    });
    let id = started(&fake);
    assert_eq!(complete(&fake, &id, 0).status, 202);
    assert_eq!(status(&fake, &id), "pending");
    let answer = put(&fake, &id, 0, &block(1));
    refused(&answer, 400, "ValidationException", "INVALID_SNAPSHOT_ID");
    std::thread::sleep(Duration::from_millis(650));
    assert_eq!(status(&fake, &id), "completed");

    fake.set_faults(Faults {
        complete_to_error: Chance::next(1),
        ..Faults::default()
    });
    let id = started(&fake);
    assert_eq!(complete(&fake, &id, 0).status, 202);
    assert_eq!(status(&fake, &id), "error");
    assert_eq!(status(&fake, &completed(&fake, None, &[])), "completed");
}

#[test]
fn a_snapshot_without_puts_is_given_up_after_its_timeout() {
    // Ten "minutes" are a second.
    let fake = with(Faults {
        minute_ms: 100,
        ..Faults::default()
    });
    let body = r#"{"VolumeSize":1,"Timeout":10,"ClientToken":"t"}"#;
    let id = crate::client::id(&start(&fake, body));
    for _ in 0..4 {
        // Together longer than that. Each put begins the time anew: it is idle time.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(put(&fake, &id, 0, &block(1)).status, 201);
    }
    std::thread::sleep(Duration::from_millis(1100));
    let answer = put(&fake, &id, 0, &block(1));
    refused(&answer, 400, "ValidationException", "INVALID_SNAPSHOT_ID");
    refused(
        &complete(&fake, &id, 1),
        400,
        "ValidationException",
        "INVALID_SNAPSHOT_ID",
    );
    assert_eq!(start(&fake, body).json()["Status"], "error");
}

#[test]
fn digests_alone_are_kept_when_told_to() {
    let config = Config {
        signatures: Signatures::Off,
        keep_data: false,
        ..Config::default()
    };
    let fake = FakeAws::start(config).expect("a fake");
    let id = completed(&fake, None, &[(1, 1)]);
    let content = fake.snapshot_content(&id).expect("content");
    assert_eq!(content[0].data, None);
    assert_eq!(STANDARD.encode(content[0].digest), checksum(&block(1)));
    let id = started(&fake);
    let path = format!("/snapshots/{id}/blocks/0");
    let other = checksum(&block(2));
    let answer = put_with(&fake, &path, &[("x-amz-checksum", &other)], &block(1));
    refused(&answer, 403, "InvalidSignatureException", "");
}

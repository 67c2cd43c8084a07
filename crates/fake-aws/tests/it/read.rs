//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use crate::client::{
    block, checksum, completed, encoded, get, id, refused, start, started, unsigned, with,
};
use bytes::Bytes;
use fake_aws::{Chance, FakeAws, Faults, Seed};
use serde_json::Value;
use std::time::Duration;

/// One page: the indexes, the tokens and the next page's token.
fn page(fake: &FakeAws, id: &str, query: &str) -> (Vec<u64>, Vec<String>, Option<String>) {
    let answer = get(fake, &format!("/snapshots/{id}/blocks?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let blocks = body["Blocks"].as_array().expect("blocks").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (
        blocks
            .iter()
            .map(|block| block["BlockIndex"].as_u64().expect("an index"))
            .collect(),
        blocks
            .iter()
            .map(|block| text(&block["BlockToken"]))
            .collect(),
        body.get("NextToken").map(text),
    )
}

fn fetch(fake: &FakeAws, id: &str, index: u64, token: &str) -> crate::client::Answer {
    get(
        fake,
        &format!(
            "/snapshots/{id}/blocks/{index}?blockToken={}",
            encoded(token)
        ),
    )
}

fn seeded(fake: &FakeAws, indexes: impl Iterator<Item = u32>) -> String {
    let data = Bytes::from(block(9));
    let blocks = indexes.map(|index| (index, data.clone())).collect();
    fake.seed_snapshot(Seed {
        blocks,
        ..Seed::default()
    })
    .expect("a snapshot")
}

#[test]
fn a_child_holds_what_its_parents_hold() {
    let fake = unsigned();
    let first = completed(&fake, None, &[(5, 1), (0, 1)]);
    let second = completed(&fake, Some(&first), &[(7, 2), (5, 0)]);
    let third = completed(&fake, Some(&second), &[(6, 3)]);
    let (indexes, tokens, next) = page(&fake, &third, "");
    assert_eq!((indexes, next), (vec![0, 5, 6, 7], None));
    for (index, token, fill) in [(0, 0, 1), (5, 1, 0), (6, 2, 3), (7, 3, 2)] {
        let got = fetch(&fake, &third, index, &tokens[token]);
        assert_eq!(got.status, 200);
        assert_eq!(got.body, block(fill));
        assert_eq!(
            got.header("x-amz-checksum"),
            Some(checksum(&block(fill)).as_str())
        );
        assert_eq!(got.header("x-amz-data-length"), Some("524288"));
        assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    }
    let (indexes, ..) = page(&fake, &first, "");
    assert_eq!(indexes, [0, 5]);
    let content = fake.snapshot_content(&third).expect("content");
    let content: Vec<(u32, u8)> = content
        .iter()
        .map(|it| (it.index, it.data.as_ref().expect("data")[0]))
        .collect();
    assert_eq!(content, [(0, 1), (5, 0), (6, 3), (7, 2)]);
}

#[test]
fn pages_ascend_and_end_without_a_token() {
    let fake = unsigned();
    let id = seeded(&fake, (0..250).rev().map(|n| n * 3));
    let (first, _, next) = page(&fake, &id, "maxResults=100");
    assert_eq!(first, (0..100).map(|n| n * 3).collect::<Vec<_>>());
    let token = encoded(&next.expect("a token"));
    // startingBlockIndex is ignored with a token.
    let query = format!("maxResults=100&pageToken={token}&startingBlockIndex=700");
    let (second, _, next) = page(&fake, &id, &query);
    assert_eq!(second, (100..200).map(|n| n * 3).collect::<Vec<_>>());
    let token = encoded(&next.expect("a token"));
    let (third, _, next) = page(&fake, &id, &format!("pageToken={token}"));
    assert_eq!(third, (200..250).map(|n| n * 3).collect::<Vec<_>>());
    assert_eq!(next, None);
    let (from, ..) = page(&fake, &id, "startingBlockIndex=740");
    assert_eq!(from, [741, 744, 747]);
    let (none, _, next) = page(&fake, &id, "startingBlockIndex=748");
    assert!(none.is_empty() && next.is_none());
}

#[test]
fn pages_may_be_short_or_empty_and_go_on() {
    let fake = unsigned();
    let id = seeded(&fake, 0..25);
    fake.set_faults(Faults {
        page_limit: 10,
        empty_page: Chance::every(2),
        ..Faults::default()
    });
    let (mut sizes, mut all) = (Vec::new(), Vec::new());
    let mut query = String::new();
    loop {
        let (indexes, _, next) = page(&fake, &id, &query);
        sizes.push(indexes.len());
        all.extend(indexes);
        let Some(next) = next else {
            break;
        };
        query = format!("pageToken={}", encoded(&next));
    }
    assert_eq!(sizes, [10, 0, 10, 0, 5]);
    assert_eq!(all, (0..25).collect::<Vec<_>>());
}

#[test]
fn what_a_list_says_wrongly_is_refused() {
    let fake = unsigned();
    let id = seeded(&fake, 0..300);
    for query in [
        "maxResults=99",
        "maxResults=10001",
        "maxResults=x",
        "startingBlockIndex=-1",
        "startingBlockIndex=2147483648",
    ] {
        let answer = get(&fake, &format!("/snapshots/{id}/blocks?{query}"));
        refused(
            &answer,
            400,
            "ValidationException",
            "INVALID_PARAMETER_VALUE",
        );
    }
    let (_, _, next) = page(&fake, &id, "maxResults=100");
    let token = next.expect("a token");
    let other = seeded(&fake, 0..300);
    for (id, token) in [(&id, "AAAA"), (&id, ""), (&other, token.as_str())] {
        let answer = get(
            &fake,
            &format!("/snapshots/{id}/blocks?pageToken={}", encoded(token)),
        );
        refused(&answer, 400, "ValidationException", "INVALID_PAGE_TOKEN");
    }
    // A token of one list is none of another, and one that was not encoded is broken.
    let child = completed(&fake, Some(&id), &[(1, 1)]);
    let answer = get(
        &fake,
        &format!(
            "/snapshots/{child}/changedblocks?firstSnapshotId={id}&pageToken={}",
            encoded(&token)
        ),
    );
    refused(&answer, 400, "ValidationException", "INVALID_PAGE_TOKEN");
    let answer = get(&fake, "/snapshots/snap-0/blocks");
    refused(
        &answer,
        404,
        "ResourceNotFoundException",
        "SNAPSHOT_NOT_FOUND",
    );
    let pending = started(&fake);
    for path in [
        "blocks",
        "blocks/0?blockToken=AAAA",
        &format!("changedblocks?firstSnapshotId={id}"),
    ] {
        let answer = get(&fake, &format!("/snapshots/{pending}/{path}"));
        refused(&answer, 400, "ValidationException", "INVALID_SNAPSHOT_ID");
    }
    assert_eq!(
        get(&fake, "/snapshots/x/y/z").error().1,
        "UnknownOperationException"
    );
}

#[test]
fn a_block_token_is_good_for_its_block_only() {
    let fake = unsigned();
    let first = completed(&fake, None, &[(0, 1), (1, 1)]);
    let second = completed(&fake, Some(&first), &[(1, 2)]);
    let (_, tokens, _) = page(&fake, &first, "");
    let long = "A".repeat(257);
    for (id, index, token) in [
        (&first, 1, tokens[0].as_str()),
        (&second, 0, tokens[0].as_str()),
        (&first, 2, tokens[0].as_str()),
        (&first, 0, "bogus"),
        (&first, 0, ""),
        (&first, 0, long.as_str()),
    ] {
        let answer = fetch(&fake, id, index, token);
        refused(&answer, 400, "ValidationException", "INVALID_BLOCK_TOKEN");
    }
    let answer = fetch(&fake, &first, 2048, &tokens[0]);
    refused(&answer, 400, "ValidationException", "INVALID_BLOCK");
    assert_eq!(fetch(&fake, &first, 0, &tokens[0]).status, 200);
    assert!(tokens[0].len() <= 256);
}

#[test]
fn another_listing_makes_block_tokens_stale() {
    let fake = unsigned();
    let id = seeded(&fake, 0..150);
    let (_, tokens, next) = page(&fake, &id, "maxResults=100");
    let next = encoded(&next.expect("a token"));
    page(&fake, &id, &format!("pageToken={next}"));
    assert_eq!(
        fetch(&fake, &id, 0, &tokens[0]).status,
        200,
        "a further page is no other listing"
    );
    page(&fake, &id, "");
    let answer = fetch(&fake, &id, 0, &tokens[0]);
    refused(&answer, 400, "ValidationException", "INVALID_BLOCK_TOKEN");
    fake.set_faults(Faults {
        old_tokens_stay: true,
        ..Faults::default()
    });
    assert_eq!(fetch(&fake, &id, 0, &tokens[0]).status, 200);
}

#[test]
fn tokens_have_an_end() {
    let fake = unsigned();
    let id = seeded(&fake, 0..150);
    let (_, tokens, next) = page(&fake, &id, "maxResults=100");
    let next = format!(
        "/snapshots/{id}/blocks?pageToken={}",
        encoded(&next.expect("a token"))
    );
    std::thread::sleep(Duration::from_millis(60));
    fake.set_faults(Faults {
        block_token_ms: 50,
        page_token_ms: 50,
        ..Faults::default()
    });
    refused(
        &get(&fake, &next),
        400,
        "ValidationException",
        "INVALID_PAGE_TOKEN",
    );
    let answer = fetch(&fake, &id, 0, &tokens[0]);
    refused(&answer, 400, "ValidationException", "INVALID_BLOCK_TOKEN");
    fake.set_faults(Faults::default());
    assert_eq!(fetch(&fake, &id, 0, &tokens[0]).status, 200);
    assert_eq!(get(&fake, &next).status, 200);
}

#[test]
fn changes_are_what_was_put_between_two_snapshots() {
    let fake = unsigned();
    let first = completed(&fake, None, &[(0, 1), (5, 1)]);
    let second = completed(&fake, Some(&first), &[(5, 2), (7, 2)]);
    // The same bytes as before: put is put.
    let third = completed(&fake, Some(&second), &[(7, 2), (9, 3)]);
    let changes = |old: &str, new: &str, query: &str| {
        let path = format!("/snapshots/{new}/changedblocks?firstSnapshotId={old}{query}");
        let answer = get(&fake, &path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["ChangedBlocks"]
            .as_array()
            .expect("blocks")
            .clone()
    };
    let shape = |blocks: &[Value]| -> Vec<(u64, bool, bool)> {
        let has = |block: &Value, name: &str| block.get(name).is_some();
        blocks
            .iter()
            .map(|block| {
                let index = block["BlockIndex"].as_u64().expect("an index");
                (
                    index,
                    has(block, "FirstBlockToken"),
                    has(block, "SecondBlockToken"),
                )
            })
            .collect()
    };
    let changed = changes(&first, &second, "");
    assert_eq!(shape(&changed), [(5, true, true), (7, false, true)]);
    for (id, token, fill) in [
        (&first, "FirstBlockToken", 1),
        (&second, "SecondBlockToken", 2),
    ] {
        let got = fetch(&fake, id, 5, changed[0][token].as_str().expect("a token"));
        assert_eq!(got.body, block(fill));
    }
    let changed = changes(&first, &third, "");
    assert_eq!(
        shape(&changed),
        [(5, true, true), (7, false, true), (9, false, true)]
    );
    assert_eq!(
        shape(&changes(&second, &third, "")),
        [(7, true, true), (9, false, true)]
    );
    assert_eq!(
        shape(&changes(&second, &third, "&startingBlockIndex=8")),
        [(9, false, true)]
    );
    // Backwards: what only the later one has is there in the first alone.
    assert_eq!(
        shape(&changes(&second, &first, "")),
        [(5, true, true), (7, true, false)]
    );
}

#[test]
fn changes_come_in_pages() {
    let fake = unsigned();
    let first = seeded(&fake, 0..1);
    let data = Bytes::from(block(1));
    let blocks = (0..120).map(|index| (index, data.clone())).collect();
    let seed = Seed {
        parent: Some(first.clone()),
        blocks,
        ..Seed::default()
    };
    let second = fake.seed_snapshot(seed).expect("a child");
    let path = format!("/snapshots/{second}/changedblocks?firstSnapshotId={first}");
    let body = get(&fake, &format!("{path}&maxResults=100")).json();
    assert_eq!(body["ChangedBlocks"].as_array().map(Vec::len), Some(100));
    let next = encoded(body["NextToken"].as_str().expect("a token"));
    let body = get(&fake, &format!("{path}&pageToken={next}")).json();
    let rest = body["ChangedBlocks"].as_array().expect("blocks");
    assert_eq!(
        (rest.len(), rest[0]["BlockIndex"].as_u64()),
        (20, Some(100))
    );
    assert!(body.get("NextToken").is_none());
}

#[test]
fn snapshots_without_a_common_ancestor_are_unrelated() {
    let fake = unsigned();
    let (one, other) = (
        completed(&fake, None, &[(0, 1)]),
        completed(&fake, None, &[(0, 1)]),
    );
    let changes = |old: &str, new: &str| {
        get(
            &fake,
            &format!("/snapshots/{new}/changedblocks?firstSnapshotId={old}"),
        )
    };
    refused(
        &changes(&one, &other),
        400,
        "ValidationException",
        "UNRELATED_SNAPSHOTS",
    );
    refused(
        &changes("snap-0", &other),
        404,
        "ResourceNotFoundException",
        "SNAPSHOT_NOT_FOUND",
    );
    let answer = get(&fake, &format!("/snapshots/{one}/changedblocks"));
    refused(
        &answer,
        400,
        "ValidationException",
        "INVALID_PARAMETER_VALUE",
    );
    let (left, right) = (
        completed(&fake, Some(&one), &[(1, 1)]),
        completed(&fake, Some(&one), &[]),
    );
    assert_eq!(changes(&left, &right).status, 200);
}

#[test]
fn a_larger_child_inherits_and_can_be_written_behind_its_parents_end() {
    let fake = unsigned();
    let parent = completed(&fake, None, &[(2047, 1)]);
    let body = format!(r#"{{"VolumeSize":2,"ParentSnapshotId":"{parent}"}}"#);
    let child = id(&start(&fake, &body));
    assert_eq!(
        crate::client::put(&fake, &child, 4095, &block(2)).status,
        201
    );
    crate::client::complete(&fake, &child, 1);
    assert_eq!(page(&fake, &child, "").0, [2047, 4095]);
}

#[test]
fn wrong_checksums_and_wrong_data_come_when_told_to() {
    let fake = with(Faults {
        wrong_checksum: Chance::next(1),
        wrong_data: Chance {
            at_most: Some(1),
            ..Chance::every(2)
        },
        ..Faults::default()
    });
    let id = completed(&fake, None, &[(0, 1)]);
    let (_, tokens, _) = page(&fake, &id, "");
    let right = checksum(&block(1));
    let got: Vec<(bool, bool)> = (0..3)
        .map(|_| {
            let answer = fetch(&fake, &id, 0, &tokens[0]);
            assert_eq!(answer.status, 200);
            (
                answer.header("x-amz-checksum") == Some(&right),
                checksum(&answer.body) == right,
            )
        })
        .collect();
    assert_eq!(got, [(false, true), (true, false), (true, true)]);
}

#[test]
fn a_seed_that_cannot_be_is_refused() {
    let fake = unsigned();
    for seed in [
        Seed {
            parent: Some("snap-0".into()),
            ..Seed::default()
        },
        Seed {
            blocks: [(0, Bytes::from_static(b"short"))].into(),
            ..Seed::default()
        },
        Seed {
            blocks: [(2048, Bytes::from(block(1)))].into(),
            ..Seed::default()
        },
    ] {
        assert!(fake.seed_snapshot(seed).is_err());
    }
    assert!(fake.snapshots().is_empty());
}

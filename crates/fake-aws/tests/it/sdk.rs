//! The official SDK as a client: it decides whether our answers have the right form, and its signer
//! is the judge of our verification.

use crate::client::{block, checksum, status};
use aws_sdk_ebs::Client;
use aws_sdk_ebs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_ebs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{
    ChecksumAggregationMethod, ChecksumAlgorithm, ResourceNotFoundExceptionReason, SseType, Status,
    Tag, ValidationExceptionReason,
};
use fake_aws::{BLOCK, Chance, Config, FakeAws, Faults, Signatures};
use sha2::{Digest, Sha256};

const SECRET: &str = "not/a+secret";

fn fake(token: Option<&str>) -> FakeAws {
    let credentials = fake_aws::Credentials {
        access_key: "AKIDFAKE".into(),
        secret_key: SECRET.into(),
        session_token: token.map(str::to_owned),
    };
    let signatures = Signatures::Verify(vec![credentials]);
    FakeAws::start(Config {
        signatures,
        ..Config::default()
    })
    .expect("a fake")
}

fn client(fake: &FakeAws, secret: &str, token: Option<&str>) -> Client {
    let credentials = Credentials::new("AKIDFAKE", secret, token.map(str::to_owned), None, "test");
    let config = aws_sdk_ebs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(fake.endpoint())
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

async fn put(client: &Client, id: &str, index: i32, fill: u8) -> bool {
    let bytes = block(fill);
    client
        .put_snapshot_block()
        .snapshot_id(id)
        .block_index(index)
        .data_length(524_288)
        .checksum(checksum(&bytes))
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .progress(50)
        .block_data(ByteStream::from(bytes))
        .send()
        .await
        .map(|answer| assert!(answer.checksum().is_some()))
        .is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sdk_uploads_a_chain_and_reads_it_back() {
    let fake = fake(Some("session+token/="));
    let client = client(&fake, SECRET, Some("session+token/="));
    let key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let base = client
        .start_snapshot()
        .volume_size(1)
        .description("base")
        .tags(
            Tag::builder()
                .key("rehost:machine")
                .value("web 1 / ü")
                .build(),
        )
        .encrypted(true)
        .kms_key_arn(key)
        .timeout(10)
        .send()
        .await
        .expect("a snapshot");
    assert_eq!(base.status(), Some(&Status::Pending));
    assert_eq!(base.block_size(), Some(524_288));
    assert_eq!(base.volume_size(), Some(1));
    assert_eq!(base.kms_key_arn(), Some(key));
    assert_eq!(base.sse_type(), Some(&SseType::SseKms));
    assert_eq!(base.tags().first().and_then(Tag::value), Some("web 1 / ü"));
    assert!(base.start_time().expect("a time").secs() > 1_700_000_000);
    let base = base.snapshot_id().expect("an id").to_owned();
    for index in 0..230 {
        assert!(put(&client, &base, index * 2, 1).await);
    }
    let mut digests = Sha256::new();
    for _ in 0..230 {
        digests.update(Sha256::digest(block(1)));
    }
    let done = client
        .complete_snapshot()
        .snapshot_id(&base)
        .changed_blocks_count(230)
        .checksum(base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            digests.finalize(),
        ))
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
        .send()
        .await
        .expect("accepted");
    assert_eq!(done.status(), Some(&Status::Pending));
    assert_eq!(status(&fake, &base), "completed");

    let child = client
        .start_snapshot()
        .volume_size(1)
        .parent_snapshot_id(&base)
        .send()
        .await;
    let child = child.expect("a child");
    assert_eq!(child.parent_snapshot_id(), Some(base.as_str()));
    let child = child.snapshot_id().expect("an id").to_owned();
    assert!(put(&client, &child, 4, 2).await);
    assert!(put(&client, &child, 5, 3).await);
    client
        .complete_snapshot()
        .snapshot_id(&child)
        .changed_blocks_count(2)
        .send()
        .await
        .expect("ok");

    let mut pages = client
        .list_snapshot_blocks()
        .snapshot_id(&child)
        .max_results(100)
        .into_paginator()
        .send();
    let (mut listed, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        assert_eq!(page.block_size(), Some(524_288));
        assert!(page.expiry_time().is_some());
        sizes.push(page.blocks().len());
        listed.extend(page.blocks().to_vec());
    }
    assert_eq!(sizes, [100, 100, 31]);
    let mut expected: Vec<i32> = (0..230).map(|index| index * 2).chain([5]).collect();
    expected.sort_unstable();
    let indexes: Vec<i32> = listed
        .iter()
        .filter_map(aws_sdk_ebs::types::Block::block_index)
        .collect();
    assert_eq!(indexes, expected);

    for (index, fill) in [(2, 1), (4, 2), (5, 3)] {
        let token = listed
            .iter()
            .find(|block| block.block_index() == Some(index));
        let token = token
            .and_then(|block| block.block_token())
            .expect("a token");
        let got = client
            .get_snapshot_block()
            .snapshot_id(&child)
            .block_index(index)
            .block_token(token)
            .send()
            .await
            .expect("a block");
        assert_eq!(got.data_length(), Some(524_288));
        assert_eq!(got.checksum(), Some(checksum(&block(fill)).as_str()));
        let bytes = got.block_data.collect().await.expect("bytes").to_vec();
        assert_eq!(bytes.len(), BLOCK);
        assert_eq!(bytes, block(fill));
    }
    let changed = client
        .list_changed_blocks()
        .first_snapshot_id(&base)
        .second_snapshot_id(&child)
        .send()
        .await
        .expect("changes");
    let changed: Vec<_> = changed
        .changed_blocks()
        .iter()
        .map(|it| {
            (
                it.block_index(),
                it.first_block_token().is_some(),
                it.second_block_token().is_some(),
            )
        })
        .collect();
    assert_eq!(changed, [(Some(4), true, true), (Some(5), false, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sdk_understands_our_errors() {
    let fake = fake(None);
    let client = client(&fake, SECRET, None);
    let error = client
        .start_snapshot()
        .volume_size(0)
        .send()
        .await
        .expect_err("no size");
    let error = error.into_service_error();
    let validation = match &error {
        aws_sdk_ebs::operation::start_snapshot::StartSnapshotError::ValidationException(it) => it,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        validation.reason(),
        Some(&ValidationExceptionReason::InvalidVolumeSize)
    );
    assert!(validation.message().expect("a message").contains("65536"));

    let error = client
        .list_snapshot_blocks()
        .snapshot_id("snap-0")
        .send()
        .await
        .expect_err("none");
    match error.into_service_error() {
        aws_sdk_ebs::operation::list_snapshot_blocks::ListSnapshotBlocksError::ResourceNotFoundException(it) => {
            assert_eq!(it.reason(), Some(&ResourceNotFoundExceptionReason::SnapshotNotFound));
        }
        other => panic!("{other:?}"),
    }

    fake.set_faults(Faults {
        reset_before: Chance::every(1),
        ..Faults::default()
    });
    let error = client
        .start_snapshot()
        .volume_size(1)
        .send()
        .await
        .expect_err("a reset");
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_secret_or_session_is_refused() {
    let fake = fake(Some("this"));
    for (secret, token, code) in [
        ("other", Some("this"), "InvalidSignatureException"),
        (SECRET, Some("that"), "UnrecognizedClientException"),
        (SECRET, None, "UnrecognizedClientException"),
    ] {
        let client = client(&fake, secret, token);
        let error = client
            .start_snapshot()
            .volume_size(1)
            .send()
            .await
            .expect_err("refused");
        assert_eq!(error.code(), Some(code));
        assert!(!put(&client, "snap-0", 0, 1).await);
    }
    assert!(fake.snapshots().is_empty());
}

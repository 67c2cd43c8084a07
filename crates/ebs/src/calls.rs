//! The EBS direct APIs, each call with its retries.

use crate::failure::{Failure, Kind};
use crate::retry::{Asked, End};
use crate::signed::Payload;
use crate::upload::{Encryption, UploadRequest};
use crate::{Action, Ebs, Error};
use aws_sdk_ebs::types::{
    Block, ChangedBlock, ChecksumAggregationMethod, ChecksumAlgorithm, Status, Tag,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ondisk::width::usize_of;
use sha2::{Digest as _, Sha256};
use std::time::Instant;
use store::{BLOCK, Digest};

/// A snapshot that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) id: String,
    pub(crate) state: Status,
    pub(crate) encrypted: bool,
}

/// [`BLOCK`] as the API counts.
const BLOCK_LENGTH: i32 = 512 << 10;
const BLOCK_BYTES: u32 = 512 << 10;
const _: () = assert!(BLOCK == 512 << 10);
/// Answers with a wrong block, of one GetSnapshotBlock: bits flip on the way, but not for ever.
const WRONG_BLOCKS: u32 = 8;
/// The most blocks of a page.
const PAGE: i32 = 10_000;

impl Ebs {
    pub(crate) async fn start(
        &self,
        request: &UploadRequest<'_>,
        volume_size: i64,
        token: &str,
        source: &str,
    ) -> Result<Started, Error> {
        let mut call = self
            .0
            .sdk
            .start_snapshot()
            .volume_size(volume_size)
            .client_token(token)
            .timeout(i32::from(request.timeout_minutes))
            .set_parent_snapshot_id(request.parent.map(|parent| parent.id.to_owned()));
        if !request.description.is_empty() {
            call = call.description(request.description);
        }
        let size = request.disk.size().to_string();
        for (key, value) in request.all_tags(source, &size) {
            call = call.tags(Tag::builder().key(key).value(value).build());
        }
        call = match request.encryption {
            Encryption::Default => call,
            Encryption::Unencrypted => call.encrypted(false),
            Encryption::DefaultKey => call.encrypted(true),
            Encryption::Key(arn) => call.encrypted(true).kms_key_arn(arn),
        };
        let asked = Asked::plain(Action::StartSnapshot);
        let attempt = || async { call.clone().send().await.map_err(Failure::of_sdk) };
        let answer = self.0.traffic.ask(asked, attempt).await;
        let answer = answer.map_err(|end| match end {
            // The service says so when the tags, not the snapshot, are what it denies.
            End::Failed(failure, _)
                if failure.kind == Kind::Denied && failure.message.contains("CreateTags") =>
            {
                failure.into_error(Action::CreateTags)
            }
            End::Failed(failure, _) if failure.kind == Kind::NotFound => {
                let parent = request.parent.map_or("", |parent| parent.id);
                Error::NoSnapshot(parent.to_owned())
            }
            end => end.into_error(asked.action),
        })?;
        let unusable = |what: &str| Error::Answer {
            action: asked.action,
            what: what.to_owned(),
        };
        let id = answer.snapshot_id().unwrap_or_default();
        crate::info::check_id(id).map_err(|error| unusable(&error.to_string()))?;
        if answer.block_size() != Some(BLOCK_LENGTH) {
            return Err(unusable("its blocks are not of 524288 bytes"));
        }
        Ok(Started {
            id: id.to_owned(),
            state: answer.status().cloned().unwrap_or(Status::Pending),
            encrypted: answer.kms_key_arn().is_some(),
        })
    }

    /// Stores a block, which can be sent again without a copy. `new_until` as in [`Asked`].
    pub(crate) async fn put(
        &self,
        id: &str,
        block: u32,
        digest: &Digest,
        content: Bytes,
        new_until: Instant,
    ) -> Result<(), Error> {
        let asked = Asked {
            action: Action::PutSnapshotBlock,
            bytes: BLOCK_BYTES,
            new_until: Some(new_until),
        };
        let index = index_of(asked.action, block)?;
        let direct = &self.0.direct;
        let path = format!("snapshots/{id}/blocks/{index}");
        let checksum = BASE64.encode(digest);
        let headers = [
            ("content-type", "application/octet-stream"),
            ("x-amz-checksum", checksum.as_str()),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-data-length", "524288"),
        ];
        let mut again = false;
        loop {
            let attempt = || {
                let sent = direct.send("PUT", &path, &headers, Payload::Block(content.clone()));
                async move { Failure::of_answer(&sent.await?) }
            };
            match self.0.traffic.ask(asked, attempt).await {
                Ok(()) => return Ok(()),
                Err(End::Failed(failure, _)) if failure.kind == Kind::Checksum => {
                    // Whose fault is it? If the bytes are not what was hashed, memory is.
                    let found: Digest = Sha256::digest(&content).into();
                    if found != *digest || std::mem::replace(&mut again, true) {
                        return Err(Error::Checksum {
                            block,
                            what: if found == *digest {
                                failure.message
                            } else {
                                "its digest here is another one now".to_owned()
                            },
                        });
                    }
                }
                Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => {
                    return Err(Error::NoSnapshot(id.to_owned()));
                }
                Err(end) => return Err(end.into_error(asked.action)),
            }
        }
    }

    /// Seals a snapshot; its final state is known later.
    pub(crate) async fn complete(
        &self,
        id: &str,
        blocks: i32,
        aggregate: &Digest,
        new_until: Instant,
    ) -> Result<(), Error> {
        let call = self
            .0
            .sdk
            .complete_snapshot()
            .snapshot_id(id)
            .changed_blocks_count(blocks)
            .checksum(BASE64.encode(aggregate))
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear);
        let asked = Asked {
            new_until: Some(new_until),
            ..Asked::plain(Action::CompleteSnapshot)
        };
        let attempt = || async { call.clone().send().await.map(drop).map_err(Failure::of_sdk) };
        match self.0.traffic.ask(asked, attempt).await {
            Ok(()) => Ok(()),
            // It was sealed by an attempt whose answer was lost, and cannot be again: the state
            // will tell.
            Err(End::Failed(failure, attempts))
                if failure.kind == Kind::Permanent && attempts.maybe_done =>
            {
                Ok(())
            }
            Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => {
                Err(Error::NoSnapshot(id.to_owned()))
            }
            Err(end) => Err(end.into_error(asked.action)),
        }
    }

    /// A page of the blocks of a snapshot.
    pub(crate) async fn list(&self, id: &str, next: Option<&str>) -> Result<List<Block>, End> {
        let call = self
            .0
            .sdk
            .list_snapshot_blocks()
            .snapshot_id(id)
            .max_results(PAGE)
            .set_next_token(next.map(str::to_owned));
        let asked = Asked::plain(Action::ListSnapshotBlocks);
        let attempt = || async { call.clone().send().await.map_err(Failure::of_sdk) };
        let answer = self.0.traffic.ask(asked, attempt).await?;
        Ok(List {
            volume_size: answer.volume_size(),
            block_size: answer.block_size(),
            next: answer.next_token.filter(|token| !token.is_empty()),
            blocks: answer.blocks.unwrap_or_default(),
        })
    }

    /// A page of the blocks in which two snapshots differ.
    pub(crate) async fn list_changed(
        &self,
        first: &str,
        second: &str,
        next: Option<&str>,
    ) -> Result<List<ChangedBlock>, End> {
        let call = self
            .0
            .sdk
            .list_changed_blocks()
            .first_snapshot_id(first)
            .second_snapshot_id(second)
            .max_results(PAGE)
            .set_next_token(next.map(str::to_owned));
        let asked = Asked::plain(Action::ListChangedBlocks);
        let attempt = || async { call.clone().send().await.map_err(Failure::of_sdk) };
        let answer = self.0.traffic.ask(asked, attempt).await?;
        Ok(List {
            volume_size: answer.volume_size(),
            block_size: answer.block_size(),
            next: answer.next_token.filter(|token| !token.is_empty()),
            blocks: answer.changed_blocks.unwrap_or_default(),
        })
    }

    /// Reads a block and checks it against the checksum that comes with it.
    pub(crate) async fn get(&self, id: &str, block: u32, token: &str) -> Result<Got, End> {
        let asked = Asked {
            action: Action::GetSnapshotBlock,
            bytes: BLOCK_BYTES,
            new_until: None,
        };
        let index = index_of(asked.action, block).map_err(End::Spent)?;
        let mut wrong = 0_u32;
        loop {
            let attempt = || self.get_once(id, index, token);
            match self.0.traffic.ask(asked, attempt).await {
                Err(End::Failed(failure, _)) if failure.kind == Kind::Checksum => {
                    wrong = wrong.saturating_add(1);
                    if wrong >= WRONG_BLOCKS {
                        let what = failure.message;
                        return Err(End::Spent(Error::Checksum { block, what }));
                    }
                }
                other => return other,
            }
        }
    }

    async fn get_once(&self, id: &str, index: i32, token: &str) -> Result<Got, Failure> {
        let wrong = |what: &str| Failure::new(Kind::Checksum, "", what);
        let call = self
            .0
            .sdk
            .get_snapshot_block()
            .snapshot_id(id)
            .block_index(index)
            .block_token(token);
        let answer = call.send().await.map_err(Failure::of_sdk)?;
        if answer.data_length() != Some(BLOCK_LENGTH) {
            return Err(wrong("it is not of 524288 bytes"));
        }
        if answer.checksum_algorithm() != Some(&ChecksumAlgorithm::ChecksumAlgorithmSha256) {
            return Err(wrong("it comes with no SHA-256"));
        }
        let expected = BASE64.decode(answer.checksum().unwrap_or_default());
        let expected = expected.map_err(|_| wrong("its checksum is no base64"))?;
        let mut stream = answer.block_data;
        let mut content = Vec::with_capacity(usize_of(BLOCK));
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| Failure::lost(error.to_string()))?;
            if content.len().saturating_add(part.len()) > usize_of(BLOCK) {
                return Err(wrong("it is longer than it says"));
            }
            content.extend_from_slice(&part);
        }
        if content.len() != usize_of(BLOCK) {
            return Err(Failure::lost("it is shorter than it says"));
        }
        // The threads of the network have others to serve.
        let hashed = tokio::task::spawn_blocking(move || {
            let digest: Digest = Sha256::digest(&content).into();
            (digest, content)
        });
        let hashed = hashed.await;
        let (digest, content) = hashed.map_err(|error| Failure::lost(error.to_string()))?;
        if digest[..] != expected[..] {
            return Err(wrong("its SHA-256 is not the one that came with it"));
        }
        Ok(Got { content, digest })
    }
}

/// A block that was read, and its digest.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: Digest,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) volume_size: Option<i64>,
    pub(crate) block_size: Option<i32>,
    pub(crate) next: Option<String>,
    pub(crate) blocks: Vec<T>,
}

fn index_of(action: Action, block: u32) -> Result<i32, Error> {
    i32::try_from(block).map_err(|_| Error::Answer {
        action,
        what: format!("block {block} is beyond 64 TiB"),
    })
}

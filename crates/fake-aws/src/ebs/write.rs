//! PutSnapshotBlock and CompleteSnapshot.

use super::{Success, parameter};
use crate::action::{Action, Target};
use crate::chance::{Draw, Setting};
use crate::error::Refusal;
use crate::snapshot::{BLOCK, Block, Claim, Phase, Snapshot};
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the headers of PutSnapshotBlock say, checked before a byte of the block is read.
#[derive(Debug)]
pub(crate) struct Put {
    snapshot: Arc<Snapshot>,
    index: u32,
    digest: [u8; 32],
    checksum: String,
    claim: Option<Claim>,
}

impl Put {
    /// Lets other requests write the block, once its bytes are here.
    pub(crate) fn release(&mut self) {
        self.claim = None;
    }

    pub(crate) fn check(
        world: &World,
        setting: &Setting,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<Put, Refusal> {
        let id = target.snapshot_id()?;
        let index = target.block_index()?;
        let length = header(headers, "x-amz-data-length")
            .ok_or_else(|| parameter("x-amz-Data-Length is required"))?;
        if length.parse() != Ok(BLOCK) {
            return Err(parameter(format!(
                "x-amz-Data-Length must be {BLOCK}, not {length}"
            )));
        }
        let checksum = header(headers, "x-amz-checksum")
            .ok_or_else(|| parameter("x-amz-Checksum is required"))?;
        let digest = sha256_in_base64(&checksum)?;
        algorithm(headers)?;
        if let Some(progress) = header(headers, "x-amz-progress")
            && !progress.parse::<u8>().is_ok_and(|progress| progress <= 100)
        {
            return Err(parameter(format!(
                "x-amz-Progress must be 0 to 100, not {progress}"
            )));
        }
        if headers.contains_key("content-encoding") {
            return Err(Refusal::validation(
                "INVALID_CONTENT_ENCODING",
                "a block is sent as it is, without Content-Encoding",
            ));
        }
        let snapshot = world.find(id)?;
        let faults = &setting.faults;
        let window = Duration::from_millis(faults.not_found_ms);
        if snapshot.born.elapsed() < window
            && world.switches.random.unit() < faults.not_found_probability.0
        {
            return Err(Refusal::no_snapshot(id));
        }
        if u64::from(index) >= snapshot.volume_blocks() {
            let blocks = snapshot.volume_blocks();
            let message = format!("BlockIndex {index} is beyond the volume of {blocks} blocks");
            return Err(Refusal::validation("INVALID_BLOCK", message));
        }
        if setting.draw(Draw::FailedToRead, Action::PutSnapshotBlock) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "ValidationException",
                "Failed to read block data",
            ));
        }
        let claim = snapshot.claim(index, world.minute())?;
        Ok(Put {
            snapshot,
            index,
            digest,
            checksum,
            claim: Some(claim),
        })
    }

    /// Takes the block. `data` is none when only digests are kept.
    pub(crate) fn finish(
        self,
        world: &World,
        length: u64,
        digest: [u8; 32],
        data: Option<Bytes>,
    ) -> Result<Success, Refusal> {
        if usize::try_from(length) != Ok(BLOCK) {
            let message = format!("the block has {length} bytes, x-amz-Data-Length says {BLOCK}");
            return Err(Refusal::validation("INVALID_BLOCK", message));
        }
        if digest != self.digest {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "InvalidSignatureException",
                "The value passed in as x-amz-Checksum does not match the computed checksum. \
                 Computed digest: "
                    .to_owned()
                    + &STANDARD.encode(digest),
            ));
        }
        let block = Block {
            digest,
            data,
            version: world.version(),
        };
        let mut live = self.snapshot.live(world.minute());
        live.writable(&self.snapshot.id)?;
        live.last_write = Instant::now();
        live.blocks.insert(self.index, block);
        drop(live);
        Ok(Success {
            status: StatusCode::CREATED,
            headers: vec![
                ("x-amz-checksum", self.checksum.clone()),
                ("x-amz-checksum-algorithm", "SHA256".into()),
            ],
            body: Bytes::from_static(b"{}"),
            content_type: "application/json",
        })
    }
}

/// CompleteSnapshot. A wrong count or checksum is not refused: the snapshot ends in `error`.
pub(crate) fn complete(
    world: &World,
    setting: &Setting,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Success, Refusal> {
    let id = target.snapshot_id()?;
    let text = header(headers, "x-amz-changedblockscount")
        .ok_or_else(|| parameter("x-amz-ChangedBlocksCount is required"))?;
    let count = text
        .parse::<i32>()
        .ok()
        .and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| {
        parameter(format!(
            "x-amz-ChangedBlocksCount must be from 0, not {text}"
        ))
    })?;
    let checksum = match header(headers, "x-amz-checksum") {
        None => None,
        Some(checksum) => {
            algorithm(headers)?;
            let method = header(headers, "x-amz-checksum-aggregation-method");
            if method.as_deref() != Some("LINEAR") {
                return Err(parameter(
                    "x-amz-Checksum-Aggregation-Method must be LINEAR",
                ));
            }
            Some(sha256_in_base64(&checksum)?)
        }
    };
    let snapshot = world.find(id)?;
    let mut live = snapshot.live(world.minute());
    if live.phase != Phase::Writing && setting.faults.repeat_complete {
        let status = live.phase.status();
        return Ok(Success::json(
            StatusCode::ACCEPTED,
            &json!({ "Status": status }),
        ));
    }
    live.writable(id)?;
    let put = live.blocks.len();
    let fails = if setting.draw(Draw::CompleteToError, Action::CompleteSnapshot) {
        Some("Internal error".to_owned())
    } else if count != put {
        Some(format!(
            "ChangedBlocksCount is {count}, but {put} blocks were put"
        ))
    } else if checksum.is_some_and(|checksum| checksum != live.aggregate()) {
        Some("the aggregated checksum is not that of the blocks".to_owned())
    } else {
        None
    };
    let delay = Duration::from_millis(setting.faults.completion_delay_ms);
    let now = Instant::now();
    live.phase = Phase::Completing {
        at: now.checked_add(delay).unwrap_or(now),
        fails,
    };
    Ok(Success::json(
        StatusCode::ACCEPTED,
        &json!({ "Status": "pending" }),
    ))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(
        String::from_utf8_lossy(headers.get(name)?.as_bytes())
            .trim()
            .to_owned(),
    )
}

fn algorithm(headers: &HeaderMap) -> Result<(), Refusal> {
    match header(headers, "x-amz-checksum-algorithm").as_deref() {
        Some("SHA256") => Ok(()),
        other => Err(parameter(format!(
            "x-amz-Checksum-Algorithm must be SHA256, not {}",
            other.unwrap_or("missing")
        ))),
    }
}

/// A digest as it stands in a header.
fn sha256_in_base64(text: &str) -> Result<[u8; 32], Refusal> {
    STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| parameter(format!("x-amz-Checksum {text:?} is no SHA-256 in base64")))
}

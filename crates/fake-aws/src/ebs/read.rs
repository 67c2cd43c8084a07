//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use super::{Success, parameter, seconds};
use crate::action::{Action, Target, pairs};
use crate::chance::{Draw, Setting};
use crate::clock::now_ms;
use crate::error::Refusal;
use crate::snapshot::{BLOCK, Block, Snapshot};
use crate::token::MAX_TOKEN;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Milliseconds that a block token lives: seven days.
const BLOCK_TOKEN_MS: u64 = 7 * 86_400_000;
/// Milliseconds that a page token lives: an hour.
const PAGE_TOKEN_MS: u64 = 3_600_000;
/// Blocks on a page when MaxResults is not given; also the most that it may say.
const MAX_RESULTS: usize = 10_000;

/// ListSnapshotBlocks.
pub(crate) fn list(
    world: &World,
    setting: &Setting,
    target: &Target,
    query: Option<&str>,
) -> Result<Success, Refusal> {
    let id = target.snapshot_id()?;
    let query = Query::parse(query)?;
    let snapshot = world.readable(id)?;
    let about = format!("blocks {id}");
    let start = query.start(world, setting, &about)?;
    if query.page.is_none() {
        snapshot.list_again();
    }
    let blocks = snapshot.effective(world.minute());
    let from = blocks.partition_point(|(index, _)| u64::from(*index) < start);
    let rest = blocks.get(from..).unwrap_or_default();
    let (page, next) = query.page(
        world,
        setting,
        Action::ListSnapshotBlocks,
        &about,
        rest,
        |block| block.0,
    );
    let blocks: Vec<Value> = page
        .iter()
        .map(|(index, block)| {
            json!({ "BlockIndex": index, "BlockToken": block_token(world, &snapshot, *index, block) })
        })
        .collect();
    Ok(listing(&snapshot, setting, "Blocks", blocks, next))
}

/// ListChangedBlocks: what was put between two snapshots of one lineage. A block counts as changed
/// when another put wrote it, even if that put wrote the same bytes.
pub(crate) fn list_changed(
    world: &World,
    setting: &Setting,
    target: &Target,
    query: Option<&str>,
) -> Result<Success, Refusal> {
    let second = target.snapshot_id()?;
    let query = Query::parse(query)?;
    let first = query
        .first
        .as_deref()
        .ok_or_else(|| parameter("firstSnapshotId is required"))?;
    let old = world.readable(first)?;
    let new = world.readable(second)?;
    if old.lineage != new.lineage || old.id == new.id {
        return Err(Refusal::validation(
            "UNRELATED_SNAPSHOTS",
            format!(
                "The specified snapshots '{first}' and '{second}' do not have the same lineage"
            ),
        ));
    }
    let about = format!("changed {first} {second}");
    let start = query.start(world, setting, &about)?;
    if query.page.is_none() {
        old.list_again();
        new.list_again();
    }
    let changed = difference(
        &old.effective(world.minute()),
        &new.effective(world.minute()),
        start,
    );
    let (page, next) = query.page(
        world,
        setting,
        Action::ListChangedBlocks,
        &about,
        &changed,
        |block| block.0,
    );
    let blocks: Vec<Value> = page
        .iter()
        .map(|(index, before, after)| {
            let mut block = json!({ "BlockIndex": index });
            if let Some(before) = before {
                block["FirstBlockToken"] = block_token(world, &old, *index, before).into();
            }
            if let Some(after) = after {
                block["SecondBlockToken"] = block_token(world, &new, *index, after).into();
            }
            block
        })
        .collect();
    Ok(listing(&new, setting, "ChangedBlocks", blocks, next))
}

/// GetSnapshotBlock.
pub(crate) fn get(
    world: &World,
    setting: &Setting,
    target: &Target,
    query: Option<&str>,
) -> Result<Success, Refusal> {
    let id = target.snapshot_id()?;
    let index = target.block_index()?;
    let query: HashMap<String, String> = pairs(query.unwrap_or_default(), false)
        .into_iter()
        .collect();
    let token = query
        .get("blockToken")
        .map(String::as_str)
        .unwrap_or_default();
    let bad_token = || {
        Refusal::validation(
            "INVALID_BLOCK_TOKEN",
            format!("the block token {token:?} is not valid for block {index} of {id}"),
        )
    };
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err(bad_token());
    }
    let snapshot = world.readable(id)?;
    if u64::from(index) >= snapshot.volume_blocks() {
        let message = format!("BlockIndex {index} is beyond the volume");
        return Err(Refusal::validation("INVALID_BLOCK", message));
    }
    let about = format!("block {id} {index}");
    let [version, listing, made] = world.tokens.read(&about, token).ok_or_else(bad_token)?;
    let old = listing != snapshot.listing() && !setting.faults.old_tokens_stay;
    if old || now_ms().saturating_sub(made) > life(setting.faults.block_token_ms, BLOCK_TOKEN_MS) {
        return Err(bad_token());
    }
    let blocks = snapshot.effective(world.minute());
    let block = blocks
        .binary_search_by_key(&index, |(index, _)| *index)
        .ok()
        .and_then(|position| blocks.get(position))
        .map(|(_, block)| block)
        .filter(|block| block.version == version)
        .ok_or_else(bad_token)?;
    let mut body = block.data.clone().ok_or_else(|| {
        Refusal::validation(
            "INVALID_BLOCK",
            "this fake keeps digests only: start it with data",
        )
    })?;
    let mut digest = block.digest;
    if setting.draw(Draw::WrongChecksum, Action::GetSnapshotBlock) {
        digest[0] ^= 1;
    }
    if setting.draw(Draw::WrongData, Action::GetSnapshotBlock) {
        let mut bytes = body.to_vec();
        let at = usize::try_from(world.switches.random.below(524_288)).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        body = Bytes::from(bytes);
    }
    Ok(Success {
        status: StatusCode::OK,
        headers: vec![
            ("x-amz-data-length", BLOCK.to_string()),
            ("x-amz-checksum", STANDARD.encode(digest)),
            ("x-amz-checksum-algorithm", "SHA256".into()),
        ],
        body,
        content_type: "application/octet-stream",
    })
}

/// The query of the list actions.
#[derive(Debug)]
struct Query {
    page: Option<String>,
    max: usize,
    start: u64,
    first: Option<String>,
}

impl Query {
    fn parse(query: Option<&str>) -> Result<Query, Refusal> {
        let mut out = Query {
            page: None,
            max: MAX_RESULTS,
            start: 0,
            first: None,
        };
        for (name, value) in pairs(query.unwrap_or_default(), false) {
            match name.as_str() {
                "pageToken" => out.page = Some(value),
                "maxResults" => {
                    out.max = value
                        .parse()
                        .ok()
                        .filter(|max| (100..=MAX_RESULTS).contains(max))
                        .ok_or_else(|| {
                            parameter(format!("maxResults must be 100 to 10000, not {value}"))
                        })?;
                }
                "startingBlockIndex" => {
                    let index = value
                        .parse::<i32>()
                        .ok()
                        .and_then(|index| u64::try_from(index).ok());
                    out.start = index.ok_or_else(|| {
                        parameter(format!("startingBlockIndex must be from 0, not {value}"))
                    })?;
                }
                "firstSnapshotId" => out.first = Some(value),
                // The service ignores what it does not know.
                _ => {}
            }
        }
        Ok(out)
    }

    /// The first index of this page: the page token's if there is one.
    fn start(&self, world: &World, setting: &Setting, about: &str) -> Result<u64, Refusal> {
        let Some(token) = &self.page else {
            return Ok(self.start);
        };
        let life = life(setting.faults.page_token_ms, PAGE_TOKEN_MS);
        match world.tokens.read::<2>(&format!("page {about}"), token) {
            Some([start, made]) if now_ms().saturating_sub(made) <= life => Ok(start),
            _ => Err(Refusal::validation(
                "INVALID_PAGE_TOKEN",
                format!("the page token {token:?} is not valid for this list"),
            )),
        }
    }

    /// Cuts a page off `rest`, and makes the token of the next if there is more.
    fn page<'a, T>(
        &self,
        world: &World,
        setting: &Setting,
        action: Action,
        about: &str,
        rest: &'a [T],
        index: impl Fn(&T) -> u32,
    ) -> (&'a [T], Option<String>) {
        let mut most = self.max;
        if setting.faults.page_limit != 0 {
            most = most.min(setting.faults.page_limit);
        }
        if !rest.is_empty() && setting.draw(Draw::EmptyPage, action) {
            most = 0;
        }
        let (page, after) = rest.split_at(most.min(rest.len()));
        let token = after.first().map(|block| {
            world.tokens.make(
                &format!("page {about}"),
                &[u64::from(index(block)), now_ms()],
            )
        });
        (page, token)
    }
}

type Changed = (u32, Option<Block>, Option<Block>);

/// The blocks from `start` on that two ascending lists do not share.
fn difference(old: &[(u32, Block)], new: &[(u32, Block)], start: u64) -> Vec<Changed> {
    let mut out = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let (before, after) = match (old.peek(), new.peek()) {
            (None, None) => return out,
            (Some((a, _)), Some((b, _))) if a == b => (old.next(), new.next()),
            (Some((a, _)), Some((b, _))) if a > b => (None, new.next()),
            (None, Some(_)) => (None, new.next()),
            (Some(_), _) => (old.next(), None),
        };
        let version = |block: Option<&(u32, Block)>| block.map(|(_, block)| block.version);
        let Some((index, _)) = before.or(after) else {
            return out;
        };
        if u64::from(*index) >= start && version(before) != version(after) {
            let block = |block: Option<&(u32, Block)>| block.map(|(_, block)| block.clone());
            out.push((*index, block(before), block(after)));
        }
    }
}

fn block_token(world: &World, snapshot: &Snapshot, index: u32, block: &Block) -> String {
    let about = format!("block {} {index}", snapshot.id);
    world
        .tokens
        .make(&about, &[block.version, snapshot.listing(), now_ms()])
}

/// What a switch says, if it says something.
fn life(switch: u64, otherwise: u64) -> u64 {
    if switch == 0 { otherwise } else { switch }
}

fn listing(
    snapshot: &Snapshot,
    setting: &Setting,
    name: &'static str,
    blocks: Vec<Value>,
    next: Option<String>,
) -> Success {
    let mut body = json!({
        "ExpiryTime": seconds(now_ms().saturating_add(life(setting.faults.block_token_ms, BLOCK_TOKEN_MS))),
        "VolumeSize": snapshot.origin.volume_size,
        "BlockSize": BLOCK,
    });
    body[name] = blocks.into();
    if let Some(next) = next {
        body["NextToken"] = next.into();
    }
    Success::json(StatusCode::OK, &body)
}

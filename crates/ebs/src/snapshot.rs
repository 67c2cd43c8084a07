//! A snapshot in EBS as a block device, read on demand.

use crate::blocks::Blocks;
use crate::calls::Got;
use crate::failure::Kind;
use crate::retry::End;
use crate::{Action, Ebs, Error};
use block::{BlockRead, Extent, ExtentKind};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress, Task, Unit};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use store::{BLOCK, Digest, Index, Record, ZERO};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

/// A snapshot in EBS as a block device.
///
/// Only blocks that are read are fetched, each once as long as it is among the last ones used, and
/// checked against its checksum. What the snapshot does not hold reads as zeros; in an encrypted
/// snapshot the service does not say what a volume made of it has there.
#[derive(Clone)]
pub struct EbsSnapshot(Arc<Inner>);

struct Inner {
    ebs: Ebs,
    id: String,
    size: u64,
    interrupt: Interrupt,
    blocks: RwLock<Arc<Blocks>>,
    /// Held while the blocks are listed again, so that it is done once.
    refresh: tokio::sync::Mutex<()>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<u32, (Arc<OnceCell<Content>>, u64)>,
    clock: u64,
}

type Content = Arc<Vec<u8>>;

/// Blocks that are kept: 32 MiB, a file system's metadata and the file that is being read.
const CACHED: usize = 64;
/// Blocks of one large read that are fetched at a time.
const AT_A_TIME: u32 = 16;
/// Tokens live for seven days.
const TOKENS_LIVE: Duration = Duration::from_secs(6 * 24 * 3600);
/// Others who list the same snapshot void our tokens, but not all the time.
const MAX_REFRESHES: u32 = 8;

impl Ebs {
    /// Opens a completed snapshot; reading from it ends with an error once `interrupt` is set.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::Refused`] if it is not completed, and as the service says.
    pub fn open(&self, id: &str, interrupt: &Interrupt) -> Result<EbsSnapshot, Error> {
        crate::info::check_id(id)?;
        let blocks = self.wait(interrupt, self.blocks(id))?;
        Ok(EbsSnapshot(Arc::new(Inner {
            ebs: self.clone(),
            id: id.to_owned(),
            size: blocks.size,
            interrupt: interrupt.clone(),
            blocks: RwLock::new(Arc::new(blocks)),
            refresh: tokio::sync::Mutex::default(),
            cache: Mutex::default(),
        })))
    }
}

impl EbsSnapshot {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// How many blocks it holds, own and inherited.
    pub fn blocks(&self) -> usize {
        self.0.blocks().len()
    }
}

impl EbsSnapshot {
    /// The digests of the blocks it holds, or of those that lie within some bytes of the disk. All of
    /// them are read, unless they were a moment ago.
    ///
    /// # Errors
    /// As the service says; [`Error::Interrupted`].
    pub fn index(
        &self,
        within: Option<&[Range<u64>]>,
        progress: &dyn Progress,
    ) -> Result<Index, Error> {
        let blocks = self.0.blocks();
        let wanted = match within {
            None => (0..blocks.len()).filter_map(|at| blocks.at(at)).collect(),
            Some(ranges) => blocks.within(ranges),
        };
        let keep = within.is_some();
        let total = u64_of(wanted.len()).saturating_mul(BLOCK);
        let task = progress.start("reading", Unit::Bytes, Some(total));
        let work = self.0.clone().digests(wanted, keep, &*task);
        let mut records = self.0.ebs.wait(&self.0.interrupt, work)?;
        records.sort_unstable_by_key(|record| record.0);
        // The list of blocks has each of them once.
        Ok(Index::from_records(records).unwrap_or_default())
    }
}

impl Inner {
    /// The digests of some blocks, in any order; `keep` lets the blocks into the cache.
    async fn digests(
        self: Arc<Self>,
        wanted: Vec<u32>,
        keep: bool,
        task: &dyn Task,
    ) -> Result<Vec<Record>, Error> {
        let adapt = &self.ebs.0.traffic.adapt;
        let mut records = Vec::with_capacity(wanted.len());
        let mut wanted = wanted.into_iter();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < adapt.slots()
                && let Some(block) = wanted.next()
            {
                let inner = self.clone();
                tasks.spawn(async move {
                    let digest = inner.digest(block, keep).await?;
                    Ok::<Record, Error>((block, digest))
                });
            }
            let Some(done) = tasks.join_next().await else {
                return Ok(records);
            };
            records.push(done.unwrap_or_else(|error| Err(broken(&error)))?);
            task.advance(BLOCK);
        }
    }

    async fn digest(&self, block: u32, keep: bool) -> Result<Digest, Error> {
        if !keep {
            return Ok(self.fetch(block).await?.digest);
        }
        let content = self.content(block).await?;
        Ok(content.map_or(ZERO, |content| Sha256::digest(&*content).into()))
    }
}

/// A task that did not come to its end.
fn broken(error: &tokio::task::JoinError) -> Error {
    Error::Answer {
        action: Action::GetSnapshotBlock,
        what: error.to_string(),
    }
}

impl Inner {
    fn blocks(&self) -> Arc<Blocks> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        blocks.clone()
    }

    /// The block's content, from the cache or the service; `None` if the snapshot has none.
    async fn content(&self, block: u32) -> Result<Option<Content>, Error> {
        if self.blocks().find(block).is_err() {
            return Ok(None);
        }
        let cell = self.cache().cell(block);
        // Whoever comes first fetches, the others wait for the same answer.
        let content = cell.get_or_try_init(|| async {
            let got = self.fetch(block).await?;
            Ok::<_, Error>(Arc::new(got.content))
        });
        content.await.cloned().map(Some)
    }

    async fn fetch(&self, block: u32) -> Result<Got, Error> {
        let mut refreshes = 0_u32;
        loop {
            let mut blocks = self.blocks();
            if blocks.listed.elapsed() > TOKENS_LIVE {
                blocks = self.list_again(&blocks).await?;
            }
            let gone = || Error::Answer {
                action: Action::ListSnapshotBlocks,
                what: format!("block {block} was listed before and is no more"),
            };
            let position = blocks.find(block).map_err(|_| gone())?;
            let token = blocks.token(position)?;
            match self.ebs.get(&self.id, block, &token).await {
                Ok(got) => return Ok(got),
                Err(End::Failed(failure, _)) if failure.kind == Kind::Token => {
                    refreshes = refreshes.saturating_add(1);
                    if refreshes > MAX_REFRESHES {
                        return Err(failure.into_error(Action::GetSnapshotBlock));
                    }
                    self.list_again(&blocks).await?;
                }
                Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => {
                    return Err(Error::NoSnapshot(self.id.clone()));
                }
                Err(end) => return Err(end.into_error(Action::GetSnapshotBlock)),
            }
        }
    }

    /// Lists the blocks again, unless somebody has done so since `stale`.
    async fn list_again(&self, stale: &Arc<Blocks>) -> Result<Arc<Blocks>, Error> {
        let _alone = self.refresh.lock().await;
        let now = self.blocks();
        if !Arc::ptr_eq(&now, stale) {
            return Ok(now);
        }
        let fresh = Arc::new(self.ebs.blocks(&self.id).await?);
        if fresh.size != self.size || fresh.len() != stale.len() {
            return Err(Error::Answer {
                action: Action::ListSnapshotBlocks,
                what: "the snapshot is not the one that was listed before".to_owned(),
            });
        }
        *self.blocks.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Entries are whole whenever the lock is free.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// The cell of a block, as the one used last.
    fn cell(&mut self, block: u32) -> Arc<OnceCell<Content>> {
        self.clock = self.clock.saturating_add(1);
        if let Some((cell, used)) = self.entries.get_mut(&block) {
            *used = self.clock;
            return cell.clone();
        }
        if self.entries.len() >= CACHED {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(block, _)| *block) {
                self.entries.remove(&oldest);
            }
        }
        let cell = Arc::<OnceCell<Content>>::default();
        self.entries.insert(block, (cell.clone(), self.clock));
        cell
    }
}

/// The part of a read that lies in one block.
#[derive(Clone, Copy)]
struct Part {
    block: u32,
    within: usize,
    /// In the buffer.
    at: usize,
    len: usize,
}

impl Inner {
    /// Fetches the blocks of some parts at a time.
    async fn contents(self: Arc<Self>, parts: &[Part]) -> Result<Vec<Option<Content>>, Error> {
        if let [part] = parts {
            return Ok(vec![self.content(part.block).await?]);
        }
        let mut tasks = JoinSet::new();
        for (at, part) in parts.iter().enumerate() {
            let (inner, block) = (self.clone(), part.block);
            tasks.spawn(async move { (at, inner.content(block).await) });
        }
        let mut contents = vec![None; parts.len()];
        while let Some(done) = tasks.join_next().await {
            let (at, content) = done.map_err(|error| broken(&error))?;
            if let Some(slot) = contents.get_mut(at) {
                *slot = content?;
            }
        }
        Ok(contents)
    }
}

impl BlockRead for EbsSnapshot {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        let (size, len) = (self.0.size, u64_of(buf.len()));
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(block::Error::OutOfBounds { offset, len, size });
        }
        let failed = |error: Error| block::Error::Format {
            offset,
            source: error.into(),
        };
        let mut parts = Vec::new();
        let mut at = 0_usize;
        while at < buf.len() {
            parts.clear();
            while at < buf.len() && parts.len() < usize_of(u64::from(AT_A_TIME)) {
                let position = offset.saturating_add(u64_of(at));
                let within = usize_of(position % BLOCK);
                let rest = usize_of(BLOCK).saturating_sub(within);
                let len = rest.min(buf.len().saturating_sub(at));
                // The size is at most 64 TiB.
                let block = u32::try_from(position / BLOCK).unwrap_or(u32::MAX);
                parts.push(Part {
                    block,
                    within,
                    at,
                    len,
                });
                at = at.saturating_add(len);
            }
            let work = self.0.clone().contents(&parts);
            let contents = self.0.ebs.wait(&self.0.interrupt, work).map_err(failed)?;
            for (part, content) in parts.iter().zip(contents) {
                // Both ends were computed to lie inside above.
                let into = &mut buf[part.at..part.at.saturating_add(part.len)];
                match content {
                    None => into.fill(0),
                    Some(content) => {
                        let end = part.within.saturating_add(part.len);
                        into.copy_from_slice(&content[part.within..end]);
                    }
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        let size = self.0.size;
        if offset >= size {
            let len = 1;
            return Err(block::Error::OutOfBounds { offset, len, size });
        }
        let blocks = self.0.blocks();
        let start_of = |block: u32| u64::from(block).saturating_mul(BLOCK).min(size);
        let end_of = |block: u32| start_of(block).saturating_add(BLOCK).min(size);
        // The size is at most 64 TiB.
        let block = u32::try_from(offset / BLOCK).unwrap_or(u32::MAX);
        Ok(match blocks.find(block) {
            Ok(_) => Extent {
                range: start_of(block)..end_of(block),
                kind: ExtentKind::Data,
            },
            Err(next) => {
                let before = next.checked_sub(1).and_then(|at| blocks.at(at));
                Extent {
                    range: before.map_or(0, end_of)..blocks.at(next).map_or(size, start_of),
                    kind: ExtentKind::Zero,
                }
            }
        })
    }

    /// Who reads all of it waits for so many blocks at a time, not for one after another.
    fn granule(&self) -> u64 {
        u64::from(AT_A_TIME).saturating_mul(BLOCK)
    }
}

impl fmt::Debug for EbsSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EbsSnapshot")
            .field("id", &self.0.id)
            .field("size", &self.0.size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_used_longest_ago_makes_room() {
        let mut cache = Cache::default();
        for block in 0..64 {
            cache.cell(block);
        }
        cache.cell(0);
        cache.cell(64);
        assert_eq!(cache.entries.len(), CACHED);
        assert!(cache.entries.contains_key(&0) && !cache.entries.contains_key(&1));
    }
}

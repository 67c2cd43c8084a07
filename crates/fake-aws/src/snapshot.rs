//! One snapshot: its blocks, its states, and what it inherits.

use crate::error::Refusal;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a block.
pub const BLOCK: usize = 524_288;

/// Blocks of a GiB.
pub(crate) const BLOCKS_PER_GIB: u64 = 2048;

/// A block as it was put.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) digest: [u8; 32],
    /// None when only digests are kept.
    pub(crate) data: Option<Bytes>,
    /// The put that wrote it: no other put has the same.
    pub(crate) version: u64,
}

/// Where a snapshot stands. The wire knows three words for it, of which `pending` is the first two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Writing,
    Completing { at: Instant, fails: Option<String> },
    Completed,
    Error(String),
}

impl Phase {
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Phase::Writing | Phase::Completing { .. } => "pending",
            Phase::Completed => "completed",
            Phase::Error(_) => "error",
        }
    }
}

/// What StartSnapshot settled.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) parent: Option<Arc<Snapshot>>,
    /// GiB.
    pub(crate) volume_size: u32,
    /// The key; none: not encrypted.
    pub(crate) key: Option<String>,
    pub(crate) description: Option<String>,
    /// Minutes without a put after which the snapshot is given up.
    pub(crate) timeout: u64,
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) origin: Origin,
    /// The first snapshot of the chain has its own number here, its descendants have the same.
    pub(crate) lineage: u64,
    /// Milliseconds since 1970.
    pub(crate) start_time: u64,
    pub(crate) born: Instant,
    live: Mutex<Live>,
    effective: OnceLock<Arc<Vec<(u32, Block)>>>,
    /// How often it was listed; block tokens of an earlier listing are stale.
    listing: AtomicU64,
}

/// The part that changes.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) phase: Phase,
    pub(crate) last_write: Instant,
    pub(crate) blocks: BTreeMap<u32, Block>,
    /// Blocks whose bytes are coming in right now.
    writing: HashSet<u32>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Snapshot {
    pub(crate) fn new(
        id: String,
        number: u64,
        start_time: u64,
        origin: Origin,
        tags: BTreeMap<String, String>,
    ) -> Self {
        let lineage = origin
            .parent
            .as_ref()
            .map_or(number, |parent| parent.lineage);
        let now = Instant::now();
        Snapshot {
            id,
            origin,
            lineage,
            start_time,
            born: now,
            live: Mutex::new(Live {
                phase: Phase::Writing,
                last_write: now,
                blocks: BTreeMap::new(),
                writing: HashSet::new(),
                tags,
            }),
            effective: OnceLock::new(),
            listing: AtomicU64::new(0),
        }
    }

    /// The changing part, after what time has done to it. A minute of Timeout is `minute`.
    pub(crate) fn live(&self, minute: Duration) -> MutexGuard<'_, Live> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &live.phase {
            Phase::Completing { at, fails } if *at <= now => {
                live.phase = fails.clone().map_or(Phase::Completed, Phase::Error);
            }
            Phase::Writing => {
                let patience =
                    minute.saturating_mul(u32::try_from(self.origin.timeout).unwrap_or(u32::MAX));
                // A block that is coming in is activity, however slowly it comes.
                if live.writing.is_empty()
                    && now.saturating_duration_since(live.last_write) > patience
                {
                    live.phase = Phase::Error("Snapshot timed out before it was completed".into());
                }
            }
            _ => {}
        }
        live
    }

    /// How many blocks the volume has.
    pub(crate) fn volume_blocks(&self) -> u64 {
        u64::from(self.origin.volume_size) * BLOCKS_PER_GIB
    }

    /// The blocks of a completed snapshot, inherited ones among them, ascending.
    pub(crate) fn effective(&self, minute: Duration) -> Arc<Vec<(u32, Block)>> {
        if let Some(done) = self.effective.get() {
            return done.clone();
        }
        let live = self.live(minute);
        let (own, completed) = (live.blocks.clone(), live.phase == Phase::Completed);
        drop(live);
        let mut all = match &self.origin.parent {
            Some(parent) => parent.effective(minute).iter().cloned().collect(),
            None => BTreeMap::new(),
        };
        all.extend(own);
        let all = Arc::new(all.into_iter().collect::<Vec<_>>());
        // Nothing can change a completed snapshot any more.
        if completed {
            self.effective.get_or_init(|| all).clone()
        } else {
            all
        }
    }

    /// Begins another listing.
    pub(crate) fn list_again(&self) {
        self.listing.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn listing(&self) -> u64 {
        self.listing.load(Ordering::Relaxed)
    }

    /// Claims a block for one writer until the claim is dropped.
    pub(crate) fn claim(self: &Arc<Self>, index: u32, minute: Duration) -> Result<Claim, Refusal> {
        let mut live = self.live(minute);
        live.writable(&self.id)?;
        if !live.writing.insert(index) {
            return Err(Refusal::validation(
                "CONFLICTING_BLOCK_UPDATE",
                format!(
                    "block {index} of {} is being written by another request",
                    self.id
                ),
            ));
        }
        Ok(Claim {
            snapshot: self.clone(),
            index,
        })
    }
}

impl Live {
    /// Refuses a write to what is not pending.
    pub(crate) fn writable(&self, id: &str) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Writing => Ok(()),
            other => Err(Refusal::validation(
                "INVALID_SNAPSHOT_ID",
                format!(
                    "The snapshot '{id}' is not pending: {}",
                    if matches!(other, Phase::Completing { .. }) {
                        "completing"
                    } else {
                        other.status()
                    }
                ),
            )),
        }
    }

    /// What CompleteSnapshot's optional checksum must be: SHA-256 over the raw digests, ascending.
    pub(crate) fn aggregate(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for block in self.blocks.values() {
            hash.update(block.digest);
        }
        hash.finalize().into()
    }
}

/// A block that is being written by one request.
#[derive(Debug)]
pub(crate) struct Claim {
    snapshot: Arc<Snapshot>,
    index: u32,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut live = self
            .snapshot
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        live.writing.remove(&self.index);
    }
}

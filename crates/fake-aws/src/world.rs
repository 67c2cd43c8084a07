//! The account: its snapshots, by id and by client token, and all that EC2 has.

use crate::action::snapshot_id;
use crate::chance::{Buckets, Switches};
use crate::clock::now_ms;
use crate::config::Config;
use crate::ec2::Cloud;
use crate::error::Refusal;
use crate::hold::Holds;
use crate::line::Line;
use crate::log::Log;
use crate::snapshot::{Origin, Phase, Snapshot};
use crate::token::Tokens;
use hyper::StatusCode;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) switches: Switches,
    pub(crate) buckets: Buckets,
    pub(crate) tokens: Tokens,
    pub(crate) log: Log,
    pub(crate) line: Line,
    pub(crate) holds: Holds,
    versions: AtomicU64,
    account: Mutex<Account>,
    /// Locked before the account where both are.
    cloud: Mutex<Cloud>,
}

#[derive(Debug, Default)]
struct Account {
    snapshots: BTreeMap<String, Arc<Snapshot>>,
    /// What a client token was used for: the request's parameters, and the snapshot.
    client_tokens: HashMap<String, (String, String)>,
    number: u64,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        World {
            switches: Switches::new(config.faults.clone(), config.seed),
            buckets: Buckets::default(),
            tokens: Tokens::new(config.seed),
            log: Log::new(config.log_limit),
            versions: AtomicU64::new(0),
            line: Line::default(),
            holds: Holds::default(),
            account: Mutex::default(),
            cloud: Mutex::new(Cloud::new(config.surroundings.clone())),
            config,
        }
    }

    /// The length of a minute of StartSnapshot's Timeout.
    pub(crate) fn minute(&self) -> Duration {
        match self.switches.get().faults.minute_ms {
            0 => Duration::from_secs(60),
            ms => Duration::from_millis(ms),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn snapshot(&self, id: &str) -> Option<Arc<Snapshot>> {
        self.account().snapshots.get(id).cloned()
    }

    pub(crate) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.account().snapshots.values().cloned().collect()
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Snapshot>> {
        let mut account = self.account();
        account
            .client_tokens
            .retain(|_, (_, snapshot)| snapshot != id);
        account.snapshots.remove(id)
    }

    /// The snapshot of that id, once its form is checked.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Snapshot>, Refusal> {
        self.snapshot(snapshot_id(id)?)
            .ok_or_else(|| Refusal::no_snapshot(id))
    }

    /// The snapshot of that id, if it is completed.
    pub(crate) fn readable(&self, id: &str) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.find(id)?;
        let phase = snapshot.live(self.minute()).phase.clone();
        if phase != Phase::Completed {
            let message = format!(
                "The snapshot '{id}' is not completed but {}",
                phase.status()
            );
            return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
        }
        Ok(snapshot)
    }

    /// Makes a pending snapshot, or finds the one that the same client token made.
    pub(crate) fn start(
        &self,
        client_token: Option<(String, String)>,
        tags: BTreeMap<String, String>,
        origin: impl FnOnce() -> Result<Origin, Refusal>,
    ) -> Result<Arc<Snapshot>, Refusal> {
        if let Some(earlier) = self.started(client_token.as_ref())? {
            return Ok(earlier);
        }
        let origin = origin()?;
        let minute = self.minute();
        let pending = |snapshot: &&Arc<Snapshot>| snapshot.live(minute).phase.status() == "pending";
        let mut account = self.account();
        if account.snapshots.len() >= self.config.snapshot_limit {
            let message = "The snapshots of this account and region have reached their quota.";
            let status = StatusCode::PAYMENT_REQUIRED;
            return Err(
                Refusal::new(status, "ServiceQuotaExceededException", message)
                    .because("DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
            );
        }
        if account.snapshots.values().filter(pending).count() >= self.config.pending_limit {
            let message = "You have reached the limit for concurrent pending snapshots.";
            let status = StatusCode::BAD_REQUEST;
            return Err(Refusal::new(
                status,
                "ConcurrentLimitExceededException",
                message,
            ));
        }
        // Another request with the token may have come meanwhile.
        if let Some((token, parameters)) = client_token {
            if let Some((earlier, id)) = account.client_tokens.get(&token) {
                if *earlier != parameters {
                    return Err(conflict());
                }
                if let Some(snapshot) = account.snapshots.get(id) {
                    return Ok(snapshot.clone());
                }
            }
            let snapshot = self.add(&mut account, origin, tags);
            account
                .client_tokens
                .insert(token, (parameters, snapshot.id.clone()));
            return Ok(snapshot);
        }
        Ok(self.add(&mut account, origin, tags))
    }

    /// Makes a pending snapshot past all limits.
    pub(crate) fn plant(&self, origin: Origin, tags: BTreeMap<String, String>) -> Arc<Snapshot> {
        self.add(&mut self.account(), origin, tags)
    }

    fn started(&self, token: Option<&(String, String)>) -> Result<Option<Arc<Snapshot>>, Refusal> {
        let account = self.account();
        let Some((token, parameters)) = token else {
            return Ok(None);
        };
        match account.client_tokens.get(token) {
            Some((earlier, _)) if earlier != parameters => Err(conflict()),
            Some((_, id)) => Ok(account.snapshots.get(id).cloned()),
            None => Ok(None),
        }
    }

    fn add(
        &self,
        account: &mut Account,
        origin: Origin,
        tags: BTreeMap<String, String>,
    ) -> Arc<Snapshot> {
        account.number += 1;
        let number = account.number;
        // Seventeen hex digits as EC2 makes them; drawn again in the case that never happens.
        let id = loop {
            let id = format!("snap-0{:016x}", self.switches.random.bits());
            if !account.snapshots.contains_key(&id) {
                break id;
            }
        };
        let snapshot = Arc::new(Snapshot::new(id.clone(), number, now_ms(), origin, tags));
        account.snapshots.insert(id, snapshot.clone());
        snapshot
    }

    /// All of EC2 but snapshots, as it stands now.
    pub(crate) fn cloud(&self) -> MutexGuard<'_, Cloud> {
        let mut cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        cloud.pass_time(Instant::now());
        cloud
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn conflict() -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        "ConflictException",
        "You have reused a client token with different parameters",
    )
}

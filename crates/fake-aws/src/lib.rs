//! An honest fake of the EBS direct APIs, and of the EC2 actions that make machines of snapshots.
//!
//! It is for tests, demos and benches: a server on a real socket, plain HTTP, that refuses what the
//! real service refuses, forgets nothing that a client has to cope with, and misbehaves when told to.
//!
//! ```
//! use fake_aws::{Config, FakeAws, Faults};
//!
//! let fake = FakeAws::start(Config::default())?;
//! println!("AWS_ENDPOINT_URL_EBS={}", fake.endpoint());
//! fake.set_faults(Faults { latency_ms: 50, ..Faults::default() });
//! assert!(fake.log().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What it checks
//!
//! "Model" is the service's API model as SDKs have it, "guide" the EBS user guide, "reports" what
//! users of the real service wrote down. The tests in `tests/` go through this list.
//!
//! | rule | known from |
//! |---|---|
//! | paths, methods, 201/202/200, names and headers | model |
//! | errors: `Message`, `Reason`, `x-amzn-errortype` with a URI behind the name | model |
//! | VolumeSize 1..65536 GiB, Timeout 10..4320 min, Description ≤ 255, 50 tags of 127 and 255 | model |
//! | ClientToken 1..64 printable ASCII (the model says 255; this is the stricter) | guide |
//! | same token and parameters: the same snapshot, with its status; other parameters: 409 | guide |
//! | KmsKeyArn a full key ARN; not with a parent, nor with `Encrypted: false` | model, guide |
//! | ParentSnapshotId and Encrypted exclude each other; encryption by default; inherited key | guide |
//! | parent exists, is completed, is not larger | guide; "not larger" from memory |
//! | 100 pending snapshots (400), 100,000 snapshots (402) | quotas, model |
//! | x-amz-Data-Length 524288, as many bytes, x-amz-Checksum of SHA256, x-amz-Progress 0..100 | model |
//! | index within the volume; no Content-Encoding; not two writers of one block at once | model |
//! | SHA-256 recomputed; another one: 403 InvalidSignatureException | reports |
//! | put again overwrites; put or complete when not pending is refused | model |
//! | CompleteSnapshot: 202 pending; a wrong count or LINEAR aggregate ends in `error` | reports |
//! | LINEAR is SHA-256 over the raw digests of the blocks put, ascending | coldsnap |
//! | no put for Timeout minutes: given up | model |
//! | reads of completed snapshots only | guide |
//! | lists ascend, maxResults 100..10000, startingBlockIndex, empty pages with NextToken | model, guide |
//! | page tokens: of that list only, one hour; block tokens: snapshot, index and version, 7 days or until the snapshot is listed again | guide |
//! | ListChangedBlocks by lineage, UNRELATED_SNAPSHOTS | guide, reports |
//! | GetSnapshotBlock: own and inherited blocks, with their checksum | model |
//! | tags need ec2:CreateTags | guide |
//! | SigV4: form, region and service of the scope, date within 5 min, `host` and `x-amz-*` signed, payload hash; UNSIGNED-PAYLOAD for PutSnapshotBlock alone; session token; signature | SigV4 guide |
//! | EC2: parameters (unknown ones are refused), filters with wildcards, paging, error codes; DryRun after all checks | EC2 model |
//! | tags on every resource, 50 of 128 and 256, no `aws:`; of new ones with TagSpecification | EC2 model |
//! | RegisterImage: i386 and paravirtual when nothing is said; one image of a name; snapshots completed, not larger than their volume, not with Encrypted; the root among the mappings; UEFI, TPM, UefiData, ENA, IMDSv2 with what they need | EC2 model, guide |
//! | a snapshot of an image is not deleted | guide |
//! | volume types: sizes, IOPS, throughput, their ratios; which boot | EC2 model, guide |
//! | RunInstances: type and image of one architecture, boot mode, virtualization, ENA, TPM; interfaces, addresses and volumes within the type's limits; names that exist; user data of 16 KiB | reports, guide |
//! | RunInstances answers without volumes; they are attached once the instance runs | memory |
//! | client token: the same instance, even when terminated; other parameters: IdempotentParameterMismatch | guide |
//! | an address is in use until its interface is gone, that is until the instance is terminated | guide |
//! | instances: pending, running, stopping, stopped, shutting-down, terminated; protection; volumes and interfaces that go with them or stay; gone from sight after an hour | guide |
//! | root volumes are detached from stopped instances only; attached volumes are not deleted | guide |
//!
//! Switches ([`Faults`]): latency, a slow line, rates, throttling, 5xx, resets before, after and within, slow
//! bodies, wrong checksums and data, the not-found window after StartSnapshot, lag of
//! Describe actions, the times of an instance's life ([`Life`]), no capacity, launches that fail,
//! late completion, completion to `error`, denied actions, expired credentials and
//! signatures, short and empty pages, a short minute for Timeout, short-lived tokens. [`Config::keep_data`] off keeps digests only.
//!
//! # Killing a client
//!
//! [`FakeAws::hold`] stops the n-th request, before or after it took effect, and every request after
//! it; [`FakeAws::held`] says that it is there. A test kills its client then, calls
//! [`FakeAws::release`], starts the client again, and looks at [`FakeAws::resources`] and
//! [`FakeAws::snapshots`]. When the client ends and nothing was held, n was past its last request.
//!
//! # What it does not
//!
//! Nothing here was compared with the real service. Not known, and so chosen: what a snapshot is after
//! Timeout (here `error`, writes are refused with ValidationException); whether CompleteSnapshot may
//! be repeated ([`Faults::repeat_complete`]); whether snapshots that only share an ancestor count as
//! related (here they do); whether a put of zeros is listed (here it is); what becomes of the client
//! token of a deleted snapshot (here it is free again); the precedence of two errors in one request.
//! Of EC2 also: which of several codes some refusals have; what DeleteOnTermination is when a mapping
//! does not say it (here it is true).
//! There is no TLS, no IAM but [`Faults::denied`], no KMS, one account and region, nothing public or
//! shared, one instance for each RunInstances, no launch templates, no spot, no instance stores.
//! What a volume holds is its snapshot; nothing boots. All is in memory, and gone with the process.

mod action;
mod body;
mod chance;
mod clock;
mod config;
mod control;
mod ebs;
mod ec2;
mod error;
mod hold;
mod line;
mod log;
mod server;
mod sigv4;
mod snapshot;
mod surroundings;
mod token;
mod world;

pub use action::Action;
pub use config::{Chance, Config, Credentials, Faults, Life, Limits, Probability, Signatures};
pub use ec2::{
    Address, Association, Image, Instance, InstanceState, Interface, InterfaceAttachment, Mapping,
    Metadata, Resources, Shape, Volume, VolumeAttachment, VolumeType,
};
pub use hold::{Held, Hold};
pub use log::{Counter, Entry};
pub use snapshot::BLOCK;
pub use surroundings::{Cidr, Host, PlacementGroup, SecurityGroup, Subnet, Surroundings, Vpc};

use crate::snapshot::{Block, Origin, Phase, Snapshot};
use crate::world::World;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A fake that is running. It stops when dropped.
#[derive(Debug)]
pub struct FakeAws {
    address: SocketAddr,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// A block of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentBlock {
    /// Its index.
    pub index: u32,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its bytes, if they are kept.
    pub data: Option<Bytes>,
}

/// A snapshot as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Its id.
    pub id: String,
    /// `pending`, `completed` or `error`.
    pub status: &'static str,
    /// Why it is in error.
    pub message: Option<String>,
    /// Its parent's id.
    pub parent: Option<String>,
    /// GiB.
    pub volume_size: u32,
    /// The key's ARN, if it is encrypted.
    pub key: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// How many blocks were put into it, each counted once.
    pub own_blocks: usize,
    /// Its idle time-out in minutes.
    pub timeout: u64,
}

/// A completed snapshot to plant.
#[derive(Debug, Clone, Default)]
pub struct Seed {
    /// GiB; 0 is 1.
    pub volume_size: u32,
    /// The parent's id.
    pub parent: Option<String>,
    /// The key's ARN, if it is encrypted.
    pub key: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its own blocks, each of [`BLOCK`] bytes.
    pub blocks: BTreeMap<u32, Bytes>,
}

impl FakeAws {
    /// Starts a fake on a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on, or threads cannot be made.
    pub fn start(config: Config) -> io::Result<FakeAws> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("fake-aws")
            .enable_all()
            .build()?;
        // Without waiting on the runtime, so that a test may itself run in one.
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let world = Arc::new(World::new(config));
        let (stop, stopped) = watch::channel(false);
        let serving = server::serve(world.clone(), listener, stopped);
        let thread = std::thread::Builder::new()
            .name("fake-aws".into())
            .spawn(move || {
                runtime.block_on(serving);
                // Connections that are still open are cut.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(FakeAws {
            address,
            world,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for `AWS_ENDPOINT_URL_EBS` and `AWS_ENDPOINT_URL_EC2`; without a slash at the end.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests up to now, in the order of their answers.
    pub fn log(&self) -> Vec<Entry> {
        self.world.log.since(0)
    }

    /// Counts by action, with the peak rates.
    pub fn counters(&self) -> BTreeMap<Action, Counter> {
        self.world.log.counters()
    }

    /// The counts of one action.
    pub fn counter(&self, action: Action) -> Counter {
        self.counters().get(&action).copied().unwrap_or_default()
    }

    /// The most requests of all actions that came within any one second.
    pub fn peak(&self) -> usize {
        self.world.log.peak()
    }

    /// Forgets the requests and counts up to now.
    pub fn clear_log(&self) {
        self.world.log.clear();
    }

    /// The switches as they are.
    pub fn faults(&self) -> Faults {
        self.world.switches.get().faults.clone()
    }

    /// Sets all switches; counts of "every n-th" begin again.
    pub fn set_faults(&self, faults: Faults) {
        self.world.switches.set(faults);
    }

    /// Holds, or resets, the n-th request from now on; what was held before is reset.
    pub fn hold(&self, hold: Hold) {
        self.world.holds.set(hold);
    }

    /// The request that [`Hold`] met, while it is held.
    pub fn held(&self) -> Option<Held> {
        self.world.holds.held()
    }

    /// How many requests [`Hold`] has counted.
    pub fn counted(&self) -> u64 {
        self.world.holds.seen()
    }

    /// Holds nothing any more. Requests that are held are reset; those that were held before their
    /// effect never have it.
    pub fn release(&self) {
        self.world.holds.release();
    }

    /// All that EC2 has besides snapshots, as it stands.
    pub fn resources(&self) -> Resources {
        self.world.cloud().resources()
    }

    /// The snapshot as it stands, if there is one of that id.
    pub fn snapshot(&self, id: &str) -> Option<State> {
        self.world
            .snapshot(id)
            .map(|snapshot| state(&self.world, &snapshot))
    }

    /// All snapshots, by id.
    pub fn snapshots(&self) -> Vec<State> {
        self.world
            .snapshots()
            .iter()
            .map(|snapshot| state(&self.world, snapshot))
            .collect()
    }

    /// What the snapshot holds, inherited blocks among it, ascending; of a pending one what it would.
    pub fn snapshot_content(&self, id: &str) -> Option<Vec<ContentBlock>> {
        self.world
            .snapshot(id)
            .map(|snapshot| content(&self.world, &snapshot))
    }

    /// Plants a completed snapshot, past all limits and the log. Its id.
    ///
    /// # Errors
    /// If the parent does not exist or is not completed, a block has another size than [`BLOCK`], or
    /// lies beyond the volume.
    pub fn seed_snapshot(&self, seed: Seed) -> io::Result<String> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let minute = self.world.minute();
        let volume_size = seed.volume_size.max(1);
        let parent = match &seed.parent {
            None => None,
            Some(id) => {
                let parent = self.world.snapshot(id);
                let completed = |it: &Arc<Snapshot>| it.live(minute).phase == Phase::Completed;
                Some(
                    parent
                        .filter(completed)
                        .ok_or_else(|| invalid(format!("no parent {id}")))?,
                )
            }
        };
        let end = u64::from(volume_size) * snapshot::BLOCKS_PER_GIB;
        let mut blocks = BTreeMap::new();
        for (index, data) in seed.blocks {
            if data.len() != BLOCK || u64::from(index) >= end {
                return Err(invalid(format!(
                    "block {index} has {} bytes, or is too far",
                    data.len()
                )));
            }
            let digest = Sha256::digest(&data).into();
            let data = self.world.config.keep_data.then_some(data);
            blocks.insert(
                index,
                Block {
                    digest,
                    data,
                    version: self.world.version(),
                },
            );
        }
        let (description, timeout) = (seed.description, 60);
        let origin = Origin {
            parent,
            volume_size,
            key: seed.key,
            description,
            timeout,
        };
        let snapshot = self.world.plant(origin, seed.tags);
        let mut live = snapshot.live(minute);
        live.blocks = blocks;
        live.phase = Phase::Completed;
        drop(live);
        Ok(snapshot.id.clone())
    }

    /// Gives up all snapshots that are being written, as their Timeout would. How many.
    pub fn expire_pending(&self) -> usize {
        expire(&self.world)
    }

    /// Stops; connections that are open are cut.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        // The receiver is gone only if the thread is.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and its requests have failed.
            let _ = thread.join();
        }
    }
}

fn state(world: &World, snapshot: &Snapshot) -> State {
    let live = snapshot.live(world.minute());
    let origin = &snapshot.origin;
    State {
        id: snapshot.id.clone(),
        status: live.phase.status(),
        message: match &live.phase {
            Phase::Error(why) => Some(why.clone()),
            _ => None,
        },
        parent: origin.parent.as_ref().map(|parent| parent.id.clone()),
        volume_size: origin.volume_size,
        key: origin.key.clone(),
        description: origin.description.clone(),
        tags: live.tags.clone(),
        own_blocks: live.blocks.len(),
        timeout: origin.timeout,
    }
}

fn content(world: &World, snapshot: &Snapshot) -> Vec<ContentBlock> {
    let block = |(index, block): &(u32, Block)| ContentBlock {
        index: *index,
        digest: block.digest,
        data: block.data.clone(),
    };
    snapshot
        .effective(world.minute())
        .iter()
        .map(block)
        .collect()
}

fn expire(world: &World) -> usize {
    let minute = world.minute();
    let mut expired = 0;
    for snapshot in world.snapshots() {
        let mut live = snapshot.live(minute);
        if live.phase == Phase::Writing {
            live.phase = Phase::Error("Snapshot timed out before it was completed".into());
            expired += 1;
        }
    }
    expired
}

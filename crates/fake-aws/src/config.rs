//! What the fake is told: the account it plays, and the switches that make it misbehave.

use crate::action::Action;
use crate::surroundings::Surroundings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The account and region that the fake plays. Fixed from the start on, but for [`Faults`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The region that credential scopes must name.
    pub region: String,
    /// The account's twelve digits.
    pub account: String,
    /// How closely signatures are looked at.
    pub signatures: Signatures,
    /// By how many seconds `X-Amz-Date` may differ from our clock.
    pub clock_skew: u64,
    /// How many snapshots may be pending at once (quota L-94D7AB7D).
    pub pending_limit: usize,
    /// How many snapshots the region may have (quota L-309BACF6).
    pub snapshot_limit: usize,
    /// The key of `Encrypted` without `KmsKeyArn`.
    pub default_key: String,
    /// The keys that exist; empty: any well-formed ARN does.
    pub keys: Vec<String>,
    /// Whether blocks are kept; if not, only their digests are, and GetSnapshotBlock is refused.
    pub keep_data: bool,
    /// Seed of everything random, snapshot ids and faults.
    pub seed: u64,
    /// Threads that serve; hashing happens on them.
    pub threads: usize,
    /// How many log entries are kept; the oldest go first. Counters are never dropped.
    pub log_limit: usize,
    /// The networks, roles and hosts that the account has.
    pub surroundings: Surroundings,
    /// The switches at the start.
    pub faults: Faults,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            region: "us-east-1".into(),
            account: "123456789012".into(),
            signatures: Signatures::Form,
            clock_skew: 300,
            pending_limit: 100,
            snapshot_limit: 100_000,
            default_key:
                "arn:aws:kms:us-east-1:123456789012:key/00000000-fake-4000-8000-000000000000".into(),
            keys: Vec::new(),
            keep_data: true,
            seed: 1,
            threads: 2,
            log_limit: 1_000_000,
            surroundings: Surroundings::default(),
            faults: Faults::default(),
        }
    }
}

/// How closely the signatures of requests (SigV4) are looked at.
#[derive(Debug, Clone, Default)]
pub enum Signatures {
    /// Not at all: for requests by hand.
    Off,
    /// The header's form, the scope, the date, and that what must be signed is listed as signed.
    #[default]
    Form,
    /// All of it, and the signature itself with these secrets.
    Verify(Vec<Credentials>),
}

/// Credentials that the fake knows.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The session token that must come with it, if they are temporary.
    pub session_token: Option<String>,
}

/// The switches: faults, limits and delays. All are off by default; the control endpoint reads and
/// writes them as JSON, where a missing field is off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Milliseconds that every request takes at least.
    pub latency_ms: u64,
    /// Up to so many more, at random.
    pub latency_jitter_ms: u64,
    /// Bytes in a second that the line to the service lets through, of all requests' bodies
    /// together; 0: no limit.
    pub line_bytes_per_second: u64,
    /// Quotas in requests per second; over them requests are throttled.
    pub limits: Limits,
    /// Throttled whatever the rate.
    pub throttle: Chance,
    /// Answered with 500.
    pub server_error: Chance,
    /// The connection is reset before the request's body is read; nothing happened.
    pub reset_before: Chance,
    /// The connection is reset after the request took effect; the answer is lost.
    pub reset_after: Chance,
    /// The connection is reset in the midst of the answer's body.
    pub reset_in_body: Chance,
    /// The answer's body comes in small pieces, and takes [`Faults::slow_body_ms`].
    pub slow_body: Chance,
    /// Milliseconds of a slow body.
    pub slow_body_ms: u64,
    /// GetSnapshotBlock says a checksum that is not the data's.
    pub wrong_checksum: Chance,
    /// GetSnapshotBlock has a flipped bit in the data, under the right checksum.
    pub wrong_data: Chance,
    /// PutSnapshotBlock answers ValidationException "Failed to read block data", which is to be retried.
    pub failed_to_read: Chance,
    /// A list's page is empty, with a NextToken.
    pub empty_page: Chance,
    /// A list's page has at most so many blocks, though MaxResults allows more; 0: as MaxResults says.
    pub page_limit: usize,
    /// For so long after StartSnapshot, PutSnapshotBlock may not find the snapshot.
    pub not_found_ms: u64,
    /// How often it does not within that time; 0 to 1.
    pub not_found_probability: Probability,
    /// For so long after a snapshot, image, instance or volume was made, Describe does not know it.
    pub describe_lag_ms: u64,
    /// From CompleteSnapshot to the final state.
    pub completion_delay_ms: u64,
    /// Completions that end in `error` whatever was put.
    pub complete_to_error: Chance,
    /// CompleteSnapshot may be repeated, and then answers the state; off: refused when not pending.
    pub repeat_complete: bool,
    /// Actions that IAM denies.
    pub denied: BTreeSet<Action>,
    /// The credentials' session is over.
    pub expired_credentials: bool,
    /// The signature is found to be too old, as after a long way or a clock that was set; signed
    /// again it is good.
    pub expired_signature: Chance,
    /// The account has encryption by default.
    pub encryption_by_default: bool,
    /// Milliseconds of one minute of StartSnapshot's Timeout; 0: 60000.
    pub minute_ms: u64,
    /// Block tokens stay good when the snapshot is listed again.
    pub old_tokens_stay: bool,
    /// Milliseconds that a block token lives; 0: seven days.
    pub block_token_ms: u64,
    /// Milliseconds that a page token lives; 0: an hour.
    pub page_token_ms: u64,
    /// RunInstances finds no free host, and answers InsufficientInstanceCapacity.
    pub insufficient_capacity: Chance,
    /// The instance goes from pending to terminated.
    pub launch_fails: Chance,
    /// The instance runs, but its status checks fail.
    pub impaired: Chance,
    /// What GetConsoleOutput tells; none: a line with the instance's id, and a login prompt.
    pub console: Option<String>,
    /// How long what EC2 does takes.
    pub life: Life,
}

/// How long EC2 takes, in milliseconds. What is under way keeps the times of its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// From RunInstances or StartInstances until the instance runs \[100\].
    pub pending_ms: u64,
    /// From running until the status checks are through \[100\].
    pub status_ms: u64,
    /// From StopInstances until the instance is stopped \[100\].
    pub stopping_ms: u64,
    /// From TerminateInstances until the instance is terminated, and its addresses are free \[100\].
    pub shutting_down_ms: u64,
    /// How long a terminated instance can still be seen \[an hour\].
    pub visible_ms: u64,
    /// From RegisterImage until the image is available \[0\].
    pub image_ms: u64,
    /// From CreateVolume until the volume is available \[0\].
    pub volume_ms: u64,
}

impl Default for Life {
    fn default() -> Self {
        Life {
            pending_ms: 100,
            status_ms: 100,
            stopping_ms: 100,
            shutting_down_ms: 100,
            visible_ms: 3_600_000,
            image_ms: 0,
            volume_ms: 0,
        }
    }
}

/// A probability; 1 by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probability(pub f64);

impl Default for Probability {
    fn default() -> Self {
        Probability(1.0)
    }
}

/// When a fault happens: every n-th time, and at random besides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chance {
    /// Every so many requests, counted over those that it can meet; 0: never.
    pub every: u64,
    /// With this probability, 0 to 1.
    pub probability: f64,
    /// The actions it meets; empty: all.
    pub actions: BTreeSet<Action>,
    /// At most so many times, until the switches are set again; none: for ever.
    pub at_most: Option<u64>,
}

impl Chance {
    /// Every `n`-th request.
    pub fn every(n: u64) -> Self {
        Chance {
            every: n,
            ..Chance::default()
        }
    }

    /// At random.
    pub fn probability(probability: f64) -> Self {
        Chance {
            probability,
            ..Chance::default()
        }
    }

    /// The next `n` requests.
    pub fn next(n: u64) -> Self {
        Chance {
            every: 1,
            at_most: Some(n),
            ..Chance::default()
        }
    }

    /// Only requests of these actions.
    #[must_use]
    pub fn of(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.actions = actions.into_iter().collect();
        self
    }
}

/// Requests per second; none: no limit. Each is a token bucket that refills steadily.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// PutSnapshotBlock, of the account.
    pub put: Option<f64>,
    /// PutSnapshotBlock, of one snapshot.
    pub put_snapshot: Option<f64>,
    /// GetSnapshotBlock, of the account.
    pub get: Option<f64>,
    /// GetSnapshotBlock, of one snapshot.
    pub get_snapshot: Option<f64>,
    /// Either list action, of the account.
    pub list: Option<f64>,
    /// StartSnapshot.
    pub start: Option<f64>,
    /// CompleteSnapshot.
    pub complete: Option<f64>,
    /// Actions of EC2, together.
    pub ec2: Option<f64>,
    /// Seconds of requests that a full bucket holds; 0: a tenth.
    pub burst: f64,
}

impl Limits {
    /// The quotas that an account has by default (Service Quotas L-AFAE1BE8 and its neighbours).
    pub fn quotas() -> Self {
        Limits {
            put: Some(1000.0),
            put_snapshot: Some(1000.0),
            get: Some(1000.0),
            get_snapshot: Some(1000.0),
            list: Some(50.0),
            start: Some(10.0),
            complete: Some(10.0),
            ..Limits::default()
        }
    }
}

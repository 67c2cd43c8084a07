//! Targets on Amazon EC2: images of converted snapshots, and instances of those, as a blueprint says.
//!
//! Nothing is kept on this machine. What was made is found by its tags, and each step can be done
//! again: an image by its unique name, an instance by its client token, the rest because a second
//! time changes nothing. A launch that was killed anywhere is continued by launching again with the
//! same number; the tag `rehost:state` comes last, and says that it is complete.
//!
//! What EC2 is asked for is asked again when it throttles, falls over or does not answer: after a
//! random pause of up to 0.2 s that doubles up to 5 s, for [`Limits::operation`] in all. What cannot
//! pass ends at once.
//!
//! All calls wait for their end, and look at the interrupt ten times in a second.
//!
//! ```no_run
//! use launch::ec2::{Ec2, Event, Limits, RemoveOptions};
//! use ondisk::Interrupt;
//!
//! let connection = aws::Connection::open(&aws::Config::default())?;
//! let ec2 = Ec2::new(connection, &Limits::default());
//! let interrupt = Interrupt::default();
//! let found = ec2.find("datacentre-exit", Some("web1"), &interrupt)?;
//! println!("launch {} was the last", found.highest_launch("web1"));
//! let mut tell = |event: Event| println!("{event}");
//! ec2.remove(&found.there, RemoveOptions::default(), &mut tell, &interrupt)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
mod check;
mod console;
mod describe;
mod error;
mod event;
mod failure;
mod find;
mod launch;
mod limits;
mod plan;
mod policy;
mod remove;
mod request;
mod retry;
pub mod tag;
mod target;
mod wait;

pub use crate::lifecycle::Kind;
pub use action::Action;
pub use check::{Finding, Level};
pub use error::Error;
pub use event::Event;
pub use find::{Found, Resource, Thing};
pub use limits::Limits;
pub use policy::{Grants, Use, policy};
pub use remove::RemoveOptions;
pub use target::{Interface, NewTarget, Target, TargetDisk, Volume};

use aws::{Connection, Pace};
use std::fmt;
use std::sync::Arc;

/// A connection to EC2 in one region; clones share it, and its limits.
#[derive(Clone)]
pub struct Ec2(Arc<Shared>);

/// What the clones of a connection share.
struct Shared {
    connection: Connection,
    sdk: aws_sdk_ec2::Client,
    pace: Pace,
    limits: Limits,
}

impl Ec2 {
    /// Over a connection; nothing is asked yet.
    pub fn new(connection: Connection, limits: &Limits) -> Self {
        let sdk = aws_sdk_ec2::Client::new(connection.sdk());
        Self(Arc::new(Shared {
            connection,
            sdk,
            pace: Pace::new(limits.max_requests_per_second, None),
            limits: *limits,
        }))
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.0.connection.region()
    }
}

/// The client has the access key's id in its settings.
impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2")
            .field("region", &self.region())
            .finish_non_exhaustive()
    }
}

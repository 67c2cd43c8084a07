//! Snapshots in Amazon EBS, written and read block by block through the EBS direct APIs.
//!
//! [`Ebs::upload`] makes a snapshot that holds only what its parent does not. It can be stopped at any
//! moment and continues with the same snapshot: a journal says which blocks the service has.
//! [`Ebs::open`] reads a snapshot as a block device, fetching what is read and nothing else.
//!
//! All calls wait for their end and may come from many threads; inside, a thread or two of an
//! asynchronous runtime do the network's work. Memory is bounded by [`Config::max_concurrency`]
//! whatever the disk's size.
//!
//! # What is asked again
//! | it failed with | then |
//! |---|---|
//! | no connection, no answer, 5xx, a proxy's 408, 421 or 425, "Failed to read block data", two writers of one block | again, after a random pause of up to 0.1 s that doubles up to 2 s, for 120 s in all |
//! | a throttle | the same, with fewer requests under way |
//! | an unknown snapshot, on writes | again for the first 120 s of the snapshot's life |
//! | a wrong checksum of a block that was put | the block is hashed again, and put again once |
//! | a wrong checksum of a block that was read | again, at most 8 times |
//! | an expired signature | again, at most three times; what the SDK's client does not send, by the service's clock |
//! | a void block token | the blocks are listed again |
//! | anything else | the whole upload ends at once |
//!
//! ```no_run
//! use ebs::{Config, Ebs};
//! use block::BlockRead;
//! use ondisk::Interrupt;
//!
//! let aws = aws::Connection::open(&aws::Config::default())?;
//! let ebs = Ebs::new(aws, &Config::default())?;
//! let snapshot = ebs.open("snap-0123456789abcdef0", &Interrupt::default())?;
//! println!("{} blocks of {} bytes", snapshot.blocks(), snapshot.size());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(clippy::arithmetic_side_effects)]

mod action;
mod adapt;
mod blocks;
mod calls;
mod climb;
mod config;
mod connect;
mod ec2;
mod error;
mod failure;
mod index_file;
mod info;
mod journal;
mod policy;
mod pool;
mod retry;
mod run;
mod signed;
mod sink;
mod snapshot;
pub mod tag;
mod upload;

pub use action::Action;
pub use config::{Config, Timeouts};
pub use connect::Ebs;
pub use error::Error;
pub use index_file::{load_index, remove_index, save_index};
pub use info::{SnapshotInfo, State};
pub use policy::{Use, iam_policy};
pub use run::Run;
pub use snapshot::EbsSnapshot;
pub use upload::{Encryption, Parent, Role, UploadRequest, Uploaded};

//! From a blueprint to a running target.

pub mod blueprint;
mod console;
pub mod document;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod instances;
pub mod local;
pub mod shard;

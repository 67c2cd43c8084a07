//! From a blueprint to a running target.

pub mod shard;

//! From a blueprint to a running target.

pub mod blueprint;
mod console;
pub mod document;
pub mod instances;
pub mod local;
pub mod shard;

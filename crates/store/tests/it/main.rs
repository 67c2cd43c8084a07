//! Stores and the block engine over whole disks.
#![allow(missing_docs, reason = "tests")]

mod chains;
mod damage;
mod model;
mod sizes;
mod support;
mod together;

//! From a machine's snapshots to a running target.
//!
//! A [project file](project) names the machines of a migration. A machine goes from its first
//! snapshot over tests to the cutover by its [lifecycle]; where each one is and what was made of it
//! is kept in [records]. What a target is to be says its blueprint, a [document] like the project
//! file. [`local`] launches it in QEMU on this host, `ec2` on Amazon EC2.

pub mod blueprint;
mod console;
pub mod document;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod instances;
pub mod lifecycle;
pub mod local;
pub mod project;
pub mod record;
pub mod records;
pub mod shard;

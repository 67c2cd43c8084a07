//! Replay of the journal, as the kernel does it when it mounts after a crash.
//!
//! Nothing is ever written to the log but its superblock, which afterwards says that the log is
//! empty. Numbers in a journal are big-endian.
//!
//! Sources: "Journal (jbd2)" in the kernel's `Documentation/filesystems/ext4`, and
//! `fs/jbd2/recovery.c`.

mod commit;
mod descriptor;
mod fast_commit;
mod log;
mod recover;
mod revoke;
mod superblock;

pub(crate) use log::Log;
pub(crate) use recover::recover;

//! The program end to end over phony guests: real partition tables and file systems, made by
//! their own tools, with the files of a distribution (`fixtures/phony-guest`). And over images as such.

mod blueprints;
mod command_line;
mod conversion;
mod copy;
mod crash;
mod deltas;
mod diff_files;
#[cfg(feature = "aws")]
mod ebs;
mod hostile;
mod images;
mod local_target;
mod packages;
mod several_disks;
mod snapshots;
mod space;
mod stale;
mod store_faults;
mod store_names;
mod support;

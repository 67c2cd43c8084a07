//! The program end to end over phony guests: real partition tables and file systems, made by
//! their own tools, with the files of a distribution (`fixtures/phony-guest`).

mod command_line;
mod conversion;
mod crash;
mod hostile;
mod several_disks;
mod space;
mod stale;
mod support;

//! Targets on EC2, against the fake.

mod common;
mod crash;
mod dry_run;
mod fields;
mod launch;
mod remove;
mod trouble;

//! Targets on EC2, against the fake.

mod common;
mod crash;
mod dry_run;
mod fields;
mod launch;
mod policy;
mod remove;
mod trouble;

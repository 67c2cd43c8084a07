//! The crate against a fake that checks what the real service checks, over real sockets.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod read;
mod upload;

use ebs::Ebs;
use fake_aws::FakeAws;

fn connect(fake: &FakeAws) -> Ebs {
    Ebs::connect(&common::config(&fake.endpoint())).unwrap()
}

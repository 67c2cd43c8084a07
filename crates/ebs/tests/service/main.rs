//! The crate against a fake that checks what the real service checks, over real sockets.

#[path = "../common/mod.rs"]
mod common;
mod line;
mod model;
mod read;
mod run;
mod upload;

use ebs::{Ebs, Parent};
use fake_aws::FakeAws;
use store::Index;

fn connect(fake: &FakeAws) -> Ebs {
    common::connect_as(&common::account(&fake.endpoint()), &common::limits())
}

/// A parent that holds what its index says.
fn parent<'a>(id: &'a str, index: &'a Index, encrypted: bool) -> Parent<'a> {
    Parent {
        id,
        index,
        whole: true,
        encrypted,
        volume_size: 1,
    }
}

//! Images made by QEMU's tools, read by us; images made by us, read by QEMU's tools.
//!
//! Each test skips, and says so, where `qemu-img` and `qemu-io` are not installed.
#![expect(
    clippy::as_conversions,
    reason = "offsets in these small images fit every width"
)]

mod bitmap;
#[path = "../made/vhdx.rs"]
mod craft;
#[path = "../made/esx.rs"]
mod esx;
mod imago;
mod layers;
#[path = "../hostile/package.rs"]
mod package;
mod package_tests;
mod qcow2;
mod qemu;
mod vhd;
mod vhdx;
mod vmdk;
mod vmdk_esx;
mod vmdk_write;
mod write;

//! Reads the initramfs of a Linux guest and extends it with drivers, without running the guest.
//!
//! An initramfs is a row of *segments*: cpio archives, each plain or compressed, which the kernel
//! unpacks over each other. [`Initramfs::read`] walks them as the kernel does and knows afterwards
//! what will be there ([`Contents`]), which generator made it ([`Kind`]), and where each segment
//! ends. [`Initramfs::assess`] says which drivers a kernel would find in it; [`Initramfs::extend`]
//! makes the one segment that adds the others: modules, merged indexes of kmod, and the
//! configuration that loads them. The modules come from the guest's own [`ModuleTree`].
//!
//! ```
//! use initramfs::cpio::Writer;
//! use initramfs::{Initramfs, ModuleTree, Request};
//!
//! struct Tree;
//!
//! impl ModuleTree for Tree {
//!     fn release(&self) -> &str {
//!         "6.1.0"
//!     }
//!
//!     fn read(
//!         &self,
//!         path: &str,
//!     ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
//!         Ok(match path {
//!             "modules.dep" => Some(b"kernel/nvme.ko:\n".to_vec()),
//!             "kernel/nvme.ko" => Some(b"\x7fELF".to_vec()),
//!             _ => None,
//!         })
//!     }
//! }
//!
//! let mut archive = Writer::new();
//! archive.file("init", 0o755, b"#!/bin/sh\n")?;
//! let original = archive.finish();
//!
//! let initramfs = Initramfs::read(&original)?;
//! let request = Request {
//!     wanted: &["nvme"],
//!     ..Request::default()
//! };
//! let extension = initramfs.extend(&Tree, &request)?.expect("nvme is not there");
//! assert_eq!(extension.report.to_add, ["nvme"]);
//!
//! let extended = extension.apply(&original);
//! let report = Initramfs::read(&extended)?.assess(&Tree, &["nvme"])?;
//! assert!(report.leave_alone());
//! # Ok::<(), initramfs::Error>(())
//! ```
//!
//! # Errors
//! [`Error::Corrupt`] is damage, with the byte where it was met; [`Error::Unsupported`] is sound but
//! not handled, by name; [`Error::TooLarge`] is what no sound initramfs has; [`Error::Tree`] comes
//! from the caller's tree. Where the kernel stops at a segment's border without harm, that is no
//! error but a [`Stop`].
//!
//! # Out of scope
//! lzo; initramfs inside a unified kernel image; images that hide their files in a squashfs; a boot
//! configuration at the end; what a hook script inside the initramfs does.
//!
//! Specification: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.
#![warn(clippy::arithmetic_side_effects)]

mod codec;
mod contents;
pub mod cpio;
mod drivers;
mod error;
mod initramfs;
mod kind;
mod kmod;
mod marker;
mod module_tree;
mod segment;

pub use codec::Compression;
pub use contents::{Contents, Entry, File};
pub use drivers::{Extension, ExtraFile, Method, Parameter, Report, Request, parameter_type};
pub use error::{Corrupt, Error, Position, Unsupported};
pub use initramfs::Initramfs;
pub use kind::Kind;
pub use module_tree::ModuleTree;
pub use segment::{Segment, Stop, StopReason};

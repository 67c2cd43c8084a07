//! Random-access block devices: what an image, a partition or a conversion looks like to
//! everything above.
//!
//! A device is a fixed-size array of bytes that is read by position ([`BlockRead`]). It says which
//! ranges hold data and which are zero ([`BlockRead::extent_at`]), so that holes are never read.
//! A conversion changes only an [`Overlay`]; the base under it is never written.
//!
//! ```
//! use block::{BlockRead, BlockWrite, Memory, Overlay};
//! use std::sync::Arc;
//!
//! let source = Arc::new(Memory::new(vec![7; 8192]));
//! let overlay = Overlay::new(source.clone());
//! overlay.write_at(4000, b"changed")?;
//! assert_eq!(source.bytes()[4000], 7);
//! assert_eq!(overlay.dirty_extents(), [0..4096]);
//! # Ok::<(), block::Error>(())
//! ```
#![warn(clippy::arithmetic_side_effects)]

mod cache;
mod concat;
mod device;
mod error;
mod extent;
mod memory;
mod overlay;
mod stripes;
mod window;
mod zero;

pub use cache::BlockCache;
pub use concat::Concat;
pub use device::{BlockRead, BlockWrite};
pub use error::Error;
pub use extent::{Extent, ExtentKind, Extents};
pub use memory::Memory;
pub use overlay::Overlay;
pub use stripes::{Leg, Stripes, Unusable};
pub use window::Window;
pub use zero::Zero;

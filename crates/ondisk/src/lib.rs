//! What every floor above shares when it meets bytes that others wrote: a consuming byte
//! [`Cursor`], size [caps](cap), lossless [integer widths](width), and the two handles that long
//! work takes, [`Progress`] and [`Interrupt`].
//!
//! No I/O happens here.
//!
//! ```
//! use ondisk::Cursor;
//!
//! let mut cursor = Cursor::new(&[0x34, 0x12, 0xff]);
//! assert_eq!(cursor.u16_le(), Ok(0x1234));
//! assert_eq!(cursor.take(1), Ok(&[0xff][..]));
//! assert!(cursor.finish().is_ok());
//! ```
#![warn(clippy::arithmetic_side_effects)]

pub mod cap;
mod cursor;
mod interrupt;
mod progress;
pub mod width;

pub use cursor::{Cursor, Short};
pub use interrupt::{Interrupt, Interrupted};
pub use progress::{NoProgress, Progress, Task, Unit};

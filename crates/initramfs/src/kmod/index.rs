//! kmod's binary indexes, `modules.dep.bin` and `modules.alias.bin`: a radix tree.
//!
//! All numbers are big-endian. The file starts with a magic, a version and the reference of the
//! root. A reference is a byte of the file and, in its upper bits, what the node there has:
//!
//! ```text
//! node      [prefix NUL] [u8 first, u8 last, u32 reference of each child] [u32 count, values]
//! value     u32 priority, string NUL
//! ```
//!
//! The children serve the key's next byte, from `first` to `last`; a reference of 0 is no child.

mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::Writer;

const MAGIC: u32 = 0xb007_f457;
/// Major version 2, minor version 1.
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
const OFFSET: u32 = 0x0fff_ffff;

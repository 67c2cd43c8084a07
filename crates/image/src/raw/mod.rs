//! Raw images: the bytes of the disk, nothing else.

mod read;

pub(crate) use read::RawLayer;

//! Raw images: the bytes of the disk, nothing else.

mod one_writer;
mod read;
mod write;

pub(crate) use read::RawLayer;
pub(crate) use write::{write, write_in_place, write_sparse};

//! Extended attributes of nodes.

use crate::error::Error;
use crate::inode::Inode;
use crate::volume::Volume;
use fs::Xattr;

impl Volume {
    pub(crate) fn attributes(&self, _: &Inode) -> Result<Vec<Xattr>, Error> {
        Err(crate::error::UnsupportedKind::Other("extended attributes").into())
    }
    pub(crate) fn inline_value(&self, _: &Inode) -> Result<Vec<u8>, Error> {
        Err(crate::error::UnsupportedKind::Other("inline data").into())
    }
}

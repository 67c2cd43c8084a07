//! What directories and attributes see of an inode: one of its forks, as inline bytes or as blocks.

use crate::error::Error;
use crate::superblock::Superblock;

/// One fork of one inode, to read.
///
/// A fork is either *inline* (format "local": its bytes lie in the inode) or *mapped* (formats
/// "extents" and "btree": numbered blocks of the file system's block size, with holes).
/// Block numbers here are the fork's own: the directory's data starts at 0, its leaves at
/// 32 GiB (`XFS_DIR2_LEAF_OFFSET`).
pub(crate) trait ForkRead {
    /// The geometry, features and identifier of the file system.
    fn superblock(&self) -> &Superblock;

    /// The number of the inode that the fork belongs to: the owner in headers of version 5.
    fn owner(&self) -> u64;

    /// `di_size`: bytes of a directory. Means nothing for attributes.
    fn size(&self) -> u64;

    /// The bytes of an inline fork; none if the fork is mapped. Attributes of an inode that never
    /// had any are a mapped fork without blocks.
    fn inline(&self) -> Option<&[u8]>;

    /// The most bytes that [`ForkEdit::set_inline`] takes, with the other fork as it is now.
    fn max_inline(&self) -> usize;

    /// Reads `count` blocks from `block` on, which need not lie together on the volume. None if the
    /// first of them is a hole.
    ///
    /// # Errors
    /// A hole behind the first block, an unwritten block, a damaged map, or what the device says.
    fn read(&self, block: u64, count: u32) -> Result<Option<Vec<u8>>, Error>;

    /// Where a block lies, in units of 512 bytes of the volume: what headers of version 5 carry of
    /// their first block.
    ///
    /// # Errors
    /// A hole, or a damaged map.
    fn daddr(&self, block: u64) -> Result<u64, Error>;

    /// The first mapped block that is not before `from`.
    ///
    /// # Errors
    /// A damaged map.
    fn next_mapped(&self, from: u64) -> Result<Option<u64>, Error>;

    /// The first block behind the last mapped one; 0 if none is.
    ///
    /// # Errors
    /// A damaged map.
    fn end(&self) -> Result<u64, Error>;
}

/// One fork of one inode, to change. The inode is written by whoever made the editor, after the
/// last change.
pub(crate) trait ForkEdit: ForkRead {
    /// Makes the fork inline with these bytes; blocks that it had are given back.
    ///
    /// # Errors
    /// More than [`ForkRead::max_inline`] bytes, and what giving back meets.
    fn set_inline(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes an inline fork a mapped one without blocks. The inline bytes are gone.
    ///
    /// # Errors
    /// No room for an attribute fork.
    fn set_mapped(&mut self) -> Result<(), Error>;

    /// Sets `di_size` of a directory.
    fn set_size(&mut self, size: u64);

    /// Writes whole mapped blocks from `block` on.
    ///
    /// # Errors
    /// Holes, bytes that are no whole blocks, or what the device says.
    fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Maps `count` blocks from `block` on, which are holes now. What they hold is undefined until
    /// they are written.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; blocks that are mapped already.
    fn allocate(&mut self, block: u64, count: u32) -> Result<(), Error>;

    /// Gives back what is mapped of `count` blocks from `block` on.
    ///
    /// # Errors
    /// A damaged map, or what giving back meets.
    fn free(&mut self, block: u64, count: u32) -> Result<(), Error>;
}

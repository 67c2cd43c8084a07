//! The driver: a volume with names, as `fs` wants it.

use crate::dir;
use crate::error::Error;
use crate::inode::Inode;
use crate::superblock::Superblock;
use crate::volume::Volume;
use block::{BlockRead, BlockWrite};
use fs::{
    Entry, FileSystem, FileSystemEdit, FsInfo, Kind, Meta, NodeId, Places, Problem, Space,
    Structure, Xattr,
};
use std::ops::Range;
use std::sync::Arc;

/// An open XFS file system.
#[derive(Debug)]
pub struct Xfs {
    pub(crate) volume: Volume,
    info: FsInfo,
    /// Whether everything was checked that must be before the first change.
    editable: bool,
}

/// Says what file system is on a device by its superblock alone: nothing is replayed.
///
/// # Errors
/// A damaged superblock, or what the device says. A device without an XFS is no error.
pub fn probe(device: &dyn BlockRead) -> Result<Option<FsInfo>, Error> {
    if device.size() < 512 {
        return Ok(None);
    }
    match Superblock::read(device) {
        Ok(superblock) => Ok(Some(superblock.info(false))),
        Err(Error::NotXfs { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Xfs {
    /// Opens the file system on `device`, and replays its log into the device if it has to be: give
    /// it an overlay that can be thrown away.
    ///
    /// # Errors
    /// [`Error::NotXfs`]; features that reading does not know; a damaged superblock or log.
    pub fn open(device: Arc<dyn BlockWrite>) -> Result<Self, Error> {
        let mut volume = Volume::open(device)?;
        let recovered = volume.recover()?;
        let info = volume.superblock.info(recovered);
        Ok(Self {
            volume,
            info,
            editable: false,
        })
    }

    /// The inode of a node that callers name.
    pub(crate) fn node(&self, node: NodeId) -> Result<Inode, fs::Error> {
        if self.volume.superblock.split_inode(node.0).is_none() {
            return Err(fs::Error::NotFound);
        }
        let inode = self.volume.inode(node.0)?;
        if inode.is_in_use() {
            Ok(inode)
        } else {
            Err(fs::Error::NotFound)
        }
    }
}

impl FileSystem for Xfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn space(&self) -> Result<Space, fs::Error> {
        let superblock = &self.volume.superblock;
        let (blocks, longest) = self.volume.usable_blocks()?;
        let size = superblock.block_bytes();
        let (inodes, free_inodes) = self.volume.count_inodes()?;
        // More inodes are made as they are needed, as far as `imax_pct` and the room go.
        let chunk = u64::from(64_u32.div_ceil(superblock.inodes_per_block.max(1)));
        let per_chunk = chunk.saturating_mul(superblock.inodes_per_block.into());
        let possible = if u64::from(longest) < chunk {
            0
        } else {
            let by_room = blocks
                .checked_div(chunk)
                .unwrap_or(0)
                .saturating_mul(per_chunk);
            let most = self.volume.most_inodes();
            by_room.min(most.saturating_sub(inodes))
        };
        Ok(Space {
            total_bytes: superblock.end(),
            free_bytes: blocks.saturating_mul(size),
            free_inodes: Some(free_inodes.saturating_add(possible)),
            block_size: superblock.block_size,
        })
    }

    fn root(&self) -> NodeId {
        NodeId(self.volume.superblock.raw().sb_rootino.get())
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId, fs::Error> {
        if name == b"." || name == b".." {
            return Err(fs::Error::NotFound);
        }
        let found = self.volume.find_name(&self.node(dir)?, name)?;
        found.map(NodeId).ok_or(fs::Error::NotFound)
    }

    fn stat(&self, node: NodeId) -> Result<Meta, fs::Error> {
        Ok(self.node(node)?.meta()?)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, fs::Error> {
        let inode = self.node(node)?;
        if inode.kind()? != Kind::File {
            return Err(fs::Error::NotAFile);
        }
        Ok(self.volume.read_content(&inode, offset, buf)?)
    }

    fn entries(&self, dir: NodeId) -> Result<Vec<Entry>, fs::Error> {
        let inode = self.node(dir)?;
        let names = dir::list(&self.volume.names(&inode)?)?;
        let entry = |entry: dir::Entry| Entry {
            name: entry.name,
            node: NodeId(entry.target.inode),
            kind: entry.target.kind(),
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, fs::Error> {
        Ok(self.volume.read_target(&self.node(node)?)?)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>, fs::Error> {
        Ok(self.volume.attributes(&self.node(node)?)?)
    }

    fn places(&self, node: NodeId) -> Result<Places, fs::Error> {
        Ok(self.volume.places(&self.node(node)?)?)
    }

    fn structures(&self) -> Result<Vec<Structure>, fs::Error> {
        Ok(self.volume.structures()?)
    }

    fn free(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, fs::Error> {
        Ok(self.volume.free_bytes(&range)?)
    }

    fn numbers_are_places(&self) -> bool {
        true
    }

    fn edit(&mut self) -> Result<&mut dyn FileSystemEdit, fs::Error> {
        if !self.editable {
            self.volume.check_editable()?;
            self.volume.prepare_to_edit()?;
            self.editable = true;
        }
        Ok(self)
    }

    fn check(&self) -> Result<Vec<Problem>, fs::Error> {
        Ok(crate::check::check(&self.volume)?)
    }
}

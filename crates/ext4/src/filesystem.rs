//! The driver: a volume with names, as `fs` wants it.

use crate::check;
use crate::error::Error;
use crate::inode::{Inode, InodeNumber, ROOT};
use crate::superblock::Superblock;
use crate::volume::Volume;
use block::{BlockRead, BlockWrite};
use fs::{
    Entry, FileSystem, FileSystemEdit, FsInfo, Kind, Meta, NodeId, Places, Problem, Space,
    Structure, Xattr,
};
use std::ops::Range;
use std::sync::Arc;

/// An open ext2, ext3 or ext4 file system.
#[derive(Debug)]
pub struct Ext4 {
    pub(crate) volume: Volume,
    info: FsInfo,
    /// Whether everything was checked that must be before the first change.
    editable: bool,
}

/// Says what file system is on a device by its superblock alone: nothing is replayed.
///
/// # Errors
/// A damaged superblock, or what the device says. A device without an ext2, ext3 or ext4 is no
/// error.
pub fn probe(device: &dyn BlockRead) -> Result<Option<FsInfo>, Error> {
    if device.size() < crate::superblock::POSITION.saturating_add(1024) {
        return Ok(None);
    }
    match Superblock::read(device) {
        Ok(superblock) => Ok(Some(superblock.info(false))),
        Err(Error::NotExt4 { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Ext4 {
    /// Opens the file system on `device`, and replays its journal into the device if it has to be:
    /// give it an overlay that can be thrown away.
    ///
    /// # Errors
    /// [`Error::NotExt4`]; features that reading does not know; a damaged superblock or journal.
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
        let number =
            InodeNumber::new(&self.volume.superblock, node.0).map_err(|_| fs::Error::NotFound)?;
        let inode = self.volume.inode(number)?;
        if inode.is_in_use() {
            Ok(inode)
        } else {
            Err(fs::Error::NotFound)
        }
    }
}

impl FileSystem for Ext4 {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn space(&self) -> Result<Space, fs::Error> {
        let superblock = &self.volume.superblock;
        let (free_blocks, free_inodes) = self.volume.count_free()?;
        let free = free_blocks.saturating_sub(superblock.reserved_blocks());
        Ok(Space {
            total_bytes: superblock.end(),
            free_bytes: superblock.position(free),
            free_inodes: Some(free_inodes.into()),
            block_size: superblock.block_size,
        })
    }

    fn root(&self) -> NodeId {
        node_id(ROOT)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId, fs::Error> {
        if name == b"." || name == b".." {
            return Err(fs::Error::NotFound);
        }
        let found = self.volume.find_name(&self.node(dir)?, name)?;
        found
            .map(|found| NodeId(found.inode.into()))
            .ok_or(fs::Error::NotFound)
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
        let names = self.volume.list_names(&self.node(dir)?)?;
        let entry = |name: crate::dir::Name| Entry {
            name: name.name,
            node: NodeId(name.found.inode.into()),
            kind: name.found.kind,
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
        Ok(self.volume.free_bytes(range)?)
    }

    fn numbers_are_places(&self) -> bool {
        true
    }

    fn edit(&mut self) -> Result<&mut dyn FileSystemEdit, fs::Error> {
        if !self.editable {
            self.prepare_to_edit()?;
            self.editable = true;
        }
        Ok(self)
    }

    fn check(&self) -> Result<Vec<Problem>, fs::Error> {
        Ok(check::check(&self.volume)?)
    }
}

/// The node of an inode.
pub(crate) fn node_id(number: InodeNumber) -> NodeId {
    NodeId(number.get().into())
}

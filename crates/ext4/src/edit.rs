//! The editing side of the driver.

use crate::dir::Found;
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::incompat;
use crate::filesystem::{Ext4, node_id};
use crate::inode::{Inode, InodeNumber};
use crate::nodes::check_name;
use crate::volume::Volume;
use fs::{FileSystemEdit, Kind, NewNode, NodeId, Time};

/// `mmp_seq` of a file system that nobody has mounted.
const MMP_SEQ_CLEAN: u32 = 0xff4d_4d50;
/// `s_creator_os`: Linux.
const LINUX: u32 = 0;

impl Volume {
    /// Refuses what cannot be written safely, before anything is touched.
    ///
    /// # Errors
    /// What is not supported, by name; damaged descriptors.
    pub(crate) fn check_editable(&self) -> Result<(), Error> {
        let superblock = &self.superblock;
        superblock.features.check_writable()?;
        let refuse = |what| Err(Error::from(UnsupportedKind::Other(what)));
        if !superblock.is_valid() {
            return refuse(
                "writing to a file system that was not left clean or has recorded errors: \
                 it needs e2fsck",
            );
        }
        if superblock.raw().s_creator_os.get() != LINUX {
            return refuse("writing to a file system of another system than Linux");
        }
        if superblock.features.incompat(incompat::MMP) {
            let block = self.read_block(superblock.raw().s_mmp_block.get())?;
            let sequence = block.get(4..).and_then(<[u8]>::first_chunk::<4>);
            if sequence.is_none_or(|bytes| u32::from_le_bytes(*bytes) != MMP_SEQ_CLEAN) {
                return refuse("writing to a file system whose multi-mount protection is active");
            }
        }
        Ok(())
    }

    /// Writes what is still in memory, and leaves the file system clean.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        self.write_groups()?;
        if self.now.seconds > 0 {
            self.superblock.set_wtime(self.now);
        }
        let Self {
            superblock, device, ..
        } = self;
        superblock.write(device)
    }

    /// The inode that a name in a directory leads to.
    fn named(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>, Error> {
        let Some(found) = self.find_name(dir, name)? else {
            return Ok(None);
        };
        let number = InodeNumber::new(&self.superblock, found.inode.into())?;
        if self.is_reserved(number) {
            let inode = number.get();
            return Err(CorruptKind::ReservedNamed { inode }.into());
        }
        self.live_inode(number).map(Some)
    }
}

impl Ext4 {
    /// Prepares for the first change: refuses what cannot be written, and finishes what the guest
    /// had begun.
    ///
    /// # Errors
    /// As [`Volume::check_editable`] and [`Volume::finish_orphans`].
    pub(crate) fn prepare_to_edit(&mut self) -> Result<(), Error> {
        self.volume.check_editable()?;
        self.volume.recount()?;
        let orphans = self.volume.finish_orphans()?;
        tracing::debug!(orphans, "orphans finished");
        Ok(())
    }

    fn add(
        &mut self,
        dir: NodeId,
        name: &[u8],
        kind: Kind,
        new: NewNode,
        start: impl FnOnce(&mut Volume, &mut Inode) -> Result<(), Error>,
    ) -> Result<NodeId, fs::Error> {
        check_name(name)?;
        let parent = self.node(dir)?;
        if self.volume.find_name(&parent, name)?.is_some() {
            return Err(fs::Error::Exists);
        }
        let mut inode = self.volume.new_node(&parent, kind, new)?;
        start(&mut self.volume, &mut inode)?;
        let target = Found {
            inode: inode.number().get(),
            kind: Some(kind),
        };
        self.volume.insert_name(parent.number(), name, target)?;
        if kind == Kind::Dir {
            self.volume.add_subdir(parent.number())?;
        }
        Ok(node_id(inode.number()))
    }

    fn file(&self, node: NodeId) -> Result<Inode, fs::Error> {
        let inode = self.node(node)?;
        if inode.kind()? == Kind::File {
            Ok(inode)
        } else {
            Err(fs::Error::NotAFile)
        }
    }

    /// Takes its name from a node, whose name in `dir` is gone or names something else now.
    fn drop_target(&mut self, dir: InodeNumber, target: &Inode) -> Result<(), Error> {
        let is_dir = target.kind()? == Kind::Dir;
        self.volume.drop_link(target.number())?;
        if is_dir {
            self.volume.drop_subdir(dir)?;
        }
        Ok(())
    }

    fn check_removable(&self, target: &Inode) -> Result<(), Error> {
        if target.kind()? == Kind::Dir && !self.volume.is_empty_dir(target)? {
            return Err(Error::NotEmpty);
        }
        Ok(())
    }

    fn move_name(&mut self, from: (&Inode, &[u8]), to: (&Inode, &[u8])) -> Result<(), Error> {
        let Some(moved) = self.volume.named(from.0, from.1)? else {
            return Err(Error::NotFound);
        };
        let (from_dir, to_dir) = (from.0.number(), to.0.number());
        if from_dir == to_dir && from.1 == to.1 {
            return Ok(());
        }
        let kind = moved.kind()?;
        if kind == Kind::Dir && self.volume.is_below(to_dir, moved.number())? {
            let what = "a directory cannot become its own descendant";
            return Err(UnsupportedKind::Other(what).into());
        }
        let target = Found {
            inode: moved.number().get(),
            kind: Some(kind),
        };
        match self.volume.named(to.0, to.1)? {
            Some(replaced) if replaced.number() == moved.number() => {
                // Two names of one node: one of them goes.
                self.volume.remove_name(from_dir, from.1)?;
                return self.volume.drop_link(moved.number());
            }
            Some(replaced) => {
                match (kind == Kind::Dir, replaced.kind()? == Kind::Dir) {
                    (true, false) => return Err(Error::NotADirectory),
                    (false, true) => return Err(Error::IsADirectory),
                    _ => self.check_removable(&replaced)?,
                }
                self.volume.retarget_name(to_dir, to.1, target)?;
                self.drop_target(to_dir, &replaced)?;
            }
            None => self.volume.insert_name(to_dir, to.1, target)?,
        }
        self.volume.remove_name(from_dir, from.1)?;
        if kind == Kind::Dir && from_dir != to_dir {
            self.volume.set_parent(moved.number(), to_dir)?;
            self.volume.add_subdir(to_dir)?;
            self.volume.drop_subdir(from_dir)?;
        }
        let mut moved = self.volume.live_inode(moved.number())?;
        self.volume.touch_node(&mut moved)
    }
}

impl FileSystemEdit for Ext4 {
    fn set_now(&mut self, now: Time) {
        self.volume.now = now;
    }

    fn create(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, fs::Error> {
        self.add(dir, name, Kind::File, new, |_, _| Ok(()))
    }

    fn make_dir(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, fs::Error> {
        let parent = self.node(dir)?.number();
        self.add(dir, name, Kind::Dir, new, |volume, inode| {
            volume.start_dir(inode, parent)
        })
    }

    fn symlink(
        &mut self,
        dir: NodeId,
        name: &[u8],
        target: &[u8],
        new: NewNode,
    ) -> Result<NodeId, fs::Error> {
        let new = NewNode { mode: 0o777, ..new };
        self.add(dir, name, Kind::Symlink, new, |volume, inode| {
            volume.start_symlink(inode, target)
        })
    }

    fn replace(&mut self, node: NodeId, content: &[u8]) -> Result<(), fs::Error> {
        let mut inode = self.file(node)?;
        self.volume.set_content_size(&mut inode, 0)?;
        self.volume.write_content(&mut inode, 0, content)?;
        Ok(self.volume.touch(&mut inode)?)
    }

    fn write_at(&mut self, node: NodeId, offset: u64, content: &[u8]) -> Result<(), fs::Error> {
        let mut inode = self.file(node)?;
        self.volume.write_content(&mut inode, offset, content)?;
        Ok(self.volume.touch(&mut inode)?)
    }

    fn truncate(&mut self, node: NodeId, size: u64) -> Result<(), fs::Error> {
        let mut inode = self.file(node)?;
        self.volume.set_content_size(&mut inode, size)?;
        Ok(self.volume.touch(&mut inode)?)
    }

    fn remove(&mut self, dir: NodeId, name: &[u8]) -> Result<(), fs::Error> {
        let parent = self.node(dir)?;
        let target = self.volume.named(&parent, name)?;
        let target = target.ok_or(fs::Error::NotFound)?;
        self.check_removable(&target)?;
        self.volume.remove_name(parent.number(), name)?;
        Ok(self.drop_target(parent.number(), &target)?)
    }

    fn rename(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8])) -> Result<(), fs::Error> {
        check_name(to.1)?;
        let (from_dir, to_dir) = (self.node(from.0)?, self.node(to.0)?);
        Ok(self.move_name((&from_dir, from.1), (&to_dir, to.1))?)
    }

    fn set_owner(&mut self, node: NodeId, new: NewNode) -> Result<(), fs::Error> {
        let mut inode = self.node(node)?;
        inode.set_owner(new.uid, new.gid);
        inode.set_mode(new.mode);
        self.volume.follow_mode(&mut inode, new.mode)?;
        Ok(self.volume.touch_node(&mut inode)?)
    }

    fn set_mtime(&mut self, node: NodeId, mtime: Time) -> Result<(), fs::Error> {
        let mut inode = self.node(node)?;
        inode.set_mtime(mtime);
        Ok(self.volume.touch_node(&mut inode)?)
    }

    fn set_xattr(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), fs::Error> {
        let mut inode = self.node(node)?;
        self.volume.set_attribute(&mut inode, name, value)?;
        Ok(self.volume.touch_node(&mut inode)?)
    }

    fn commit(&mut self) -> Result<(), fs::Error> {
        Ok(self.volume.commit()?)
    }
}

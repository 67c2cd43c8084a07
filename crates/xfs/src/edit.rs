//! The editing side of the driver.

use crate::dir::Target;
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::filesystem::Xfs;
use crate::inode::Inode;
use crate::volume::Volume;
use fs::{FileSystemEdit, Kind, NewNode, NodeId, Time};

/// Bytes of a name at most.
const MAX_NAME: usize = 255;
/// The bits of `sb_qflags` that say that the counts of quota are right: those of users, of groups
/// and projects in version 4, of groups, of projects.
const QUOTA_CHECKED: u16 = 0x4 | 0x20 | 0x100 | 0x400;

impl Volume {
    /// Refuses what cannot be written safely, before anything is touched.
    ///
    /// # Errors
    /// What is not supported, by name.
    pub(crate) fn check_editable(&self) -> Result<(), Error> {
        self.superblock.features.check_writable()
    }

    /// Prepares for the first change: finishes what the guest had begun. Quota is not counted
    /// along: without the bits that are cleared here the kernel counts anew when it mounts with
    /// quota, as it does after a mount without.
    ///
    /// # Errors
    /// As [`Volume::finish_recovery`].
    pub(crate) fn prepare_to_edit(&mut self) -> Result<(), Error> {
        self.finish_recovery()?;
        let flags = self.superblock.raw().sb_qflags.get();
        let raw = self.superblock.raw_mut();
        raw.sb_qflags.set(flags & !QUOTA_CHECKED);
        Ok(())
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        self.write_groups()?;
        self.superblock.write(&self.device)
    }

    /// The inode that a name in a directory leads to.
    fn named(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>, Error> {
        let Some(inode) = self.find_name(dir, name)? else {
            return Ok(None);
        };
        if self.is_reserved(inode) {
            return Err(CorruptKind::ReservedNamed { inode }.into());
        }
        self.live_inode(inode).map(Some)
    }
}

impl Xfs {
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
        let target = Target::new(inode.number(), kind);
        self.volume.insert_name(parent.number(), name, target)?;
        if kind == Kind::Dir {
            self.volume.add_subdir(parent.number())?;
        }
        Ok(NodeId(inode.number()))
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
    fn drop_target(&mut self, dir: u64, target: &Inode) -> Result<(), Error> {
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
        let target = Target::new(moved.number(), kind);
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

impl FileSystemEdit for Xfs {
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
            volume.start_link(inode, target)
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
        inode.set_owner(new);
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

/// Checks that a name can be given.
fn check_name(name: &[u8]) -> Result<(), Error> {
    let bad = |byte: &u8| *byte == 0 || *byte == b'/';
    if name.is_empty()
        || name.len() > MAX_NAME
        || name == b"."
        || name == b".."
        || name.iter().any(bad)
    {
        return Err(Error::BadName);
    }
    Ok(())
}

//! Making and deleting nodes, and giving them names.

use crate::dir::{self, Target};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::fork_access::{ForkEditor, ForkReader};
use crate::inode::{Fork, Format, Inode};
use crate::volume::Volume;
use fs::{Kind, NewNode};

/// `XFS_MAXLINK`.
const MAX_LINKS: u32 = i32::MAX.unsigned_abs();
/// Directories above a directory at most, when a loop is looked for.
const MAX_DEPTH: u32 = 1 << 16;

impl Volume {
    /// The names of a directory, to read.
    ///
    /// # Errors
    /// [`Error::NotADirectory`].
    pub(crate) fn names<'a>(&'a self, inode: &'a Inode) -> Result<ForkReader<'a>, Error> {
        if inode.kind()? != Kind::Dir {
            return Err(Error::NotADirectory);
        }
        Ok(ForkReader {
            volume: self,
            inode,
            fork: Fork::Data,
        })
    }

    /// Changes the names of a directory, and writes its inode.
    fn edit_names<T>(
        &mut self,
        number: u64,
        edit: impl FnOnce(&mut ForkEditor<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut inode = self.live_inode(number)?;
        self.names(&inode)?;
        let result = edit(&mut ForkEditor {
            volume: self,
            inode: &mut inode,
            fork: Fork::Data,
        })?;
        self.touch(&mut inode)?;
        Ok(result)
    }

    /// Makes a node without content and without a name, and writes its inode.
    ///
    /// # Errors
    /// [`Error::NoInodes`], or what writing meets.
    pub(crate) fn new_node(
        &mut self,
        parent: &Inode,
        kind: Kind,
        new: NewNode,
    ) -> Result<Inode, Error> {
        let (group, _) = self
            .superblock
            .split_block(self.inode_goal(parent.number()));
        let found = self.allocate_inode(group)?;
        let mut inode = Inode::new(&self.superblock, found, kind, new, self.now);
        inode.inherit(parent, kind == Kind::Dir);
        inode.set_links(1);
        self.forget_maps(inode.number());
        self.write_inode(&inode)?;
        Ok(inode)
    }

    /// Makes a new directory one without names.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn start_dir(&mut self, inode: &mut Inode, parent: u64) -> Result<(), Error> {
        let mut fork = ForkEditor {
            volume: self,
            inode,
            fork: Fork::Data,
        };
        dir::create(&mut fork, parent)?;
        inode.set_links(2);
        self.write_inode(inode)
    }

    /// What a name in a directory leads to.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], a damaged directory.
    pub(crate) fn find_name(&self, dir: &Inode, name: &[u8]) -> Result<Option<u64>, Error> {
        let found = dir::lookup(&self.names(dir)?, name)?;
        Ok(found.map(|target| target.inode))
    }

    /// Puts a name that is not there into a directory.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NoSpace`], a damaged directory.
    pub(crate) fn insert_name(
        &mut self,
        dir: u64,
        name: &[u8],
        target: Target,
    ) -> Result<(), Error> {
        self.edit_names(dir, |fork| dir::insert(fork, name, target))
    }

    /// Removes a name from a directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], a damaged directory.
    pub(crate) fn remove_name(&mut self, dir: u64, name: &[u8]) -> Result<(), Error> {
        let removed = self.edit_names(dir, |fork| dir::remove(fork, name))?;
        removed.map(|_| ()).ok_or(Error::NotFound)
    }

    /// Lets a name that is there name another node.
    ///
    /// # Errors
    /// [`Error::NotFound`], a damaged directory.
    pub(crate) fn retarget_name(
        &mut self,
        dir: u64,
        name: &[u8],
        target: Target,
    ) -> Result<(), Error> {
        let found = self.edit_names(dir, |fork| dir::retarget(fork, name, target))?;
        found.map(|_| ()).ok_or(Error::NotFound)
    }

    /// Lets `..` of a directory name another one.
    ///
    /// # Errors
    /// A damaged directory.
    pub(crate) fn set_parent(&mut self, number: u64, parent: u64) -> Result<(), Error> {
        self.edit_names(number, |fork| dir::set_parent(fork, parent))
    }

    /// Whether a directory has no names.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], a damaged directory.
    pub(crate) fn is_empty_dir(&self, inode: &Inode) -> Result<bool, Error> {
        Ok(dir::list(&self.names(inode)?)?.is_empty())
    }

    /// Counts a subdirectory more.
    ///
    /// # Errors
    /// More subdirectories than the count can say.
    pub(crate) fn add_subdir(&mut self, number: u64) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        if inode.links() >= MAX_LINKS {
            return Err(UnsupportedKind::Inode {
                inode: number,
                what: "more subdirectories than its count of links can say",
            }
            .into());
        }
        inode.set_links(inode.links().saturating_add(1));
        self.write_inode(&inode)
    }

    /// Counts a subdirectory less.
    ///
    /// # Errors
    /// A damaged inode, or what writing meets.
    pub(crate) fn drop_subdir(&mut self, number: u64) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        if inode.links() > 2 {
            inode.set_links(inode.links().saturating_sub(1));
            self.write_inode(&inode)?;
        }
        Ok(())
    }

    /// Takes one name from a node, and deletes the node with its last one.
    ///
    /// # Errors
    /// A damaged node, or what writing meets.
    pub(crate) fn drop_link(&mut self, number: u64) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        let is_dir = inode.kind()? == Kind::Dir;
        let left = inode.links().saturating_sub(1);
        if left > 0 && !is_dir {
            inode.set_links(left);
            return self.touch_node(&mut inode);
        }
        self.delete_node(&mut inode)
    }

    /// Deletes a node that nothing names any more: content, attributes and inode.
    ///
    /// # Errors
    /// A damaged node, one that belongs to the file system itself, or what writing meets.
    pub(crate) fn delete_node(&mut self, inode: &mut Inode) -> Result<(), Error> {
        if self.is_reserved(inode.number()) {
            let inode = inode.number();
            return Err(CorruptKind::ReservedNamed { inode }.into());
        }
        self.free_node(inode)
    }

    /// Gives back the blocks and the inode of a node without names.
    ///
    /// # Errors
    /// As [`delete_node`](Self::delete_node).
    pub(crate) fn free_node(&mut self, inode: &mut Inode) -> Result<(), Error> {
        for fork in [Fork::Data, Fork::Attributes] {
            if matches!(inode.format(fork)?, Format::Extents | Format::Tree) {
                self.release_fork(inode, fork)?;
            }
        }
        self.free_inode(inode)
    }

    /// Whether an inode belongs to the file system itself.
    pub(crate) fn is_reserved(&self, number: u64) -> bool {
        let raw = self.superblock.raw();
        let reserved = [
            &raw.sb_rootino,
            &raw.sb_rbmino,
            &raw.sb_rsumino,
            &raw.sb_uquotino,
            &raw.sb_gquotino,
            &raw.sb_pquotino,
        ];
        reserved.iter().any(|inode| inode.get() == number)
    }

    /// Notes that a node's content changed, and writes its inode.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn touch(&mut self, inode: &mut Inode) -> Result<(), Error> {
        inode.set_mtime(self.now);
        self.touch_node(inode)
    }

    /// Notes that a node changed, and writes its inode.
    ///
    /// # Errors
    /// What writing meets.
    pub(crate) fn touch_node(&mut self, inode: &mut Inode) -> Result<(), Error> {
        inode.touch(self.now);
        self.write_inode(inode)
    }

    /// Whether `dir` is `ancestor` or lies below it.
    ///
    /// # Errors
    /// Damaged directories, or a loop among them.
    pub(crate) fn is_below(&self, dir: u64, ancestor: u64) -> Result<bool, Error> {
        let mut at = dir;
        for _ in 0..MAX_DEPTH {
            if at == ancestor {
                return Ok(true);
            }
            let inode = self.live_inode(at)?;
            let above = dir::parent(&self.names(&inode)?)?;
            if above == at {
                return Ok(false);
            }
            at = above;
        }
        Err(CorruptKind::Inode {
            inode: dir,
            field: "depth of the directory",
            value: MAX_DEPTH.into(),
            expected: "a way to the root directory",
        }
        .into())
    }
}

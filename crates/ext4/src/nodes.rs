//! Making and deleting nodes, and giving them names.

use crate::dir::{self, Found, Indexed};
use crate::directory::DirWriter;
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::ro_compat;
use crate::inline_data;
use crate::inode::{Inode, InodeNumber, flag};
use crate::raw::low_32;
use crate::volume::Volume;
use fs::{Kind, NewNode};
use ondisk::width::u64_of;

/// Names that a directory's subdirectories give it at most, `EXT4_LINK_MAX`; with `dir_nlink` and
/// an index the count then stays 1, for "many".
const LINK_MAX: u16 = 65000;
/// Bytes of a name at most.
const MAX_NAME: usize = 255;
/// Directories above a directory at most, when a loop is looked for.
const MAX_DEPTH: u32 = 1 << 16;

impl Volume {
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
        let (group, _) = parent.number().place(&self.superblock);
        let number = self.allocate_inode(group, kind == Kind::Dir)?;
        // Nothing remembers the inode's former generations here; any number will do that differs
        // from inode to inode and from time to time.
        let seconds = low_32(u64::from_le_bytes(self.now.seconds.to_le_bytes()));
        let generation = number.get().wrapping_mul(0x9e37_79b1) ^ seconds;
        let mut inode = Inode::new(&self.superblock, number, generation, kind, new, self.now);
        let inherited = match kind {
            Kind::Dir => flag::INHERITED,
            _ => flag::INHERITED & !flag::DIRS_ONLY,
        };
        inode.set_flag(parent.flags() & inherited, true);
        inode.set_links(1);
        if matches!(kind, Kind::File | Kind::Dir) {
            self.start_mapping(&mut inode);
        } else {
            self.forget_mapping(number);
        }
        self.write_inode(&mut inode)?;
        Ok(inode)
    }

    /// Gives a new directory its first block.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or what writing meets.
    pub(crate) fn start_dir(
        &mut self,
        inode: &mut Inode,
        parent: InodeNumber,
    ) -> Result<(), Error> {
        let format = self.dir_format(inode);
        let first = dir::new_block(&format, parent.get());
        let mut blocks = DirWriter {
            volume: self,
            inode,
        };
        let logical = dir::WriteBlocks::append(&mut blocks)?;
        dir::WriteBlocks::write(&mut blocks, logical, &first)?;
        inode.set_links(2);
        self.write_inode(inode)
    }

    /// Gives a new symbolic link its target.
    ///
    /// # Errors
    /// [`Error::BadName`] if the target is empty or too long for a block.
    pub(crate) fn start_symlink(&mut self, inode: &mut Inode, target: &[u8]) -> Result<(), Error> {
        // The kernel wants a NUL behind the target, in the block as in the inode.
        if target.is_empty()
            || target.len() >= self.superblock.block_len().min(4096)
            || target.contains(&0)
        {
            return Err(Error::BadName);
        }
        let in_inode = inode.block_mut();
        if target.len() < in_inode.len() {
            for (place, byte) in in_inode.iter_mut().zip(target) {
                *place = *byte;
            }
            inode.set_size(u64_of(target.len()));
        } else {
            self.start_mapping(inode);
            self.write_content(inode, 0, target)?;
        }
        self.write_inode(inode)
    }

    /// Puts a name that is not there into a directory.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NoSpace`], a damaged directory.
    pub(crate) fn insert_name(
        &mut self,
        number: InodeNumber,
        name: &[u8],
        target: Found,
    ) -> Result<(), Error> {
        check_name(name)?;
        let mut inode = self.live_inode(number)?;
        self.check_dir(&inode)?;
        let format = self.dir_format(&inode);
        if inode.has_flag(flag::INLINE_DATA) {
            let mut inline = inline_data::read_dir(self, &inode)?;
            if inline.insert(&format, name, target)? {
                inline_data::write_dir(self, &mut inode, &inline)?;
                return self.touch(&mut inode);
            }
            self.remove_inline_value(&mut inode)?;
            inode.set_flag(flag::INLINE_DATA, false);
            self.start_mapping(&mut inode);
            inode.set_size(0);
            let mut blocks = DirWriter {
                volume: self,
                inode: &mut inode,
            };
            dir::WriteBlocks::append(&mut blocks)?;
            inline.move_out(&format, &mut blocks)?;
        }
        let mut blocks = DirWriter {
            volume: self,
            inode: &mut inode,
        };
        let Indexed(indexed) = dir::insert(&format, &mut blocks, name, target)?;
        inode.set_flag(flag::INDEX, indexed);
        self.touch(&mut inode)
    }

    /// Removes a name from a directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], a damaged directory.
    pub(crate) fn remove_name(&mut self, number: InodeNumber, name: &[u8]) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        self.check_dir(&inode)?;
        let format = self.dir_format(&inode);
        let removed = if inode.has_flag(flag::INLINE_DATA) {
            let mut inline = inline_data::read_dir(self, &inode)?;
            let removed = inline.remove(&format, name)?;
            inline_data::write_dir(self, &mut inode, &inline)?;
            removed
        } else {
            let mut blocks = DirWriter {
                volume: self,
                inode: &mut inode,
            };
            dir::remove(&format, &mut blocks, name)?.is_some()
        };
        if !removed {
            return Err(Error::NotFound);
        }
        self.touch(&mut inode)
    }

    /// Lets a name that is there name another node.
    ///
    /// # Errors
    /// [`Error::NotFound`], a damaged directory.
    pub(crate) fn retarget_name(
        &mut self,
        number: InodeNumber,
        name: &[u8],
        target: Found,
    ) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        self.check_dir(&inode)?;
        let format = self.dir_format(&inode);
        let found = if inode.has_flag(flag::INLINE_DATA) {
            let mut inline = inline_data::read_dir(self, &inode)?;
            let found = inline.retarget(&format, name, target)?;
            inline_data::write_dir(self, &mut inode, &inline)?;
            found
        } else {
            let mut blocks = DirWriter {
                volume: self,
                inode: &mut inode,
            };
            dir::retarget(&format, &mut blocks, name, target)?.is_some()
        };
        if !found {
            return Err(Error::NotFound);
        }
        self.touch(&mut inode)
    }

    /// Lets `..` of a directory name another one.
    ///
    /// # Errors
    /// A damaged directory.
    pub(crate) fn set_parent(
        &mut self,
        number: InodeNumber,
        parent: InodeNumber,
    ) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        self.check_dir(&inode)?;
        let format = self.dir_format(&inode);
        if inode.has_flag(flag::INLINE_DATA) {
            let mut inline = inline_data::read_dir(self, &inode)?;
            inline.set_parent(parent.get());
            inline_data::write_dir(self, &mut inode, &inline)?;
            return self.write_inode(&mut inode);
        }
        let mut blocks = DirWriter {
            volume: self,
            inode: &mut inode,
        };
        dir::set_parent(&format, &mut blocks, parent.get())
    }

    /// Whether a directory has no names but `.` and `..`.
    ///
    /// # Errors
    /// A damaged directory.
    pub(crate) fn is_empty_dir(&self, inode: &Inode) -> Result<bool, Error> {
        Ok(self.list_names(inode)?.is_empty())
    }

    /// Counts a subdirectory more.
    ///
    /// # Errors
    /// More subdirectories than the count can say.
    pub(crate) fn add_subdir(&mut self, number: InodeNumber) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        let links = inode.links();
        let may_be_many =
            self.superblock.features.ro_compat(ro_compat::DIR_NLINK) && inode.has_flag(flag::INDEX);
        // A count of 1 already says "many".
        let links = match links {
            1 => 1,
            _ if links < LINK_MAX => links.saturating_add(1),
            _ if may_be_many => 1,
            _ => {
                return Err(UnsupportedKind::Inode {
                    inode: number.get(),
                    what: "more subdirectories than its count of links can say",
                }
                .into());
            }
        };
        inode.set_links(links);
        self.write_inode(&mut inode)
    }

    /// Counts a subdirectory less.
    ///
    /// # Errors
    /// A damaged inode, or what writing meets.
    pub(crate) fn drop_subdir(&mut self, number: InodeNumber) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        if inode.links() > 2 {
            inode.set_links(inode.links().saturating_sub(1));
            self.write_inode(&mut inode)?;
        }
        Ok(())
    }

    /// Takes one name from a node, and deletes the node with its last one.
    ///
    /// # Errors
    /// A damaged node, or what writing meets.
    pub(crate) fn drop_link(&mut self, number: InodeNumber) -> Result<(), Error> {
        let mut inode = self.live_inode(number)?;
        let is_dir = inode.kind()? == Kind::Dir;
        let left = inode.links().saturating_sub(1);
        if left > 0 && !is_dir {
            inode.set_links(left);
            inode.set_ctime(self.now);
            return self.write_inode(&mut inode);
        }
        self.delete_node(&mut inode)
    }

    /// Deletes a node that nothing names any more: content, attributes and inode.
    ///
    /// # Errors
    /// A damaged node, one that belongs to the file system itself, or what writing meets.
    pub(crate) fn delete_node(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let number = inode.number();
        if self.is_reserved(number) {
            return Err(CorruptKind::ReservedNamed {
                inode: number.get(),
            }
            .into());
        }
        let is_dir = inode.kind()? == Kind::Dir;
        self.free_content(inode)?;
        self.release_attributes(inode)?;
        inode.set_links(0);
        inode.set_size(0);
        inode.set_dtime(self.deletion_time());
        self.write_inode(inode)?;
        self.free_inode(number, is_dir)
    }

    /// Whether an inode belongs to the file system itself.
    pub(crate) fn is_reserved(&self, number: InodeNumber) -> bool {
        let raw = self.superblock.raw();
        number.get() < self.superblock.first_inode
            || number.get() == raw.s_journal_inum.get()
            || number.get() == raw.s_orphan_file_inum.get()
    }

    /// A time for `i_dtime`: never zero, and never so early that it looks like the number of an
    /// inode in the list of orphans.
    fn deletion_time(&self) -> u32 {
        let now = u32::try_from(self.now.seconds).unwrap_or(0);
        now.max(self.superblock.raw().s_wtime.get()).max(1)
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
        inode.set_ctime(self.now);
        inode.bump_version();
        self.write_inode(inode)
    }

    /// Whether `dir` is `ancestor` or lies below it.
    ///
    /// # Errors
    /// Damaged directories, or a loop among them.
    pub(crate) fn is_below(&self, dir: InodeNumber, ancestor: InodeNumber) -> Result<bool, Error> {
        let mut at = dir;
        for _ in 0..MAX_DEPTH {
            if at == ancestor {
                return Ok(true);
            }
            let above = self.parent_of(&self.live_inode(at)?)?;
            let above = InodeNumber::new(&self.superblock, above.into())?;
            if above == at {
                return Ok(false);
            }
            at = above;
        }
        Err(CorruptKind::Inode {
            inode: dir.get(),
            field: "depth of the directory",
            value: u64::from(MAX_DEPTH),
            expected: "a way to the root directory",
        }
        .into())
    }
}

/// Checks that a name can be given.
///
/// # Errors
/// [`Error::BadName`].
pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.is_empty()
        || name.len() > MAX_NAME
        || name == b"."
        || name == b".."
        || name.iter().any(|byte| *byte == 0 || *byte == b'/')
    {
        return Err(Error::BadName);
    }
    Ok(())
}

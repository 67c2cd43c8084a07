//! Extended attributes of nodes, and the room for them.

use crate::attr;
use crate::dir;
use crate::error::Error;
use crate::fork_access::{ForkEditor, ForkReader, LEAST_ATTRIBUTES};
use crate::inode::{Fork, Format, Inode};
use crate::volume::Volume;
use fs::{Kind, Xattr};

impl Volume {
    /// All extended attributes of a node, sorted by name.
    ///
    /// # Errors
    /// Damaged attributes, or what the device says.
    pub(crate) fn attributes(&self, inode: &Inode) -> Result<Vec<Xattr>, Error> {
        attr::list(&ForkReader {
            volume: self,
            inode,
            fork: Fork::Attributes,
        })
    }

    /// Sets or removes an attribute by its full name. The inode is changed in memory only.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::NotFound`] if what is to be removed is not there, impossible
    /// names, damaged attributes, and what writing meets.
    pub(crate) fn set_attribute(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        if value.is_some() && !inode.has_attributes() {
            self.make_room_for_attributes(inode)?;
        }
        let mut fork = ForkEditor {
            volume: self,
            inode,
            fork: Fork::Attributes,
        };
        attr::set(&mut fork, name, value)
    }

    /// Brings a node's access control list, if it has one, in line with a new mode. The inode is
    /// changed in memory only.
    ///
    /// # Errors
    /// Damaged attributes, and what writing meets.
    pub(crate) fn follow_mode(&mut self, inode: &mut Inode, mode: u16) -> Result<(), Error> {
        if !inode.has_attributes() {
            return Ok(());
        }
        let mut fork = ForkEditor {
            volume: self,
            inode,
            fork: Fork::Attributes,
        };
        attr::follow_mode(&mut fork, mode)
    }

    /// Moves names or a target that fill the inode out of it.
    fn make_room_for_attributes(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let fork = Fork::Data;
        let reader = ForkReader {
            volume: self,
            inode,
            fork,
        };
        let left = inode.literal_len().saturating_sub(reader.least_border()?);
        if left >= LEAST_ATTRIBUTES || inode.format(fork)? != Format::Local {
            return Ok(());
        }
        if inode.kind()? == Kind::Dir {
            let volume = self;
            return dir::leave_inode(&mut ForkEditor {
                volume,
                inode,
                fork,
            });
        }
        self.move_target_out(inode)
    }
}

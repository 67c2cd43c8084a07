//! Extended attributes of nodes: gives the code that knows their layout inode and block.

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::inode::{Inode, InodeNumber, flag};
use crate::volume::Volume;
use crate::xattr::{Attributes, Block, Format, Key, Value, change_refcount};
use fs::Xattr;
use ondisk::width::usize_of_u32;

/// Bytes of a value that lies in an inode of its own: the kernel's `XATTR_SIZE_MAX`.
const LARGEST_VALUE: u32 = 65536;

impl Volume {
    fn xattr_format(&self, inode: &Inode) -> Format {
        let sums = self.superblock.features.metadata_csum();
        Format {
            inode: inode.number().get(),
            block_size: self.superblock.block_len(),
            checksum: sums.then_some(self.superblock.seed),
        }
    }

    /// The attributes of a node, and the block that holds some of them.
    fn stored_attributes(&self, inode: &Inode) -> Result<(Attributes, Option<Block>), Error> {
        let format = self.xattr_format(inode);
        let block = match inode.file_acl() {
            0 => None,
            at => {
                self.check_data_blocks(inode.number(), at, 1)?;
                Some(Block::parse(&format, at, &self.read_block(at)?)?)
            }
        };
        let attributes = Attributes::parse(&format, inode.bytes(), block.as_ref())?;
        Ok((attributes, block))
    }

    /// All attributes that have a name for the kernel, sorted.
    ///
    /// # Errors
    /// Damaged attributes.
    pub(crate) fn attributes(&self, inode: &Inode) -> Result<Vec<Xattr>, Error> {
        let (attributes, _) = self.stored_attributes(inode)?;
        let visible = attributes.visible().into_iter();
        visible
            .map(|(name, attribute)| {
                let value = match &attribute.value {
                    Value::Here(value) => value.clone(),
                    Value::Inode { inode, size, .. } => self.value_in_inode(*inode, *size)?,
                };
                let value = attribute.key.value_from_disk(value)?;
                Ok(Xattr { name, value })
            })
            .collect()
    }

    fn value_in_inode(&self, number: u32, size: u32) -> Result<Vec<u8>, Error> {
        let inode = self.value_inode(number, size)?;
        let mut value = vec![0; usize_of_u32(size)];
        self.read_content(&inode, 0, &mut value)?;
        Ok(value)
    }

    /// The inode that holds a value of `size` bytes.
    fn value_inode(&self, number: u32, size: u32) -> Result<Inode, Error> {
        let inode = self.live_inode(InodeNumber::new(&self.superblock, number.into())?)?;
        if !inode.has_flag(flag::EA_INODE) || inode.size() != u64::from(size) {
            return Err(CorruptKind::Inode {
                inode: number,
                field: "i_size",
                value: inode.size(),
                expected: "the size of the attribute whose value it holds",
            }
            .into());
        }
        if size > LARGEST_VALUE {
            return Err(UnsupportedKind::TooLarge {
                field: "e_value_size",
                value: size.into(),
                cap: LARGEST_VALUE.into(),
            }
            .into());
        }
        Ok(inode)
    }

    /// The inodes that hold values of a node's attributes, each of 64 KiB at most.
    ///
    /// # Errors
    /// Damaged attributes, or what the device says.
    pub(crate) fn attribute_inodes(&self, inode: &Inode) -> Result<Vec<Inode>, Error> {
        let (attributes, _) = self.stored_attributes(inode)?;
        let visible = attributes.visible().into_iter();
        let numbers = visible.filter_map(|(_, attribute)| match attribute.value {
            Value::Inode { inode, size, .. } => Some((inode, size)),
            Value::Here(_) => None,
        });
        numbers
            .map(|(number, size)| self.value_inode(number, size))
            .collect()
    }

    /// The part of inline content that lies in an attribute.
    ///
    /// # Errors
    /// Damaged attributes.
    pub(crate) fn inline_value(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let (attributes, _) = self.stored_attributes(inode)?;
        Ok(match attributes.find(&Key::inline_data()) {
            Some(attribute) => match &attribute.value {
                Value::Here(value) => value.clone(),
                Value::Inode { .. } => Vec::new(),
            },
            None => Vec::new(),
        })
    }

    /// Keeps the part of inline content that lies in an attribute; false, and nothing changed, if
    /// the inode has no room for it.
    ///
    /// # Errors
    /// Damaged attributes, and what writing meets.
    pub(crate) fn set_inline_value(
        &mut self,
        inode: &mut Inode,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        let (before, block) = self.stored_attributes(inode)?;
        let mut after = before.clone();
        if !after.set_in_inode(Key::inline_data(), value) {
            return Ok(false);
        }
        self.store_attributes(inode, &before, &after, block.as_ref())?;
        Ok(true)
    }

    /// Removes the attribute of inline content.
    ///
    /// # Errors
    /// Damaged attributes, and what writing meets.
    pub(crate) fn remove_inline_value(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let (before, block) = self.stored_attributes(inode)?;
        let mut after = before.clone();
        after.remove(&Key::inline_data());
        self.store_attributes(inode, &before, &after, block.as_ref())
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
        let key = Key::from_full_name(name)?;
        let (before, block) = self.stored_attributes(inode)?;
        let mut after = before.clone();
        match value {
            Some(value) => {
                let value = key.value_to_disk(value)?;
                after.set(key, value)?;
            }
            None if after.remove(&key) => (),
            None => return Err(Error::NotFound),
        }
        self.superblock.add_ext_attr();
        self.store_attributes(inode, &before, &after, block.as_ref())
    }

    /// Brings a node's access control list, if it has one, in line with a new mode. The inode is
    /// changed in memory only.
    ///
    /// # Errors
    /// Damaged attributes, and what writing meets.
    pub(crate) fn follow_mode(&mut self, inode: &mut Inode, mode: u16) -> Result<(), Error> {
        let (before, block) = self.stored_attributes(inode)?;
        let mut after = before.clone();
        after.follow_mode(mode)?;
        if after == before {
            return Ok(());
        }
        self.store_attributes(inode, &before, &after, block.as_ref())
    }

    fn store_attributes(
        &mut self,
        inode: &mut Inode,
        before: &Attributes,
        after: &Attributes,
        block: Option<&Block>,
    ) -> Result<(), Error> {
        after.write_body(inode.bytes_mut());
        if after.same_block(before) {
            return Ok(());
        }
        let shared = block.is_some_and(|block| block.refcount > 1);
        if shared || !after.needs_block() {
            self.release_attributes(inode)?;
        }
        if !after.needs_block() {
            return Ok(());
        }
        if inode.file_acl() == 0 {
            let at = self.allocate_block(self.inode_goal(inode.number()))?;
            inode.set_file_acl(at);
            let blocks = inode.blocks(&self.superblock).saturating_add(1);
            inode.set_blocks(&self.superblock, blocks)?;
        }
        let at = inode.file_acl();
        match after.to_block(&self.xattr_format(inode), at) {
            Some(bytes) => self.write_block(at, &bytes),
            None => Ok(()),
        }
    }

    /// Takes the node's block of attributes away from it: the block is freed with its last user.
    /// The inode is changed in memory only.
    ///
    /// # Errors
    /// A damaged block, and what writing meets.
    pub(crate) fn release_attributes(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let at = inode.file_acl();
        if at == 0 {
            return Ok(());
        }
        self.check_data_blocks(inode.number(), at, 1)?;
        let format = self.xattr_format(inode);
        let mut bytes = self.read_block(at)?.to_vec();
        let users = Block::parse(&format, at, &bytes)?.refcount;
        if users > 1 {
            change_refcount(&format, at, &mut bytes, users.saturating_sub(1));
            self.write_block(at, &bytes)?;
        } else {
            self.free_blocks(at..at.saturating_add(1))?;
        }
        let blocks = inode.blocks(&self.superblock).saturating_sub(1);
        inode.set_file_acl(0);
        inode.set_blocks(&self.superblock, blocks)
    }
}

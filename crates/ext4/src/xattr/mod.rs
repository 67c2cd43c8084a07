//! Extended attributes: in the inode behind its fields, and in one block outside.
//!
//! Everything here works on bytes: who calls reads and writes the inode and the block, and counts
//! who shares a block. The value of an attribute may also be the content of an inode of its own
//! (`ea_inode`); then only that inode's number is known here.
//!
//! Sources: "Extended Attributes" in the kernel's `Documentation/filesystems/ext4`, and
//! `fs/ext4/xattr.c`.

mod acl;
mod area;
mod block;
mod body;
mod name;

pub(crate) use area::{Attribute, Value};
pub(crate) use block::{Block, change_refcount};
pub(crate) use name::Key;

use crate::checksum::FsSeed;
use crate::error::{CorruptKind, Error};

/// What has to be known about a file system and an inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// The inode's number.
    pub(crate) inode: u32,
    /// Bytes per block.
    pub(crate) block_size: usize,
    /// What sums start with (`metadata_csum`).
    pub(crate) checksum: Option<FsSeed>,
}

/// The attributes of one inode.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Attributes {
    /// Those in the inode, in their order.
    body: Vec<Attribute>,
    /// Those in the block outside.
    block: Vec<Attribute>,
    /// Bytes that the inode has room for, behind the magic number; 0 if it has none.
    body_room: usize,
    /// Bytes per block.
    block_size: usize,
}

impl Attributes {
    /// Reads what an inode holds; `raw` is `s_inode_size` long. `block` is what
    /// [`Block::parse`] read from where `i_file_acl` points.
    pub(crate) fn parse(format: &Format, raw: &[u8], block: Option<&Block>) -> Result<Self, Error> {
        Ok(Self {
            body: body::parse(format, raw)?,
            block: block.map_or_else(Vec::new, |block| block.attributes.clone()),
            body_room: body::room(raw),
            block_size: format.block_size,
        })
    }

    /// All of them by their full names, sorted, as the kernel shows them: without those that
    /// belong to the file system itself. Where a name occurs twice the inode's own counts.
    pub(crate) fn visible(&self) -> Vec<(Vec<u8>, &Attribute)> {
        let mut all: Vec<(Vec<u8>, &Attribute)> = Vec::new();
        for attribute in self.body.iter().chain(&self.block) {
            let Some(name) = attribute.key.full_name() else {
                continue;
            };
            if !all.iter().any(|(known, _)| *known == name) {
                all.push((name, attribute));
            }
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Finds an attribute, also one that is not shown.
    pub(crate) fn find(&self, key: &Key) -> Option<&Attribute> {
        let mut all = self.body.iter().chain(&self.block);
        all.find(|attribute| attribute.key == *key)
    }

    /// Removes an attribute; false if there is none.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        let before = self.body.len().saturating_add(self.block.len());
        self.body.retain(|attribute| attribute.key != *key);
        self.block.retain(|attribute| attribute.key != *key);
        self.body.len().saturating_add(self.block.len()) < before
    }

    /// Sets an attribute: in the inode if it fits there, else in the block. Nothing changes if it
    /// fits nowhere.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub(crate) fn set(&mut self, key: Key, value: Vec<u8>) -> Result<(), Error> {
        let before = self.clone();
        self.remove(&key);
        let new = Attribute {
            key,
            value: Value::Here(value),
        };
        let needed = area::len_of(&[&new]);
        if self.fits_body(Some(&new)) {
            self.body.push(new);
        } else if self.fits_block(Some(&new)) && !new.key.is_inline_data() {
            self.block.push(new);
        } else if !self.rearranged(new) {
            *self = before;
            let used = area::len_of(&self.block.iter().collect::<Vec<_>>());
            let free = self.block_room().saturating_sub(used);
            return Err(Error::NoSpace {
                needed: ondisk::width::u64_of(needed),
                free: ondisk::width::u64_of(free),
            });
        }
        Ok(())
    }

    /// Brings the access control list, if there is one, in line with a new mode.
    ///
    /// # Errors
    /// A broken list.
    pub(crate) fn follow_mode(&mut self, mode: u16) -> Result<(), Error> {
        let key = Key::access_acl();
        for attribute in self.body.iter_mut().chain(&mut self.block) {
            if let (true, Value::Here(value)) = (attribute.key == key, &mut attribute.value) {
                let mut list = acl::from_disk(value)?;
                list.set_mode(mode);
                *value = acl::to_disk(&list);
            }
        }
        Ok(())
    }

    /// Sets an attribute that has to be in the inode, and moves others out if need be; false, and
    /// nothing changed, if there is no room.
    pub(crate) fn set_in_inode(&mut self, key: Key, value: Vec<u8>) -> bool {
        let before = self.clone();
        self.remove(&key);
        let new = Attribute {
            key,
            value: Value::Here(value),
        };
        while !self.fits_body(Some(&new)) {
            let Some(moved) = self.body.iter().position(|a| !a.key.is_inline_data()) else {
                *self = before;
                return false;
            };
            let moved = self.body.remove(moved);
            if !self.fits_block(Some(&moved)) {
                *self = before;
                return false;
            }
            self.block.push(moved);
        }
        self.body.push(new);
        true
    }

    /// Writes the inode's part into its bytes.
    pub(crate) fn write_body(&self, raw: &mut [u8]) {
        body::write(&self.body, raw);
    }

    /// The block outside, to be written to block number `at` with nobody else sharing it; none if
    /// it holds nothing and should be freed.
    pub(crate) fn to_block(&self, format: &Format, at: u64) -> Option<Vec<u8>> {
        if self.block.is_empty() {
            return None;
        }
        Some(block::encode(format, at, &self.block))
    }

    /// Whether a block outside is needed.
    pub(crate) fn needs_block(&self) -> bool {
        !self.block.is_empty()
    }

    /// Whether the block outside holds the same in `other`.
    pub(crate) fn same_block(&self, other: &Self) -> bool {
        self.block == other.block
    }

    fn block_room(&self) -> usize {
        self.block_size
            .saturating_sub(block::HEADER)
            .saturating_sub(area::TERMINATOR)
    }

    fn fits_body(&self, new: Option<&Attribute>) -> bool {
        let all: Vec<_> = self.body.iter().chain(new).collect();
        area::len_of(&all).saturating_add(area::TERMINATOR) <= self.body_room
    }

    fn fits_block(&self, new: Option<&Attribute>) -> bool {
        let all: Vec<_> = self.block.iter().chain(new).collect();
        area::len_of(&all) <= self.block_room()
    }

    /// Distributes all attributes anew, the largest first; false if that does not help either.
    fn rearranged(&mut self, new: Attribute) -> bool {
        let mut all: Vec<Attribute> = self.body.drain(..).chain(self.block.drain(..)).collect();
        all.push(new);
        all.sort_by_key(|attribute| {
            let len = area::len_of(&[attribute]);
            (!attribute.key.is_inline_data(), std::cmp::Reverse(len))
        });
        for attribute in all {
            if !attribute.key.is_inline_data() && self.fits_block(Some(&attribute)) {
                self.block.push(attribute);
            } else if self.fits_body(Some(&attribute)) {
                self.body.push(attribute);
            } else {
                return false;
            }
        }
        true
    }
}

impl Format {
    fn corrupt(&self, place: &'static str, at: usize, reason: &'static str, value: u64) -> Error {
        CorruptKind::Xattr {
            inode: self.inode,
            place,
            at,
            reason,
            value,
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        inode: 12,
        block_size: 1024,
        checksum: None,
    };

    fn inode() -> Vec<u8> {
        let mut raw = vec![0; 256];
        raw[128] = 32;
        raw
    }

    fn key(name: &str) -> Key {
        Key::from_full_name(name.as_bytes()).unwrap()
    }

    /// Writes and reads back, through inode and block.
    fn stored(attributes: &Attributes) -> Attributes {
        let mut raw = inode();
        attributes.write_body(&mut raw);
        assert_eq!(raw[..128], inode()[..128]);
        let block = attributes
            .to_block(&FORMAT, 77)
            .map(|bytes| Block::parse(&FORMAT, 77, &bytes).unwrap());
        Attributes::parse(&FORMAT, &raw, block.as_ref()).unwrap()
    }

    fn names(attributes: &Attributes) -> Vec<String> {
        let visible = attributes.visible();
        let names = visible.into_iter().map(|(name, _)| name);
        names.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn small_ones_stay_in_the_inode_and_large_ones_go_out() {
        let mut attributes = Attributes::parse(&FORMAT, &inode(), None).unwrap();
        attributes
            .set(key("security.selinux"), b"label".to_vec())
            .unwrap();
        assert!(!attributes.needs_block());
        attributes.set(key("user.large"), vec![7; 700]).unwrap();
        attributes.set(key("trusted.b"), vec![]).unwrap();
        assert!(attributes.needs_block());
        let back = stored(&attributes);
        assert_eq!(
            names(&back),
            ["security.selinux", "trusted.b", "user.large"]
        );
        assert_eq!(
            back.find(&key("user.large")).unwrap().value,
            Value::Here(vec![7; 700])
        );
        assert!(attributes.remove(&key("user.large")));
        assert!(!attributes.remove(&key("user.large")));
        assert_eq!(stored(&attributes).to_block(&FORMAT, 1), None);
    }

    #[test]
    fn what_fits_nowhere_changes_nothing() {
        let mut attributes = Attributes::parse(&FORMAT, &inode(), None).unwrap();
        attributes.set(key("user.a"), vec![1; 600]).unwrap();
        let before = attributes.clone();
        let refused = attributes.set(key("user.b"), vec![2; 600]);
        assert!(matches!(refused, Err(Error::NoSpace { .. })));
        assert_eq!(attributes, before);
    }

    #[test]
    fn attributes_are_rearranged_to_make_room() {
        let mut attributes = Attributes::parse(&FORMAT, &inode(), None).unwrap();
        attributes.set(key("user.small"), vec![1; 40]).unwrap();
        attributes.set(key("user.outside"), vec![1; 60]).unwrap();
        attributes.set(key("user.large"), vec![1; 900]).unwrap();
        let back = stored(&attributes);
        assert_eq!(names(&back).len(), 3);
    }

    #[test]
    fn the_inode_makes_room_for_its_data() {
        let mut attributes = Attributes::parse(&FORMAT, &inode(), None).unwrap();
        attributes.set(key("user.a"), vec![1; 40]).unwrap();
        let data = Key::inline_data();
        assert!(attributes.set_in_inode(data.clone(), vec![5; 60]));
        let back = stored(&attributes);
        assert_eq!(names(&back), ["user.a"]);
        assert_eq!(back.find(&data).unwrap().value, Value::Here(vec![5; 60]));
        assert!(!attributes.set_in_inode(data.clone(), vec![5; 77]));
        assert!(attributes.set_in_inode(data.clone(), vec![5; 68]));
    }
}

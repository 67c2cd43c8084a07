//! One directory block, with the tail that carries its checksum.

use super::entry::{Area, Entry, Fault, Found, Name, SHORTEST, rec_len_from_disk, record_len};
use super::htree::node::Shape;
use super::{Format, ReadBlocks, WriteBlocks};
use crate::Error;
use crate::checksum::DIR_TAIL;
use crate::error::CorruptKind;
use fs::Kind;

/// A directory block that was read and checked, for its names.
///
/// Blocks of the index look like blocks without names: the root holds `.` and `..`, and inner
/// nodes hold one free record.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    format: Format,
    logical: u32,
    bytes: Vec<u8>,
    role: Role,
}

/// What a block is there for, which decides how it is summed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Names,
    Index(Shape),
}

impl Leaf {
    /// Reads a block that may belong to the index.
    pub(super) fn read(
        format: &Format,
        blocks: &(impl ReadBlocks + ?Sized),
        logical: u32,
    ) -> Result<Self, Error> {
        let bytes = read_block(format, blocks, logical)?;
        let role = role_of(format, logical, &bytes);
        Self::checked(format, logical, bytes, role)
    }

    /// Reads a block that the index says is full of names.
    pub(super) fn read_names(
        format: &Format,
        blocks: &(impl ReadBlocks + ?Sized),
        logical: u32,
    ) -> Result<Self, Error> {
        let bytes = read_block(format, blocks, logical)?;
        Self::checked(format, logical, bytes, Role::Names)
    }

    /// A block without names, to be written to `logical`.
    pub(super) fn empty(format: &Format, logical: u32) -> Self {
        let mut leaf = Self {
            format: *format,
            logical,
            bytes: vec![0; format.block_size],
            role: Role::Names,
        };
        leaf.clear();
        leaf
    }

    fn checked(format: &Format, logical: u32, bytes: Vec<u8>, role: Role) -> Result<Self, Error> {
        let leaf = Self {
            format: *format,
            logical,
            bytes,
            role,
        };
        match role {
            Role::Names => leaf.check_tail()?,
            Role::Index(shape) => shape.check(format, logical, &leaf.bytes)?,
        }
        Ok(leaf)
    }

    fn check_tail(&self) -> Result<(), Error> {
        let Some(seed) = self.format.checksum else {
            return Ok(());
        };
        let at = self.names_len();
        let tail = self.bytes.get(at..).unwrap_or_default();
        let Some((TAIL_START, stored)) = tail.split_first_chunk::<8>() else {
            return Err(self.format.corrupt(
                self.logical,
                at,
                "the block ends without a place for its checksum",
                0,
            ));
        };
        let found = stored
            .first_chunk::<4>()
            .map_or(0, |stored| u32::from_le_bytes(*stored));
        let computed = seed.dir_block(&self.bytes);
        if found == computed {
            return Ok(());
        }
        Err(CorruptKind::DirectoryChecksum {
            inode: self.format.inode,
            block: self.logical,
            found,
            computed,
        }
        .into())
    }

    /// Sums the block and writes it.
    pub(super) fn write(mut self, blocks: &mut (impl WriteBlocks + ?Sized)) -> Result<(), Error> {
        match self.role {
            Role::Names => {
                if let Some(seed) = self.format.checksum {
                    let at = self.names_len();
                    self.bytes[at..][..TAIL_START.len()].copy_from_slice(TAIL_START);
                    let computed = seed.dir_block(&self.bytes).to_le_bytes();
                    let sum_at = self.bytes.len().saturating_sub(computed.len());
                    self.bytes[sum_at..].copy_from_slice(&computed);
                }
            }
            Role::Index(shape) => shape.sum(&self.format, &mut self.bytes),
        }
        blocks.write(self.logical, &self.bytes)
    }

    /// Every name but `.` and `..`.
    pub(super) fn names(&self) -> Result<Vec<Name>, Error> {
        self.area()
            .names(self.name_bytes())
            .map_err(|fault| self.fault(fault))
    }

    /// Finds a name.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Found>, Error> {
        let entry = self
            .area()
            .find(self.name_bytes(), name)
            .map_err(|fault| self.fault(fault))?;
        Ok(entry.map(|entry| entry.found()))
    }

    /// Puts a name in; false if there is no room.
    pub(super) fn insert(&mut self, name: &[u8], target: Found) -> Result<bool, Error> {
        self.change(|area, bytes| area.insert(bytes, name, target))
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<bool, Error> {
        self.change(|area, bytes| area.remove(bytes, name))
    }

    /// Lets a name that is there name something else.
    pub(super) fn retarget(&mut self, name: &[u8], target: Found) -> Result<bool, Error> {
        self.change(|area, bytes| area.retarget(bytes, name, target))
    }

    /// Makes the block hold these names and nothing else; false if they do not fit.
    pub(super) fn refill<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<bool, Error> {
        self.clear();
        for name in names {
            if !self.insert(&name.name, name.found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The inode that `..` names; only in the first block.
    pub(super) fn parent(&self) -> Result<u32, Error> {
        self.dots().map(|(_, dotdot)| dotdot.inode)
    }

    /// The inode that `.` names, and the one that `..` names; only in the first block.
    pub(super) fn both_dots(&self) -> Result<(u32, u32), Error> {
        self.dots().map(|(dot, dotdot)| (dot.inode, dotdot.inode))
    }

    /// Lets `..` name another inode.
    pub(super) fn set_parent(&mut self, parent: u32) -> Result<(), Error> {
        let at = self.dots()?.1.at;
        self.bytes[at..][..4].copy_from_slice(&parent.to_le_bytes());
        Ok(())
    }

    fn dots(&self) -> Result<(Entry<'_>, Entry<'_>), Error> {
        let mut entries = self.area().entries(self.name_bytes());
        let mut next = |name: &[u8]| match entries.next() {
            Some(Err(fault)) => Err(self.fault(fault)),
            Some(Ok(entry)) if entry.is_name() && entry.name == name => Ok(entry),
            _ => Err(self
                .format
                .corrupt(self.logical, 0, "the first entries are not . and ..", 0)),
        };
        Ok((next(b".")?, next(b"..")?))
    }

    fn change(
        &mut self,
        change: impl FnOnce(Area, &mut [u8]) -> Result<bool, Fault>,
    ) -> Result<bool, Error> {
        let area = self.area();
        let end = self.names_len();
        change(area, &mut self.bytes[..end]).map_err(|fault| self.fault(fault))
    }

    fn clear(&mut self) {
        let area = self.area();
        let end = self.names_len();
        area.clear(&mut self.bytes[..end]);
    }

    fn area(&self) -> Area {
        self.format.area()
    }

    fn name_bytes(&self) -> &[u8] {
        self.bytes.get(..self.names_len()).unwrap_or_default()
    }

    /// Bytes of the block that records fill.
    fn names_len(&self) -> usize {
        match self.role {
            Role::Names if self.format.checksum.is_some() => {
                self.bytes.len().saturating_sub(DIR_TAIL)
            }
            _ => self.bytes.len(),
        }
    }

    fn fault(&self, fault: Fault) -> Error {
        self.format
            .corrupt(self.logical, fault.at, fault.reason, fault.value)
    }
}

impl Format {
    pub(super) fn area(&self) -> Area {
        Area {
            block_size: self.block_size,
            file_type: self.file_type,
            inodes_count: self.inodes_count,
        }
    }
}

/// The first block of a new directory, with its checksum.
pub(crate) fn new_block(format: &Format, parent: u32) -> Vec<u8> {
    let mut collected = Collect(Vec::new());
    let mut leaf = Leaf::empty(format, 0);
    let area = leaf.area();
    let rest = leaf.names_len().saturating_sub(SHORTEST);
    let dir = |inode| Found {
        inode,
        kind: Some(Kind::Dir),
    };
    area.put(&mut leaf.bytes, 0, record_len(1), b".", dir(format.inode));
    area.put(&mut leaf.bytes, SHORTEST, rest, b"..", dir(parent));
    // Collecting a block in memory cannot fail.
    let _ = leaf.write(&mut collected);
    collected.0
}

/// Keeps the block that is written.
struct Collect(Vec<u8>);

impl ReadBlocks for Collect {
    fn count(&self) -> u32 {
        1
    }
    fn read(&self, _: u32) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone())
    }
}

impl WriteBlocks for Collect {
    fn write(&mut self, _: u32, bytes: &[u8]) -> Result<(), Error> {
        self.0 = bytes.to_vec();
        Ok(())
    }
    fn append(&mut self) -> Result<u32, Error> {
        Ok(1)
    }
}

/// Reads a block and checks that it is a whole one.
pub(super) fn read_block(
    format: &Format,
    blocks: &(impl ReadBlocks + ?Sized),
    logical: u32,
) -> Result<Vec<u8>, Error> {
    let count = blocks.count();
    if logical >= count {
        return Err(format.corrupt(
            logical,
            0,
            "the block lies beyond the end of the directory",
            u64::from(count),
        ));
    }
    let bytes = blocks.read(logical)?;
    if bytes.len() != format.block_size {
        let len = ondisk::width::u64_of(bytes.len());
        return Err(format.corrupt(logical, 0, "the block is not whole", len));
    }
    Ok(bytes)
}

/// In a directory with an index, the first block is its root, and a block that holds nothing but
/// one free record over all of it is a node: with checksums a block of names cannot look like
/// that, and without them nothing depends on it.
fn role_of(format: &Format, logical: u32, bytes: &[u8]) -> Role {
    if !format.indexed {
        return Role::Names;
    }
    if logical == 0 {
        return Role::Index(Shape::Root);
    }
    let Some([0, 0, 0, 0, low, high]) = bytes.first_chunk::<6>() else {
        return Role::Names;
    };
    let rec_len = rec_len_from_disk(u16::from_le_bytes([*low, *high]), format.block_size);
    if rec_len == format.block_size && format.checksum.is_some() {
        Role::Index(Shape::Node)
    } else {
        Role::Names
    }
}

/// A tail before its checksum: inode 0, a record of 12 bytes, no name, and a kind of its own.
const TAIL_START: &[u8; 8] = &[0, 0, 0, 0, 12, 0, 0, 0xde];

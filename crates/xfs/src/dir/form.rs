//! The forms that a directory can have, and what its blocks with names have in common in all of
//! them.

use super::data::{self, DataBlock, DataKind};
use super::entry::Entry;
use super::format::Format;
use super::leaf::Leaf;
use super::short::Short;
use super::single;
use super::tree;
use crate::da::{Fault, Header, IndexEntry};
use crate::error::{Error, UnsupportedKind};
use crate::fork::{ForkEdit, ForkRead};
use ondisk::width::u64_of;

/// The form of a directory, with what was read to know it.
#[derive(Debug)]
pub(super) enum Form {
    /// In the inode.
    Short(Short),
    /// One block with names and their index.
    Single(Vec<u8>),
    /// Blocks with names, and an index of one block.
    Leaf(Leaf),
    /// Blocks with names, a tree as index, and blocks about free space.
    Node,
}

/// A name that was found outside of the inode.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Which block with names.
    pub(super) number: u32,
    /// Where in it.
    pub(super) at: usize,
    pub(super) entry: Entry,
}

impl Found {
    /// What the index says about it.
    pub(super) fn index_entry(&self, format: &Format) -> Result<IndexEntry, Error> {
        Ok(IndexEntry {
            hash: format.hash(&self.entry.name),
            value: format.address(self.number, self.at)?,
        })
    }
}

impl Form {
    /// Looks what form a directory has.
    pub(super) fn of(format: &Format, fork: &dyn ForkRead) -> Result<Self, Error> {
        if let Some(bytes) = fork.inline() {
            let short = Short::decode(format, bytes);
            return short
                .map(Self::Short)
                .map_err(|fault| format.corrupt(0, fault));
        }
        let first = format.geometry.read(fork, 0, Header::Names)?;
        let kind = DataKind::of(format.v5(), &first).map_err(|fault| format.corrupt(0, fault))?;
        if kind == DataKind::Single {
            return Ok(Self::Single(first));
        }
        let block = format.leaf_block();
        let bytes = format.geometry.read(fork, block, Header::Index)?;
        if !Leaf::is_one(format, &bytes) {
            return Ok(Self::Node);
        }
        let leaf = Leaf::decode(format, &bytes).map_err(|fault| format.corrupt(block, fault))?;
        Ok(Self::Leaf(leaf))
    }

    /// Finds a name by its hash. Directories in their inode have none.
    pub(super) fn find(
        &self,
        format: &Format,
        fork: &dyn ForkRead,
        name: &[u8],
    ) -> Result<Option<Found>, Error> {
        let hash = format.hash(name);
        let addresses: Vec<u32> = match self {
            Self::Short(_) => return Ok(None),
            Self::Single(bytes) => {
                let index = single::index(format, bytes);
                with_hash(&index.map_err(|fault| format.corrupt(0, fault))?, hash)
            }
            Self::Leaf(leaf) => with_hash(&leaf.entries, hash),
            Self::Node => tree::find(format, fork, hash)?,
        };
        for address in addresses {
            let (number, at) = format.place(address);
            let block = format.data_block(number);
            let read;
            let bytes = match self {
                Self::Single(bytes) if number == 0 => bytes,
                Self::Single(_) => {
                    let fault = Fault {
                        at: 0,
                        reason: "the index of a single block leads to another",
                        value: address.into(),
                    };
                    return Err(format.corrupt(0, fault));
                }
                _ => {
                    read = format.geometry.read(fork, block, Header::Names)?;
                    let kind = DataKind::of(format.v5(), &read);
                    kind.map_err(|fault| format.corrupt(block, fault))?;
                    &read
                }
            };
            let entry = data::entry_at(format, bytes, at);
            let entry = entry.map_err(|fault| format.corrupt(block, fault))?;
            if format.same(&entry.name, name) {
                return Ok(Some(Found { number, at, entry }));
            }
        }
        Ok(None)
    }
}

/// Where the names of a hash are.
fn with_hash(entries: &[IndexEntry], hash: u32) -> Vec<u32> {
    let start = entries.partition_point(|entry| entry.hash < hash);
    let rest = entries.get(start..).unwrap_or_default();
    let same = rest.iter().take_while(|entry| entry.hash == hash);
    same.map(|entry| entry.value).collect()
}

/// Bytes of a directory that is listed whole: some ten million names.
const LARGEST_LISTED: u64 = 256 << 20;

/// Every name in the directory's blocks, `.` and `..` as well.
pub(super) fn list(format: &Format, fork: &dyn ForkRead) -> Result<Vec<Entry>, Error> {
    let mut names = Vec::new();
    let mut blocks = 0;
    let mut from = 0;
    while let Some(mapped) = fork.next_mapped(from)?
        && mapped < format.leaf_block()
    {
        cap_listed(blocks, format)?;
        blocks = blocks.saturating_add(1);
        let (_, block) = format.data_number(mapped);
        let bytes = format.geometry.read(fork, block, Header::Names)?;
        let entries = names_of(format, bytes).map_err(|fault| format.corrupt(block, fault))?;
        names.extend(entries.into_iter().map(|(_, entry)| entry));
        from = block.saturating_add(format.geometry.count.into());
    }
    Ok(names)
}

/// Checks that a directory of which so many blocks were read is still one to be read whole.
pub(super) fn cap_listed(blocks: usize, format: &Format) -> Result<(), Error> {
    let value = u64_of(blocks).saturating_mul(u64_of(format.block_size()));
    if value < LARGEST_LISTED {
        return Ok(());
    }
    Err(UnsupportedKind::TooLarge {
        field: "size of a directory",
        value,
        cap: LARGEST_LISTED,
    }
    .into())
}

fn names_of(format: &Format, bytes: Vec<u8>) -> Result<Vec<(usize, Entry)>, Fault> {
    let kind = DataKind::of(format.v5(), &bytes)?;
    let end = match kind {
        DataKind::Single => single::index_start(format, &bytes)?,
        DataKind::Data => bytes.len(),
    };
    DataBlock::parse(format, kind, bytes, end)?.entries(format)
}

/// How many blocks with names there are, gaps among them as well.
pub(super) fn data_count(format: &Format, fork: &dyn ForkRead) -> u32 {
    let count = fork.size().div_ceil(u64_of(format.block_size()).max(1));
    // The index starts there, whatever the inode says.
    let most = format
        .leaf_block()
        .checked_div(format.geometry.count.into());
    u32::try_from(count.min(most.unwrap_or(0))).unwrap_or(u32::MAX)
}

/// Sets how many blocks with names there are.
pub(super) fn set_data_count(format: &Format, fork: &mut dyn ForkEdit, count: u32) {
    fork.set_size(u64::from(count).saturating_mul(u64_of(format.block_size())));
}

/// Maps a block with names that is a hole now.
pub(super) fn add_data(format: &Format, fork: &mut dyn ForkEdit, number: u32) -> Result<(), Error> {
    let block = format.data_block(number);
    if block >= format.leaf_block() {
        // Its names could not be addressed: this is the error of an address beyond the end.
        format.address(number, 0)?;
    }
    fork.allocate(block, format.geometry.count)?;
    if number >= data_count(format, fork) {
        set_data_count(format, fork, number.saturating_add(1));
    }
    Ok(())
}

/// Reads one of several blocks with names.
pub(super) fn read_data(
    format: &Format,
    fork: &dyn ForkRead,
    number: u32,
) -> Result<DataBlock, Error> {
    let block = format.data_block(number);
    let bytes = format.geometry.read(fork, block, Header::Names)?;
    DataBlock::parse(format, DataKind::Data, bytes, format.block_size())
        .map_err(|fault| format.corrupt(block, fault))
}

/// Writes one of several blocks with names.
pub(super) fn write_data(
    format: &Format,
    fork: &mut dyn ForkEdit,
    number: u32,
    data: DataBlock,
) -> Result<(), Error> {
    let bytes = data.into_bytes(format);
    format
        .geometry
        .write(fork, format.data_block(number), Header::Names, bytes)
}

/// Takes a name out of its block. If it was the last one there the block is given back, and there
/// is none: the format's checker takes no blocks without names.
pub(super) fn remove_data(
    format: &Format,
    fork: &mut dyn ForkEdit,
    found: &Found,
) -> Result<Option<DataBlock>, Error> {
    let mut data = read_data(format, fork, found.number)?;
    let block = format.data_block(found.number);
    if !data.remove(found.at) {
        let fault = Fault {
            at: found.at,
            reason: "the index leads into the middle of an entry",
            value: u64_of(found.at),
        };
        return Err(format.corrupt(block, fault));
    }
    if data.is_empty() && found.number != 0 {
        fork.free(block, format.geometry.count)?;
        return Ok(None);
    }
    Ok(Some(data))
}

/// Writes the index of one block, which is known to fit.
pub(super) fn write_leaf(
    format: &Format,
    fork: &mut dyn ForkEdit,
    leaf: &Leaf,
) -> Result<(), Error> {
    let block = format.leaf_block();
    let bytes = leaf.encode(format).ok_or_else(|| no_room(format, block))?;
    format.geometry.write(fork, block, Header::Index, bytes)
}

/// What knows of free space says that there is more than there is.
pub(super) fn no_room(format: &Format, block: u64) -> Error {
    let fault = Fault {
        at: 0,
        reason: "there is less room than the directory says",
        value: 0,
    };
    format.corrupt(block, fault)
}

//! Directories whose index is a tree. Which block with names has room is kept in blocks of its
//! own.

use super::data::DataBlock;
use super::entry::Target;
use super::form::Found;
use super::format::Format;
use super::free::{self, Free, NO_BLOCK};
use super::leaf::Leaf;
use super::{form, tree};
use crate::da::{Header, IndexEntry};
use crate::error::Error;
use crate::fork::{ForkEdit, ForkRead};

/// Makes the index of one block a tree of one leaf, and moves what it knows of free space to a
/// block of its own.
///
/// # Errors
/// No room, and what writing meets.
pub(super) fn convert(format: &Format, fork: &mut dyn ForkEdit, leaf: Leaf) -> Result<(), Error> {
    let mut free = Free::new(format, 0);
    free.bests = leaf.bests;
    fork.allocate(format.free_block(0), format.geometry.count)?;
    write_free(format, fork, 0, &free)?;
    tree::write_only_leaf(format, fork, leaf.entries)
}

/// Puts a name into the directory.
///
/// # Errors
/// A damaged directory, no room, and what writing meets.
pub(super) fn insert(
    format: &Format,
    fork: &mut dyn ForkEdit,
    name: &[u8],
    target: Target,
) -> Result<(), Error> {
    let room = find_room(format, fork, format.entry_len(name.len()))?;
    let number = room.number();
    let block = format.data_block(number);
    let mut data = match room {
        Room::InBlock(_) => form::read_data(format, fork, number)?,
        Room::NewBlock(_) => {
            form::add_data(format, fork, number)?;
            DataBlock::empty(format)
        }
    };
    let Some(at) = data.insert(format, name, target) else {
        return Err(form::no_room(format, block));
    };
    set_best(format, fork, number, data.largest_unused())?;
    form::write_data(format, fork, number, data)?;
    let entry = IndexEntry {
        hash: format.hash(name),
        value: format.address(number, at)?,
    };
    tree::insert(format, fork, entry)
}

/// Removes a name that was found. The tree becomes an index of one block again if that can hold
/// everything; says whether it did.
///
/// # Errors
/// A damaged directory, and what writing meets.
pub(super) fn remove(
    format: &Format,
    fork: &mut dyn ForkEdit,
    found: &Found,
) -> Result<Option<Leaf>, Error> {
    let number = found.number;
    let data = form::remove_data(format, fork, found)?;
    match data {
        Some(data) => {
            set_best(format, fork, number, data.largest_unused())?;
            form::write_data(format, fork, number, data)?;
        }
        None => {
            let last = forget_block(format, fork, number)?;
            form::set_data_count(format, fork, last.saturating_add(1));
        }
    }
    tree::remove(format, fork, found.index_entry(format)?)?;
    to_leaf(format, fork)
}

/// Where a name can go.
enum Room {
    InBlock(u32),
    NewBlock(u32),
}

impl Room {
    fn number(&self) -> u32 {
        match self {
            Self::InBlock(number) | Self::NewBlock(number) => *number,
        }
    }
}

/// Finds a block with an unused place of `len` bytes, else the number for a new one.
fn find_room(format: &Format, fork: &dyn ForkRead, len: usize) -> Result<Room, Error> {
    let count = form::data_count(format, fork);
    let (last, _) = free::place(format, count.saturating_sub(1));
    let mut gap = None;
    for index in 0..=last {
        let Some(free) = read_free(format, fork, index)? else {
            gap.get_or_insert(Free::new(format, index).number(0));
            continue;
        };
        let fits = |best: &u16| *best != NO_BLOCK && usize::from(*best) >= len;
        if let Some(at) = free.bests.iter().position(fits) {
            return Ok(Room::InBlock(free.number(at)));
        }
        let hole = free.bests.iter().position(|best| *best == NO_BLOCK);
        if let (None, Some(at)) = (gap, hole) {
            gap = Some(free.number(at));
        }
    }
    Ok(Room::NewBlock(gap.unwrap_or(count)))
}

/// Keeps how large the largest unused place of a block is.
fn set_best(format: &Format, fork: &mut dyn ForkEdit, number: u32, best: u16) -> Result<(), Error> {
    let (index, at) = free::place(format, number);
    let free = read_free(format, fork, index)?;
    if free.is_none() {
        fork.allocate(format.free_block(index), format.geometry.count)?;
    }
    let mut free = free.unwrap_or_else(|| Free::new(format, index));
    if free.bests.get(at) == Some(&best) {
        return Ok(());
    }
    free.set(at, best);
    write_free(format, fork, index, &free)
}

/// Forgets a block that is gone, with all knowledge beyond the last block, and says which one that
/// is.
fn forget_block(format: &Format, fork: &mut dyn ForkEdit, number: u32) -> Result<u32, Error> {
    let (index, at) = free::place(format, number);
    let mut free = read_free(format, fork, index)?
        .ok_or_else(|| format.geometry.hole(format.free_block(index)))?;
    free.set(at, NO_BLOCK);
    store_or_give_back(format, fork, index, &free)?;

    let count = form::data_count(format, fork);
    let (last, _) = free::place(format, count.saturating_sub(1));
    for index in (0..=last).rev() {
        let Some(mut free) = read_free(format, fork, index)? else {
            continue;
        };
        let before = free.bests.len();
        free.cut();
        if free.bests.len() < before {
            store_or_give_back(format, fork, index, &free)?;
        }
        if let Some(at) = free.bests.len().checked_sub(1) {
            return Ok(free.number(at));
        }
    }
    // The first block holds `.` and `..` and is never given back.
    Err(format.geometry.hole(format.free_block(0)))
}

fn store_or_give_back(
    format: &Format,
    fork: &mut dyn ForkEdit,
    index: u32,
    free: &Free,
) -> Result<(), Error> {
    if free.bests.is_empty() {
        fork.free(format.free_block(index), format.geometry.count)
    } else {
        write_free(format, fork, index, free)
    }
}

/// Goes back to an index of one block.
fn to_leaf(format: &Format, fork: &mut dyn ForkEdit) -> Result<Option<Leaf>, Error> {
    let (last, _) = free::place(format, form::data_count(format, fork).saturating_sub(1));
    if last > 0 {
        return Ok(None);
    }
    let Some(root) = tree::only_leaf(format, fork)? else {
        return Ok(None);
    };
    let free =
        read_free(format, fork, 0)?.ok_or_else(|| format.geometry.hole(format.free_block(0)))?;
    let leaf = Leaf {
        entries: root.entries,
        bests: free.bests,
    };
    if leaf.encode(format).is_none() {
        return Ok(None);
    }
    form::write_leaf(format, fork, &leaf)?;
    fork.free(format.free_block(0), format.geometry.count)?;
    Ok(Some(leaf))
}

/// Reads block `index` of those about free space; none if there is a hole.
fn read_free(format: &Format, fork: &dyn ForkRead, index: u32) -> Result<Option<Free>, Error> {
    let block = format.free_block(index);
    let bytes = format.geometry.read_if_there(fork, block, Header::Names)?;
    bytes
        .map(|bytes| Free::decode(format, index, &bytes))
        .transpose()
        .map_err(|fault| format.corrupt(block, fault))
}

fn write_free(
    format: &Format,
    fork: &mut dyn ForkEdit,
    index: u32,
    free: &Free,
) -> Result<(), Error> {
    let bytes = free.encode(format);
    format
        .geometry
        .write(fork, format.free_block(index), Header::Names, bytes)
}

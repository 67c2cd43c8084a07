//! Changes of directories, whatever form they have, and the ways from form to form.

use super::data::DataBlock;
use super::entry::{Entry, Target, check_name};
use super::form::{self, Form, Found};
use super::format::Format;
use super::free::NO_BLOCK;
use super::leaf::Leaf;
use super::short::Short;
use super::single::Single;
use super::{data, node};
use crate::da::{Fault, Header, IndexEntry};
use crate::error::Error;
use crate::fork::ForkEdit;
use ondisk::width::u64_of;

/// Makes the fork of a new inode an empty directory.
///
/// # Errors
/// What writing meets.
pub(crate) fn create(fork: &mut dyn ForkEdit, parent: u64) -> Result<(), Error> {
    let format = Format::of(fork);
    let short = Short {
        parent,
        entries: Vec::new(),
    };
    store_short(&format, fork, short)
}

/// Puts a name into the directory. Its absence must have been checked before.
///
/// # Errors
/// [`Error::BadName`], a damaged directory, no room, and what writing meets.
pub(crate) fn insert(fork: &mut dyn ForkEdit, name: &[u8], target: Target) -> Result<(), Error> {
    check_name(name)?;
    let format = Format::of(fork);
    let entry = Entry {
        name: name.to_vec(),
        target,
    };
    match Form::of(&format, fork)? {
        Form::Short(mut short) => {
            short.entries.push(entry);
            store_short(&format, fork, short)
        }
        Form::Single(bytes) => {
            let mut single = decode_single(&format, &bytes)?;
            single.entries.push(entry);
            store_single(&format, fork, single)
        }
        Form::Leaf(leaf) => insert_leaf(&format, fork, leaf, name, target),
        Form::Node => node::insert(&format, fork, name, target),
    }
}

/// Removes `name` and says what it named.
///
/// # Errors
/// A damaged directory, and what writing meets.
pub(crate) fn remove(fork: &mut dyn ForkEdit, name: &[u8]) -> Result<Option<Target>, Error> {
    check_name(name)?;
    let format = Format::of(fork);
    match Form::of(&format, fork)? {
        Form::Short(mut short) => {
            let Some(entry) = take(&format, &mut short.entries, name) else {
                return Ok(None);
            };
            store_short(&format, fork, short)?;
            Ok(Some(entry.target))
        }
        Form::Single(bytes) => {
            let mut single = decode_single(&format, &bytes)?;
            let Some(entry) = take(&format, &mut single.entries, name) else {
                return Ok(None);
            };
            shrink_single(&format, fork, single)?;
            Ok(Some(entry.target))
        }
        form => {
            let Some(found) = form.find(&format, fork, name)? else {
                return Ok(None);
            };
            let leaf = match form {
                Form::Leaf(leaf) => Some(remove_leaf(&format, fork, leaf, &found)?),
                _ => node::remove(&format, fork, &found)?,
            };
            if let Some(leaf) = leaf {
                shrink_leaf(&format, fork, &leaf)?;
            }
            Ok(Some(found.entry.target))
        }
    }
}

/// Lets an existing `name` name something else, and says what it named before.
///
/// # Errors
/// A damaged directory, no room for a larger inode number, and what writing meets.
pub(crate) fn retarget(
    fork: &mut dyn ForkEdit,
    name: &[u8],
    target: Target,
) -> Result<Option<Target>, Error> {
    check_name(name)?;
    let format = Format::of(fork);
    match Form::of(&format, fork)? {
        Form::Short(mut short) => {
            let mut entries = short.entries.iter_mut();
            let Some(entry) = entries.find(|entry| format.same(&entry.name, name)) else {
                return Ok(None);
            };
            let before = std::mem::replace(&mut entry.target, target);
            store_short(&format, fork, short)?;
            Ok(Some(before))
        }
        form => {
            let Some(found) = form.find(&format, fork, name)? else {
                return Ok(None);
            };
            retarget_found(&format, fork, &found, target)?;
            Ok(Some(found.entry.target))
        }
    }
}

/// Lets `..` name another inode.
///
/// # Errors
/// A damaged directory, no room for a larger inode number, and what writing meets.
pub(crate) fn set_parent(fork: &mut dyn ForkEdit, parent: u64) -> Result<(), Error> {
    let format = Format::of(fork);
    match Form::of(&format, fork)? {
        Form::Short(mut short) => {
            short.parent = parent;
            store_short(&format, fork, short)
        }
        form => {
            let found = form.find(&format, fork, b"..")?;
            let found = found.ok_or_else(|| no_parent(&format))?;
            let target = Target::new(parent, fs::Kind::Dir);
            retarget_found(&format, fork, &found, target)
        }
    }
}

/// Moves a directory out of its inode, to make room there for attributes. One that has blocks
/// already stays as it is.
///
/// # Errors
/// A damaged directory, no room, and what writing meets.
pub(crate) fn leave_inode(fork: &mut dyn ForkEdit) -> Result<(), Error> {
    let format = Format::of(fork);
    match Form::of(&format, fork)? {
        Form::Short(short) => short_to_blocks(&format, fork, short),
        _ => Ok(()),
    }
}

/// The directory does not say where it lies.
pub(super) fn no_parent(format: &Format) -> Error {
    let fault = Fault {
        at: 0,
        reason: "the directory does not name its parent",
        value: 0,
    };
    format.corrupt(0, fault)
}

fn take(format: &Format, entries: &mut Vec<Entry>, name: &[u8]) -> Option<Entry> {
    let mut names = entries.iter();
    let at = names.position(|entry| format.same(&entry.name, name))?;
    Some(entries.remove(at))
}

/// Lets an entry in a block name something else.
fn retarget_found(
    format: &Format,
    fork: &mut dyn ForkEdit,
    found: &Found,
    target: Target,
) -> Result<(), Error> {
    let block = format.data_block(found.number);
    let mut bytes = format.geometry.read(fork, block, Header::Names)?;
    data::retarget(format, &mut bytes, found.at, target);
    format.geometry.write(fork, block, Header::Names, bytes)
}

/// Writes a directory into its inode, or, if it does not fit, into blocks.
fn store_short(format: &Format, fork: &mut dyn ForkEdit, short: Short) -> Result<(), Error> {
    match short.encode(format) {
        Some(bytes) if bytes.len() <= fork.max_inline() => {
            fork.set_inline(&bytes)?;
            fork.set_size(u64_of(bytes.len()));
            Ok(())
        }
        _ => short_to_blocks(format, fork, short),
    }
}

fn short_to_blocks(format: &Format, fork: &mut dyn ForkEdit, short: Short) -> Result<(), Error> {
    let Short { parent, entries } = short;
    fork.set_mapped()?;
    fork.set_size(0);
    form::add_data(format, fork, 0)?;
    store_single(format, fork, Single { parent, entries })
}

fn decode_single(format: &Format, bytes: &[u8]) -> Result<Single, Error> {
    Single::decode(format, bytes).map_err(|fault| format.corrupt(0, fault))
}

/// Writes a directory into its only block, or, if it does not fit, into several with an index.
fn store_single(format: &Format, fork: &mut dyn ForkEdit, single: Single) -> Result<(), Error> {
    if let Some(bytes) = single.encode(format)? {
        return format.geometry.write(fork, 0, Header::Names, bytes);
    }
    // What does not fit any more is what came last. (An inode can hold more names than a small
    // block, but no form in an inode is made that would not fit in one.)
    let mut single = single;
    let last = single.entries.pop();
    let Some((first, entries)) = single.to_data(format)? else {
        return Err(form::no_room(format, 0));
    };
    let leaf = Leaf {
        entries,
        bests: vec![first.largest_unused()],
    };
    form::write_data(format, fork, 0, first)?;
    fork.allocate(format.leaf_block(), format.geometry.count)?;
    match last {
        Some(Entry { name, target }) => insert_leaf(format, fork, leaf, &name, target),
        None => form::write_leaf(format, fork, &leaf),
    }
}

/// Puts a name into a directory whose index is one block, or was before.
fn insert_leaf(
    format: &Format,
    fork: &mut dyn ForkEdit,
    mut leaf: Leaf,
    name: &[u8],
    target: Target,
) -> Result<(), Error> {
    let number = leaf.room(format.entry_len(name.len()));
    if !leaf.takes_one_more(format, number) {
        node::convert(format, fork, leaf)?;
        return node::insert(format, fork, name, target);
    }
    let mut data = if leaf.has_block(number) {
        form::read_data(format, fork, number)?
    } else {
        form::add_data(format, fork, number)?;
        DataBlock::empty(format)
    };
    let Some(at) = data.insert(format, name, target) else {
        return Err(form::no_room(format, format.data_block(number)));
    };
    leaf.set_best(number, data.largest_unused());
    form::write_data(format, fork, number, data)?;
    let hash = format.hash(name);
    let place = leaf.entries.partition_point(|entry| entry.hash <= hash);
    let value = format.address(number, at)?;
    leaf.entries.insert(place, IndexEntry { hash, value });
    form::write_leaf(format, fork, &leaf)
}

/// Removes a name that was found from a directory whose index is one block.
fn remove_leaf(
    format: &Format,
    fork: &mut dyn ForkEdit,
    mut leaf: Leaf,
    found: &Found,
) -> Result<Leaf, Error> {
    let entry = found.index_entry(format)?;
    if !leaf.has_block(found.number) {
        let fault = Fault {
            at: 0,
            reason: "the index leads to a block that it does not know",
            value: found.number.into(),
        };
        return Err(format.corrupt(format.leaf_block(), fault));
    }
    match form::remove_data(format, fork, found)? {
        Some(data) => {
            leaf.set_best(found.number, data.largest_unused());
            form::write_data(format, fork, found.number, data)?;
        }
        None => leaf.set_best(found.number, NO_BLOCK),
    }
    leaf.entries.retain(|known| *known != entry);
    form::set_data_count(format, fork, leaf.block_count());
    form::write_leaf(format, fork, &leaf)?;
    Ok(leaf)
}

/// Goes on to smaller forms as far as they hold everything.
fn shrink_leaf(format: &Format, fork: &mut dyn ForkEdit, leaf: &Leaf) -> Result<(), Error> {
    if leaf.block_count() > 1 {
        return Ok(());
    }
    let data = form::read_data(format, fork, 0)?;
    let single = Single::of(format, &data).map_err(|fault| format.corrupt(0, fault))?;
    if single.encode(format)?.is_none() {
        return Ok(());
    }
    fork.free(format.leaf_block(), format.geometry.count)?;
    shrink_single(format, fork, single)
}

/// Writes a directory into its inode if it fits there, else into its only block.
fn shrink_single(format: &Format, fork: &mut dyn ForkEdit, single: Single) -> Result<(), Error> {
    let Single { parent, entries } = single;
    let short = Short { parent, entries };
    match short.encode(format) {
        Some(bytes) if bytes.len() <= fork.max_inline() => store_short(format, fork, short),
        _ => {
            let Short { parent, entries } = short;
            store_single(format, fork, Single { parent, entries })
        }
    }
}

//! Directories: names to inode numbers, in the inode or in blocks under an index of hashes.
//!
//! A directory has one of four forms, which it takes as it grows, and gives up as it shrinks:
//!
//! | form | names | index | free space |
//! |---|---|---|---|
//! | short | in the inode | none | |
//! | single | one block | at the end of it | in the block |
//! | leaf | blocks from 0 on | one block at 32 GiB | at the end of the index |
//! | node | blocks from 0 on | a tree at 32 GiB | blocks at 64 GiB |
//!
//! Everything here works on the fork of one directory; where its blocks lie on the volume, and
//! which inodes there are, is not known here. The first two forms are written anew with each
//! change. In the others a name costs the blocks that it touches; a block whose names are all gone
//! is given back, and neighbours in the index are joined when one is nearly empty.
//!
//! Sources: "Directories" in "XFS Algorithms & Data Structures", and the kernel's
//! `libxfs/xfs_dir2*.c`.

mod check;
mod data;
mod edit;
mod entry;
mod form;
mod format;
mod free;
mod leaf;
mod node;
mod short;
mod single;
mod tree;

pub(crate) use check::check;
pub(crate) use edit::{create, insert, leave_inode, remove, retarget, set_parent};
pub(crate) use entry::{Entry, Target};

use crate::error::Error;
use crate::fork::ForkRead;
use form::Form;
use format::Format;

/// Finds what `name` names; the directory may know it in other letters if it ignores case.
///
/// # Errors
/// A damaged directory, or what reading meets.
pub(crate) fn lookup(fork: &dyn ForkRead, name: &[u8]) -> Result<Option<Target>, Error> {
    Ok(find(fork, name)?.map(|entry| entry.target))
}

/// Finds the entry of `name`, as the directory spells it.
///
/// # Errors
/// A damaged directory, or what reading meets.
pub(crate) fn find(fork: &dyn ForkRead, name: &[u8]) -> Result<Option<Entry>, Error> {
    let format = Format::of(fork);
    let form = Form::of(&format, fork)?;
    if let Form::Short(short) = form {
        let mut entries = short.entries.into_iter();
        return Ok(entries.find(|entry| format.same(&entry.name, name)));
    }
    Ok(form.find(&format, fork, name)?.map(|found| found.entry))
}

/// Every name but `.` and `..`.
///
/// # Errors
/// A damaged directory, one of more than 256 MiB, or what reading meets.
pub(crate) fn list(fork: &dyn ForkRead) -> Result<Vec<Entry>, Error> {
    let format = Format::of(fork);
    if let Form::Short(short) = Form::of(&format, fork)? {
        return Ok(short.entries);
    }
    let mut names = form::list(&format, fork)?;
    names.retain(|entry| entry.name != b"." && entry.name != b"..");
    Ok(names)
}

/// The inode that `..` names.
///
/// # Errors
/// A damaged directory, or what reading meets.
pub(crate) fn parent(fork: &dyn ForkRead) -> Result<u64, Error> {
    let format = Format::of(fork);
    match Form::of(&format, fork)? {
        Form::Short(short) => Ok(short.parent),
        form => match form.find(&format, fork, b"..")? {
            Some(found) => Ok(found.entry.target.inode),
            None => Err(edit::no_parent(&format)),
        },
    }
}

#[cfg(test)]
mod repair_tests;
#[cfg(test)]
mod tests;

//! Extended attributes: in the inode, or in blocks under an index of hashes, with long values in
//! blocks of their own.
//!
//! Everything here works on the attribute fork of one inode. A fork is written anew as a whole with
//! each change, in the smallest form that holds all attributes: they are few, and so what is written
//! has neither holes nor attributes that were never completed.
//!
//! Sources: "Extended Attributes" in "XFS Algorithms & Data Structures", and the kernel's
//! `libxfs/xfs_attr*.c`.

mod acl;
mod build;
mod leaf;
mod name;
mod read;
mod remote;
mod short;

use crate::da::Geometry;
use crate::error::{Error, UnsupportedKind};
use crate::fork::{ForkEdit, ForkRead};
use fs::Xattr;
use name::{Key, space};
use ondisk::width::u64_of;

pub(crate) use read::check;

/// One attribute, as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Attribute {
    key: Key,
    value: Vec<u8>,
}

/// Whether names can belong to this: to one space at most.
fn is_space(space: u8) -> bool {
    matches!(space, 0 | space::ROOT | space::SECURE | space::PARENT)
}

/// All attributes that have a name for the kernel, sorted.
///
/// Access control lists are shown as the kernel takes them, `system.posix_acl_*`, and not by the
/// names that they are stored with.
///
/// # Errors
/// Damaged attributes, more of them than are read whole, or what reading meets.
pub(crate) fn list(fork: &dyn ForkRead) -> Result<Vec<Xattr>, Error> {
    let mut shown = Vec::new();
    for Attribute { key, value } in read::all(fork)? {
        if let Some(name) = key.full_name() {
            let value = key.value_from_disk(value)?;
            shown.push(Xattr { name, value });
        }
    }
    shown.sort();
    Ok(shown)
}

/// Sets or removes an attribute by its full name.
///
/// # Errors
/// [`Error::NotFound`] if what is to be removed is not there, impossible names, values of more
/// than 64 KiB, damaged attributes, no room, and what writing meets.
pub(crate) fn set(fork: &mut dyn ForkEdit, name: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
    let key = Key::from_full_name(name)?;
    let mut attributes = read::all(fork)?;
    let place = attributes.iter().position(|known| known.key == key);
    match (value, place) {
        (None, None) => return Err(Error::NotFound),
        (None, Some(at)) => drop(attributes.remove(at)),
        (Some(value), place) => {
            let value = key.value_to_disk(value)?;
            cap_value(fork, &key, &value)?;
            match place.and_then(|at| attributes.get_mut(at)) {
                Some(attribute) => attribute.value = value,
                None => attributes.push(Attribute { key, value }),
            }
        }
    }
    build::store(fork, &attributes)
}

/// Brings a node's access control list, if it has one, in line with a new mode.
///
/// # Errors
/// Damaged attributes, and what writing meets.
pub(crate) fn follow_mode(fork: &mut dyn ForkEdit, mode: u16) -> Result<(), Error> {
    let key = Key::access_list();
    let mut attributes = read::all(fork)?;
    let Some(list) = attributes.iter_mut().find(|known| known.key == key) else {
        return Ok(());
    };
    let mut with_mode = acl::from_disk(&list.value)?;
    with_mode.set_mode(mode);
    let after = acl::to_disk(&with_mode);
    if list.value == after {
        return Ok(());
    }
    list.value = after;
    build::store(fork, &attributes)
}

/// Checks that the kernel would take a value.
fn cap_value(fork: &dyn ForkRead, key: &Key, value: &[u8]) -> Result<(), Error> {
    let v5 = Geometry::of_attributes(fork).v5();
    let cap = if key.is_list() && !v5 {
        acl::LARGEST_OF_VERSION_4
    } else {
        leaf::LARGEST_VALUE.into()
    };
    let len = u64_of(value.len());
    if len <= cap {
        return Ok(());
    }
    Err(UnsupportedKind::TooLarge {
        field: "length of an attribute's value",
        value: len,
        cap,
    }
    .into())
}

#[cfg(test)]
mod repair_tests;
#[cfg(test)]
mod tests;

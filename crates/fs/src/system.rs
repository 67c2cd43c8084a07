//! The traits of a file system.

use crate::{Error, FsInfo, Meta, NewNode, Places, Space, Structure, Time};
use std::fmt::Debug;
use std::ops::Range;

/// A node of one file system: an inode number, or what a driver uses in its place.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u64);

/// One name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// What it names.
    pub node: NodeId,
    /// What the directory says the node is, where directories say so.
    pub kind: Option<crate::Kind>,
}

/// An extended attribute.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Xattr {
    /// The full name, as `security.selinux`.
    pub name: Vec<u8>,
    /// The value: any bytes.
    pub value: Vec<u8>,
}

/// Something that a check found wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem(pub String);

/// A file system that can be read.
pub trait FileSystem: Debug + Send + Sync {
    /// What the file system says about itself.
    fn info(&self) -> &FsInfo;

    /// How much room there is.
    ///
    /// # Errors
    /// As for reads.
    fn space(&self) -> Result<Space, Error>;

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The node that `name` names in `dir`. `.` and `..` are not names here.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], or what reading meets.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId, Error>;

    /// What is known about `node`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such node, or what reading meets.
    fn stat(&self, node: NodeId) -> Result<Meta, Error>;

    /// Reads the content of a regular file from `offset` on and says how many bytes were there:
    /// fewer than `buf` holds only at the end of the file.
    ///
    /// # Errors
    /// [`Error::NotAFile`], or what reading meets.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, Error>;

    /// All names in `dir` without `.` and `..`, in no particular order.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or what reading meets.
    fn entries(&self, dir: NodeId) -> Result<Vec<Entry>, Error>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `node` is not a link, or what reading meets.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Error>;

    /// All extended attributes, sorted by name.
    ///
    /// # Errors
    /// What reading meets.
    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>, Error>;

    /// Where on the volume the node's record, map, attributes and content lie.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unsupported`] if the driver cannot tell, or what reading meets.
    fn places(&self, node: NodeId) -> Result<Places, Error>;

    /// What of the volume belongs to the file system itself, ascending.
    ///
    /// # Errors
    /// As [`places`](Self::places), and more structures than are kept in memory.
    fn structures(&self) -> Result<Vec<Structure>, Error>;

    /// Which bytes of a range of the volume nothing uses, ascending.
    ///
    /// # Errors
    /// As [`places`](Self::places).
    fn free(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, Error>;

    /// Whether the number of a node alone says where its record lies. If so, two file systems with
    /// the same [structures](Self::structures) keep the record of one number in one place.
    fn numbers_are_places(&self) -> bool;

    /// The editing side.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming what this driver will not write, before anything is touched.
    fn edit(&mut self) -> Result<&mut dyn FileSystemEdit, Error>;

    /// Checks the structures that editing touches (counters against bitmaps, checksums, links)
    /// and returns what is wrong. Costs time in proportion to the metadata, not to the data.
    ///
    /// # Errors
    /// What reading meets where a problem cannot be told apart from a failing device.
    fn check(&self) -> Result<Vec<Problem>, Error>;
}

/// A file system that can be changed.
///
/// After an error the file system is in no defined state: the overlay under it is thrown away.
/// New times are the time that the driver was given with [`set_now`](Self::set_now).
pub trait FileSystemEdit: FileSystem {
    /// The time that changed nodes get from now on; the epoch until it is called.
    fn set_now(&mut self, now: Time);

    /// Makes an empty regular file.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::BadName`], [`Error::NoSpace`], [`Error::NoInodes`].
    fn create(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, Error>;

    /// Makes an empty directory.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn make_dir(&mut self, dir: NodeId, name: &[u8], new: NewNode) -> Result<NodeId, Error>;

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::Unsupported`] where the file system has no links.
    fn symlink(
        &mut self,
        dir: NodeId,
        name: &[u8],
        target: &[u8],
        new: NewNode,
    ) -> Result<NodeId, Error>;

    /// Makes `content` the whole content of the file, in place: node, other names, owner, mode
    /// and attributes stay.
    ///
    /// # Errors
    /// [`Error::NotAFile`], [`Error::NoSpace`].
    fn replace(&mut self, node: NodeId, content: &[u8]) -> Result<(), Error>;

    /// Writes `content` at `offset`, growing the file where it ends before; a gap reads as zeros.
    ///
    /// # Errors
    /// [`Error::NotAFile`], [`Error::NoSpace`].
    fn write_at(&mut self, node: NodeId, offset: u64, content: &[u8]) -> Result<(), Error>;

    /// Cuts the file to `size` bytes, or grows it with a hole.
    ///
    /// # Errors
    /// [`Error::NotAFile`].
    fn truncate(&mut self, node: NodeId, size: u64) -> Result<(), Error>;

    /// Removes a name, and the node with its last name. A directory must be empty.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`].
    fn remove(&mut self, dir: NodeId, name: &[u8]) -> Result<(), Error>;

    /// Gives a node another name, in the same directory or another one. An existing node of the
    /// new name is removed first; if it is a directory it must be empty, and so must the kinds fit.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::BadName`]; [`Error::Unsupported`] if a
    /// directory would become its own descendant.
    fn rename(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8])) -> Result<(), Error>;

    /// Sets permission bits (at most `0o7777`), owner and group.
    ///
    /// # Errors
    /// What reading meets. File systems that keep none accept and ignore the call.
    fn set_owner(&mut self, node: NodeId, new: NewNode) -> Result<(), Error>;

    /// Sets the time of the last change of content.
    ///
    /// # Errors
    /// What reading meets.
    fn set_mtime(&mut self, node: NodeId, mtime: Time) -> Result<(), Error>;

    /// Sets an extended attribute by its full name, or removes it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if it does not fit; [`Error::Unsupported`] where there are none.
    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<(), Error>;

    /// Writes everything that is still in memory and leaves the file system clean. Editing may go
    /// on afterwards.
    ///
    /// # Errors
    /// What writing meets.
    fn commit(&mut self) -> Result<(), Error>;
}

/// Reads a whole regular file of at most `cap` bytes.
///
/// # Errors
/// [`Error::NotAFile`]; [`Error::Unsupported`] if the file is larger than `cap`.
pub fn read_file(fs: &dyn FileSystem, node: NodeId, cap: u64) -> Result<Vec<u8>, Error> {
    let size = fs.stat(node)?.size;
    let len =
        ondisk::cap::length("file size", size, cap).map_err(|e| Error::Unsupported(e.into()))?;
    let mut content = vec![0; len];
    let read = fs.read_at(node, 0, &mut content)?;
    content.truncate(read);
    Ok(content)
}

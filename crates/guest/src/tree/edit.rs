//! Changing a guest: what an interpreter of a plan calls.
//!
//! Every path must be canonical: no link on the way, and all directories above exist. A link in the
//! last place is a node like any other here.

use super::{Guest, at, walk::Found};
use crate::{Error, GuestPath};
use fs::{FileSystemEdit, NewNode, NodeId, Problem, Time};
use std::collections::BTreeSet;

impl Guest {
    /// Asks the file system that holds `path`, or would hold it, whether it can be edited.
    ///
    /// # Errors
    /// [`Error::Path`] with [`fs::Error::Unsupported`] that names what stands against it.
    pub fn check_editable(&mut self, path: &GuestPath) -> Result<(), Error> {
        let mount = self.mount_of(&self.canonical(path, true)?);
        self.edit(mount).map(drop).map_err(at("edit", path))
    }

    /// The time that changed nodes get from now on.
    ///
    /// No file system is touched by this: the first edit of one may have to finish what its own
    /// system left undone, and that must be committed.
    pub fn set_now(&mut self, now: Time) {
        self.now = Some(now);
    }

    /// Makes a regular file.
    ///
    /// # Errors
    /// As [`FileSystemEdit::create`] and [`FileSystemEdit::replace`].
    pub fn create_file(
        &mut self,
        path: &GuestPath,
        content: &[u8],
        new: NewNode,
    ) -> Result<(), Error> {
        self.in_parent("create", path, |edit, dir, name| {
            let node = edit.create(dir, name, new)?;
            edit.replace(node, content)
        })
    }

    /// Makes `content` the whole content of a regular file; owner, mode and attributes stay.
    ///
    /// # Errors
    /// As [`FileSystemEdit::replace`].
    pub fn replace_file(&mut self, path: &GuestPath, content: &[u8]) -> Result<(), Error> {
        self.on_node("write", path, |edit, node| edit.replace(node, content))
    }

    /// Writes into a regular file at `offset`, growing it where it ends before.
    ///
    /// # Errors
    /// As [`FileSystemEdit::write_at`].
    pub fn write_at(&mut self, path: &GuestPath, offset: u64, content: &[u8]) -> Result<(), Error> {
        self.on_node("write", path, |edit, node| {
            edit.write_at(node, offset, content)
        })
    }

    /// Cuts a regular file to `size` bytes, or grows it with a hole.
    ///
    /// # Errors
    /// As [`FileSystemEdit::truncate`].
    pub fn truncate(&mut self, path: &GuestPath, size: u64) -> Result<(), Error> {
        self.on_node("truncate", path, |edit, node| edit.truncate(node, size))
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    /// As [`FileSystemEdit::make_dir`].
    pub fn make_dir(&mut self, path: &GuestPath, new: NewNode) -> Result<(), Error> {
        self.in_parent("create", path, |edit, dir, name| {
            edit.make_dir(dir, name, new).map(drop)
        })
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// As [`FileSystemEdit::symlink`].
    pub fn symlink(&mut self, path: &GuestPath, target: &[u8], new: NewNode) -> Result<(), Error> {
        self.in_parent("create", path, |edit, dir, name| {
            edit.symlink(dir, name, target, new).map(drop)
        })
    }

    /// Removes a name; a directory must be empty.
    ///
    /// # Errors
    /// As [`FileSystemEdit::remove`].
    pub fn remove(&mut self, path: &GuestPath) -> Result<(), Error> {
        self.in_parent("remove", path, |edit, dir, name| edit.remove(dir, name))
    }

    /// Gives a node another name on the same file system.
    ///
    /// # Errors
    /// [`Error::AcrossMounts`]; else as [`FileSystemEdit::rename`].
    pub fn rename(&mut self, from: &GuestPath, to: &GuestPath) -> Result<(), Error> {
        let old = self.parent_of("rename", from)?;
        let new = self.parent_of("rename to", to)?;
        if old.mount != new.mount {
            return Err(Error::AcrossMounts {
                from: from.clone(),
                to: to.clone(),
            });
        }
        let (Some(old_name), Some(new_name)) = (from.name(), to.name()) else {
            return Err(at("rename", from)(fs::Error::BadName));
        };
        let edit = self.edit(old.mount).map_err(at("rename", from))?;
        edit.rename((old.node, old_name), (new.node, new_name))
            .map_err(at("rename", from))
    }

    /// Sets permission bits, owner and group of the node itself.
    ///
    /// # Errors
    /// As [`FileSystemEdit::set_owner`].
    pub fn set_owner(&mut self, path: &GuestPath, new: NewNode) -> Result<(), Error> {
        self.on_node("set the owner of", path, |edit, node| {
            edit.set_owner(node, new)
        })
    }

    /// Sets the time of the last change of content.
    ///
    /// # Errors
    /// As [`FileSystemEdit::set_mtime`].
    pub fn set_mtime(&mut self, path: &GuestPath, mtime: Time) -> Result<(), Error> {
        self.on_node("set the time of", path, |edit, node| {
            edit.set_mtime(node, mtime)
        })
    }

    /// Sets an extended attribute by its full name, or removes it.
    ///
    /// # Errors
    /// As [`FileSystemEdit::set_xattr`].
    pub fn set_xattr(
        &mut self,
        path: &GuestPath,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        self.on_node("set an attribute of", path, |edit, node| {
            edit.set_xattr(node, name, value)
        })
    }

    /// Writes out every file system that was edited and leaves it clean.
    ///
    /// # Errors
    /// [`Error::Path`] with the mount point, for what writing meets.
    pub fn commit(&mut self) -> Result<(), Error> {
        for mount in self.mounts.iter_mut().filter(|mount| mount.edited) {
            let at_mount = || at("commit the changes of the file system at", &mount.at);
            let edit = mount.file_system.edit().map_err(at_mount())?;
            edit.commit().map_err(at_mount())?;
        }
        Ok(())
    }

    /// Checks the file systems that hold `paths`; says what is wrong, with the mount point.
    ///
    /// # Errors
    /// [`Error::Path`] with the mount point, for what reading meets.
    pub fn check<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p GuestPath>,
    ) -> Result<Vec<(GuestPath, Problem)>, Error> {
        let mounts: BTreeSet<_> = paths.into_iter().map(|path| self.mount_of(path)).collect();
        let mut problems = Vec::new();
        for mount in mounts.into_iter().map(|mount| &self.mounts[mount]) {
            let found = mount
                .file_system
                .check()
                .map_err(at("check the file system at", &mount.at))?;
            problems.extend(found.into_iter().map(|problem| (mount.at.clone(), problem)));
        }
        Ok(problems)
    }

    fn edit(&mut self, mount: usize) -> Result<&mut dyn FileSystemEdit, fs::Error> {
        let now = self.now;
        let mount = &mut self.mounts[mount];
        let edit = mount.file_system.edit()?;
        mount.edited = true;
        if let Some(now) = now {
            edit.set_now(now);
        }
        Ok(edit)
    }

    /// Runs an edit of an existing node.
    fn on_node(
        &mut self,
        operation: &'static str,
        path: &GuestPath,
        change: impl FnOnce(&mut dyn FileSystemEdit, NodeId) -> Result<(), fs::Error>,
    ) -> Result<(), Error> {
        let found = self.node_at(operation, path)?;
        let edit = self.edit(found.mount).map_err(at(operation, path))?;
        change(edit, found.node).map_err(at(operation, path))
    }

    /// Runs an edit of a name in its directory.
    fn in_parent(
        &mut self,
        operation: &'static str,
        path: &GuestPath,
        change: impl FnOnce(&mut dyn FileSystemEdit, NodeId, &[u8]) -> Result<(), fs::Error>,
    ) -> Result<(), Error> {
        let dir = self.parent_of(operation, path)?;
        // A mount point cannot be made or removed through the directory under it.
        let name = path.name().filter(|_| !self.is_mount_point(path));
        let name = name.ok_or(fs::Error::Exists).map_err(at(operation, path))?;
        let edit = self.edit(dir.mount).map_err(at(operation, path))?;
        change(edit, dir.node, name).map_err(at(operation, path))
    }

    fn is_mount_point(&self, path: &GuestPath) -> bool {
        self.mounts.iter().any(|mount| mount.at == *path)
    }

    fn parent_of(&self, operation: &'static str, path: &GuestPath) -> Result<Found, Error> {
        let parent = path.parent().unwrap_or_else(GuestPath::root);
        self.canonical_node(operation, &parent, true)
    }

    /// The node at a path that must be canonical and exist; it may be a link itself.
    fn node_at(&self, operation: &'static str, path: &GuestPath) -> Result<Found, Error> {
        self.canonical_node(operation, path, false)
    }

    fn canonical_node(
        &self,
        operation: &'static str,
        path: &GuestPath,
        follow_last: bool,
    ) -> Result<Found, Error> {
        let walked = self.walk(path, follow_last)?;
        if walked.path != *path {
            return Err(Error::NotCanonical {
                path: path.clone(),
                canonical: walked.path,
            });
        }
        walked
            .found
            .ok_or(fs::Error::NotFound)
            .map_err(at(operation, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs::MemoryFs;

    fn guest() -> Guest {
        let mut guest = Guest::of(Box::new(MemoryFs::new("root", None)))
            .with_mount("/boot".into(), Box::new(MemoryFs::new("boot", None)));
        guest
            .make_dir(&"/etc".into(), NewNode::root(0o755))
            .unwrap();
        guest
            .symlink(&"/conf".into(), b"etc", NewNode::root(0o777))
            .unwrap();
        guest
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut guest = guest();
        let path = GuestPath::from("/etc/fstab");
        guest
            .create_file(&path, b"one", NewNode::root(0o600))
            .unwrap();
        guest.replace_file(&path, b"two").unwrap();
        guest.write_at(&path, 3, b" three").unwrap();
        guest.truncate(&path, 7).unwrap();
        assert_eq!(guest.read(&path, 100).unwrap().unwrap(), b"two thr");
        assert_eq!(guest.stat(&path).unwrap().unwrap().mode, 0o600);
        guest.rename(&path, &"/etc/mtab".into()).unwrap();
        assert!(guest.stat(&path).unwrap().is_none());
        guest.remove(&"/etc/mtab".into()).unwrap();
        assert!(guest.list(&"/etc".into()).unwrap().is_empty());
    }

    #[test]
    fn a_path_through_a_link_is_refused() {
        let mut guest = guest();
        let error = guest
            .create_file(&"/conf/x".into(), b"", NewNode::root(0o644))
            .unwrap_err();
        assert!(
            matches!(&error, Error::NotCanonical { canonical, .. } if *canonical == "/etc"),
            "{error}"
        );
    }

    #[test]
    fn a_mount_takes_what_lies_below_it() {
        let mut guest = guest();
        guest
            .create_file(&"/boot/a".into(), b"1", NewNode::root(0o644))
            .unwrap();
        assert!(matches!(
            guest.rename(&"/boot/a".into(), &"/a".into()),
            Err(Error::AcrossMounts { .. })
        ));
        assert!(guest.remove(&"/boot".into()).is_err());
        assert_eq!(guest.space(&"/boot/new/x".into()).unwrap().0, "/boot");
        assert_eq!(guest.space(&"/bootx".into()).unwrap().0, "/");
        guest.commit().unwrap();
        assert!(guest.check(&["/boot/a".into()]).unwrap().is_empty());
    }
}

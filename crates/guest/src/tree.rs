//! A guest's file systems, put together as one tree.

mod device;
mod edit;
mod walk;

use crate::{Error, GuestPath, VolumeId};
use fs::{FileSystem, FsInfo, Kind, Meta, Space, Time, Xattr};
use ondisk::cap;
use std::cmp::Reverse;

/// A guest's file systems as one tree of paths: the root and what is mounted below it.
///
/// Symbolic links resolve inside the guest, across mounts; an absolute target starts at the
/// guest's root, `..` at the root stays there, and a path may pass 40 links at most, as in the
/// kernel.
#[derive(Debug)]
pub struct Guest {
    root: VolumeId,
    /// The root first, then in the order of mounting.
    mounts: Vec<Mount>,
    findings: Vec<String>,
    /// What changed nodes get as their time.
    now: Option<Time>,
}

/// One file system of the guest and where it is mounted.
#[derive(Debug)]
pub struct Mount {
    /// The mount point.
    pub at: GuestPath,
    /// The volume it lies on; none for file systems that a test made.
    pub volume: Option<VolumeId>,
    /// What the file system says about itself.
    pub info: FsInfo,
    file_system: Box<dyn FileSystem>,
    edited: bool,
}

/// One name in a directory of the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirEntry {
    /// The name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// What it names; links are not followed.
    pub kind: Kind,
}

impl Guest {
    /// A guest of one file system, for tests; it is taken for the whole of the first disk.
    pub fn of(file_system: Box<dyn FileSystem>) -> Self {
        Self::on(VolumeId::default(), file_system)
    }

    /// A guest whose root file system lies on `volume`.
    pub(crate) fn on(volume: VolumeId, file_system: Box<dyn FileSystem>) -> Self {
        Self {
            mounts: vec![Mount::new(
                GuestPath::root(),
                Some(volume.clone()),
                file_system,
            )],
            root: volume,
            findings: Vec::new(),
            now: None,
        }
    }

    /// Mounts another file system at `at`; the directory need not exist.
    #[must_use]
    pub fn with_mount(mut self, at: GuestPath, file_system: Box<dyn FileSystem>) -> Self {
        self.mount(at, None, file_system);
        self
    }

    pub(crate) fn mount(
        &mut self,
        at: GuestPath,
        volume: Option<VolumeId>,
        file_system: Box<dyn FileSystem>,
    ) {
        self.mounts.push(Mount::new(at, volume, file_system));
    }

    pub(crate) fn find(&mut self, finding: String) {
        self.findings.push(finding);
    }

    /// What was odd when the file systems were put together, in sentences for the user.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The file systems: the root first, then in the order of mounting.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The volume that holds the root file system.
    pub fn root_volume(&self) -> &VolumeId {
        &self.root
    }

    /// Resolves symbolic links and `..` in `path` as far as it exists; the rest is appended as it
    /// is. With `follow_last` off, a link in the last place stays.
    ///
    /// # Errors
    /// [`Error::TooManyLinks`]; [`Error::Path`] for what reading meets.
    pub fn canonical(&self, path: &GuestPath, follow_last: bool) -> Result<GuestPath, Error> {
        Ok(self.walk(path, follow_last)?.path)
    }

    /// What is known about the node that `path` names, none if there is none. A link in the last
    /// place is not followed.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn stat(&self, path: &GuestPath) -> Result<Option<Meta>, Error> {
        let walked = self.walk(path, false)?;
        Ok(walked.found.map(|found| found.meta))
    }

    /// Whether `path`, links followed, names anything.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn exists(&self, path: &GuestPath) -> Result<bool, Error> {
        Ok(self.walk(path, true)?.found.is_some())
    }

    /// What is known about the node at the end of all links, none if there is none.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn stat_followed(&self, path: &GuestPath) -> Result<Option<Meta>, Error> {
        let walked = self.walk(path, true)?;
        Ok(walked.found.map(|found| found.meta))
    }

    /// Whether `path`, links followed, names a regular file.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn is_regular(&self, path: &GuestPath) -> Result<bool, Error> {
        Ok(self.regular_file(path)?.is_some())
    }

    /// The content of a regular file of at most `cap` bytes, links followed; none if there is no
    /// such regular file.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; else as [`canonical`](Self::canonical).
    pub fn read(&self, path: &GuestPath, cap: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.regular_file(path)? else {
            return Ok(None);
        };
        let size = file.meta.size;
        let len = cap::length("file size", size, cap).map_err(|_| Error::TooLarge {
            path: path.clone(),
            size,
            cap,
        })?;
        let mut content = vec![0; len];
        let read = self
            .file_system(file.mount)
            .read_at(file.node, 0, &mut content)
            .map_err(at("read", path))?;
        content.truncate(read);
        Ok(Some(content))
    }

    /// Reads a regular file from `offset` on, links followed, and says how many bytes were there:
    /// fewer than `buf` holds only at the end.
    ///
    /// # Errors
    /// [`Error::Path`] with [`fs::Error::NotFound`] or [`fs::Error::NotAFile`]; else as
    /// [`canonical`](Self::canonical).
    pub fn read_range(
        &self,
        path: &GuestPath,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let walked = self.walk(path, true)?;
        let found = walked
            .found
            .ok_or(fs::Error::NotFound)
            .map_err(at("read", path))?;
        self.file_system(found.mount)
            .read_at(found.node, offset, buf)
            .map_err(at("read", path))
    }

    /// The target of the link that `path` names; none if it is no link or nothing.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn read_link(&self, path: &GuestPath) -> Result<Option<Vec<u8>>, Error> {
        match self.walk(path, false)?.found {
            Some(found) if found.meta.kind == Kind::Symlink => self
                .file_system(found.mount)
                .read_link(found.node)
                .map(Some)
                .map_err(at("read the link", path)),
            _ => Ok(None),
        }
    }

    /// The names in a directory, links followed, sorted; empty if there is no such directory.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn list(&self, dir: &GuestPath) -> Result<Vec<DirEntry>, Error> {
        let found = match self.walk(dir, true)?.found {
            Some(found) if found.meta.kind == Kind::Dir => found,
            _ => return Ok(Vec::new()),
        };
        let file_system = self.file_system(found.mount);
        let mut listed = Vec::new();
        for entry in file_system.entries(found.node).map_err(at("list", dir))? {
            let kind = match entry.kind {
                Some(kind) => kind,
                None => file_system.stat(entry.node).map_err(at("list", dir))?.kind,
            };
            listed.push(DirEntry {
                name: entry.name,
                kind,
            });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// The extended attributes of the node itself, sorted by name; empty if there is none.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn xattrs(&self, path: &GuestPath) -> Result<Vec<Xattr>, Error> {
        match self.walk(path, false)?.found {
            Some(found) => self
                .file_system(found.mount)
                .xattrs(found.node)
                .map_err(at("read the attributes of", path)),
            None => Ok(Vec::new()),
        }
    }

    /// The mount point of the file system that holds `path`, or would hold it, and its room.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn space(&self, path: &GuestPath) -> Result<(GuestPath, Space), Error> {
        let mount = &self.mounts[self.mount_of(&self.canonical(path, true)?)];
        let space = mount
            .file_system
            .space()
            .map_err(at("measure the room at", &mount.at))?;
        Ok((mount.at.clone(), space))
    }

    /// Where the file system that holds `path`, or would hold it, is mounted.
    ///
    /// # Errors
    /// As [`canonical`](Self::canonical).
    pub fn mount_point(&self, path: &GuestPath) -> Result<&GuestPath, Error> {
        Ok(&self.mounts[self.mount_of(&self.canonical(path, true)?)].at)
    }

    /// When the guest itself last wrote any of its file systems: the reproducible "now" of edits.
    pub fn last_write(&self) -> Option<Time> {
        self.mounts
            .iter()
            .filter_map(|mount| mount.info.last_write)
            .max()
    }

    /// The node of a regular file at the end of all links.
    fn regular_file(&self, path: &GuestPath) -> Result<Option<walk::Found>, Error> {
        let found = self.walk(path, true)?.found;
        Ok(found.filter(|found| found.meta.kind == Kind::File))
    }

    fn file_system(&self, mount: usize) -> &dyn FileSystem {
        &*self.mounts[mount].file_system
    }

    /// The mount whose mount point is the longest that starts `canonical`; of equals the last.
    fn mount_of(&self, canonical: &GuestPath) -> usize {
        let holders = (0..self.mounts.len())
            .rev()
            .filter(|mount| canonical.starts_with(&self.mounts[*mount].at));
        // The root starts every path.
        holders
            .min_by_key(|mount| Reverse(self.mounts[*mount].at.as_bytes().len()))
            .unwrap_or(0)
    }
}

impl Mount {
    fn new(at: GuestPath, volume: Option<VolumeId>, file_system: Box<dyn FileSystem>) -> Self {
        Self {
            at,
            volume,
            info: file_system.info().clone(),
            file_system,
            edited: false,
        }
    }
}

/// Names the operation and the path that a driver's error belongs to.
fn at(operation: &'static str, path: &GuestPath) -> impl FnOnce(fs::Error) -> Error {
    let path = path.clone();
    move |source| Error::Path {
        operation,
        path,
        source,
    }
}

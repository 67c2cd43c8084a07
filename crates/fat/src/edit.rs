//! Editing, by way of `fatfs`.

use crate::cache::Stream;
use crate::clock::{CLOCK, Clock, DosTime};
use crate::directory::{DIR_WRT_TIME, DirStart, Directory, Entry, SLOT};
use crate::directory::{dot_slots, is_dot_dot, set_cluster};
use crate::driver::Fat;
use crate::nodes::Place;
use crate::{Corrupt, Error, Unsupported, names};
use block::{BlockRead, BlockWrite};
use fatfs::FsOptions;
use fs::{FileSystem, FileSystemEdit, NewNode, NodeId, Time};
use ondisk::width::{u64_of, usize_of};
use std::io::{self, Seek, SeekFrom, Write};

type Session<'a> = fatfs::FileSystem<Stream<'a>>;

impl Fat {
    /// Lets `fatfs` at the volume. It is opened for each edit: it cannot be kept, since it is
    /// neither `Send` nor aware of what is changed beside it.
    fn session<R>(
        &mut self,
        edit: impl FnOnce(&Session<'_>) -> io::Result<R>,
    ) -> Result<R, fs::Error> {
        self.edited = true;
        let result = self.open_session().and_then(|session| {
            let result = edit(&session);
            // Its own `drop` would only log the error.
            session.unmount()?;
            result
        });
        result.map_err(|error| match error.downcast::<block::Error>() {
            Ok(error) => fs::Error::Block(error),
            // Names, room and kinds were checked before.
            Err(error) => Error::from(Corrupt::ReadDifferently(error.to_string())).into(),
        })
    }

    /// Whether `fatfs` opens the volume at all; changes nothing.
    pub(crate) fn try_session(&self) -> Result<(), fs::Error> {
        let opened = self.open_session().map(drop);
        opened.map_err(|error| match error.downcast::<block::Error>() {
            Ok(error) => fs::Error::Block(error),
            Err(error) => Error::from(Unsupported::Refused(error.to_string())).into(),
        })
    }

    fn open_session(&self) -> io::Result<Session<'_>> {
        Clock::set(self.now);
        let options = FsOptions::new().time_provider(&CLOCK);
        fatfs::FileSystem::new(self.cached.stream(), options)
    }

    /// Checks that a name is new, can be stored, and that there is room for it and for
    /// `more_clusters`.
    fn new_name<'n>(
        &self,
        dir: NodeId,
        name: &'n [u8],
        more_clusters: u64,
    ) -> Result<(&'n str, NewSlot), fs::Error> {
        let name = storable(name)?;
        let start = self.dir(dir)?;
        let directory = self.volume().directory(start)?;
        if directory.find(name).is_some() {
            return Err(fs::Error::Exists);
        }
        let slots = name.encode_utf16().count().div_ceil(13).saturating_add(1);
        let missing = directory.missing_slots(slots);
        let fixed = start == DirStart::Root && self.boot.root_cluster.is_none();
        let full = directory.slots().saturating_add(missing) > MAX_SLOTS;
        if missing > 0 && (fixed || full) {
            return Err(fs::Error::NoSpace {
                needed: u64_of(slots.saturating_mul(SLOT)),
                free: 0,
            });
        }
        let more_dir = self.boot.clusters_for(u64_of(missing.saturating_mul(SLOT)));
        self.need(more_clusters.saturating_add(more_dir))?;
        let end = directory.end();
        Ok((name, NewSlot { dir: start, end }))
    }

    /// Checks that as many clusters are free.
    fn need(&self, clusters: u64) -> Result<(), fs::Error> {
        if clusters == 0 {
            return Ok(());
        }
        let (free, _) = self.volume().free_clusters()?;
        if clusters <= u64::from(free) {
            return Ok(());
        }
        let bytes = |clusters: u64| clusters.saturating_mul(u64::from(self.boot.cluster_size));
        Err(fs::Error::NoSpace {
            needed: bytes(clusters),
            free: bytes(u64::from(free)),
        })
    }

    /// Checks that a file can have `size` bytes and that there is room for it.
    fn need_for_size(&self, entry: &Entry, size: u64) -> Result<(), fs::Error> {
        if size > u64::from(u32::MAX) {
            return Err(Error::from(Unsupported::FileTooLarge(size)).into());
        }
        let has = u64_of(self.volume().file_chain(entry)?.len());
        self.need(self.boot.clusters_for(size).saturating_sub(has))
    }

    /// The path of a new name, as `fatfs` takes it.
    fn path_of(&self, dir: NodeId, name: &str) -> Result<String, fs::Error> {
        let mut path = self.path(dir)?;
        path.push(name.to_owned());
        Ok(path.join("/"))
    }

    /// Clears what follows a new last slot, and gives back the slot.
    fn tidy(&mut self, new: NewSlot, name: &str) -> Result<Entry, fs::Error> {
        let directory = self.volume().directory(new.dir)?;
        let unread = || Error::from(Corrupt::ReadDifferently(name.to_owned()));
        let entry = directory.find(name).ok_or_else(unread)?;
        if entry.slot >= new.end {
            for index in entry.slot.saturating_add(1)..directory.slots() {
                if let Some(at) = directory.slot_at(index) {
                    self.cached.write_at(at, &[0; SLOT])?;
                }
            }
        }
        Ok(entry)
    }

    /// The number of the node of a new name.
    fn number(&self, dir: NodeId, name: String) -> Result<NodeId, fs::Error> {
        Ok(self.nodes().id(Place { dir, name })?)
    }

    /// Writes into a file from `offset` on, with zeros before if it ends earlier.
    fn write(&mut self, node: NodeId, offset: u64, content: &[u8]) -> Result<(), fs::Error> {
        let entry = self.file(node)?;
        let end = offset.saturating_add(u64_of(content.len()));
        let size = u64::from(entry.size);
        self.need_for_size(&entry, end.max(size))?;
        let path = self.path(node)?.join("/");
        let gap = offset.saturating_sub(size);
        self.session(|session| {
            let mut file = session.root_dir().open_file(&path)?;
            file.seek(SeekFrom::Start(offset.min(size)))?;
            let mut left = gap;
            while left > 0 {
                let n = left.min(u64_of(ZEROS.len()));
                file.write_all(ZEROS.get(..usize_of(n)).unwrap_or_default())?;
                left = left.saturating_sub(n);
            }
            file.write_all(content)?;
            file.flush()
        })?;
        self.touch(entry.at)
    }

    /// Cuts a file.
    fn cut(&mut self, node: NodeId, size: u64) -> Result<(), fs::Error> {
        let entry = self.file(node)?;
        let path = self.path(node)?.join("/");
        self.session(|session| {
            let mut file = session.root_dir().open_file(&path)?;
            file.seek(SeekFrom::Start(size))?;
            file.truncate()?;
            file.flush()
        })?;
        self.touch(entry.at)
    }

    /// Sets the time of the last change in the slot at a byte of the volume.
    fn touch(&mut self, at: u64) -> Result<(), fs::Error> {
        self.set_modified(at, DosTime::from_unix(self.now))
    }

    fn set_modified(&mut self, at: u64, DosTime { date, time }: DosTime) -> Result<(), fs::Error> {
        self.edited = true;
        let [a, b] = time.to_le_bytes();
        let [c, d] = date.to_le_bytes();
        let at = at.saturating_add(DIR_WRT_TIME);
        Ok(self.cached.write_at(at, &[a, b, c, d])?)
    }

    /// Makes a directory's own first slots right: `.` and `..`.
    fn write_dots(&mut self, entry: &Entry, parent: DirStart) -> Result<(), fs::Error> {
        let mut named_by = [0; SLOT];
        self.cached.read_at(entry.at, &mut named_by)?;
        let own = self.volume().existing(entry.first_cluster)?;
        let mut cluster = vec![0; usize_of(u64::from(self.boot.cluster_size))];
        let dots = dot_slots(&named_by, own, number_above(parent));
        // A cluster has 16 slots at least.
        if let Some(first) = cluster.first_chunk_mut() {
            *first = dots;
        }
        let at = self.boot.cluster_start(own);
        Ok(self.cached.write_at(at, &cluster)?)
    }

    /// Lets `..` of a moved directory name its new parent.
    fn set_parent(&mut self, moved: &Entry, parent: DirStart) -> Result<(), fs::Error> {
        let directory = self.volume().directory(moved.as_dir()?)?;
        let (Some(slot), Some(at)) = (directory.slot(1), directory.slot_at(1)) else {
            return Ok(());
        };
        if is_dot_dot(slot) {
            let mut slot = slot.to_vec();
            set_cluster(&mut slot, number_above(parent));
            self.cached.write_at(at, &slot)?;
        }
        Ok(())
    }

    /// A name that nothing in a directory has.
    fn free_name(directory: &Directory) -> Result<String, fs::Error> {
        let mut names = (0..=u64_of(directory.slots())).map(|n| format!("rehost{n}.tmp"));
        let free = names.find(|name| directory.find(name).is_none());
        // More names were tried than the directory has slots.
        free.ok_or(fs::Error::Exists)
    }

    /// Moves a name that is known to be free for the taking.
    fn move_name(&mut self, from: &Place, to: &Place) -> Result<(), fs::Error> {
        let (_, slot) = self.new_name(to.dir, to.name.as_bytes(), 0)?;
        let parent = slot.dir;
        let (old, new) = (
            self.path_of(from.dir, &from.name)?,
            self.path_of(to.dir, &to.name)?,
        );
        self.session(|session| {
            let root = session.root_dir();
            root.rename(&old, &root, &new)
        })?;
        let entry = self.tidy(slot, &to.name)?;
        if entry.is_dir && from.dir != to.dir {
            self.set_parent(&entry, parent)?;
        }
        self.nodes().rename(from, to.clone());
        Ok(())
    }
}

/// Where a new name went.
#[derive(Clone, Copy, Debug)]
struct NewSlot {
    dir: DirStart,
    /// The directory's end before.
    end: usize,
}

fn storable(name: &[u8]) -> Result<&str, fs::Error> {
    let name = str::from_utf8(name).map_err(|_| fs::Error::BadName)?;
    if names::is_storable(name) {
        Ok(name)
    } else {
        Err(fs::Error::BadName)
    }
}

/// What `..` says of a parent: the root is 0, whatever its cluster.
fn number_above(parent: DirStart) -> u32 {
    match parent {
        DirStart::Root => 0,
        DirStart::Cluster(cluster) => cluster,
    }
}

impl FileSystemEdit for Fat {
    fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    fn create(&mut self, dir: NodeId, name: &[u8], _: NewNode) -> Result<NodeId, fs::Error> {
        let (name, slot) = self.new_name(dir, name, 0)?;
        let path = self.path_of(dir, name)?;
        self.session(|session| session.root_dir().create_file(&path)?.flush())?;
        let entry = self.tidy(slot, name)?;
        self.number(dir, entry.name)
    }

    fn make_dir(&mut self, dir: NodeId, name: &[u8], _: NewNode) -> Result<NodeId, fs::Error> {
        let (name, slot) = self.new_name(dir, name, 1)?;
        let path = self.path_of(dir, name)?;
        self.session(|session| session.root_dir().create_dir(&path).map(drop))?;
        let parent = slot.dir;
        let entry = self.tidy(slot, name)?;
        self.write_dots(&entry, parent)?;
        self.number(dir, entry.name)
    }

    fn symlink(&mut self, _: NodeId, _: &[u8], _: &[u8], _: NewNode) -> Result<NodeId, fs::Error> {
        Err(Error::from(Unsupported::SymbolicLinks).into())
    }

    fn replace(&mut self, node: NodeId, content: &[u8]) -> Result<(), fs::Error> {
        let entry = self.file(node)?;
        self.need_for_size(&entry, u64_of(content.len()))?;
        let path = self.path(node)?.join("/");
        self.session(|session| {
            let mut file = session.root_dir().open_file(&path)?;
            file.truncate()?;
            file.write_all(content)?;
            file.flush()
        })?;
        self.touch(entry.at)
    }

    fn write_at(&mut self, node: NodeId, offset: u64, content: &[u8]) -> Result<(), fs::Error> {
        self.write(node, offset, content)
    }

    fn truncate(&mut self, node: NodeId, size: u64) -> Result<(), fs::Error> {
        if size < u64::from(self.file(node)?.size) {
            self.cut(node, size)
        } else {
            self.write(node, size, &[])
        }
    }

    fn remove(&mut self, dir: NodeId, name: &[u8]) -> Result<(), fs::Error> {
        let name = str::from_utf8(name).map_err(|_| fs::Error::NotFound)?;
        let entry = self.directory(dir)?.find(name).ok_or(fs::Error::NotFound)?;
        if entry.is_dir
            && self
                .volume()
                .directory(entry.as_dir()?)?
                .entries()
                .next()
                .is_some()
        {
            return Err(fs::Error::NotEmpty);
        }
        let path = self.path_of(dir, &entry.name)?;
        self.session(|session| session.root_dir().remove(&path))?;
        let name = entry.name;
        self.nodes().remove(&Place { dir, name });
        Ok(())
    }

    fn rename(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8])) -> Result<(), fs::Error> {
        let node = self.lookup(from.0, from.1)?;
        let Some(moved) = self.entry(node)? else {
            return Err(fs::Error::NotFound);
        };
        let (name, target_dir) = (storable(to.1)?, self.directory(to.0)?);
        if moved.is_dir && self.nodes().is_below(to.0, node) {
            return Err(Error::from(Unsupported::MoveIntoItself).into());
        }
        let old = Place {
            dir: from.0,
            name: moved.name.clone(),
        };
        let new = Place {
            dir: to.0,
            name: name.to_owned(),
        };
        match target_dir.find(name) {
            Some(target) if target.at == moved.at && target.name == name => Ok(()),
            // The same file by another case or its short name.
            Some(target) if target.at == moved.at => {
                let between = Place {
                    dir: to.0,
                    name: Self::free_name(&target_dir)?,
                };
                self.move_name(&old, &between)?;
                self.move_name(&between, &new)
            }
            Some(target) => {
                match (moved.is_dir, target.is_dir) {
                    (true, false) => return Err(fs::Error::NotADirectory),
                    (false, true) => return Err(fs::Error::IsADirectory),
                    _ => {}
                }
                self.remove(to.0, to.1)?;
                self.move_name(&old, &new)
            }
            None => self.move_name(&old, &new),
        }
    }

    fn set_owner(&mut self, node: NodeId, _: NewNode) -> Result<(), fs::Error> {
        self.entry(node).map(|_| ())
    }

    fn set_mtime(&mut self, node: NodeId, mtime: Time) -> Result<(), fs::Error> {
        match self.entry(node)? {
            Some(entry) => self.set_modified(entry.at, DosTime::from_unix(mtime)),
            // The root has no slot, and so no time.
            None => Ok(()),
        }
    }

    fn set_xattr(&mut self, _: NodeId, _: &[u8], _: Option<&[u8]>) -> Result<(), fs::Error> {
        Err(Error::from(Unsupported::ExtendedAttributes).into())
    }

    fn commit(&mut self) -> Result<(), fs::Error> {
        if !self.edited {
            return Ok(());
        }
        let (free, _) = self.volume().free_clusters()?;
        self.volume().set_counted_free(&self.cached, free)?;
        // The copies may have differed before: all systems read the first, and so it is that one
        // which was edited.
        self.volume().each_difference(|at, _, right| {
            self.cached.write_at(at, right)?;
            Ok(())
        })?;
        Ok(self.cached.flush()?)
    }
}

const ZEROS: [u8; 4096] = [0; 4096];
/// The specification's limit of a directory.
const MAX_SLOTS: usize = 65_536;

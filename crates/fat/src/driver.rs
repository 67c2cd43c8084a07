//! Reading.

use crate::boot_sector::BootSector;
use crate::cache::Cached;
use crate::check::{Report, walk};
use crate::directory::{DirStart, Directory, Entry};
use crate::nodes::{Nodes, Place, ROOT};
use crate::volume::Volume;
use crate::{Error, Unsupported};
use block::{BlockRead, BlockWrite};
use fs::{
    FileSystem, FileSystemEdit, FsInfo, FsKind, Kind, Meta, NodeId, Places, Problem, Space,
    Structure, Time, Xattr,
};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says what a device holds, if it is FAT.
///
/// # Errors
/// [`Error::Corrupt`] if a boot sector of FAT contradicts itself; what reading the device meets.
pub fn probe(device: &dyn BlockRead) -> Result<Option<FsInfo>, Error> {
    let Some(boot) = BootSector::read(device)? else {
        return Ok(None);
    };
    info(Volume {
        device,
        boot: &boot,
    })
    .map(Some)
}

/// A FAT file system.
///
/// Names compare without case, and by the short name too. What edits change stays in memory until
/// [`FileSystemEdit::commit`] or until there is too much of it.
#[derive(Debug)]
pub struct Fat {
    pub(crate) cached: Cached,
    pub(crate) boot: BootSector,
    info: FsInfo,
    nodes: Mutex<Nodes>,
    pub(crate) now: Time,
    /// Whether the walk before the first edit found everything sound.
    checked: bool,
    pub(crate) edited: bool,
    /// The directory whose files were asked for last: whoever wants the places of all files asks
    /// directory by directory.
    listed: Mutex<Option<(NodeId, HashMap<String, Entry>)>>,
}

impl Fat {
    /// Opens the file system on a device; nothing is written before an edit.
    ///
    /// # Errors
    /// [`Error::NotFat`]; [`Error::Corrupt`] if the boot sector contradicts itself or the volume
    /// is larger than the device; what reading the device meets.
    pub fn open(device: Arc<dyn BlockWrite>) -> Result<Self, Error> {
        let cached = Cached::new(device);
        let boot = BootSector::read(&cached)?.ok_or(Error::NotFat)?;
        let info = info(Volume {
            device: &cached,
            boot: &boot,
        })?;
        Ok(Self {
            cached,
            boot,
            info,
            nodes: Mutex::new(Nodes::new()),
            now: Time::default(),
            checked: false,
            edited: false,
            listed: Mutex::default(),
        })
    }

    pub(crate) fn volume(&self) -> Volume<'_> {
        Volume {
            device: &self.cached,
            boot: &self.boot,
        }
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names from the root down to a node.
    pub(crate) fn path(&self, node: NodeId) -> Result<Vec<String>, fs::Error> {
        self.nodes().path(node)?.ok_or(fs::Error::NotFound)
    }

    /// What a node is named by; nothing for the root.
    pub(crate) fn entry(&self, node: NodeId) -> Result<Option<Entry>, fs::Error> {
        let mut found: Option<Entry> = None;
        for name in self.path(node)? {
            let dir = match &found {
                None => DirStart::Root,
                Some(entry) if entry.is_dir => entry.as_dir()?,
                Some(_) => return Err(fs::Error::NotFound),
            };
            let directory = self.volume().directory(dir)?;
            found = Some(directory.find(&name).ok_or(fs::Error::NotFound)?);
        }
        Ok(found)
    }

    /// As [`entry`](Self::entry), without reading the directory again for each of its files. Only
    /// while nothing can have been edited.
    fn listed_entry(&self, node: NodeId) -> Result<Option<Entry>, fs::Error> {
        if self.checked || self.edited || node == ROOT {
            return self.entry(node);
        }
        let place = self.nodes().place(node).ok_or(fs::Error::NotFound)?;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match listed.take() {
            Some((dir, entries)) if dir == place.dir => entries,
            _ => {
                let mut entries = HashMap::new();
                for entry in self.directory(place.dir)?.entries() {
                    entries.entry(entry.name.clone()).or_insert(entry);
                }
                entries
            }
        };
        let (_, entries) = listed.insert((place.dir, known));
        let entry = entries.get(&place.name).cloned();
        entry.map(Some).ok_or(fs::Error::NotFound)
    }

    /// A regular file's entry.
    pub(crate) fn file(&self, node: NodeId) -> Result<Entry, fs::Error> {
        match self.entry(node)? {
            Some(entry) if !entry.is_dir => Ok(entry),
            _ => Err(fs::Error::NotAFile),
        }
    }

    /// Where a directory is.
    pub(crate) fn dir(&self, node: NodeId) -> Result<DirStart, fs::Error> {
        match self.entry(node)? {
            None => Ok(DirStart::Root),
            Some(entry) if entry.is_dir => Ok(entry.as_dir()?),
            Some(_) => Err(fs::Error::NotADirectory),
        }
    }

    pub(crate) fn directory(&self, node: NodeId) -> Result<Directory, fs::Error> {
        let start = self.dir(node)?;
        Ok(self.volume().directory(start)?)
    }

    /// Refuses what cannot be edited safely.
    fn check_editable(&mut self) -> Result<(), fs::Error> {
        if self.checked {
            return Ok(());
        }
        if self.boot.table_too_small {
            return Err(Error::from(Unsupported::TableTooSmall).into());
        }
        let few = self.boot.root_cluster.is_some() && self.boot.clusters < FAT32_CLUSTERS;
        if few {
            return Err(Error::from(Unsupported::SmallFat32(self.boot.clusters)).into());
        }
        if let Some((_, damage)) = walk(self.volume())?.damage.into_iter().next() {
            return Err(Error::from(damage).into());
        }
        self.try_session()?;
        self.checked = true;
        Ok(())
    }
}

fn info(volume: Volume<'_>) -> Result<FsInfo, Error> {
    // A damaged root directory does not hide what the volume is.
    let label = match volume.label() {
        Err(Error::Corrupt(_)) => volume.boot.label.clone(),
        label => label?,
    };
    let id = volume.boot.volume_id;
    let mut features = vec![volume.boot.kind.name().to_owned()];
    if volume.boot.dirty {
        features.push(String::from("dirty"));
    }
    Ok(FsInfo {
        kind: FsKind::Vfat,
        label,
        uuid: id.map(|id| format!("{:04X}-{:04X}", id >> 16, id & 0xffff)),
        features,
        recovered: false,
        last_write: None,
    })
}

fn meta(entry: Option<&Entry>) -> Meta {
    let Some(entry) = entry else {
        return ROOT_META;
    };
    Meta {
        kind: kind(entry),
        mode: if entry.is_read_only { 0o555 } else { 0o755 },
        size: u64::from(entry.size),
        mtime: entry.modified.to_unix(),
        ctime: entry.created.to_unix(),
        atime: entry.accessed.to_unix(),
        ..ROOT_META
    }
}

fn kind(entry: &Entry) -> Kind {
    if entry.is_dir { Kind::Dir } else { Kind::File }
}

impl FileSystem for Fat {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn space(&self) -> Result<Space, fs::Error> {
        let cluster = u64::from(self.boot.cluster_size);
        let (free, _) = self.volume().free_clusters()?;
        Ok(Space {
            total_bytes: u64::from(self.boot.clusters).saturating_mul(cluster),
            free_bytes: u64::from(free).saturating_mul(cluster),
            free_inodes: None,
            block_size: self.boot.cluster_size,
        })
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId, fs::Error> {
        let directory = self.directory(dir)?;
        let name = str::from_utf8(name).map_err(|_| fs::Error::NotFound)?;
        let entry = directory.find(name).ok_or(fs::Error::NotFound)?;
        let name = entry.name;
        Ok(self.nodes().id(Place { dir, name })?)
    }

    fn stat(&self, node: NodeId) -> Result<Meta, fs::Error> {
        Ok(meta(self.entry(node)?.as_ref()))
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, fs::Error> {
        let entry = self.file(node)?;
        Ok(self.volume().read_file(&entry, offset, buf)?)
    }

    fn entries(&self, dir: NodeId) -> Result<Vec<fs::Entry>, fs::Error> {
        let directory = self.directory(dir)?;
        let mut nodes = self.nodes();
        let entries = directory.entries().map(|entry| {
            let name = entry.name.clone();
            Ok(fs::Entry {
                name: entry.name.clone().into_bytes(),
                node: nodes.id(Place { dir, name })?,
                kind: Some(kind(&entry)),
            })
        });
        entries.collect()
    }

    fn read_link(&self, _: NodeId) -> Result<Vec<u8>, fs::Error> {
        Err(fs::Error::NotFound)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>, fs::Error> {
        self.entry(node).map(|_| Vec::new())
    }

    fn places(&self, node: NodeId) -> Result<Places, fs::Error> {
        let entry = self.listed_entry(node)?;
        Ok(Places {
            meta: meta(entry.as_ref()),
            parts: self.volume().parts(entry.as_ref())?,
        })
    }

    fn structures(&self) -> Result<Vec<Structure>, fs::Error> {
        Ok(self.volume().structures())
    }

    fn free(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, fs::Error> {
        Ok(self.volume().free_bytes(range)?)
    }

    fn numbers_are_places(&self) -> bool {
        // They are given out as names are looked up.
        false
    }

    fn edit(&mut self) -> Result<&mut dyn FileSystemEdit, fs::Error> {
        self.check_editable()?;
        Ok(self)
    }

    fn check(&self) -> Result<Vec<Problem>, fs::Error> {
        let Report { damage, oddities } = walk(self.volume())?;
        let damage = damage
            .into_iter()
            .map(|(path, damage)| format!("{path}: {damage}"));
        Ok(damage.chain(oddities).map(Problem).collect())
    }
}

/// FAT keeps no owner and no permissions; this is what Linux shows by default.
const ROOT_META: Meta = Meta {
    kind: Kind::Dir,
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    links: 1,
    mtime: EPOCH,
    ctime: EPOCH,
    atime: EPOCH,
    device: None,
};
const EPOCH: Time = Time {
    seconds: 0,
    nanoseconds: 0,
};
/// Below, `fatfs` would take the table for one of FAT16.
const FAT32_CLUSTERS: u32 = 65_525;

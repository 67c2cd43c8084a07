//! Which files and other things of a guest the bytes belong to in which two disks differ.
//!
//! [`compare`] takes two states of one disk and the ranges in which they differ. It looks at those
//! volumes only that these ranges touch, walks the directories of both states side by side, once,
//! and asks each file where it lies; files that no range touches are not read. What it keeps grows
//! with what differs, not with what is there.

mod content;
mod disk;
mod ranges;
mod tally;
mod walk;

use crate::content::chain;
use crate::{Content, Error, Guest, GuestPath, Machine, Volume, VolumeId};
use disk::{Holds, Zone};
use fs::{FileSystem, Kind, Role};
use ondisk::{Interrupt, Progress};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use walk::{Sides, Walk};

pub use ranges::Ranges;

/// What differs between two states of a disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// Files, directories, links and other nodes, sorted by path.
    pub files: Vec<FileDifference>,
    /// Everything else that differs.
    pub other: Vec<OtherDifference>,
    /// What could not be told, in sentences for the user.
    pub findings: Vec<String>,
    /// File systems that were looked into.
    pub file_systems: usize,
}

/// A node that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FileDifference {
    /// In which way.
    pub state: FileState,
    /// What it is.
    pub kind: Kind,
    /// Its name: where the guest mounts it if [`mounted`](Self::mounted) says so, else from the
    /// root of the volume on. One of its names, if it has several.
    pub path: GuestPath,
    /// Whether the path is the guest's.
    pub mounted: bool,
    /// Number of the partition; none for the whole disk.
    pub partition: Option<u32>,
    /// Names that it has.
    pub links: u32,
    /// Bytes of the disk that differ and hold its content: in the new state, of what was removed
    /// in the old one.
    pub bytes: u64,
}

/// In which way a node differs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Its content, the target of a link, or the numbers of a device.
    Changed,
    /// Only the new state has the name.
    Added,
    /// Only the old state has the name.
    Removed,
    /// The content is the same, and lies in other blocks.
    Moved,
    /// Blocks of it differ; more cannot be told, because the other state cannot be read.
    Touched,
}

/// Bytes that differ and belong to no file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct OtherDifference {
    /// Whose they are in the new state.
    pub what: Owner,
    /// Number of the partition; none for the whole disk, and outside of partitions.
    pub partition: Option<u32>,
    /// How many.
    pub bytes: u64,
}

/// Whom bytes belong to that are no file's content.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Owner {
    /// Partition table, with the boot code in the sector of an MBR.
    PartitionTable,
    /// Between the partition table and the first partition, where boot loaders live.
    BootGap,
    /// Elsewhere outside of any partition.
    Unallocated,
    /// Superblocks, group descriptors, a boot sector.
    Header,
    /// What says which blocks are free: bitmaps, FATs.
    Allocation,
    /// Tables of inodes.
    Nodes,
    /// The journal of a file system.
    Journal,
    /// Quota and other things that file systems keep without a name.
    Internal,
    /// The names in directories.
    Directories,
    /// Blocks that say where files lie.
    Maps,
    /// Extended attributes.
    Attributes,
    /// Nothing uses it.
    Free,
    /// In use, but by nothing that has a name, as a file that was open when it was removed.
    Unnamed,
    /// A boot loader's own partition.
    BootLoader,
    /// Swap space.
    Swap,
    /// An LVM physical volume.
    Lvm,
    /// An encrypted volume.
    Encrypted,
    /// A member of a software RAID.
    Raid,
    /// A file system, or another format, that is known by name only.
    OtherFormat(crate::OtherFormat),
    /// A file system that could not be read; the findings say why.
    Unreadable,
    /// A volume with nothing that is known.
    Unknown,
}

/// Says whom the bytes belong to in which two states of a disk differ.
///
/// Both machines have one disk, `old` the one of the old state; `changed` are the ranges of it in
/// which they differ. Journals are played back, as always, into the overlays of the machines.
///
/// # Errors
/// A disk that cannot be read, or an interruption. What is damaged in the guest is a
/// [finding](Difference::findings).
pub fn compare(
    old: &Machine,
    new: &Machine,
    changed: &Ranges,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Difference, Error> {
    let mut comparison = Comparison {
        machines: [old, new],
        changed,
        progress,
        interrupt,
        mounts: None,
        result: Difference::default(),
    };
    comparison.run()?;
    let mut result = comparison.result;
    let key = |file: &FileDifference| {
        (
            file.path.clone(),
            file.partition,
            file.state != FileState::Removed,
        )
    };
    result.files.sort_by_cached_key(key);
    Ok(result)
}

struct Comparison<'m> {
    /// The old state and the new one.
    machines: [&'m Machine; 2],
    changed: &'m Ranges,
    progress: &'m dyn Progress,
    interrupt: &'m Interrupt,
    /// Where the guests of both mount their volumes, once that was asked for.
    mounts: Option<[Mounts; 2]>,
    result: Difference,
}

type Mounts = BTreeMap<VolumeId, GuestPath>;

impl<'m> Comparison<'m> {
    fn run(&mut self) -> Result<(), Error> {
        let [old, new] = self.machines;
        let sizes = [old, new].map(disk_size);
        let size = sizes.into_iter().max().unwrap_or(0);
        let mut partners = Vec::new();
        let zones = match new.disks().first() {
            Some(disk) => disk::zones(new, disk, size),
            None => Vec::new(),
        };
        for zone in zones {
            let bytes = self.changed.bytes_in(&zone.bytes);
            let Zone {
                holds,
                bytes: range,
            } = zone;
            match holds {
                Holds::Volume(volume) => {
                    let partner = partner(old, volume);
                    partners.extend(partner.map(|partner| &partner.id));
                    if bytes > 0 {
                        self.volume(partner, Some(volume), range)?;
                    }
                }
                Holds::Other(what) if bytes > 0 => self.other(what, None, bytes),
                Holds::Other(_) => {}
            }
        }
        self.stacked();
        for volume in old.volumes() {
            let range = range_of(volume);
            let is_part = volume.id.disk().is_some();
            if is_part && !partners.contains(&&volume.id) && self.changed.touch(&range) {
                self.volume(Some(volume), None, range)?;
            }
        }
        Ok(())
    }

    /// Says of which volumes the files are not told apart: their bytes lie in pieces, and are
    /// counted as those of the physical volumes or array members that hold them.
    fn stacked(&mut self) {
        let [old, new] = self.machines;
        let mut seen = BTreeSet::new();
        for volume in new.volumes().iter().chain(old.volumes()) {
            let file_system = matches!(volume.content, Content::FileSystem(_));
            if volume.id.disk().is_none() && file_system && seen.insert(&volume.id) {
                self.find(format!(
                    "files of {} are not told apart: it lies on LVM or RAID, and what differs is \
                     counted there",
                    volume.id
                ));
            }
        }
    }

    /// Compares a volume of the old state with what begins in the same place in the new one. Bytes
    /// of a volume that is not there any more are counted already, as whatever they are now.
    fn volume(
        &mut self,
        old: Option<&Volume>,
        new: Option<&Volume>,
        range: Range<u64>,
    ) -> Result<(), Error> {
        let [old_machine, new_machine] = self.machines;
        let (mut old_failed, mut new_failed) = (false, false);
        let old_open =
            old.and_then(|volume| self.open(old_machine, volume, "first", &mut old_failed));
        let new_open =
            new.and_then(|volume| self.open(new_machine, volume, "second", &mut new_failed));
        let origin = old.or(new).map_or(0, disk::start_of);
        let changed = self.changed.cut(&range, origin);
        let partition = new.or(old).and_then(|volume| volume.id.partition_number());
        if let (Some(volume), None) = (new, &new_open) {
            let what = if new_failed {
                Owner::Unreadable
            } else {
                owner(volume)
            };
            self.other(what, partition, changed.bytes());
        }
        let sides = match (&old_open, &new_open) {
            (Some(old), Some(new)) => Sides::Both(&**old, &**new),
            (Some(old), None) if new_failed => Sides::Old(&**old, FileState::Touched),
            (Some(old), None) => Sides::Old(&**old, FileState::Removed),
            (None, Some(new)) if old_failed => Sides::New(&**new, FileState::Touched),
            (None, Some(new)) => Sides::New(&**new, FileState::Added),
            (None, None) => return Ok(()),
        };
        self.result.file_systems += 1;
        let prefix = self.prefix(old, new);
        // A journal that was played back changed what the file systems are, not what is stored.
        let sizes = [old, new].into_iter().flatten().map(|volume| volume.size);
        let window = origin..origin.saturating_add(sizes.max().unwrap_or(0));
        let dirty = [old_machine, new_machine].map(|machine| dirty(machine, &window, origin));
        let suspect = changed.with(&[&dirty[0], &dirty[1]]);
        let walk = Walk::new(sides, &changed, &suspect, self.interrupt);
        let task = self
            .progress
            .start("compare files", ondisk::Unit::Items, None);
        let walked = walk.run(&*task)?;
        drop(task);
        let place = || volume_name(partition);
        let findings = walked.findings.into_iter();
        self.result
            .findings
            .extend(findings.map(|finding| format!("{}: {finding}", place())));
        let mounted = prefix.is_some();
        let prefix = prefix.unwrap_or_else(GuestPath::root);
        let files = walked.rows.into_iter().map(|row| FileDifference {
            state: row.state,
            kind: row.kind,
            path: prefix.join(&row.path),
            mounted,
            partition,
            links: row.links,
            bytes: row.bytes,
        });
        self.result.files.extend(files);
        for (what, bytes) in walked.tally.owners() {
            self.other(what, partition, bytes);
        }
        Ok(())
    }

    fn open(
        &mut self,
        machine: &Machine,
        volume: &Volume,
        which: &str,
        failed: &mut bool,
    ) -> Option<Box<dyn FileSystem>> {
        let why = match &volume.content {
            Content::FileSystem(_) => match machine.open_file_system(&volume.id) {
                Ok(file_system) => return Some(file_system),
                Err(error) => chain(&error),
            },
            Content::Unreadable(why) => why.clone(),
            _ => return None,
        };
        *failed = true;
        let place = volume_name(volume.id.partition_number());
        self.result.findings.push(format!(
            "{place} of the {which} disk cannot be read as a file system: {why}"
        ));
        None
    }

    /// Where the guest mounts a volume, by the new state if that knows.
    fn prefix(&mut self, old: Option<&Volume>, new: Option<&Volume>) -> Option<GuestPath> {
        if self.mounts.is_none() {
            let mounts = self.machines.map(|machine| self.mount_points(machine));
            self.mounts = Some(mounts);
        }
        let [old_mounts, new_mounts] = self.mounts.as_ref()?;
        let of = |mounts: &Mounts, volume: Option<&Volume>| mounts.get(&volume?.id).cloned();
        of(new_mounts, new).or_else(|| of(old_mounts, old))
    }

    fn mount_points(&mut self, machine: &Machine) -> Mounts {
        let guest = machine.roots().and_then(|roots| match roots.as_slice() {
            [root] => Guest::open(machine, &root.volume).map(Some),
            [] => Ok(None),
            _ => {
                self.find(
                    "several operating systems are there; paths are those on their volumes"
                        .to_owned(),
                );
                Ok(None)
            }
        });
        match guest {
            Ok(Some(guest)) => {
                let mounts = guest.mounts().iter();
                let mounts =
                    mounts.filter_map(|mount| Some((mount.volume.clone()?, mount.at.clone())));
                mounts.collect()
            }
            Ok(None) => Mounts::new(),
            Err(error) => {
                self.find(format!(
                    "the guest cannot be put together, so paths are those on their volumes: {}",
                    chain(&error)
                ));
                Mounts::new()
            }
        }
    }

    fn find(&mut self, finding: String) {
        if !self.result.findings.contains(&finding) {
            self.result.findings.push(finding);
        }
    }

    fn other(&mut self, what: Owner, partition: Option<u32>, bytes: u64) {
        let others = &mut self.result.other;
        let known = others
            .iter_mut()
            .find(|other| (other.what, other.partition) == (what, partition));
        match known {
            Some(other) => other.bytes = other.bytes.saturating_add(bytes),
            None => others.push(OtherDifference {
                what,
                partition,
                bytes,
            }),
        }
    }
}

/// A volume in words.
fn volume_name(partition: Option<u32>) -> String {
    partition.map_or_else(
        || "the whole disk".to_owned(),
        |number| format!("partition {number}"),
    )
}

/// The volume of the old state that begins where one of the new state does.
fn partner<'m>(old: &'m Machine, new: &Volume) -> Option<&'m Volume> {
    let start = disk::start_of(new);
    old.volumes().iter().find(|volume| {
        volume.id.disk().is_some()
            && disk::start_of(volume) == start
            && volume.partition.is_some() == new.partition.is_some()
            && !matches!(volume.content, Content::Extended)
    })
}

fn range_of(volume: &Volume) -> Range<u64> {
    let start = disk::start_of(volume);
    start..start.saturating_add(volume.size)
}

fn disk_size(machine: &Machine) -> u64 {
    use block::BlockRead;
    machine
        .disks()
        .first()
        .map_or(0, |disk| disk.overlay.size())
}

/// What was written to the overlay of a disk within `window`, counted from `origin`.
fn dirty(machine: &Machine, window: &Range<u64>, origin: u64) -> Ranges {
    let disk = machine.disks().first();
    let extents = disk.map(|disk| disk.overlay.dirty_extents());
    let extents: Ranges = extents.unwrap_or_default().into_iter().collect();
    extents.cut(window, origin)
}

/// What a volume without a file system that is opened is.
fn owner(volume: &Volume) -> Owner {
    match &volume.content {
        Content::Swap { .. } => Owner::Swap,
        Content::Luks { .. } => Owner::Encrypted,
        Content::LvmPhysical { .. } => Owner::Lvm,
        Content::MdMember { .. } => Owner::Raid,
        Content::Other { format, .. } => Owner::OtherFormat(*format),
        Content::Unreadable(_) => Owner::Unreadable,
        _ => {
            let kind = volume.partition.as_ref().map(|partition| partition.kind);
            match kind {
                Some(kind) if kind.is_bios_boot() => Owner::BootLoader,
                _ => Owner::Unknown,
            }
        }
    }
}

impl Owner {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// The same for people.
    pub fn describe(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::PartitionTable => ("partition-table", "partition table"),
            Self::BootGap => ("boot-gap", "boot loader, before the first partition"),
            Self::Unallocated => ("unallocated", "outside of any partition"),
            Self::Header => ("header", "superblock, descriptors or boot sector"),
            Self::Allocation => ("allocation", "bitmaps or FATs"),
            Self::Nodes => ("inodes", "inodes"),
            Self::Journal => ("journal", "journal"),
            Self::Internal => ("internal", "quota and other hidden files"),
            Self::Directories => ("directories", "names in directories"),
            Self::Maps => ("maps", "maps of files"),
            Self::Attributes => ("attributes", "extended attributes"),
            Self::Free => ("free", "free space"),
            Self::Unnamed => ("unnamed", "space that nothing with a name uses"),
            Self::BootLoader => ("boot-loader", "boot loader"),
            Self::Swap => ("swap", "swap"),
            Self::Lvm => ("lvm", "LVM physical volume"),
            Self::Encrypted => ("encrypted", "encrypted volume"),
            Self::Raid => ("raid", "member of a software RAID"),
            Self::OtherFormat(format) => (format.name(), format.name()),
            Self::Unreadable => ("unreadable", "unreadable file system"),
            Self::Unknown => ("unknown", "unknown content"),
        }
    }
}

impl Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Bytes of a part that differ, where it is content.
fn content_bytes(part: &fs::Part, changed: &Ranges) -> u64 {
    match part.role {
        Role::Content { .. } => changed.bytes_in(&part.bytes),
        _ => 0,
    }
}

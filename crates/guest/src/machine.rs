//! The disks of a machine and the volumes on them.

use crate::assembly::Stacked;
use crate::content::{self, chain};
use crate::device_name::kernel_names;
use crate::{Content, Error, Guest, Os, VolumeFact, VolumeId};
use block::{BlockRead, BlockWrite, Overlay, Window};
use fs::{FileSystem, FsKind, Kind};
use std::sync::Arc;
use volume::{Partition, PartitionKind, Table, TableKind, md};

/// A disk as the caller found it.
#[derive(Clone, Debug)]
pub struct SourceDisk {
    /// What people know it by, as the name of its file.
    pub name: String,
    /// Its bytes; they are never changed.
    pub device: Arc<dyn BlockRead>,
}

/// The disks of a machine, in its order, and the volumes on them.
#[derive(Debug)]
pub struct Machine {
    pub(crate) disks: Vec<Disk>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) stacked: Stacked,
    pub(crate) findings: Vec<String>,
}

/// A disk and all that a conversion changes on it.
#[derive(Debug)]
pub struct Disk {
    /// What people know it by.
    pub name: String,
    /// The disk, with what was changed kept apart.
    pub overlay: Arc<Overlay>,
    /// Its partition table.
    pub table: Table,
}

/// A volume: a partition, a whole disk without a partition table, an array, a logical volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Which one.
    pub id: VolumeId,
    /// Its entry in the partition table of its disk or array; none for what is no partition.
    pub partition: Option<Partition>,
    /// What it holds.
    pub content: Content,
    /// Size in bytes.
    pub size: u64,
    /// The disks that it lies on, by their indices, ascending.
    pub disks: Vec<usize>,
    /// The names that kernels may have given it where it lived.
    pub device_names: Vec<String>,
}

/// A volume that looks like the root of a guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// Which volume.
    pub volume: VolumeId,
    /// What the guest says it is.
    pub os: Option<Os>,
}

impl Machine {
    /// Reads the partition tables and what the volumes hold, and puts RAID arrays and logical
    /// volumes together.
    ///
    /// What cannot be read of a table or a volume is [`Content::Unreadable`] and no error.
    ///
    /// # Errors
    /// [`Error::Disk`] if a disk itself cannot be read.
    pub fn open(disks: Vec<SourceDisk>) -> Result<Self, Error> {
        let mut machine = Self {
            disks: Vec::with_capacity(disks.len()),
            volumes: Vec::new(),
            stacked: Stacked::new(),
            findings: Vec::new(),
        };
        for disk in disks {
            machine.add(disk)?;
        }
        machine.assemble()?;
        Ok(machine)
    }

    fn add(&mut self, source: SourceDisk) -> Result<(), Error> {
        let overlay = Arc::new(Overlay::new(source.device));
        let index = self.disks.len();
        let table = match volume::scan(&*overlay) {
            Ok(table) => table,
            Err(volume::Error::Block(error)) => {
                return Err(Error::Disk {
                    name: source.name,
                    source: Box::new(error),
                });
            }
            Err(error) => {
                self.volumes.push(Volume {
                    id: VolumeId::whole_disk(index),
                    partition: None,
                    content: Content::Unreadable(chain(&error)),
                    size: overlay.size(),
                    disks: vec![index],
                    device_names: kernel_names(index, None),
                });
                Table {
                    kind: TableKind::None,
                    sector_size: 512,
                    disk_id: None,
                    partitions: Vec::new(),
                    findings: Vec::new(),
                    boot_code: false,
                }
            }
        };
        let is_whole = is_whole(&*overlay, &table).map_err(|error| Error::Disk {
            name: source.name.clone(),
            source: Box::new(error),
        })?;
        if is_whole {
            self.volumes.push(Volume {
                id: VolumeId::whole_disk(index),
                partition: None,
                content: content::probe(&*overlay),
                size: overlay.size(),
                disks: vec![index],
                device_names: kernel_names(index, None),
            });
        }
        let partitions = table.partitions.iter().filter(|_| !is_whole);
        for partition in partitions {
            let content = if partition.kind.is_extended() {
                Content::Extended
            } else {
                match partition.open(overlay.clone()) {
                    Ok(window) => content::probe(&window),
                    Err(error) => Content::Unreadable(chain(&error)),
                }
            };
            let whole = partition.kind == PartitionKind::Disk;
            let number = (!whole).then_some(partition.number);
            self.volumes.push(Volume {
                id: VolumeId::Disk {
                    disk: index,
                    partition: number,
                },
                partition: number.map(|_| partition.clone()),
                content,
                size: partition.size,
                disks: vec![index],
                device_names: kernel_names(index, number),
            });
        }
        self.disks.push(Disk {
            name: source.name,
            overlay,
            table,
        });
        Ok(())
    }

    /// The disks, in the order of the machine.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The volumes of all disks, in order.
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// What is odd about arrays and volume groups, in sentences for the user.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The volume of this identifier.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn volume(&self, id: &VolumeId) -> Result<&Volume, Error> {
        let mut volumes = self.volumes.iter();
        volumes
            .find(|volume| volume.id == *id)
            .ok_or_else(|| Error::NoSuchVolume { volume: id.clone() })
    }

    /// The bytes of a volume; what is written there stays in the overlays of its disks.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`]; [`Error::Volume`] if it leaves the disk, or could not be put
    /// together.
    pub fn device(&self, id: &VolumeId) -> Result<Arc<dyn BlockWrite>, Error> {
        let volume = self.volume(id)?;
        let failed = |source| Error::Volume {
            volume: id.clone(),
            source,
        };
        let Some(disk) = id.disk().and_then(|disk| self.disks.get(disk)) else {
            let device = self.stacked.get(id).cloned();
            return device.ok_or_else(|| failed(volume.content.describe().into()));
        };
        let overlay = disk.overlay.clone();
        let (start, size) = match &volume.partition {
            Some(partition) => (partition.start, partition.size),
            None => (0, overlay.size()),
        };
        match Window::new(overlay, start, size) {
            Ok(window) => Ok(Arc::new(window)),
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    /// Opens the file system on a volume. A journal that was not played back is played back now,
    /// into the overlay.
    ///
    /// # Errors
    /// [`Error::NotAFileSystem`] if there is none that a driver exists for; [`Error::Volume`] with
    /// what the driver says.
    pub fn open_file_system(&self, id: &VolumeId) -> Result<Box<dyn FileSystem>, Error> {
        let volume = self.volume(id)?;
        let not_a_file_system = || Error::NotAFileSystem {
            volume: id.clone(),
            content: volume.content.describe(),
        };
        let Content::FileSystem(info) = &volume.content else {
            return Err(not_a_file_system());
        };
        let device = self.device(id)?;
        let opened: Result<Box<dyn FileSystem>, Box<dyn std::error::Error + Send + Sync>> =
            match info.kind {
                FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => match ext4::Ext4::open(device) {
                    Ok(file_system) => Ok(Box::new(file_system)),
                    Err(error) => Err(error.into()),
                },
                FsKind::Xfs => match xfs::Xfs::open(device) {
                    Ok(file_system) => Ok(Box::new(file_system)),
                    Err(error) => Err(error.into()),
                },
                FsKind::Vfat => match fat::Fat::open(device) {
                    Ok(file_system) => Ok(Box::new(file_system)),
                    Err(error) => Err(error.into()),
                },
                _ => return Err(not_a_file_system()),
            };
        opened.map_err(|source| Error::Volume {
            volume: id.clone(),
            source,
        })
    }

    /// The volumes that look like the root of a guest, in order.
    ///
    /// # Errors
    /// Why the first file system could not be read, if no root was found at all.
    pub fn roots(&self) -> Result<Vec<Root>, Error> {
        let mut roots = Vec::new();
        let mut failed = None;
        for volume in &self.volumes {
            match &volume.content {
                Content::FileSystem(info) if info.kind != FsKind::Vfat => {}
                _ => continue,
            }
            let root = self.open_file_system(&volume.id).and_then(|file_system| {
                let guest = Guest::on(volume.id.clone(), file_system);
                let looks_so = looks_like_a_root(&guest)?;
                let os = if looks_so { Os::of(&guest)? } else { None };
                Ok(looks_so.then_some(os))
            });
            match root {
                Ok(Some(os)) => roots.push(Root {
                    volume: volume.id.clone(),
                    os,
                }),
                Ok(None) => {}
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        match failed {
            Some(error) if roots.is_empty() => Err(error),
            _ => Ok(roots),
        }
    }

    /// The volumes as plain data; where they are mounted is not known here.
    pub(crate) fn volume_facts(&self) -> Vec<VolumeFact> {
        let facts = self.volumes.iter().map(|volume| {
            let partition = volume.partition.as_ref();
            VolumeFact {
                id: volume.id.clone(),
                disks: volume.disks.clone(),
                size: volume.size,
                partition_type: partition.map(|partition| match partition.kind {
                    PartitionKind::Gpt(guid) => guid.to_string(),
                    PartitionKind::Mbr(byte) => format!("{byte:#04x}"),
                    PartitionKind::Disk => "disk".to_owned(),
                }),
                content: volume.content.clone(),
                uuid: volume.content.uuid().map(str::to_owned),
                label: volume.content.label().map(str::to_owned),
                partuuid: partition.and_then(|partition| partition.uuid.clone()),
                partlabel: partition.and_then(|partition| partition.label.clone()),
                device_names: volume.device_names.clone(),
                mounted_at: None,
            }
        });
        facts.collect()
    }
}

/// Whether a disk is one volume in spite of its partition table.
///
/// A table without partitions is what a boot loader leaves in front of a file system or a physical
/// volume that has the whole disk; Linux and LVM2 use that as if no table were there
/// (`_has_partition_table` of lib/device/dev-type.c).
fn is_whole(disk: &dyn BlockRead, table: &Table) -> Result<bool, block::Error> {
    let is_bare = table.kind == TableKind::Mbr && table.partitions.is_empty();
    Ok(is_bare || is_whole_member(disk, table)?)
}

/// Whether a disk with a partition table is a member of an array as a whole: the table is that of
/// the array then, which the member shows because its superblock is at its end. One that lies in
/// a partition is the partition's.
fn is_whole_member(disk: &dyn BlockRead, table: &Table) -> Result<bool, block::Error> {
    if table.kind == TableKind::None {
        return Ok(false);
    }
    let Ok(Some(superblock)) = md::Superblock::read(disk)? else {
        return Ok(false);
    };
    let at = match superblock.version {
        // As libblkid looks for them: whole 64 KiB, and 8 KiB from the end.
        md::Version::V0_90 => (disk.size() & !0xffff).saturating_sub(0x1_0000),
        md::Version::V1_0 => disk.size().saturating_sub(0x2000),
        md::Version::V1_1 | md::Version::V1_2 => return Ok(false),
    };
    let holds = |partition: &Partition| partition.start <= at && at < partition.end();
    Ok(!table.partitions.iter().any(holds))
}

/// Whether a file system has what every root has: `/etc`, programs, and a word about itself.
fn looks_like_a_root(guest: &Guest) -> Result<bool, Error> {
    let is_dir = |path: &str| -> Result<bool, Error> {
        let meta = guest.stat_followed(&path.into())?;
        Ok(meta.is_some_and(|meta| meta.kind == Kind::Dir))
    };
    // The link os-release may lead to a /usr of its own, so the link itself counts.
    let there = |path: &str| -> Result<bool, Error> { Ok(guest.stat(&path.into())?.is_some()) };
    Ok(is_dir("/etc")?
        && (is_dir("/usr")? || is_dir("/bin")?)
        && (there("/etc/fstab")? || there("/etc/os-release")? || there("/usr/lib/os-release")?))
}

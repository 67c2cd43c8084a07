//! Opening a machine's disks and finding its root.

use crate::args::SourceArgs;
use crate::exit::Unconvertible;
use crate::snapshot_home::Snapshot;
use crate::source::{self, Content as From, Purpose};
use crate::terminal::Terminal;
use anyhow::{Context, Result, bail};
use block::BlockRead;
use guest::{Content, Machine, SourceDisk, Volume, VolumeId};
use image::{Format, Image};
use launch::blueprint::Hardware;
use launch::local::VolumeFormat;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A machine with its disks, in the order of the command line.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) machine: Machine,
    /// The name of an output made from each disk, without directory and ending.
    pub(crate) stems: Vec<String>,
    /// The snapshot that each disk is, if it is one.
    pub(crate) snapshots: Vec<Option<Snapshot>>,
    /// The file of each disk that is all of it, and that QEMU opens as it is.
    pub(crate) plain: Vec<Option<(PathBuf, VolumeFormat)>>,
    /// Every file that was opened: none of them may be written.
    pub(crate) files: Vec<PathBuf>,
    /// Each disk as reports have it.
    pub(crate) reported: Vec<report::SourceDisk>,
    /// How large the machine is, as far as what holds the disks tells.
    pub(crate) hardware: Hardware,
}

/// Opens the disks of one machine.
pub(crate) fn open(
    images: &[String],
    args: &SourceArgs,
    purpose: Purpose,
    terminal: &Terminal,
) -> Result<Opened> {
    let options = source::options(args.format.as_deref(), &args.allow_path, purpose, terminal)?;
    let (mut disks, mut stems, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let (mut snapshots, mut plain) = (Vec::new(), Vec::new());
    let mut reported = Vec::new();
    let mut hardware = Hardware::default();
    for text in images {
        for disk in source::open(text, &options, &args.aws, terminal)? {
            files.extend_from_slice(disk.files());
            reported.push(disk.reported(text));
            hardware = hardware.or(disk.hardware());
            snapshots.push(match &disk.content {
                From::Snapshot(snapshot) => Some(snapshot.clone()),
                From::Image(_) => None,
            });
            plain.push(match &disk.content {
                From::Snapshot(_) => None,
                From::Image(image) => plain_file(image, Path::new(text)),
            });
            disks.push(SourceDisk {
                device: disk.device(),
                name: disk.name,
            });
            stems.push(disk.stem);
        }
    }
    let machine = Machine::open(disks).context("cannot read the disks")?;
    Ok(Opened {
        machine,
        stems,
        snapshots,
        plain,
        files,
        reported,
        hardware,
    })
}

/// The file of an image, if nothing else belongs to it and it is the disk from its first byte on.
fn plain_file(image: &Image, argument: &Path) -> Option<(PathBuf, VolumeFormat)> {
    let format = match image.format() {
        Format::Raw => VolumeFormat::Raw,
        Format::Qcow2 => VolumeFormat::Qcow2,
        _ => return None,
    };
    // A member of an archive has another path, or another size.
    let alone = image.layers().len() == 1 && image.files() == [argument];
    let size = std::fs::metadata(argument).ok()?.len();
    let whole = match format {
        VolumeFormat::Raw => size == image.device().size() && size.is_multiple_of(512),
        VolumeFormat::Qcow2 => true,
    };
    (alone && whole && image.path() == argument).then(|| (argument.to_owned(), format))
}

impl Opened {
    /// The volume with the root file system that the user means.
    pub(crate) fn root(&self, wanted: Option<&str>) -> Result<VolumeId> {
        if let Some(wanted) = wanted {
            return self.named(wanted);
        }
        let roots = self
            .machine
            .roots()
            .context("cannot look for an operating system")?;
        match roots.as_slice() {
            [root] => Ok(root.volume.clone()),
            [] => Err(Unconvertible(format!(
                "no operating system that rehost knows was found. What is there:\n{}",
                self.volumes_text()
            ))
            .into()),
            several => {
                let mut text = "several operating systems were found; choose one:".to_owned();
                for root in several {
                    let name = root.os.as_ref().map_or("unknown", |os| &os.pretty_name);
                    let _ = write!(text, "\n  --root {}  {name}", argument(&root.volume));
                }
                Err(Unconvertible(text).into())
            }
        }
    }

    fn named(&self, wanted: &str) -> Result<VolumeId> {
        let matches =
            |volume: &&Volume| argument(&volume.id) == wanted || is_called(volume, wanted);
        let found: Vec<_> = self.machine.volumes().iter().filter(matches).collect();
        match found.as_slice() {
            [volume] => Ok(volume.id.clone()),
            [] => bail!(
                "no volume is {wanted}. What is there:\n{}",
                self.volumes_text()
            ),
            _ => bail!(
                "several volumes are {wanted}. What is there:\n{}",
                self.volumes_text()
            ),
        }
    }

    fn volumes_text(&self) -> String {
        let mut text = String::new();
        for volume in self.machine.volumes() {
            let _ = writeln!(
                text,
                "  {:<6} {}",
                argument(&volume.id),
                content(&volume.content)
            );
        }
        for finding in self.machine.findings() {
            let _ = writeln!(text, "  {finding}");
        }
        let is_encrypted = |volume: &Volume| matches!(volume.content, Content::Luks { .. });
        if self.machine.volumes().iter().any(is_encrypted) {
            text.push_str(
                "  Encrypted volumes are not unlocked: decrypt them on the source (cryptsetup \
                 reencrypt --decrypt), or move what they hold to plain volumes\n",
            );
        }
        text
    }
}

/// A volume as `--root` takes it.
pub(crate) fn argument(id: &VolumeId) -> String {
    let whole = match id {
        VolumeId::Disk { disk, .. } => (disk + 1).to_string(),
        VolumeId::Array { array, .. } => array.clone(),
        VolumeId::Logical { .. } => return id.to_string(),
    };
    match id.partition_number() {
        Some(partition) => format!("{whole}:{partition}"),
        None => whole,
    }
}

/// What a volume holds, in a few words.
pub(crate) fn content(content: &Content) -> String {
    let named = |kind: &str, uuid: Option<&str>, label: Option<&str>| {
        let mut text = kind.to_owned();
        if let Some(label) = label {
            let _ = write!(text, " {label:?}");
        }
        if let Some(uuid) = uuid {
            let _ = write!(text, " {uuid}");
        }
        text
    };
    match content {
        Content::FileSystem(info) => named(
            info.kind.name(),
            info.uuid.as_deref(),
            info.label.as_deref(),
        ),
        Content::Swap {
            uuid,
            label,
            hibernated: false,
        } => named("swap", uuid.as_deref(), label.as_deref()),
        Content::Swap {
            uuid,
            label,
            hibernated: true,
        } => named(
            "swap of a hibernated machine",
            uuid.as_deref(),
            label.as_deref(),
        ),
        Content::Luks {
            version,
            uuid,
            label,
        } => named(&format!("LUKS{version}"), uuid.as_deref(), label.as_deref()),
        Content::LvmPhysical { uuid } => named("LVM2 physical volume", uuid.as_deref(), None),
        Content::MdMember {
            metadata,
            uuid,
            label,
        } => named(
            &format!("RAID member {metadata}"),
            uuid.as_deref(),
            label.as_deref(),
        ),
        Content::Extended => "extended partition".to_owned(),
        Content::Other {
            format,
            uuid,
            label,
        } => named(
            &format!("{format:?} (not supported yet)").to_lowercase(),
            uuid.as_deref(),
            label.as_deref(),
        ),
        Content::Unreadable(why) => format!("unreadable: {why}"),
        _ => "unknown".to_owned(),
    }
}

/// Whether `wanted` names the volume by device, UUID or label.
fn is_called(volume: &Volume, wanted: &str) -> bool {
    if let Content::FileSystem(info) = &volume.content {
        if wanted
            .strip_prefix("UUID=")
            .is_some_and(|uuid| info.uuid.as_deref() == Some(uuid))
        {
            return true;
        }
        if wanted
            .strip_prefix("LABEL=")
            .is_some_and(|label| info.label.as_deref() == Some(label))
        {
            return true;
        }
    }
    let names = volume.device_names.iter();
    let mut names = names.flat_map(|name| [Some(name.as_str()), name.strip_prefix("/dev/")]);
    names.any(|name| name == Some(wanted))
}

//! Opening what an argument names: the one place where arguments become disks.

use crate::args::{AwsArgs, DiskArgs};
use crate::ebs;
use crate::locator::Source;
use crate::snapshot_home::Snapshot;
use crate::terminal::Terminal;
use anyhow::{Context, Result, bail};
use block::BlockRead;
use image::{Gate, Image, MachineSize, OpenOptions};
use launch::blueprint::Hardware;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;

/// A disk that is read.
#[derive(Debug)]
pub(crate) struct Disk {
    /// In messages.
    pub(crate) name: String,
    /// The name of an output made from it, without directory and ending.
    pub(crate) stem: String,
    pub(crate) content: Content,
}

/// What a disk is read from.
#[derive(Debug)]
pub(crate) enum Content {
    Image(Box<Image>),
    Snapshot(Snapshot),
}

impl Disk {
    pub(crate) fn device(&self) -> Arc<dyn BlockRead> {
        match &self.content {
            Content::Image(image) => image.device(),
            Content::Snapshot(snapshot) => snapshot.device(),
        }
    }

    /// As reports have it; `argument` is what named it.
    pub(crate) fn reported(&self, argument: &str) -> report::SourceDisk {
        let format = match &self.content {
            Content::Image(image) => image.format().name(),
            Content::Snapshot(snapshot) => snapshot.format(),
        };
        report::SourceDisk {
            name: self.name.clone(),
            size: self.device().size(),
            format: Some(format.to_owned()),
            path: Some(argument.to_owned()),
        }
    }

    /// How large the machine is whose disk it is, as far as an OVA or OVF tells. Snapshots do not.
    pub(crate) fn hardware(&self) -> Hardware {
        let size = match &self.content {
            Content::Image(image) => image.machine_size(),
            Content::Snapshot(_) => MachineSize::default(),
        };
        Hardware {
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
        }
    }

    /// Every file that was opened: none of them may be written.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match &self.content {
            Content::Image(image) => image.files(),
            // Blocks of snapshots are never replaced.
            Content::Snapshot(_) => &[],
        }
    }
}

/// What a source is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// To look at parts of it.
    Look,
    /// To make something of all of it: an OVA is compared with its manifest first.
    Copy,
    /// As to copy, but without that.
    CopyUnverified,
    /// To copy what can be read of it.
    Salvage,
}

impl Purpose {
    /// What `copy` and `convert` are told about manifests.
    pub(crate) fn to_copy(no_verify: bool) -> Self {
        if no_verify {
            Self::CopyUnverified
        } else {
            Self::Copy
        }
    }
}

/// How images are opened, as far as every command lets the user say it.
pub(crate) fn options(
    format: Option<&str>,
    allow_path: &[PathBuf],
    purpose: Purpose,
    terminal: &Terminal,
) -> Result<OpenOptions> {
    let gate = allow_path
        .iter()
        .fold(Gate::default(), |gate, dir| gate.allow_dir(dir.clone()));
    Ok(OpenOptions {
        format: format.map(str::parse).transpose()?,
        gate,
        salvage: purpose == Purpose::Salvage,
        verify: purpose == Purpose::Copy,
        progress: Some(terminal.progress.clone()),
        interrupt: terminal.interrupt.clone(),
        ..OpenOptions::default()
    })
}

/// Opens every disk that an argument names, or the one with the number in the options.
pub(crate) fn open(
    text: &str,
    options: &OpenOptions,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<Vec<Disk>> {
    terminal.interrupt.check()?;
    let source = Source::parse(text)?;
    let of_images = options.snapshot.is_some() || options.salvage || options.disk.is_some();
    if of_images && !matches!(source, Source::File(_)) {
        bail!("{text}: --snapshot, --salvage and --disk are about images, not about stores or EBS");
    }
    let contents: Vec<Content> = match &source {
        Source::File(path) => match options.disk {
            Some(_) => image::open(path, options).map(|image| vec![image]),
            None => image::open_all(path, options),
        }
        .with_context(|| format!("cannot open {}", path.display()))?
        .into_iter()
        .map(|image| Content::Image(Box::new(image)))
        .collect(),
        Source::Snapshot { store, id } => {
            let snapshot = Store::open(store)?
                .read(id)
                .with_context(|| format!("cannot open {text}"))?;
            vec![Content::Snapshot(Snapshot::Store(Arc::new(snapshot)))]
        }
        Source::Ebs(id) => {
            let snapshot = ebs::open(id, aws, terminal)?;
            vec![Content::Snapshot(Snapshot::Ebs(Arc::new(snapshot)))]
        }
    };
    let several = contents.len() > 1 || options.disk.is_some();
    let first = options.disk.unwrap_or(1);
    let disk = |number: usize, content: Content| {
        let (mut name, mut stem) = (source.name(), source.stem());
        if several {
            name = format!("{name}, disk {number}");
            stem = format!("{stem}-disk{number}");
        }
        Disk {
            name,
            stem,
            content,
        }
    };
    Ok((first..).zip(contents).map(|(n, c)| disk(n, c)).collect())
}

/// Opens the disks that are meant: all that an argument names, or one of them.
pub(crate) fn open_chosen(
    text: &str,
    args: &DiskArgs,
    purpose: Purpose,
    terminal: &Terminal,
) -> Result<Vec<Disk>> {
    let options = OpenOptions {
        snapshot: args.snapshot.clone(),
        disk: args.disk.map(NonZeroUsize::get),
        ..options(args.format.as_deref(), &args.allow_path, purpose, terminal)?
    };
    open(text, &options, &args.aws, terminal)
}

/// Opens the one disk that is meant; `option` is what chooses one of several.
pub(crate) fn open_one(
    text: &str,
    args: &DiskArgs,
    purpose: Purpose,
    option: &str,
    terminal: &Terminal,
) -> Result<Disk> {
    let mut disks = open_chosen(text, args, purpose, terminal)?;
    let count = disks.len();
    match disks.pop() {
        Some(disk) if count == 1 => Ok(disk),
        Some(_) => bail!("{text} holds {count} disks; choose one with {option} 1 to {count}"),
        None => bail!("{text} holds no disks"),
    }
}

//! Opening what an argument names: the one place where arguments become disks.

use crate::args::DiskArgs;
use crate::locator::Source;
use crate::terminal::Terminal;
use anyhow::{Context, Result, bail};
use block::BlockRead;
use image::{Gate, Image, OpenOptions};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Snapshot, Store};

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
    Snapshot(Arc<Snapshot>),
}

impl Disk {
    pub(crate) fn device(&self) -> Arc<dyn BlockRead> {
        match &self.content {
            Content::Image(image) => image.device(),
            Content::Snapshot(snapshot) => snapshot.clone(),
        }
    }

    /// Every file that was opened: none of them may be written.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match &self.content {
            Content::Image(image) => image.files(),
            // Blocks of a store are never replaced.
            Content::Snapshot(_) => &[],
        }
    }
}

/// How images are opened, as far as every command lets the user say it.
pub(crate) fn options(format: Option<&str>, allow_path: &[PathBuf]) -> Result<OpenOptions> {
    let gate = allow_path
        .iter()
        .fold(Gate::default(), |gate, dir| gate.allow_dir(dir.clone()));
    Ok(OpenOptions {
        format: format.map(str::parse).transpose()?,
        gate,
        ..OpenOptions::default()
    })
}

/// Opens every disk that an argument names, or the one with a number, from 1 on.
pub(crate) fn open(
    text: &str,
    options: &OpenOptions,
    number: Option<NonZeroUsize>,
    terminal: &Terminal,
) -> Result<Vec<Disk>> {
    terminal.interrupt.check()?;
    let source = Source::parse(text)?;
    let mut contents: Vec<Content> = match &source {
        Source::File(path) => image::open(path, options)
            .map(|image| vec![Content::Image(Box::new(image))])
            .with_context(|| format!("cannot open {}", path.display()))?,
        Source::Snapshot { store, id } => {
            if options.snapshot.is_some() || options.salvage {
                bail!("{text}: --snapshot and --salvage are about images, not about stores");
            }
            let snapshot = Store::open(store)?
                .read(id)
                .with_context(|| format!("cannot open {text}"))?;
            vec![Content::Snapshot(Arc::new(snapshot))]
        }
    };
    let count = contents.len();
    let disk = |number: usize, content: Content| {
        let (mut name, mut stem) = (source.name(), source.stem());
        if count > 1 {
            name = format!("{name}, disk {number}");
            stem = format!("{stem}-disk{number}");
        }
        Disk {
            name,
            stem,
            content,
        }
    };
    match number.map(NonZeroUsize::get) {
        None => Ok((1..).zip(contents).map(|(n, c)| disk(n, c)).collect()),
        Some(number) if number <= count => Ok(vec![disk(number, contents.swap_remove(number - 1))]),
        Some(number) => bail!("{text} has no disk {number}: it has {count}"),
    }
}

/// Opens the disks that are meant: all that an argument names, or one of them.
pub(crate) fn open_chosen(
    text: &str,
    args: &DiskArgs,
    salvage: bool,
    terminal: &Terminal,
) -> Result<Vec<Disk>> {
    let options = OpenOptions {
        snapshot: args.snapshot.clone(),
        salvage,
        ..options(args.format.as_deref(), &args.allow_path)?
    };
    open(text, &options, args.disk, terminal)
}

/// Opens the one disk that is meant; `option` is what chooses one of several.
pub(crate) fn open_one(
    text: &str,
    args: &DiskArgs,
    salvage: bool,
    option: &str,
    terminal: &Terminal,
) -> Result<Disk> {
    let mut disks = open_chosen(text, args, salvage, terminal)?;
    let count = disks.len();
    match disks.pop() {
        Some(disk) if count == 1 => Ok(disk),
        Some(_) => bail!("{text} holds {count} disks; choose one with {option} 1 to {count}"),
        None => bail!("{text} holds no disks"),
    }
}

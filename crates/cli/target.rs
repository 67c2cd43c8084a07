//! Writing a disk to where it goes.

use crate::ebs::Made;
use crate::exit::Partly;
use crate::identity;
use crate::terminal::Terminal;
use crate::write_format::Chosen;
use anyhow::{Context, Error, Result, anyhow, bail};
use block::BlockRead;
use image::WriteOptions;
use ondisk::Interrupt;
use serde::Serialize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::{SystemTime, UNIX_EPOCH};
use store::{BLOCK, Children, NewSnapshot, SnapshotId, Store};

/// A disk that was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Output {
    File {
        disk: String,
        path: PathBuf,
        format: &'static str,
        /// Bytes of the disk.
        virtual_size: u64,
        /// Bytes of it that are not zero, to whole clusters or pages.
        data: u64,
    },
    Snapshot {
        disk: String,
        store: PathBuf,
        id: SnapshotId,
        /// The snapshot of which it inherits.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<SnapshotId>,
        /// Blocks that are not zeros, own and inherited.
        blocks: u64,
        /// Blocks that differ from the parent's.
        put_blocks: u64,
        /// Blocks that the store did not hold before.
        new_blocks: u64,
        /// Bytes of the disk that were read.
        read: u64,
        /// Whether it was not there before.
        made: bool,
    },
    #[serde(rename = "ebs-snapshot")]
    Ebs(Made),
}

/// What is said about a snapshot wherever it lives.
#[derive(Clone, Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) disk: &'a str,
    pub(crate) id: String,
    pub(crate) put_blocks: u64,
    pub(crate) made: bool,
    /// The store that it is in, if it is in one.
    pub(crate) store: Option<&'a Path>,
    pub(crate) parent: Option<String>,
}

impl Output {
    /// What stdout gets: the path or the id alone.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Snapshot { id, .. } => id.to_string(),
            Self::Ebs(made) => made.id().to_owned(),
        }
    }

    /// What is said about it, if it is a snapshot.
    pub(crate) fn snapshot(&self) -> Option<Summary<'_>> {
        match self {
            Self::File { .. } => None,
            Self::Snapshot {
                disk,
                store,
                id,
                parent,
                put_blocks,
                made,
                ..
            } => Some(Summary {
                disk,
                id: id.to_string(),
                put_blocks: *put_blocks,
                made: *made,
                store: Some(store),
                parent: parent.as_ref().map(ToString::to_string),
            }),
            Self::Ebs(snapshot) => Some(Summary {
                disk: snapshot.disk(),
                id: snapshot.id().to_owned(),
                put_blocks: snapshot.put_blocks(),
                made: snapshot.made(),
                store: None,
                parent: snapshot.parent().map(str::to_owned),
            }),
        }
    }

    /// As reports have it.
    pub(crate) fn reported(&self) -> report::Output {
        match self {
            Self::File {
                disk,
                path,
                format,
                virtual_size: _,
                data,
            } => report::Output {
                kind: "file".to_owned(),
                name: path.display().to_string(),
                disk: Some(disk.clone()),
                format: Some((*format).to_owned()),
                data: Some(*data),
                made: true,
                ..report::Output::default()
            },
            Self::Snapshot {
                disk,
                store,
                id,
                parent,
                blocks,
                put_blocks,
                new_blocks: _,
                read,
                made,
            } => report::Output {
                kind: "snapshot".to_owned(),
                name: id.to_string(),
                disk: Some(disk.clone()),
                place: Some(store.display().to_string()),
                parent: parent.as_ref().map(ToString::to_string),
                data: Some(blocks.saturating_mul(BLOCK)),
                put_blocks: Some(*put_blocks),
                read: Some(*read),
                made: *made,
                ..report::Output::default()
            },
            Self::Ebs(snapshot) => report::Output {
                kind: "ebs-snapshot".to_owned(),
                name: snapshot.id().to_owned(),
                disk: Some(snapshot.disk().to_owned()),
                place: Some(snapshot.region().to_owned()),
                parent: snapshot.parent().map(str::to_owned),
                put_blocks: Some(snapshot.put_blocks()),
                read: Some(snapshot.read()),
                made: snapshot.made(),
                ..report::Output::default()
            },
        }
    }

    /// The run came to its end, so that the next one goes on from here: what was kept for another
    /// end is forgotten.
    pub(crate) fn settle(&self) {
        if let Self::Ebs(made) = self {
            made.settle();
        }
    }

    /// Takes back what was made a moment ago; a snapshot, once nobody else writes to its store.
    pub(crate) fn remove(&self) {
        match self {
            Self::File { path, .. } => {
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::warn!(path = %path.display(), %error, "cannot be removed");
                }
            }
            Self::Snapshot { made: false, .. } => {}
            Self::Snapshot { store, id, .. } => {
                // The user may have interrupted the work, and this is what has to be done then.
                let removed = Store::open(store).and_then(|store| {
                    store.remove(from_ref(id), Children::Refuse, &Interrupt::default())
                });
                if let Err(error) = removed {
                    tracing::warn!(%id, %error, "cannot be removed");
                }
            }
            Self::Ebs(made) => made.remove(),
        }
    }
}

/// Checks, before work starts, that a file may be written: it is none that is read, and what is
/// there may be replaced.
pub(crate) fn claim<P: AsRef<Path>>(path: &Path, sources: &[P], overwrite: bool) -> Result<()> {
    let name = path.display();
    if identity::is_one_of(path, sources) {
        bail!("{name} is a source and is never written; name another output");
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => bail!("{name} is a directory; name the file"),
        Ok(meta) if !overwrite && meta.file_type().is_block_device() => {
            bail!("{name} is a block device; --force overwrites what is on it")
        }
        Ok(_) if !overwrite => bail!("{name} exists; --force replaces it"),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Writes a disk to a file or a block device; `options` are of the chosen format.
pub(crate) fn write_file(
    disk: &str,
    device: &dyn BlockRead,
    path: &Path,
    chosen: &Chosen,
    options: &WriteOptions,
    terminal: &Terminal,
) -> Result<Output> {
    let in_place = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device());
    let options = WriteOptions {
        format: chosen.format,
        ..options.clone()
    };
    let written = image::write(
        device,
        path,
        &options,
        &*terminal.progress,
        &terminal.interrupt,
    );
    let written = written
        .map_err(|error| {
            let partly = in_place && came_late(&error);
            let error = Error::new(error);
            if partly {
                error.context(Partly(path.to_owned()))
            } else {
                error
            }
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Output::File {
        disk: disk.to_owned(),
        path: path.to_owned(),
        format: chosen.name(),
        virtual_size: written.virtual_size,
        data: written.data,
    })
}

/// Whether something may have been written before this went wrong.
fn came_late(error: &image::Error) -> bool {
    match error {
        image::Error::Io { action, .. } => *action != "open",
        image::Error::Source(_) | image::Error::Interrupted(_) => true,
        _ => false,
    }
}

/// Makes a snapshot of a disk; what is `new` about it but for the time, and `disk` in messages.
pub(crate) fn write_snapshot(
    disk: &str,
    device: &dyn BlockRead,
    new: &NewSnapshot<'_>,
    store: &Store,
    terminal: &Terminal,
) -> Result<Output> {
    let new = NewSnapshot {
        description: disk,
        created: now()?,
        ..*new
    };
    let written = store
        .write(device, &new, &*terminal.progress, &terminal.interrupt)
        .with_context(|| format!("cannot store {disk}"))?;
    Ok(Output::Snapshot {
        disk: disk.to_owned(),
        store: store.dir().to_owned(),
        id: written.id,
        parent: new.parent.cloned(),
        blocks: written.blocks,
        put_blocks: written.put_blocks,
        new_blocks: written.new_blocks,
        read: written.read,
        made: written.made,
    })
}

/// The time, in seconds since 1970, unless the user gives it.
fn now() -> Result<u64> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH);
    match source_date_epoch()? {
        Some(seconds) => u64::try_from(seconds).context("SOURCE_DATE_EPOCH lies before 1970"),
        None => Ok(clock().context("the clock lies before 1970")?.as_secs()),
    }
}

/// The time that the user gives, by the convention of reproducible builds, in seconds since 1970.
pub(crate) fn source_date_epoch() -> Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(value) = std::env::var_os(NAME) else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.ok_or_else(|| anyhow!("{NAME} must be seconds since 1970"))?;
    Ok(Some(seconds))
}

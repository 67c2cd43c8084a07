//! Writing a disk to where it goes.

use crate::exit::Partly;
use crate::identity;
use crate::terminal::Terminal;
use crate::write_format::Chosen;
use anyhow::{Context, Error, Result, anyhow, bail};
use block::BlockRead;
use image::WriteOptions;
use serde::Serialize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use store::{NewSnapshot, Role, Store};

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
        id: String,
        blocks: u64,
        new_blocks: u64,
    },
}

impl Output {
    /// What stdout gets: the path or the id alone.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Snapshot { id, .. } => id.clone(),
        }
    }

    /// Takes back a file that was published a moment ago.
    pub(crate) fn remove(&self) {
        if let Self::File { path, .. } = self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot be removed");
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

/// Makes a snapshot of a disk.
pub(crate) fn write_snapshot(
    disk: &str,
    device: &dyn BlockRead,
    role: Role,
    store: &Store,
    terminal: &Terminal,
) -> Result<Output> {
    let new = NewSnapshot {
        disk,
        role,
        description: disk,
        created: now()?,
        ..NewSnapshot::default()
    };
    let written = store
        .write(device, &new, &*terminal.progress, &terminal.interrupt)
        .with_context(|| format!("cannot store {disk}"))?;
    Ok(Output::Snapshot {
        disk: disk.to_owned(),
        store: store.dir().to_owned(),
        id: written.id.to_string(),
        blocks: written.blocks,
        new_blocks: written.new_blocks,
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

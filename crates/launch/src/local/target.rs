//! From disks to a machine: volumes are made, the target that was there before goes away, and the
//! new one boots.

use super::volume;
use super::{Error, Hardware, MAX_VOLUMES, Options, Outcome, Volume, VolumeFormat, boot};
use block::BlockRead;
use ondisk::{Interrupt, Progress};
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is launched.
#[derive(Clone, Debug)]
pub struct Target {
    /// The machine, for people and in the directory that keeps it.
    pub name: String,
    /// What it runs on.
    pub hardware: Hardware,
    /// Its disks in their order; the first is booted from.
    pub sources: Vec<Source>,
}

/// What a volume is made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file that QEMU opens as it is. It is never written to; a target that is kept gets a copy
    /// by way of [`Device`](Self::Device), so there it is an error.
    File {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: VolumeFormat,
    },
    /// A disk of any other kind: a snapshot, or an image of another format. Its data is written to a
    /// sparse file.
    Device {
        /// The disk.
        device: Arc<dyn BlockRead>,
        /// The least size of the volume in bytes; it is the disk's otherwise, to whole GiB.
        size: u64,
    },
}

/// Makes the volumes of a target and boots it.
///
/// With [`Options::keep`], the volumes stay in that directory with all that the target wrote, and the
/// target of the same name that was there is replaced. Otherwise nothing stays but the console's log
/// and the screenshot.
///
/// # Errors
/// As [`boot`]'s, and [`Error::Volume`] if a volume cannot be made, [`Error::Place`] if the directory
/// keeps something else.
pub fn launch(
    target: &Target,
    options: &Options,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Outcome, Error> {
    // Before gigabytes are written for nothing.
    target.hardware.check(target.sources.len())?;
    let temporary;
    let place = match &options.keep {
        Some(dir) => Some(Place::claim(dir, target)?),
        None => None,
    };
    let dir = match &place {
        Some(place) => place.dir.as_path(),
        None => {
            temporary = tempfile::Builder::new()
                .prefix("rehost-volumes-")
                .tempdir_in(&options.dir)
                .map_err(|error| Error::io(&options.dir, "make a directory in", error))?;
            temporary.path()
        }
    };
    let mut volumes = Vec::new();
    for (index, source) in target.sources.iter().enumerate() {
        volumes.push(match source {
            Source::File { path, format } if place.is_none() => Volume {
                path: path.clone(),
                format: *format,
                own: false,
            },
            Source::File { path, .. } => {
                return Err(Error::Machine(format!(
                    "{} would be written to; a target that is kept needs a copy",
                    path.display()
                )));
            }
            Source::Device { device, size } => {
                let path = volume_path(dir, index);
                let mut volume = volume::write(&**device, *size, &path, progress, interrupt)?;
                // One that goes away needs no farewell.
                volume.own = place.is_some();
                volume
            }
        });
    }
    boot(
        &target.name,
        target.hardware,
        &volumes,
        options,
        progress,
        interrupt,
    )
}

/// `index` counts from 0, people from 1.
fn volume_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("disk{}.raw", index.saturating_add(1)))
}

/// A directory that keeps a target, and nobody else uses.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    _lock: File,
}

/// What a directory says about the target in it.
#[derive(Debug, Deserialize, Serialize)]
struct State {
    /// [`FORMAT`].
    format: u32,
    machine: String,
    /// As many volumes may be there; some are not if making them was interrupted.
    volumes: usize,
}

const STATE: &str = "target.json";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;
/// Bytes of a state that are read.
const MAX_STATE: u64 = 1 << 16;

impl Place {
    /// Takes the directory over for a target, and removes the volumes of the one that was there.
    fn claim(dir: &Path, target: &Target) -> Result<Self, Error> {
        let refuse = |why: String| Error::Place {
            dir: dir.to_owned(),
            why,
        };
        std::fs::create_dir_all(dir).map_err(|error| Error::io(dir, "make", error))?;
        let state = dir.join(STATE);
        if !state.exists() && !is_empty(dir)? {
            let why = "it holds something else than a target; name another directory";
            return Err(refuse(why.to_owned()));
        }
        let lock = dir.join(LOCK);
        let lock_file = File::create(&lock).map_err(|error| Error::io(&lock, "create", error))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refuse("another rehost runs the target in it".to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&lock, "lock", error)),
        }
        if let Some(earlier) = State::read(&state)? {
            if earlier.machine != target.name {
                let why = format!(
                    "it keeps the target {}, not {}; name another directory",
                    earlier.machine, target.name
                );
                return Err(refuse(why));
            }
            for index in 0..earlier.volumes.min(MAX_VOLUMES) {
                let path = volume_path(dir, index);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(Error::io(&path, "remove", error));
                    }
                    _ => {}
                }
            }
        }
        let now = State {
            format: FORMAT,
            machine: target.name.clone(),
            volumes: target.sources.len(),
        };
        let text = serde_json::to_vec_pretty(&now)
            .map_err(|error| Error::io(&state, "write", error.into()))?;
        std::fs::write(&state, text).map_err(|error| Error::io(&state, "write", error))?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock_file,
        })
    }
}

/// Whether nothing is there but a lock, which a run leaves that was killed in its first moment.
fn is_empty(dir: &Path) -> Result<bool, Error> {
    let failed = |error| Error::io(dir, "list", error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        if entry.map_err(failed)?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

impl State {
    fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error| Error::io(path, "read", error);
        match std::fs::metadata(path) {
            Ok(meta) if meta.len() <= MAX_STATE => {}
            Ok(_) => return Err(failed(ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let text = std::fs::read(path).map_err(failed)?;
        let state: Self = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        if state.format != FORMAT {
            let why = format!(
                "it was written by another version of rehost ({})",
                state.format
            );
            return Err(Error::Place {
                dir: path.to_owned(),
                why,
            });
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, volumes: usize) -> Target {
        let source = Source::File {
            path: "x".into(),
            format: VolumeFormat::Raw,
        };
        Target {
            name: name.to_owned(),
            hardware: Hardware::default(),
            sources: vec![source; volumes],
        }
    }

    #[test]
    fn a_target_replaces_the_one_of_its_name_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("web1");
        let first = Place::claim(&dir, &target("web1", 2)).unwrap();
        for index in 0..3 {
            std::fs::write(volume_path(&dir, index), "x").unwrap();
        }
        let busy = Place::claim(&dir, &target("web1", 1)).unwrap_err();
        assert!(busy.to_string().contains("another rehost"), "{busy}");
        drop(first);
        let other = Place::claim(&dir, &target("db1", 1)).unwrap_err();
        assert!(other.to_string().contains("web1, not db1"), "{other}");
        assert!(volume_path(&dir, 0).exists());
        Place::claim(&dir, &target("web1", 1)).unwrap();
        let there = [0, 1, 2].map(|index| volume_path(&dir, index).exists());
        assert_eq!(
            there,
            [false, false, true],
            "the third was never the target's"
        );
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("thesis.txt"), "x").unwrap();
        let error = Place::claim(temp.path(), &target("web1", 1)).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
        std::fs::write(temp.path().join(STATE), "{}").unwrap();
        let error = Place::claim(temp.path(), &target("web1", 1)).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}

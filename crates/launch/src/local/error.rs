//! Why a target could not be launched at all.

use ondisk::Interrupted;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a target could not be launched at all; one that does not come up is no error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no QEMU for the target's architecture.
    #[error("{program} is not installed; install it (Debian: {package}), or say where it is")]
    NoQemu {
        /// The program that was looked for.
        program: PathBuf,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// There is no UEFI firmware for the target's architecture.
    #[error("no UEFI firmware was found; install it (Debian: {package})")]
    NoFirmware {
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// QEMU ended before the machine ran.
    #[error("{} does not start: {said}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The end of what it said.
        said: String,
    },
    /// KVM was asked for.
    #[error("KVM does not run a machine here: {0}; let it be emulated instead")]
    NoKvm(String),
    /// No such machine can be built.
    #[error("{0}")]
    Machine(String),
    /// A directory is not one for the volumes of this target.
    #[error("{}: {why}", dir.display())]
    Place {
        /// The directory.
        dir: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// A volume could not be written.
    #[error("cannot write the volume {}", path.display())]
    Volume {
        /// The volume.
        path: PathBuf,
        /// What failed.
        source: image::Error,
    },
    /// The host failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file, directory or program.
        path: PathBuf,
        /// What was done with it.
        action: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// Somebody asked for the end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Error {
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }
}

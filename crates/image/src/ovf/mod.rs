//! Packages of a machine with its disks (DMTF DSP0243): an OVF descriptor beside its files, or a tar
//! archive of them, which is an OVA.
//!
//! Members of archives are read in place. What the descriptor names is looked up among the members,
//! or, beside the descriptor, as far as the gate allows.

mod archive;
mod blank;
mod envelope;
mod error;
mod gzip;
mod hardware;
mod manifest;
mod package;
mod pax;
mod raw;
mod size;

pub(crate) use archive::{Archive, is_recognised as is_tar};
pub(crate) use error::{Damage, Feature};
pub(crate) use manifest::{Check, run as verify};
pub(crate) use package::{Package, named};
pub use size::MachineSize;

use crate::Error;
use crate::file::ImageFile;
use crate::spool::STANDARD_INPUT;
use ondisk::width::usize_of;
use std::fmt;
use std::path::Path;

/// What holds disks besides saying what machine they are of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Container {
    /// A tar archive with an OVF descriptor.
    Ova,
    /// An OVF descriptor, with its files beside it.
    Ovf,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ova => "an OVA",
            Self::Ovf => "an OVF descriptor",
        })
    }
}

/// Says whether a file holds disks, instead of being one: by its content. The standard input is not
/// looked at, [`crate::open_all`] does that.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is a damaged archive.
pub fn container(path: &Path) -> Result<Option<Container>, Error> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(None);
    }
    container_of(&ImageFile::open(path)?, false)
}

/// Bytes looked at for the root of a descriptor: more than comments before it have.
const HEAD: u64 = 64 << 10;

/// As [`container`]; where damage may pass, a tar that is cut off may be one.
pub(crate) fn container_of(file: &ImageFile, salvage: bool) -> Result<Option<Container>, Error> {
    let mut head = vec![0; usize_of(HEAD.min(file.len()))];
    file.read_exact(0, &mut head)?;
    if envelope::is_recognised(&head) {
        return Ok(Some(Container::Ovf));
    }
    if !is_tar(&head) {
        return Ok(None);
    }
    let archive = Archive::read(file.part(file.path().to_owned(), 0, file.len())?, salvage)?;
    let is_ova = archive.names().any(package::is_descriptor);
    Ok(is_ova.then_some(Container::Ova))
}

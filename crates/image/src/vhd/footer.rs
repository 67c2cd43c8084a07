//! The footer: what kind of disk this is, and how large.

use super::error::{Damage, Feature};
use super::geometry;
use super::raw::{self, FOOTER, OLD_FOOTER, SECTOR};
use crate::Error;
use crate::content_id::ContentId;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use std::fmt;
use zerocopy::FromBytes;

/// A footer whose every field can be used.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    /// Bytes of the disk.
    pub(super) size: u64,
    pub(super) sized_by_geometry: bool,
    /// Position of the dynamic disk header, if there is one.
    pub(super) data_offset: u64,
    pub(super) unique_id: [u8; 16],
    /// The program that made the image, and its version.
    pub(super) creator: String,
    /// Whether the machine was saved: then its memory belongs to the disk.
    pub(super) saved_state: bool,
    /// Where the footer stands.
    pub(super) place: Place,
}

/// What an image holds of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
            Self::Differencing => "differencing",
        })
    }
}

/// Which of the two footers is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The one at the end, which begins at this byte.
    End(u64),
    /// The copy at the beginning: that at the end is lost.
    Copy,
}

/// Whether a file begins or ends with the mark of a footer.
pub(super) fn is_recognised(file: &ImageFile, head: &[u8]) -> Result<bool, Error> {
    Ok(head.starts_with(&raw::COOKIE) || end_of(file)?.is_some())
}

/// Where the footer at the end begins, if there is one.
fn end_of(file: &ImageFile) -> Result<Option<u64>, Error> {
    for len in [FOOTER, OLD_FOOTER] {
        if let Some(at) = file.len().checked_sub(len) {
            let mut cookie = [0; 8];
            file.read_exact(at, &mut cookie)?;
            if cookie == raw::COOKIE {
                return Ok(Some(at));
            }
        }
    }
    Ok(None)
}

/// What stands at a place where a footer may be: none, one, or one with a wrong checksum.
fn candidate(file: &ImageFile, at: u64) -> Result<Option<Result<raw::Footer, Error>>, Error> {
    let mut bytes = [0; 512];
    // Old footers lack their last byte, which is reserved and zero.
    let len = file.read_up_to(at, &mut bytes)?;
    let raw = raw::Footer::read_from_bytes(&bytes)
        // The buffer has the size of the structure.
        .expect("sizes agree");
    if len < 511 || raw.cookie != raw::COOKIE {
        return Ok(None);
    }
    let (stored, computed) = (raw.checksum.get(), raw.sum());
    if stored == computed {
        return Ok(Some(Ok(raw)));
    }
    let damage = Damage::Checksum {
        what: "footer",
        at,
        stored,
        computed,
    };
    Ok(Some(Err(Error::corrupt(file.path(), damage))))
}

impl Footer {
    /// Reads the footer, or its copy where it is lost; two that contradict each other are an error.
    pub(super) fn read(file: &ImageFile) -> Result<Self, Error> {
        let end = end_of(file)?;
        let last = match end {
            Some(at) => candidate(file, at)?.map(|found| (at, found)),
            None => None,
        };
        let copy = match end {
            // There is nothing before it that could be a copy.
            Some(0) => None,
            _ => candidate(file, 0)?,
        };
        match (last, copy) {
            (Some((at, Ok(last))), Some(Ok(copy))) => {
                check_same(file, at, &last, &copy)?;
                Self::new(file, &last, Place::End(at))
            }
            // What a fixed disk begins with is its own matter, and a damaged copy is not needed.
            (Some((at, Ok(last))), _) => Self::new(file, &last, Place::End(at)),
            (_, Some(Ok(copy))) if copy.disk_type.get() != raw::FIXED => {
                Self::new(file, &copy, Place::Copy)
            }
            (Some((_, Err(error))), _) | (None, Some(Err(error))) => Err(error),
            (None, Some(Ok(_))) => Err(Error::corrupt(file.path(), Damage::NoFixedFooter)),
            (None, None) => Err(Error::corrupt(file.path(), Damage::NoFooter)),
        }
    }

    fn new(file: &ImageFile, raw: &raw::Footer, place: Place) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        check_version(file, "footer", raw.file_format_version.get())?;
        let kind = match raw.disk_type.get() {
            raw::FIXED => Kind::Fixed,
            raw::DYNAMIC => Kind::Dynamic,
            raw::DIFFERENCING => Kind::Differencing,
            other => return Err(corrupt(Damage::DiskType(other))),
        };
        let maker = String::from_utf8_lossy(&raw.creator_application);
        let maker = maker.trim_end_matches(['\0', ' ']);
        let current_size = raw.current_size.get();
        let sized_by_geometry = geometry::decides(raw.creator_application, raw.disk_geometry);
        let size = if sized_by_geometry {
            geometry::bytes(raw.disk_geometry)
        } else {
            current_size
        };
        if !size.is_multiple_of(SECTOR) {
            return Err(corrupt(Damage::CurrentSize(size)));
        }
        if size == 0 && current_size > 0 {
            return Err(corrupt(Damage::NoGeometry(maker.to_owned())));
        }
        let version = raw.creator_version.get();
        Ok(Self {
            kind,
            size,
            sized_by_geometry,
            data_offset: raw.data_offset.get(),
            unique_id: raw.unique_id,
            creator: format!("{maker} {}.{}", version >> 16, version & 0xffff),
            saved_state: raw.saved_state != 0,
            place,
        })
    }
}

/// Checks that a footer and its copy agree in what readers rely on. Other fields may differ: some
/// writers change, for instance, a flag in the footer only.
fn check_same(
    file: &ImageFile,
    at: u64,
    footer: &raw::Footer,
    copy: &raw::Footer,
) -> Result<(), Error> {
    type Show = fn(&raw::Footer) -> String;
    let fields: [(&str, Show); 6] = [
        ("disk_type", |raw| raw.disk_type.get().to_string()),
        ("current_size", |raw| raw.current_size.get().to_string()),
        ("unique_id", |raw| ContentId::Vhd(raw.unique_id).to_string()),
        ("data_offset", |raw| raw.data_offset.get().to_string()),
        ("disk_geometry", |raw| {
            let geometry = raw.disk_geometry;
            let cylinders = geometry.cylinders.get();
            format!(
                "{cylinders}/{}/{}",
                geometry.heads, geometry.sectors_per_track
            )
        }),
        ("creator_application", |raw| {
            String::from_utf8_lossy(&raw.creator_application).into_owned()
        }),
    ];
    for (field, show) in fields {
        let (footer, copy) = (show(footer), show(copy));
        if footer != copy {
            let damage = Damage::FootersDiffer {
                at,
                field,
                footer,
                copy,
            };
            return Err(Error::corrupt(file.path(), damage));
        }
    }
    Ok(())
}

/// Refuses versions whose major number is not 1.
pub(super) fn check_version(
    file: &ImageFile,
    what: &'static str,
    version: u32,
) -> Result<(), Error> {
    if version >> 16 == raw::VERSION >> 16 {
        return Ok(());
    }
    let feature = AnyFeature::Vhd(Feature::Version { what, version });
    Err(Error::unsupported(file.path(), feature))
}

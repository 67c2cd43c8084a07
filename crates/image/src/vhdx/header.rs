//! The file type identifier and the two headers.

use super::error::{Damage, Feature};
use super::raw::{self, MIB};
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use std::ops::Range;
use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The current header; every field can be used.
#[derive(Debug)]
pub(super) struct Header {
    /// What wrote the file, in its own words.
    pub(super) creator: String,
    /// Changes with the disk's content.
    pub(super) data_write_guid: Uuid,
    /// Bytes of the file that the log occupies, which may be none.
    pub(super) log: Range<u64>,
    /// What entries of the log must have, if it is not empty.
    pub(super) log_guid: Option<Uuid>,
}

impl Header {
    pub(super) fn read(file: &ImageFile) -> Result<Self, Error> {
        let mut identifier = raw::FileTypeIdentifier::new_zeroed();
        file.read_exact(0, identifier.as_mut_bytes())?;
        if identifier.signature != raw::SIGNATURE {
            return Err(Error::corrupt(file.path(), Damage::Signature));
        }
        let [first, second] = raw::HEADERS;
        let raw = match (copy(file, first)?, copy(file, second)?) {
            (None, None) => return Err(Error::corrupt(file.path(), Damage::NoHeader)),
            (Some(header), None) | (None, Some(header)) => header,
            (Some(first), Some(second)) => current(file, first, second)?,
        };
        Self::new(file, &identifier, &raw)
    }

    fn new(
        file: &ImageFile,
        identifier: &raw::FileTypeIdentifier,
        raw: &raw::Header,
    ) -> Result<Self, Error> {
        let unsupported = |feature| Error::unsupported(file.path(), AnyFeature::Vhdx(feature));
        if raw.version.get() != 1 {
            return Err(unsupported(Feature::Version(raw.version.get())));
        }
        let log_guid = Some(raw.log_guid.uuid()).filter(|guid| !guid.is_nil());
        // The version of a log that is not looked at says nothing.
        if log_guid.is_some() && raw.log_version.get() != 0 {
            return Err(unsupported(Feature::LogVersion(raw.log_version.get())));
        }
        let (offset, length) = (raw.log_offset.get(), u64::from(raw.log_length.get()));
        Ok(Self {
            creator: creator(identifier),
            data_write_guid: raw.data_write_guid.uuid(),
            log: log_place(offset, length)
                .ok_or_else(|| Error::corrupt(file.path(), Damage::LogPlace { offset, length }))?,
            log_guid,
        })
    }
}

/// The header at a position, if it is sound.
fn copy(file: &ImageFile, at: u64) -> Result<Option<raw::Header>, Error> {
    let mut bytes = [0; size_of::<raw::Header>()];
    file.read_exact(at, &mut bytes)?;
    let header = raw::Header::read_from_bytes(&bytes)
        // The buffer has the size of the structure.
        .expect("sizes agree");
    let sound =
        header.signature == raw::SIGNATURE_HEADER && checksum(&mut bytes) == header.checksum.get();
    Ok(sound.then_some(header))
}

/// Which of two sound headers is in force: the later one.
fn current(
    file: &ImageFile,
    first: raw::Header,
    second: raw::Header,
) -> Result<raw::Header, Error> {
    let (one, other) = (first.sequence_number.get(), second.sequence_number.get());
    if one == other && first != second {
        return Err(Error::corrupt(file.path(), Damage::EqualHeaders(one)));
    }
    // Some writers store the same header twice, which leaves no doubt.
    Ok(if one < other { second } else { first })
}

/// The checksum of a structure whose own checksum field does not count.
pub(super) fn checksum(bytes: &mut [u8]) -> u32 {
    if let Some(field) = bytes.get_mut(raw::CHECKSUM) {
        field.fill(0);
    }
    crc32c::crc32c(bytes)
}

fn log_place(offset: u64, length: u64) -> Option<Range<u64>> {
    if length == 0 {
        return Some(0..0);
    }
    let aligned = offset.is_multiple_of(MIB) && length.is_multiple_of(MIB);
    let end = offset.checked_add(length)?;
    (aligned && offset >= MIB).then_some(offset..end)
}

fn creator(identifier: &raw::FileTypeIdentifier) -> String {
    let units = identifier.creator.iter().map(|unit| unit.get());
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
        // It is shown to people, whose terminals obey control characters.
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

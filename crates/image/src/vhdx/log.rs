//! The log: changes that may not have reached their places yet.
//!
//! It is never written to: what a replay would do to the file is kept as [`Patches`].

use super::error::Damage;
use super::header::Header;
use super::raw::{self, LOG_SECTOR, LogDataSector, LogDescriptor, LogEntryHeader};
use super::view::Patches;
use crate::Error;
use crate::file::ImageFile;
use ondisk::cap;
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use uuid::Uuid;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// What a replay would do.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) patches: Patches,
    /// Bytes that the file has at least afterwards.
    pub(super) len: u64,
    /// Entries that were replayed.
    pub(super) entries: usize,
}

/// Most bytes of a log that is replayed; writers make it 1 MiB.
const MAX_LOG: u64 = 256 << 20;
/// Most ranges that a log may change: a log of usual size has room for some ten thousand.
const MAX_PATCHES: u64 = 1 << 20;
/// Entries are padded to the host's sectors, which have this many bytes at most.
const MAX_ALIGNMENT: u64 = 64 << 10;
/// Descriptors in the first sector of an entry, which begins with its header, and in others.
const FIRST_DESCRIPTORS: u64 = 126;
const DESCRIPTORS: u64 = 128;

/// What the log of a file, if it has to be replayed, changes.
pub(super) fn replay(file: &ImageFile, header: &Header) -> Result<Option<Replay>, Error> {
    let Some(guid) = header.log_guid else {
        return Ok(None);
    };
    let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
    let length = header.log.end.saturating_sub(header.log.start);
    cap::length("LogLength", length, MAX_LOG).map_err(|e| Error::corrupt(file.path(), e))?;
    let length = NonZeroU64::new(length).ok_or_else(|| corrupt(Damage::LogWithoutSequence))?;
    let log = Log {
        file,
        offset: header.log.start,
        length,
        guid,
    };
    let sequence = log.active_sequence()?;
    let head = sequence
        .last()
        .ok_or_else(|| corrupt(Damage::LogWithoutSequence))?;
    if head.flushed_file_offset > file.len() {
        return Err(corrupt(Damage::LogOfLongerFile {
            len: file.len(),
            flushed: head.flushed_file_offset,
        }));
    }
    let mut patches = Patches::default();
    let outstanding = sequence.iter().skip_while(|entry| entry.at != head.tail);
    let mut entries = 0_usize;
    for entry in outstanding {
        log.apply(entry, &mut patches)?;
        entries = entries.saturating_add(1);
    }
    Ok(Some(Replay {
        patches,
        len: head.last_file_offset,
        entries,
    }))
}

/// A ring of sectors.
struct Log<'f> {
    file: &'f ImageFile,
    offset: u64,
    length: NonZeroU64,
    guid: Uuid,
}

/// A sound entry. Positions are bytes of the log.
#[derive(Clone, Debug)]
struct Entry {
    at: u64,
    length: u64,
    /// The first entry that was still needed when this one was written.
    tail: u64,
    sequence_number: u64,
    descriptors: u64,
    flushed_file_offset: u64,
    last_file_offset: u64,
}

impl Log<'_> {
    /// The entries that count, oldest first; none if there is no such sequence.
    ///
    /// Sequences are runs of sound entries whose numbers ascend by one. One counts if the entry
    /// that its last one calls the tail is in it; of several the latest is active.
    fn active_sequence(&self) -> Result<Vec<Entry>, Error> {
        let mut active: Vec<Entry> = Vec::new();
        let mut start = 0_u64;
        while start < self.length.get() {
            let sequence = self.sequence(start)?;
            let Some(head) = sequence.last() else {
                start = start.saturating_add(LOG_SECTOR);
                continue;
            };
            // No sequence begins inside of a sound entry, whose sectors all have other marks, and
            // one that begins with a later entry of this one ends as it does.
            let covered = sequence.iter().map(|entry| entry.length);
            start = covered.fold(start, u64::saturating_add);
            let counts = sequence.iter().any(|entry| entry.at == head.tail);
            let newest = active.last().map(|entry| entry.sequence_number);
            if counts && newest < Some(head.sequence_number) {
                active = sequence;
            }
        }
        Ok(active)
    }

    /// The longest sequence that begins at a position.
    fn sequence(&self, start: u64) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut at, mut covered) = (start, 0_u64);
        while let Some(entry) = self.entry(at)? {
            covered = covered.saturating_add(entry.length);
            let follows = entries.last().is_none_or(|last| {
                last.sequence_number.checked_add(1) == Some(entry.sequence_number)
            });
            if !follows || covered > self.length.get() {
                break;
            }
            at = self.wrapped(at.saturating_add(entry.length));
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The entry at a position, if it is sound.
    fn entry(&self, at: u64) -> Result<Option<Entry>, Error> {
        let mut header = LogEntryHeader::new_zeroed();
        self.read(at, header.as_mut_bytes())?;
        let length = u64::from(header.entry_length.get());
        let tail = u64::from(header.tail.get());
        let descriptors = u64::from(header.descriptor_count.get());
        let plausible = header.signature == raw::SIGNATURE_LOG_ENTRY
            && header.log_guid.uuid() == self.guid
            && header.sequence_number.get() > 0
            && length > 0
            && length <= self.length.get()
            && length.is_multiple_of(LOG_SECTOR)
            && tail < self.length.get()
            && tail.is_multiple_of(LOG_SECTOR)
            && descriptor_sectors(descriptors).saturating_mul(LOG_SECTOR) <= length;
        let entry = Entry {
            at,
            length,
            tail,
            sequence_number: header.sequence_number.get(),
            descriptors,
            flushed_file_offset: header.flushed_file_offset.get(),
            last_file_offset: header.last_file_offset.get(),
        };
        let sound = plausible && self.is_whole(&entry, header.checksum.get())?;
        Ok(sound.then_some(entry))
    }

    /// Whether all of an entry reached the log.
    fn is_whole(&self, entry: &Entry, checksum: u32) -> Result<bool, Error> {
        let mut data_sectors = 0_u64;
        let described = self.each_descriptor(entry, |descriptor| {
            let sound = match descriptor {
                Descriptor::Data { file_offset, .. } => {
                    data_sectors = data_sectors.saturating_add(1);
                    is_range(file_offset, LOG_SECTOR)
                }
                Descriptor::Zero { file_offset, len } => is_range(file_offset, len),
            };
            Ok(sound)
        })?;
        if !described {
            return Ok(false);
        }
        // That an entry is no longer than its content and padding bounds the work for torn ones.
        let first_data = descriptor_sectors(entry.descriptors);
        let end_of_data = first_data.saturating_add(data_sectors);
        let needed = end_of_data.saturating_mul(LOG_SECTOR);
        if entry.length < needed || entry.length > needed.next_multiple_of(MAX_ALIGNMENT) {
            return Ok(false);
        }
        let (mut crc, mut at) = (0, entry.at);
        for number in 0..(entry.length / LOG_SECTOR) {
            let mut sector = [0; usize_of(LOG_SECTOR)];
            self.read(at, &mut sector)?;
            if number == 0 {
                sector[raw::CHECKSUM].fill(0);
            }
            if (first_data..end_of_data).contains(&number)
                && !is_data_sector(&sector, entry.sequence_number)
            {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, &sector);
            at = self.wrapped(at.saturating_add(LOG_SECTOR));
        }
        Ok(crc == checksum)
    }

    /// Adds what an entry changes.
    fn apply(&self, entry: &Entry, patches: &mut Patches) -> Result<(), Error> {
        let mut at = descriptor_sectors(entry.descriptors)
            .saturating_mul(LOG_SECTOR)
            .saturating_add(entry.at);
        self.each_descriptor(entry, |descriptor| {
            match descriptor {
                Descriptor::Data {
                    file_offset,
                    leading,
                    trailing,
                } => {
                    let sector = self.offset.saturating_add(self.wrapped(at));
                    patches.sector(file_offset, sector, leading, trailing);
                    at = at.saturating_add(LOG_SECTOR);
                }
                Descriptor::Zero { file_offset, len } => {
                    patches.zero(file_offset, file_offset.saturating_add(len));
                }
            }
            cap::length(
                "the number of ranges that the log changes",
                u64_of(patches.len()),
                MAX_PATCHES,
            )
            .map_err(|e| Error::corrupt(self.file.path(), e))?;
            Ok(true)
        })?;
        Ok(())
    }

    /// Shows the descriptors of an entry until one is said to be wrong or is; whether none was.
    fn each_descriptor(
        &self,
        entry: &Entry,
        mut show: impl FnMut(Descriptor) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let (mut at, mut left) = (entry.at, entry.descriptors);
        let mut header = size_of::<LogEntryHeader>();
        while left > 0 {
            let mut sector = [0; usize_of(LOG_SECTOR)];
            self.read(at, &mut sector)?;
            let (descriptors, _) = sector[header..].as_chunks::<{ size_of::<LogDescriptor>() }>();
            for bytes in descriptors.iter().take(usize_of(left)) {
                match Descriptor::parse(bytes, entry.sequence_number) {
                    Some(descriptor) if show(descriptor)? => {}
                    _ => return Ok(false),
                }
            }
            left = left.saturating_sub(u64_of(descriptors.len()));
            at = self.wrapped(at.saturating_add(LOG_SECTOR));
            header = 0;
        }
        Ok(true)
    }

    /// Reads inside one sector of the log.
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(self.offset.saturating_add(at), buf)
    }

    /// A position that may be behind the end of the ring.
    fn wrapped(&self, at: u64) -> u64 {
        at % self.length
    }
}

/// What one descriptor changes.
#[derive(Clone, Copy, Debug)]
enum Descriptor {
    Data {
        file_offset: u64,
        leading: [u8; 8],
        trailing: [u8; 4],
    },
    Zero {
        file_offset: u64,
        len: u64,
    },
}

impl Descriptor {
    fn parse(bytes: &[u8; 32], sequence_number: u64) -> Option<Self> {
        let raw = LogDescriptor::read_from_bytes(bytes)
            // The array has the size of the structure.
            .expect("sizes agree");
        if raw.sequence_number.get() != sequence_number {
            return None;
        }
        let file_offset = raw.file_offset.get();
        match raw.signature {
            raw::SIGNATURE_LOG_DATA => Some(Self::Data {
                file_offset,
                leading: raw.leading_bytes,
                trailing: raw.trailing_bytes,
            }),
            raw::SIGNATURE_LOG_ZERO => Some(Self::Zero {
                file_offset,
                len: u64::from_le_bytes(raw.leading_bytes),
            }),
            _ => None,
        }
    }
}

/// Whether a range is one of whole sectors whose end can be counted.
fn is_range(offset: u64, len: u64) -> bool {
    offset.is_multiple_of(LOG_SECTOR)
        && len.is_multiple_of(LOG_SECTOR)
        && offset.checked_add(len).is_some()
}

/// Sectors that the header and the descriptors of an entry take.
fn descriptor_sectors(descriptors: u64) -> u64 {
    descriptors
        .saturating_sub(FIRST_DESCRIPTORS)
        .div_ceil(DESCRIPTORS)
        .saturating_add(1)
}

/// Whether a sector has the marks of one that a data descriptor describes.
fn is_data_sector(bytes: &[u8; 4096], sequence_number: u64) -> bool {
    let sector = LogDataSector::read_from_bytes(bytes)
        // The array has the size of the structure.
        .expect("sizes agree");
    let number = u64::from(sector.sequence_high.get()).wrapping_shl(32)
        | u64::from(sector.sequence_low.get());
    sector.signature == raw::SIGNATURE_LOG_SECTOR && number == sequence_number
}

//! Quota: records of what a user, project or group uses, and notes that counting was switched off.

use super::transaction::{Item, le16, le32, le64};
use crate::checksum;
use crate::error::{CorruptKind, Error};

/// Types of quota, as bits: users, projects, groups.
const TYPES: u8 = 7;
/// `sb_qflags` and the notes: `XFS_UQUOTA_ACCT`, `XFS_PQUOTA_ACCT`, `XFS_GQUOTA_ACCT`.
const ACCOUNTING: [(u32, u8); 3] = [(0x1, 1), (0x8, 2), (0x40, 4)];
/// `XFS_DQUOT_MAGIC`, "DQ".
const MAGIC: [u8; 2] = *b"DQ";
/// Bytes of `struct xfs_disk_dquot`, and with sum, order number and identifier behind it.
const RECORD: usize = 104;
const PADDED: usize = 136;
const CRC: usize = 108;
const LSN: usize = 112;
/// Where the type lies in a record.
const TYPE: usize = 3;

/// The types that a word of flags is about.
pub(super) fn types(flags: u32) -> u8 {
    let set = ACCOUNTING.iter().filter(|(flag, _)| flags & flag != 0);
    set.fold(0, |types, (_, bit)| types | bit)
}

/// The types that a note says are no longer counted.
pub(super) fn switched_off(item: &Item) -> u8 {
    types(le32(item.description(), 4))
}

/// Whether bytes start with a record of quota.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// A logged record of quota.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotaItem<'i> {
    /// Byte of the volume that the record lies at.
    pub(super) position: u64,
    /// Whose use it is.
    pub(super) types: u8,
    record: &'i [u8],
}

impl<'i> QuotaItem<'i> {
    /// Reads an item.
    ///
    /// # Errors
    /// No record in it, or one of somebody else.
    pub(super) fn parse(item: &'i Item) -> Result<Self, Error> {
        let (description, record) = (item.description(), item.region(1));
        let block = le64(description, 8).saturating_mul(512);
        let position = block.saturating_add(le32(description, 20).into());
        let owner = record.get(4..).and_then(<[u8]>::first_chunk);
        let same = owner.is_some_and(|id| u32::from_be_bytes(*id) == le32(description, 4));
        if record.len() != RECORD || !is_record(record) || !same {
            return Err(damaged(
                position,
                "record in the log",
                le16(record, 0).into(),
            ));
        }
        let types = record.get(TYPE).map_or(0, |types| types & TYPES);
        Ok(Self {
            position,
            types,
            record,
        })
    }

    /// Bytes that the record takes on the volume.
    pub(super) const LEN: usize = PADDED;

    /// Puts the record over `old`, what is there, unless that is newer than `lsn`; says whether it
    /// did.
    ///
    /// # Errors
    /// No record of quota there.
    pub(super) fn replay(&self, old: &mut [u8], lsn: u64, summed: bool) -> Result<bool, Error> {
        if !is_record(old) {
            return Err(damaged(
                self.position,
                "record on the volume",
                le16(old, 0).into(),
            ));
        }
        let written = super::area::be64(old, LSN);
        if summed && written != 0 && written != u64::MAX && written >= lsn {
            return Ok(false);
        }
        if let Some(place) = old.get_mut(..RECORD) {
            place.copy_from_slice(self.record);
        }
        if summed {
            checksum::set(old, CRC);
        }
        Ok(true)
    }
}

fn damaged(position: u64, field: &'static str, value: u64) -> Error {
    CorruptKind::Field {
        what: "quota",
        position,
        field,
        value,
        expected: "a record that starts with DQ, of its owner",
    }
    .into()
}

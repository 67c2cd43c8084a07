//! Records: what the log is written in. One is a header, with more headers for what lies beyond
//! 32 KiB, and data, in each of whose blocks the first word gave way to the cycle number.

use super::area::{BLOCK, HEADER_MAGIC, LogArea, be32, be64, blocks_of, corrupt};
use crate::checksum;
use crate::error::{Error, UnsupportedKind};
use ondisk::width::usize_of_u32;

/// Data that one header keeps the words of, `XLOG_HEADER_CYCLE_SIZE`.
pub(super) const HEADER_COVERS: u32 = 32 * 1024;
/// The largest record, `XLOG_MAX_RECORD_BSIZE`.
const MAX_RECORD: u32 = 256 * 1024;

/// Where fields of `struct xlog_rec_header` lie.
pub(super) mod field {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const CYCLE: usize = 4;
    pub(in super::super) const VERSION: usize = 8;
    pub(in super::super) const LEN: usize = 12;
    pub(in super::super) const LSN: usize = 16;
    pub(in super::super) const TAIL_LSN: usize = 24;
    pub(in super::super) const CRC: usize = 32;
    pub(in super::super) const PREV_BLOCK: usize = 36;
    pub(in super::super) const NUM_LOGOPS: usize = 40;
    pub(in super::super) const CYCLE_DATA: usize = 44;
    pub(in super::super) const FMT: usize = 300;
    pub(in super::super) const FS_UUID: usize = 304;
    pub(in super::super) const SIZE: usize = 320;
}

/// Bytes of a header that are summed: `sizeof` on 64-bit machines and on i386, which does not pad.
const SUMMED_HEADER: [usize; 2] = [328, 324];
/// Bytes of a further header that are summed: its cycle and its words.
const SUMMED_EXTENSION: usize = 4 + 4 * WORDS;
/// Words that one header keeps.
const WORDS: usize = 64;
/// `XLOG_FMT_LINUX_LE`: items are in the byte order of a little-endian machine.
pub(super) const FMT_LINUX_LE: u32 = 1;

/// The header of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RecordHeader {
    pub(super) block: u32,
    pub(super) cycle: u32,
    version: u32,
    /// Bytes of data.
    pub(super) len: u32,
    /// Its place in the order of things: the cycle above the block.
    pub(super) lsn: u64,
    /// The oldest record that was still needed when this one was written.
    pub(super) tail_lsn: u64,
    crc: u32,
    /// Operations in the data.
    pub(super) operations: u32,
    format: u32,
    uuid: [u8; 16],
    /// Bytes of the buffer that the record was written from, with headers; 0 in old logs.
    size: u32,
}

impl RecordHeader {
    /// Reads the fields of the block at `block`, whatever they are.
    pub(super) fn parse(block: u32, bytes: &[u8]) -> Self {
        let uuid = bytes.get(field::FS_UUID..).and_then(<[u8]>::first_chunk);
        let crc = bytes.get(field::CRC..).and_then(<[u8]>::first_chunk);
        Self {
            block,
            cycle: be32(bytes, field::CYCLE),
            version: be32(bytes, field::VERSION),
            len: be32(bytes, field::LEN),
            lsn: be64(bytes, field::LSN),
            tail_lsn: be64(bytes, field::TAIL_LSN),
            crc: crc.map_or(0, |crc| u32::from_le_bytes(*crc)),
            operations: be32(bytes, field::NUM_LOGOPS),
            format: be32(bytes, field::FMT),
            uuid: uuid.copied().unwrap_or_default(),
            size: be32(bytes, field::SIZE),
        }
    }

    /// Blocks of headers.
    pub(super) fn header_blocks(&self, area: &LogArea) -> u32 {
        if area.version2 && self.version & 2 != 0 && self.size > HEADER_COVERS {
            self.size.min(MAX_RECORD).div_ceil(HEADER_COVERS)
        } else {
            1
        }
    }

    /// Blocks of headers and data.
    pub(super) fn blocks(&self, area: &LogArea) -> u64 {
        u64::from(self.header_blocks(area)).saturating_add(blocks_of(self.len).into())
    }

    /// Checks that the record is one of this file system, or of IRIX, which wrote no identifier.
    ///
    /// # Errors
    /// Another identifier.
    pub(super) fn check_owner(&self, area: &LogArea) -> Result<(), Error> {
        if self.uuid == [0; 16] || self.uuid == area.uuid {
            return Ok(());
        }
        let reason = "the record is of another file system, whose identifier starts with";
        Err(corrupt(self.block, reason, be64(&self.uuid, 0)))
    }

    /// Checks that the sizes are ones that a record can have.
    ///
    /// # Errors
    /// Other versions than the superblock's, no data, too much of it.
    pub(super) fn check(&self, area: &LogArea) -> Result<(), Error> {
        let version = if area.version2 { 2 } else { 1 };
        if self.version != version {
            let reason = "the version of the record is not the superblock's";
            return Err(corrupt(self.block, reason, self.version.into()));
        }
        let most = if area.version2 {
            MAX_RECORD
        } else {
            HEADER_COVERS
        };
        // What one header cannot keep the words of would come out wrong.
        let kept = self.header_blocks(area).saturating_mul(HEADER_COVERS);
        if self.len == 0 || self.len > most.min(kept) {
            let reason = "the record's length in bytes is not possible";
            return Err(corrupt(self.block, reason, self.len.into()));
        }
        Ok(())
    }

    /// Checks that the items are in an order of bytes that is replayed here.
    ///
    /// # Errors
    /// [`Unsupported`](Error::Unsupported) for logs of big-endian machines, and what
    /// [`check_owner`](Self::check_owner) meets.
    pub(super) fn check_replayable(&self, area: &LogArea) -> Result<(), Error> {
        if self.format != FMT_LINUX_LE {
            let what = "replaying a log that a big-endian machine or IRIX wrote";
            return Err(UnsupportedKind::Other(what).into());
        }
        if self.uuid != area.uuid {
            self.check_owner(area)?;
            let what = "replaying a log without the identifier of its file system";
            return Err(UnsupportedKind::Other(what).into());
        }
        Ok(())
    }
}

/// A record as read, words still in the headers.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) header: RecordHeader,
    headers: Vec<u8>,
    data: Vec<u8>,
}

impl Record {
    /// Reads the record at `block`.
    ///
    /// # Errors
    /// No record there, and what [`RecordHeader::check`] meets.
    pub(super) fn read(area: &LogArea, block: u32) -> Result<Self, Error> {
        let first = area.read(block, 1)?;
        if be32(&first, field::MAGIC) != HEADER_MAGIC {
            let reason = "no record starts here";
            return Err(corrupt(block, reason, be32(&first, 0).into()));
        }
        let header = RecordHeader::parse(block, &first);
        header.check(area)?;
        let header_blocks = header.header_blocks(area);
        let data_at = area.wrap(u64::from(block).saturating_add(header_blocks.into()));
        let data_blocks = blocks_of(header.len);
        if u64::from(header_blocks.saturating_add(data_blocks)) > u64::from(area.blocks) {
            let reason = "the record is larger than the log";
            return Err(corrupt(block, reason, header.len.into()));
        }
        Ok(Self {
            headers: area.read(block, header_blocks)?,
            data: area.read(data_at, data_blocks)?,
            header,
        })
    }

    /// Whether the sum is right, or there is none: mkfs and kernels before 3.8 write none.
    pub(super) fn sum_holds(&self) -> bool {
        let (crc, len) = (self.header.crc, self.header.len);
        let sums = SUMMED_HEADER.iter();
        let mut sums = sums.map(|summed| sum(&self.headers, &self.data, len, *summed));
        crc == 0 || sums.any(|sum| sum == crc)
    }

    /// The data with the words put back.
    ///
    /// # Errors
    /// With version 5 of the file system, a sum that is missing or wrong.
    pub(super) fn unpack(mut self, area: &LogArea) -> Result<(RecordHeader, Vec<u8>), Error> {
        // Without the sum, what was torn cannot be told; version 4 never told it.
        if area.summed && (self.header.crc == 0 || !self.sum_holds()) {
            let reason = "the sum of the record is not";
            return Err(corrupt(self.header.block, reason, self.header.crc.into()));
        }
        for (index, block) in self.data.chunks_mut(BLOCK).enumerate() {
            let (Some(word), Some(place)) =
                (word(&self.headers, index), block.first_chunk_mut::<4>())
            else {
                break;
            };
            *place = word;
        }
        self.data.truncate(usize_of_u32(self.header.len));
        Ok((self.header, self.data))
    }
}

/// The sum of a record of `len` bytes of data, where a header has `summed` bytes.
fn sum(headers: &[u8], data: &[u8], len: u32, summed: usize) -> u32 {
    let head = headers.get(..summed).unwrap_or(headers);
    let mut sum = checksum::compute(head, field::CRC);
    let used = usize_of_u32(len.div_ceil(HEADER_COVERS));
    for extension in headers.chunks(BLOCK).take(used).skip(1) {
        let extension = extension.get(..SUMMED_EXTENSION).unwrap_or(extension);
        sum = crc32c::crc32c_append(sum, extension);
    }
    crc32c::crc32c_append(sum, data.get(..usize_of_u32(len)).unwrap_or(data))
}

/// The word that belongs to block `index` of the data.
fn word(headers: &[u8], index: usize) -> Option<[u8; 4]> {
    let header = headers.chunks(BLOCK).nth(index.checked_div(WORDS)?)?;
    let start = if index < WORDS { field::CYCLE_DATA } else { 4 };
    let at = index
        .checked_rem(WORDS)?
        .saturating_mul(4)
        .saturating_add(start);
    header.get(at..)?.first_chunk().copied()
}

/// Puts cycle numbers into the blocks of a record that is to be written, keeps the words they
/// replace in its headers, and sums it if `summed`. `bytes` is one header block per 32 KiB, then
/// data, as [`RecordHeader::parse`] reads them; `wrapped` is the block of them that lies at the
/// start of the log, if one does.
pub(super) fn seal(bytes: &mut [u8], cycle: u32, wrapped: Option<usize>, summed: bool) {
    let header = RecordHeader::parse(0, bytes);
    let header_blocks = usize_of_u32(header.size.max(1).div_ceil(HEADER_COVERS)).max(1);
    let cycle_of = |index: usize| match wrapped {
        Some(wrapped) if index >= wrapped => super::head::next_cycle(cycle),
        _ => cycle,
    };
    let (headers, data) = bytes.split_at_mut(header_blocks.saturating_mul(BLOCK).min(bytes.len()));
    for (index, block) in data.chunks_mut(BLOCK).enumerate() {
        let header = headers
            .chunks_mut(BLOCK)
            .nth(index.checked_div(WORDS).unwrap_or(0));
        let start = if index < WORDS { field::CYCLE_DATA } else { 4 };
        let at = index
            .checked_rem(WORDS)
            .unwrap_or(0)
            .saturating_mul(4)
            .saturating_add(start);
        let kept = header.and_then(|header| header.get_mut(at..)?.first_chunk_mut::<4>());
        if let (Some(kept), Some(word)) = (kept, block.first_chunk_mut::<4>()) {
            *kept = *word;
            *word = cycle_of(index.saturating_add(header_blocks)).to_be_bytes();
        }
    }
    for (index, extension) in headers.chunks_mut(BLOCK).enumerate().skip(1) {
        if let Some(word) = extension.first_chunk_mut::<4>() {
            *word = cycle_of(index).to_be_bytes();
        }
    }
    if !summed {
        return;
    }
    let sum = sum(headers, data, header.len, SUMMED_HEADER[0]);
    if let Some(place) = headers
        .get_mut(field::CRC..)
        .and_then(<[u8]>::first_chunk_mut)
    {
        *place = sum.to_le_bytes();
    }
}

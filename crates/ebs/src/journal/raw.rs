//! The layout of a journal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Digest;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"rehostUP";
const VERSION: u32 = 1;
/// Kinds of records.
pub(super) const PUTTING: u32 = 1;
pub(super) const PUT: u32 = 2;
pub(super) const SEALING: u32 = 3;

/// What a record says.
pub(super) enum Step {
    Putting(u32),
    Put(u32, Digest),
    Sealing,
}

#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 8],
    version: U32,
    pub(super) attempt: U32,
    source: [u8; 32],
    blocks: U32,
    started: U64,
    crc: U32,
}
const _: () = assert!(size_of::<Header>() == 64);

#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Id {
    len: U32,
    text: [u8; 64],
    crc: U32,
}
const _: () = assert!(size_of::<Id>() == 72);

#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Record {
    block: U32,
    kind: U32,
    digest: [u8; 32],
    crc: U32,
}
const _: () = assert!(size_of::<Record>() == 44);

/// The CRC over all but the last four bytes, which hold it.
fn crc_of(bytes: &[u8]) -> U32 {
    let body = bytes
        .split_last_chunk::<4>()
        .map_or(bytes, |(body, _)| body);
    U32::new(crc32c::crc32c(body))
}

fn check_crc(bytes: &[u8], crc: U32) -> Result<(), String> {
    let computed = crc_of(bytes);
    if computed == crc {
        Ok(())
    } else {
        Err(format!(
            "its CRC-32C is {crc:#010x}, its bytes give {computed:#010x}"
        ))
    }
}

impl Header {
    pub(super) fn new(attempt: u32, source: &Digest, blocks: u32, started: u64) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: U32::new(VERSION),
            attempt: U32::new(attempt),
            source: *source,
            blocks: U32::new(blocks),
            started: U64::new(started),
            crc: U32::ZERO,
        };
        header.crc = crc_of(header.as_bytes());
        header
    }

    pub(super) fn parse(bytes: &[u8; 64], source: &Digest, blocks: u32) -> Result<Self, String> {
        let header = Self::read_from_bytes(bytes).map_err(|error| error.to_string())?;
        if header.magic != MAGIC {
            return Err("it is no journal of an upload".to_owned());
        }
        check_crc(bytes, header.crc)?;
        if header.version.get() != VERSION {
            return Err(format!("its version is {}, not {VERSION}", header.version));
        }
        if header.source != *source || header.blocks.get() != blocks {
            return Err("it is the journal of another upload".to_owned());
        }
        Ok(header)
    }

    pub(super) fn started(&self) -> SystemTime {
        let since = Duration::from_secs(self.started.get());
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

impl Id {
    /// Of an id of at most 64 bytes.
    pub(super) fn new(id: &str) -> Self {
        let mut record = Self {
            len: U32::new(u32::try_from(id.len()).unwrap_or(u32::MAX)),
            text: [0; 64],
            crc: U32::ZERO,
        };
        for (to, from) in record.text.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        record.crc = crc_of(record.as_bytes());
        record
    }

    pub(super) fn parse(bytes: &[u8; 72]) -> Result<String, String> {
        let record = Self::read_from_bytes(bytes).map_err(|error| error.to_string())?;
        check_crc(bytes, record.crc)?;
        let len = ondisk::width::usize_of_u32(record.len.get());
        let text = record.text.get(..len);
        let text = text.ok_or_else(|| format!("the id has {len} bytes, at most 64 are allowed"))?;
        String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
    }
}

impl Record {
    pub(super) fn new(block: u32, kind: u32, digest: &Digest) -> Self {
        let mut record = Self {
            block: U32::new(block),
            kind: U32::new(kind),
            digest: *digest,
            crc: U32::ZERO,
        };
        record.crc = crc_of(record.as_bytes());
        record
    }

    /// What the record of a disk of `blocks` blocks says.
    pub(super) fn parse(&self, blocks: u32) -> Result<Step, String> {
        check_crc(self.as_bytes(), self.crc)?;
        let block = self.block.get();
        if block >= blocks {
            return Err(format!(
                "block {block} is beyond the disk of {blocks} blocks"
            ));
        }
        match self.kind.get() {
            PUTTING => Ok(Step::Putting(block)),
            PUT => Ok(Step::Put(block, self.digest)),
            SEALING => Ok(Step::Sealing),
            kind => Err(format!("the kind of the record is {kind}, not 1, 2 or 3")),
        }
    }
}

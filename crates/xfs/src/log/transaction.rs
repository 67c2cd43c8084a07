//! Transactions: operations of records, put together until their commit arrives.

use super::area::corrupt;
use super::record::RecordHeader;
use crate::error::{Error, UnsupportedKind};
use ondisk::Cursor;
use ondisk::width::usize_of_u32;
use std::collections::BTreeMap;

/// `XLOG_START_TRANS`.
const START: u8 = 0x01;
/// `XLOG_COMMIT_TRANS`.
pub(super) const COMMIT: u8 = 0x02;
/// `XLOG_CONTINUE_TRANS`: the region goes on in another operation.
const CONTINUE: u8 = 0x04;
/// `XLOG_WAS_CONT_TRANS`: the region began in another operation.
const WAS_CONTINUED: u8 = 0x08;
/// `XLOG_END_TRANS`.
const END: u8 = 0x10;
/// `XLOG_UNMOUNT_TRANS`.
pub(super) const UNMOUNT: u8 = 0x20;

/// `XFS_TRANSACTION` and `XFS_LOG`: who writes operations.
pub(super) const CLIENTS: [u8; 2] = [0x69, 0xaa];
/// `TRAN`, as a little-endian machine writes it.
const HEADER_MAGIC: u32 = 0x5452_414e;
/// Bytes of `struct xfs_trans_header`.
const HEADER: usize = 16;
/// Regions of one item: each two chunks of a buffer, and the description, `XLOG_MAX_REGIONS_IN_ITEM`.
const MAX_REGIONS: u16 = 257;
/// Bytes of transactions that are open at the same time. The kernel stops filling one at 64 MiB.
const MAX_OPEN: usize = 256 << 20;
/// Bytes that an item or region costs beside its content.
const OVERHEAD: usize = 64;

/// An item of a transaction: a description, then what it describes.
#[derive(Debug, Default)]
pub(super) struct Item {
    regions: Vec<Vec<u8>>,
    /// Regions that the description announces.
    announced: u16,
}

impl Item {
    /// `XFS_LI_*`: what the item is about.
    pub(super) fn kind(&self) -> u16 {
        le16(self.description(), 0)
    }

    /// The first region.
    pub(super) fn description(&self) -> &[u8] {
        self.region(0)
    }

    /// A region; nothing if there are not so many.
    pub(super) fn region(&self, index: usize) -> &[u8] {
        self.regions.get(index).map_or(&[], Vec::as_slice)
    }

    /// The regions behind the description.
    pub(super) fn content(&self) -> impl Iterator<Item = &[u8]> {
        self.regions.iter().skip(1).map(Vec::as_slice)
    }
}

/// A transaction that was committed.
#[derive(Debug)]
pub(super) struct Transaction {
    /// The order number of the record that it began in.
    pub(super) lsn: u64,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Default)]
struct Open {
    lsn: u64,
    header: usize,
    items: Vec<Item>,
    bytes: usize,
}

/// The transactions that began and were not yet committed.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<u32, Open>,
    bytes: usize,
}

impl Transactions {
    /// Takes the operations of a record and gives each transaction that they commit to `committed`.
    ///
    /// # Errors
    /// Operations that leave the record or break the order, and what `committed` says.
    pub(super) fn add(
        &mut self,
        record: &RecordHeader,
        data: &[u8],
        mut committed: impl FnMut(Transaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let damaged = |reason, value: u32| corrupt(record.block, reason, value.into());
        let mut cursor = Cursor::new(data);
        for _ in 0..record.operations {
            if cursor.is_empty() {
                break;
            }
            let short = |_| damaged("an operation leaves its record of bytes", record.len);
            let id = cursor.u32_be().map_err(short)?;
            let len = cursor.u32_be().map_err(short)?;
            let client = cursor.u8().map_err(short)?;
            let flags = cursor.u8().map_err(short)?;
            cursor.skip(2).map_err(short)?;
            if !CLIENTS.contains(&client) {
                return Err(damaged(
                    "an operation is of an unknown client",
                    client.into(),
                ));
            }
            let content = cursor.take(usize_of_u32(len)).map_err(short)?;
            let Some(open) = self.open.get_mut(&id) else {
                // Without a start, it is the rest of a transaction that began before the tail.
                if flags & START != 0 {
                    let lsn = record.lsn;
                    self.open.insert(
                        id,
                        Open {
                            lsn,
                            ..Open::default()
                        },
                    );
                    self.count(record, OVERHEAD)?;
                }
                continue;
            };
            match kind(flags) {
                0 | CONTINUE => {
                    let added = open.begin_region(content).map_err(|(r, v)| damaged(r, v))?;
                    self.count(record, added)?;
                }
                WAS_CONTINUED => {
                    let added = open.go_on(content).map_err(|(r, v)| damaged(r, v))?;
                    self.count(record, added)?;
                }
                COMMIT => {
                    if let Some(open) = self.forget(id) {
                        committed(open.whole(record)?)?;
                    }
                }
                UNMOUNT => {
                    self.forget(id);
                }
                _ => {
                    return Err(damaged(
                        "an operation has flags that do not go together",
                        flags.into(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: u32) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.bytes = self
            .bytes
            .saturating_sub(open.bytes.saturating_add(OVERHEAD));
        Some(open)
    }

    fn count(&mut self, record: &RecordHeader, bytes: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_OPEN {
            return Ok(());
        }
        Err(UnsupportedKind::TooLarge {
            field: "the size of open transactions in the log",
            value: ondisk::width::u64_of(self.bytes).max(record.len.into()),
            cap: ondisk::width::u64_of(MAX_OPEN),
        }
        .into())
    }
}

/// Why an operation cannot be, and the number that is wrong.
type Reason = (&'static str, u32);

impl Open {
    /// Takes a region or the first part of one; says how many bytes are kept for it.
    fn begin_region(&mut self, content: &[u8]) -> Result<usize, Reason> {
        if content.is_empty() {
            return Ok(0);
        }
        if self.header < HEADER {
            if self.header == 0 && le32(content, 0) != HEADER_MAGIC {
                return Err(("a transaction starts with another number", le32(content, 0)));
            }
            return self.header_part(content);
        }
        let full = |item: &Item| item.regions.len() == usize::from(item.announced);
        if self.items.last().is_none_or(full) {
            let announced = le16(content, 2);
            if content.len() < 4 || announced == 0 || announced > MAX_REGIONS {
                let reason = "an item has a number of regions that is not possible";
                return Err((reason, announced.into()));
            }
            self.items.push(Item {
                regions: Vec::new(),
                announced,
            });
        }
        if let Some(item) = self.items.last_mut() {
            item.regions.push(content.to_vec());
        }
        self.keep(content.len().saturating_add(OVERHEAD))
    }

    /// Takes a further part of a region.
    fn go_on(&mut self, content: &[u8]) -> Result<usize, Reason> {
        if self.header < HEADER {
            return self.header_part(content);
        }
        let Some(region) = self
            .items
            .last_mut()
            .and_then(|item| item.regions.last_mut())
        else {
            return Err(("a region goes on that did not begin", 0));
        };
        region.extend_from_slice(content);
        self.keep(content.len())
    }

    /// Takes a part of the transaction's header, of which nothing is needed.
    fn header_part(&mut self, content: &[u8]) -> Result<usize, Reason> {
        self.header = self.header.saturating_add(content.len());
        if self.header > HEADER {
            let len = u32::try_from(self.header).unwrap_or(u32::MAX);
            return Err(("the header of a transaction is too long", len));
        }
        Ok(0)
    }

    fn keep(&mut self, bytes: usize) -> Result<usize, Reason> {
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(bytes)
    }

    fn whole(self, record: &RecordHeader) -> Result<Transaction, Error> {
        if let Some(item) = self.items.last()
            && item.regions.len() != usize::from(item.announced)
        {
            let reason = "a transaction is committed before its last item is whole, of regions";
            return Err(corrupt(record.block, reason, item.announced.into()));
        }
        Ok(Transaction {
            lsn: self.lsn,
            items: self.items,
        })
    }
}

/// What an operation does with its transaction.
fn kind(flags: u8) -> u8 {
    let flags = flags & !END;
    if flags & WAS_CONTINUED != 0 {
        flags & !CONTINUE
    } else {
        flags
    }
}

/// A little-endian number; 0 behind the end.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u16::from_le_bytes(*field))
}

/// A little-endian number; 0 behind the end.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// A little-endian number; 0 behind the end.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

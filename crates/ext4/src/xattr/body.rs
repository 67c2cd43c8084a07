//! Attributes in the inode, behind `i_extra_isize` more bytes of fields.

use super::area::{self, Attribute};
use super::{Format, area::Fault};
use crate::Error;

/// Reads the attributes of an inode; none if it has no room or nothing was ever set.
pub(super) fn parse(format: &Format, raw: &[u8]) -> Result<Vec<Attribute>, Error> {
    let Some((magic, bytes)) = start(raw)
        .and_then(|start| raw.get(start..))
        .and_then(<[u8]>::split_first_chunk::<MAGIC_LEN>)
    else {
        return Ok(Vec::new());
    };
    if *magic != MAGIC {
        return Ok(Vec::new());
    }
    area::parse(bytes, 0)
        .map_err(|Fault { at, reason, value }| format.corrupt("in the inode", at, reason, value))
}

/// Bytes for attributes behind the magic number.
pub(super) fn room(raw: &[u8]) -> usize {
    let start = start(raw).map_or(raw.len(), |start| start.saturating_add(MAGIC_LEN));
    raw.len().saturating_sub(start)
}

/// Writes the attributes, which must fit.
pub(super) fn write(attributes: &[Attribute], raw: &mut [u8]) {
    let Some(start) = start(raw) else { return };
    let Some((magic, bytes)) = raw
        .get_mut(start..)
        .and_then(<[u8]>::split_first_chunk_mut::<MAGIC_LEN>)
    else {
        return;
    };
    *magic = if attributes.is_empty() {
        [0; MAGIC_LEN]
    } else {
        MAGIC
    };
    if !bytes.is_empty() {
        area::write(attributes, bytes, 0, false);
    }
}

/// Where attributes start; none in an inode of 128 bytes, or with fields up to its end.
fn start(raw: &[u8]) -> Option<usize> {
    let i_extra_isize = raw
        .get(GOOD_OLD_INODE_SIZE..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| usize::from(u16::from_le_bytes(*bytes)))?;
    let start = GOOD_OLD_INODE_SIZE.saturating_add(i_extra_isize);
    let usable = i_extra_isize >= SHORTEST_EXTRA
        && i_extra_isize % 4 == 0
        && start
            .saturating_add(MAGIC_LEN)
            .saturating_add(area::TERMINATOR)
            <= raw.len();
    usable.then_some(start)
}

const GOOD_OLD_INODE_SIZE: usize = 128;
/// An inode that says less has no extra fields: it was written by something very old.
const SHORTEST_EXTRA: usize = 4;
const MAGIC_LEN: usize = 4;
const MAGIC: [u8; MAGIC_LEN] = 0xea02_0000_u32.to_le_bytes();

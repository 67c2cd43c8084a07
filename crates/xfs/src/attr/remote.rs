//! Values in blocks of their own. In version 5 each block of the file system has a header that says
//! which part of the value it holds.
//!
//! Source: `xfs_attr3_rmt_hdr` in the kernel's `libxfs/xfs_da_format.h`, and `xfs_attr_remote.c`.

use crate::da::{Fault, Geometry, Header, be32, put};
use crate::error::Error;
use crate::fork::ForkRead;
use ondisk::width::{u64_of, usize_of_u32};

/// What a block starts with in version 5.
const MAGIC: &[u8; 4] = b"XARM";

/// Bytes of a value that one block holds.
fn room(geometry: &Geometry) -> usize {
    let header = Header::Value.len(geometry.v5());
    geometry.block_size.saturating_sub(header)
}

/// Blocks that a value of `len` bytes takes.
pub(super) fn block_count(geometry: &Geometry, len: usize) -> usize {
    len.div_ceil(room(geometry).max(1))
}

/// Reads a value of `len` bytes, at most 64 KiB, that starts in block `block` of the fork.
///
/// # Errors
/// Wrong headers, holes, or what reading meets.
pub(super) fn read(
    geometry: &Geometry,
    fork: &dyn ForkRead,
    block: u32,
    len: usize,
) -> Result<Vec<u8>, Error> {
    let header = Header::Value.len(geometry.v5());
    let mut value = Vec::new();
    for index in 0..block_count(geometry, len) {
        let block = u64::from(block).saturating_add(u64_of(index));
        let bytes = geometry.read(fork, block, Header::Value)?;
        let part = len.saturating_sub(value.len()).min(room(geometry));
        if geometry.v5() {
            check(&bytes, value.len(), part).map_err(|fault| geometry.corrupt(block, fault))?;
        }
        let content = bytes.get(header..).unwrap_or_default();
        value.extend(content.get(..part).unwrap_or_default());
    }
    Ok(value)
}

fn check(bytes: &[u8], offset: usize, part: usize) -> Result<(), Fault> {
    let fault = |at, reason| Fault {
        at,
        reason,
        value: be32(bytes, at).into(),
    };
    if !bytes.starts_with(MAGIC) {
        return Err(fault(0, "no block of a value"));
    }
    if usize_of_u32(be32(bytes, 4)) != offset {
        return Err(fault(4, "the block holds another part of the value"));
    }
    if usize_of_u32(be32(bytes, 8)) != part {
        return Err(fault(8, "the block holds less or more of the value"));
    }
    Ok(())
}

/// The blocks of a value, but for what their headers get when they are written.
pub(super) fn encode(geometry: &Geometry, value: &[u8]) -> Vec<Vec<u8>> {
    let header = Header::Value.len(geometry.v5());
    let room = room(geometry).max(1);
    let parts = value.chunks(room).enumerate();
    parts
        .map(|(index, part)| {
            let mut bytes = vec![0; geometry.block_size];
            if geometry.v5() {
                let offset = index.saturating_mul(room);
                put(&mut bytes, 0, MAGIC);
                // Values have at most 64 KiB.
                for (at, number) in [(4, offset), (8, part.len())] {
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    put(&mut bytes, at, &number.to_be_bytes());
                }
            }
            put(&mut bytes, header, part);
            bytes
        })
        .collect()
}

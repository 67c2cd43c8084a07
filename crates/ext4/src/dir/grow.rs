//! Putting names into directories without an index.

use super::block::Leaf;
use super::entry::Found;
use super::{Format, Indexed, WriteBlocks, htree};
use crate::Error;
use crate::hash::HashVersion;

/// Puts a name into the first block with room; a full directory of one block gets an index if the
/// file system has them, a longer one another block.
pub(super) fn insert(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    name: &[u8],
    target: Found,
) -> Result<Indexed, Error> {
    let count = blocks.count();
    for logical in 0..count {
        let mut leaf = Leaf::read(format, blocks, logical)?;
        if leaf.insert(name, target)? {
            leaf.write(blocks)?;
            return Ok(Indexed(false));
        }
    }
    let hashed = HashVersion::from_raw(format.default_hash_version).is_some();
    if count == 1 && format.dir_index && hashed {
        htree::build(format, blocks)?;
        let indexed = Format {
            indexed: true,
            ..*format
        };
        htree::insert(&indexed, blocks, name, target)?;
        return Ok(Indexed(true));
    }
    let logical = blocks.append()?;
    let mut leaf = Leaf::empty(format, logical);
    if !leaf.insert(name, target)? {
        return Err(Error::BadName);
    }
    leaf.write(blocks)?;
    Ok(Indexed(false))
}

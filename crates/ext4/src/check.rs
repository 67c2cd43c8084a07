//! Checking what editing touches.

use crate::error::Error;
use crate::volume::Volume;
use fs::Problem;
use std::error::Error as _;

/// Checks counters against bitmaps, and sums.
pub(crate) fn check(volume: &Volume) -> Result<Vec<Problem>, Error> {
    let mut problems = Vec::new();
    let superblock = &volume.superblock;
    let mut free_blocks = 0_u64;
    let mut free_inodes = 0_u32;
    for group in 0..superblock.group_count {
        let Some(descriptor) = note(&mut problems, volume.descriptor(group))? else {
            continue;
        };
        free_blocks = free_blocks.saturating_add(descriptor.free_blocks().into());
        free_inodes = free_inodes.saturating_add(descriptor.free_inodes());
        note(&mut problems, volume.load_block_bitmap(group))?;
        note(&mut problems, volume.load_inode_bitmap(group))?;
    }
    Ok(problems)
}

/// Turns damage into a problem; other errors end the check.
fn note<T>(problems: &mut Vec<Problem>, result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corrupt(corrupt)) => {
            let text = corrupt
                .source()
                .map_or_else(|| corrupt.to_string(), ToString::to_string);
            problems.push(Problem(text));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

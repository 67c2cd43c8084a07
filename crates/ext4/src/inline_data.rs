//! Content that lies in the inode itself (`inline_data`): 60 bytes in `i_block`, and what does not
//! fit there in the value of the attribute `system.data`.

use crate::dir::inline::Inline;
use crate::error::{CorruptKind, Error};
use crate::inode::Inode;
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of};

/// Reads content from `offset` on, below the size.
///
/// # Errors
/// A size beyond what the inode holds, or damaged attributes.
pub(crate) fn read(
    volume: &Volume,
    inode: &Inode,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), Error> {
    let content = content(volume, inode)?;
    let start = usize_of(offset);
    let part = start
        .checked_add(buf.len())
        .and_then(|end| content.get(start..end));
    let Some(part) = part else {
        return Err(CorruptKind::Inode {
            inode: inode.number().get(),
            field: "i_size of inline data",
            value: inode.size(),
            expected: if content.len() < usize_of(inode.size()) {
                "no more than the inode holds"
            } else {
                "a range below 2^63"
            },
        }
        .into());
    };
    buf.copy_from_slice(part);
    Ok(())
}

/// All bytes that the inode has for content, also beyond the size.
///
/// # Errors
/// Damaged attributes.
pub(crate) fn content(volume: &Volume, inode: &Inode) -> Result<Vec<u8>, Error> {
    let mut content = inode.block().to_vec();
    content.extend(volume.inline_value(inode)?);
    Ok(content)
}

/// The two places of a directory's names.
///
/// # Errors
/// Damaged attributes.
pub(crate) fn read_dir(volume: &Volume, inode: &Inode) -> Result<Inline, Error> {
    let value = volume.inline_value(inode)?;
    let room = u64_of(inode.block().len()).saturating_add(u64_of(value.len()));
    if inode.size() != room {
        tracing::debug!(size = inode.size(), room, "size of an inline directory");
    }
    Ok(Inline {
        block: *inode.block(),
        value,
    })
}

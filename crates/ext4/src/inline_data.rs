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

/// Writes content at `offset`; false, and nothing changed, if it does not fit into the inode.
///
/// # Errors
/// Damaged attributes, and what writing meets.
pub(crate) fn write(
    volume: &mut Volume,
    inode: &mut Inode,
    offset: u64,
    bytes: &[u8],
) -> Result<bool, Error> {
    let start = usize_of(offset);
    let Some(end) = start.checked_add(bytes.len()) else {
        return Ok(false);
    };
    let size = usize_of(inode.size()).max(end);
    let Some(mut content) = resized(volume, inode, size)? else {
        return Ok(false);
    };
    if let Some(place) = content.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
    store(volume, inode, &content)
}

/// Cuts or grows content; false, and nothing changed, if it does not fit into the inode.
///
/// # Errors
/// Damaged attributes, and what writing meets.
pub(crate) fn resize(volume: &mut Volume, inode: &mut Inode, size: u64) -> Result<bool, Error> {
    match resized(volume, inode, usize_of(size))? {
        Some(content) => store(volume, inode, &content),
        None => Ok(false),
    }
}

/// The content with another size; none if no inode has room for that.
fn resized(volume: &Volume, inode: &Inode, size: usize) -> Result<Option<Vec<u8>>, Error> {
    let room = inode.block().len().saturating_add(inode.bytes().len());
    if size > room {
        return Ok(None);
    }
    let mut content = content(volume, inode)?;
    content.truncate(usize_of(inode.size()));
    content.resize(size, 0);
    Ok(Some(content))
}

fn store(volume: &mut Volume, inode: &mut Inode, content: &[u8]) -> Result<bool, Error> {
    let (here, there) = content
        .split_at_checked(inode.block().len())
        .unwrap_or((content, &[]));
    // The attribute is there also when it is empty: that is how the kernel knows its room.
    if !volume.set_inline_value(inode, there.to_vec())? {
        return Ok(false);
    }
    let block = inode.block_mut();
    block.fill(0);
    for (place, byte) in block.iter_mut().zip(here) {
        *place = *byte;
    }
    inode.set_size(u64_of(content.len()));
    Ok(true)
}

/// Keeps the two places of a directory's names.
///
/// # Errors
/// Damaged attributes, and what writing meets.
pub(crate) fn write_dir(
    volume: &mut Volume,
    inode: &mut Inode,
    inline: &Inline,
) -> Result<bool, Error> {
    *inode.block_mut() = inline.block;
    volume.set_inline_value(inode, inline.value.clone())
}

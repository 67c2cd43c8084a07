//! Directories that lie in their inode: the parent, and the names behind each other.
//!
//! Source: `xfs_dir2_sf_hdr` and `xfs_dir2_sf_entry` in the kernel's `libxfs/xfs_da_format.h`.

use super::entry::{Entry, Target, is_name};
use super::format::Format;
use crate::da::Fault;
use ondisk::width::u64_of;
use ondisk::{Cursor, Short as Ended};

/// A directory without `.` and `..`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Short {
    pub(super) parent: u64,
    pub(super) entries: Vec<Entry>,
}

/// The most entries that the header can count.
const MAX_ENTRIES: usize = 255;

impl Short {
    /// Reads the bytes in an inode, which end where `di_size` says.
    ///
    /// # Errors
    /// What breaks the format.
    pub(super) fn decode(format: &Format, bytes: &[u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor::new(bytes);
        let ended = |ended: Ended| Fault {
            at: ended.at,
            reason: "the names in the inode end early",
            value: u64_of(bytes.len()),
        };
        let count = cursor.u8().map_err(ended)?;
        let wide = cursor.u8().map_err(ended)? != 0;
        let parent = read_inode(&mut cursor, wide).map_err(ended)?;
        let mut entries = Vec::with_capacity(count.into());
        for _ in 0..count {
            let at = cursor.position();
            let name_len = cursor.u8().map_err(ended)?;
            // Where the entry would lie in a block.
            cursor.skip(2).map_err(ended)?;
            let name = cursor.take(name_len.into()).map_err(ended)?;
            if !is_name(name) {
                return Err(Fault {
                    at,
                    reason: "not a name",
                    value: name_len.into(),
                });
            }
            let file_type = if format.file_type {
                cursor.u8().map_err(ended)?
            } else {
                0
            };
            let inode = read_inode(&mut cursor, wide).map_err(ended)?;
            entries.push(Entry {
                name: name.to_vec(),
                target: Target::stored(inode, file_type),
            });
        }
        if !cursor.is_empty() {
            return Err(Fault {
                at: cursor.position(),
                reason: "bytes are left behind the names in the inode",
                value: u64_of(cursor.rest().len()),
            });
        }
        Ok(Self { parent, entries })
    }

    /// The bytes, with the place that each entry would have in a block that holds nothing else.
    /// None if there are too many names for this form, whatever room there is: a block must be
    /// able to take them all.
    pub(super) fn encode(&self, format: &Format) -> Option<Vec<u8>> {
        if self.entries.len() > MAX_ENTRIES {
            return None;
        }
        let is_wide = |inode: u64| u32::try_from(inode).is_err();
        let inodes = self.entries.iter().map(|entry| entry.target.inode);
        let wide_count = inodes
            .chain([self.parent])
            .filter(|inode| is_wide(*inode))
            .count();
        let wide = wide_count > 0;
        let mut bytes = vec![
            u8::try_from(self.entries.len()).ok()?,
            u8::try_from(wide_count).ok()?,
        ];
        write_inode(&mut bytes, self.parent, wide);
        // `.` and `..` come first.
        let mut at = format
            .first_entry()
            .saturating_add(format.entry_len(1))
            .saturating_add(format.entry_len(2));
        for Entry { name, target } in &self.entries {
            bytes.push(u8::try_from(name.len()).ok()?);
            bytes.extend(u16::try_from(at).ok()?.to_be_bytes());
            bytes.extend(name);
            if format.file_type {
                bytes.push(target.file_type());
            }
            write_inode(&mut bytes, target.inode, wide);
            at = at.saturating_add(format.entry_len(name.len()));
        }
        // A block ends with an index of all names, and two counts.
        let index = self.entries.len().saturating_add(3).saturating_mul(8);
        (at.saturating_add(index) <= format.block_size()).then_some(bytes)
    }
}

fn read_inode(cursor: &mut Cursor<'_>, wide: bool) -> Result<u64, Ended> {
    if wide {
        cursor.u64_be()
    } else {
        cursor.u32_be().map(u64::from)
    }
}

/// Writes an inode number in eight bytes, or in the four that it then fits.
fn write_inode(bytes: &mut Vec<u8>, inode: u64, wide: bool) {
    let all = inode.to_be_bytes();
    bytes.extend(if wide { &all[..] } else { &all[4..] });
}

#[cfg(test)]
mod tests {
    use super::super::tests::format;
    use super::*;

    fn short(parent: u64, inodes: &[u64]) -> Short {
        let entry = |inode: &u64| Entry {
            name: format!("name{inode}").into_bytes(),
            target: Target::stored(*inode, 1),
        };
        Short {
            parent,
            entries: inodes.iter().map(entry).collect(),
        }
    }

    #[test]
    fn inode_numbers_take_four_bytes_unless_one_is_larger() {
        let format = format(512, true);
        for (parent, inodes, wide, len) in [
            (128, &[129, 130][..], 0, 6 + 2 * (3 + 7 + 1 + 4)),
            (1 << 32, &[129], 1, 10 + 3 + 7 + 1 + 8),
            (128, &[1 << 33, 130], 1, 10 + 3 + 14 + 1 + 8 + 3 + 7 + 1 + 8),
        ] {
            let bytes = short(parent, inodes).encode(&format).unwrap();
            assert_eq!((bytes[1], bytes.len()), (wide, len));
            let read = Short::decode(&format, &bytes).unwrap();
            assert_eq!(read, short(parent, inodes));
        }
    }

    #[test]
    fn what_a_block_could_not_take_stays_out_of_the_inode() {
        let format = format(512, true);
        let many: Vec<u64> = (100..120).collect();
        assert_eq!(short(128, &many).encode(&format), None);
        assert!(short(128, &many[..10]).encode(&format).is_some());
    }

    #[test]
    fn broken_bytes_are_errors() {
        let format = format(512, true);
        let bytes = short(128, &[129, 130]).encode(&format).unwrap();
        let decode = |bytes: &[u8]| Short::decode(&format, bytes).map_err(|fault| fault.reason);
        for len in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..len]),
                Err("the names in the inode end early")
            );
        }
        for (at, value, reason) in [
            (0, 1, "bytes are left behind the names in the inode"),
            (6, 0, "not a name"),
            (9, b'/', "not a name"),
            (1, 1, "the names in the inode end early"),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            assert_eq!(decode(&broken), Err(reason), "byte {at}");
        }
    }
}

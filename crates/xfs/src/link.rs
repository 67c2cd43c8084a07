//! Making the targets of symbolic links.

use crate::checksum::{self, place};
use crate::content::{LINK_HEADER, LINK_MAGIC, LONGEST_TARGET};
use crate::error::Error;
use crate::extent::{Extent, Map};
use crate::inode::{Fork, Format, Inode};
use crate::volume::Volume;
use ondisk::width::{u64_of, usize_of};

impl Volume {
    /// Gives a new symbolic link its target.
    ///
    /// # Errors
    /// [`Error::BadName`] if the target is empty or too long.
    pub(crate) fn start_link(&mut self, inode: &mut Inode, target: &[u8]) -> Result<(), Error> {
        // The kernel makes none of the full length, and does not read one of several blocks.
        if target.is_empty() || u64_of(target.len()) >= LONGEST_TARGET || target.contains(&0) {
            return Err(Error::BadName);
        }
        if let Some(place) = inode.fork_mut(Fork::Data).get_mut(..target.len()) {
            place.copy_from_slice(target);
            inode.set_format(Fork::Data, Format::Local);
        } else {
            self.write_target(inode, target)?;
        }
        inode.set_size(u64_of(target.len()));
        self.write_inode(inode)
    }

    /// Moves the target of a link out of its inode.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or what writing meets.
    pub(crate) fn move_target_out(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let target = self.read_target(inode)?;
        inode.fork_mut(Fork::Data).fill(0);
        inode.set_format(Fork::Data, Format::Extents);
        self.forget_maps(inode.number());
        self.write_target(inode, &target)
    }

    fn write_target(&mut self, inode: &mut Inode, target: &[u8]) -> Result<(), Error> {
        let v5 = self.superblock.features.v5();
        let header = if v5 { LINK_HEADER } else { 0 };
        let (number, fork) = (inode.number(), Fork::Data);
        let mut map = Map::default();
        let mut left = target;
        while !left.is_empty() {
            let blocks = self
                .superblock
                .blocks_for(u64_of(left.len().saturating_add(header)));
            let end = map.end();
            let hole = end..end.saturating_add(blocks);
            self.fill(number, fork, &mut map, hole.clone())?;
            // Each extent has a header of its own, so that several hold less than one.
            let extents: Vec<Extent> = map.extents().to_vec();
            left = target;
            for extent in &extents {
                let len = u64::from(extent.count).saturating_mul(self.superblock.block_bytes());
                let room = usize_of(len).saturating_sub(header);
                let (part, rest) = left.split_at(room.min(left.len()));
                let offset = target.len().saturating_sub(left.len());
                let mut bytes = Vec::new();
                if v5 {
                    bytes = self.link_header(number, extent, (offset, part.len()));
                }
                bytes.extend_from_slice(part);
                bytes.resize(usize_of(len), 0);
                if v5 {
                    checksum::set(&mut bytes, place::SYMLINK);
                }
                let position = self.superblock.position(extent.start);
                self.device.write_at(position, &bytes)?;
                self.forget(extent.start, extent.count.into());
                left = rest;
            }
        }
        self.set_map(inode, fork, map)
    }

    /// `struct xfs_dsymlink_hdr`.
    fn link_header(&self, inode: u64, extent: &Extent, (offset, len): (usize, usize)) -> Vec<u8> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = LINK_MAGIC.to_vec();
        header.extend_from_slice(&number(offset));
        header.extend_from_slice(&number(len));
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&self.superblock.meta_uuid);
        header.extend_from_slice(&inode.to_be_bytes());
        header.extend_from_slice(&self.superblock.daddr(extent.start).to_be_bytes());
        header.extend_from_slice(&[0; 8]);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Target;
    use crate::real::Image;
    use fs::{Kind, NewNode};

    #[test]
    fn the_kernel_follows_the_longest_link_that_is_made() {
        let Some(image) = Image::make(&[], None) else {
            return;
        };
        let mut volume = image.open();
        let root = volume
            .inode(volume.superblock.raw().sb_rootino.get())
            .unwrap();
        let mut link = volume
            .new_node(&root, Kind::Symlink, NewNode::root(0o777))
            .unwrap();
        let longest = vec![b't'; usize_of(LONGEST_TARGET) - 1];
        let longer = [&longest[..], b"t"].concat();
        let refused = volume.start_link(&mut link, &longer);
        assert!(matches!(refused, Err(Error::BadName)));
        volume.start_link(&mut link, &longest).unwrap();
        let target = Target::new(link.number(), Kind::Symlink);
        volume.insert_name(root.number(), b"link", target).unwrap();
        image.commit(&mut volume, &link).unwrap();
        image.mounted("ro", |root| {
            let read = std::fs::read_link(root.join("link")).unwrap();
            assert_eq!(read.as_os_str().len(), longest.len());
        });
    }
}

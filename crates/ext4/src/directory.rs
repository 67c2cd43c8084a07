//! Directories as nodes: gives the code that knows names the blocks it works on.

use crate::content::refuse_encrypted;
use crate::dir::{self, Format, Found, Name, ReadBlocks, WriteBlocks};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::{compat, incompat};
use crate::hash::Hasher;
use crate::inline_data;
use crate::inode::{Inode, flag};
use crate::mapping::{Mapping, Run};
use crate::volume::Volume;
use fs::Kind;
use std::sync::Arc;

/// Bytes of a directory that is listed whole: a few million names.
const LARGEST_LISTED: u64 = 128 << 20;

/// The blocks of a directory, to be read.
#[derive(Debug)]
pub(crate) struct DirReader<'v> {
    volume: &'v Volume,
    inode: u32,
    mapping: Arc<Mapping>,
    count: u32,
}

impl ReadBlocks for DirReader<'_> {
    fn count(&self) -> u32 {
        self.count
    }

    fn read(&self, logical: u32) -> Result<Vec<u8>, Error> {
        read_dir_block(self.volume, self.inode, &self.mapping, logical)
    }
}

/// The blocks of a directory, to be changed. The inode is changed in memory only.
#[derive(Debug)]
pub(crate) struct DirWriter<'v> {
    pub(crate) volume: &'v mut Volume,
    pub(crate) inode: &'v mut Inode,
}

impl ReadBlocks for DirWriter<'_> {
    fn count(&self) -> u32 {
        self.volume.dir_blocks(self.inode)
    }

    fn read(&self, logical: u32) -> Result<Vec<u8>, Error> {
        let mapping = self.volume.mapping(self.inode)?;
        read_dir_block(self.volume, self.inode.number().get(), &mapping, logical)
    }
}

impl WriteBlocks for DirWriter<'_> {
    fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error> {
        let mapping = self.volume.mapping(self.inode)?;
        let inode = self.inode.number().get();
        let block = mapping.block(logical).ok_or_else(|| hole(inode, logical))?;
        self.volume.write_block(block, bytes)
    }

    fn append(&mut self) -> Result<u32, Error> {
        let logical = self.count();
        let mut mapping = Mapping::clone(&*self.volume.mapping(self.inode)?);
        // Blocks that were reserved behind the end would be taken for names.
        for run in mapping.cut(logical.into()) {
            self.volume.free_blocks(run.blocks())?;
        }
        let goal = mapping.runs().last().map_or_else(
            || self.volume.inode_goal(self.inode.number()),
            |run| run.blocks().end,
        );
        let physical = self.volume.allocate_block(goal)?;
        mapping.push(Run {
            logical,
            len: 1,
            physical,
            unwritten: false,
        });
        self.volume.set_mapping(self.inode, mapping)?;
        let size = u64::from(logical)
            .saturating_add(1)
            .saturating_mul(self.volume.superblock.block_bytes());
        if size > u64::from(u32::MAX)
            && !self.volume.superblock.features.incompat(incompat::LARGEDIR)
        {
            return Err(UnsupportedKind::FileTooLarge {
                inode: self.inode.number().get(),
                size,
                limit: u32::MAX.into(),
            }
            .into());
        }
        self.inode.set_size(size);
        Ok(logical)
    }
}

fn read_dir_block(
    volume: &Volume,
    inode: u32,
    mapping: &Mapping,
    logical: u32,
) -> Result<Vec<u8>, Error> {
    let block = mapping.block(logical).ok_or_else(|| hole(inode, logical))?;
    Ok(volume.read_block(block)?.to_vec())
}

fn hole(inode: u32, logical: u32) -> Error {
    CorruptKind::Directory {
        inode,
        block: logical,
        at: 0,
        reason: "the block is a hole",
        value: 0,
    }
    .into()
}

impl Volume {
    /// What reading and writing a directory's blocks has to know.
    pub(crate) fn dir_format(&self, inode: &Inode) -> Format {
        let features = self.superblock.features;
        let dir_index = features.compat(compat::DIR_INDEX);
        let raw = self.superblock.raw();
        Format {
            inode: inode.number().get(),
            block_size: self.superblock.block_len(),
            file_type: features.incompat(incompat::FILETYPE),
            checksum: features.metadata_csum().then(|| self.inode_seed(inode)),
            inodes_count: self.superblock.inodes_count,
            hasher: Hasher {
                seed: raw
                    .s_hash_seed
                    .map(zerocopy::byteorder::little_endian::U32::get),
                unsigned: self.superblock.unsigned_hash(),
            },
            default_hash_version: raw.s_def_hash_version,
            dir_index,
            large_dir: features.incompat(incompat::LARGEDIR),
            indexed: dir_index && inode.has_flag(flag::INDEX),
        }
    }

    /// Checks that a node is a directory whose names can be read.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or encrypted names.
    pub(crate) fn check_dir(&self, inode: &Inode) -> Result<(), Error> {
        if inode.kind()? != Kind::Dir {
            return Err(Error::NotADirectory);
        }
        refuse_encrypted(inode)
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or a damaged directory.
    pub(crate) fn find_name(&self, inode: &Inode, name: &[u8]) -> Result<Option<Found>, Error> {
        self.check_dir(inode)?;
        let format = self.dir_format(inode);
        if inode.has_flag(flag::INLINE_DATA) {
            return inline_data::read_dir(self, inode)?.find(&format, name);
        }
        dir::lookup(&format, &self.dir_reader(inode)?, name)
    }

    /// All names of a directory but `.` and `..`.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or a damaged directory.
    pub(crate) fn list_names(&self, inode: &Inode) -> Result<Vec<Name>, Error> {
        self.check_dir(inode)?;
        let format = self.dir_format(inode);
        if inode.has_flag(flag::INLINE_DATA) {
            return inline_data::read_dir(self, inode)?.names(&format);
        }
        if inode.size() > LARGEST_LISTED {
            return Err(UnsupportedKind::TooLarge {
                field: "size of a directory",
                value: inode.size(),
                cap: LARGEST_LISTED,
            }
            .into());
        }
        dir::list(&format, &self.dir_reader(inode)?)
    }

    /// The inode that `..` of a directory names.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or a damaged directory.
    pub(crate) fn parent_of(&self, inode: &Inode) -> Result<u32, Error> {
        self.check_dir(inode)?;
        if inode.has_flag(flag::INLINE_DATA) {
            return Ok(inline_data::read_dir(self, inode)?.parent());
        }
        dir::parent(&self.dir_format(inode), &self.dir_reader(inode)?)
    }

    fn dir_reader<'v>(&'v self, inode: &Inode) -> Result<DirReader<'v>, Error> {
        Ok(DirReader {
            volume: self,
            inode: inode.number().get(),
            mapping: self.mapping(inode)?,
            count: self.dir_blocks(inode),
        })
    }

    /// Blocks of a directory, by its size.
    fn dir_blocks(&self, inode: &Inode) -> u32 {
        let blocks = inode.size().checked_div(self.superblock.block_bytes());
        u32::try_from(blocks.unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

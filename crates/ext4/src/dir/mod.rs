//! Directories: names to inode numbers, in linear blocks, under a hash index, or in the inode.
//!
//! Everything here works on the logical blocks of one directory, which [`ReadBlocks`] and
//! [`WriteBlocks`] provide; where they lie on the device is not known here. What the kernel puts
//! into an index goes into the index, so that the guest finds it.
//!
//! Sources: "Directory Entries" in the kernel's `Documentation/filesystems/ext4`, and
//! `fs/ext4/{dir,namei,inline}.c`.

mod block;
mod entry;
mod grow;
mod htree;
pub(crate) mod inline;

pub(crate) use block::new_block;
pub(crate) use entry::{Found, Name};

use crate::checksum::InodeSeed;
use crate::hash::Hasher;
use crate::{Error, error::CorruptKind};
use block::Leaf;
use std::ops::ControlFlow;

/// Reads the logical blocks of a directory.
pub(crate) trait ReadBlocks {
    /// How many blocks the directory has, by its size.
    fn count(&self) -> u32;

    /// Reads a whole block; a hole is an error.
    fn read(&self, logical: u32) -> Result<Vec<u8>, Error>;
}

/// Changes the logical blocks of a directory.
pub(crate) trait WriteBlocks: ReadBlocks {
    /// Writes a whole block that is there already.
    fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error>;

    /// Adds a block at the end, of any content, grows the directory's size, and says its number.
    fn append(&mut self) -> Result<u32, Error>;
}

/// What has to be known about a file system and one of its directories to read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// The directory's inode number.
    pub(crate) inode: u32,
    /// Bytes per block.
    pub(crate) block_size: usize,
    /// Whether entries tell the kind of what they name (`filetype`).
    pub(crate) file_type: bool,
    /// What the directory's checksums start with (`metadata_csum`).
    pub(crate) checksum: Option<InodeSeed>,
    /// `s_inodes_count`: no entry may name an inode beyond it.
    pub(crate) inodes_count: u32,
    /// How names are hashed here.
    pub(crate) hasher: Hasher,
    /// `s_def_hash_version`, for directories that get an index.
    pub(crate) default_hash_version: u8,
    /// Whether directories may have an index (`dir_index`).
    pub(crate) dir_index: bool,
    /// Whether an index may be three levels high (`large_dir`).
    pub(crate) large_dir: bool,
    /// Whether this directory has an index: `EXT4_INDEX_FL` with `dir_index`.
    pub(crate) indexed: bool,
}

/// Finds `name`.
pub(crate) fn lookup(
    format: &Format,
    blocks: &dyn ReadBlocks,
    name: &[u8],
) -> Result<Option<Found>, Error> {
    Ok(locate(format, blocks, name)?.map(|place| place.found))
}

/// Every name but `.` and `..`.
pub(crate) fn list(format: &Format, blocks: &dyn ReadBlocks) -> Result<Vec<Name>, Error> {
    let mut names = Vec::new();
    for logical in 0..blocks.count() {
        let leaf = Leaf::read(format, blocks, logical)?;
        names.extend(leaf.names()?);
    }
    Ok(names)
}

/// The inode that `..` names.
pub(crate) fn parent(format: &Format, blocks: &dyn ReadBlocks) -> Result<u32, Error> {
    Leaf::read(format, blocks, 0)?.parent()
}

/// Lets `..` name another inode.
pub(crate) fn set_parent(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    parent: u32,
) -> Result<(), Error> {
    let mut leaf = Leaf::read(format, blocks, 0)?;
    leaf.set_parent(parent)?;
    leaf.write(blocks)
}

/// Whether the directory has an index after a name was put into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) struct Indexed(pub(crate) bool);

/// Puts a name into the directory. Its absence must have been checked before.
///
/// The caller must set or clear `EXT4_INDEX_FL` as the answer says.
pub(crate) fn insert(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    name: &[u8],
    target: Found,
) -> Result<Indexed, Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) || name.contains(&b'/') {
        return Err(Error::BadName);
    }
    if format.indexed {
        htree::insert(format, blocks, name, target)?;
        return Ok(Indexed(true));
    }
    grow::insert(format, blocks, name, target)
}

/// Removes `name` and says what it named.
pub(crate) fn remove(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    name: &[u8],
) -> Result<Option<Found>, Error> {
    let Some(mut place) = locate(format, blocks, name)? else {
        return Ok(None);
    };
    place.leaf.remove(name)?;
    place.leaf.write(blocks)?;
    Ok(Some(place.found))
}

/// Lets an existing `name` name something else, and says what it named before.
pub(crate) fn retarget(
    format: &Format,
    blocks: &mut dyn WriteBlocks,
    name: &[u8],
    target: Found,
) -> Result<Option<Found>, Error> {
    let Some(mut place) = locate(format, blocks, name)? else {
        return Ok(None);
    };
    place.leaf.retarget(name, target)?;
    place.leaf.write(blocks)?;
    Ok(Some(place.found))
}

/// A name that was found, with the block it is in.
struct Place {
    leaf: Leaf,
    found: Found,
}

fn locate(format: &Format, blocks: &dyn ReadBlocks, name: &[u8]) -> Result<Option<Place>, Error> {
    let mut place = None;
    let mut look = |leaf: Leaf| -> Result<ControlFlow<()>, Error> {
        Ok(match leaf.find(name)? {
            Some(found) => {
                place = Some(Place { leaf, found });
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })
    };
    if format.indexed && htree::has_known_hash(format, blocks)? {
        htree::each_leaf_of(format, blocks, name, &mut look)?;
        return Ok(place);
    }
    for logical in 0..blocks.count() {
        if look(Leaf::read(format, blocks, logical)?)?.is_break() {
            break;
        }
    }
    Ok(place)
}

/// Bytes that a name may have.
const MAX_NAME: usize = 255;

impl Format {
    /// Something is wrong at byte `at` of a block.
    fn corrupt(&self, block: u32, at: usize, reason: &'static str, value: u64) -> Error {
        CorruptKind::Directory {
            inode: self.inode,
            block,
            at,
            reason,
            value,
        }
        .into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::checksum::FsSeed;
    use std::collections::{BTreeSet, HashMap};

    /// The blocks of a directory in memory.
    #[derive(Debug)]
    pub(crate) struct Blocks {
        size: usize,
        blocks: Vec<Vec<u8>>,
    }

    impl Blocks {
        pub(crate) fn new(size: usize) -> Self {
            Self {
                size,
                blocks: Vec::new(),
            }
        }
    }

    impl ReadBlocks for Blocks {
        fn count(&self) -> u32 {
            u32::try_from(self.blocks.len()).unwrap()
        }
        fn read(&self, logical: u32) -> Result<Vec<u8>, Error> {
            Ok(self.blocks[ondisk::width::usize_of_u32(logical)].clone())
        }
    }

    impl WriteBlocks for Blocks {
        fn write(&mut self, logical: u32, bytes: &[u8]) -> Result<(), Error> {
            self.blocks[ondisk::width::usize_of_u32(logical)] = bytes.to_vec();
            Ok(())
        }
        fn append(&mut self) -> Result<u32, Error> {
            self.blocks.push(vec![0xee; self.size]);
            Ok(self.count() - 1)
        }
    }

    pub(crate) fn format(block_size: usize, checksums: bool) -> Format {
        Format {
            inode: 12,
            block_size,
            file_type: true,
            checksum: checksums.then(|| FsSeed::of_uuid(&[7; 16]).inode(12, 1)),
            inodes_count: 1000,
            hasher: Hasher {
                seed: [1, 2, 3, 4],
                unsigned: false,
            },
            default_hash_version: 1,
            dir_index: true,
            large_dir: false,
            indexed: false,
        }
    }

    const TARGET: Found = Found {
        inode: 13,
        kind: Some(fs::Kind::File),
    };

    fn new_dir(format: &Format) -> Blocks {
        let mut blocks = Blocks::new(format.block_size);
        blocks.append().unwrap();
        blocks.write(0, &new_block(format, 2)).unwrap();
        blocks
    }

    fn name(number: usize, len: usize) -> Vec<u8> {
        format!("{number:0len$}").into_bytes()
    }

    fn add(format: &mut Format, blocks: &mut Blocks, name: &[u8]) {
        format.indexed = insert(format, blocks, name, TARGET).unwrap().0;
    }

    #[test]
    fn a_large_directory_gets_a_deep_index_and_every_name_stays_findable() {
        for (block_size, checksums, len) in [(1024, true, 12), (1024, false, 200), (4096, true, 40)]
        {
            let mut format = format(block_size, checksums);
            let mut blocks = new_dir(&format);
            for number in 0..6000 {
                add(&mut format, &mut blocks, &name(number, len));
            }
            assert!(format.indexed);
            let depth = blocks.blocks[0][30];
            assert_eq!(depth, u8::from(block_size == 1024), "{block_size} {len}");
            for number in (0..6000).step_by(2) {
                let removed = remove(&format, &mut blocks, &name(number, len)).unwrap();
                assert_eq!(removed, Some(TARGET));
            }
            let found: BTreeSet<_> = list(&format, &blocks)
                .unwrap()
                .into_iter()
                .map(|n| n.name)
                .collect();
            let want: BTreeSet<_> = (1..6000)
                .step_by(2)
                .map(|number| name(number, len))
                .collect();
            assert_eq!(found, want);
            for number in 0..6000 {
                let found = lookup(&format, &blocks, &name(number, len)).unwrap();
                assert_eq!(found.is_some(), number % 2 == 1);
            }
            assert_eq!(parent(&format, &blocks).unwrap(), 2);
            set_parent(&format, &mut blocks, 5).unwrap();
            assert_eq!(parent(&format, &blocks).unwrap(), 5);
            assert_eq!(lookup(&format, &blocks, b"..").unwrap().unwrap().inode, 5);
        }
    }

    #[test]
    fn an_index_grows_to_three_levels_only_with_large_dir() {
        let mut format = format(1024, false);
        let mut blocks = new_dir(&format);
        let mut names = 0;
        let full = loop {
            match insert(&format, &mut blocks, &name(names, 255), TARGET) {
                Ok(indexed) => format.indexed = indexed.0,
                Err(error) => break error,
            }
            names += 1;
        };
        assert!(matches!(full, Error::Unsupported(_)), "{full:?}");
        assert!(names > 20_000, "{names}");
        format.large_dir = true;
        for number in names..names + 100 {
            add(&mut format, &mut blocks, &name(number, 255));
        }
        assert_eq!(blocks.blocks[0][30], 2);
        for number in 0..names + 100 {
            assert!(
                lookup(&format, &blocks, &name(number, 255))
                    .unwrap()
                    .is_some()
            );
        }
        format.large_dir = false;
        assert!(matches!(
            lookup(&format, &blocks, &name(0, 255)),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn names_of_one_hash_may_spread_over_several_blocks() {
        // A birthday search in the cheapest hash finds some twenty pairs.
        let mut format = format(1024, true);
        format.default_hash_version = 0;
        let mut blocks = new_dir(&format);
        let mut by_hash: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
        for number in 0..300_000 {
            let name = format!("{number:x}{}", "-".repeat(200)).into_bytes();
            let hash = format.hasher.hash(0, &name).unwrap().0;
            by_hash.entry(hash).or_default().push(name);
        }
        let twins = by_hash.into_values().filter(|names| names.len() > 1);
        let mut colliding: Vec<Vec<u8>> = twins.flatten().collect();
        colliding.sort();
        for name in &colliding {
            add(&mut format, &mut blocks, name);
        }
        let continued = blocks.blocks[0][40..]
            .chunks(8)
            .filter(|entry| entry[0] & 1 == 1)
            .count();
        assert!(continued > 0, "{} names", colliding.len());
        for name in &colliding {
            assert!(lookup(&format, &blocks, name).unwrap().is_some());
        }
    }

    #[test]
    fn a_linear_directory_grows_by_blocks() {
        let mut format = format(1024, true);
        format.dir_index = false;
        let mut blocks = new_dir(&format);
        for number in 0..500 {
            add(&mut format, &mut blocks, &name(number, 20));
        }
        assert!(!format.indexed);
        assert_eq!(list(&format, &blocks).unwrap().len(), 500);
        for number in 0..500 {
            let place = lookup(&format, &blocks, &name(number, 20)).unwrap();
            assert_eq!(place, Some(TARGET));
            remove(&format, &mut blocks, &name(number, 20)).unwrap();
        }
        assert_eq!(list(&format, &blocks).unwrap(), []);
    }

    #[test]
    fn an_index_that_leads_nowhere_or_to_itself_is_corrupt() {
        let mut format = format(1024, false);
        let mut blocks = new_dir(&format);
        for number in 0..6000 {
            add(&mut format, &mut blocks, &name(number, 12));
        }
        let broken = |at: usize, value: u8| {
            let mut root = blocks.blocks[0].clone();
            root[at] = value;
            let mut copy = Blocks::new(1024);
            copy.blocks = blocks.blocks.clone();
            copy.blocks[0] = root;
            (0..200)
                .map(|number| lookup(&format, &copy, &name(number, 12)))
                .find_map(Result::err)
        };
        assert!(broken(28, 1).is_none());
        for (at, value) in [
            // The root's first entry leads to the root, or beyond the end.
            (36, 0),
            (37, 0xff),
            // count, limit, info_length, indirect_levels, unused_flags
            (34, 0),
            (34, 0xff),
            (32, 1),
            (29, 9),
            (30, 2),
            (31, 1),
        ] {
            assert!(matches!(broken(at, value), Some(Error::Corrupt(_))), "{at}");
        }
    }

    #[test]
    fn a_changed_byte_breaks_the_checksum_of_names_and_of_the_index() {
        let mut format = format(1024, true);
        let mut blocks = new_dir(&format);
        for number in 0..100 {
            add(&mut format, &mut blocks, &name(number, 12));
        }
        for block in 0..2 {
            blocks.blocks[block][20] ^= 1;
            assert!(matches!(list(&format, &blocks), Err(Error::Corrupt(_))));
            blocks.blocks[block][20] ^= 1;
            assert_eq!(list(&format, &blocks).unwrap().len(), 100);
        }
    }

    #[test]
    fn impossible_names_are_refused() {
        let format = format(1024, true);
        let mut blocks = new_dir(&format);
        for name in [&b""[..], b"a/b", b"a\0b", &[b'a'; 256]] {
            let refused = insert(&format, &mut blocks, name, TARGET);
            assert!(matches!(refused, Err(Error::BadName)));
        }
    }
}

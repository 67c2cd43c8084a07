//! Attributes in a block of their own, which inodes with the same attributes may share.

use super::area::{self, Attribute, Fault};
use super::{Format, Value};
use crate::Error;
use crate::checksum::XATTR_BLOCK_CHECKSUM;
use crate::error::CorruptKind;
use ondisk::width::u64_of;

/// A block of attributes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Block {
    /// How many inodes point to the block; at least one.
    pub(crate) refcount: u32,
    pub(super) attributes: Vec<Attribute>,
}

impl Block {
    /// Reads and checks what lies in block number `at`.
    pub(crate) fn parse(format: &Format, at: u64, bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = |at, reason, value| format.corrupt("in its block", at, reason, value);
        let field = |at| u64::from(u32_at(bytes, at));
        if bytes.len() != format.block_size || bytes.len() < HEADER {
            return Err(corrupt(0, "the block is not whole", u64_of(bytes.len())));
        }
        if field(0) != u64::from(MAGIC) {
            return Err(corrupt(0, "h_magic is wrong", field(0)));
        }
        if field(REFCOUNT) == 0 {
            return Err(corrupt(REFCOUNT, "h_refcount is zero", 0));
        }
        if field(BLOCKS) != 1 {
            return Err(corrupt(BLOCKS, "h_blocks is not 1", field(BLOCKS)));
        }
        if let Some(seed) = format.checksum {
            let found = u32_at(bytes, XATTR_BLOCK_CHECKSUM);
            let computed = seed.xattr_block(at, bytes);
            if found != computed {
                return Err(CorruptKind::Checksum {
                    what: "attribute block",
                    position: at.saturating_mul(u64_of(format.block_size)),
                    found,
                    computed,
                }
                .into());
            }
        }
        let attributes = area::parse(bytes, HEADER)
            .map_err(|Fault { at, reason, value }| corrupt(at, reason, value))?;
        Ok(Self {
            refcount: u32_at(bytes, REFCOUNT),
            attributes,
        })
    }
}

/// Changes how many inodes point to the block that lies in block number `at`.
pub(crate) fn change_refcount(format: &Format, at: u64, bytes: &mut [u8], refcount: u32) {
    put_u32(bytes, REFCOUNT, refcount);
    sum(format, at, bytes);
}

/// Writes a block for one inode.
pub(super) fn encode(format: &Format, at: u64, attributes: &[Attribute]) -> Vec<u8> {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.order().cmp(&b.key.order()));
    let mut bytes = vec![0; format.block_size];
    area::write(sorted.iter().copied(), &mut bytes, HEADER, true);
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, REFCOUNT, 1);
    put_u32(&mut bytes, BLOCKS, 1);
    put_u32(&mut bytes, HASH, block_hash(&sorted));
    sum(format, at, &mut bytes);
    bytes
}

/// `h_hash`: by it the kernel finds blocks to share; zero stands for a block not to be shared.
fn block_hash(attributes: &[&Attribute]) -> u32 {
    let mut hash = 0_u32;
    for attribute in attributes {
        let entry = match &attribute.value {
            Value::Inode { hash, .. } => *hash,
            Value::Here(value) => {
                let mut padded = value.clone();
                padded.resize(value.len().next_multiple_of(4), 0);
                area::entry_hash(&attribute.key.name, &padded)
            }
        };
        if entry == 0 {
            return 0;
        }
        hash = hash.rotate_left(16) ^ entry;
    }
    hash
}

fn sum(format: &Format, at: u64, bytes: &mut [u8]) {
    if let Some(seed) = format.checksum {
        let sum = seed.xattr_block(at, bytes);
        put_u32(bytes, XATTR_BLOCK_CHECKSUM, sum);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..][..4].copy_from_slice(&value.to_le_bytes());
}

/// Bytes before the first entry.
pub(super) const HEADER: usize = 32;
const REFCOUNT: usize = 4;
const BLOCKS: usize = 8;
const HASH: usize = 12;
const MAGIC: u32 = 0xea02_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::FsSeed;
    use crate::xattr::Key;

    fn format() -> Format {
        Format {
            inode: 12,
            block_size: 1024,
            checksum: Some(FsSeed::of_uuid(&[1; 16])),
        }
    }

    fn encoded() -> Vec<u8> {
        let attribute = |name: &str| Attribute {
            key: Key::from_full_name(name.as_bytes()).unwrap(),
            value: Value::Here(name.into()),
        };
        let attributes = ["user.longer", "user.b", "trusted.a", "user.a"].map(attribute);
        encode(&format(), 9, &attributes)
    }

    #[test]
    fn entries_are_sorted_by_index_length_and_name() {
        let block = Block::parse(&format(), 9, &encoded()).unwrap();
        let names: Vec<_> = block
            .attributes
            .iter()
            .map(|a| a.key.name.clone())
            .collect();
        assert_eq!(names, [&b"a"[..], b"b", b"longer", b"a"]);
        assert_eq!(block.refcount, 1);
    }

    #[test]
    fn a_shared_block_keeps_its_content() {
        let mut bytes = encoded();
        change_refcount(&format(), 9, &mut bytes, 3);
        assert_eq!(Block::parse(&format(), 9, &bytes).unwrap().refcount, 3);
    }

    #[test]
    fn every_broken_field_is_found() {
        let unsummed = Format {
            checksum: None,
            ..format()
        };
        for (at, value) in [(0, 1), (REFCOUNT, 0), (BLOCKS, 2), (HEADER, 255)] {
            let mut bytes = encoded();
            bytes[at] = value;
            assert!(Block::parse(&unsummed, 9, &bytes).is_err(), "{at}");
        }
        assert!(Block::parse(&format(), 8, &encoded()).is_err());
        assert!(Block::parse(&format(), 9, &encoded()[..512]).is_err());
    }
}

//! The sums that protect metadata: crc32c with `metadata_csum`, crc16 with `uninit_bg`.
//!
//! Sources: `fs/ext4/{super,inode,bitmap,namei,extents,xattr,orphan}.c` of the kernel, and
//! "Checksums" in its `Documentation/filesystems/ext4`. The kernel never inverts a sum at its end,
//! so each one here is the bare register.
//!
//! Functions take the block or record as it lies on disk, whatever its checksum field holds, and
//! return what the field should hold. None of them panics on bytes that are too short: what is
//! not there is not summed.

/// Where the checksum field of a superblock lies; everything before it is summed.
pub(crate) const SUPERBLOCK_CHECKSUM: usize = 0x3fc;
/// Where the checksum field of a group descriptor lies.
pub(crate) const GROUP_CHECKSUM: usize = 0x1e;
/// Where the low half of an inode's checksum lies.
pub(crate) const INODE_CHECKSUM_LO: usize = 0x7c;
/// Where the high half of an inode's checksum lies.
pub(crate) const INODE_CHECKSUM_HI: usize = 0x82;
/// Bytes of an inode that has no room beyond the first revision's fields.
const GOOD_OLD_INODE_SIZE: usize = 128;
/// Where the checksum field of an attribute block's header lies.
pub(crate) const XATTR_BLOCK_CHECKSUM: usize = 0x10;
/// Where the checksum field of a journal superblock lies.
pub(crate) const JOURNAL_SUPERBLOCK_CHECKSUM: usize = 0xfc;
/// Where the checksum of a journal's commit block lies.
pub(crate) const JOURNAL_COMMIT_CHECKSUM: usize = 0x10;
/// Bytes of a directory block's tail, whose last four hold the checksum.
pub(crate) const DIR_TAIL: usize = 12;
/// Bytes of an index node's tail, whose last four hold the checksum.
pub(crate) const DX_TAIL: usize = 8;

/// A crc32c register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Crc32c(u32);

impl Crc32c {
    /// The register that most sums start with: all ones.
    pub(crate) const ONES: Self = Self(u32::MAX);
    /// The register that fast commits start with.
    pub(crate) const ZERO: Self = Self(0);

    /// Goes on from a register kept elsewhere.
    pub(crate) fn resume(register: u32) -> Self {
        Self(register)
    }

    /// Sums `bytes` on top.
    #[must_use]
    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// Sums `bytes` on top as if the `len` bytes at `at` were zeros.
    #[must_use]
    pub(crate) fn with_zeroed(self, bytes: &[u8], at: usize, len: usize) -> Self {
        let end = at.saturating_add(len);
        let zeros = [0; 8];
        self.with(bytes.get(..at).unwrap_or(bytes))
            .with(zeros.get(..len).unwrap_or(&zeros))
            .with(bytes.get(end..).unwrap_or_default())
    }

    /// The register.
    pub(crate) fn value(self) -> u32 {
        self.0
    }
}

/// What every sum of one file system starts with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FsSeed(Crc32c);

impl FsSeed {
    /// The seed without `metadata_csum_seed`: made of the volume's identifier.
    pub(crate) fn of_uuid(s_uuid: &[u8; 16]) -> Self {
        Self(Crc32c::ONES.with(s_uuid))
    }

    /// The seed that a superblock with `metadata_csum_seed` holds.
    pub(crate) fn stored(s_checksum_seed: u32) -> Self {
        Self(Crc32c::resume(s_checksum_seed))
    }

    /// The seed of what belongs to one inode.
    pub(crate) fn inode(self, number: u32, i_generation: u32) -> InodeSeed {
        InodeSeed(
            self.0
                .with(&number.to_le_bytes())
                .with(&i_generation.to_le_bytes()),
        )
    }

    /// `bg_checksum` of a descriptor with `metadata_csum`; `descriptor` is `s_desc_size` long.
    pub(crate) fn group_descriptor(self, group: u32, descriptor: &[u8]) -> u16 {
        let sum = self
            .0
            .with(&group.to_le_bytes())
            .with_zeroed(descriptor, GROUP_CHECKSUM, 2);
        low_half(sum.value())
    }

    /// `bg_block_bitmap_csum` or `bg_inode_bitmap_csum`: of the bitmap's bytes that have a meaning,
    /// which is an eighth of clusters or inodes per group. Small descriptors keep the low half.
    pub(crate) fn bitmap(self, bitmap: &[u8]) -> u32 {
        self.0.with(bitmap).value()
    }

    /// `h_checksum` of the attribute block that lies in `block`.
    pub(crate) fn xattr_block(self, block: u64, bytes: &[u8]) -> u32 {
        self.0
            .with(&block.to_le_bytes())
            .with_zeroed(bytes, XATTR_BLOCK_CHECKSUM, 4)
            .value()
    }
}

/// What the sums of everything that belongs to one inode start with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct InodeSeed(Crc32c);

impl InodeSeed {
    /// The inode's checksum; `raw` is `s_inode_size` long. If `has_high_half` is false (see
    /// [`inode_has_high_half`]) only the low half is stored.
    pub(crate) fn inode(self, raw: &[u8]) -> u32 {
        let old = raw.get(..GOOD_OLD_INODE_SIZE).unwrap_or(raw);
        let extra = raw.get(GOOD_OLD_INODE_SIZE..).unwrap_or_default();
        let sum = self.0.with_zeroed(old, INODE_CHECKSUM_LO, 2);
        let sum = if inode_has_high_half(raw) {
            let at = INODE_CHECKSUM_HI.saturating_sub(GOOD_OLD_INODE_SIZE);
            sum.with_zeroed(extra, at, 2)
        } else {
            sum.with(extra)
        };
        if inode_has_high_half(raw) {
            sum.value()
        } else {
            u32::from(low_half(sum.value()))
        }
    }

    /// The checksum in the tail of a directory block of names.
    pub(crate) fn dir_block(self, block: &[u8]) -> u32 {
        let summed = block.len().saturating_sub(DIR_TAIL);
        self.0.with(block.get(..summed).unwrap_or(block)).value()
    }

    /// `dt_checksum` of an index node whose entries, the first of which is the pair of limit and
    /// count, start at `entries`.
    pub(crate) fn dx_node(self, block: &[u8], entries: usize, limit: u16, count: u16) -> u32 {
        let end = |n: u16| entries.saturating_add(usize::from(n).saturating_mul(8));
        let reserved = end(limit)..end(limit).saturating_add(4);
        self.0
            .with(block.get(..end(count)).unwrap_or(block))
            .with(block.get(reserved).unwrap_or_default())
            .with(&[0; 4])
            .value()
    }

    /// `et_checksum` of an extent block; `summed` is the header and room for `eh_max` entries.
    pub(crate) fn extent_block(self, summed: &[u8]) -> u32 {
        self.0.with(summed).value()
    }

    /// `ob_checksum` of the orphan file's block that lies in `block`; `inodes` is all of it but
    /// its tail of eight bytes.
    pub(crate) fn orphan_block(self, block: u64, inodes: &[u8]) -> u32 {
        self.0.with(&block.to_le_bytes()).with(inodes).value()
    }
}

/// What the sums of one journal start with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct JournalSeed(Crc32c);

impl JournalSeed {
    /// The seed: made of the journal's own identifier.
    pub(crate) fn of_uuid(s_uuid: &[u8; 16]) -> Self {
        Self(Crc32c::ONES.with(s_uuid))
    }

    /// The sum of a descriptor or revoke block, whose last four bytes hold it.
    pub(crate) fn block_with_tail(self, block: &[u8]) -> u32 {
        self.0
            .with_zeroed(block, block.len().saturating_sub(4), 4)
            .value()
    }

    /// `h_chksum[0]` of a commit block.
    pub(crate) fn commit(self, block: &[u8]) -> u32 {
        self.0
            .with_zeroed(block, JOURNAL_COMMIT_CHECKSUM, 4)
            .value()
    }

    /// The sum of a logged block that a tag keeps: all of it, or the low half.
    pub(crate) fn logged(self, sequence: u32, block: &[u8]) -> u32 {
        self.0.with(&sequence.to_be_bytes()).with(block).value()
    }
}

/// `s_checksum` of a journal superblock of 1024 bytes.
pub(crate) fn journal_superblock(bytes: &[u8]) -> u32 {
    Crc32c::ONES
        .with_zeroed(bytes, JOURNAL_SUPERBLOCK_CHECKSUM, 4)
        .value()
}

/// Whether an inode is large enough, and says that it is, for the high half of its checksum.
pub(crate) fn inode_has_high_half(raw: &[u8]) -> bool {
    let i_extra_isize = raw
        .get(GOOD_OLD_INODE_SIZE..INODE_CHECKSUM_HI)
        .and_then(<[u8]>::first_chunk::<2>)
        .map_or(0, |bytes| u16::from_le_bytes(*bytes));
    usize::from(i_extra_isize)
        >= INODE_CHECKSUM_HI
            .saturating_add(2)
            .saturating_sub(GOOD_OLD_INODE_SIZE)
}

/// `s_checksum` of a superblock of 1024 bytes.
pub(crate) fn superblock(bytes: &[u8]) -> u32 {
    let summed = bytes.get(..SUPERBLOCK_CHECKSUM).unwrap_or(bytes);
    Crc32c::ONES.with(summed).value()
}

/// `bg_checksum` of a descriptor with `uninit_bg` and without `metadata_csum`; `descriptor` is
/// `s_desc_size` long with `64bit`, else 32 bytes.
pub(crate) fn group_descriptor_crc16(s_uuid: &[u8; 16], group: u32, descriptor: &[u8]) -> u16 {
    let end = GROUP_CHECKSUM.saturating_add(2);
    let sum = crc16(u16::MAX, s_uuid);
    let sum = crc16(sum, &group.to_le_bytes());
    let sum = crc16(sum, descriptor.get(..GROUP_CHECKSUM).unwrap_or(descriptor));
    crc16(sum, descriptor.get(end..).unwrap_or_default())
}

/// CRC-16 with the reflected polynomial 0xa001, as `lib/crc16.c`.
fn crc16(register: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(register, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0xa001
            } else {
                sum >> 1
            }
        })
    })
}

/// CRC-32 with the polynomial 0x04c11db7, highest bit first, as `crc32_be`: the sum of a whole
/// transaction in a journal with the first kind of checksums.
pub(crate) fn crc32_be(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |sum, byte| {
        let index = u8::try_from(sum >> 24).unwrap_or(0) ^ byte;
        (sum << 8) ^ CRC32_BE[usize::from(index)]
    })
}

const CRC32_BE: [u32; 256] = crc32_be_table();

const fn crc32_be_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0_u32;
    let mut slot = 0_usize;
    while slot < 256 {
        let mut sum = index << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000_0000 == 0 {
                sum << 1
            } else {
                (sum << 1) ^ 0x04c1_1db7
            };
            bit = i32::wrapping_add(bit, 1);
        }
        table[slot] = sum;
        index = index.wrapping_add(1);
        slot = slot.wrapping_add(1);
    }
    table
}

/// The lower 16 bits.
pub(crate) fn low_half(sum: u32) -> u16 {
    let [a, b, _, _] = sum.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The upper 16 bits.
pub(crate) fn high_half(sum: u32) -> u16 {
    let [_, _, a, b] = sum.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn the_three_polynomials_give_the_published_check_values() {
        assert_eq!(Crc32c::ONES.with(CHECK).value(), !0xe306_9283);
        assert_eq!(crc16(0, CHECK), 0xbb3d);
        assert_eq!(crc16(u16::MAX, CHECK), 0x4b37);
        assert_eq!(crc32_be(u32::MAX, CHECK), 0x0376_e6e7);
    }

    #[test]
    fn a_sum_does_not_depend_on_its_own_field() {
        let seed = FsSeed::of_uuid(&[7; 16]);
        let mut descriptor = [3; 64];
        let before = seed.group_descriptor(1, &descriptor);
        descriptor[GROUP_CHECKSUM] = 0;
        assert_eq!(seed.group_descriptor(1, &descriptor), before);
        descriptor[63] = 0;
        assert_ne!(seed.group_descriptor(1, &descriptor), before);

        let mut block = vec![5; 1024];
        let before = seed.xattr_block(9, &block);
        block[XATTR_BLOCK_CHECKSUM..][..4].fill(0);
        assert_eq!(seed.xattr_block(9, &block), before);
        assert_ne!(seed.xattr_block(8, &block), before);
    }

    #[test]
    fn the_high_half_of_an_inode_counts_only_where_it_is_stored() {
        let seed = FsSeed::stored(1).inode(12, 34);
        let mut raw = vec![0; 256];
        raw[128] = 32;
        let before = seed.inode(&raw);
        raw[INODE_CHECKSUM_HI] = 0xff;
        assert_eq!(seed.inode(&raw), before);
        assert!(before > u32::from(u16::MAX));
        raw[128] = 0;
        let unextended = seed.inode(&raw);
        assert!(unextended <= u32::from(u16::MAX));
        raw[INODE_CHECKSUM_HI] = 0;
        assert_ne!(seed.inode(&raw), unextended);
    }

    #[test]
    fn short_bytes_are_summed_without_panic() {
        let seed = FsSeed::stored(1);
        for len in 0..40 {
            let bytes = vec![1; len];
            let inode = seed.inode(1, 1);
            inode.inode(&bytes);
            inode.dir_block(&bytes);
            inode.dx_node(&bytes, 32, u16::MAX, u16::MAX);
            seed.xattr_block(1, &bytes);
            seed.group_descriptor(1, &bytes);
            superblock(&bytes);
            group_descriptor_crc16(&[0; 16], 1, &bytes);
        }
    }
}

//! The layout of what has a fixed layout, with the names of the kernel's
//! `fs/xfs/libxfs/xfs_format.h`. Numbers are big-endian but for checksums; nothing here is checked.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct xfs_dsb`; version 4 ends before `sb_features_compat`.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawSuperblock {
    pub(crate) sb_magicnum: U32,
    pub(crate) sb_blocksize: U32,
    pub(crate) sb_dblocks: U64,
    pub(crate) sb_rblocks: U64,
    pub(crate) sb_rextents: U64,
    pub(crate) sb_uuid: [u8; 16],
    pub(crate) sb_logstart: U64,
    pub(crate) sb_rootino: U64,
    pub(crate) sb_rbmino: U64,
    pub(crate) sb_rsumino: U64,
    pub(crate) sb_rextsize: U32,
    pub(crate) sb_agblocks: U32,
    pub(crate) sb_agcount: U32,
    pub(crate) sb_rbmblocks: U32,
    pub(crate) sb_logblocks: U32,
    pub(crate) sb_versionnum: U16,
    pub(crate) sb_sectsize: U16,
    pub(crate) sb_inodesize: U16,
    pub(crate) sb_inopblock: U16,
    pub(crate) sb_fname: [u8; 12],
    pub(crate) sb_blocklog: u8,
    pub(crate) sb_sectlog: u8,
    pub(crate) sb_inodelog: u8,
    pub(crate) sb_inopblog: u8,
    pub(crate) sb_agblklog: u8,
    pub(crate) sb_rextslog: u8,
    pub(crate) sb_inprogress: u8,
    pub(crate) sb_imax_pct: u8,
    pub(crate) sb_icount: U64,
    pub(crate) sb_ifree: U64,
    pub(crate) sb_fdblocks: U64,
    pub(crate) sb_frextents: U64,
    pub(crate) sb_uquotino: U64,
    pub(crate) sb_gquotino: U64,
    pub(crate) sb_qflags: U16,
    pub(crate) sb_flags: u8,
    pub(crate) sb_shared_vn: u8,
    pub(crate) sb_inoalignmt: U32,
    pub(crate) sb_unit: U32,
    pub(crate) sb_width: U32,
    pub(crate) sb_dirblklog: u8,
    pub(crate) sb_logsectlog: u8,
    pub(crate) sb_logsectsize: U16,
    pub(crate) sb_logsunit: U32,
    pub(crate) sb_features2: U32,
    pub(crate) sb_bad_features2: U32,
    pub(crate) sb_features_compat: U32,
    pub(crate) sb_features_ro_compat: U32,
    pub(crate) sb_features_incompat: U32,
    pub(crate) sb_features_log_incompat: U32,
    /// Little-endian.
    pub(crate) sb_crc: [u8; 4],
    pub(crate) sb_spino_align: U32,
    pub(crate) sb_pquotino: U64,
    pub(crate) sb_lsn: U64,
    pub(crate) sb_meta_uuid: [u8; 16],
}

/// `struct xfs_agf`: the free space of an allocation group.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawAgf {
    pub(crate) agf_magicnum: U32,
    pub(crate) agf_versionnum: U32,
    pub(crate) agf_seqno: U32,
    pub(crate) agf_length: U32,
    pub(crate) agf_bno_root: U32,
    pub(crate) agf_cnt_root: U32,
    pub(crate) agf_rmap_root: U32,
    pub(crate) agf_bno_level: U32,
    pub(crate) agf_cnt_level: U32,
    pub(crate) agf_rmap_level: U32,
    pub(crate) agf_flfirst: U32,
    pub(crate) agf_fllast: U32,
    pub(crate) agf_flcount: U32,
    pub(crate) agf_freeblks: U32,
    pub(crate) agf_longest: U32,
    pub(crate) agf_btreeblks: U32,
    pub(crate) agf_uuid: [u8; 16],
    pub(crate) agf_rmap_blocks: U32,
    pub(crate) agf_refcount_blocks: U32,
    pub(crate) agf_refcount_root: U32,
    pub(crate) agf_refcount_level: U32,
    pub(crate) agf_spare64: [U64; 14],
    pub(crate) agf_lsn: U64,
    /// Little-endian.
    pub(crate) agf_crc: [u8; 4],
    pub(crate) agf_spare2: U32,
}

/// `struct xfs_agi`: the inodes of an allocation group.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawAgi {
    pub(crate) agi_magicnum: U32,
    pub(crate) agi_versionnum: U32,
    pub(crate) agi_seqno: U32,
    pub(crate) agi_length: U32,
    pub(crate) agi_count: U32,
    pub(crate) agi_root: U32,
    pub(crate) agi_level: U32,
    pub(crate) agi_freecount: U32,
    pub(crate) agi_newino: U32,
    pub(crate) agi_dirino: U32,
    pub(crate) agi_unlinked: [U32; 64],
    pub(crate) agi_uuid: [u8; 16],
    /// Little-endian.
    pub(crate) agi_crc: [u8; 4],
    pub(crate) agi_pad32: U32,
    pub(crate) agi_lsn: U64,
    pub(crate) agi_free_root: U32,
    pub(crate) agi_free_level: U32,
    pub(crate) agi_iblocks: U32,
    pub(crate) agi_fblocks: U32,
}

/// `struct xfs_agfl`: what stands before the list of reserved blocks in version 5.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawAgflHeader {
    pub(crate) agfl_magicnum: U32,
    pub(crate) agfl_seqno: U32,
    pub(crate) agfl_uuid: [u8; 16],
    pub(crate) agfl_lsn: U64,
    /// Little-endian.
    pub(crate) agfl_crc: [u8; 4],
}

/// `struct xfs_btree_block` with pointers within a group; version 4 ends before `bb_blkno`.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawShortBlock {
    pub(crate) bb_magic: U32,
    pub(crate) bb_level: U16,
    pub(crate) bb_numrecs: U16,
    pub(crate) bb_leftsib: U32,
    pub(crate) bb_rightsib: U32,
    pub(crate) bb_blkno: U64,
    pub(crate) bb_lsn: U64,
    pub(crate) bb_uuid: [u8; 16],
    pub(crate) bb_owner: U32,
    /// Little-endian.
    pub(crate) bb_crc: [u8; 4],
}

/// `struct xfs_btree_block` with pointers to anywhere; version 4 ends before `bb_blkno`.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawLongBlock {
    pub(crate) bb_magic: U32,
    pub(crate) bb_level: U16,
    pub(crate) bb_numrecs: U16,
    pub(crate) bb_leftsib: U64,
    pub(crate) bb_rightsib: U64,
    pub(crate) bb_blkno: U64,
    pub(crate) bb_lsn: U64,
    pub(crate) bb_uuid: [u8; 16],
    pub(crate) bb_owner: U64,
    /// Little-endian.
    pub(crate) bb_crc: [u8; 4],
    pub(crate) bb_pad: U32,
}

/// `struct xfs_dinode`; versions 1 and 2 end before `di_crc`.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawInode {
    pub(crate) di_magic: U16,
    pub(crate) di_mode: U16,
    pub(crate) di_version: u8,
    pub(crate) di_format: u8,
    pub(crate) di_onlink: U16,
    pub(crate) di_uid: U32,
    pub(crate) di_gid: U32,
    pub(crate) di_nlink: U32,
    pub(crate) di_projid_lo: U16,
    pub(crate) di_projid_hi: U16,
    /// With `nrext64` the extents of the data fork; before, padding and `di_flushiter`.
    pub(crate) di_big_nextents: U64,
    pub(crate) di_atime: U64,
    pub(crate) di_mtime: U64,
    pub(crate) di_ctime: U64,
    pub(crate) di_size: U64,
    pub(crate) di_nblocks: U64,
    pub(crate) di_extsize: U32,
    /// With `nrext64` the extents of the attribute fork; before, those of the data fork.
    pub(crate) di_nextents: U32,
    /// With `nrext64` padding; before, the extents of the attribute fork.
    pub(crate) di_anextents: U16,
    pub(crate) di_forkoff: u8,
    pub(crate) di_aformat: u8,
    pub(crate) di_dmevmask: U32,
    pub(crate) di_dmstate: U16,
    pub(crate) di_flags: U16,
    pub(crate) di_gen: U32,
    pub(crate) di_next_unlinked: U32,
    /// Little-endian.
    pub(crate) di_crc: [u8; 4],
    pub(crate) di_changecount: U64,
    pub(crate) di_lsn: U64,
    pub(crate) di_flags2: U64,
    pub(crate) di_cowextsize: U32,
    pub(crate) di_pad2: [u8; 12],
    pub(crate) di_crtime: U64,
    pub(crate) di_ino: U64,
    pub(crate) di_uuid: [u8; 16],
}

const _: () = {
    assert!(size_of::<RawSuperblock>() == 264);
    assert!(size_of::<RawAgf>() == 224);
    assert!(size_of::<RawAgi>() == 344);
    assert!(size_of::<RawAgflHeader>() == 36);
    assert!(size_of::<RawShortBlock>() == 56);
    assert!(size_of::<RawLongBlock>() == 72);
    assert!(size_of::<RawInode>() == 176);
};

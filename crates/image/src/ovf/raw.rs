//! The layout of a tar header (POSIX.1-2017, "pax", ustar interchange format).

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Bytes of a header, and what members are padded to.
pub(super) const BLOCK: u64 = 512;

/// What `magic` and `version` hold in POSIX archives; GNU tar writes two spaces and a zero.
pub(super) const MAGIC_POSIX: [u8; 6] = *b"ustar\0";

/// A header block. Numbers are octal digits, or big endian behind a set top bit (GNU).
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) name: [u8; 100],
    mode: [u8; 8],
    uid: [u8; 8],
    gid: [u8; 8],
    pub(super) size: [u8; 12],
    mtime: [u8; 12],
    pub(super) chksum: [u8; 8],
    pub(super) typeflag: u8,
    linkname: [u8; 100],
    pub(super) magic: [u8; 6],
    version: [u8; 2],
    uname: [u8; 32],
    gname: [u8; 32],
    devmajor: [u8; 8],
    devminor: [u8; 8],
    /// The directory of `name` in POSIX archives, other things in GNU ones.
    pub(super) prefix: [u8; 155],
    pad: [u8; 12],
}

const _: () = assert!(size_of::<Header>() == 512);

/// Where `chksum` stands; it counts as spaces in its own sum.
pub(super) const CHKSUM: std::ops::Range<usize> = 148..156;
const _: () = assert!(std::mem::offset_of!(Header, chksum) == CHKSUM.start);

/// Where a header of type `S` says that its map of holes goes on in further blocks, and where such
/// a block says it.
pub(super) const GNU_IS_EXTENDED: usize = 482;
pub(super) const GNU_IS_EXTENDED_AGAIN: usize = 504;

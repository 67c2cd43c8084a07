//! What is known about one node.

use serde::{Deserialize, Serialize};

/// What a node is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// A point in time, to the nanosecond, from the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What a node's inode says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meta {
    /// What the node is.
    pub kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Bytes of content; of a link, bytes of its target.
    pub size: u64,
    /// Names that point here.
    pub links: u32,
    /// When the content changed last.
    pub mtime: Time,
    /// When the node changed last, where the file system keeps it.
    pub ctime: Time,
    /// When it was read last.
    pub atime: Time,
    /// Major and minor number of a device node.
    pub device: Option<(u32, u32)>,
}

/// What a new node starts with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NewNode {
    /// Permission bits, at most `0o7777`; FAT keeps none.
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl NewNode {
    /// Owned by root, with these permission bits.
    pub fn root(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

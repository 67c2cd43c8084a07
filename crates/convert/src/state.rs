//! The state of one object in the guest.

use crate::{Bytes, Error, labels};
use fs::{Kind, NewNode};
use guest::{Guest, GuestPath};
use ondisk::width::{u64_of, usize_of};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fmt::Write as _;

/// A SHA-256 digest; lower-case hex in JSON.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `parts`, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let digest = parse_hex(&hex);
        digest.ok_or_else(|| serde::de::Error::custom("a SHA-256 digest is 64 hex digits"))
    }
}

fn parse_hex(hex: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(Digest(digest))
}

/// What a plan saw at a path: the precondition of a change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum State {
    /// Nothing is there.
    Absent,
    /// A regular file.
    File {
        /// Bytes of content.
        size: u64,
        /// Digest of the content.
        sha256: Digest,
        /// Permissions and owner.
        #[serde(flatten)]
        node: NewNode,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
        /// The content, kept for diffs where it is short.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<Bytes>,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: Bytes,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
    },
    /// A directory; what it holds is no part of the state.
    Dir {
        /// Permissions and owner.
        #[serde(flatten)]
        node: NewNode,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
    },
    /// A device, pipe or socket.
    Special,
}

impl State {
    /// Largest file content that a plan keeps for its diff.
    const KEPT_CONTENT: u64 = 256 << 10;

    /// Largest file that a plan has anything to do with: some initramfs images have hundreds of
    /// MiB, and the size of a sparse file costs its maker nothing.
    const LARGEST: u64 = 2 << 30;

    /// Looks at what `path` itself is; a symbolic link is not followed.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn of(guest: &Guest, path: &GuestPath) -> Result<Self, Error> {
        let Some(meta) = guest.stat(path)? else {
            return Ok(Self::Absent);
        };
        let node = NewNode {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
        };
        let selinux = labels::of(guest, path)?;
        Ok(match meta.kind {
            Kind::File => {
                let (sha256, content) = digest_file(guest, path, meta.size)?;
                Self::File {
                    size: meta.size,
                    sha256,
                    node,
                    selinux,
                    content,
                }
            }
            Kind::Symlink => Self::Symlink {
                target: Bytes(guest.read_link(path)?.unwrap_or_default()),
                selinux,
            },
            Kind::Dir => Self::Dir { node, selinux },
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket => Self::Special,
        })
    }

    /// Whether the same thing is there, whatever is known of its content beside the digest.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File {
                    size,
                    sha256,
                    node,
                    selinux,
                    content: _,
                },
                Self::File {
                    size: size2,
                    sha256: sha2,
                    node: node2,
                    selinux: selinux2,
                    content: _,
                },
            ) => (size, sha256, node, selinux) == (size2, sha2, node2, selinux2),
            _ => self == other,
        }
    }

    /// The SELinux label.
    pub fn selinux(&self) -> Option<&str> {
        match self {
            Self::File { selinux, .. }
            | Self::Symlink { selinux, .. }
            | Self::Dir { selinux, .. } => selinux.as_deref(),
            Self::Absent | Self::Special => None,
        }
    }

    /// The same with another SELinux label.
    #[must_use]
    pub(crate) fn labelled(mut self, label: Option<String>) -> Self {
        if let Self::File { selinux, .. }
        | Self::Symlink { selinux, .. }
        | Self::Dir { selinux, .. } = &mut self
        {
            *selinux = label;
        }
        self
    }

    /// In a few words, for messages.
    pub fn describe(&self) -> String {
        let mut text = match self {
            Self::Absent => "nothing".to_owned(),
            Self::File { size, sha256, .. } => {
                format!("a file of {size} bytes with SHA-256 {sha256}")
            }
            Self::Symlink { target, .. } => format!("a link to {target:?}"),
            Self::Dir { node, .. } => format!("a directory of mode {:o}", node.mode),
            Self::Special => "a device, pipe or socket".to_owned(),
        };
        if let Some(label) = self.selinux() {
            let _ = write!(text, " labelled {label}");
        }
        text
    }
}

/// Reads a file of `size` bytes in pieces; short content is kept.
fn digest_file(
    guest: &Guest,
    path: &GuestPath,
    size: u64,
) -> Result<(Digest, Option<Bytes>), Error> {
    const PIECE: u64 = 1 << 20;
    if size > State::LARGEST {
        return Err(Error::TooLarge {
            path: path.clone(),
            size,
            cap: State::LARGEST,
        });
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; usize_of(size.min(PIECE))];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < size {
        let read = guest.read_range(path, at, &mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        if size <= State::KEPT_CONTENT {
            kept.extend_from_slice(&piece[..read]);
        }
        at += u64_of(read);
    }
    let content = (size <= State::KEPT_CONTENT).then_some(Bytes(kept));
    Ok((Digest(hasher.finalize().into()), content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_json_and_bad_ones_are_refused() {
        let digest = Digest::of(&[b"a", b"bc"]);
        let json = serde_json::to_string(&digest).unwrap();
        assert!(json.contains("ba7816bf8f01cfea414140de5dae2223"), "{json}");
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"+a\"").is_err());
        assert!(serde_json::from_str::<Digest>(&format!("\"{}\"", "é".repeat(32))).is_err());
    }
}

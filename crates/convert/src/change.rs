//! One object's change.

use crate::{Bytes, Digest, Error, State, labels};
use fs::{Kind, NewNode};
use guest::{Guest, GuestPath};
use ondisk::width::{u64_of, usize_of};
use serde::{Deserialize, Serialize};

/// What happens to one object, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    /// The object: a path without symbolic links.
    pub path: GuestPath,
    /// What the plan saw there; if it is not there any more the plan is stale.
    pub before: State,
    /// What will be there.
    pub after: After,
    /// Every rule that asked for it.
    pub because: Vec<Because>,
}

/// A rule's reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Because {
    /// The rule's id.
    pub rule: String,
    /// Why this object, in a sentence.
    pub reason: String,
}

/// What a change leaves at a path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum After {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// What it holds.
        content: Content,
        /// Permissions and owner.
        #[serde(flatten)]
        node: NewNode,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: Bytes,
        /// Owner.
        #[serde(flatten)]
        node: NewNode,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
    },
    /// A directory.
    Dir {
        /// Permissions and owner.
        #[serde(flatten)]
        node: NewNode,
        /// The SELinux label.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        selinux: Option<String>,
    },
}

/// The content of a file after a change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// These bytes.
    Whole(Bytes),
    /// The first `keep` bytes of what is there, then `tail`.
    Extend {
        /// Bytes that stay.
        keep: u64,
        /// Bytes that follow.
        tail: Bytes,
        /// Digest of the whole.
        sha256: Digest,
    },
    /// The content that another file of the guest has before the plan is applied.
    Copy {
        /// The other file.
        from: GuestPath,
        /// Its size.
        size: u64,
        /// Digest of its content.
        sha256: Digest,
    },
}

impl Content {
    /// Bytes of the file after the change.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => u64_of(bytes.0.len()),
            Self::Extend { keep, tail, .. } => keep.saturating_add(u64_of(tail.0.len())),
            Self::Copy { size, .. } => *size,
        }
    }

    /// Digest of the file after the change.
    pub fn sha256(&self) -> Digest {
        match self {
            Self::Whole(bytes) => Digest::of(&[&bytes.0]),
            Self::Extend { sha256, .. } | Self::Copy { sha256, .. } => *sha256,
        }
    }
}

impl After {
    /// What the node is; none if there is none.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Absent => None,
            Self::File { .. } => Some(Kind::File),
            Self::Symlink { .. } => Some(Kind::Symlink),
            Self::Dir { .. } => Some(Kind::Dir),
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

    /// The state that will be seen at the path.
    pub fn state(&self) -> State {
        match self {
            Self::Absent => State::Absent,
            Self::File {
                content,
                node,
                selinux,
            } => State::File {
                size: content.size(),
                sha256: content.sha256(),
                node: *node,
                selinux: selinux.clone(),
                content: None,
            },
            Self::Symlink {
                target, selinux, ..
            } => State::Symlink {
                target: target.clone(),
                selinux: selinux.clone(),
            },
            Self::Dir { node, selinux } => State::Dir {
                node: *node,
                selinux: selinux.clone(),
            },
        }
    }
}

impl Change {
    /// Bytes that the change needs beyond what the object takes now, at most.
    pub(crate) fn growth(&self) -> u64 {
        let before = match &self.before {
            State::File { size, .. } => *size,
            _ => 0,
        };
        match &self.after {
            After::Absent => 0,
            After::File { content, .. } => content.size().saturating_sub(before),
            // A directory starts with one block; a long link target takes one.
            After::Dir { .. } | After::Symlink { .. } => 4096,
        }
    }

    /// Does it.
    pub(crate) fn apply(&self, guest: &mut Guest) -> Result<(), Error> {
        let path = &self.path;
        let is_file = matches!(self.before, State::File { .. });
        let stays_file = is_file && matches!(self.after, After::File { .. });
        if !stays_file && self.before != State::Absent {
            guest.remove(path)?;
        }
        match &self.after {
            After::Absent => {}
            After::Dir { node, .. } => guest.make_dir(path, *node)?,
            After::Symlink { target, node, .. } => guest.symlink(path, &target.0, *node)?,
            After::File {
                content: Content::Extend { keep, tail, .. },
                ..
            } => {
                guest.truncate(path, *keep)?;
                guest.write_at(path, *keep, &tail.0)?;
            }
            After::File { content, node, .. } => {
                let bytes = match content {
                    Content::Whole(bytes) => bytes.0.as_slice(),
                    Content::Copy { .. } => &[],
                    Content::Extend { .. } => unreachable!("handled above"),
                };
                if stays_file {
                    guest.replace_file(path, bytes)?;
                } else {
                    guest.create_file(path, bytes, *node)?;
                }
                if let Content::Copy { from, size, .. } = content {
                    copy(guest, from, path, *size)?;
                }
            }
        }
        if let (After::File { node, .. }, State::File { node: before, .. }) =
            (&self.after, &self.before)
            && node != before
        {
            guest.set_owner(path, *node)?;
        }
        let now = if stays_file {
            self.before.selinux()
        } else {
            None
        };
        let state = self.after.state();
        if state.selinux() != now {
            labels::set(guest, path, state.selinux())?;
        }
        Ok(())
    }
}

/// Copies `size` bytes in pieces: how large a file is, the guest says.
fn copy(guest: &mut Guest, from: &GuestPath, to: &GuestPath, size: u64) -> Result<(), Error> {
    const PIECE: u64 = 1 << 20;
    let mut piece = vec![0; usize_of(size.min(PIECE))];
    let mut at = 0;
    while at < size {
        let read = guest.read_range(from, at, &mut piece)?;
        if read == 0 {
            break;
        }
        guest.write_at(to, at, &piece[..read])?;
        at += u64_of(read);
    }
    Ok(())
}

//! What was changed inside a guest, as far as a report may show it.

use crate::Diff;
use crate::sensitive::{holds_key, is_known_configuration, is_secret_path, take_out};
use convert::{After, Content, State};
use serde::{Deserialize, Serialize};

/// What was changed about one object of the guest, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// The object; bytes that are no readable text are escaped.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Every rule that asked for it, with its reason.
    pub because: Vec<Because>,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Object>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Object>,
    /// The difference, where both sides are text that may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
    /// Why there is no diff, or what a diff could not show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is another one than before.
    Changed,
    /// It is not there any more.
    Removed,
}

/// A rule and its reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Because {
    /// The rule's id.
    pub rule: String,
    /// Why this object, in a sentence.
    pub reason: String,
}

/// An object without its content.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Bytes of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of a file, in hex; none of one that may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Permissions, in octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner, as `0:0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What an object is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectKind {
    /// A regular file.
    #[default]
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Dir,
    /// A device, pipe or socket.
    Special,
}

/// Most bytes of one diff.
const LARGEST_DIFF: usize = 128 << 10;

/// Most bytes of all diffs of a machine.
const ALL_DIFFS: usize = 8 << 20;

impl Change {
    /// What a plan changes, in its order.
    pub fn all(changes: &[convert::Change]) -> Vec<Self> {
        let mut room = ALL_DIFFS;
        let shown = changes.iter().map(|change| {
            let change = Self::new(change, room.min(LARGEST_DIFF));
            let diff = change.diff.as_ref().map_or(0, |diff| diff.text.len());
            room = room.saturating_sub(diff);
            change
        });
        shown.collect()
    }

    fn new(change: &convert::Change, room: usize) -> Self {
        let secret = is_secret(change);
        let kind = match (&change.before, &change.after) {
            (State::Absent, _) => ChangeKind::Added,
            (_, After::Absent) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let because = change.because.iter().map(|because| Because {
            rule: because.rule.clone(),
            reason: because.reason.clone(),
        });
        let mut diff = None;
        if !secret && let Some(whole) = change.diff() {
            diff = Some(Diff::new(&take_out(&whole), room));
        }
        Self {
            path: change.path.to_string(),
            kind,
            because: because.collect(),
            before: object(&change.before, secret),
            after: object(&change.after.state(), secret),
            diff,
            note: if secret {
                Some("not shown: it may hold a secret".to_owned())
            } else {
                note(&change.after)
            },
        }
    }
}

impl Change {
    /// Whether it only keeps the original of something that is changed, or is the receipt.
    pub fn is_record(&self) -> bool {
        /// What stands for a rule in the reasons of these.
        const ORIGINALS: &str = "originals";
        !self.because.is_empty() && self.because.iter().all(|it| it.rule == ORIGINALS)
    }
}

/// Whether nothing of the content may be shown.
fn is_secret(change: &convert::Change) -> bool {
    let everybody_reads = |mode: u16| mode & 0o004 != 0;
    let (mut text, mut protected) = (Vec::new(), false);
    if let State::File { node, content, .. } = &change.before {
        protected |= !everybody_reads(node.mode);
        text.extend(content.as_ref().and_then(convert::Bytes::text));
    }
    if let After::File { node, content, .. } = &change.after {
        protected |= !everybody_reads(node.mode);
        match content {
            Content::Whole(bytes) => text.extend(bytes.text()),
            Content::Extend { tail, .. } => text.extend(tail.text()),
            Content::Copy { .. } => {}
        }
    }
    is_secret_path(&change.path)
        || protected && !is_known_configuration(&change.path)
        || text.into_iter().any(holds_key)
}

fn object(state: &State, secret: bool) -> Option<Object> {
    let of_node = |kind, node: &fs::NewNode| Object {
        kind,
        mode: Some(format!("{:04o}", node.mode)),
        owner: Some(format!("{}:{}", node.uid, node.gid)),
        ..Object::default()
    };
    match state {
        State::Absent => None,
        State::File {
            size, sha256, node, ..
        } => Some(Object {
            size: Some(*size),
            sha256: (!secret).then(|| sha256.to_string()),
            ..of_node(ObjectKind::File, node)
        }),
        State::Symlink { target, .. } => Some(Object {
            kind: ObjectKind::Symlink,
            target: Some(String::from_utf8_lossy(&target.0).into_owned()),
            ..Object::default()
        }),
        State::Dir { node, .. } => Some(of_node(ObjectKind::Dir, node)),
        State::Special => Some(Object {
            kind: ObjectKind::Special,
            ..Object::default()
        }),
    }
}

/// What a diff could not show.
fn note(after: &After) -> Option<String> {
    match after {
        After::File {
            content: Content::Extend { keep, tail, .. },
            ..
        } => Some(format!(
            "{keep} bytes kept, {} bytes appended",
            tail.0.len()
        )),
        After::File {
            content: Content::Copy { from, .. },
            ..
        } => Some(format!("a copy of {from}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convert::{Bytes, Digest};
    use fs::NewNode;
    use guest::GuestPath;

    fn changed(path: &str, mode: u16, before: &str, after: &str) -> convert::Change {
        convert::Change {
            path: GuestPath::from(path),
            before: State::File {
                size: u64::try_from(before.len()).unwrap(),
                sha256: Digest::of(&[before.as_bytes()]),
                node: NewNode::root(mode),
                selinux: None,
                content: Some(Bytes(before.into())),
            },
            after: After::File {
                content: Content::Whole(Bytes(after.into())),
                node: NewNode::root(mode),
                selinux: None,
            },
            because: vec![convert::Because {
                rule: "fstab-by-uuid".to_owned(),
                reason: "names change".to_owned(),
            }],
        }
    }

    fn one(change: &convert::Change) -> Change {
        Change::all(std::slice::from_ref(change)).remove(0)
    }

    #[test]
    fn a_changed_file_has_its_diff_reasons_and_digests() {
        let change = one(&changed("/etc/fstab", 0o644, "a\nb\n", "a\nc\n"));
        assert_eq!(change.kind, ChangeKind::Changed);
        assert!(change.diff.unwrap().text.ends_with(" a\n-b\n+c\n"));
        let before = change.before.unwrap();
        assert_eq!(
            (before.size, before.mode.as_deref()),
            (Some(4), Some("0644"))
        );
        assert_eq!(before.sha256.unwrap().len(), 64);
        assert_eq!(change.because[0].rule, "fstab-by-uuid");
    }

    #[test]
    fn nothing_of_what_may_be_a_secret_is_kept() {
        let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n";
        for change in [
            changed("/etc/shadow", 0o644, "root:hunter2:1\n", "root:hunter2:2\n"),
            changed("/etc/app.conf", 0o640, "hunter2\n", "hunter2 b\n"),
            changed("/etc/app.txt", 0o644, "a\n", key),
            changed("/etc/app.txt", 0o644, key, "a\n"),
        ] {
            let shown = one(&change);
            let json = serde_json::to_string(&shown).unwrap();
            assert!(!json.contains("hunter2"), "{json}");
            assert!(shown.before.unwrap().sha256.is_none(), "{json}");
            assert!(shown.after.unwrap().sha256.is_none(), "{json}");
            assert!(shown.note.unwrap().contains("secret"));
        }
        let netplan = changed(
            "/etc/netplan/a.yaml",
            0o600,
            "dhcp4: no\npassword: hunter2\n",
            "dhcp4: yes\npassword: hunter2\n",
        );
        let diff = one(&netplan).diff.unwrap().text;
        assert!(diff.contains("+dhcp4: yes"), "{diff}");
        assert!(!diff.contains("hunter2"), "{diff}");
    }

    #[test]
    fn diffs_are_bounded_each_and_together() {
        let long = "x".repeat(100) + "\n";
        let change = changed("/etc/a", 0o644, "", &long.repeat(2500));
        let changes = vec![change; 200];
        let shown = Change::all(&changes);
        let sizes: Vec<_> = shown
            .iter()
            .map(|it| it.diff.as_ref().unwrap().text.len())
            .collect();
        assert!(sizes[0] > 100_000 && sizes[0] <= LARGEST_DIFF);
        assert!(sizes.iter().sum::<usize>() <= ALL_DIFFS);
        assert!(shown.iter().all(|it| it.diff.as_ref().unwrap().cut > 0));
    }

    #[test]
    fn what_no_diff_shows_is_said() {
        let mut change = changed("/boot/initrd.img", 0o644, "a", "b");
        change.after = After::File {
            content: Content::Extend {
                keep: 1,
                tail: Bytes(vec![0; 512]),
                sha256: Digest::of(&[b"b"]),
            },
            node: NewNode::root(0o644),
            selinux: None,
        };
        let shown = one(&change);
        assert_eq!(shown.note.unwrap(), "1 bytes kept, 512 bytes appended");
        assert_eq!(shown.after.unwrap().size, Some(513));
        assert!(shown.diff.is_none());
        change.before = State::Symlink {
            target: Bytes(b"../a".to_vec()),
            selinux: None,
        };
        change.after = After::Absent;
        let shown = one(&change);
        assert_eq!(shown.kind, ChangeKind::Removed);
        assert_eq!(shown.before.unwrap().target.unwrap(), "../a");
    }
}

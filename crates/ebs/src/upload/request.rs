//! What is to be uploaded.

use super::volume::Volume;
use crate::{Error, tag};
use block::BlockRead;
use ondisk::width::u64_of;
use ondisk::{Interrupt, Progress};
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::path::Path;
use store::{BLOCK, Digest, Index, Job, Outcome, SnapshotSink};

/// What is to be uploaded.
#[derive(Clone, Copy, Debug)]
pub struct UploadRequest<'a> {
    /// The disk.
    pub disk: &'a dyn BlockRead,
    /// The snapshot of which it inherits.
    pub parent: Option<Parent<'a>>,
    /// The volume's size in GiB, 1 to 65536, if it is to be larger than the disk.
    pub volume_size: Option<u32>,
    /// What people call it; at most 255 characters, and may be empty.
    pub description: &'a str,
    /// What it has in common with the other disks of its machine; may be empty.
    pub set: &'a str,
    /// Tags besides rehost's own; at most 41.
    pub tags: &'a [(&'a str, &'a str)],
    /// The project, which keeps equal names of machines apart; may be empty.
    pub project: &'a str,
    /// The machine.
    pub machine: &'a str,
    /// The disk of the machine.
    pub disk_name: &'a str,
    /// What the snapshot is for.
    pub role: Role,
    /// What tells this state of the source from every other one: a snapshot's id, a digest, a time of
    /// change. The same upload again is known by it.
    pub identity: &'a str,
    /// Encryption; with a parent it is the parent's.
    pub encryption: Encryption<'a>,
    /// As in [`Job`].
    pub zero_fill: bool,
    /// As in [`Job`].
    pub changed: Option<&'a [Range<u64>]>,
    /// Makes no snapshot if the parent has all of the disk: it stands for it.
    pub only_if_changed: bool,
    /// Where the journal of the upload is kept, and the index of the snapshot afterwards.
    pub journal_dir: &'a Path,
    /// The service gives a snapshot up that no block was put into for so many minutes, 10 to 4320: as
    /// long can an interrupted upload be continued.
    pub timeout_minutes: u16,
}

/// The snapshot of which a new one inherits.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it holds.
    pub index: &'a Index,
    /// Whether the index has all of it. Else it has what it holds within
    /// [`UploadRequest::changed`], and nothing is kept of which a child could be made.
    pub whole: bool,
    /// Whether it is encrypted: its child is too.
    pub encrypted: bool,
    /// The volume's size in GiB.
    pub volume_size: u32,
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The source as it was.
    Staging,
    /// The source converted for EC2.
    Converted,
    /// A disk as such, of which no more is known.
    Copy,
}

/// How a snapshot without a parent is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption<'a> {
    /// As the account does it by default.
    Default,
    /// Not at all; refused where the account encrypts by default.
    Unencrypted,
    /// With the account's default key.
    DefaultKey,
    /// With the key of that ARN.
    Key(&'a str),
}

/// Sizes of a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Of the disk, and behind it as far as the parent has any.
    pub(crate) blocks: u32,
    pub(crate) gib: i64,
}

const GIB: u64 = 1 << 30;

impl Role {
    /// The value of the tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Converted => "converted",
            Self::Copy => "copy",
        }
    }
}

impl<'a> UploadRequest<'a> {
    /// What can be known to be refused before anything is asked for.
    pub(crate) fn check(&self) -> Result<Size, Error> {
        let bad = |what: String| Err(Error::Request(what));
        let of_disk = store::engine::disk_blocks(self.disk.size()).map_err(Error::of_engine)?;
        let last = self.parent.and_then(|parent| parent.index.records().last());
        let blocks = last.map_or(0, |last| last.0.saturating_add(1)).max(of_disk);
        let size = u64::from(blocks).saturating_mul(BLOCK);
        let least = u32::try_from(size.div_ceil(GIB).max(1)).unwrap_or(u32::MAX);
        // A child is not smaller than its parent.
        let least = least.max(self.parent.map_or(0, |parent| parent.volume_size));
        let gib = self.volume_size.unwrap_or(least);
        if gib < least || gib > 65_536 {
            return bad(format!(
                "a volume of {gib} GiB does not hold a disk of {least} GiB"
            ));
        }
        if let Some(parent) = self.parent {
            crate::info::check_id(parent.id)?;
            if !parent.whole && self.changed.is_none() {
                return bad("not all is known of the parent, and not what changed".to_owned());
            }
            if self.encryption != Encryption::Default {
                return bad("a snapshot is encrypted as its parent is".to_owned());
            }
        }
        if !(10..=4320).contains(&self.timeout_minutes) {
            let minutes = self.timeout_minutes;
            return bad(format!(
                "a time-out of {minutes} minutes is not within 10 and 4320"
            ));
        }
        if self.description.chars().count() > tag::MAX_VALUE {
            return bad("the description is longer than 255 characters".to_owned());
        }
        let bytes = size.to_string();
        let tags = self.all_tags("", &bytes);
        if tags.len() > tag::MAX_TAGS {
            return bad(format!("{} tags are more than 50", tags.len()));
        }
        for (at, (key, value)) in tags.iter().enumerate() {
            let (key_len, value_len) = (key.chars().count(), value.chars().count());
            if key_len == 0 || key_len > tag::MAX_KEY || value_len > tag::MAX_VALUE {
                return bad(format!(
                    "the tag {key} has a key or a value that is too long"
                ));
            }
            if key.starts_with("aws:") || tags[..at].iter().any(|(other, _)| other == key) {
                return bad(format!("the tag {key} is there twice, or AWS's own"));
            }
        }
        Ok(Size {
            blocks,
            gib: i64::from(gib),
        })
    }

    /// All tags of the snapshot; `source` as [`Self::source`] in hex, `size` in bytes.
    pub(crate) fn all_tags(&self, source: &'a str, size: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut tags = vec![
            (tag::TOOL, tag::TOOL_VALUE),
            (tag::MACHINE, self.machine),
            (tag::DISK, self.disk_name),
            (tag::ROLE, self.role.as_str()),
            (tag::SOURCE, source),
            (tag::SIZE, size),
        ];
        tags.extend(self.parent.map(|parent| (tag::PARENT, parent.id)));
        tags.extend((!self.set.is_empty()).then_some((tag::SET, self.set)));
        tags.extend((!self.project.is_empty()).then_some((tag::PROJECT, self.project)));
        tags.extend_from_slice(self.tags);
        tags
    }

    /// What makes this upload another one than every other.
    pub(crate) fn source(&self, size: &Size) -> Digest {
        let (encryption, key) = match self.encryption {
            Encryption::Default => ("default", ""),
            Encryption::Unencrypted => ("none", ""),
            Encryption::DefaultKey => ("default key", ""),
            Encryption::Key(arn) => ("key", arn),
        };
        let sizes = format!("{} {} {}", self.disk.size(), size.gib, self.zero_fill);
        digest(&[
            "rehost upload 1",
            self.project,
            self.machine,
            self.disk_name,
            self.role.as_str(),
            self.identity,
            self.parent.map_or("", |parent| parent.id),
            encryption,
            key,
            &sizes,
        ])
    }

    /// The client token of an attempt: the same again begins no second snapshot. All that
    /// StartSnapshot takes is in it, for the same token with something else is a conflict.
    pub(crate) fn token(&self, source: &Digest, attempt: u32) -> String {
        let source = super::hex(source);
        let numbers = format!("{attempt} {}", self.timeout_minutes);
        let mut parts = vec![source.as_str(), &numbers, self.description, self.set];
        for (key, value) in self.tags {
            parts.extend([*key, *value]);
        }
        super::hex(&digest(&parts))
    }

    /// Stores what the job of this upload has to put.
    pub(crate) fn run(
        &self,
        size: &Size,
        encrypted: bool,
        sink: &dyn SnapshotSink,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Outcome, store::Error> {
        let end = self.disk.size();
        // Where only the disk's last block is not whole, the engine fills it itself.
        let blocks = Some(u64::from(size.blocks)).filter(|blocks| *blocks > end.div_ceil(BLOCK));
        let volume = Volume::new(self.disk, blocks.unwrap_or(0).saturating_mul(BLOCK));
        // Whoever lists what has changed of a disk knows nothing of what is behind it.
        let changed = self.changed.map(|ranges| {
            let mut ranges = ranges.to_vec();
            ranges.push(end..volume.size());
            ranges
        });
        let job = Job {
            disk: &volume,
            parent: self.parent.map(|parent| parent.index),
            encrypted,
            zero_fill: self.zero_fill,
            changed: changed.as_deref(),
        };
        store::engine::run(&job, sink, progress, interrupt)
    }
}

/// Over the parts with their lengths, so that no two lists of parts are alike.
fn digest(parts: &[&str]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64_of(part.len()).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    fn request<'a>(disk: &'a Memory) -> UploadRequest<'a> {
        UploadRequest {
            disk,
            parent: None,
            volume_size: None,
            description: "",
            set: "",
            tags: &[],
            project: "",
            machine: "web1",
            disk_name: "sda",
            role: Role::Staging,
            identity: "1",
            encryption: Encryption::Default,
            zero_fill: false,
            changed: None,
            only_if_changed: false,
            journal_dir: Path::new("."),
            timeout_minutes: 60,
        }
    }

    #[test]
    fn what_the_service_would_refuse_is_not_asked_for() {
        let disk = Memory::new(vec![0; 1000]);
        let good = request(&disk);
        let size = good.check().unwrap();
        assert_eq!((size.blocks, size.gib), (1, 1));
        let index = Index::default();
        let parent = |id| Parent {
            id,
            index: &index,
            whole: true,
            encrypted: false,
            volume_size: 1,
        };
        let many: Vec<String> = (0..45).map(|number| format!("k{number}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "v")).collect();
        let bad = [
            UploadRequest {
                volume_size: Some(0),
                ..good
            },
            UploadRequest {
                volume_size: Some(65_537),
                ..good
            },
            UploadRequest {
                timeout_minutes: 9,
                ..good
            },
            UploadRequest {
                timeout_minutes: 4321,
                ..good
            },
            UploadRequest {
                tags: &many,
                ..good
            },
            UploadRequest {
                tags: &[("aws:x", "")],
                ..good
            },
            UploadRequest {
                tags: &[("", "")],
                ..good
            },
            UploadRequest {
                tags: &[("rehost:disk", "")],
                ..good
            },
            UploadRequest {
                parent: Some(parent("snap-x")),
                ..good
            },
            UploadRequest {
                parent: Some(Parent {
                    whole: false,
                    ..parent("snap-1")
                }),
                ..good
            },
            UploadRequest {
                volume_size: Some(1),
                parent: Some(Parent {
                    volume_size: 2,
                    ..parent("snap-1")
                }),
                ..good
            },
            UploadRequest {
                parent: Some(parent("snap-1")),
                encryption: Encryption::DefaultKey,
                ..good
            },
        ];
        for (at, request) in bad.iter().enumerate() {
            assert!(request.check().is_err(), "{at}");
        }
    }

    #[test]
    fn other_words_make_another_token_but_the_same_upload() {
        let disk = Memory::new(vec![0; 1000]);
        let one = request(&disk);
        let size = one.check().unwrap();
        let source = one.source(&size);
        let token = one.token(&source, 0);
        assert_eq!(token.len(), 64);
        let renamed = UploadRequest {
            description: "x",
            ..one
        };
        assert_eq!(renamed.source(&size), source);
        assert_ne!(renamed.token(&source, 0), token);
        assert_ne!(one.token(&source, 1), token);
        let shifted = UploadRequest {
            machine: "web",
            disk_name: "1sda",
            ..one
        };
        assert_ne!(shifted.source(&size), source);
    }
}

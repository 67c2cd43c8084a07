//! How disks are named on the command line.

use crate::snapshot_name;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use store::SnapshotId;

/// Where a disk is read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// An image file or a block device; `-` is stdin.
    File(PathBuf),
    /// A snapshot in a local store.
    Snapshot { store: PathBuf, id: SnapshotId },
    /// A snapshot in EBS.
    Ebs(String),
}

/// Where disks are written to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Destination {
    /// An image file, or a directory of them.
    Path(PathBuf),
    /// A local store.
    Store(PathBuf),
    /// EBS, in the region of the options.
    Ebs,
}

const STORE: &str = "store:";
const EBS: &str = "ebs:";

impl Source {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(id) = text.strip_prefix(EBS) {
            if !is_ebs_id(id) {
                bail!(
                    "{text}: a snapshot in EBS is named ebs:SNAPSHOT, as in ebs:snap-0123456789abcdef0"
                );
            }
            return Ok(Self::Ebs(id.to_owned()));
        }
        let Some(rest) = text.strip_prefix(STORE) else {
            return Ok(Self::File(text.into()));
        };
        let Some((dir, id)) = rest.rsplit_once('#') else {
            bail!("{text}: a snapshot is named store:DIR#SNAPSHOT");
        };
        Ok(Self::Snapshot {
            store: dir.into(),
            id: snapshot_name::resolve(Path::new(dir), id)?,
        })
    }

    /// The name of the disk in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Snapshot { store, id } => format!("{STORE}{}#{id}", store.display()),
            Self::Ebs(id) => format!("{EBS}{id}"),
        }
    }

    /// The name of an output made from it, without directory and ending.
    pub(crate) fn stem(&self) -> String {
        match self {
            Self::File(path) if path == Path::new("-") => "stdin".to_owned(),
            Self::File(path) => stem_of(path),
            Self::Snapshot { id, .. } => id.to_string(),
            Self::Ebs(id) => id.clone(),
        }
    }
}

/// EBS had ids of 8 digits before those of 17; the length is not looked at.
fn is_ebs_id(text: &str) -> bool {
    let digits = text.strip_prefix("snap-").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (1..=59).contains(&digits.len()) && digits.bytes().all(is_digit)
}

fn stem_of(path: &Path) -> String {
    let stem = path.file_stem().or(path.file_name());
    stem.map_or_else(
        || "disk".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

impl Source {
    /// A snapshot, where nothing else is meant.
    pub(crate) fn snapshot(text: &str) -> Result<(PathBuf, SnapshotId)> {
        match Self::parse(text)? {
            Self::Snapshot { store, id } => Ok((store, id)),
            Self::File(_) | Self::Ebs(_) => {
                bail!("{text}: name a snapshot as store:DIR#SNAPSHOT")
            }
        }
    }
}

impl Destination {
    /// A store, where nothing else is meant.
    pub(crate) fn store(text: &str) -> Result<PathBuf> {
        match Self::parse(text)? {
            Self::Store(dir) => Ok(dir),
            Self::Path(_) | Self::Ebs => bail!("{text}: name a store as store:DIR"),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix(EBS) {
            Some("") => return Ok(Self::Ebs),
            Some(_) => bail!("{text}: snapshots in EBS get their names there; write ebs: alone"),
            None => {}
        }
        Ok(match text.strip_prefix(STORE) {
            Some(dir) if dir.contains('#') => {
                bail!("{text}: a snapshot is never written; name the store alone")
            }
            Some(dir) => Self::Store(dir.into()),
            None => Self::Path(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_files_are_told_apart() {
        assert_eq!(Source::parse("a/b.vmdk").unwrap().stem(), "b");
        assert_eq!(Source::parse("-").unwrap().stem(), "stdin");
        let snapshot = Source::parse("store:/srv/s#snap-0123456789abcdef0").unwrap();
        assert_eq!(snapshot.name(), "store:/srv/s#snap-0123456789abcdef0");
        assert!(Source::parse("store:/srv/s").is_err());
        assert!(Source::parse("store:/srv/s#../x").is_err());
        assert_eq!(
            Destination::parse("store:x").unwrap(),
            Destination::Store("x".into())
        );
        assert!(Destination::parse("store:x#snap-0123456789abcdef0").is_err());
        assert_eq!(Destination::store("store:x").unwrap(), Path::new("x"));
        assert!(Destination::store("x").is_err());
        assert!(Source::snapshot("x.raw").is_err());
    }

    #[test]
    fn snapshots_in_ebs_are_named_by_their_ids_alone() {
        let source = Source::parse("ebs:snap-0123456789abcdef0").unwrap();
        assert_eq!(source, Source::Ebs("snap-0123456789abcdef0".to_owned()));
        assert_eq!(source.name(), "ebs:snap-0123456789abcdef0");
        assert_eq!(source.stem(), "snap-0123456789abcdef0");
        assert!(Source::parse("ebs:snap-12345678").is_ok());
        for bad in [
            "ebs:",
            "ebs:x.vmdk",
            "ebs:snap-",
            "ebs:snap-X",
            "ebs:snap-1/../2",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Destination::parse("ebs:").unwrap(), Destination::Ebs);
        assert!(Destination::parse("ebs:snap-0123456789abcdef0").is_err());
        assert!(Destination::store("ebs:").is_err());
        assert!(Source::snapshot("ebs:snap-0123456789abcdef0").is_err());
    }
}

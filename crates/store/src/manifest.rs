//! What is known about a snapshot besides its blocks.

use crate::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

/// A snapshot's name: `snap-` and 17 lower-case hex digits, as EBS names its own.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

impl SnapshotId {
    const PREFIX: &str = "snap-";
    const DIGITS: usize = 17;

    /// The id of the snapshot whose content has this digest, in hex.
    pub(crate) fn of_digest(hex: &str) -> Self {
        Self(format!("{}{}", Self::PREFIX, &hex[..Self::DIGITS]))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == Self::DIGITS && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::BadId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}

/// What is known about a snapshot besides its blocks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest.
    pub format: u32,
    /// The snapshot's name.
    pub id: SnapshotId,
    /// What the user calls it.
    pub description: String,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks that are not all zeros.
    pub blocks: u64,
    /// SHA-256 over the digests of these blocks in ascending order, in hex: what EBS calls a
    /// LINEAR aggregate.
    pub linear_sha256: String,
    /// SHA-256 of the index file, in hex.
    pub index_sha256: String,
}

/// What makes a directory a store.
#[derive(Deserialize, Serialize)]
pub(crate) struct Marker {
    pub(crate) format: u32,
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).expect("manifests hold strings and numbers");
    text.push('\n');
    publish(path, text.as_bytes(), true)
}

/// Writes a file that exists under its name only when it is whole; `durable` ones survive a crash.
pub(crate) fn publish(path: &Path, content: &[u8], durable: bool) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".partial-")
        .tempfile_in(dir)
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    if durable {
        file.as_file().sync_all().map_err(io)?;
    }
    file.persist(path).map_err(|error| io(error.error))?;
    if durable {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_become_file_names() {
        assert!("snap-0123456789abcdef0".parse::<SnapshotId>().is_ok());
        for bad in [
            "",
            "snap-",
            "snap-../../../etc/pass",
            "snap-0123456789ABCDEF0",
        ] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }
}

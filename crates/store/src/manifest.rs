//! What is known about a snapshot besides its blocks.

use crate::files::{self, corrupt};
use crate::index::hex;
use crate::{BLOCK, Error, FORMAT, MAX_DISK};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A snapshot's name: `snap-` and 17 lower-case hex digits, as EBS names its own.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

impl SnapshotId {
    const PREFIX: &str = "snap-";
    const DIGITS: usize = 17;

    /// A name for something that has none yet.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

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
        if digits.len() == Self::DIGITS && digits.bytes().all(is_hex_digit) {
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

/// The state of the files that a disk was read from, as whoever read it puts it: 1 to 64 lower-case
/// hex digits, which mean nothing to a store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceState(String);

impl SourceState {
    const MAX: usize = 64;
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SourceState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(is_hex_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::BadSourceState(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SourceState {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<SourceState> for String {
    fn from(state: SourceState) -> Self {
        state.0
    }
}

fn is_hex_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// What a snapshot is for.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The disk as the source has it.
    #[default]
    Staging,
    /// The disk as it boots on EC2.
    Converted,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Staging => "staging",
            Self::Converted => "converted",
        })
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
    /// The snapshot that this one was made from. It may have been removed since.
    pub parent: Option<SnapshotId>,
    /// The machine.
    pub machine: String,
    /// The disk among those of the machine.
    pub disk: String,
    /// What the snapshot is for.
    pub role: Role,
    /// What the user calls it.
    pub description: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks that are not all zeros, own and inherited.
    pub blocks: u64,
    /// Blocks that differ from the parent's; without a parent, all that are not zeros.
    pub put_blocks: u64,
    /// SHA-256 over the digests of these blocks in ascending order, in hex: what EBS calls a
    /// LINEAR aggregate.
    pub linear_sha256: String,
    /// SHA-256 of the index file, in hex.
    pub index_sha256: String,
    /// The state of the files that hold exactly this disk, if it is known: part of no name, and
    /// not in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceState>,
    /// SHA-256 of this manifest with nothing in this field, in hex.
    pub manifest_sha256: String,
}

/// Most bytes of a manifest: three strings of the user and a few numbers.
const MAX_FILE: u64 = 1 << 20;

impl Manifest {
    /// Reads what [`encode`](Self::encode) wrote; `path` is the file that an error names.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Format`] if another version wrote it, [`Error::Corrupt`] if a bit
    /// of it changed.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        // Another version may have other fields.
        Versioned::check(path, bytes)?;
        let manifest: Self = from_json(path, bytes)?;
        let sound = manifest.block_size == BLOCK
            && manifest.disk_size <= MAX_DISK
            && manifest.blocks <= manifest.disk_blocks()
            && manifest.put_blocks <= manifest.disk_blocks();
        if !sound {
            return Err(corrupt(
                path,
                "its numbers are not those of a snapshot".to_owned(),
            ));
        }
        if manifest.manifest_sha256 != manifest.sha256() || manifest.encode() != bytes {
            return Err(corrupt(path, "its SHA-256 is not the one in it".to_owned()));
        }
        if manifest.id != manifest.identity() {
            return Err(corrupt(
                path,
                "its id is not that of what it says".to_owned(),
            ));
        }
        Ok(manifest)
    }

    /// The manifest as the bytes of its file.
    pub fn encode(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Fills in what follows from the rest: the id and the checksum.
    pub(crate) fn sealed(mut self) -> Self {
        self.id = self.identity();
        self.manifest_sha256 = self.sha256();
        self
    }

    fn sha256(&self) -> String {
        let mut without = self.clone();
        without.manifest_sha256.clear();
        hex(&Sha256::digest(without.encode()))
    }

    /// The id is made of the content, the parent and what the snapshot is of: the same run again
    /// gives the same one, at any time.
    fn identity(&self) -> SnapshotId {
        SnapshotId::of_digest(&hex(&Sha256::digest(to_json(&self.named()))))
    }

    /// Whether an id that both have is no coincidence.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        self.named() == other.named()
    }

    fn named(&self) -> impl Serialize + PartialEq + '_ {
        (
            &self.parent,
            &self.machine,
            &self.disk,
            self.role,
            self.disk_size,
            &self.index_sha256,
        )
    }

    pub(crate) fn disk_blocks(&self) -> u64 {
        self.disk_size.div_ceil(BLOCK)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let manifest = Self::decode(path, &files::read(path, MAX_FILE)?)?;
        let name = format!("{}.json", manifest.id);
        if path.file_name().is_some_and(|file| *file != *name) {
            return Err(corrupt(
                path,
                format!("it is the manifest of {}", manifest.id),
            ));
        }
        Ok(manifest)
    }
}

/// What makes a directory a store.
#[derive(Deserialize, Serialize)]
pub(crate) struct Marker {
    pub(crate) format: u32,
}

impl Marker {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = files::read(path, MAX_FILE)?;
        Versioned::check(path, &bytes)?;
        let marker: Self = from_json(path, &bytes)?;
        if marker.encode() != bytes {
            return Err(corrupt(path, "it is not as it was written".to_owned()));
        }
        Ok(marker)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// What manifests and markers of all versions have.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Versioned {
    fn check(path: &Path, bytes: &[u8]) -> Result<(), Error> {
        match from_json(path, bytes)? {
            Self { format: FORMAT } => Ok(()),
            Self { format } => Err(Error::Format {
                path: path.to_owned(),
                found: format,
                expected: FORMAT,
            }),
        }
    }
}

fn from_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Strings and numbers always have a JSON form.
    let mut text = serde_json::to_vec_pretty(value).expect("it holds strings and numbers");
    text.push(b'\n');
    text
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

    #[test]
    fn states_of_sources_are_short_hex() {
        for good in ["0", &"f".repeat(64)] {
            assert_eq!(good.parse::<SourceState>().unwrap().to_string(), good);
        }
        for bad in ["", "F", "0x1", " 1", &"f".repeat(65)] {
            let error = bad.parse::<SourceState>().unwrap_err().to_string();
            assert!(error.contains("hex digits"), "{error}");
        }
    }
}

//! The blocks themselves, each under its digest.
//!
//! A file is a zstd frame, and a skippable frame with the CRC-32C of the first one: the digest tells
//! whether the content is right, but a decoder does not look at every bit of a frame. `zstd -d`
//! reads such a file.

use crate::files::{self, corrupt, io_error};
use crate::index::{Digest, hex};
use crate::{BLOCK, Error, Store};
use ondisk::width::usize_of;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Compression level: the fastest; a store is limited by its disk otherwise.
const LEVEL: i32 = 1;
/// Most bytes of a block's file: what cannot be compressed grows by far less than this.
const MAX_FILE: u64 = 2 * BLOCK;
/// A skippable frame (RFC 8878, 3.1.2) with four bytes of content.
const SKIPPABLE: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0];
const TRAILER: usize = 12;

impl Store {
    pub(crate) fn blocks_dir(&self) -> PathBuf {
        self.dir.join(crate::BLOCKS)
    }

    pub(crate) fn block_path(&self, digest: &Digest) -> PathBuf {
        let hex = hex(digest);
        self.blocks_dir().join(&hex[..2]).join(format!("{hex}.zst"))
    }

    /// Stores a block unless it is there; says whether it is new.
    pub(crate) fn put_block(&self, digest: &Digest, content: &[u8]) -> Result<bool, Error> {
        let path = self.block_path(digest);
        // A crash of the host may have left a block that is not whole under its name, and a disk may
        // have damaged it since. This is the only moment at which somebody has the right content.
        let damaged = files::is_there(&path)?;
        if damaged && check(&path, digest).is_ok() {
            return Ok(false);
        }
        let io = |source| io_error(&path, source);
        let mut file = zstd::bulk::compress(content, LEVEL).map_err(io)?;
        let crc = crc32c::crc32c(&file);
        file.extend_from_slice(&SKIPPABLE);
        file.extend_from_slice(&crc.to_le_bytes());
        if let Some(dir) = path.parent() {
            files::make_dir(dir)?;
        }
        if damaged {
            files::publish(&path, &file, false)?;
            return Ok(true);
        }
        // Two cores may store the same block at the same time, and it is new once.
        files::publish_new(&path, &file)
    }

    /// Reads a block and checks it against its digest.
    pub(crate) fn read_block(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.block_path(digest);
        content(&path, digest, &files::read(&path, MAX_FILE)?)
    }
}

/// Checks every bit of a block's file.
pub(crate) fn check(path: &Path, digest: &Digest) -> Result<(), Error> {
    let file = files::read(path, MAX_FILE)?;
    let (frame, trailer) = split(path, &file)?;
    let crc = crc32c::crc32c(frame).to_le_bytes();
    if [SKIPPABLE.as_slice(), &crc].concat() != trailer {
        return Err(corrupt(path, "its checksum is not the file's".to_owned()));
    }
    content(path, digest, &file).map(drop)
}

fn split<'f>(path: &Path, file: &'f [u8]) -> Result<(&'f [u8], &'f [u8; TRAILER]), Error> {
    file.split_last_chunk()
        .ok_or_else(|| corrupt(path, "it ends before its checksum".to_owned()))
}

fn content(path: &Path, digest: &Digest, file: &[u8]) -> Result<Vec<u8>, Error> {
    let (frame, _) = split(path, file)?;
    let content = zstd::bulk::decompress(frame, usize_of(BLOCK))
        .map_err(|error| corrupt(path, error.to_string()))?;
    let found: Digest = Sha256::digest(&content).into();
    if found != *digest {
        let what = format!("its content has SHA-256 {}", hex(&found));
        return Err(corrupt(path, what));
    }
    Ok(content)
}

/// Whether a directory may hold blocks: it is named after the first byte of their digests.
pub(crate) fn is_dir_name(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 2 && name.bytes().all(is_digit)
}

/// The digest that a block's file is named after.
pub(crate) fn digest_of_name(dir: &str, name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(".zst").filter(|hex| hex.len() == 64)?;
    let mut digest = Digest::default();
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte.saturating_sub(b'0')),
            b'a'..=b'f' => Some(byte.saturating_sub(b'a').saturating_add(10)),
            _ => None,
        };
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    hex.starts_with(dir).then_some(digest)
}

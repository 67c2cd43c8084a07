//! The blocks themselves, each under its digest.

use crate::index::{Digest, hex};
use crate::{BLOCK, Error, Store, manifest};
use ondisk::width::usize_of;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// Compression level: the fastest; a store is limited by its disk otherwise.
const LEVEL: i32 = 1;

impl Store {
    fn block_path(&self, digest: &Digest) -> PathBuf {
        let hex = hex(digest);
        self.dir
            .join("blocks")
            .join(&hex[..2])
            .join(format!("{hex}.zst"))
    }

    /// Stores a block unless it is there; says whether it is new.
    pub(crate) fn put_block(&self, digest: &Digest, content: &[u8]) -> Result<bool, Error> {
        let path = self.block_path(digest);
        // A crash of the host may have left a block that is not whole under its name.
        if path.exists() && self.read_block(digest).is_ok() {
            return Ok(false);
        }
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let compressed = zstd::bulk::compress(content, LEVEL).map_err(io)?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        manifest::publish(&path, &compressed, false)?;
        Ok(true)
    }

    /// Reads a block and checks it against its digest.
    pub(crate) fn read_block(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.block_path(digest);
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let compressed = std::fs::read(&path).map_err(io)?;
        let corrupt = |what: String| Error::Corrupt {
            path: path.clone(),
            what,
        };
        let content = zstd::bulk::decompress(&compressed, usize_of(BLOCK))
            .map_err(|error| corrupt(error.to_string()))?;
        let found: Digest = Sha256::digest(&content).into();
        if found != *digest {
            return Err(corrupt(format!("its content has SHA-256 {}", hex(&found))));
        }
        Ok(content)
    }
}

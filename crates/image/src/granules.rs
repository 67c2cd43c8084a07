//! Reading out of compressed granules, so that neighbours share one expansion.

use crate::Error;
use crate::cache::Cache;
use crate::codec::{Codec, with_packed_buffer};
use crate::error::Damage;
use crate::file::ImageFile;
use crate::layer::Packed;
use ondisk::width::{u64_of, usize_of};
use std::sync::Arc;

/// The compressed granules of a layer, and those that were expanded last.
#[derive(Debug)]
pub(crate) struct Granules {
    codec: Codec,
    /// What the format calls them.
    unit: &'static str,
    /// Bytes of an expanded one.
    size: u64,
    /// Bytes of the disk: the last granule may hold no more.
    disk: u64,
    expanded: Cache<Arc<[u8]>>,
}

/// Where the compressed bytes of a granule are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) offset: u64,
    /// Bytes at most; the end of the file may cut them, and others may follow the stream.
    pub(crate) len: u64,
}

/// Most expanded granules that are kept.
const MAX_KEPT: u64 = 64;
/// Most bytes of them.
const MAX_KEPT_BYTES: u64 = 32 << 20;

impl Granules {
    /// For granules of `size` bytes, which the caller has capped and which are not empty.
    pub(crate) fn new(codec: Codec, unit: &'static str, size: u64, disk: u64) -> Self {
        let kept = MAX_KEPT_BYTES.checked_div(size).unwrap_or(0).min(MAX_KEPT);
        Self {
            codec,
            unit,
            size,
            disk,
            expanded: Cache::new(usize_of(kept)),
        }
    }

    /// Reads out of a granule of `file`; `stream` says where its compressed bytes are, and is
    /// asked only if they are needed.
    pub(crate) fn read(
        &self,
        file: &ImageFile,
        packed: &Packed,
        buf: &mut [u8],
        stream: impl FnOnce() -> Result<Stream, Error>,
    ) -> Result<(), Error> {
        if let Some(expanded) = self.expanded.get(packed.guest) {
            return self.copy(file, packed, &expanded, buf);
        }
        // Whoever reads a whole granule won't come again for a part of it.
        if u64_of(buf.len()) == self.size && packed.within == 0 {
            return self.expand(file, stream()?, packed, buf);
        }
        let expanded = self.expanded.get_or_load::<Error>(packed.guest, || {
            let mut all = vec![0; usize_of(self.size)];
            self.expand(file, stream()?, packed, &mut all)?;
            Ok(Arc::from(all))
        })?;
        self.copy(file, packed, &expanded, buf)
    }

    /// Bytes of a granule that belong to the disk.
    fn needed(&self, packed: &Packed) -> u64 {
        self.size.min(self.disk.saturating_sub(packed.guest))
    }

    fn copy(
        &self,
        file: &ImageFile,
        packed: &Packed,
        expanded: &[u8],
        buf: &mut [u8],
    ) -> Result<(), Error> {
        let part = usize_of(packed.within)..usize_of(packed.within).saturating_add(buf.len());
        let Some(part) = expanded.get(part) else {
            let why = format!("byte {} of it was asked for", packed.within);
            return Err(self.codec_error(file, 0, packed, why));
        };
        buf.copy_from_slice(part);
        Ok(())
    }

    /// Fills `out`, which is as long as a granule, as far as the granule belongs to the disk.
    fn expand(
        &self,
        file: &ImageFile,
        stream: Stream,
        packed: &Packed,
        out: &mut [u8],
    ) -> Result<(), Error> {
        with_packed_buffer(usize_of(stream.len), |buffer| {
            let len = file.read_up_to(stream.offset, buffer)?;
            let filled = self
                .codec
                .expand(&buffer[..len], out)
                .map_err(|why| self.codec_error(file, stream.offset, packed, why))?;
            let needed = self.needed(packed);
            if u64_of(filled) < needed {
                let why = format!("it has {filled} bytes, {needed} are expected");
                return Err(self.codec_error(file, stream.offset, packed, why));
            }
            Ok(())
        })
    }

    fn codec_error(&self, file: &ImageFile, offset: u64, packed: &Packed, why: String) -> Error {
        Error::corrupt(
            file.path(),
            Damage::Codec {
                unit: self.unit,
                guest: packed.guest,
                offset,
                why,
            },
        )
    }
}

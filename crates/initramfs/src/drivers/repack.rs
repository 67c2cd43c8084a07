//! A whole new initramfs, where nothing can be appended to the old one.

use super::extend::padding;
use crate::codec::{Compression, Unpacker};
use crate::error::{CorruptKind, Error, Position};
use crate::initramfs::Initramfs;
use crate::segment::Segment;
use flate2::write::GzEncoder;
use ondisk::width::usize_of;
use std::io::{self, BufRead, Read, Write};

/// What is to follow the first `keep` bytes of the initramfs: plain archives at its front stay, the
/// kernel looks for microcode there. All else and the new archive become one compressed segment.
///
/// # Errors
/// As [`Initramfs::read`].
pub(super) fn repack(initramfs: &Initramfs<'_>, archive: &[u8]) -> Result<(u64, Vec<u8>), Error> {
    let segments = initramfs.original_segments();
    let early = segments
        .iter()
        .take_while(|segment| segment.compression.is_none())
        .count();
    let (early, others) = segments.split_at_checked(early).unwrap_or((segments, &[]));
    let keep = early.last().map_or(0, |segment| segment.end);
    let mut tail = Vec::new();
    if keep > 0 {
        tail = padding(keep);
    }
    // a kernel that unpacks zstd already needs not be asked for gzip
    let zstd = others
        .iter()
        .any(|segment| segment.compression == Some(Compression::Zstd));
    let mut packer = if zstd {
        Packer::Zstd(zstd::Encoder::new(tail, ZSTD_LEVEL).map_err(packing)?)
    } else {
        Packer::Gzip(GzEncoder::new(tail, flate2::Compression::new(GZIP_LEVEL)))
    };
    for segment in others {
        copy(initramfs.bytes(), segment, &mut packer)?;
    }
    packer.write_all(archive).map_err(packing)?;
    Ok((keep, packer.finish().map_err(packing)?))
}

/// The archive, compressed by gzip.
///
/// # Errors
/// What the encoder says.
pub(super) fn gzip(archive: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(archive).map_err(packing)?;
    encoder.finish().map_err(packing)
}

/// Unpacks a segment into the new one, up to a multiple of 4 bytes.
fn copy(bytes: &[u8], segment: &Segment, packer: &mut Packer) -> Result<(), Error> {
    let packed = bytes
        .get(usize_of(segment.offset)..usize_of(segment.end))
        .unwrap_or(&[]);
    let mut plain = packed;
    let copied = match segment.compression {
        None => io::copy(&mut plain, packer).map_err(packing)?,
        Some(compression) => {
            let broken = |source| {
                Error::from(CorruptKind::Codec {
                    at: Position {
                        offset: segment.offset,
                        unpacked: None,
                    },
                    compression,
                    source,
                })
            };
            match Unpacker::new(compression, packed).map_err(broken)? {
                Some(unpacker) => {
                    copy_buffers(unpacker.take(segment.unpacked_size), packer).map_err(broken)?
                }
                // the walk let no other compression through
                None => 0,
            }
        }
    };
    let aligned = copied.saturating_add(3) & !3;
    let zeros = vec![0; usize_of(aligned.saturating_sub(copied))];
    packer.write_all(&zeros).map_err(packing)
}

fn copy_buffers(mut from: impl BufRead, to: &mut impl Write) -> io::Result<u64> {
    let mut copied = 0_u64;
    loop {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Ok(copied);
        }
        to.write_all(bytes)?;
        let len = bytes.len();
        copied = copied.saturating_add(ondisk::width::u64_of(len));
        from.consume(len);
    }
}

enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Packer {
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Packing into memory fails only if the encoder does.
fn packing(source: io::Error) -> Error {
    Error::Packing { source }
}

/// Packs better than lz4 does at its best, in half the time of the level that `gzip` takes.
const GZIP_LEVEL: u32 = 3;
/// The highest level that needs no seconds.
const ZSTD_LEVEL: i32 = 9;

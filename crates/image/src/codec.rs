//! Expanding and making the compressed granules of images.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use ondisk::width::{u64_of, usize_of};
use std::cell::RefCell;
use std::fmt;
use zstd::zstd_safe::{self, CCtx, DCtx, DParameter, InBuffer, OutBuffer};

/// How granules are compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Codec {
    /// Bare deflate, RFC 1951.
    Deflate,
    /// Deflate with the zlib header, RFC 1950.
    Zlib,
    /// One zstd frame, RFC 8878.
    Zstd,
}

/// What is wrong with a stream that expands to more than a granule.
const GOES_ON: &str = "goes on after the last byte that is expected";
/// Largest window that a zstd frame may ask for, as a power of two: granules have 2 MiB at most,
/// but an encoder that is not told their size may ask for more.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// How granules are made smaller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packer {
    /// Bare deflate, RFC 1951.
    ///
    /// QEMU tells its decompressor of a window of 4 KiB only, but expands a cluster in one call,
    /// where the output itself is the window: distances up to the cluster's beginning are right,
    /// and every other reader knows nothing of the 4 KiB.
    Deflate,
    /// Deflate with the zlib header and checksum, RFC 1950.
    Zlib,
    /// One zstd frame.
    Zstd,
}

/// Smaller output than zlib's default level makes, in less than half of the time.
const DEFLATE_LEVEL: i32 = 4;
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    static EXPANDERS: RefCell<Expanders> = RefCell::new(Expanders::default());
}

/// Decompressors are costly to make: each thread keeps its own.
#[derive(Default)]
struct Expanders {
    inflate: Option<Decompressor>,
    slow_inflate: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
    packed: Vec<u8>,
    deflate: Option<Compressor>,
    zstd_packer: Option<CCtx<'static>>,
}

impl Codec {
    /// Expands `packed`, which may have a tail that does not belong to it, into `out`, and says
    /// how much of it was filled: less if the stream has no more.
    ///
    /// # Errors
    /// The words of the codec; also if the stream goes on after `out` is full. No writer makes such
    /// streams, damage does, and the checksum of a stream stands at its end.
    pub(crate) fn expand(self, packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
        EXPANDERS.with_borrow_mut(|expanders| match self {
            Self::Deflate => inflate(expanders, false, packed, out),
            Self::Zlib => inflate(expanders, true, packed, out),
            Self::Zstd => expand_zstd(expanders, packed, out),
        })
    }
}

/// Lends the thread's buffer for compressed bytes.
pub(crate) fn with_packed_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = EXPANDERS.with_borrow_mut(|expanders| std::mem::take(&mut expanders.packed));
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let result = work(&mut buffer[..len]);
    EXPANDERS.with_borrow_mut(|expanders| expanders.packed = buffer);
    result
}

fn inflate(
    expanders: &mut Expanders,
    zlib_header: bool,
    packed: &[u8],
    out: &mut [u8],
) -> Result<usize, String> {
    let whole = expanders.inflate.get_or_insert_with(Decompressor::new);
    let result = if zlib_header {
        whole.zlib_decompress(packed, out)
    } else {
        whole.deflate_decompress(packed, out)
    };
    match result {
        Ok(filled) => Ok(filled),
        // It does not say what is wrong.
        Err(_) => inflate_slowly(expanders, zlib_header, packed, out),
    }
}

/// For the words: what the fast decompressor refused is hardly ever sound.
fn inflate_slowly(
    expanders: &mut Expanders,
    zlib_header: bool,
    packed: &[u8],
    out: &mut [u8],
) -> Result<usize, String> {
    let state = expanders
        .slow_inflate
        .get_or_insert_with(|| Decompress::new(zlib_header));
    state.reset(zlib_header);
    match state.decompress(packed, out, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => Ok(usize_of(state.total_out())),
        Ok(_) if state.total_out() == u64_of(out.len()) => {
            Err(format!("the deflate stream {GOES_ON}"))
        }
        Ok(_) => Err("the deflate stream does not end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn expand_zstd(expanders: &mut Expanders, packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    // The stored size counts whole sectors, and only the frame itself may be handed over. At once
    // it is expanded right into `out`, as a stream it would go through a window of its own.
    let whole = zstd_safe::find_frame_compressed_size(packed)
        .ok()
        .and_then(|len| packed.get(..len));
    if let Some(frame) = whole {
        let state = expanders.zstd.get_or_insert_with(DCtx::create);
        if let Ok(filled) = state.decompress(&mut out[..], frame) {
            return Ok(filled);
        }
    }
    expand_zstd_slowly(expanders, packed, out)
}

/// For frames with large windows, and for the words.
fn expand_zstd_slowly(
    expanders: &mut Expanders,
    packed: &[u8],
    out: &mut [u8],
) -> Result<usize, String> {
    let words = |code| zstd_safe::get_error_name(code).to_owned();
    let state = expanders.zstd.get_or_insert_with(DCtx::create);
    state
        .reset(zstd_safe::ResetDirective::SessionAndParameters)
        .and_then(|_| state.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)))
        .map_err(words)?;
    let mut input = InBuffer::around(packed);
    let mut output = OutBuffer::around(out);
    loop {
        let before = (input.pos(), output.pos());
        let hint = state
            .decompress_stream(&mut output, &mut input)
            .map_err(words)?;
        if hint == 0 {
            return Ok(output.pos());
        }
        if (input.pos(), output.pos()) == before {
            return Err(if output.pos() == output.capacity() {
                format!("the zstd frame {GOES_ON}")
            } else {
                "the zstd frame does not end".to_owned()
            });
        }
    }
}

impl Packer {
    /// Compresses `bytes`, or gives nothing if they do not become shorter than `limit`.
    ///
    /// # Errors
    /// The words of the codec, which are about memory.
    pub(crate) fn pack(self, bytes: &[u8], limit: usize) -> Result<Option<Vec<u8>>, String> {
        EXPANDERS.with_borrow_mut(|expanders| {
            let mut out = Vec::with_capacity(limit.saturating_sub(1));
            match self {
                Self::Deflate | Self::Zlib => {
                    let state = expanders
                        .deflate
                        .get_or_insert_with(|| Compressor::new(deflate_level()));
                    out.resize(limit.saturating_sub(1), 0);
                    let result = if self == Self::Zlib {
                        state.zlib_compress(bytes, &mut out)
                    } else {
                        state.deflate_compress(bytes, &mut out)
                    };
                    match result {
                        Ok(len) => {
                            out.truncate(len);
                            Ok(Some(out))
                        }
                        // Nothing else than the room can be wrong.
                        Err(_) => Ok(None),
                    }
                }
                Self::Zstd => {
                    let state = expanders.zstd_packer.get_or_insert_with(CCtx::create);
                    match state.compress(&mut out, bytes, ZSTD_LEVEL) {
                        Ok(_) if out.len() < limit => Ok(Some(out)),
                        // Nothing else than the room can be wrong.
                        _ => Ok(None),
                    }
                }
            }
        })
    }
}

fn deflate_level() -> CompressionLvl {
    // Levels 0 to 12 exist.
    CompressionLvl::new(DEFLATE_LEVEL).unwrap_or_default()
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deflate | Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match codec {
            Codec::Deflate => {
                let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), level);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Codec::Zlib => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Codec::Zstd => zstd::bulk::compress(bytes, 1).unwrap(),
        }
    }

    #[test]
    fn every_codec_takes_a_tail_and_refuses_a_cut() {
        let bytes: Vec<u8> = (0..65_536_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        for codec in [Codec::Deflate, Codec::Zlib, Codec::Zstd] {
            let mut stream = packed(codec, &bytes);
            let whole = stream.len();
            stream.extend_from_slice(&[0xee; 400]);
            let mut out = vec![0; bytes.len()];
            assert_eq!(codec.expand(&stream, &mut out), Ok(bytes.len()), "{codec}");
            assert_eq!(out, bytes);
            let cut = codec.expand(&stream[..whole / 2], &mut out);
            assert!(cut.is_err(), "{codec}");
            let mut garbled = stream.clone();
            garbled[0] ^= 0x5a;
            assert!(codec.expand(&garbled, &mut out).is_err(), "{codec}");
            // A decompressor that failed can be used again.
            assert_eq!(codec.expand(&stream, &mut out), Ok(bytes.len()), "{codec}");
            // What is expected may not be the beginning of more.
            let longer = codec.expand(&stream, &mut out[..bytes.len() - 1]);
            assert!(longer.unwrap_err().contains("goes on"), "{codec}");
            let mut longer = vec![0; bytes.len() + 10];
            assert_eq!(codec.expand(&stream, &mut longer), Ok(bytes.len()));
        }
    }
}

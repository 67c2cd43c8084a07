//! The compressions that an initramfs may have.

pub(crate) mod lz4;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use lz4::LegacyDecoder;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// A compression that the kernel knows for an initramfs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Compression {
    /// Deflate in a gzip member.
    Gzip,
    /// One bzip2 stream.
    Bzip2,
    /// LZMA with the 13-byte header of the LZMA SDK ("lzma alone").
    Lzma,
    /// One xz stream.
    Xz,
    /// The container of lzop; recognised, never unpacked.
    Lzo,
    /// The legacy format of lz4: chunks of 8 MiB, no end mark.
    Lz4,
    /// One zstd frame.
    Zstd,
}

impl Compression {
    /// The compression that the kernel would try on these bytes: it looks at the first two
    /// (`compressed_formats` in the kernel's `lib/decompress.c`).
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'B', b'Z', ..] => Some(Self::Bzip2),
            [0x5d, 0x00, ..] => Some(Self::Lzma),
            [0xfd, b'7', ..] => Some(Self::Xz),
            [0x89, 0x4c, ..] => Some(Self::Lzo),
            [0x02, 0x21, ..] => Some(Self::Lz4),
            [0x28, 0xb5, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Unpacks one stream from the front of a slice and knows where it ended.
pub(crate) enum Unpacker<'a> {
    Gzip(BufReader<GzDecoder<&'a [u8]>>),
    Bzip2(BufReader<BzDecoder<&'a [u8]>>),
    /// xz and lzma
    Xz(BufReader<XzDecoder<&'a [u8]>>),
    Lz4(LegacyDecoder<'a>),
    Zstd(BufReader<zstd::Decoder<'static, &'a [u8]>>),
}

impl<'a> Unpacker<'a> {
    /// Starts at the first byte of `packed`; nothing for a compression that is not unpacked.
    ///
    /// # Errors
    /// What the decoder says when it is set up.
    pub(crate) fn new(compression: Compression, packed: &'a [u8]) -> io::Result<Option<Self>> {
        Ok(Some(match compression {
            Compression::Gzip => Self::Gzip(buffered(GzDecoder::new(packed))),
            Compression::Bzip2 => Self::Bzip2(buffered(BzDecoder::new(packed))),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(LZMA_MEMORY, 0)?;
                Self::Xz(buffered(XzDecoder::new_stream(packed, stream)))
            }
            Compression::Lzma => {
                let stream = Stream::new_lzma_decoder(LZMA_MEMORY)?;
                Self::Xz(buffered(XzDecoder::new_stream(packed, stream)))
            }
            Compression::Lz4 => Self::Lz4(LegacyDecoder::new(packed)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(buffered(decoder))
            }
            Compression::Lzo => return Ok(None),
        }))
    }

    /// The packed bytes after the stream; to be called once the stream was read to its end.
    pub(crate) fn rest(self) -> &'a [u8] {
        match self {
            Self::Gzip(reader) => reader.into_inner().into_inner(),
            Self::Bzip2(reader) => reader.into_inner().into_inner(),
            Self::Xz(reader) => reader.into_inner().into_inner(),
            Self::Lz4(decoder) => decoder.rest(),
            Self::Zstd(reader) => reader.into_inner().finish(),
        }
    }
}

impl Read for Unpacker<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(reader) => reader.read(buf),
            Self::Bzip2(reader) => reader.read(buf),
            Self::Xz(reader) => reader.read(buf),
            Self::Lz4(decoder) => decoder.read(buf),
            Self::Zstd(reader) => reader.read(buf),
        }
    }
}

impl BufRead for Unpacker<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Gzip(reader) => reader.fill_buf(),
            Self::Bzip2(reader) => reader.fill_buf(),
            Self::Xz(reader) => reader.fill_buf(),
            Self::Lz4(decoder) => decoder.fill_buf(),
            Self::Zstd(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Gzip(reader) => reader.consume(amount),
            Self::Bzip2(reader) => reader.consume(amount),
            Self::Xz(reader) => reader.consume(amount),
            Self::Lz4(decoder) => decoder.consume(amount),
            Self::Zstd(reader) => reader.consume(amount),
        }
    }
}

fn buffered<R: Read>(decoder: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER, decoder)
}

/// Small enough for the second-level cache, large enough that calls into decoders don't count.
const BUFFER: usize = 128 * 1024;

/// `xz -9` needs 65 MiB to unpack; nothing in use needs more.
const LZMA_MEMORY: u64 = 256 << 20;

/// The kernel refuses larger windows (`ZSTD_WINDOWSIZE_MAX` in its `lib/decompress_unzstd.c`).
const ZSTD_WINDOW_LOG: u32 = 27;

//! The legacy format of lz4, as `lz4 -l` writes it and the kernel reads it.
//!
//! A magic, then chunks: a 32-bit little-endian length and that many bytes of one lz4 block. There
//! is no end mark: the kernel ends at the end of its input, at less than 4 bytes, and (since 5.10)
//! at a length of 0 (`unlz4` in its `lib/decompress_unlz4.c`).

use std::io::{self, BufRead, ErrorKind, Read};

pub(crate) struct LegacyDecoder<'a> {
    packed: &'a [u8],
    started: bool,
    ended: bool,
    chunk: Vec<u8>,
    /// Bytes of `chunk` that are unpacked data.
    filled: usize,
    /// Bytes of `chunk` that were consumed.
    consumed: usize,
}

impl<'a> LegacyDecoder<'a> {
    pub(crate) fn new(packed: &'a [u8]) -> Self {
        Self {
            packed,
            started: false,
            ended: false,
            chunk: Vec::new(),
            filled: 0,
            consumed: 0,
        }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.packed
    }

    /// Unpacks the next chunk into `chunk`, or ends the stream.
    fn advance(&mut self) -> io::Result<()> {
        if !self.started {
            match self.packed.split_first_chunk() {
                Some((magic, rest)) if u32::from_le_bytes(*magic) == MAGIC => self.packed = rest,
                _ => return Err(invalid("no lz4 legacy magic")),
            }
            self.started = true;
        }
        loop {
            let Some((length, rest)) = self.packed.split_first_chunk() else {
                self.ended = true;
                return Ok(());
            };
            let length = u32::from_le_bytes(*length);
            if length == MAGIC {
                self.packed = rest;
                continue;
            }
            if length == 0 {
                self.ended = true;
                return Ok(());
            }
            let Some((block, rest)) = rest.split_at_checked(ondisk::width::usize_of_u32(length))
            else {
                return Err(invalid("an lz4 chunk is longer than the initramfs"));
            };
            self.chunk.resize(CHUNK, 0);
            self.filled = lz4_flex::block::decompress_into(block, &mut self.chunk)
                .map_err(|source| io::Error::new(ErrorKind::InvalidData, source))?;
            self.consumed = 0;
            self.packed = rest;
            if self.filled > 0 {
                return Ok(());
            }
        }
    }
}

impl BufRead for LegacyDecoder<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.consumed >= self.filled && !self.ended {
            self.filled = 0;
            self.consumed = 0;
            self.advance()?;
        }
        Ok(self.chunk.get(self.consumed..self.filled).unwrap_or(&[]))
    }

    fn consume(&mut self, amount: usize) {
        self.consumed = self.consumed.saturating_add(amount).min(self.filled);
    }
}

impl Read for LegacyDecoder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut unpacked = self.fill_buf()?;
        let read = unpacked.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

const MAGIC: u32 = 0x184c_2102;

/// What one chunk unpacks to at most (`LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE` in the kernel).
const CHUNK: usize = 8 << 20;

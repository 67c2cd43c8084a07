//! Writing qcow2 images, version 3: data in the order of the disk, each L2 table behind the
//! clusters it maps, the rest at the end.

use super::allocator::{Allocator, RefcountTable};
use super::header::ClusterSize;
use super::{MAGIC, raw};
use crate::Error;
use crate::codec::Packer;
use crate::growth::{self, Growth, Piece, PieceBytes};
use crate::units::Unit;
use crate::write::{Job, Written};
use crate::zeros::{data_runs, is_zero};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use zerocopy::IntoBytes;

/// How a qcow2 image is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Qcow2Options {
    /// Bytes of a cluster: a power of two, 4096 to 2097152.
    pub cluster_size: u32,
    /// How clusters are compressed.
    pub compression: Compression,
}

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// With deflate, which every reader knows.
    Zlib,
    /// With zstd, which QEMU knows since version 5.1.
    Zstd,
}

impl Default for Qcow2Options {
    /// Clusters of 64 KiB, not compressed.
    fn default() -> Self {
        Self {
            cluster_size: 64 << 10,
            compression: Compression::None,
        }
    }
}

/// Smallest clusters that are written: smaller ones make more tables than sense.
const LEAST_CLUSTER: u32 = 4096;
/// Most bytes of an L1 table; QEMU opens no image with more.
const MAX_L1_BYTES: u64 = 32 << 20;
/// Bytes that QEMU counts disks in.
const SECTOR: u64 = 512;

/// Writes an image into an empty file.
pub(crate) fn write(job: &Job, options: Qcow2Options) -> Result<Written, Error> {
    let mut image = Writer::new(job, options)?;
    growth::write(job, &mut image)?;
    image.finish()
}

/// What is stored of a unit, in ascending order.
enum Stored {
    /// Neighbouring whole clusters, as a range of the unit; the last one may be short.
    Whole(Range<usize>),
    /// A cluster that became smaller, by where it begins in the unit.
    Packed { at: usize, stream: Vec<u8> },
}

fn pieces(
    bytes: &[u8],
    compression: Compression,
    cluster: ClusterSize,
) -> Result<Vec<Stored>, Error> {
    let cluster = usize_of(cluster.bytes().get());
    let packer = match compression {
        Compression::None => {
            let runs = data_runs(bytes, cluster);
            return Ok(runs.into_iter().map(Stored::Whole).collect());
        }
        Compression::Zlib => Packer::Deflate,
        Compression::Zstd => Packer::Zstd,
    };
    let mut pieces = Vec::new();
    let mut at = 0_usize;
    for chunk in bytes.chunks(cluster) {
        let end = at.saturating_add(chunk.len());
        if !is_zero(chunk) {
            let whole = padded(chunk, cluster);
            let stream = packer
                .pack(&whole, cluster)
                .map_err(|reason| Error::Options { reason })?;
            match (stream, pieces.last_mut()) {
                (Some(stream), _) => pieces.push(Stored::Packed { at, stream }),
                (None, Some(Stored::Whole(range))) if range.end == at => range.end = end,
                (None, _) => pieces.push(Stored::Whole(at..end)),
            }
        }
        at = end;
    }
    Ok(pieces)
}

/// The last cluster of a disk, filled up with zeros.
fn padded(chunk: &[u8], cluster: usize) -> std::borrow::Cow<'_, [u8]> {
    if chunk.len() == cluster {
        return chunk.into();
    }
    let mut whole = chunk.to_vec();
    whole.resize(cluster, 0);
    whole.into()
}

/// The tables of an image that grows.
struct Writer<'j> {
    job: &'j Job<'j>,
    compression: Compression,
    cluster: ClusterSize,
    l2_len: NonZeroU64,
    size: u64,
    l1: Vec<u64>,
    /// The L2 table that is being filled, and its number.
    l2: Option<(u64, Vec<u64>)>,
    allocator: Allocator,
    data: u64,
}

impl Growth for Writer<'_> {
    type Prepared = Vec<Stored>;

    fn prepare(&self, _: &Unit, bytes: &[u8]) -> Result<Vec<Stored>, Error> {
        pieces(bytes, self.compression, self.cluster)
    }

    /// Finds a place for each piece of a unit and remembers it in the tables.
    fn place(
        &mut self,
        unit: &Unit,
        prepared: Vec<Stored>,
        out: &mut Vec<Piece>,
    ) -> Result<(), Error> {
        for stored in prepared {
            let guest = |at: usize| unit.range.start.saturating_add(u64_of(at));
            out.push(match stored {
                Stored::Whole(range) => Piece {
                    offset: self.place_whole(guest(range.start), guest(range.end))?,
                    bytes: PieceBytes::OfUnit(range),
                },
                Stored::Packed { at, stream } => Piece {
                    offset: self.place_packed(guest(at), u64_of(stream.len()))?,
                    bytes: PieceBytes::Made(stream),
                },
            });
        }
        self.allocator.settle(self.job)
    }
}

impl<'j> Writer<'j> {
    fn new(job: &'j Job<'j>, options: Qcow2Options) -> Result<Self, Error> {
        let bytes = options.cluster_size;
        let cluster = if bytes.is_power_of_two() && bytes >= LEAST_CLUSTER {
            ClusterSize::new(bytes.trailing_zeros())
        } else {
            None
        };
        let cluster = cluster.ok_or_else(|| Error::Options {
            reason: format!("a cluster size of {bytes} bytes: use a power of two, 4096 to 2097152"),
        })?;
        let size = job.device.size().next_multiple_of(SECTOR);
        let l2_len = cluster.l2_len(false);
        let tables = size.div_ceil(cluster.bytes().get()).div_ceil(l2_len.get());
        if tables > MAX_L1_BYTES / 8 {
            return Err(Error::Options {
                reason: format!("a disk of {size} bytes is too large for clusters of {bytes}"),
            });
        }
        Ok(Self {
            job,
            compression: options.compression,
            cluster,
            l2_len,
            size,
            l1: vec![0; usize_of(tables)],
            l2: None,
            allocator: Allocator::new(cluster),
            data: 0,
        })
    }

    fn place_whole(&mut self, start: u64, end: u64) -> Result<u64, Error> {
        let cluster = self.cluster.bytes();
        let (first, last) = (start / cluster, end.div_ceil(cluster.get()));
        // A unit lies inside of what one L2 table maps or begins with it, but not every one does.
        self.open_l2(first)?;
        let offset = self.allocator.clusters(last.saturating_sub(first));
        for index in first..last {
            let at = index.saturating_sub(first).saturating_mul(cluster.get());
            self.set(index, offset.saturating_add(at) | raw::COPIED)?;
        }
        Ok(offset)
    }

    fn place_packed(&mut self, start: u64, len: u64) -> Result<u64, Error> {
        let index = start / self.cluster.bytes();
        self.open_l2(index)?;
        let offset = self.allocator.bytes(len);
        let last = offset.saturating_add(len).saturating_sub(1);
        let more_sectors = (last / SECTOR).saturating_sub(offset / SECTOR);
        let offset_bits = 70_u32.saturating_sub(self.cluster.bits());
        let entry = raw::COMPRESSED | more_sectors.wrapping_shl(offset_bits) | offset;
        self.set(index, entry)?;
        Ok(offset)
    }

    /// Makes the L2 table of a cluster the one that is filled.
    fn open_l2(&mut self, index: u64) -> Result<(), Error> {
        let number = index / self.l2_len;
        if self.l2.as_ref().is_some_and(|(open, _)| *open == number) {
            return Ok(());
        }
        self.close_l2()?;
        self.l2 = Some((number, vec![0; usize_of(self.l2_len.get())]));
        Ok(())
    }

    fn set(&mut self, index: u64, entry: u64) -> Result<(), Error> {
        self.open_l2(index)?;
        let within = usize_of(index % self.l2_len);
        if let Some(slot) = self.l2.as_mut().and_then(|(_, l2)| l2.get_mut(within)) {
            *slot = entry;
        }
        self.data = self.data.saturating_add(self.cluster.bytes().get());
        Ok(())
    }

    /// Writes the L2 table that is full.
    fn close_l2(&mut self) -> Result<(), Error> {
        let Some((number, l2)) = self.l2.take() else {
            return Ok(());
        };
        let offset = self.allocator.clusters(1);
        if let Some(slot) = self.l1.get_mut(usize_of(number)) {
            *slot = offset | raw::COPIED;
        }
        self.write_words(&l2, offset)
    }

    fn write_words(&self, words: &[u64], offset: u64) -> Result<(), Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.job.write_at(&bytes, offset)
    }

    fn finish(mut self) -> Result<Written, Error> {
        self.close_l2()?;
        let cluster = self.cluster.bytes().get();
        let l1_clusters = u64_of(self.l1.len()).saturating_mul(8).div_ceil(cluster);
        let l1_offset = self.allocator.clusters(l1_clusters);
        self.write_words(&self.l1, l1_offset)?;
        let (job, l1_size) = (self.job, self.l1.len());
        let (refcounts, end) = self.allocator.finish(job)?;
        let header = Header {
            compression: self.compression,
            cluster_bits: self.cluster.bits(),
            size: self.size,
            l1_size,
            l1_offset,
            refcounts,
        };
        let header = header.encode();
        job.file.set_len(end).map_err(|e| job.failed(e))?;
        job.write_at(&header, 0)?;
        Ok(Written {
            virtual_size: self.size,
            data: self.data.min(self.size),
        })
    }
}

/// What the header says about a finished image.
struct Header {
    compression: Compression,
    cluster_bits: u32,
    size: u64,
    l1_size: usize,
    l1_offset: u64,
    refcounts: RefcountTable,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let zstd = self.compression == Compression::Zstd;
        let header = raw::Header {
            magic: MAGIC,
            version: 3.into(),
            backing_file_offset: 0.into(),
            backing_file_size: 0.into(),
            cluster_bits: self.cluster_bits.into(),
            size: self.size.into(),
            crypt_method: 0.into(),
            // The size was checked against what QEMU opens.
            l1_size: u32::try_from(self.l1_size).unwrap_or(u32::MAX).into(),
            l1_table_offset: self.l1_offset.into(),
            refcount_table_offset: self.refcounts.offset.into(),
            refcount_table_clusters: self.refcounts.clusters.into(),
            nb_snapshots: 0.into(),
            snapshots_offset: 0.into(),
        };
        let v3 = raw::HeaderV3 {
            incompatible_features: if zstd { raw::COMPRESSION } else { 0 }.into(),
            compatible_features: 0.into(),
            autoclear_features: 0.into(),
            refcount_order: 4.into(),
            header_length: HEADER_LENGTH.into(),
        };
        let tail = raw::HeaderTail {
            compression_type: u8::from(zstd),
            padding: [0; 7],
        };
        // No header extension follows: an end mark of zeros.
        [header.as_bytes(), v3.as_bytes(), tail.as_bytes(), &[0; 8]].concat()
    }
}

/// Bytes of the header with everything that version 3 has.
const HEADER_LENGTH: u32 = 112;
const _: () = assert!(
    size_of::<raw::Header>() + size_of::<raw::HeaderV3>() + size_of::<raw::HeaderTail>() == 112
);

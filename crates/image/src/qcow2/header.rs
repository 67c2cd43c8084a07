//! The header and its extensions.

use super::error::{Damage, Feature};
use super::raw;
use crate::Error;
use crate::codec::Codec;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use ondisk::{Cursor, cap};
use std::num::NonZeroU64;
use zerocopy::FromBytes;

/// A header whose every field can be used.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    /// Bytes of the guest disk.
    pub(super) size: u64,
    pub(super) cluster: ClusterSize,
    pub(super) l1_table_offset: u64,
    /// Entries that the size calls for; there are as many in the file at least.
    pub(super) l1_len: usize,
    pub(super) codec: Codec,
    pub(super) extended_l2: bool,
    pub(super) backing: Option<Backing>,
    /// The name of the external data file, if the clusters are there.
    pub(super) data_file: Option<Vec<u8>>,
    pub(super) nb_snapshots: u32,
    pub(super) snapshots_offset: u64,
    /// The data of the bitmaps extension.
    pub(super) bitmaps: Option<Vec<u8>>,
    /// Whether whoever wrote to the image last kept its bitmaps as they must be.
    pub(super) bitmaps_kept: bool,
    /// Whether a writer did not close the image, so that refcounts may be wrong; reading does not
    /// need them.
    pub(super) dirty: bool,
    /// Bits of a refcount.
    pub(super) refcount_bits: u32,
}

/// The backing file, as the header names it.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) name: Vec<u8>,
    pub(super) format: Option<Vec<u8>>,
}

/// The size of a cluster: a power of two, 512 B to 2 MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterSize {
    bits: u32,
    bytes: NonZeroU64,
}

/// Most bytes of an L1 table; QEMU has the same limit.
const MAX_L1_BYTES: u64 = 32 << 20;
/// Most bytes of a backing file's name, by the specification.
const MAX_NAME: u64 = 1023;
/// Largest disk: far beyond what the tables can map, and sums with it cannot overflow.
const MAX_SIZE: u64 = 1 << 62;

impl ClusterSize {
    pub(super) fn new(bits: u32) -> Option<Self> {
        if !(9..=21).contains(&bits) {
            return None;
        }
        let bytes = NonZeroU64::new(1_u64.checked_shl(bits)?)?;
        Some(Self { bits, bytes })
    }

    pub(super) fn bits(self) -> u32 {
        self.bits
    }

    pub(super) fn bytes(self) -> NonZeroU64 {
        self.bytes
    }
}

impl Header {
    pub(super) fn read(file: &ImageFile) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let mut bytes = [0; size_of::<raw::Header>()];
        file.read_exact(0, &mut bytes)?;
        let raw = raw::Header::read_from_bytes(&bytes)
            // The buffer has the size of the structure.
            .expect("sizes agree");
        let version = raw.version.get();
        if raw.magic != super::MAGIC || !(2..=3).contains(&version) {
            return Err(unsupported(file, Feature::Version(version)));
        }
        let cluster = ClusterSize::new(raw.cluster_bits.get())
            .ok_or_else(|| corrupt(Damage::ClusterBits(raw.cluster_bits.get())))?;
        let features = Features::read(file, version, cluster)?;
        // Everything that follows lies in the first cluster, which a tiny image may cut short.
        let mut first = vec![0; usize_of(cluster.bytes().get().min(file.len()))];
        file.read_exact(0, &mut first)?;
        let backing_offset = raw.backing_file_offset.get();
        let extensions_end = match backing_offset {
            0 => first.len(),
            offset => usize_of(offset.min(u64_of(first.len()))),
        };
        let extensions =
            Extensions::parse(&first[..extensions_end], features.header_length).map_err(corrupt)?;
        features.check(file, &extensions)?;
        match raw.crypt_method.get() {
            0 => {}
            1 => return Err(unsupported(file, Feature::Aes)),
            2 => return Err(unsupported(file, Feature::Luks)),
            method => return Err(unsupported(file, Feature::Encryption(method))),
        }
        if features.extended_l2() && cluster.bits() < 14 {
            return Err(corrupt(Damage::ExtendedClusterBits(cluster.bits())));
        }
        let backing = backing_name(&raw, &first)
            .map_err(corrupt)?
            .map(|name| Backing {
                name,
                format: extensions.backing_format,
            });
        let data_file = match (features.has(raw::DATA_FILE), extensions.data_file) {
            (false, None) => None,
            (false, Some(_)) => return Err(corrupt(Damage::DataFileWithoutFeature)),
            (true, None) => return Err(corrupt(Damage::DataFileUnnamed)),
            (true, name) => name,
        };
        let mut header = Self {
            version,
            size: raw.size.get(),
            cluster,
            l1_table_offset: raw.l1_table_offset.get(),
            l1_len: 0,
            codec: features.codec(file)?,
            extended_l2: features.extended_l2(),
            backing,
            data_file,
            nb_snapshots: raw.nb_snapshots.get(),
            snapshots_offset: raw.snapshots_offset.get(),
            bitmaps: extensions.bitmaps,
            bitmaps_kept: features.autoclear & raw::BITMAPS != 0,
            dirty: features.has(raw::DIRTY),
            refcount_bits: 1_u32.wrapping_shl(features.refcount_order),
        };
        header.l1_len = header.l1_len_for(file, raw.l1_size.get())?;
        Ok(header)
    }

    /// Number of L1 entries that the size calls for, if the table has that many.
    pub(super) fn l1_len_for(&self, file: &ImageFile, l1_size: u32) -> Result<usize, Error> {
        let too_large = |error| Error::corrupt(file.path(), error);
        let size = self.size;
        cap::length("size", size, MAX_SIZE).map_err(too_large)?;
        let clusters = size.div_ceil(self.cluster.bytes().get());
        let needed = clusters.div_ceil(self.cluster.l2_len(self.extended_l2).get());
        let len =
            cap::length("the number of L1 entries", needed, MAX_L1_BYTES / 8).map_err(too_large)?;
        cap::length("l1_size", u64::from(l1_size), MAX_L1_BYTES / 8).map_err(too_large)?;
        if len > usize_of_u32(l1_size) {
            return Err(Error::corrupt(
                file.path(),
                Damage::L1Size {
                    size,
                    needed,
                    l1_size,
                },
            ));
        }
        Ok(len)
    }
}

impl ClusterSize {
    /// Entries of an L2 table, which fills a cluster.
    pub(super) fn l2_len(self, extended: bool) -> NonZeroU64 {
        let bytes = self.bytes.get();
        let len = if extended { bytes / 16 } else { bytes / 8 };
        // A cluster has 512 bytes at least.
        NonZeroU64::new(len).unwrap_or(NonZeroU64::MIN)
    }
}

/// What version 3 says about the rest of the image.
struct Features {
    incompatible: u64,
    autoclear: u64,
    compression_type: u8,
    header_length: u32,
    refcount_order: u32,
}

impl Features {
    const V2_LENGTH: u32 = 72;
    const V3_LENGTH: u32 = 104;
    const V2_REFCOUNT_ORDER: u32 = 4;

    fn read(file: &ImageFile, version: u32, cluster: ClusterSize) -> Result<Self, Error> {
        if version == 2 {
            return Ok(Self {
                incompatible: 0,
                autoclear: 0,
                compression_type: 0,
                header_length: Self::V2_LENGTH,
                refcount_order: Self::V2_REFCOUNT_ORDER,
            });
        }
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let mut bytes = [0; size_of::<raw::HeaderV3>()];
        file.read_exact(u64::from(Self::V2_LENGTH), &mut bytes)?;
        let raw = raw::HeaderV3::read_from_bytes(&bytes)
            // The buffer has the size of the structure.
            .expect("sizes agree");
        let header_length = raw.header_length.get();
        let most = cluster.bytes().get();
        if header_length < Self::V3_LENGTH
            || u64::from(header_length) > most
            || !header_length.is_multiple_of(8)
        {
            return Err(corrupt(Damage::HeaderLength {
                length: header_length,
                least: Self::V3_LENGTH,
                most,
            }));
        }
        if raw.refcount_order.get() > 6 {
            return Err(corrupt(Damage::RefcountOrder(raw.refcount_order.get())));
        }
        let mut compression_type = [0];
        if header_length > Self::V3_LENGTH {
            file.read_exact(u64::from(Self::V3_LENGTH), &mut compression_type)?;
        }
        Ok(Self {
            incompatible: raw.incompatible_features.get(),
            autoclear: raw.autoclear_features.get(),
            compression_type: compression_type[0],
            header_length,
            refcount_order: raw.refcount_order.get(),
        })
    }

    fn has(&self, feature: u64) -> bool {
        self.incompatible & feature != 0
    }

    fn extended_l2(&self) -> bool {
        self.has(raw::EXTENDED_L2)
    }

    /// Refuses what is not understood, by name where the image gives one.
    fn check(&self, file: &ImageFile, extensions: &Extensions) -> Result<(), Error> {
        const KNOWN: u64 =
            raw::DIRTY | raw::CORRUPT | raw::DATA_FILE | raw::COMPRESSION | raw::EXTENDED_L2;
        let unknown: Vec<_> = (0..u64::BITS)
            .filter(|bit| (self.incompatible & !KNOWN).wrapping_shr(*bit) & 1 == 1)
            .map(|bit| (bit, extensions.feature_name(bit)))
            .collect();
        if !unknown.is_empty() {
            return Err(unsupported(file, Feature::Incompatible(unknown)));
        }
        if self.has(raw::CORRUPT) {
            return Err(unsupported(file, Feature::MarkedCorrupt));
        }
        Ok(())
    }

    fn codec(&self, file: &ImageFile) -> Result<Codec, Error> {
        let compression_type = self.compression_type;
        if self.has(raw::COMPRESSION) != (compression_type != 0) {
            return Err(Error::corrupt(
                file.path(),
                Damage::CompressionBit { compression_type },
            ));
        }
        match compression_type {
            0 => Ok(Codec::Deflate),
            1 => Ok(Codec::Zstd),
            other => Err(unsupported(file, Feature::Compression(other))),
        }
    }
}

/// The header extensions that reading needs.
#[derive(Default)]
struct Extensions {
    backing_format: Option<Vec<u8>>,
    data_file: Option<Vec<u8>>,
    /// Parsed by whoever asks for bitmaps.
    bitmaps: Option<Vec<u8>>,
    /// The feature name table, in whole entries.
    names: Vec<u8>,
}

impl Extensions {
    /// Takes the bytes from the beginning of the file to where extensions must have ended.
    fn parse(first: &[u8], header_length: u32) -> Result<Self, Damage> {
        let mut extensions = Self::default();
        let mut cursor = Cursor::new(first);
        if cursor.skip(usize_of_u32(header_length)).is_err() {
            return Ok(extensions);
        }
        while let Ok(head) = cursor.take_array::<{ size_of::<raw::Extension>() }>() {
            let head = raw::Extension::read_from_bytes(&head)
                // The array has the size of the structure.
                .expect("sizes agree");
            let (kind, len) = (head.kind.get(), usize_of_u32(head.len.get()));
            if kind == raw::EXTENSION_END {
                break;
            }
            let at = u64_of(cursor.position());
            let left = u64_of(cursor.rest().len());
            let Ok(data) = cursor.take(len) else {
                return Err(Damage::Extension {
                    kind,
                    at,
                    len: u64_of(len),
                    left,
                });
            };
            match kind {
                raw::EXTENSION_BACKING_FORMAT => extensions.backing_format = Some(data.to_vec()),
                raw::EXTENSION_DATA_FILE => extensions.data_file = Some(data.to_vec()),
                raw::EXTENSION_BITMAPS => extensions.bitmaps = Some(data.to_vec()),
                raw::EXTENSION_FEATURE_NAMES => extensions.names = data.to_vec(),
                // Others may be ignored, by the specification.
                _ => {}
            }
            let padding = len.next_multiple_of(8).saturating_sub(len);
            if cursor.skip(padding).is_err() {
                break;
            }
        }
        Ok(extensions)
    }

    /// What the image calls an incompatible feature.
    fn feature_name(&self, bit: u32) -> Option<String> {
        self.names
            .chunks_exact(raw::FEATURE_NAME_LEN)
            .find_map(|entry| match entry {
                [raw::FEATURE_NAME_INCOMPATIBLE, number, name @ ..]
                    if u32::from(*number) == bit =>
                {
                    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                    Some(String::from_utf8_lossy(&name[..end]).into_owned())
                }
                _ => None,
            })
    }
}

/// The name of the backing file, if there is one.
fn backing_name(raw: &raw::Header, first: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
    let (offset, len) = (
        raw.backing_file_offset.get(),
        u64::from(raw.backing_file_size.get()),
    );
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    let end = u64_of(first.len());
    let damage = Damage::BackingName { offset, len, end };
    if len > MAX_NAME || offset > end {
        return Err(damage);
    }
    first
        .get(usize_of(offset)..)
        .and_then(|rest| rest.get(..usize_of(len)))
        .map(|name| Some(name.to_vec()))
        .ok_or(damage)
}

fn unsupported(file: &ImageFile, feature: Feature) -> Error {
    Error::unsupported(file.path(), AnyFeature::Qcow2(feature))
}

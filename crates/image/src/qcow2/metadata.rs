//! From guest offsets to clusters: the L1 table and the L2 tables.

use super::error::Damage;
use super::header::Header;
use super::raw;
use crate::Error;
use crate::cache::Cache;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::layer::{Packed, Place, Run, State};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

/// Number of the image itself among a layer's files.
pub(super) const IMAGE: usize = 0;
/// Number of the external data file.
pub(super) const DATA_FILE: usize = 1;

/// The tables of an image. L1 is in memory, L2 tables are read when they are needed.
#[derive(Debug)]
pub(super) struct Tables {
    version: u32,
    size: u64,
    cluster_bits: u32,
    cluster: NonZeroU64,
    /// Bytes that have a state of their own: a cluster, or a 32nd of one.
    subcluster: NonZeroU64,
    extended: bool,
    l1_table_offset: u64,
    l1: Box<[u64]>,
    l2: Cache<Arc<[u64]>>,
    /// Clusters that one L2 table maps.
    l2_len: NonZeroU64,
    /// Where the clusters are, and how long that file is.
    data_file: usize,
    data_len: u64,
    data_path: PathBuf,
}

/// An L2 entry and where it stands.
struct Entry {
    at: u64,
    word: u64,
    /// Only in extended entries, else 0.
    bitmap: u64,
}

/// Bytes of L2 tables that are kept: they map 256 GiB in clusters of 64 KiB.
const L2_CACHE: u64 = 32 << 20;
/// Subclusters, or L1 entries, looked at for one answer: enough for any one read, and callers that
/// go on from piece to piece never look at a long table again and again.
const MAX_RUN: u64 = 8192;

impl Tables {
    pub(super) fn read(
        file: &ImageFile,
        header: &Header,
        data_file: Option<&ImageFile>,
        salvage: bool,
    ) -> Result<Self, Error> {
        let cluster = header.cluster.bytes();
        let tables = Self {
            version: header.version,
            size: header.size,
            cluster_bits: header.cluster.bits(),
            cluster,
            subcluster: if header.extended_l2 {
                // Extended entries need clusters of 16 KiB at least.
                NonZeroU64::new(cluster.get() / 32).unwrap_or(cluster)
            } else {
                cluster
            },
            extended: header.extended_l2,
            l1_table_offset: header.l1_table_offset,
            l1: read_l1(file, header)?,
            l2: Cache::new(usize_of(L2_CACHE / cluster)),
            l2_len: header.cluster.l2_len(header.extended_l2),
            data_file: if data_file.is_some() {
                DATA_FILE
            } else {
                IMAGE
            },
            data_len: data_file.unwrap_or(file).len(),
            data_path: data_file.unwrap_or(file).path().to_owned(),
        };
        // Whoever reads on over damage meets it again where it matters.
        if !salvage {
            for index in 0..tables.l1.len() {
                tables.l2_offset(file, index)?;
            }
        }
        Ok(tables)
    }

    /// Where the bytes from `offset` on are; see [`crate::layer::Layer::map`].
    pub(super) fn map(&self, file: &ImageFile, offset: u64, wanted: u64) -> Result<Run, Error> {
        let end = self.size.min(offset.saturating_add(wanted));
        let index = offset / self.cluster;
        let l1_index = usize_of(index / self.l2_len);
        let Some(l2_offset) = self.l2_offset(file, l1_index)? else {
            return Ok(self.unmapped(offset, l1_index));
        };
        let l2 = self
            .l2
            .get_or_load(l2_offset, || self.read_l2(file, offset, l2_offset))?;
        let table_end = index
            .saturating_sub(index % self.l2_len)
            .saturating_add(self.l2_len.get())
            .saturating_mul(self.cluster.get());
        let state_at = |guest| self.state(file, &l2, l2_offset, guest);
        let first = state_at(offset)?;
        let mut at = self.state_end(offset, &first);
        // A compressed cluster stands alone; others go on as far as they are of one kind.
        let mut left = MAX_RUN;
        while at < end.min(table_end) && left > 0 {
            // What is damaged further on is told when it is asked for.
            match state_at(at) {
                Ok(state) if first.goes_on_as(at.saturating_sub(offset), &state) => {
                    at = self.state_end(at, &state);
                }
                _ => break,
            }
            left = left.saturating_sub(1);
        }
        Ok(Run {
            len: at.min(self.size).saturating_sub(offset),
            state: first,
        })
    }

    /// Where the state that holds at `guest` may change.
    fn state_end(&self, guest: u64, state: &State) -> u64 {
        let unit = match state {
            State::Data(Place {
                packed: Some(_), ..
            }) => self.cluster,
            _ => self.subcluster,
        };
        guest
            .saturating_sub(guest % unit)
            .saturating_add(unit.get())
    }

    /// The run of L1 entries without a table.
    fn unmapped(&self, offset: u64, l1_index: usize) -> Run {
        let bytes_each = self.l2_len.get().saturating_mul(self.cluster.get());
        let tables = self
            .l1
            .iter()
            .skip(l1_index)
            .take(usize_of(MAX_RUN))
            // A damaged entry is told when it is asked for.
            .take_while(|e| **e & (raw::OFFSET | raw::L1_RESERVED) == 0);
        let end = u64_of(l1_index)
            .saturating_add(u64_of(tables.count()))
            .saturating_mul(bytes_each)
            .min(self.size);
        Run {
            len: end.saturating_sub(offset),
            state: State::Parent,
        }
    }

    /// Position of an L2 table, if there is one.
    fn l2_offset(&self, file: &ImageFile, l1_index: usize) -> Result<Option<u64>, Error> {
        let entry = self.l1.get(l1_index).copied().unwrap_or(0);
        let at = self
            .l1_table_offset
            .saturating_add(u64_of(l1_index).saturating_mul(8));
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        if entry & raw::L1_RESERVED != 0 {
            return Err(corrupt(Damage::Reserved {
                what: "the L1 entry",
                at,
                entry,
                mask: raw::L1_RESERVED,
            }));
        }
        let offset = entry & raw::OFFSET;
        if offset == 0 {
            return Ok(None);
        }
        if !offset.is_multiple_of(self.cluster.get()) {
            return Err(corrupt(self.unaligned("the L1 entry", at, offset)));
        }
        Ok(Some(offset))
    }

    fn read_l2(&self, file: &ImageFile, guest: u64, offset: u64) -> Result<Arc<[u64]>, Error> {
        if offset.saturating_add(self.cluster.get()) > file.len() {
            return Err(Error::corrupt(
                file.path(),
                AnyDamage::BeyondEnd {
                    unit: "L2 table",
                    guest,
                    offset,
                    len: self.cluster.get(),
                    end: file.len(),
                },
            ));
        }
        read_table(file, offset, usize_of(self.cluster.get() / 8)).map(Arc::from)
    }

    fn entry(&self, l2: &[u64], l2_offset: u64, guest: u64) -> Entry {
        let words = if self.extended { 2 } else { 1 };
        let first = usize_of((guest / self.cluster) % self.l2_len).saturating_mul(words);
        // A table has all entries that its index can name.
        let word = |index: usize| l2.get(index).copied().unwrap_or(0);
        Entry {
            at: l2_offset.saturating_add(u64_of(first).saturating_mul(8)),
            word: word(first),
            bitmap: if self.extended {
                word(first.saturating_add(1))
            } else {
                0
            },
        }
    }

    /// The state of the subcluster that holds `guest`.
    fn state(
        &self,
        file: &ImageFile,
        l2: &[u64],
        l2_offset: u64,
        guest: u64,
    ) -> Result<State, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let entry = self.entry(l2, l2_offset, guest);
        if entry.word & raw::COMPRESSED != 0 {
            return self.compressed(file, &entry, guest);
        }
        let reserved = if self.extended {
            raw::L2_RESERVED | raw::ZERO
        } else {
            raw::L2_RESERVED
        };
        if entry.word & reserved != 0 {
            return Err(corrupt(Damage::Reserved {
                what: "the L2 entry",
                at: entry.at,
                entry: entry.word,
                mask: reserved,
            }));
        }
        let offset = entry.word & raw::OFFSET;
        if !offset.is_multiple_of(self.cluster.get()) {
            return Err(corrupt(self.unaligned("the L2 entry", entry.at, offset)));
        }
        // Only an external data file can have a cluster at its very beginning.
        let allocated =
            offset != 0 || (self.data_file == DATA_FILE && entry.word & raw::COPIED != 0);
        let (stored, zero) = if self.extended {
            self.subcluster_bits(&entry, allocated, guest)
                .map_err(corrupt)?
        } else {
            // The flag wins over an offset: the cluster there is only reserved.
            (allocated, entry.word & raw::ZERO != 0)
        };
        if zero {
            if self.version == 2 {
                return Err(corrupt(Damage::ZeroInVersion2(entry.at)));
            }
            return Ok(State::Zero);
        }
        if !stored {
            return Ok(State::Parent);
        }
        self.stored(offset, guest)
    }

    /// Whether a subcluster is stored, and whether it is zero.
    fn subcluster_bits(
        &self,
        entry: &Entry,
        allocated: bool,
        guest: u64,
    ) -> Result<(bool, bool), Damage> {
        let (zero, stored) = (entry.bitmap >> 32, entry.bitmap & 0xffff_ffff);
        if zero & stored != 0 || (!allocated && stored != 0) {
            return Err(Damage::Subclusters {
                at: entry.at,
                bitmap: entry.bitmap,
            });
        }
        let bit = (guest % self.cluster) / self.subcluster;
        // A cluster has 32 subclusters.
        let is_set = |bits: u64| {
            bits.checked_shr(u32::try_from(bit).unwrap_or(0))
                .is_some_and(|b| b & 1 == 1)
        };
        Ok((is_set(stored), is_set(zero)))
    }

    fn stored(&self, offset: u64, guest: u64) -> Result<State, Error> {
        let within_unit = guest % self.subcluster;
        let start = guest.saturating_sub(within_unit);
        let offset = offset.saturating_add(start % self.cluster);
        // Nothing needs to be stored beyond the end of the disk.
        let len = self.subcluster.get().min(self.size.saturating_sub(start));
        if offset.saturating_add(len) > self.data_len {
            return Err(self.beyond_end(start, offset, len));
        }
        Ok(State::Data(Place {
            file: self.data_file,
            offset: offset.saturating_add(within_unit),
            packed: None,
        }))
    }

    fn compressed(&self, file: &ImageFile, entry: &Entry, guest: u64) -> Result<State, Error> {
        if self.data_file == DATA_FILE {
            return Err(Error::corrupt(
                file.path(),
                Damage::CompressedInDataFile(entry.at),
            ));
        }
        if entry.bitmap != 0 {
            return Err(Error::corrupt(
                file.path(),
                Damage::Subclusters {
                    at: entry.at,
                    bitmap: entry.bitmap,
                },
            ));
        }
        // The more bits a cluster has, the fewer are left for the offset.
        let offset_bits = 70_u32.saturating_sub(self.cluster_bits);
        let offset_mask = 1_u64.wrapping_shl(offset_bits).wrapping_sub(1);
        let offset = entry.word & offset_mask;
        let more_sectors =
            (entry.word & !(raw::COMPRESSED | raw::COPIED)).wrapping_shr(offset_bits);
        let len = more_sectors
            .saturating_add(1)
            .saturating_mul(512)
            .saturating_sub(offset % 512);
        let within = guest % self.cluster;
        let start = guest.saturating_sub(within);
        // The sectors of the last one may go on past the end of the file, by design.
        if offset >= self.data_len {
            return Err(self.beyond_end(start, offset, len));
        }
        Ok(State::Data(Place {
            file: IMAGE,
            offset,
            packed: Some(Packed {
                len,
                guest: start,
                within,
            }),
        }))
    }

    fn beyond_end(&self, guest: u64, offset: u64, len: u64) -> Error {
        Error::corrupt(
            &self.data_path,
            AnyDamage::BeyondEnd {
                unit: "cluster",
                guest,
                offset,
                len,
                end: self.data_len,
            },
        )
    }

    fn unaligned(&self, what: &'static str, at: u64, offset: u64) -> Damage {
        Damage::Unaligned {
            what,
            at,
            offset,
            align: self.cluster.get(),
        }
    }
}

fn read_l1(file: &ImageFile, header: &Header) -> Result<Box<[u64]>, Error> {
    let offset = header.l1_table_offset;
    if header.l1_len == 0 {
        return Ok(Box::default());
    }
    let align = header.cluster.bytes().get();
    if offset == 0 || !offset.is_multiple_of(align) {
        return Err(Error::corrupt(
            file.path(),
            Damage::Unaligned {
                what: "l1_table_offset",
                at: 40,
                offset,
                align,
            },
        ));
    }
    read_table(file, offset, header.l1_len)
}

/// Reads `len` big-endian words, which the caller has capped.
fn read_table(file: &ImageFile, offset: u64, len: usize) -> Result<Box<[u64]>, Error> {
    let bytes_len = u64_of(len).saturating_mul(8);
    let past_end = offset
        .checked_add(bytes_len)
        .is_none_or(|end| end > file.len());
    if past_end {
        return Err(Error::corrupt(
            file.path(),
            AnyDamage::Truncated {
                offset,
                len: bytes_len,
                end: file.len(),
            },
        ));
    }
    let mut bytes = vec![0; usize_of(bytes_len)];
    file.read_exact(offset, &mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|word| u64::from_be_bytes(*word)).collect())
}

//! From offsets in a sparse extent to grains: the grain directory and the grain tables.

use super::error::Damage;
use super::header::Header;
use super::raw::{self, SECTOR};
use crate::Error;
use crate::cache::Cache;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::layer::{Packed, Place, Run, State};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::sync::Arc;

/// The tables of a sparse extent. The directory is in memory, tables are read when needed.
#[derive(Debug)]
pub(super) struct Grains {
    /// Bytes of the disk that the extent holds.
    size: u64,
    grain: NonZeroU64,
    /// Entries of a table, and bytes of the disk that it maps.
    table_len: NonZeroU64,
    table_span: NonZeroU64,
    directory: Box<[u32]>,
    tables: Cache<Arc<[u32]>>,
    zeroed_grains: bool,
    compressed: bool,
}

/// Bytes of grain tables that are kept: they map 256 GiB in grains of 64 KiB.
const TABLE_CACHE: u64 = 16 << 20;

impl Grains {
    pub(super) fn read(file: &ImageFile, header: &Header) -> Result<Self, Error> {
        let table_bytes = header.table_len.saturating_mul(FOUR);
        Ok(Self {
            size: header.capacity,
            grain: header.grain,
            table_len: header.table_len,
            table_span: header.table_len.saturating_mul(header.grain),
            directory: read_table(file, header.directory, header.directory_len)?,
            tables: Cache::new(usize_of(TABLE_CACHE / table_bytes)),
            zeroed_grains: header.zeroed_grains,
            compressed: header.compressed,
        })
    }

    /// Where the bytes from `offset` of the extent on are; see [`crate::layer::Layer::map`].
    pub(super) fn map(
        &self,
        file: &ImageFile,
        number: usize,
        offset: u64,
        wanted: u64,
    ) -> Result<Run, Error> {
        let end = self.size.min(offset.saturating_add(wanted));
        let index = usize_of(offset / self.table_span);
        let Some(table_at) = self.table_offset(index) else {
            return Ok(self.unmapped(offset, index));
        };
        let table = self.tables.get_or_load(table_at, || {
            self.check(file, "grain table", offset, table_at, self.table_bytes())?;
            read_table(file, table_at, usize_of(self.table_len.get())).map(Arc::from)
        })?;
        let state_at = |guest| self.state(file, number, &table, table_at, guest);
        let first = state_at(offset)?;
        let table_end = self.end_of(offset, self.table_span);
        let mut at = self.end_of(offset, self.grain);
        while at < end.min(table_end) {
            // What is damaged further on is told when it is asked for.
            match state_at(at) {
                Ok(state) if continues(&first, at.saturating_sub(offset), &state) => {
                    at = self.end_of(at, self.grain);
                }
                _ => break,
            }
        }
        Ok(Run {
            len: at.min(self.size).saturating_sub(offset),
            state: first,
        })
    }

    /// Where the unit that holds `guest` ends.
    fn end_of(&self, guest: u64, unit: NonZeroU64) -> u64 {
        guest
            .saturating_sub(guest % unit)
            .saturating_add(unit.get())
    }

    fn table_bytes(&self) -> u64 {
        self.table_len.saturating_mul(FOUR).get()
    }

    /// Position of a grain table, if there is one.
    fn table_offset(&self, index: usize) -> Option<u64> {
        match self.directory.get(index) {
            None | Some(0) => None,
            Some(sector) => Some(u64::from(*sector).saturating_mul(SECTOR)),
        }
    }

    /// The run of directory entries without a table.
    fn unmapped(&self, offset: u64, index: usize) -> Run {
        let tables = self.directory.iter().skip(index).take_while(|e| **e == 0);
        let end = u64_of(index)
            .saturating_add(u64_of(tables.count()))
            .saturating_mul(self.table_span.get())
            .min(self.size);
        Run {
            len: end.saturating_sub(offset),
            state: State::Parent,
        }
    }

    fn state(
        &self,
        file: &ImageFile,
        number: usize,
        table: &[u32],
        table_at: u64,
        guest: u64,
    ) -> Result<State, Error> {
        let index = (guest / self.grain) % self.table_len;
        // A table has all entries that its index can name.
        let entry = table.get(usize_of(index)).copied().unwrap_or(0);
        if entry == 0 {
            return Ok(State::Parent);
        }
        if entry == raw::ZEROED {
            if self.zeroed_grains {
                return Ok(State::Zero);
            }
            let at = table_at.saturating_add(index.saturating_mul(4));
            return Err(Error::corrupt(
                file.path(),
                Damage::GrainInHeader { at, entry },
            ));
        }
        let within = guest % self.grain;
        let start = guest.saturating_sub(within);
        let offset = u64::from(entry).saturating_mul(SECTOR);
        // Nothing needs to be stored beyond the end of the disk; a compressed grain has a byte.
        let stored = self.grain.get().min(self.size.saturating_sub(start));
        let len = if self.compressed { 1 } else { stored };
        self.check(file, "grain", start, offset, len)?;
        Ok(State::Data(if self.compressed {
            Place {
                file: number,
                offset,
                packed: Some(Packed {
                    // No honest stream is longer than this, of bytes that cannot be compressed.
                    len: self.grain.get().saturating_mul(2).saturating_add(SECTOR),
                    guest: start,
                    within,
                }),
            }
        } else {
            Place {
                file: number,
                offset: offset.saturating_add(within),
                packed: None,
            }
        }))
    }

    /// Checks that something the tables point to is inside the file.
    fn check(
        &self,
        file: &ImageFile,
        unit: &'static str,
        guest: u64,
        offset: u64,
        len: u64,
    ) -> Result<(), Error> {
        if offset.saturating_add(len) <= file.len() {
            return Ok(());
        }
        Err(Error::corrupt(
            file.path(),
            AnyDamage::BeyondEnd {
                unit,
                guest,
                offset,
                len,
                end: file.len(),
            },
        ))
    }
}

/// Bytes of a table entry.
const FOUR: NonZeroU64 = NonZeroU64::new(4).unwrap();

/// Whether a grain `distance` bytes after the first one belongs to the same run.
fn continues(first: &State, distance: u64, next: &State) -> bool {
    match (first, next) {
        (State::Zero, State::Zero) | (State::Parent, State::Parent) => true,
        (State::Data(a), State::Data(b)) => {
            a.packed.is_none()
                && b.packed.is_none()
                && a.offset.checked_add(distance) == Some(b.offset)
        }
        _ => false,
    }
}

/// Reads `len` little-endian words, which the caller has capped.
fn read_table(file: &ImageFile, offset: u64, len: usize) -> Result<Box<[u32]>, Error> {
    let bytes_len = u64_of(len).saturating_mul(4);
    if offset.saturating_add(bytes_len) > file.len() {
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
    let (words, _) = bytes.as_chunks::<4>();
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

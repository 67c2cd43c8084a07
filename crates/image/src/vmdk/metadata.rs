//! From offsets in a sparse extent to grains: the grain directory and the grain tables.

use super::entries::{Entries, Grain};
use super::raw::SECTOR;
use crate::Error;
use crate::cache::Cache;
use crate::error::Damage as AnyDamage;
use crate::file::ImageFile;
use crate::layer::{Packed, Place, Run, State};
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::sync::Arc;

/// What a header says about an extent. Everything is in bytes.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bytes of the disk that the extent holds.
    pub(super) capacity: u64,
    pub(super) grain: NonZeroU64,
    /// Entries of a grain table.
    pub(super) table_len: NonZeroU64,
    /// Position of the grain directory.
    pub(super) directory: u64,
    /// Entries of the grain directory, which the header has capped.
    pub(super) directory_len: usize,
    pub(super) entries: Entries,
    pub(super) compressed: bool,
}

/// The tables of a sparse extent. The directory is in memory, tables are read when needed.
#[derive(Debug)]
pub(super) struct Grains {
    layout: Layout,
    /// Bytes of the disk that a table maps.
    table_span: NonZeroU64,
    directory: Box<[u64]>,
    tables: Cache<Arc<[u64]>>,
}

/// Bytes of grain tables that are kept in memory: they map 128 GiB in grains of 64 KiB.
const TABLE_CACHE: u64 = 16 << 20;
/// Directory entries looked at for one answer: callers that go on from piece to piece, since a
/// parent has many, never look at a long directory again and again.
const MAX_UNMAPPED: usize = 8192;

impl Grains {
    pub(super) fn read(file: &ImageFile, layout: Layout) -> Result<Self, Error> {
        let kept = TABLE_CACHE / layout.table_len.saturating_mul(EIGHT);
        Ok(Self {
            table_span: layout.table_len.saturating_mul(layout.grain),
            directory: read_table(
                file,
                layout.directory,
                layout.directory_len,
                layout.entries.width(),
            )?,
            tables: Cache::new(usize_of(kept)),
            layout,
        })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the bytes from `offset` of the extent on are; see [`crate::layer::Layer::map`].
    pub(super) fn map(
        &self,
        file: &ImageFile,
        number: usize,
        offset: u64,
        wanted: u64,
    ) -> Result<Run, Error> {
        let Layout {
            capacity,
            grain,
            table_len,
            entries,
            ..
        } = self.layout;
        let end = capacity.min(offset.saturating_add(wanted));
        let index = usize_of(offset / self.table_span);
        let Some(table_at) = self.table_offset(file, index)? else {
            return Ok(self.unmapped(offset, index));
        };
        let table = self.tables.get_or_load(table_at, || {
            self.check(file, "grain table", offset, table_at, self.table_bytes())?;
            read_table(file, table_at, usize_of(table_len.get()), entries.width()).map(Arc::from)
        })?;
        let state_at = |guest| self.state(file, number, &table, table_at, guest);
        let first = state_at(offset)?;
        let table_end = self.end_of(offset, self.table_span);
        let mut at = self.end_of(offset, grain);
        while at < end.min(table_end) {
            // What is damaged further on is told when it is asked for.
            match state_at(at) {
                Ok(state) if first.goes_on_as(at.saturating_sub(offset), &state) => {
                    at = self.end_of(at, grain);
                }
                _ => break,
            }
        }
        Ok(Run {
            len: at.min(capacity).saturating_sub(offset),
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
        let width = self.layout.entries.width();
        self.layout.table_len.saturating_mul(width).get()
    }

    /// Position of a grain table, if there is one.
    fn table_offset(&self, file: &ImageFile, index: usize) -> Result<Option<u64>, Error> {
        let entry = self.directory.get(index).copied().unwrap_or(0);
        let within = u64_of(index).saturating_mul(self.layout.entries.width().get());
        let at = self.layout.directory.saturating_add(within);
        self.layout
            .entries
            .table(entry, at, self.table_bytes())
            .map_err(|damage| Error::corrupt(file.path(), damage))
    }

    /// The run of directory entries without a table.
    fn unmapped(&self, offset: u64, index: usize) -> Run {
        let entries = self.directory.iter().skip(index);
        let tables = entries.take(MAX_UNMAPPED).take_while(|e| **e == 0);
        let end = u64_of(index)
            .saturating_add(u64_of(tables.count()))
            .saturating_mul(self.table_span.get())
            .min(self.layout.capacity);
        Run {
            len: end.saturating_sub(offset),
            state: State::Parent,
        }
    }

    fn state(
        &self,
        file: &ImageFile,
        number: usize,
        table: &[u64],
        table_at: u64,
        guest: u64,
    ) -> Result<State, Error> {
        let grain = self.layout.grain;
        let index = (guest / grain) % self.layout.table_len;
        // A table has all entries that its index can name.
        let entry = table.get(usize_of(index)).copied().unwrap_or(0);
        let entries = self.layout.entries;
        let at = table_at.saturating_add(index.saturating_mul(entries.width().get()));
        let found = entries.grain(entry, at, grain.get());
        let offset = match found.map_err(|damage| Error::corrupt(file.path(), damage))? {
            Grain::Parent => return Ok(State::Parent),
            Grain::Zero => return Ok(State::Zero),
            Grain::At(offset) => offset,
        };
        let within = guest % grain;
        let start = guest.saturating_sub(within);
        // Nothing needs to be stored beyond the end of the disk; a compressed grain has a byte.
        let stored = grain.get().min(self.layout.capacity.saturating_sub(start));
        let len = if self.layout.compressed { 1 } else { stored };
        self.check(file, "grain", start, offset, len)?;
        Ok(State::Data(if self.layout.compressed {
            Place {
                file: number,
                offset,
                packed: Some(Packed {
                    // No honest stream is longer than this, of bytes that cannot be compressed.
                    len: grain.get().saturating_mul(2).saturating_add(SECTOR),
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

/// Bytes of an entry in memory.
const EIGHT: NonZeroU64 = NonZeroU64::new(8).unwrap();

/// Reads `len` little-endian numbers of `width` bytes; the caller has capped them.
fn read_table(
    file: &ImageFile,
    offset: u64,
    len: usize,
    width: NonZeroU64,
) -> Result<Box<[u64]>, Error> {
    let bytes_len = u64_of(len).saturating_mul(width.get());
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
    Ok(if width == EIGHT {
        let (words, _) = bytes.as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    } else {
        let (words, _) = bytes.as_chunks::<4>();
        words
            .iter()
            .map(|word| u64::from(u32::from_le_bytes(*word)))
            .collect()
    })
}

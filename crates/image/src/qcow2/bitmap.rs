//! Dirty bitmaps inside an image: what was written to the disk since somebody began to watch.
//!
//! They are read only when they are asked for: the disk can be read without them.

use super::error::{Damage, Feature};
use super::header::{ClusterSize, Header};
use super::raw;
use crate::Error;
use crate::coarse::Coarse;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use ondisk::{Cursor, Interrupt, cap};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Range;
use zerocopy::FromBytes;

/// A dirty bitmap inside a qcow2 image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BitmapInfo {
    /// Its name, which no other one in the image has.
    pub name: String,
    /// Bytes of the disk that each bit stands for.
    pub granularity: u64,
    /// Whether it records what is written; else it has been stopped (QEMU: `auto`).
    pub enabled: bool,
    /// Whether a program that wrote to the image did not save it.
    pub in_use: bool,
    /// Bytes of the disk that it says were written; nothing if it cannot be relied on.
    pub dirty: Option<u64>,
    /// Why it cannot be relied on.
    pub problem: Option<String>,
}

/// What a dirty bitmap says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dirty {
    /// What was written: ascending ranges of the disk that do not touch.
    pub ranges: Vec<Range<u64>>,
    /// Whether the bitmap still records.
    pub enabled: bool,
}

/// What the header says about bitmaps, and what is needed to read them.
#[derive(Debug)]
pub(super) struct Place {
    /// The header extension, which may be damaged.
    extension: Vec<u8>,
    /// Whether all who wrote to the image kept its bitmaps.
    kept: bool,
    /// Whether the disk is the one that the bitmaps are about.
    current: bool,
    cluster: ClusterSize,
    disk: u64,
}

/// The bitmaps of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmaps<'l> {
    pub(super) file: &'l ImageFile,
    pub(super) place: &'l Place,
}

/// An entry of the directory.
#[derive(Debug)]
struct Entry {
    raw: raw::Bitmap,
    name: Vec<u8>,
    granularity: NonZeroU64,
}

/// Most bitmaps of an image; QEMU has the same limit.
const MAX_BITMAPS: u64 = 65_535;
/// Most bytes of their directory, and of a name, likewise.
const MAX_DIRECTORY: u64 = 64 << 20;
const MAX_NAME: u64 = 1023;
/// Most bytes of a bitmap, likewise; tables are smaller.
const MAX_BYTES: u64 = 512 << 20;

impl Place {
    /// Where the bitmaps of an image are; `current` says whether the header is that of the disk as
    /// it is now.
    pub(super) fn of(header: &Header, current: bool) -> Option<Self> {
        Some(Self {
            extension: header.bitmaps.clone()?,
            kept: header.bitmaps_kept,
            current,
            cluster: header.cluster,
            disk: header.size,
        })
    }
}

impl Bitmaps<'_> {
    /// Describes all of them.
    pub(crate) fn list(&self, interrupt: &Interrupt) -> Result<Vec<BitmapInfo>, Error> {
        let mut read = 0;
        self.entries()?
            .iter()
            .map(|entry| {
                let mut dirty = 0_u64;
                let counted = self.walk(entry, &mut read, interrupt, &mut |range| {
                    let end = range.end.min(self.place.disk);
                    dirty = dirty.saturating_add(end.saturating_sub(range.start));
                });
                let problem = match counted {
                    Err(interrupted @ Error::Interrupted(_)) => return Err(interrupted),
                    Err(problem) => Some(problem.to_string()),
                    Ok(()) => None,
                };
                Ok(BitmapInfo {
                    name: entry.name(),
                    granularity: entry.granularity.get(),
                    enabled: entry.has(raw::BITMAP_AUTO),
                    in_use: entry.has(raw::BITMAP_IN_USE),
                    dirty: problem.is_none().then_some(dirty),
                    problem,
                })
            })
            .collect()
    }

    /// What the bitmap of a name says, if there is one, in whole granules.
    pub(crate) fn dirty(
        &self,
        name: &str,
        granule: NonZeroU64,
        interrupt: &Interrupt,
    ) -> Result<Option<Dirty>, Error> {
        let entries = self.entries()?;
        let Some(entry) = entries.iter().find(|entry| entry.name == name.as_bytes()) else {
            return Ok(None);
        };
        let mut dirty = Coarse::new(granule, self.place.disk);
        self.walk(entry, &mut 0, interrupt, &mut |range| dirty.add(&range))?;
        Ok(Some(Dirty {
            ranges: dirty.finish(),
            enabled: entry.has(raw::BITMAP_AUTO),
        }))
    }

    /// Reads the directory.
    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let corrupt = |damage: Damage| Error::corrupt(self.file.path(), damage);
        let too_large = |error| Error::corrupt(self.file.path(), error);
        let raw = raw::Bitmaps::read_from_bytes(&self.place.extension)
            .map_err(|_| corrupt(Damage::BitmapsLength(u64_of(self.place.extension.len()))))?;
        let (count, size) = (raw.nb_bitmaps.get(), raw.bitmap_directory_size.get());
        cap::length("nb_bitmaps", u64::from(count), MAX_BITMAPS).map_err(too_large)?;
        let len = cap::length("bitmap_directory_size", size, MAX_DIRECTORY).map_err(too_large)?;
        let offset = raw.bitmap_directory_offset.get();
        self.check_offset("bitmap_directory_offset", offset, size)?;
        let mut bytes = vec![0; len];
        self.file.read_exact(offset, &mut bytes)?;
        let (mut cursor, mut entries, mut names) =
            (Cursor::new(&bytes), Vec::new(), BTreeSet::new());
        for number in 0..count {
            let entry = Entry::take(&mut cursor).map_err(|what| {
                corrupt(Damage::BitmapEntry {
                    number,
                    at: offset.saturating_add(u64_of(cursor.position())),
                    what,
                })
            })?;
            if !names.insert(entry.name.clone()) {
                return Err(corrupt(Damage::BitmapTwice(entry.name())));
            }
            entries.push(entry);
        }
        let left = u64_of(cursor.rest().len());
        if left > 0 {
            return Err(corrupt(Damage::BitmapDirectory { count, size, left }));
        }
        Ok(entries)
    }

    /// Tells the ranges of the disk that a bitmap marks, ascending, joined where they are told
    /// together, the last one as if the disk ended with its granule. `read` counts bytes of all
    /// bitmaps that are read: they lie apart, so that the file has more.
    fn walk(
        &self,
        entry: &Entry,
        read: &mut u64,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(Range<u64>),
    ) -> Result<(), Error> {
        self.check(entry)?;
        let mut spend = |bytes: u64| {
            *read = read.saturating_add(bytes);
            if *read > self.file.len() {
                return Err(Error::corrupt(
                    self.file.path(),
                    Damage::BitmapsOverlap(self.file.len()),
                ));
            }
            Ok(())
        };
        let bits = self.place.disk.div_ceil(entry.granularity.get());
        let bytes = bits.div_ceil(8);
        cap::length("the size of a bitmap", bytes, MAX_BYTES)
            .map_err(|error| Error::corrupt(self.file.path(), error))?;
        let cluster = self.place.cluster.bytes();
        let table = self.table(entry, bytes.div_ceil(cluster.get()))?;
        spend(u64_of(table.len()).saturating_mul(8))?;
        let bits_each = cluster.get().saturating_mul(8);
        let mut run = Run {
            granularity: entry.granularity.get(),
            bits: 0..0,
            tell,
        };
        let mut buf = Vec::new();
        for (index, cluster_at) in (0_u64..).zip(table) {
            interrupt.check()?;
            let first = index.saturating_mul(bits_each);
            let end = first.saturating_add(bits_each).min(bits);
            match cluster_at {
                Cluster::Zeros => {}
                Cluster::Ones => run.add(first..end),
                Cluster::At(offset) => {
                    let len = end.saturating_sub(first).div_ceil(8);
                    spend(len)?;
                    buf.resize(usize_of(len), 0);
                    self.file.read_exact(offset, &mut buf)?;
                    run.add_bytes(first..end, &buf);
                }
            }
        }
        run.end();
        Ok(())
    }

    /// Refuses a bitmap that does not have to be right.
    fn check(&self, entry: &Entry) -> Result<(), Error> {
        let unsure = |why: &str| Error::Options {
            reason: format!(
                "the bitmap {:?} of {} {why}",
                entry.name(),
                self.file.path().display()
            ),
        };
        if !self.place.current {
            return Err(unsure("is not about a snapshot inside the image"));
        }
        if !self.place.kept {
            return Err(unsure(
                "may miss changes: a program that knows no bitmaps wrote to the image; remove it and \
                 make another",
            ));
        }
        if entry.has(raw::BITMAP_IN_USE) {
            return Err(unsure(
                "is in use: a program that is still running, or that crashed, has the image open; \
                 close the image there, or remove the bitmap and make another",
            ));
        }
        let unsupported = |feature: Feature| {
            Err(Error::unsupported(
                self.file.path(),
                AnyFeature::Qcow2(feature),
            ))
        };
        let (kind, bits) = (entry.raw.kind, entry.raw.granularity_bits);
        if kind != raw::BITMAP_DIRTY_TRACKING {
            return unsupported(Feature::BitmapType(entry.name(), kind));
        }
        let unknown = entry.raw.flags.get() & !raw::BITMAP_FLAGS;
        if unknown != 0 {
            return unsupported(Feature::BitmapFlags(entry.name(), unknown));
        }
        if entry.raw.extra_data_size.get() > 0 && !entry.has(raw::BITMAP_EXTRA_COMPATIBLE) {
            return unsupported(Feature::BitmapExtraData(entry.name()));
        }
        // As QEMU does.
        if !(9..=31).contains(&bits) {
            return unsupported(Feature::BitmapGranularity(entry.name(), bits));
        }
        Ok(())
    }

    /// Reads the part of a table that the disk needs.
    fn table(&self, entry: &Entry, needed: u64) -> Result<Vec<Cluster>, Error> {
        let corrupt = |damage: Damage| Error::corrupt(self.file.path(), damage);
        let have = entry.raw.bitmap_table_size.get();
        if u64::from(have) < needed {
            return Err(corrupt(Damage::BitmapTable {
                name: entry.name(),
                have,
                needed,
            }));
        }
        let (offset, len) = (
            entry.raw.bitmap_table_offset.get(),
            needed.saturating_mul(8),
        );
        self.check_offset("bitmap_table_offset", offset, len)?;
        let mut bytes = vec![0; usize_of(len)];
        self.file.read_exact(offset, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        (0_u64..)
            .zip(words)
            .map(|(index, word)| {
                let word = u64::from_be_bytes(*word);
                let at = offset.saturating_add(index.saturating_mul(8));
                let place = word & raw::OFFSET;
                let mask = if place == 0 {
                    raw::BITMAP_RESERVED
                } else {
                    raw::BITMAP_RESERVED | raw::BITMAP_ALL_ONES
                };
                if word & mask != 0 {
                    return Err(corrupt(Damage::Reserved {
                        what: "the bitmap table entry",
                        at,
                        entry: word,
                        mask,
                    }));
                }
                match (place, word & raw::BITMAP_ALL_ONES) {
                    (0, 0) => Ok(Cluster::Zeros),
                    (0, _) => Ok(Cluster::Ones),
                    (place, _) => {
                        self.check_aligned("a bitmap table entry", place)?;
                        Ok(Cluster::At(place))
                    }
                }
            })
            .collect()
    }

    /// Checks where something is said to be before room is made for it.
    fn check_offset(&self, what: &'static str, offset: u64, len: u64) -> Result<(), Error> {
        self.check_aligned(what, offset)?;
        match offset.checked_add(len) {
            Some(end) if end <= self.file.len() => Ok(()),
            _ => Err(self.file.truncated(offset, len)),
        }
    }

    fn check_aligned(&self, what: &'static str, offset: u64) -> Result<(), Error> {
        let align = self.place.cluster.bytes().get();
        if offset.is_multiple_of(align) && offset != 0 {
            return Ok(());
        }
        Err(Error::corrupt(
            self.file.path(),
            Damage::BitmapOffset {
                what,
                offset,
                align,
            },
        ))
    }
}

/// Where a cluster of a bitmap is.
enum Cluster {
    Zeros,
    Ones,
    At(u64),
}

impl Entry {
    /// Takes the next entry of a directory; what is wrong with it else.
    fn take(cursor: &mut Cursor<'_>) -> Result<Self, &'static str> {
        const SHORT: &str = "the directory ends in it";
        let head = cursor
            .take_array::<{ size_of::<raw::Bitmap>() }>()
            .map_err(|_| SHORT)?;
        let raw = raw::Bitmap::read_from_bytes(&head)
            // The array has the size of the structure.
            .expect("sizes agree");
        let name_len = u64::from(raw.name_size.get());
        if name_len == 0 || name_len > MAX_NAME {
            return Err("its name has not 1 to 1023 bytes");
        }
        let granularity = 1_u64.checked_shl(u32::from(raw.granularity_bits));
        let granularity = granularity
            .and_then(NonZeroU64::new)
            .ok_or("its granularity_bits are more than 63")?;
        let extra = usize_of_u32(raw.extra_data_size.get());
        cursor.skip(extra).map_err(|_| SHORT)?;
        let name = cursor.take(usize_of(name_len)).map_err(|_| SHORT)?.to_vec();
        let len = size_of::<raw::Bitmap>()
            .saturating_add(extra)
            .saturating_add(name.len());
        let padding = len.next_multiple_of(8).saturating_sub(len);
        cursor.skip(padding).map_err(|_| SHORT)?;
        Ok(Self {
            raw,
            name,
            granularity,
        })
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn has(&self, flag: u32) -> bool {
        self.raw.flags.get() & flag != 0
    }
}

/// Bits that are set, told as ranges of the disk once they end.
struct Run<'t> {
    granularity: u64,
    bits: Range<u64>,
    tell: &'t mut dyn FnMut(Range<u64>),
}

impl Run<'_> {
    fn add(&mut self, bits: Range<u64>) {
        if bits.start == self.bits.end && !self.bits.is_empty() {
            self.bits.end = bits.end;
            return;
        }
        self.end();
        self.bits = bits;
    }

    /// Adds the bits of `bytes` that are set, of which the first one is `range.start`.
    fn add_bytes(&mut self, range: Range<u64>, bytes: &[u8]) {
        for (index, byte) in (0_u64..).zip(bytes) {
            let first = range.start.saturating_add(index.saturating_mul(8));
            match byte {
                0 => {}
                0xff => self.add(first..first.saturating_add(8).min(range.end)),
                byte => {
                    let set = (0..8_u8).filter(|bit| byte.wrapping_shr(u32::from(*bit)) & 1 == 1);
                    for bit in set {
                        let bit = first.saturating_add(u64::from(bit));
                        // What follows the last one means nothing.
                        if bit < range.end {
                            self.add(bit..bit.saturating_add(1));
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        if !self.bits.is_empty() {
            let start = self.bits.start.saturating_mul(self.granularity);
            (self.tell)(start..self.bits.end.saturating_mul(self.granularity));
        }
        self.bits = 0..0;
    }
}

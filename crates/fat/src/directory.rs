//! Directories: slots of 32 bytes, long names before the slot they belong to.

use crate::boot_sector::FIRST_CLUSTER;
use crate::clock::DosTime;
use crate::names::{self, Lower};
use crate::volume::Volume;
use crate::{Corrupt, Error};
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use ondisk::{Cursor, Short};

/// Which directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DirStart {
    /// The root, wherever it is.
    Root,
    /// The directory whose first cluster this is.
    Cluster(u32),
}

/// The content of a directory, and where it is.
#[derive(Debug)]
pub(crate) struct Directory {
    bytes: Vec<u8>,
    /// First bytes on the volume of the parts it is in, all of one size.
    parts: Vec<u64>,
    part_size: usize,
}

/// A file or directory named in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The other name, by which it can be found too.
    pub(crate) short_name: String,
    pub(crate) is_dir: bool,
    pub(crate) is_read_only: bool,
    /// First cluster, unchecked; 0 for none.
    pub(crate) first_cluster: u32,
    pub(crate) size: u32,
    pub(crate) modified: DosTime,
    pub(crate) accessed: DosTime,
    pub(crate) created: DosTime,
    /// Index of its own slot, behind those of its long name.
    pub(crate) slot: usize,
    /// Where that slot is on the volume.
    pub(crate) at: u64,
}

impl Entry {
    /// Whether `name` is one of its two names.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        names::same(&self.name, name) || names::same(&self.short_name, name)
    }

    /// The directory that it is.
    pub(crate) fn as_dir(&self) -> Result<DirStart, Error> {
        if self.first_cluster < FIRST_CLUSTER {
            Err(Corrupt::DirectoryWithoutCluster { at: self.at }.into())
        } else {
            Ok(DirStart::Cluster(self.first_cluster))
        }
    }
}

impl Volume<'_> {
    /// Reads a whole directory.
    pub(crate) fn directory(&self, dir: DirStart) -> Result<Directory, Error> {
        let (parts, part_size) = match (dir, self.boot.root_cluster) {
            (DirStart::Root, None) => (vec![self.boot.root_start], usize_of(self.boot.root_size)),
            (DirStart::Root, Some(first)) | (DirStart::Cluster(first), _) => {
                let cluster = usize_of_u32(self.boot.cluster_size);
                let most = MAX_DIRECTORY.div_ceil(self.boot.cluster_size);
                let chain = self.chain(first, most.min(self.boot.longest_chain()))?;
                let start = |cluster: &u32| self.boot.cluster_start(*cluster);
                (chain.iter().map(start).collect(), cluster)
            }
        };
        let mut bytes = vec![0; parts.len().saturating_mul(part_size)];
        for (start, part) in parts.iter().zip(bytes.chunks_exact_mut(part_size)) {
            self.device.read_at(*start, part)?;
        }
        Ok(Directory {
            bytes,
            parts,
            part_size,
        })
    }
}

impl Directory {
    /// Slots that there is room for.
    pub(crate) fn slots(&self) -> usize {
        self.bytes.len() / SLOT
    }

    /// Index of the first slot that was never used; all after it are free too.
    pub(crate) fn end(&self) -> usize {
        self.bytes
            .chunks_exact(SLOT)
            .position(|slot| slot.first() == Some(&0))
            .unwrap_or(self.slots())
    }

    /// Slots by which the directory must grow to take a run of `wanted` more.
    pub(crate) fn missing_slots(&self, wanted: usize) -> usize {
        let (end, mut run) = (self.end(), 0_usize);
        for (index, slot) in self.bytes.chunks_exact(SLOT).enumerate() {
            let free = index >= end || slot.first() == Some(&DELETED);
            run = if free { run.saturating_add(1) } else { 0 };
            if run >= wanted {
                return 0;
            }
        }
        // The run at the end goes on in the room to come.
        wanted.saturating_sub(run)
    }

    /// Where a slot is on the volume.
    pub(crate) fn slot_at(&self, index: usize) -> Option<u64> {
        let offset = index.checked_mul(SLOT)?;
        let part = self.parts.get(offset.checked_div(self.part_size)?)?;
        part.checked_add(u64_of(offset.checked_rem(self.part_size)?))
    }

    /// The bytes of a slot.
    pub(crate) fn slot(&self, index: usize) -> Option<&[u8]> {
        self.bytes.chunks_exact(SLOT).nth(index)
    }

    /// Every name but `.`, `..` and the volume label, in the order of the slots.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut long = LongName::default();
        let used = self.bytes.chunks_exact(SLOT).take(self.end()).enumerate();
        used.filter_map(move |(index, slot)| {
            // A slot has all the fields, so the parsing cannot come up short.
            let entry = match Slot::parse(slot).ok()? {
                Slot::Deleted | Slot::Label(_) => None,
                Slot::Long(part) => {
                    long.add(part);
                    return None;
                }
                Slot::Short(raw) => raw.entry(&long, index, self.slot_at(index)?),
            };
            long = LongName::default();
            entry
        })
    }

    /// The entry of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Entry> {
        self.entries().find(|entry| entry.is_named(name))
    }

    /// The volume label.
    pub(crate) fn label(&self) -> Option<String> {
        let used = self.bytes.chunks_exact(SLOT).take(self.end());
        let mut labels = used.filter_map(|slot| match Slot::parse(slot) {
            Ok(Slot::Label(label)) => Some(label),
            _ => None,
        });
        labels.next()
    }
}

/// One slot.
enum Slot {
    Deleted,
    Label(String),
    Long(LongPart),
    Short(RawEntry),
}

struct LongPart {
    order: u8,
    checksum: u8,
    text: [u16; 13],
}

/// The fields of the specification.
struct RawEntry {
    dir_name: [u8; 11],
    dir_attr: u8,
    dir_nt_res: u8,
    dir_crt_time: u16,
    dir_crt_date: u16,
    dir_lst_acc_date: u16,
    dir_fst_clus: u32,
    dir_wrt_time: u16,
    dir_wrt_date: u16,
    dir_file_size: u32,
}

impl Slot {
    fn parse(slot: &[u8]) -> Result<Self, Short> {
        let mut at = Cursor::new(slot);
        let dir_name: [u8; 11] = at.take_array()?;
        let dir_attr = at.u8()?;
        let [first, ..] = dir_name;
        if first == DELETED {
            return Ok(Self::Deleted);
        }
        if dir_attr & ATTR_LONG_NAME == ATTR_LONG_NAME {
            let mut at = Cursor::new(slot);
            let order = at.u8()?;
            let mut text = [0; 13];
            let (begin, rest) = text.split_at_mut(5);
            let (middle, end) = rest.split_at_mut(6);
            for unit in begin {
                *unit = at.u16_le()?;
            }
            at.skip(2)?;
            let checksum = at.u8()?;
            for unit in middle {
                *unit = at.u16_le()?;
            }
            at.skip(2)?;
            for unit in end {
                *unit = at.u16_le()?;
            }
            return Ok(Self::Long(LongPart {
                order,
                checksum,
                text,
            }));
        }
        if dir_attr & (ATTR_VOLUME_ID | ATTR_DIRECTORY) == ATTR_VOLUME_ID {
            let mut label = dir_name;
            if let [first @ 0x05, ..] = &mut label {
                *first = DELETED;
            }
            return Ok(Self::Label(crate::boot_sector::label(&label)));
        }
        let dir_nt_res = at.u8()?;
        at.skip(1)?;
        let (dir_crt_time, dir_crt_date) = (at.u16_le()?, at.u16_le()?);
        let (dir_lst_acc_date, high) = (at.u16_le()?, at.u16_le()?);
        let (dir_wrt_time, dir_wrt_date) = (at.u16_le()?, at.u16_le()?);
        let (low, dir_file_size) = (at.u16_le()?, at.u32_le()?);
        Ok(Self::Short(RawEntry {
            dir_name,
            dir_attr,
            dir_nt_res,
            dir_crt_time,
            dir_crt_date,
            dir_lst_acc_date,
            dir_fst_clus: u32::from(high) << 16 | u32::from(low),
            dir_wrt_time,
            dir_wrt_date,
            dir_file_size,
        }))
    }
}

impl RawEntry {
    /// The entry, unless it is `.` or `..`.
    fn entry(&self, long: &LongName, slot: usize, at: u64) -> Option<Entry> {
        if &self.dir_name == DOT || &self.dir_name == DOT_DOT {
            return None;
        }
        let short_name = names::short(&self.dir_name, Lower::default());
        let shown = names::short(
            &self.dir_name,
            Lower {
                base: self.dir_nt_res & 0x08 != 0,
                extension: self.dir_nt_res & 0x10 != 0,
            },
        );
        Some(Entry {
            name: long.text(&self.dir_name).unwrap_or(shown),
            short_name,
            is_dir: self.dir_attr & ATTR_DIRECTORY != 0,
            is_read_only: self.dir_attr & ATTR_READ_ONLY != 0,
            first_cluster: self.dir_fst_clus,
            size: self.dir_file_size,
            modified: DosTime {
                date: self.dir_wrt_date,
                time: self.dir_wrt_time,
            },
            accessed: DosTime {
                date: self.dir_lst_acc_date,
                time: 0,
            },
            created: DosTime {
                date: self.dir_crt_date,
                time: self.dir_crt_time,
            },
            slot,
            at,
        })
    }
}

/// The parts of a long name met so far, last part first.
#[derive(Default)]
struct LongName {
    parts: Vec<LongPart>,
}

impl LongName {
    fn add(&mut self, part: LongPart) {
        if part.order & LAST_LONG_ENTRY != 0 {
            self.parts.clear();
        }
        // Longer ones cannot be: 20 parts hold 260 units, 255 are allowed.
        if self.parts.len() < 20 {
            self.parts.push(part);
        }
    }

    /// The name, if the parts are whole and belong to the slot of this short name.
    fn text(&self, short: &[u8; 11]) -> Option<String> {
        let sum = checksum(short);
        let first = self.parts.first()?;
        let whole = first.order & LAST_LONG_ENTRY != 0
            && (1..=self.parts.len())
                .rev()
                .zip(&self.parts)
                .all(|(order, part)| {
                    usize::from(part.order & !LAST_LONG_ENTRY) == order && part.checksum == sum
                });
        if !whole {
            return None;
        }
        let units: Vec<u16> = self
            .parts
            .iter()
            .rev()
            .flat_map(|part| part.text)
            .take_while(|unit| *unit != 0)
            .collect();
        let text = String::from_utf16_lossy(&units);
        let text = text.trim_end_matches('\u{ffff}');
        (!text.is_empty() && !text.contains('/')).then(|| text.to_owned())
    }
}

/// What ties a long name to its short one.
fn checksum(short: &[u8; 11]) -> u8 {
    let step = |sum: u8, byte: &u8| sum.rotate_right(1).wrapping_add(*byte);
    short.iter().fold(0, step)
}

/// The two first slots of a directory in cluster `own`, made like the slot that names it.
pub(crate) fn dot_slots(named_by: &[u8; SLOT], own: u32, parent: u32) -> [u8; 2 * SLOT] {
    let mut slots = [0; 2 * SLOT];
    for (slot, (name, cluster)) in slots
        .chunks_exact_mut(SLOT)
        .zip([(DOT, own), (DOT_DOT, parent)])
    {
        slot.copy_from_slice(named_by);
        slot[..11].copy_from_slice(name);
        slot[11] = ATTR_DIRECTORY;
        slot[12] = 0;
        set_cluster(slot, cluster);
        slot[28..].fill(0);
    }
    slots
}

/// Sets the first cluster in a slot.
pub(crate) fn set_cluster(slot: &mut [u8], cluster: u32) {
    let [a, b, c, d] = cluster.to_le_bytes();
    slot[20..22].copy_from_slice(&[c, d]);
    slot[26..28].copy_from_slice(&[a, b]);
}

/// Whether a slot is that of `..`.
pub(crate) fn is_dot_dot(slot: &[u8]) -> bool {
    slot.starts_with(DOT_DOT)
}

pub(crate) const SLOT: usize = 32;
/// Where in a slot the time of the last change is: time, then date.
pub(crate) const DIR_WRT_TIME: u64 = 22;
const DELETED: u8 = 0xe5;
const DOT: &[u8; 11] = b".          ";
const DOT_DOT: &[u8; 11] = b"..         ";
const LAST_LONG_ENTRY: u8 = 0x40;
const ATTR_READ_ONLY: u8 = 0x01;
const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_LONG_NAME: u8 = 0x0f;
/// The specification's limit: 65536 slots.
const MAX_DIRECTORY: u32 = 65_536 * 32;

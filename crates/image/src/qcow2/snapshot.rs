//! Snapshots inside an image: earlier states of the disk, each with an L1 table of its own.

use super::error::Damage;
use super::header::Header;
use super::raw;
use crate::Error;
use crate::file::ImageFile;
use ondisk::cap;
use ondisk::width::u64_of;
use zerocopy::FromBytes;

/// A snapshot inside a qcow2 image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotInfo {
    /// The number that the image gave it, as text (`id_str`).
    pub id: String,
    /// The name that somebody gave it; several may share one.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub seconds: u32,
    /// Bytes of the disk at that time.
    pub virtual_size: u64,
    /// Bytes of the machine's memory that were saved with it; 0 if it was not running.
    pub vm_state_size: u64,
}

/// A snapshot with its table.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) info: SnapshotInfo,
    l1_table_offset: u64,
    l1_size: u32,
}

/// Most snapshots of an image; QEMU has the same limit.
const MAX_SNAPSHOTS: u64 = 65_536;
/// Most bytes of an entry's extra data, likewise; 24 are known.
const MAX_EXTRA: u64 = 1024;
/// Most bytes of the table, likewise.
const MAX_TABLE: u64 = 64 << 20;

/// Reads the snapshot table.
pub(super) fn read(file: &ImageFile, header: &Header) -> Result<Vec<Snapshot>, Error> {
    let too_large = |error| Error::corrupt(file.path(), error);
    let count = u64::from(header.nb_snapshots);
    let count = cap::length("nb_snapshots", count, MAX_SNAPSHOTS).map_err(too_large)?;
    let mut at = header.snapshots_offset;
    let align = header.cluster.bytes().get();
    if count > 0 && (at == 0 || !at.is_multiple_of(align)) {
        return Err(Error::corrupt(
            file.path(),
            Damage::Unaligned {
                what: "snapshots_offset",
                at: 64,
                offset: at,
                align,
            },
        ));
    }
    let mut snapshots = Vec::new();
    for _ in 0..count {
        let (snapshot, len) = read_entry(file, header, at)?;
        snapshots.push(snapshot);
        at = at.saturating_add(len).saturating_add(7) & !7;
        let table = at.saturating_sub(header.snapshots_offset);
        cap::length("the size of the snapshot table", table, MAX_TABLE).map_err(too_large)?;
    }
    Ok(snapshots)
}

/// Reads an entry and says how long it is without its padding.
fn read_entry(file: &ImageFile, header: &Header, at: u64) -> Result<(Snapshot, u64), Error> {
    let mut bytes = [0; size_of::<raw::Snapshot>()];
    file.read_exact(at, &mut bytes)?;
    let raw = raw::Snapshot::read_from_bytes(&bytes)
        // The buffer has the size of the structure.
        .expect("sizes agree");
    let extra_len = u64::from(raw.extra_data_size.get());
    let extra_len = cap::length("extra_data_size", extra_len, MAX_EXTRA)
        .map_err(|error| Error::corrupt(file.path(), error))?;
    let (id_len, name_len) = (raw.id_str_size.get(), raw.name_size.get());
    let strings = usize::from(id_len).saturating_add(usize::from(name_len));
    let mut rest = vec![0; extra_len.saturating_add(strings)];
    let head = u64_of(bytes.len());
    file.read_exact(at.saturating_add(head), &mut rest)?;
    let (extra, text) = rest.split_at(extra_len);
    let (id, name) = text.split_at(usize::from(id_len));
    let word = |index: usize| {
        let (words, _) = extra.as_chunks::<8>();
        words.get(index).map(|word| u64::from_be_bytes(*word))
    };
    let snapshot = Snapshot {
        info: SnapshotInfo {
            id: String::from_utf8_lossy(id).into_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
            seconds: raw.date_sec.get(),
            // Version 2 does not say: then the disk never had another size.
            virtual_size: word(1).unwrap_or(header.size),
            vm_state_size: word(0).unwrap_or(u64::from(raw.vm_state_size.get())),
        },
        l1_table_offset: raw.l1_table_offset.get(),
        l1_size: raw.l1_size.get(),
    };
    Ok((snapshot, head.saturating_add(u64_of(rest.len()))))
}

impl Snapshot {
    /// Makes the header that of the disk as it was.
    pub(super) fn apply(&self, file: &ImageFile, header: &mut Header) -> Result<(), Error> {
        header.size = self.info.virtual_size;
        header.l1_table_offset = self.l1_table_offset;
        header.l1_len = header.l1_len_for(file, self.l1_size)?;
        Ok(())
    }
}

/// Finds the snapshot that a user calls `wanted`: by its name, else by its number.
pub(super) fn find<'s>(
    file: &ImageFile,
    snapshots: &'s [Snapshot],
    wanted: &str,
) -> Result<&'s Snapshot, Error> {
    let named: Vec<_> = snapshots
        .iter()
        .filter(|snapshot| snapshot.info.name == wanted)
        .collect();
    let numbered = snapshots.iter().find(|snapshot| snapshot.info.id == wanted);
    match (named.as_slice(), numbered) {
        ([one], _) => Ok(one),
        ([], Some(numbered)) => Ok(numbered),
        (several, _) => {
            let path = file.path().display();
            let reason = match several {
                [] if snapshots.is_empty() => format!("{path} has no snapshots inside"),
                [] => format!(
                    "{path} has no snapshot {wanted:?}, but: {}",
                    list(snapshots.iter())
                ),
                several => format!(
                    "{path} has several snapshots {wanted:?}; choose one by its number: {}",
                    list(several.iter().copied())
                ),
            };
            Err(Error::Options { reason })
        }
    }
}

/// Most snapshots that a message lists.
const LISTED: usize = 20;

fn list<'s>(snapshots: impl Iterator<Item = &'s Snapshot>) -> String {
    let mut words: Vec<_> = snapshots
        .take(LISTED.saturating_add(1))
        .map(|snapshot| format!("{} {:?}", snapshot.info.id, snapshot.info.name))
        .collect();
    if words.len() > LISTED {
        words.truncate(LISTED);
        words.push("…".to_owned());
    }
    words.join(", ")
}

//! LVM2: volume groups over any number of devices, and the logical volumes in them.
//!
//! [`assemble`] reads the labels and metadata of all devices that may be physical volumes. Of each
//! volume group the newest copy of the metadata counts, by its number, wherever it lies. Nothing
//! of LVM2's own is ever written; what is written to a logical volume goes to every leg that holds
//! it.
//!
//! Read and written are linear, striped, mirror, raid0, raid1, raid10 and zero segments, and thin
//! volumes as far as their pool maps them. Snapshots, caches, VDO, integrity and RAID with parity
//! are refused by name, as is what needs a physical volume that is not there.
//!
//! Specification: lib/format_text and lib/label of LVM2 2.03; for RAID and thin pools
//! drivers/md/dm-raid.c, dm-thin-metadata.c and persistent-data/ of Linux 6.12.

mod checksum;
mod error;
mod group;
mod label;
mod metadata_area;
mod mirror;
mod open;
mod raid;
mod text;
mod thin;
mod uuid;

use block::{BlockRead, BlockWrite};
use group::Description;
use ondisk::width::u64_of;
use open::Opener;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use error::{Damage, Error, Finding};
pub use group::BadMetadata;
pub use label::Label;
pub use text::Malformed;
pub use thin::{ThinDamage, ThinRefusal};
pub use uuid::Uuid;

/// A device that may be a physical volume.
#[derive(Clone, Debug)]
pub struct Member {
    /// What people know it by.
    pub name: String,
    /// Its bytes.
    pub device: Arc<dyn BlockWrite>,
}

/// A volume group.
#[derive(Clone, Debug)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: Uuid,
    /// Which of the members belong to it, by their indices.
    pub members: Vec<usize>,
    /// Whether it has physical volumes that were not found.
    pub incomplete: bool,
    /// The logical volumes that LVM2 shows and that hold something of their own, in the order of
    /// their making.
    pub volumes: Vec<LogicalVolume>,
}

/// A logical volume.
#[derive(Clone, Debug)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: Uuid,
    /// Size in bytes.
    pub size: u64,
    /// Which of the members it lies on, by their indices, ascending.
    pub members: Vec<usize>,
    /// Its bytes, or why they cannot be had.
    pub device: Result<Arc<dyn BlockWrite>, Error>,
}

/// What was found on devices.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// The volume groups, by name.
    pub groups: Vec<VolumeGroup>,
    /// What is odd.
    pub findings: Vec<Finding>,
    /// What keeps whole volume groups from being used.
    pub errors: Vec<Error>,
}

/// Puts together the volume groups on these devices; those without a label are left out.
///
/// # Errors
/// What reading the devices meets. Damage is among the findings.
pub fn assemble(members: &[Member]) -> Result<Assembled, block::Error> {
    let mut assembled = Assembled::default();
    let mut labels = BTreeMap::new();
    let mut copies: BTreeMap<Uuid, Vec<(usize, Arc<Description>)>> = BTreeMap::new();
    let mut texts = Texts::default();
    for (index, member) in members.iter().enumerate() {
        let mut damaged = |damage| {
            assembled.findings.push(Finding::Damaged {
                device: member.name.clone(),
                damage,
            });
        };
        let label = match Label::read(&member.device)? {
            Ok(Some(label)) => label,
            Ok(None) => continue,
            Err(damage) => {
                damaged(damage);
                continue;
            }
        };
        for area in &label.metadata_areas {
            match texts.read(&member.device, *area)? {
                Ok(Some(description)) => {
                    let copies = copies.entry(description.id).or_default();
                    copies.push((index, description));
                }
                Ok(None) => {}
                Err(Damage::TooMuchText { .. }) => {
                    assembled.errors.push(Error::TooMuchMetadata {
                        read_cap: READ_CAP >> 20,
                        parsed_cap: PARSED_CAP >> 20,
                    });
                    return Ok(assembled);
                }
                Err(damage) => damaged(damage),
            }
        }
        labels.insert(index, label);
    }
    let mut newest = Vec::new();
    for copies in copies.into_values() {
        newest.extend(select(members, copies, &mut assembled));
    }
    // Which group a device belongs to by its own newest metadata.
    let mut owners: BTreeMap<usize, (u64, Uuid)> = BTreeMap::new();
    for (description, holders) in &newest {
        for holder in holders {
            let claim = (description.seqno, description.id);
            owners.insert(*holder, claim);
        }
    }
    newest.sort_by(|(a, _), (b, _)| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let names: Vec<(String, Uuid)> = newest
        .iter()
        .map(|(description, _)| (description.name.clone(), description.id))
        .collect();
    for (description, _) in newest {
        let twin = names
            .iter()
            .find(|(name, id)| *name == description.name && *id != description.id);
        if let Some((name, twin)) = twin {
            if description.id < *twin {
                assembled.errors.push(Error::DuplicateGroup {
                    name: name.clone(),
                    first: description.id,
                    second: *twin,
                });
            }
            continue;
        }
        let owner = |index: usize| owners.get(&index).map(|(_, id)| *id);
        let opener = Opener::new(&description, members, &labels, owner);
        let (group, findings) = opener.group();
        assembled.groups.push(group);
        assembled.findings.extend(findings);
    }
    Ok(assembled)
}

/// Texts that were read, each parsed once: every physical volume of a group has the same, and
/// partitions that lie on each other can have any number of copies of it.
struct Texts {
    known: HashMap<Vec<u8>, Result<Arc<Description>, BadMetadata>>,
    /// Bytes that may still be read.
    left: u64,
    /// Bytes that may still be parsed.
    left_to_parse: u64,
}

/// A hundred physical volumes of a group of thousands of logical ones have less.
const READ_CAP: u64 = 1 << 30;
/// Several such groups, and what is left of older ones.
const PARSED_CAP: u64 = 64 << 20;

impl Default for Texts {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            left: READ_CAP,
            left_to_parse: PARSED_CAP,
        }
    }
}

impl Texts {
    fn read(
        &mut self,
        device: &dyn BlockRead,
        area: label::Area,
    ) -> Result<Result<Option<Arc<Description>>, Damage>, block::Error> {
        let text = match metadata_area::read(device, area, &mut self.left)? {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Ok(None)),
            Err(damage) => return Ok(Err(damage)),
        };
        if let Some(known) = self.known.get(&text) {
            return Ok(known.clone().map(Some).map_err(Damage::from));
        }
        let Some(rest) = self.left_to_parse.checked_sub(u64_of(text.len())) else {
            return Ok(Err(Damage::TooMuchText { at: area.offset }));
        };
        self.left_to_parse = rest;
        let parsed = Description::parse(&text).map(Arc::new);
        self.known.insert(text, parsed.clone());
        Ok(parsed.map(Some).map_err(Damage::from))
    }
}

/// The newest copy, and who holds it; none if copies of one age disagree.
fn select(
    members: &[Member],
    copies: Vec<(usize, Arc<Description>)>,
    assembled: &mut Assembled,
) -> Option<(Arc<Description>, Vec<usize>)> {
    let newest = copies.iter().map(|(_, copy)| copy.seqno).max()?;
    let name = |index: usize| {
        let member = members.get(index);
        member.map(|member| member.name.clone()).unwrap_or_default()
    };
    let (mut chosen, mut holders): (Option<(usize, Arc<Description>)>, Vec<usize>) =
        (None, Vec::new());
    for (index, copy) in copies {
        if copy.seqno < newest {
            assembled.findings.push(Finding::Older {
                device: name(index),
                group: copy.name.clone(),
                seqno: copy.seqno,
                newest,
            });
            continue;
        }
        holders.push(index);
        match &chosen {
            None => chosen = Some((index, copy)),
            Some((first, same)) if *same != copy => {
                assembled.errors.push(Error::Disagreement {
                    group: copy.name.clone(),
                    first: name(*first),
                    second: name(index),
                    seqno: newest,
                });
                return None;
            }
            Some(_) => {}
        }
    }
    chosen.map(|(_, description)| (description, holders))
}

//! Putting arrays together.

use super::{Error, Finding, Level, Role, Superblock, Version, raid0};
use block::{BlockRead, BlockWrite, Concat, Leg, Stripes, Window};
use ondisk::width::usize_of_u32;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;

/// An array.
#[derive(Clone, Debug)]
pub struct Array {
    /// Its identifier.
    pub id: Uuid,
    /// Its name, as `host:name` or `name`.
    pub name: Option<String>,
    /// Name without the host.
    pub short_name: Option<String>,
    /// Number that it is to have: `/dev/mdN`.
    pub preferred_minor: Option<u32>,
    /// The version of its superblocks.
    pub version: Version,
    /// Its level.
    pub level: Level,
    /// The devices that say that they belong to it, by their indices.
    pub members: Vec<usize>,
    /// The devices that are read or written, by their indices, ascending.
    pub used: Vec<usize>,
    /// Its bytes, or why they cannot be had.
    pub device: Result<Arc<dyn BlockWrite>, Error>,
    /// What is odd.
    pub findings: Vec<Finding>,
}

/// The arrays found.
pub type Assembled = Vec<Array>;

/// More than any array has: what version 1 can number.
const MAX_SLOTS: u32 = 1920;
/// Members that are behind by this many events are nothing odd: superblocks are written one after
/// the other (`super_1_validate` of drivers/md/md.c).
const MARGIN: u64 = 1;

/// A member: its index, what people call it, its superblock, its device.
pub(super) struct Member<'m> {
    index: usize,
    name: &'m str,
    superblock: &'m Superblock,
    device: &'m Arc<dyn BlockWrite>,
}

/// Puts together the arrays of these members, each a device with what people call it and its
/// superblock.
pub fn assemble(members: &[(String, Arc<dyn BlockWrite>, Superblock)]) -> Assembled {
    let mut arrays: BTreeMap<Uuid, Vec<Member<'_>>> = BTreeMap::new();
    for (index, (name, device, superblock)) in members.iter().enumerate() {
        let members = arrays.entry(superblock.array).or_default();
        members.push(Member {
            index,
            name,
            superblock,
            device,
        });
    }
    arrays
        .into_values()
        .filter_map(|members| open(&members))
        .collect()
}

fn open(members: &[Member<'_>]) -> Option<Array> {
    // Of several that are as fresh, the first.
    let freshest = members
        .iter()
        .rev()
        .max_by_key(|member| member.superblock.events)?;
    let superblock = freshest.superblock;
    let called = superblock.name.clone();
    let called = called.unwrap_or_else(|| superblock.array.to_string());
    let mut findings = Vec::new();
    let mut used = Vec::new();
    let device = device(members, freshest, &called, &mut used, &mut findings);
    used.sort_unstable();
    Some(Array {
        id: superblock.array,
        name: superblock.name.clone(),
        short_name: superblock.short_name().map(str::to_owned),
        preferred_minor: superblock.preferred_minor,
        version: superblock.version,
        level: superblock.level,
        members: members.iter().map(|member| member.index).collect(),
        used,
        device,
        findings,
    })
}

fn device(
    members: &[Member<'_>],
    freshest: &Member<'_>,
    called: &str,
    used: &mut Vec<usize>,
    findings: &mut Vec<Finding>,
) -> Result<Arc<dyn BlockWrite>, Error> {
    let superblock = freshest.superblock;
    let slots = superblock.slots;
    match superblock.level {
        Level::Linear | Level::Raid(0 | 1 | 10) => {}
        other => return Err(Error::Level(other)),
    }
    if slots == 0 || slots > MAX_SLOTS {
        return Err(Error::Wrong(format!("it has {slots} members")));
    }
    let has_copies = matches!(superblock.level, Level::Raid(1 | 10));
    let mut by_slot: BTreeMap<u32, (&Member<'_>, bool)> = BTreeMap::new();
    let mut late = Vec::new();
    for member in members {
        let Role::Active(slot) = member.superblock.role else {
            continue;
        };
        let events = member.superblock.events;
        if has_copies && events < superblock.events {
            if events.saturating_add(MARGIN) < superblock.events {
                findings.push(Finding::Stale {
                    array: called.to_owned(),
                    member: member.name.to_owned(),
                    events,
                    newest: superblock.events,
                });
            }
            late.push((slot, member));
            continue;
        }
        agree(freshest, member)?;
        if let Some(reason) = member.superblock.unsupported {
            return Err(Error::Unsupported(reason));
        }
        if slot >= slots {
            return Err(Error::Wrong(format!("it has member {slot} of {slots}")));
        }
        if !member.superblock.recovered {
            findings.push(Finding::Rebuilding {
                array: called.to_owned(),
                member: member.name.to_owned(),
            });
        }
        if let Some((first, _)) = by_slot.insert(slot, (member, member.superblock.recovered)) {
            return Err(Error::DuplicateMember {
                first: first.name.to_owned(),
                second: member.name.to_owned(),
                slot,
            });
        }
        used.push(member.index);
    }
    // What is behind is not read: it may have failed since. It is written like the others, for with a
    // write-intent bitmap Linux takes it back and copies only what the bitmap tells.
    // Of two for one place the fresher one, as mdadm does.
    late.sort_by_key(|(_, member)| Reverse(member.superblock.events));
    let mut close = BTreeSet::new();
    for (slot, member) in late {
        let is_sound = agree(freshest, member).is_ok() && member.superblock.unsupported.is_none();
        if is_sound && slot < slots && !by_slot.contains_key(&slot) {
            by_slot.insert(slot, (member, false));
            used.push(member.index);
            let events = member.superblock.events.saturating_add(MARGIN);
            if events >= superblock.events && member.superblock.recovered {
                close.insert(slot);
            }
        }
    }
    let missing = (0..slots).find(|slot| !by_slot.contains_key(slot));
    match missing {
        Some(slot) if has_copies => findings.push(Finding::Missing {
            array: called.to_owned(),
            slot,
            slots,
        }),
        Some(slot) => return Err(Error::TooFew { slot, slots }),
        None => {}
    }
    if has_copies && !superblock.clean {
        findings.push(Finding::Unclean {
            array: called.to_owned(),
        });
    }
    // Writes to such members may come later than is said, so that they are the ones that are behind
    // when a machine stops (`choose_slow_rdev` of drivers/md/raid1.c).
    let is_slow =
        |member: &Member<'_>| superblock.level == Level::Raid(1) && member.superblock.write_mostly;
    let mut readable = by_slot.values().filter(|(_, recovered)| *recovered);
    let all_are_slow = readable.all(|(member, _)| is_slow(member));
    let mut legs = Vec::new();
    for slot in 0..slots {
        legs.push(match by_slot.get(&slot) {
            Some((member, recovered)) => {
                let is_read = *recovered && (all_are_slow || !is_slow(member));
                Some((data(member)?, is_read))
            }
            None => None,
        });
    }
    if superblock.level == Level::Raid(10) && missing.is_none() {
        read_close(&mut legs, superblock, &close);
    }
    put_together(superblock, &legs, missing)
}

/// Where all copies of something are on members that are one event behind, none of these can have
/// failed: the disks were copied one after the other, and Linux reads them without a word.
fn read_close(legs: &mut [Option<MemberData>], superblock: &Superblock, close: &BTreeSet<u32>) {
    let (slots, near) = (superblock.slots, superblock.layout.unwrap_or(0) & 0xff);
    // Chunks go round the members as often as there are members.
    for chunk in 0..slots {
        let first = chunk.saturating_mul(near);
        let copies = first..first.saturating_add(near);
        let copies: Vec<u32> = copies.filter_map(|at| at.checked_rem(slots)).collect();
        let is_read = |slot: &u32| {
            let leg = legs.get(usize_of_u32(*slot));
            matches!(leg, Some(Some((_, true))))
        };
        if copies.iter().any(is_read) {
            continue;
        }
        for slot in copies.iter().filter(|slot| close.contains(slot)) {
            if let Some(Some((_, is_read))) = legs.get_mut(usize_of_u32(*slot)) {
                *is_read = true;
            }
        }
    }
}

/// The data of a member, and whether it is filled up.
type MemberData = (Arc<dyn BlockWrite>, bool);

/// Lays the array over the data of its members.
fn put_together(
    superblock: &Superblock,
    legs: &[Option<MemberData>],
    missing: Option<u32>,
) -> Result<Arc<dyn BlockWrite>, Error> {
    let slots = superblock.slots;
    let chunk = NonZeroU64::new(superblock.chunk);
    let no_chunk = || Error::Wrong("its chunks have no bytes".to_owned());
    // Legs that a level without copies needs are there.
    let all = || legs.iter().flatten().map(|(device, _)| device.clone());
    let copies = || -> Vec<Leg> {
        let legs = legs.iter().map(|leg| match leg {
            Some((device, true)) => Leg::in_sync(device.clone()),
            Some((device, false)) => Leg::behind(device.clone()),
            None => Leg::missing(),
        });
        legs.collect()
    };
    let told = |error: block::Unusable| match missing {
        Some(slot) if matches!(error, block::Unusable::NoLeg { .. }) => {
            Error::TooFew { slot, slots }
        }
        _ => Error::Wrong(error.to_string()),
    };
    match superblock.level {
        Level::Linear => {
            let mut parts: Vec<Arc<dyn BlockWrite>> = Vec::new();
            for device in all() {
                let size = device.size();
                // `linear_conf` ends each with its last whole chunk.
                let whole = chunk.map_or(size, |chunk| (size / chunk).saturating_mul(chunk.get()));
                let window = Window::new(device, 0, whole);
                let window = window.map_err(|error| Error::Wrong(error.to_string()))?;
                parts.push(Arc::new(window));
            }
            let concat = Concat::new(parts).map_err(|error| Error::Wrong(error.to_string()))?;
            Ok(Arc::new(concat))
        }
        Level::Raid(0) => {
            let devices: Vec<_> = all().collect();
            raid0::open(&devices, chunk.ok_or_else(no_chunk)?, superblock.layout)
        }
        Level::Raid(1) => {
            let mirror = Stripes::mirror(copies(), superblock.component_size);
            Ok(Arc::new(mirror.map_err(told)?))
        }
        Level::Raid(10) => {
            let chunk = chunk.ok_or_else(no_chunk)?;
            let layout = superblock.layout.unwrap_or(0);
            let (near, far) = (layout & 0xff, layout >> 8);
            if far != 1 {
                return Err(Error::Unsupported("RAID10 with far or offset copies"));
            }
            // `raid10_size` of drivers/md/raid10.c.
            let rows = superblock.component_size / chunk;
            let chunks = rows
                .saturating_mul(u64::from(slots))
                .checked_div(u64::from(near))
                .ok_or_else(|| Error::Wrong("it has no copies".to_owned()))?;
            let size = chunks
                .checked_mul(chunk.get())
                .ok_or_else(|| Error::Wrong("its size cannot be counted".to_owned()))?;
            let stripes = Stripes::new(copies(), chunk, usize_of_u32(near), size);
            Ok(Arc::new(stripes.map_err(told)?))
        }
        other => Err(Error::Level(other)),
    }
}

/// The data of a member.
fn data(member: &Member<'_>) -> Result<Arc<dyn BlockWrite>, Error> {
    let superblock = member.superblock;
    let (offset, size) = (superblock.data_offset, superblock.data_size);
    let window = Window::new(member.device.clone(), offset, size);
    let window = window.map_err(|_| Error::Wrong(format!("{} is too short", member.name)))?;
    Ok(Arc::new(window))
}

/// Members of one array say the same about it.
fn agree(freshest: &Member<'_>, member: &Member<'_>) -> Result<(), Error> {
    let (a, b) = (freshest.superblock, member.superblock);
    let field = if a.version != b.version {
        "version"
    } else if a.level != b.level {
        "level"
    } else if a.layout != b.layout {
        "layout"
    } else if a.chunk != b.chunk {
        "chunk size"
    } else if a.component_size != b.component_size {
        "size"
    } else if a.slots != b.slots {
        "number of members"
    } else {
        return Ok(());
    };
    Err(Error::Disagreement {
        first: freshest.name.to_owned(),
        second: member.name.to_owned(),
        field,
    })
}

//! Putting the logical volumes of a group together.

use super::group::{Description, Logical, Place, Segment, SegmentKind};
use super::label::Label;
use super::thin::Pool;
use super::{Error, Finding, LogicalVolume, Member, Uuid, VolumeGroup, mirror, raid};
use block::{BlockRead, BlockWrite, Concat, Leg, Stripes, Window, Zero};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Opens the logical volumes of one group, each once.
pub(super) struct Opener<'d> {
    description: &'d Description,
    members: &'d [Member],
    /// By the name that the metadata uses; with the index of the member.
    physical: HashMap<&'d str, Result<usize, Error>>,
    logical: HashMap<&'d str, &'d Logical>,
    /// Volumes that take the content of a snapshot, by their names.
    merging: HashMap<&'d str, &'d str>,
    /// None while a volume is being opened: it needs itself then.
    opened: HashMap<&'d str, Option<Result<Opened, Error>>>,
    pools: HashMap<&'d str, Arc<Pool>>,
    findings: Vec<Finding>,
}

/// A device, the members that it lies on, and how many of them hold one byte of it at most.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) device: Arc<dyn BlockWrite>,
    pub(super) members: BTreeSet<usize>,
    pub(super) copies: usize,
}

/// Volumes in each other: a thin volume over a mirrored pool has four.
const MAX_DEPTH: usize = 12;
/// Every copy of a byte costs a write. LVM2 makes 64 (`DEFAULT_RAID1_MAX_IMAGES`), and puts one
/// mirror on another while a leg is added; mirrors of mirrors of mirrors were made to keep us busy.
const MAX_COPIES: usize = 128;

impl<'d> Opener<'d> {
    /// `owner` tells which group a member's own metadata is of.
    pub(super) fn new(
        description: &'d Description,
        members: &'d [Member],
        labels: &BTreeMap<usize, Label>,
        owner: impl Fn(usize) -> Option<Uuid>,
    ) -> Self {
        let mut physical = HashMap::new();
        for (name, it) in &description.physical {
            let here = labels.iter().filter(|(index, label)| {
                label.uuid == it.id && owner(**index).is_none_or(|id| id == description.id)
            });
            let here: Vec<usize> = here.map(|(index, _)| *index).collect();
            let (uuid, device) = (it.id, it.device.clone());
            let called = |index: usize| {
                let member = members.get(index);
                member.map(|member| member.name.clone()).unwrap_or_default()
            };
            let found = match here.as_slice() {
                [] => Err(Error::MissingPhysical { uuid, device }),
                [_] if it.missing => Err(Error::MarkedMissing { uuid, device }),
                [index] => Ok(*index),
                [first, second, ..] => Err(Error::DuplicatePhysical {
                    uuid,
                    first: called(*first),
                    second: called(*second),
                }),
            };
            physical.insert(name.as_str(), found);
        }
        Self {
            description,
            members,
            physical,
            logical: description
                .logical
                .iter()
                .map(|volume| (volume.name.as_str(), volume))
                .collect(),
            merging: description
                .logical
                .iter()
                .filter_map(Logical::merges)
                .collect(),
            opened: HashMap::new(),
            pools: HashMap::new(),
            findings: Vec::new(),
        }
    }

    /// Opens everything.
    pub(super) fn group(mut self) -> (VolumeGroup, Vec<Finding>) {
        let description = self.description;
        let group = description.name.clone();
        let mut incomplete = false;
        for found in self.physical.values() {
            if let Err(Error::MissingPhysical { uuid, device }) = found {
                incomplete = true;
                self.findings.push(Finding::Missing {
                    group: group.clone(),
                    uuid: *uuid,
                    device: device.clone(),
                });
            }
        }
        if description.exported {
            self.findings.push(Finding::Exported {
                group: group.clone(),
            });
        }
        if let Some(lock) = description.lock.clone() {
            let group = group.clone();
            self.findings.push(Finding::Shared { group, lock });
        }
        if let Some(system) = description.system.clone() {
            let group = group.clone();
            self.findings.push(Finding::Owned { group, system });
        }
        let mut snapshots: HashMap<&str, &str> = HashMap::new();
        for volume in &description.logical {
            if let Some(SegmentKind::Snapshot {
                origin,
                cow,
                merging: false,
            }) = volume.only()
            {
                snapshots.insert(cow, origin);
                self.findings.push(Finding::HasSnapshot {
                    volume: format!("{group}/{origin}"),
                    snapshot: format!("{group}/{cow}"),
                });
            }
        }
        let mut volumes = Vec::new();
        for volume in &description.logical {
            let shown = !matches!(
                volume.only(),
                Some(SegmentKind::ThinPool { .. } | SegmentKind::Snapshot { .. })
            ) && !volume.only().is_some_and(is_other_pool);
            // LVM2 hides what holds the changes, and shows the snapshot in its place.
            let is_snapshot = snapshots.contains_key(volume.name.as_str());
            if !(volume.visible || is_snapshot) || !shown {
                continue;
            }
            let opened = match snapshots.get(volume.name.as_str()) {
                Some(origin) => Err(Error::Snapshot {
                    origin: format!("{group}/{origin}"),
                }),
                None => self.open(&volume.name, MAX_DEPTH),
            };
            let members = match &opened {
                Ok(opened) => opened.members.iter().copied().collect(),
                Err(_) => Vec::new(),
            };
            volumes.push(LogicalVolume {
                name: volume.name.clone(),
                id: volume.id,
                size: self.size(volume).unwrap_or(0),
                members,
                device: opened.map(|opened| opened.device),
            });
        }
        let members: BTreeSet<usize> = self
            .physical
            .values()
            .filter_map(|found| found.as_ref().ok().copied())
            .collect();
        let group = VolumeGroup {
            name: group,
            id: description.id,
            members: members.into_iter().collect(),
            incomplete,
            volumes,
        };
        (group, self.findings)
    }

    /// Says something odd.
    pub(super) fn find_leg(&mut self, volume: &str, leg: &str, why: &'static str) {
        self.findings.push(Finding::LegNotRead {
            volume: format!("{}/{volume}", self.description.name),
            leg: leg.to_owned(),
            why,
        });
    }

    pub(super) fn logical(&self, name: &str) -> Option<&'d Logical> {
        self.logical.get(name).copied()
    }

    /// Size of a volume in bytes.
    fn size(&self, volume: &Logical) -> Option<u64> {
        let mut extents = 0_u64;
        for segment in &volume.segments {
            extents = extents.checked_add(segment.extents)?;
        }
        extents.checked_mul(self.description.extent_size)
    }

    /// Opens a volume by name, or gives it again.
    pub(super) fn open(&mut self, name: &str, depth: usize) -> Result<Opened, Error> {
        let volume = self
            .logical(name)
            .ok_or_else(|| wrong(format!("{name} is not described")))?;
        if let Some(snapshot) = self.merging.get(name) {
            return Err(Error::Merging {
                snapshot: format!("{}/{snapshot}", self.description.name),
            });
        }
        match self.opened.get(name) {
            Some(Some(opened)) => return opened.clone(),
            Some(None) => return Err(wrong(format!("{name} is a part of itself"))),
            None => {}
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(wrong(format!("{name} lies under too many volumes")));
        };
        self.opened.insert(&volume.name, None);
        let opened = self.segments(volume, depth).and_then(|opened| {
            if opened.copies > MAX_COPIES {
                return Err(wrong(format!("{name} has {} copies", opened.copies)));
            }
            Ok(opened)
        });
        self.opened.insert(&volume.name, Some(opened.clone()));
        opened
    }

    fn segments(&mut self, volume: &'d Logical, depth: usize) -> Result<Opened, Error> {
        let (mut members, mut copies) = (BTreeSet::new(), 1);
        let mut devices = Vec::with_capacity(volume.segments.len());
        for segment in &volume.segments {
            let opened = self.segment(volume, segment, depth)?;
            copies = copies.max(opened.copies);
            members.extend(opened.members);
            devices.push(opened.device);
        }
        let device = match <[_; 1]>::try_from(devices) {
            Ok([device]) => device,
            Err(devices) => {
                let concat = Concat::new(devices).map_err(|error| device_error(&error))?;
                Arc::new(concat)
            }
        };
        Ok(Opened {
            device,
            members,
            copies,
        })
    }

    fn segment(
        &mut self,
        volume: &'d Logical,
        segment: &'d Segment,
        depth: usize,
    ) -> Result<Opened, Error> {
        let size = segment
            .extents
            .checked_mul(self.description.extent_size)
            .ok_or_else(|| wrong(format!("{} is too large", volume.name)))?;
        match &segment.kind {
            SegmentKind::Striped { chunk, areas } => {
                self.striped(volume, *chunk, areas, segment.extents, depth)
            }
            SegmentKind::Mirror { log, areas } => {
                let mut legs = Vec::new();
                for area in areas {
                    legs.push((area.name.as_str(), self.place(area, segment.extents, depth)));
                }
                let log = log.as_ref().map(|log| self.open(log, depth));
                mirror::open(self, &volume.name, legs, log, size)
            }
            SegmentKind::Raid {
                level,
                chunk,
                copies,
                images,
            } => {
                let mut legs = Vec::new();
                for (meta, data) in images {
                    legs.push(raid::Image {
                        name: data,
                        rebuild: self.logical(data).is_some_and(|data| data.rebuild),
                        write_mostly: self.logical(data).is_some_and(|data| data.write_mostly),
                        meta: meta.as_ref().map(|meta| self.open(meta, depth)),
                        data: self.open(data, depth),
                    });
                }
                let layout = raid::Layout {
                    level: *level,
                    chunk: *chunk,
                    copies: *copies,
                    size,
                };
                raid::open(self, &volume.name, legs, layout)
            }
            SegmentKind::Thin {
                pool,
                device_id,
                origin,
                ..
            } => {
                let origin = origin
                    .as_ref()
                    .map(|origin| self.open(origin, depth))
                    .transpose()?;
                self.thin(&volume.name, pool, *device_id, origin, size, depth)
            }
            SegmentKind::Zero => Ok(Opened {
                device: Arc::new(Zero::new(size)),
                members: BTreeSet::new(),
                copies: 1,
            }),
            SegmentKind::ThinPool { .. } => Err(Error::Type("thin-pool".to_owned())),
            SegmentKind::Snapshot { .. } => Err(Error::Type("snapshot".to_owned())),
            SegmentKind::Other(kind) => Err(Error::Type(kind.clone())),
        }
    }

    fn striped(
        &mut self,
        volume: &Logical,
        chunk: u64,
        areas: &[Place],
        extents: u64,
        depth: usize,
    ) -> Result<Opened, Error> {
        if let [area] = areas {
            return self.place(area, extents, depth);
        }
        let count = ondisk::width::u64_of(areas.len());
        let each = extents
            .checked_div(count)
            .filter(|each| each.checked_mul(count) == Some(extents))
            .ok_or_else(|| wrong(format!("stripes of {} are uneven", volume.name)))?;
        let extent_size = self.description.extent_size;
        let chunk = NonZeroU64::new(chunk)
            .filter(|chunk| extent_size.checked_rem(chunk.get()) == Some(0))
            .ok_or_else(|| wrong(format!("stripes of {} are of {chunk} bytes", volume.name)))?;
        let (mut legs, mut members, mut copies) = (Vec::new(), BTreeSet::new(), 1);
        for area in areas {
            let opened = self.place(area, each, depth)?;
            copies = copies.max(opened.copies);
            members.extend(opened.members);
            legs.push(Leg::in_sync(opened.device));
        }
        let size = extents
            .checked_mul(extent_size)
            .ok_or_else(|| wrong(format!("{} is too large", volume.name)))?;
        let stripes = Stripes::new(legs, chunk, 1, size).map_err(|error| device_error(&error))?;
        Ok(Opened {
            device: Arc::new(stripes),
            members,
            copies,
        })
    }

    /// So many extents of a physical or logical volume.
    fn place(&mut self, place: &Place, extents: u64, depth: usize) -> Result<Opened, Error> {
        let outside = || {
            let Place { name, first } = place;
            wrong(format!(
                "{extents} extents of {name} from {first} on leave it"
            ))
        };
        let extent_size = self.description.extent_size;
        let end = place.first.checked_add(extents).ok_or_else(outside)?;
        let start = place.first.checked_mul(extent_size).ok_or_else(outside)?;
        let size = extents.checked_mul(extent_size).ok_or_else(outside)?;
        let (opened, start) = match self.physical.get(place.name.as_str()) {
            Some(found) => {
                let index = found.clone()?;
                let physical = self.description.physical.get(&place.name);
                let physical = physical
                    .filter(|it| end <= it.extents)
                    .ok_or_else(outside)?;
                let member = self.members.get(index).ok_or_else(outside)?;
                let opened = Opened {
                    device: member.device.clone(),
                    members: BTreeSet::from([index]),
                    copies: 1,
                };
                (
                    opened,
                    start.checked_add(physical.start).ok_or_else(outside)?,
                )
            }
            None => (self.open(&place.name, depth)?, start),
        };
        if start == 0 && size == opened.device.size() {
            return Ok(opened);
        }
        let window = Window::new(opened.device.clone(), start, size).map_err(|_| outside())?;
        Ok(Opened {
            device: Arc::new(window),
            ..opened
        })
    }

    fn thin(
        &mut self,
        name: &str,
        pool: &str,
        device_id: u64,
        origin: Option<Opened>,
        size: u64,
        depth: usize,
    ) -> Result<Opened, Error> {
        let described = self.logical(pool);
        let Some((
            pool_name,
            Some(SegmentKind::ThinPool {
                metadata,
                data,
                chunk,
                transaction,
            }),
        )) = described.map(|pool| (pool.name.as_str(), pool.only()))
        else {
            return Err(wrong(format!("{pool} is no thin pool")));
        };
        let (metadata, data) = (self.open(metadata, depth)?, self.open(data, depth)?);
        let (mut members, copies) = (data.members, data.copies);
        members.extend(origin.iter().flat_map(|origin| &origin.members));
        let open = match self.pools.get(pool_name) {
            Some(open) => open.clone(),
            None => {
                let open = Pool::open(metadata.device, data.device, *chunk, *transaction);
                let open = Arc::new(open.map_err(|error| device_error(&error))?);
                self.pools.insert(pool_name, open.clone());
                open
            }
        };
        let called = format!("{}/{name}", self.description.name);
        let origin = origin.map(|origin| origin.device);
        let volume = Pool::volume(&open, called, device_id, size, origin);
        Ok(Opened {
            device: Arc::new(volume.map_err(|error| device_error(&error))?),
            members,
            copies,
        })
    }
}

/// Pools of other kinds hold nothing of their own either.
fn is_other_pool(kind: &SegmentKind) -> bool {
    matches!(kind, SegmentKind::Other(kind) if kind == "cache-pool" || kind == "vdo-pool")
}

/// The metadata contradicts itself.
pub(super) fn wrong(what: String) -> Error {
    Error::Wrong(what)
}

/// An error of the layers below, with all its sources.
pub(super) fn device_error(error: &dyn std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    Error::Device(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;
    use std::fmt::Write as _;

    #[test]
    fn mirrors_of_mirrors_have_an_end() {
        let mut volumes = String::new();
        let mut add = |number: usize, segment: &str| {
            let written = write!(
                volumes,
                "m{number} {{ id=\"aaaaaa-0000-0000-0000-0000-0000-00000{number}\"
                 status=[\"VISIBLE\"] segment_count=1
                 segment1 {{ start_extent=0 extent_count=1 {segment} }} }}\n"
            );
            written.unwrap();
        };
        add(0, "type=\"striped\" stripe_count=1 stripes=[\"pv0\", 0]");
        for number in 1..6 {
            let leg = format!("\"m{}\", 0", number - 1);
            let legs = [&*leg; 4].join(", ");
            add(
                number,
                &format!("type=\"mirror\" mirror_count=4 mirrors=[{legs}]"),
            );
        }
        let text = format!(
            "contents=\"Text Format Volume Group\" version=1
             vg {{ id=\"bbbbbb-0000-0000-0000-0000-0000-000000\" seqno=1 extent_size=8
             physical_volumes {{ pv0 {{ id=\"cccccc-0000-0000-0000-0000-0000-000000\"
             pe_start=0 pe_count=1 }} }} logical_volumes {{ {volumes} }} }}"
        );
        let description = Description::parse(text.as_bytes()).unwrap();
        let members = [Member {
            name: "disk".to_owned(),
            device: Arc::new(Memory::new(vec![0; 4096])),
        }];
        let label = Label {
            uuid: description.physical["pv0"].id,
            device_size: 4096,
            metadata_areas: Vec::new(),
        };
        let labels = BTreeMap::from([(0, label)]);
        let (group, _) = Opener::new(&description, &members, &labels, |_| None).group();
        let said = group.volumes.iter().map(|volume| match &volume.device {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.to_string(),
        });
        let said: Vec<String> = said.collect();
        assert_eq!(said[..4], ["opened"; 4]);
        assert_eq!(said[4], "the metadata is wrong: m4 has 256 copies");
        assert_eq!(said[5], said[4]);
    }
}

//! Putting volumes together that lie on others: RAID arrays and logical volumes, as far as they
//! nest.

use crate::content::{self, chain};
use crate::device_name::{array_names, logical_names};
use crate::{Content, Error, Machine, Volume, VolumeId};
use block::BlockWrite;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;
use volume::lvm;
use volume::md::{self, Array};

/// Volumes of a machine; one with more was made to keep us busy.
const MAX_VOLUMES: usize = 16_384;
/// Layers on each other: partitions, RAID, LVM and RAID again are four.
const MAX_ROUNDS: usize = 8;

/// What was used already.
#[derive(Default)]
struct Used {
    /// Members of arrays, by their place among the volumes.
    members: BTreeSet<usize>,
    physical: BTreeSet<usize>,
    /// Arrays that were put together.
    arrays: BTreeSet<Uuid>,
}

impl Machine {
    /// Puts together what lies on the volumes known so far, until nothing new appears. What
    /// cannot be put together is a finding, or a volume that says why.
    ///
    /// # Errors
    /// [`Error::Disk`] if a disk cannot be read.
    pub(crate) fn assemble(&mut self) -> Result<(), Error> {
        let mut used = Used::default();
        for _ in 0..MAX_ROUNDS {
            // Physical volumes lie on arrays more often than the other way round, and a volume
            // group has to see all of its own at once.
            if self.arrays(&mut used)? || self.groups(&mut used)? {
                continue;
            }
            self.number_array();
            return Ok(());
        }
        self.findings
            .push("volumes lie on each other in too many layers; the rest is not looked at".into());
        Ok(())
    }

    /// mdadm counts down from 127 for arrays without a number; which of several gets which cannot
    /// be told.
    fn number_array(&mut self) {
        let unnumbered = |id: &VolumeId| match id {
            VolumeId::Array { array, partition } if array.starts_with("md/") => {
                Some((array.clone(), *partition))
            }
            _ => None,
        };
        let arrays = self.volumes.iter().filter_map(|it| unnumbered(&it.id));
        let arrays: BTreeSet<String> = arrays.map(|(array, _)| array).collect();
        if arrays.len() != 1 {
            return;
        }
        for volume in &mut self.volumes {
            if let Some((_, partition)) = unnumbered(&volume.id) {
                let part = partition.map(|n| format!("p{n}")).unwrap_or_default();
                volume.device_names.push(format!("/dev/md127{part}"));
            }
        }
    }

    /// Volumes that hold this and were not used, by their places.
    fn holding(
        &self,
        used: &BTreeSet<usize>,
        wanted: impl Fn(&Content) -> bool,
    ) -> Vec<(usize, Arc<dyn BlockWrite>)> {
        let volumes = self.volumes.iter().enumerate();
        let wanted = volumes.filter(|(at, volume)| !used.contains(at) && wanted(&volume.content));
        let devices = wanted.filter_map(|(at, volume)| Some((at, self.device(&volume.id).ok()?)));
        devices.collect()
    }

    /// Puts arrays together; true if there were any.
    fn arrays(&mut self, used: &mut Used) -> Result<bool, Error> {
        let is_member = |content: &Content| matches!(content, Content::MdMember { .. });
        let (mut members, mut places) = (Vec::new(), Vec::new());
        for (at, device) in self.holding(&used.members, is_member) {
            used.members.insert(at);
            let name = self.volumes[at].id.to_string();
            match md::Superblock::read(&device) {
                Ok(Ok(Some(superblock))) => {
                    members.push((name, device, superblock));
                    places.push(at);
                }
                Ok(Ok(None)) => {}
                Ok(Err(damage)) => self.findings.push(format!("{name}: {damage}")),
                Err(error) => return Err(unreadable(name, error)),
            }
        }
        let arrays = md::assemble(&members);
        let some = !arrays.is_empty();
        let names = self.array_ids(&arrays);
        for (array, name) in arrays.into_iter().zip(names) {
            if !used.arrays.insert(array.id) {
                self.findings.push(format!(
                    "the array {} was found twice, the second time with members in a volume or an \
                     array; they are left out, and have to be added anew after a conversion",
                    array.name.as_deref().unwrap_or(&name)
                ));
                continue;
            }
            self.add_array(&array, name, &places)?;
        }
        Ok(some)
    }

    /// Names for arrays, each once: their number, else their name, else their identifier.
    fn array_ids(&self, arrays: &[Array]) -> Vec<String> {
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for volume in &self.volumes {
            if let VolumeId::Array { array, .. } = &volume.id {
                taken.insert(array.clone());
            }
        }
        let name = |array: &Array| {
            let number = array.preferred_minor.map(|minor| minor.to_string());
            let name = number.or_else(|| array.short_name.clone());
            let name = match name {
                Some(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => format!("md{name}"),
                Some(name) => format!("md/{name}"),
                None => format!("md/{}", array.id),
            };
            if taken.insert(name.clone()) {
                return name;
            }
            let name = format!("md/{}", array.id);
            taken.insert(name.clone());
            name
        };
        arrays.iter().map(name).collect()
    }

    fn add_array(&mut self, array: &Array, name: String, places: &[usize]) -> Result<(), Error> {
        let findings = array.findings.iter();
        self.findings.extend(findings.map(ToString::to_string));
        let disks = self.disks_below(&array.used, places);
        let id = |partition| VolumeId::Array {
            array: name.clone(),
            partition,
        };
        let device = match &array.device {
            Ok(device) => device.clone(),
            Err(error) => {
                self.volumes.push(Volume {
                    id: id(None),
                    partition: None,
                    content: Content::Unreadable(chain(error)),
                    size: 0,
                    disks: self.disks_below(&array.members, places),
                    device_names: array_names(&name, array, None),
                });
                return Ok(());
            }
        };
        let table = match volume::scan(&device) {
            Ok(table) => table,
            Err(volume::Error::Block(error)) => return Err(unreadable(name, error)),
            Err(error) => {
                self.findings.push(format!("{name}: {}", chain(&error)));
                return Ok(());
            }
        };
        let odd = table.findings.iter();
        self.findings
            .extend(odd.map(|finding| format!("{name}: {finding}")));
        for partition in &table.partitions {
            let whole = partition.kind == volume::PartitionKind::Disk;
            let number = (!whole).then_some(partition.number);
            let (content, device) = match partition.open(device.clone()) {
                _ if partition.kind.is_extended() => (Content::Extended, None),
                Ok(window) => (content::probe(&window), Some(window)),
                Err(error) => (Content::Unreadable(chain(&error)), None),
            };
            let volume = Volume {
                id: id(number),
                partition: number.map(|_| partition.clone()),
                content,
                size: partition.size,
                disks: disks.clone(),
                device_names: array_names(&name, array, number),
            };
            let device = device.map(|window| -> Arc<dyn BlockWrite> { Arc::new(window) });
            self.add_stacked(volume, device);
        }
        Ok(())
    }

    /// Puts volume groups together; true if there were any.
    fn groups(&mut self, used: &mut Used) -> Result<bool, Error> {
        let is_physical = |content: &Content| matches!(content, Content::LvmPhysical { .. });
        let fresh = self.holding(&used.physical, is_physical);
        if fresh.is_empty() {
            return Ok(false);
        }
        let places: Vec<usize> = fresh.iter().map(|(at, _)| *at).collect();
        used.physical.extend(&places);
        let members: Vec<lvm::Member> = fresh
            .into_iter()
            .map(|(at, device)| lvm::Member {
                name: self.volumes[at].id.to_string(),
                device,
            })
            .collect();
        let assembled =
            lvm::assemble(&members).map_err(|error| unreadable("with LVM".into(), error))?;
        let findings = assembled.findings.iter().map(ToString::to_string);
        self.findings.extend(findings);
        let errors = assembled.errors.iter().map(ToString::to_string);
        self.findings.extend(errors);
        for group in assembled.groups {
            if self.has_group(&group.name) {
                self.findings.push(format!(
                    "volume group {} was found twice, the second time in itself or in an array; \
                     that is not looked at",
                    group.name
                ));
                continue;
            }
            for volume in group.volumes {
                let disks = match volume.device {
                    Ok(_) => self.disks_below(&volume.members, &places),
                    Err(_) => self.disks_below(&group.members, &places),
                };
                let content = match &volume.device {
                    Ok(device) => content::probe(device),
                    Err(error) => Content::Unreadable(chain(error)),
                };
                let known = Volume {
                    device_names: logical_names(&group.name, &volume.name, group.id, volume.id),
                    id: VolumeId::Logical {
                        volume_group: group.name.clone(),
                        logical_volume: volume.name,
                    },
                    partition: None,
                    // Logical volumes with volumes in them belong to virtual machines: LVM2 does
                    // not look there (`scan_lvs`).
                    content: match content {
                        Content::LvmPhysical { .. } => Content::Unreadable(
                            "a physical volume inside a logical volume is not looked at".into(),
                        ),
                        content => content,
                    },
                    size: volume.size,
                    disks,
                };
                self.add_stacked(known, volume.device.ok());
            }
        }
        Ok(true)
    }

    fn has_group(&self, name: &str) -> bool {
        self.volumes.iter().any(
            |volume| matches!(&volume.id, VolumeId::Logical { volume_group, .. } if volume_group == name),
        )
    }

    fn add_stacked(&mut self, volume: Volume, device: Option<Arc<dyn BlockWrite>>) {
        if self.volumes.len() >= MAX_VOLUMES {
            let finding = "more than 16384 volumes; the rest is not looked at".to_owned();
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
            return;
        }
        if let Some(device) = device {
            self.stacked.insert(volume.id.clone(), device);
        }
        self.volumes.push(volume);
    }

    /// The disks under members, given by their indices into `places`.
    fn disks_below(&self, members: &[usize], places: &[usize]) -> Vec<usize> {
        let places = members.iter().filter_map(|member| places.get(*member));
        let disks = places.flat_map(|at| self.volumes[*at].disks.iter().copied());
        disks.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn unreadable(name: String, error: block::Error) -> Error {
    Error::Disk {
        name,
        source: Box::new(error),
    }
}

/// Devices of volumes that lie on others.
pub(crate) type Stacked = BTreeMap<VolumeId, Arc<dyn BlockWrite>>;

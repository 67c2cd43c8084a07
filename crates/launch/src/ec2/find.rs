//! What there is of a project, by its tags.

use super::describe::InstanceSeen;
use super::tag::{self, Tags};
use super::target::{Interface, Volume};
use super::{Ec2, Error, Kind};
use aws_sdk_ec2::types;
use ondisk::Interrupt;
use serde::Serialize;

/// What there is of a project, or of one machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// What is there: instances, then volumes, interfaces and images, each by machine, launch and id.
    /// Volumes and interfaces of instances are among it.
    pub there: Vec<Resource>,
    /// Instances that are terminated; EC2 forgets them after an hour or so.
    pub gone: Vec<Resource>,
}

/// Something of ours.
#[derive(Clone, Debug, Serialize)]
pub struct Resource {
    /// Its id.
    pub id: String,
    /// The project.
    pub project: String,
    /// The machine.
    pub machine: String,
    /// What it was launched for; `None` if its tag says nothing known.
    pub kind: Option<Kind>,
    /// The number of its launch; `None` if its tag is no number.
    pub launch: Option<u32>,
    /// What its tag `rehost:state` says: of an instance and its volumes, that their launch is
    /// complete, and what the lifecycle made of it since.
    pub mark: Option<String>,
    /// What it is.
    pub thing: Thing,
}

/// What something of ours is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Thing {
    /// An instance.
    Instance {
        /// `pending`, `running`, `stopping`, `stopped`, `shutting-down` or `terminated`.
        state: String,
        /// Its type.
        instance_type: String,
        /// Its image.
        image: String,
        /// Its primary address.
        private_ip: Option<String>,
        /// Its public address.
        public_ip: Option<String>,
        /// When it was launched: seconds since 1970.
        launched: Option<i64>,
        /// Its volumes, by device.
        volumes: Vec<Volume>,
        /// Its interfaces, by index.
        interfaces: Vec<Interface>,
    },
    /// A volume.
    Volume {
        /// `creating`, `available`, `in-use`, `deleting`, `deleted` or `error`.
        state: String,
        /// GiB.
        size_gib: i32,
        /// The disk of the machine that it is.
        disk: Option<String>,
        /// The instance that has it.
        instance: Option<String>,
    },
    /// A network interface.
    Interface {
        /// `available`, `associated`, `attaching`, `in-use` or `detaching`.
        state: String,
        /// Its primary address.
        private_ip: Option<String>,
        /// The instance that has it.
        instance: Option<String>,
    },
    /// An image.
    Image {
        /// `pending`, `available`, `failed` and so on.
        state: String,
        /// Its name.
        name: String,
        /// The snapshots that it keeps from being removed.
        snapshots: Vec<String>,
    },
}

impl Found {
    /// The highest number of a launch of the machine that anything bears; 0 if nothing does.
    pub fn highest_launch(&self, machine: &str) -> u32 {
        let all = self.there.iter().chain(&self.gone);
        let ours = all.filter(|one| one.machine == machine);
        ours.filter_map(|one| one.launch).max().unwrap_or_default()
    }
}

impl Resource {
    /// Whether it is an instance whose launch is complete.
    pub fn is_complete(&self) -> bool {
        matches!(self.thing, Thing::Instance { .. }) && self.mark.is_some()
    }

    fn new(id: &str, tags: &Tags, thing: Thing) -> Self {
        let tag = |key| tags.get(key).cloned();
        Self {
            id: id.to_owned(),
            project: tag(tag::PROJECT).unwrap_or_default(),
            machine: tag(tag::MACHINE).unwrap_or_default(),
            kind: tags.get(tag::KIND).and_then(|name| name.parse().ok()),
            launch: tags.get(tag::LAUNCH).and_then(|number| number.parse().ok()),
            mark: tag(tag::STATE),
            thing,
        }
    }

    /// In which order it is removed, and shown.
    pub(crate) fn rank(&self) -> u8 {
        match self.thing {
            Thing::Instance { .. } => 0,
            Thing::Volume { .. } => 1,
            Thing::Interface { .. } => 2,
            Thing::Image { .. } => 3,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(&self.thing, Thing::Instance { state, .. } if state == "terminated")
    }

    fn of_instance(seen: InstanceSeen) -> Self {
        let thing = Thing::Instance {
            state: seen.state,
            instance_type: seen.instance_type,
            image: seen.image,
            private_ip: seen.private_ip,
            public_ip: seen.public_ip,
            launched: seen.launched,
            volumes: seen.volumes,
            interfaces: seen.interfaces,
        };
        Self::new(&seen.id, &seen.tags, thing)
    }

    fn of_volume(volume: &types::Volume) -> Option<Self> {
        let tags = tag::read(volume.tags());
        let state = volume.state().map(types::VolumeState::as_str);
        let mut attachments = volume.attachments().iter();
        let thing = Thing::Volume {
            state: state.unwrap_or_default().to_owned(),
            size_gib: volume.size().unwrap_or_default(),
            disk: tags.get(tag::DISK).cloned(),
            instance: attachments.find_map(|one| one.instance_id().map(str::to_owned)),
        };
        Some(Self::new(volume.volume_id()?, &tags, thing))
    }

    fn of_interface(interface: &types::NetworkInterface) -> Option<Self> {
        let tags = tag::read(interface.tag_set());
        let state = interface
            .status()
            .map(types::NetworkInterfaceStatus::as_str);
        let attachment = interface.attachment();
        let instance = attachment.and_then(|attachment| attachment.instance_id());
        let thing = Thing::Interface {
            state: state.unwrap_or_default().to_owned(),
            private_ip: interface.private_ip_address().map(str::to_owned),
            instance: instance.map(str::to_owned),
        };
        Some(Self::new(interface.network_interface_id()?, &tags, thing))
    }

    fn of_image(image: &types::Image) -> Option<Self> {
        let tags = tag::read(image.tags());
        let state = image.state().map(types::ImageState::as_str);
        let snapshots = image
            .block_device_mappings()
            .iter()
            .filter_map(|mapping| mapping.ebs()?.snapshot_id().map(str::to_owned));
        let thing = Thing::Image {
            state: state.unwrap_or_default().to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            snapshots: snapshots.collect(),
        };
        Some(Self::new(image.image_id()?, &tags, thing))
    }
}

impl Ec2 {
    /// Finds what bears our tags of that project, and of that machine if one is named. What was made
    /// within the last moments may be missing.
    ///
    /// # Errors
    /// What EC2 refused.
    pub fn find(
        &self,
        project: &str,
        machine: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<Found, Error> {
        let filters = tag::filters(project, machine);
        let mut all = Vec::new();
        for seen in self.instances(project, machine, interrupt)? {
            all.push(Resource::of_instance(seen));
        }
        let volumes = self.volumes(&filters, interrupt)?;
        all.extend(volumes.iter().filter_map(Resource::of_volume));
        let interfaces = self.interfaces(&filters, interrupt)?;
        all.extend(interfaces.iter().filter_map(Resource::of_interface));
        let images = self.images(&filters, interrupt)?;
        all.extend(images.iter().filter_map(Resource::of_image));
        // The filters of a service that is not what it seems, or has wildcards, may find too much.
        let named = machine.map_or_else(String::new, str::to_owned);
        all.retain(|one| one.project == project && (machine.is_none() || one.machine == named));
        all.sort_by(|a, b| {
            let key =
                |one: &Resource| (one.rank(), one.machine.clone(), one.launch, one.id.clone());
            key(a).cmp(&key(b))
        });
        let (gone, there) = all.into_iter().partition(Resource::is_gone);
        Ok(Found { there, gone })
    }
}

//! All that EC2 has besides snapshots, and what time does to it.

use super::addresses::Address;
use super::id::Kind;
use super::images::Image;
use super::instances::{Instance, InstanceState};
use super::interfaces::Interface;
use super::refusal::{bad, mismatch};
use super::volumes::Volume;
use crate::action::Action;
use crate::error::Refusal;
use crate::surroundings::{SecurityGroup, Subnet, Surroundings};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// The resources, each by its id.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(super) surroundings: Surroundings,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) instances: BTreeMap<String, Instance>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) interfaces: BTreeMap<String, Interface>,
    pub(super) addresses: BTreeMap<String, Address>,
    /// The ids of images that were, and are no longer.
    pub(super) deregistered: BTreeSet<String>,
    tokens: HashMap<(Action, String), Used>,
    public: u32,
}

/// What a client token was used for.
#[derive(Debug)]
struct Used {
    fingerprint: String,
    id: String,
}

impl Cloud {
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Cloud {
            surroundings,
            images: BTreeMap::new(),
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            addresses: BTreeMap::new(),
            deregistered: BTreeSet::new(),
            tokens: HashMap::new(),
            public: 0,
        }
    }

    /// What the same token made before, once it is clear that the request is the same.
    pub(super) fn made(
        &self,
        action: Action,
        token: Option<&str>,
        fingerprint: &str,
    ) -> Result<Option<String>, Refusal> {
        let Some(token) = token else {
            return Ok(None);
        };
        match self.tokens.get(&(action, token.to_owned())) {
            Some(used) if used.fingerprint != fingerprint => Err(mismatch(token)),
            used => Ok(used.map(|used| used.id.clone())),
        }
    }

    pub(super) fn remember(
        &mut self,
        action: Action,
        token: Option<&str>,
        fingerprint: String,
        id: &str,
    ) {
        if let Some(token) = token {
            let used = Used {
                fingerprint,
                id: id.to_owned(),
            };
            self.tokens.insert((action, token.to_owned()), used);
        }
    }

    /// A public address that nobody had before.
    pub(super) fn public_address(&mut self) -> Ipv4Addr {
        self.public = self.public.wrapping_add(1);
        public_address(self.public)
    }

    pub(super) fn subnet(&self, id: &str) -> Result<&Subnet, Refusal> {
        let mut subnets = self.surroundings.subnets.iter();
        subnets
            .find(|subnet| subnet.id == id)
            .ok_or_else(|| Kind::Subnet.not_found(id))
    }

    pub(super) fn group(&self, id: &str) -> Result<&SecurityGroup, Refusal> {
        Kind::SecurityGroup.well_formed(id)?;
        let mut groups = self.surroundings.security_groups.iter();
        groups
            .find(|group| group.id == id)
            .ok_or_else(|| Kind::SecurityGroup.not_found(id))
    }

    /// The image of that id; one that is deregistered is known as such.
    pub(super) fn image(&self, id: &str) -> Result<&Image, Refusal> {
        Kind::Image.well_formed(id)?;
        self.images.get(id).ok_or_else(|| {
            if self.deregistered.contains(id) {
                let message = format!("The image ID '{id}' is no longer available");
                return bad("InvalidAMIID.Unavailable", message);
            }
            Kind::Image.not_found(id)
        })
    }

    pub(super) fn instance(&mut self, id: &str) -> Result<&mut Instance, Refusal> {
        Kind::Instance.well_formed(id)?;
        let instance = self.instances.get_mut(id);
        instance.ok_or_else(|| Kind::Instance.not_found(id))
    }

    pub(super) fn volume(&mut self, id: &str) -> Result<&mut Volume, Refusal> {
        Kind::Volume.well_formed(id)?;
        let volume = self.volumes.get_mut(id);
        volume.ok_or_else(|| Kind::Volume.not_found(id))
    }

    pub(super) fn interface(&mut self, id: &str) -> Result<&mut Interface, Refusal> {
        Kind::Interface.well_formed(id)?;
        let interface = self.interfaces.get_mut(id);
        interface.ok_or_else(|| Kind::Interface.not_found(id))
    }

    pub(super) fn interface_ref(&self, id: &str) -> Result<&Interface, Refusal> {
        Kind::Interface.well_formed(id)?;
        let interface = self.interfaces.get(id);
        interface.ok_or_else(|| Kind::Interface.not_found(id))
    }

    /// Refuses the name of a key pair that does not exist.
    pub(super) fn key_pair(&self, name: &str) -> Result<(), Refusal> {
        if self.surroundings.key_pairs.iter().any(|pair| pair == name) {
            return Ok(());
        }
        let message = format!("The key pair '{name}' does not exist");
        Err(bad("InvalidKeyPair.NotFound", message))
    }

    /// The tags of a resource that is no snapshot.
    pub(super) fn tags(&mut self, kind: Kind, id: &str) -> Option<&mut BTreeMap<String, String>> {
        match kind {
            Kind::Image => self.images.get_mut(id).map(|it| &mut it.tags),
            Kind::Instance => self.instances.get_mut(id).map(|it| &mut it.tags),
            Kind::Volume => self.volumes.get_mut(id).map(|it| &mut it.tags),
            Kind::Interface => self.interfaces.get_mut(id).map(|it| &mut it.tags),
            Kind::Address => self.addresses.get_mut(id).map(|it| &mut it.tags),
            Kind::Subnet => {
                let mut subnets = self.surroundings.subnets.iter_mut();
                subnets.find(|it| it.id == id).map(|it| &mut it.tags)
            }
            Kind::SecurityGroup => {
                let mut groups = self.surroundings.security_groups.iter_mut();
                groups.find(|it| it.id == id).map(|it| &mut it.tags)
            }
            Kind::Snapshot => None,
        }
    }

    /// Which resources there are, without snapshots: for DescribeTags.
    pub(super) fn tagged(&self) -> Vec<(Kind, &str, &BTreeMap<String, String>)> {
        let mut all: Vec<(Kind, &str, &BTreeMap<String, String>)> = Vec::new();
        let (images, instances) = (&self.images, &self.instances);
        all.extend(
            images
                .iter()
                .map(|(id, it)| (Kind::Image, id.as_str(), &it.tags)),
        );
        all.extend(
            instances
                .iter()
                .map(|(id, it)| (Kind::Instance, id.as_str(), &it.tags)),
        );
        all.extend(
            self.volumes
                .iter()
                .map(|(id, it)| (Kind::Volume, id.as_str(), &it.tags)),
        );
        all.extend(
            self.interfaces
                .iter()
                .map(|(id, it)| (Kind::Interface, id.as_str(), &it.tags)),
        );
        all.extend(
            self.addresses
                .iter()
                .map(|(id, it)| (Kind::Address, id.as_str(), &it.tags)),
        );
        let subnets = self.surroundings.subnets.iter();
        all.extend(subnets.map(|it| (Kind::Subnet, it.id.as_str(), &it.tags)));
        let groups = self.surroundings.security_groups.iter();
        all.extend(groups.map(|it| (Kind::SecurityGroup, it.id.as_str(), &it.tags)));
        all
    }

    /// The image that keeps a snapshot from being deleted.
    pub(super) fn image_of_snapshot(&self, snapshot: &str) -> Option<&Image> {
        self.images.values().find(|image| {
            let mut mappings = image.mappings.iter();
            mappings.any(|mapping| mapping.snapshot.as_deref() == Some(snapshot))
        })
    }

    /// Lets happen what is due: instances come up, stop, and are terminated.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        let due: Vec<String> = self
            .instances
            .values()
            .filter(|instance| instance.due.is_some_and(|due| due <= now))
            .map(|instance| instance.id.clone())
            .collect();
        for id in due {
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            // Not `now`: nobody may have looked for a while.
            let since = instance.due.take().unwrap_or(now);
            match instance.state {
                InstanceState::Pending if instance.fails => {
                    instance.state_reason = Some((
                        "Server.InternalError".into(),
                        "Server.InternalError: Internal error on launch".into(),
                    ));
                    self.end(&id, since);
                }
                InstanceState::Pending => {
                    instance.state = InstanceState::Running;
                    instance.state_reason = None;
                    let status = Duration::from_millis(instance.life.status_ms);
                    instance.checked = since.checked_add(status);
                    self.give_public_addresses(&id);
                }
                InstanceState::Stopping => {
                    instance.state = InstanceState::Stopped;
                    instance.checked = None;
                    self.lose_public_addresses(&id);
                }
                InstanceState::ShuttingDown => self.end(&id, since),
                // Its hour is over, nobody sees it any more.
                InstanceState::Terminated => {
                    self.instances.remove(&id);
                    self.tokens.retain(|_, used| used.id != id);
                }
                InstanceState::Running | InstanceState::Stopped => {}
            }
        }
    }

    /// An instance that runs gets public addresses where its launch wanted them.
    fn give_public_addresses(&mut self, instance: &str) {
        let mut next = self.public;
        for interface in self.interfaces.values_mut() {
            let attachment = interface.attachment.as_ref();
            if interface.public && attachment.is_some_and(|it| it.instance == instance) {
                next = next.wrapping_add(1);
                interface.public_address = Some(public_address(next));
            }
        }
        self.public = next;
    }

    fn lose_public_addresses(&mut self, instance: &str) {
        for interface in self.interfaces.values_mut() {
            let attachment = interface.attachment.as_ref();
            if attachment.is_some_and(|it| it.instance == instance) {
                interface.public_address = None;
            }
        }
    }

    /// Makes an instance a terminated one: its volumes and interfaces go, or are free again.
    fn end(&mut self, id: &str, since: Instant) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        instance.state = InstanceState::Terminated;
        let visible = Duration::from_millis(instance.life.visible_ms);
        instance.due = since.checked_add(visible);
        let of = |instance: &String| instance == id;
        self.volumes.retain(|_, volume| {
            let attached = volume.attachment.take_if(|it| of(&it.instance));
            !attached.is_some_and(|it| it.delete_on_termination)
        });
        let mut gone = Vec::new();
        self.interfaces.retain(|interface, it| {
            let Some(attached) = it.attachment.take_if(|it| of(&it.instance)) else {
                return true;
            };
            it.public_address = None;
            if attached.delete_on_termination {
                gone.push(interface.clone());
            }
            !attached.delete_on_termination
        });
        for address in self.addresses.values_mut() {
            address
                .association
                .take_if(|it| gone.contains(&it.interface));
        }
    }
}

/// The public address of that number, of 198.18.0.0/15, which is for benchmarks.
fn public_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | (number & 0x1_ffff))
}

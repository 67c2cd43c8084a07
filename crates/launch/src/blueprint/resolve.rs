//! What a blueprint means where it leaves things open.

use super::{
    Blueprint, BootMode, Context, Interface, PrivateIpAction, Role, SourceFacts, TypeChoice,
};
use crate::instances::{Architecture, Boots, InstanceType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The name of the root disk where the blueprint has none.
const ROOT: &str = "/dev/sda1";

/// Why something that a blueprint leaves open cannot be told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// There is no instance type.
    #[error("instance.type is missing; name one, as m7i.large")]
    NoType,
    /// EC2 has no such instance type, as far as is known.
    #[error(
        "instance.type: no instance type is named {0}; \
         if it is new, give the answer of `aws ec2 describe-instance-types` as --instance-types"
    )]
    UnknownType(String),
    /// The size of the source is not known.
    #[error(
        "instance.type: the disks do not tell the CPUs and the memory of the source; \
         write hardware: {{vcpus: …, memoryMib: …}} at the machine in the project file, or here a type"
    )]
    SourceSize,
    /// No type is large enough, or none has the firmware.
    #[error(
        "instance.type: no {architecture} type of a current generation has {vcpus} vCPUs, \
         {memory_mib} MiB and the firmware; ask for less, or name a type"
    )]
    NothingFits {
        /// What the guest runs on.
        architecture: Architecture,
        /// The CPUs that were wanted.
        vcpus: u32,
        /// The memory that was wanted.
        memory_mib: u64,
    },
    /// The guest has no fixed address to be copied.
    #[error(
        "network.interfaces[{0}]: the guest has no fixed IPv4 address there; \
         write the address in privateIps, or choose create-new"
    )]
    NoAddress(usize),
}

/// The firmware that a boot mode needs; for `auto` that of the source, where it is known.
pub fn boots_of(mode: BootMode, source: Option<&SourceFacts>) -> Boots {
    match mode {
        BootMode::LegacyBios => Boots::LegacyBios,
        BootMode::Uefi => Boots::Uefi,
        BootMode::UefiPreferred => Boots::Either,
        BootMode::Auto => match source.map(|source| source.firmware) {
            Some(firmware) if firmware.uefi && !firmware.bios => Boots::Uefi,
            Some(firmware) if firmware.bios && !firmware.uefi => Boots::LegacyBios,
            _ => Boots::Either,
        },
    }
}

impl Blueprint {
    /// The index in `disks` of the one that is booted from; none if there are no disks, or all are
    /// data.
    pub fn root_disk(&self) -> Option<usize> {
        let mut roles = self.disks.iter().map(|disk| disk.role);
        let said = roles.clone().position(|role| role == Some(Role::Root));
        said.or_else(|| roles.position(|role| role.is_none()))
    }

    /// The name of the device that is booted from.
    pub fn root_device_name(&self) -> &str {
        let root = self.root_disk().and_then(|at| self.disks.get(at));
        root.and_then(|disk| disk.device_name.as_deref())
            .or(self.boot.root_device_name.as_deref())
            .unwrap_or(ROOT)
    }

    /// The names of all disks, in their order: those that are given, and free ones from `/dev/sdf`
    /// on for the others.
    pub fn device_names(&self) -> Vec<String> {
        let root = self.root_disk();
        let mut taken: BTreeSet<&str> = self
            .disks
            .iter()
            .filter_map(|disk| disk.device_name.as_deref())
            .collect();
        taken.insert(self.root_device_name());
        let mut free = free_names().filter(|name| !taken.contains(name.as_str()));
        let disks = self.disks.iter().enumerate();
        disks
            .map(|(at, disk)| match &disk.device_name {
                Some(name) => name.clone(),
                None if Some(at) == root => self.root_device_name().to_owned(),
                // There are 77 names, and at most 78 disks.
                None => free.next().unwrap_or_default(),
            })
            .collect()
    }

    /// The tags of the target: those of the machine, and its labels.
    pub fn all_tags(&self) -> BTreeMap<String, String> {
        let labels = self.metadata.labels.iter();
        let mut tags: BTreeMap<_, _> = labels
            .map(|(name, value)| (format!("label:{name}"), value.clone()))
            .collect();
        tags.extend(self.tags.clone());
        tags
    }

    /// The instance type.
    ///
    /// # Errors
    ///
    /// If there is none in the table that is what the blueprint asks for.
    pub fn instance_type<'t>(&self, context: &Context<'t>) -> Result<&'t InstanceType, Unresolved> {
        let source = context.source;
        let (vcpus, memory_mib, architecture) = match &self.instance.choice {
            None => return Err(Unresolved::NoType),
            Some(TypeChoice::Named(name)) => {
                let found = context.types.get(name);
                return found.ok_or_else(|| Unresolved::UnknownType(name.clone()));
            }
            Some(TypeChoice::Fitting(least)) => (least.min_vcpu, least.min_mem_mib, least.arch),
            Some(TypeChoice::CopyOrigin(_)) => {
                let size = source.and_then(|source| Some((source.vcpus?, source.memory_mib?)));
                let (vcpus, memory_mib) = size.ok_or(Unresolved::SourceSize)?;
                (vcpus, memory_mib, None)
            }
        };
        let architecture = architecture
            .or_else(|| source.and_then(|source| source.architecture))
            .unwrap_or(Architecture::X86_64);
        let boots = boots_of(self.boot.mode, source);
        let found = context
            .types
            .fitting(architecture, vcpus, memory_mib, boots);
        found.ok_or(Unresolved::NothingFits {
            architecture,
            vcpus,
            memory_mib,
        })
    }

    /// The private addresses that an interface asks for; none where EC2 chooses, or the interface
    /// has them.
    ///
    /// # Errors
    ///
    /// If the address of the source is to be copied, and it has none.
    pub fn private_ips(
        &self,
        index: usize,
        source: &SourceFacts,
    ) -> Result<Vec<Ipv4Addr>, Unresolved> {
        let Some(interface) = self.network.interfaces.get(index) else {
            return Ok(Vec::new());
        };
        match interface.private_ip_action() {
            PrivateIpAction::Custom => Ok(interface.private_ips.clone()),
            PrivateIpAction::CreateNew | PrivateIpAction::UseEni => Ok(Vec::new()),
            PrivateIpAction::CopyOrigin => {
                let copied =
                    |one: &&Interface| one.private_ip_action() == PrivateIpAction::CopyOrigin;
                // The addresses of the guest are given out in order to those that copy.
                let before = self.network.interfaces.iter().take(index);
                let at = before.filter(copied).count();
                let address = source.addresses.get(at);
                address
                    .map(|address| vec![*address])
                    .ok_or(Unresolved::NoAddress(index))
            }
        }
    }
}

/// Names for data disks, the ones that EC2 recommends first.
fn free_names() -> impl Iterator<Item = String> {
    let short = ('f'..='p').map(|letter| format!("/dev/sd{letter}"));
    let long = ('b'..='c').flat_map(|first| {
        let second = 'a'..='z';
        second.map(move |second| format!("/dev/xvd{first}{second}"))
    });
    let rest = ('b'..='e').chain('q'..='z');
    let rest = rest.map(|letter| format!("/dev/sd{letter}"));
    short.chain(long).chain(rest)
}

//! From a blueprint, the guest and its disks to what EC2 is asked.

use super::request::{
    After, Cpu, ImageRequest, InstanceRequest, InterfaceRequest, Mapping, Profile, Request,
};
use super::tag::{self, Tags};
use super::{Error, NewTarget, TargetDisk};
use crate::blueprint::{
    Blueprint, BootMode, Context, CpuCredits, Disk, Disposition, HttpTokens, Interface,
    PrivateIpAction, PublicIp, Role, SourceFirmware, Tenancy, Unresolved, Wait,
};
use crate::instances::{Architecture, Boots, InstanceType};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::collections::{BTreeMap, BTreeSet};

/// The most volumes that any instance has.
const MAX_DISKS: usize = 128;
/// The largest volume in GiB.
const MAX_GIB: u32 = 65_536;
/// Characters of the tag that names a disk.
const MAX_DISK_TAG: usize = 256;

/// What a blueprint's field has against it.
fn wrong(field: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Request {
        field: field.into(),
        why: why.into(),
    }
}

/// A name of a project or machine that tags and filters can bear: EC2's filters have wildcards.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        let why = format!("{name:?} is not 1 to 64 letters, digits, '.', '_' or '-'");
        return Err(wrong(what, why));
    }
    Ok(())
}

impl NewTarget<'_> {
    /// What is asked for it in that region.
    pub(crate) fn request(&self, region: &str) -> Result<Request, Error> {
        check_name("project", self.project)?;
        check_name("machine", self.machine)?;
        let blueprint = self.blueprint;
        if let Some(wanted) = blueprint.region.as_deref().filter(|name| *name != region) {
            let why = format!("it is {wanted}, and the connection is to {region}; use one of them");
            return Err(wrong("region", why));
        }
        let disks = self.disks()?;
        let (architecture, instance_type, boot_mode) = self.hardware()?;
        let tags = tag::with_users(&self.tags(), &blueprint.all_tags(), "tags")?;
        let boot = &blueprint.boot;
        let image = ImageRequest {
            name: String::new(),
            description: format!(
                "{} of {}, project {}, launch {}",
                self.kind, self.machine, self.project, self.launch
            ),
            architecture: architecture.name(),
            boot_mode,
            root_device: disks.root_device.clone(),
            ena: boot.ena_support(),
            sriov: boot.sriov_net_support.is_some(),
            tpm: boot.tpm.is_some(),
            uefi_data: boot.uefi_data.clone(),
            imds_v2: boot.imds_support.is_some(),
            mappings: disks.mappings.clone(),
            tags: tags.clone(),
        };
        let encrypted = disks.mappings.into_iter().filter(|disk| disk.encrypted);
        // RunInstances has the snapshot from the image, and refuses another for the root.
        let encrypted = encrypted.map(|disk| Mapping {
            snapshot: None,
            ..disk
        });
        let instance = self.instance(instance_type, encrypted.collect(), &tags)?;
        let mut after = self.after()?;
        after.volume_tags = disks.tags;
        let names = (self.project, self.machine);
        Ok(Request::new(
            names,
            (self.kind, self.launch),
            image,
            instance,
            after,
        ))
    }

    /// Ours.
    fn tags(&self) -> Tags {
        let pairs = [
            (tag::TOOL, tag::TOOL_VALUE.to_owned()),
            (tag::PROJECT, self.project.to_owned()),
            (tag::MACHINE, self.machine.to_owned()),
            (tag::KIND, self.kind.name().to_owned()),
            (tag::LAUNCH, self.launch.to_string()),
        ];
        let pairs = pairs.into_iter();
        pairs.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Architecture, instance type and boot mode, which have to go together.
    fn hardware(&self) -> Result<(Architecture, &InstanceType, &'static str), Error> {
        let context = Context {
            types: self.types,
            source: Some(self.source),
        };
        let known = self.source.architecture;
        let architecture = known.filter(|known| *known != Architecture::Mac);
        let architecture = architecture.ok_or_else(|| {
            wrong(
                "the guest",
                "its architecture is not known, or none that EC2 has",
            )
        })?;
        let chosen = self.blueprint.instance_type(&context);
        let chosen = chosen.map_err(|open| unresolved(&open))?;
        if !chosen.runs(architecture) {
            let why = format!(
                "{} does not run {architecture} guests; choose a type that does",
                chosen.name
            );
            return Err(wrong("instance.type", why));
        }
        let tpm = self.blueprint.boot.tpm.is_some();
        let mode = self.blueprint.boot.mode;
        let boot_mode = boot_mode(mode, self.source.firmware, architecture, tpm)?;
        let needs = match boot_mode {
            "uefi" => Boots::Uefi,
            "legacy-bios" => Boots::LegacyBios,
            _ => Boots::Either,
        };
        if !chosen.has(needs) {
            let why = format!(
                "{} does not boot with {boot_mode}, which this guest needs; choose another type, or \
                 convert the guest for the other firmware",
                chosen.name
            );
            return Err(wrong("instance.type", why));
        }
        Ok((architecture, chosen, boot_mode))
    }

    fn instance(
        &self,
        chosen: &InstanceType,
        mappings: Vec<Mapping>,
        tags: &Tags,
    ) -> Result<InstanceRequest, Error> {
        let blueprint = self.blueprint;
        let (wanted, launch) = (&blueprint.instance, &blueprint.launch);
        let group = wanted.placement_group.as_ref();
        let mut named = tags.clone();
        // What people look for in the console.
        let name = named.entry("Name".to_owned());
        name.or_insert_with(|| self.machine.to_owned());
        let metadata = &blueprint.metadata_options;
        let profile = blueprint.iam.instance_profile.as_ref().map(|profile| {
            if profile.starts_with("arn:") {
                Profile::Arn(profile.clone())
            } else {
                Profile::Name(profile.clone())
            }
        });
        let cpu = wanted.cpu_options.as_ref().map(|cpu| {
            let number = |field, value| number(&format!("instance.cpuOptions.{field}"), value);
            Ok::<_, Error>(Cpu {
                cores: Some(number("coreCount", cpu.core_count)?),
                threads: Some(number("threadsPerCore", cpu.threads_per_core)?),
            })
        });
        Ok(InstanceRequest {
            instance_type: chosen.name.clone(),
            interfaces: self.interfaces()?,
            mappings,
            profile,
            key_name: launch.key_name.clone(),
            user_data: launch.user_data.as_ref().map(|text| BASE64.encode(text)),
            availability_zone: blueprint.availability_zone.clone(),
            tenancy: match wanted.tenancy {
                Tenancy::Default => None,
                Tenancy::Dedicated => Some("dedicated"),
                Tenancy::Host => Some("host"),
            },
            host_id: wanted.host_id.clone(),
            group: group.map(|group| group.name.clone()),
            partition: group.and_then(|group| group.partition).map(i32::from),
            ebs_optimized: wanted.ebs_optimized,
            cpu: cpu.transpose()?,
            credits: wanted.credit_specification.map(|credits| match credits {
                CpuCredits::Standard => "standard",
                CpuCredits::Unlimited => "unlimited",
            }),
            http_tokens: metadata.http_tokens.map(|tokens| match tokens {
                HttpTokens::Optional => "optional",
                HttpTokens::Required => "required",
            }),
            hop_limit: metadata.hop_limit.map(i32::from),
            instance_tags: metadata.instance_tags,
            termination_protection: launch.termination_protection,
            instance_tag_set: named,
            volume_tags: tags.clone(),
            interface_tags: tags.clone(),
        })
    }

    fn interfaces(&self) -> Result<Vec<InterfaceRequest>, Error> {
        let all = self.blueprint.network.numbered().enumerate();
        all.map(|(at, (index, interface))| self.interface(at, index, interface))
            .collect()
    }

    fn interface(
        &self,
        at: usize,
        index: u32,
        interface: &Interface,
    ) -> Result<InterfaceRequest, Error> {
        let field = |name: &str| format!("network.interfaces[{at}].{name}");
        let index = number(&field("deviceIndex"), index)?;
        if let Some(id) = &interface.eni_id {
            return Ok(InterfaceRequest {
                index,
                existing: Some(id.clone()),
                ..InterfaceRequest::default()
            });
        }
        if interface.private_ip_action() == PrivateIpAction::UseEni {
            let why = "use-eni needs the interface that is used; name it in eniId";
            return Err(wrong(field("eniId"), why));
        }
        let private = self.blueprint.private_ips(at, self.source);
        let private = private.map_err(|open| unresolved(&open))?;
        Ok(InterfaceRequest {
            index,
            existing: None,
            subnet: interface.subnet_id.clone(),
            private_ips: private.iter().map(ToString::to_string).collect(),
            ipv6: interface.ipv6.iter().map(ToString::to_string).collect(),
            security_groups: interface.security_group_ids.clone(),
            public_ip: match interface.public_ip {
                PublicIp::Auto => None,
                PublicIp::Yes => Some(true),
                PublicIp::No => Some(false),
            },
        })
    }

    fn after(&self) -> Result<After, Error> {
        let mut after = After {
            wait_status_ok: self.blueprint.launch.wait == Wait::StatusOk,
            stop: self.blueprint.launch.disposition == Disposition::Stopped,
            ..After::default()
        };
        for (index, interface) in self.blueprint.network.numbered() {
            let index = number("network.interfaces", index)?;
            if let Some(allocation) = &interface.eip_allocation_id {
                after.addresses.push((index, allocation.clone()));
            }
            if !interface.source_dest_check() {
                after.forwarding.push(index);
            }
        }
        Ok(after)
    }

    fn disks(&self) -> Result<Disks, Error> {
        let planned = &self.blueprint.disks;
        let disks = self.disks;
        if disks.is_empty() || disks.len() > MAX_DISKS {
            let why = format!(
                "the machine has {} disks; 1 to {MAX_DISKS} can be had",
                disks.len()
            );
            return Err(wrong("disks", why));
        }
        let numbers: BTreeSet<usize> = disks.iter().map(|disk| disk.number).collect();
        let in_order = numbers.iter().enumerate().all(|(at, number)| at == *number);
        if numbers.len() != disks.len() || !in_order {
            let why = "the disks of the machine are not numbered 0, 1, 2 and so on";
            return Err(wrong("disks", why));
        }
        if planned.len() > disks.len() {
            let why = format!("the machine has no such disk: it has {}", disks.len());
            return Err(wrong(format!("disks[{}]", disks.len()), why));
        }
        let roots = disks.iter().filter(|disk| disk.root).count();
        if roots != 1 {
            let why = format!("{roots} disks are booted from; one has to be");
            return Err(wrong("disks", why));
        }
        // The guest decides what it boots from, whatever the order at the source; the names follow.
        let mut settled: Blueprint = self.blueprint.clone();
        settled.disks.resize(disks.len(), Disk::default());
        for disk in disks {
            let role = if disk.root { Role::Root } else { Role::Data };
            let planned = settled.disks.get_mut(disk.number);
            let Some(planned) = planned else { continue };
            if planned.role.is_some_and(|said| said != role) {
                let why = format!(
                    "the guest {} from {}; correct it, or leave it out",
                    if disk.root { "boots" } else { "does not boot" },
                    disk.name
                );
                return Err(wrong(format!("disks[{}].role", disk.number), why));
            }
            planned.role = Some(role);
        }
        let devices = settled.device_names();
        let root_device = settled.root_device_name().to_owned();
        let distinct: BTreeSet<&String> = devices.iter().collect();
        if distinct.len() != devices.len() {
            return Err(wrong("disks", "two disks have the same deviceName"));
        }
        let mut in_order: Vec<&TargetDisk<'_>> = disks.iter().collect();
        in_order.sort_by_key(|disk| (!disk.root, disk.number));
        let mut all = Disks {
            root_device,
            mappings: Vec::new(),
            tags: Vec::new(),
        };
        for disk in in_order {
            let found = settled.disks.get(disk.number).zip(devices.get(disk.number));
            let Some((planned, device)) = found else {
                continue;
            };
            let device = device.clone();
            all.mappings.push(mapping(disk, planned, device.clone())?);
            all.tags.push((device, self.volume_tags(disk, planned)?));
        }
        Ok(all)
    }

    /// The tags of one volume besides those of all.
    fn volume_tags(&self, disk: &TargetDisk<'_>, planned: &Disk) -> Result<Tags, Error> {
        let name: String = disk.name.chars().take(MAX_DISK_TAG).collect();
        let field = format!("disks[{}].tags", disk.number);
        let mut all: BTreeMap<_, _> = self.blueprint.all_tags();
        all.extend(planned.tags.clone());
        tag::with_users(&self.tags(), &all, &field)?;
        let mut own = planned.tags.clone();
        own.insert(tag::DISK.to_owned(), name);
        Ok(own)
    }
}

/// The disks as EC2 is asked for them: the root first, then in the order of the source.
struct Disks {
    root_device: String,
    mappings: Vec<Mapping>,
    /// By device.
    tags: Vec<(String, Tags)>,
}

fn mapping(disk: &TargetDisk<'_>, planned: &Disk, device: String) -> Result<Mapping, Error> {
    let field = |name: &str| format!("disks[{}].{name}", disk.number);
    let size = planned.size_gib.unwrap_or(disk.size_gib);
    if size < disk.size_gib {
        let why = format!(
            "{size} GiB are less than the {} GiB of {}; a volume can only be larger",
            disk.size_gib, disk.name
        );
        return Err(wrong(field("sizeGiB"), why));
    }
    if size == 0 || size > MAX_GIB {
        let why = format!("{size} GiB are not 1 to {MAX_GIB}");
        return Err(wrong(field("sizeGiB"), why));
    }
    let optional = |name: &str, value: Option<u32>| {
        let field = field(name);
        value.map(|value| number(&field, value)).transpose()
    };
    Ok(Mapping {
        device,
        snapshot: Some(disk.snapshot.to_owned()),
        size_gib: number(&field("sizeGiB"), size)?,
        volume_type: planned.volume_type().name().to_owned(),
        iops: optional("iops", planned.iops)?,
        throughput: optional("throughput", planned.throughput)?,
        initialization_rate: optional(
            "volumeInitializationRate",
            planned.volume_initialization_rate,
        )?,
        delete_on_termination: planned.delete_on_termination(),
        encrypted: planned.encrypted == Some(true) || planned.kms_key_id.is_some(),
        kms_key: planned.kms_key_id.clone(),
    })
}

fn number(field: &str, value: u32) -> Result<i32, Error> {
    i32::try_from(value).map_err(|_| wrong(field, format!("{value} is too large")))
}

/// What a blueprint leaves open and nothing tells; the message begins with the field.
fn unresolved(open: &Unresolved) -> Error {
    let text = open.to_string();
    let (field, why) = text.split_once(": ").unwrap_or(("instance.type", &text));
    wrong(field, why)
}

/// The boot mode of the image. AMIs without one boot as their instance type does by default, which
/// is a guess; there is always one here.
fn boot_mode(
    mode: BootMode,
    firmware: SourceFirmware,
    architecture: Architecture,
    tpm: bool,
) -> Result<&'static str, Error> {
    let (bios, uefi) = (firmware.bios, firmware.uefi);
    let arm = architecture == Architecture::Arm64;
    let no = |why: &str| Err(wrong("boot.mode", why));
    match mode {
        _ if !bios && !uefi => no(
            "the guest has nothing to boot with: neither boot code in its \
                                   disk's first sector nor a loader in an EFI system partition",
        ),
        _ if (arm || tpm) && !uefi => {
            no("EC2 boots arm64 guests, and those with a TPM, with UEFI \
                                          alone, and the guest has no loader in an EFI system \
                                          partition")
        }
        BootMode::Auto if arm || tpm || !bios => Ok("uefi"),
        BootMode::Auto if !uefi => Ok("legacy-bios"),
        BootMode::Auto => Ok("uefi-preferred"),
        BootMode::LegacyBios if arm => no("arm64 guests boot with UEFI alone; use auto or uefi"),
        BootMode::LegacyBios if tpm => no("a TPM needs uefi; use auto or uefi"),
        BootMode::LegacyBios if !bios => {
            no("the guest has no boot code for a PC BIOS; use auto or \
                                             uefi")
        }
        BootMode::LegacyBios => Ok("legacy-bios"),
        BootMode::Uefi if !uefi => no(
            "the guest has no loader in an EFI system partition; use auto \
                                       or legacy-bios",
        ),
        BootMode::Uefi => Ok("uefi"),
        BootMode::UefiPreferred if arm || tpm => {
            no("EC2 does not take it for arm64 guests or with a \
                                                     TPM; use auto or uefi")
        }
        BootMode::UefiPreferred if !bios || !uefi => {
            no("the guest has to boot with UEFI and with a \
                                                         PC BIOS for that; use auto")
        }
        BootMode::UefiPreferred => Ok("uefi-preferred"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_mode_is_one_that_the_guest_has() {
        use Architecture::{Arm64, X86_64};
        use BootMode::{Auto, LegacyBios, Uefi, UefiPreferred};
        let all = [
            // mode, bios, uefi, architecture, tpm, expected
            (Auto, true, false, X86_64, false, Some("legacy-bios")),
            (Auto, false, true, X86_64, false, Some("uefi")),
            (Auto, true, true, X86_64, false, Some("uefi-preferred")),
            (Auto, true, true, X86_64, true, Some("uefi")),
            (Auto, true, true, Arm64, false, Some("uefi")),
            (Auto, true, false, Arm64, false, None),
            (Auto, false, false, X86_64, false, None),
            (Auto, true, false, X86_64, true, None),
            (LegacyBios, true, true, X86_64, false, Some("legacy-bios")),
            (LegacyBios, false, true, X86_64, false, None),
            (LegacyBios, true, true, Arm64, false, None),
            (LegacyBios, true, true, X86_64, true, None),
            (Uefi, true, true, X86_64, false, Some("uefi")),
            (Uefi, true, false, X86_64, false, None),
            (Uefi, false, true, Arm64, false, Some("uefi")),
            (
                UefiPreferred,
                true,
                true,
                X86_64,
                false,
                Some("uefi-preferred"),
            ),
            (UefiPreferred, false, true, X86_64, false, None),
            (UefiPreferred, true, true, Arm64, false, None),
            (UefiPreferred, true, true, X86_64, true, None),
        ];
        for (mode, bios, uefi, architecture, tpm, expected) in all {
            let firmware = SourceFirmware { bios, uefi };
            let found = boot_mode(mode, firmware, architecture, tpm).ok();
            assert_eq!(
                found, expected,
                "{mode:?} {firmware:?} {architecture} {tpm}"
            );
        }
    }

    #[test]
    fn names_with_wildcards_are_no_names() {
        assert!(check_name("machine", "web-1.a_B").is_ok());
        for name in ["", "web*", "a b", "ä", &"x".repeat(65)] {
            assert!(check_name("machine", name).is_err(), "{name:?}");
        }
    }
}

//! RunInstances: everything is checked, then the instance, its interfaces and volumes are made.

use super::cloud::Cloud;
use super::form::{Form, client_token};
use super::id::Kind;
use super::images::Image;
use super::instances::{Instance, InstanceState, reservation};
use super::interfaces::{Interface, InterfaceAttachment, NewInterface, Wish};
use super::launch::{Launch, Nic};
use super::mapping;
use super::network::{letter, zone};
use super::refusal::{bad, combination, missing, value};
use super::tags::TagSpecifications;
use super::types::InstanceType;
use super::volumes;
use super::xml::Xml;
use crate::action::Action;
use crate::chance::{Draw, Setting};
use crate::clock::now_ms;
use crate::error::Refusal;
use crate::surroundings::Subnet;
use crate::world::World;
use hyper::StatusCode;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// An interface of a launch that passed all checks.
#[derive(Debug)]
struct PlannedNic {
    index: u32,
    what: Planned,
    public: bool,
    delete_on_termination: bool,
}

#[derive(Debug)]
enum Planned {
    New(NewInterface),
    Existing(String),
}

/// RunInstances
pub(super) fn run(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let launch = Launch::parse(form)?;
    let tags = TagSpecifications::parse(form, &[Kind::Instance, Kind::Volume, Kind::Interface])?;
    launch.metadata_tags(&tags.of(Kind::Instance))?;
    let token = client_token(form)?;
    let fingerprint = form.fingerprint();
    let mut cloud = world.cloud();
    if let Some(id) = cloud.made(Action::RunInstances, token, &fingerprint)?
        && let Some(instance) = cloud.instances.get(&id)
    {
        form.settle()?;
        let mut xml = Xml::default();
        reservation(&mut xml, instance, world, &cloud, false);
        return Ok(xml);
    }
    let kind = launch.kind;
    let image = cloud.image(&launch.image)?.clone();
    let boot_mode = fits(&image, kind)?;
    launch.check_surroundings(world, &cloud)?;
    let (subnet, nics) = interfaces(world, &cloud, &launch)?;
    place(world, &cloud, &launch, &subnet)?;
    if nics
        .iter()
        .all(|nic| matches!(nic.what, Planned::Existing(_)))
    {
        tags.without(Kind::Interface, "no interface is made")?;
    }
    let mappings = mapping::of_launch(
        world,
        &image.mappings,
        &launch.mappings,
        &image.root_device,
        setting.faults.encryption_by_default,
    )?;
    if let Some(fast) = mappings
        .iter()
        .find(|mapping| mapping.shape.iops.is_some_and(|iops| iops > 32_000) && !kind.is_nitro())
    {
        return Err(combination(format!(
            "{} has more than 32000 IOPS, for which a Nitro instance is needed",
            fast.device
        )));
    }
    Cloud::check_volumes(kind, mappings.len(), nics.len())?;
    form.settle()?;
    if setting.draw(Draw::InsufficientCapacity, Action::RunInstances) {
        let message = format!(
            "We currently do not have sufficient {} capacity in the Availability Zone you requested.",
            kind.name
        );
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return Err(Refusal::new(
            status,
            "InsufficientInstanceCapacity",
            message,
        ));
    }

    // From here on nothing can fail.
    let random = &world.switches.random;
    let id = Kind::Instance.make(random);
    let mut ids = Vec::new();
    let mut primary = None;
    for nic in nics {
        let interface = match nic.what {
            Planned::New(plan) => cloud.make_interface(world, plan, tags.of(Kind::Interface)),
            Planned::Existing(interface) => cloud.interface(&interface)?,
        };
        interface.public = nic.public;
        interface.attachment = Some(InterfaceAttachment {
            id: format!("eni-attach-0{:016x}", random.bits()),
            instance: id.clone(),
            device_index: nic.index,
            delete_on_termination: nic.delete_on_termination,
            since_ms: now_ms(),
        });
        primary = primary.or(interface.addresses.first().copied());
        ids.push(interface.id.clone());
    }
    let zone = zone(world, subnet.zone);
    for mapping in &mappings {
        let volume = volumes::of_mapping(world, mapping, &zone, &id, tags.of(Kind::Volume));
        cloud.volumes.insert(volume.id.clone(), volume);
    }
    let life = setting.faults.life.clone();
    let now = Instant::now();
    let instance = Instance {
        id: id.clone(),
        reservation: format!("r-0{:016x}", random.bits()),
        image: image.id,
        instance_type: kind.name.into(),
        state: InstanceState::Pending,
        state_reason: Some(("pending".into(), "pending".into())),
        architecture: image.architecture,
        boot_mode: image.boot_mode,
        current_boot_mode: boot_mode.into(),
        tpm: image.tpm,
        ena: image.ena,
        root_device: image.root_device,
        subnet: subnet.id,
        vpc: subnet.vpc,
        zone,
        interfaces: ids,
        private_address: primary.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        profile: launch.profile.clone(),
        key_name: launch.key_name.clone(),
        user_data: launch.user_data.clone(),
        tenancy: launch.tenancy.clone(),
        host: launch.host.clone(),
        placement_group: launch.placement_group.clone(),
        partition: launch.partition,
        // Types that are optimized anyway are it without asking.
        ebs_optimized: launch.ebs_optimized,
        metadata: launch.metadata(image.imds_v2),
        cpu_credits: launch.credits(),
        cpu: launch.cpu.unwrap_or((kind.cores(), kind.threads)),
        monitoring: launch.monitoring,
        termination_protection: launch.termination_protection,
        stop_protection: launch.stop_protection,
        shutdown_behavior: launch.shutdown_behavior.clone(),
        client_token: token.map(str::to_owned),
        tags: tags.of(Kind::Instance),
        launched_ms: now_ms(),
        born: now,
        due: now.checked_add(Duration::from_millis(life.pending_ms)),
        fails: setting.draw(Draw::LaunchFails, Action::RunInstances),
        impaired: setting.draw(Draw::Impaired, Action::RunInstances),
        checked: None,
        life,
    };
    cloud.remember(Action::RunInstances, token, fingerprint, &id);
    let mut xml = Xml::default();
    reservation(&mut xml, &instance, world, &cloud, true);
    cloud.instances.insert(id, instance);
    Ok(xml)
}

/// Refuses a type that cannot start the image; how it would boot.
fn fits(image: &Image, kind: &InstanceType) -> Result<&'static str, Refusal> {
    if image.state() != "available" {
        let message = format!("The image ID '{}' is not yet available", image.id);
        return Err(bad("InvalidAMIID.Unavailable", message));
    }
    if image.architecture != kind.architecture() {
        return Err(value(format!(
            "The architecture '{}' of the specified instance type does not match the architecture \
             '{}' of the specified AMI. Specify an instance type and an AMI that have matching \
             architectures, and try again.",
            kind.architecture(),
            image.architecture
        )));
    }
    if image.virtualization != "hvm" && !kind.name.starts_with("m3.") {
        return Err(combination(format!(
            "Virtualization type 'hvm' is required for instances of type '{}'. Ensure that you are \
             using an AMI with virtualization type 'hvm'.",
            kind.name
        )));
    }
    let arm = kind.architecture() == "arm64";
    let modes = kind.boot_modes();
    let mode = match image.boot_mode.as_deref() {
        Some("uefi") => "uefi",
        Some("uefi-preferred") if modes.contains(&"uefi") => "uefi",
        None if arm => "uefi",
        _ => "legacy-bios",
    };
    if !modes.contains(&mode) {
        return Err(value(format!(
            "The {} instance type does not support an AMI with a boot mode of {}. Supported: {}.",
            kind.name,
            if mode == "uefi" {
                "UEFI"
            } else {
                "Legacy BIOS"
            },
            modes.join(", ")
        )));
    }
    if kind.is_nitro() && !image.ena {
        return Err(combination(format!(
            "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{}' \
             instance type. Ensure that you are using an AMI that is enabled for ENA.",
            kind.name
        )));
    }
    if image.tpm && !kind.has_tpm() {
        return Err(combination(format!(
            "The {} instance type does not support NitroTPM.",
            kind.name
        )));
    }
    Ok(mode)
}

/// The interfaces, and the subnet of the primary one.
fn interfaces(
    world: &World,
    cloud: &Cloud,
    launch: &Launch,
) -> Result<(Subnet, Vec<PlannedNic>), Refusal> {
    let kind = launch.kind;
    if launch.nics.len() > kind.interfaces {
        let message = format!(
            "Interface count {} exceeds the limit for {}",
            launch.nics.len(),
            kind.name
        );
        return Err(bad("AttachmentLimitExceeded", message));
    }
    let default = |launch: &Launch| {
        let letter = launch
            .zone
            .as_deref()
            .map(|name| letter(world, cloud, name));
        let letter = letter.transpose()?;
        let vpc = cloud.surroundings.vpcs.first().map(|vpc| vpc.id.as_str());
        let mut subnets = cloud.surroundings.subnets.iter();
        subnets
            .find(|subnet| {
                Some(subnet.vpc.as_str()) == vpc
                    && letter.is_none_or(|letter| subnet.zone == letter)
            })
            .ok_or_else(|| missing("subnetId"))
    };
    let mut taken = BTreeSet::new();
    let mut planned = Vec::new();
    let mut first: Option<Subnet> = None;
    for nic in &launch.nics {
        let count = nic.wish.addresses.len() + nic.wish.more_addresses;
        if count > kind.addresses {
            let message = format!(
                "Number of private addresses ({count}) exceeds the limit of {} for {}",
                kind.addresses, kind.name
            );
            return Err(bad("PrivateIpAddressLimitExceeded", message));
        }
        let (subnet, what) = match &nic.existing {
            Some(id) => {
                let interface = available(cloud, id)?;
                (
                    cloud.subnet(&interface.subnet)?,
                    Planned::Existing(id.clone()),
                )
            }
            None => {
                let subnet = match &nic.subnet {
                    Some(id) => cloud.subnet(id)?,
                    None => default(launch)?,
                };
                let wish: Wish = nic.wish.clone();
                let random = &world.switches.random;
                (
                    subnet,
                    Planned::New(wish.settle(cloud, random, subnet, &mut taken)?),
                )
            }
        };
        let first = first.get_or_insert_with(|| subnet.clone());
        if first.zone != subnet.zone {
            return Err(combination(
                "All network interfaces of an instance must be in the same availability zone",
            ));
        }
        planned.push(planned_nic(nic, subnet, what));
    }
    // There is always the primary one.
    let first = first.ok_or_else(|| missing("networkInterface"))?;
    Ok((first, planned))
}

fn planned_nic(nic: &Nic, subnet: &Subnet, what: Planned) -> PlannedNic {
    let new = matches!(what, Planned::New(_));
    PlannedNic {
        index: nic.index,
        what,
        public: nic.public.unwrap_or(new && nic.index == 0 && subnet.public),
        delete_on_termination: nic.delete_on_termination.unwrap_or(new),
    }
}

/// The interface of that id, if nothing uses it.
fn available<'a>(cloud: &'a Cloud, id: &str) -> Result<&'a Interface, Refusal> {
    let interface = cloud.interface_ref(id)?;
    if interface.attachment.is_some() {
        let message = format!("Interface: [{id}] in use.");
        return Err(bad("InvalidNetworkInterface.InUse", message));
    }
    Ok(interface)
}

/// Refuses a placement that does not go with the subnet, or with itself.
fn place(world: &World, cloud: &Cloud, launch: &Launch, subnet: &Subnet) -> Result<(), Refusal> {
    if let Some(name) = &launch.zone
        && letter(world, cloud, name)? != subnet.zone
    {
        return Err(value(format!(
            "The specified subnet {} is not in the availability zone {name}",
            subnet.id
        )));
    }
    if let Some(id) = &launch.host {
        let mut hosts = cloud.surroundings.hosts.iter();
        let Some(host) = hosts.find(|host| host.id == *id) else {
            let message = format!("The host ID '{id}' does not exist");
            return Err(bad("InvalidHostID.NotFound", message));
        };
        if host.zone != subnet.zone {
            return Err(value(format!(
                "The host {id} is not in the zone of the subnet {}",
                subnet.id
            )));
        }
    }
    Ok(())
}

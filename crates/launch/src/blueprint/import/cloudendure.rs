//! The resource `blueprints` of CloudEndure's API, version 5.

use super::fields::Fields;
use super::{Imported, machine_name};
use crate::blueprint::{
    Blueprint, BootMode, CopyOrigin, Disk, Disposition, Fitting, Interface, Metadata,
    PlacementGroup, PrivateIpAction, PublicIp, Tenancy, TypeChoice, VolumeType,
};
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

/// Fields that a blueprint of it has and nothing else.
pub(super) fn is_one(map: &Map<String, Value>) -> bool {
    let known = [
        "machineId",
        "instanceType",
        "privateIPAction",
        "subnetIDs",
        "securityGroupIDs",
    ];
    known.iter().any(|field| map.contains_key(*field))
}

/// Why fields that are left over are.
const REASONS: &[(&str, &str)] = &[
    ("id", "the blueprint's number in CloudEndure"),
    ("machineId", "the machine's number in CloudEndure"),
    (
        "recommendedInstanceType",
        "a recommendation; instance.type decides",
    ),
    (
        "recommendedPrivateIP",
        "a recommendation; privateIps decide",
    ),
    (
        "launchOnInstanceId",
        "rehost makes a new instance at each launch",
    ),
    ("useSharedRam", "for targets that are not EC2"),
    ("cpus", "for targets that are not EC2"),
    ("coresPerCpu", "for targets that are not EC2"),
    ("mbRam", "for targets that are not EC2"),
    ("scsiAdapterType", "for targets that are not EC2"),
    ("networkAdapterType", "for targets that are not EC2"),
    ("computeLocationId", "for targets that are not EC2"),
    ("logicalLocationId", "for targets that are not EC2"),
    ("subnetsHostProject", "for targets that are not EC2"),
];

pub(super) fn import(map: Map<String, Value>, at: usize) -> Imported {
    let mut notes = Vec::new();
    let id = map.get("machineId").and_then(Value::as_str);
    let fallback = id.map_or_else(|| format!("machine-{}", at + 1), machine_name);
    let mut fields = Fields::new("", map, &mut notes);
    let mut blueprint = Blueprint::of_machine(machine(&mut fields, fallback));
    region(&mut fields, &mut blueprint);
    instance(&mut fields, &mut blueprint);
    let interface = interface(&mut fields);
    if interface != Interface::default() {
        blueprint.network.interfaces.push(interface);
    }
    blueprint.iam.instance_profile = fields.text("iamRole");
    tags(&mut fields, &mut blueprint);
    for (path, disk) in fields.objects("disks") {
        let mut made = Disk::default();
        fields.inside(path, disk, |fields| made = self::disk(fields));
        blueprint.disks.push(made);
    }
    match fields.bool("runAfterLaunch") {
        Some(false) => blueprint.launch.disposition = Disposition::Stopped,
        Some(true) | None => {}
    }
    if fields.bool("forceUEFI") == Some(true) {
        blueprint.boot.mode = BootMode::Uefi;
    }
    if let Some(byol) = fields.bool("byolOnDedicatedInstance") {
        blueprint.licensing.byol = byol.then_some(true);
    }
    fields.end(REASONS);
    Imported {
        blueprint,
        from: "a blueprint of CloudEndure",
        notes,
    }
}

fn machine(fields: &mut Fields<'_>, fallback: String) -> Metadata {
    let mut machine = fallback;
    if let Some(name) = fields.text("machineName") {
        let plain = machine_name(&name);
        if plain != name {
            let why = format!("the machine is called {plain} here");
            fields.note("machineName", name, why);
        }
        if !plain.is_empty() {
            machine = plain;
        }
    }
    Metadata {
        machine,
        ..Metadata::default()
    }
}

fn region(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    let Some(region) = fields.text("region") else {
        return;
    };
    // CloudEndure names its own objects, by UUID; some clients put the region's name there.
    let last = region.rsplit('-').next().unwrap_or_default();
    let is_name = region.matches('-').count() >= 2
        && region.len() <= 20
        && (1..=2).contains(&last.len())
        && last.bytes().all(|digit| digit.is_ascii_digit());
    if is_name {
        blueprint.region = Some(region);
    } else {
        let why = "the number of a region in CloudEndure; write its name into `region`";
        fields.note("region", region, why);
    }
}

fn instance(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    let instance = &mut blueprint.instance;
    match fields.text("instanceType").as_deref() {
        None => {}
        Some("COPY_ORIGIN") => {
            instance.choice = Some(TypeChoice::CopyOrigin(CopyOrigin::CopyOrigin));
        }
        Some("CUSTOM") => match (fields.number("cpus"), fields.number("mbRam")) {
            (Some(min_vcpu), Some(mib)) => {
                instance.choice = Some(TypeChoice::Fitting(Fitting {
                    min_vcpu,
                    min_mem_mib: u64::from(mib),
                    arch: None,
                }));
            }
            (cpus, mib) => {
                let why = "cpus and mbRam do not both say what; write `instance: {type: …}`";
                fields.note("instanceType", "CUSTOM", why);
                for (name, value) in [("cpus", cpus), ("mbRam", mib)] {
                    if let Some(value) = value {
                        fields.note(name, value, "half of a custom instance type");
                    }
                }
            }
        },
        Some(name) => instance.choice = Some(TypeChoice::Named(name.to_owned())),
    }
    instance.placement_group = fields.text("placementGroup").map(|name| PlacementGroup {
        name,
        partition: None,
    });
    match fields.text("tenancy").as_deref() {
        None | Some("SHARED") => {}
        Some("DEDICATED") => instance.tenancy = Tenancy::Dedicated,
        Some("HOST") => instance.tenancy = Tenancy::Host,
        Some(other) => fields.note("tenancy", other, "no tenancy that is known"),
    }
    instance.host_id = fields.text("dedicatedHostIdentifier");
}

fn interface(fields: &mut Fields<'_>) -> Interface {
    let mut interface = Interface {
        eni_id: fields.text("networkInterface"),
        security_group_ids: fields.texts("securityGroupIDs"),
        ..Interface::default()
    };
    let mut subnets = fields.texts("subnetIDs").into_iter();
    interface.subnet_id = subnets.next();
    for other in subnets {
        fields.note(
            "subnetIDs",
            other,
            "the target gets one interface, in the first subnet",
        );
    }
    for address in fields.texts("privateIPs") {
        match address.parse::<Ipv4Addr>() {
            Ok(address) => interface.private_ips.push(address),
            Err(_) => fields.note("privateIPs", address, "this is no IPv4 address"),
        }
    }
    interface.private_ip_action = match fields.text("privateIPAction").as_deref() {
        None => None,
        Some("CREATE_NEW") => Some(PrivateIpAction::CreateNew),
        Some("COPY_ORIGIN") => Some(PrivateIpAction::CopyOrigin),
        Some("CUSTOM_IP") => Some(PrivateIpAction::Custom),
        Some("USE_NETWORK_INTERFACE") => Some(PrivateIpAction::UseEni),
        Some(other) => {
            fields.note("privateIPAction", other, "no action that is known");
            None
        }
    };
    // CloudEndure keeps what the chosen action does not look at.
    let action = interface.private_ip_action();
    if action != PrivateIpAction::Custom {
        for address in std::mem::take(&mut interface.private_ips) {
            let why = "privateIPAction does not use it";
            fields.note("privateIPs", address.to_string(), why);
        }
    }
    if action != PrivateIpAction::UseEni {
        if let Some(eni) = interface.eni_id.take() {
            fields.note("networkInterface", eni, "privateIPAction does not use it");
        }
    } else {
        let why = "the network interface has it";
        if let Some(subnet) = interface.subnet_id.take() {
            fields.note("subnetIDs", subnet, why);
        }
        for group in std::mem::take(&mut interface.security_group_ids) {
            fields.note("securityGroupIDs", group, why);
        }
    }
    match fields.text("publicIPAction").as_deref() {
        None | Some("AS_SUBNET") => {}
        Some("ALLOCATE") => interface.public_ip = PublicIp::Yes,
        Some("DONT_ALLOCATE") => interface.public_ip = PublicIp::No,
        Some(other) => fields.note("publicIPAction", other, "no action that is known"),
    }
    static_address(fields, &mut interface);
    if let Some(action) = fields.text("securityGroupAction") {
        let why = "rehost makes no security groups; list them in securityGroupIds";
        fields.note("securityGroupAction", action, why);
    }
    interface
}

fn static_address(fields: &mut Fields<'_>, interface: &mut Interface) {
    let address = fields.text("staticIp");
    match fields.text("staticIpAction").as_deref() {
        Some("EXISTING") => match address {
            Some(id) if id.starts_with("eipalloc-") => {
                interface.eip_allocation_id = Some(id);
                // The Elastic IP address takes the place of the public one.
                if interface.public_ip == PublicIp::Yes {
                    interface.public_ip = PublicIp::Auto;
                    let why = "the Elastic IP address takes its place";
                    fields.note("publicIPAction", "ALLOCATE", why);
                }
            }
            Some(address) => {
                let why = "write the id of its allocation into eipAllocationId";
                fields.note("staticIp", address, why);
            }
            None => fields.note("staticIpAction", "EXISTING", "no address is named"),
        },
        Some("DONT_CREATE") | None => {
            if let Some(address) = address {
                fields.note("staticIp", address, "staticIpAction does not use it");
            }
        }
        Some(other) => {
            let why = "rehost makes no Elastic IP addresses; name one in eipAllocationId";
            fields.note("staticIpAction", other, why);
            if let Some(address) = address {
                fields.note("staticIp", address, "staticIpAction does not use it");
            }
        }
    }
}

fn tags(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    for (path, tag) in fields.objects("tags") {
        fields.inside(path, tag, |fields| {
            let value = fields.text("value").unwrap_or_default();
            let Some(key) = fields.text("key") else {
                return;
            };
            if let Some(before) = blueprint.tags.insert(key, value) {
                fields.note("value", before, "a later tag has the same key");
            }
        });
    }
}

fn disk(fields: &mut Fields<'_>) -> Disk {
    let mut disk = Disk::default();
    if let Some(name) = fields.text("name") {
        let why = "the name of the source's disk: the order of the list says which it is";
        fields.note("name", name, why);
    }
    disk.volume_type = match fields.text("type").as_deref() {
        None | Some("COPY_ORIGIN") => None,
        Some("STANDARD") => Some(VolumeType::Standard),
        Some("SSD" | "GP2" | "SSD_GP2") => Some(VolumeType::Gp2),
        Some("SSD_GP3" | "GP3") => Some(VolumeType::Gp3),
        Some("PROVISIONED_SSD" | "IO1") => Some(VolumeType::Io1),
        Some("PROVISIONED_SSD_IO2" | "IO2") => Some(VolumeType::Io2),
        Some("ST1") => Some(VolumeType::St1),
        Some("SC1") => Some(VolumeType::Sc1),
        Some(other) => {
            fields.note("type", other, "no volume type that is known");
            None
        }
    };
    let provisioned = matches!(
        disk.volume_type(),
        VolumeType::Gp3 | VolumeType::Io1 | VolumeType::Io2
    );
    // CloudEndure keeps 0, and numbers of a type that was chosen before.
    disk.iops = match fields.number("iops") {
        Some(iops) if iops > 0 && provisioned => Some(iops),
        Some(iops) if iops > 0 => {
            fields.note("iops", iops, "this volume type takes no IOPS");
            None
        }
        _ => None,
    };
    disk.throughput = match fields.number("throughput") {
        Some(rate) if rate > 0 && disk.volume_type() == VolumeType::Gp3 => Some(rate),
        Some(rate) if rate > 0 => {
            let why = "the throughput of this volume type cannot be chosen";
            fields.note("throughput", rate, why);
            None
        }
        _ => None,
    };
    disk
}

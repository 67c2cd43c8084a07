//! The data of an EC2 launch template.

use super::Error;
use super::fields::Fields;
use crate::blueprint::{
    Blueprint, CpuCredits, CpuOptions, Disk, Fitting, HttpTokens, Interface, PlacementGroup,
    PublicIp, Role, Tenancy, TypeChoice, VolumeType,
};
use base64::Engine;
use serde_json::{Map, Value};

/// What the notes call the template.
const NAME: &str = "template";

/// The data alone, or that of the default version, else the last one, of an answer.
pub(super) fn data(mut document: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    if let Some(Value::Array(versions)) = document.remove("LaunchTemplateVersions") {
        let number = |version: &&Value| {
            let default = version["DefaultVersion"].as_bool().unwrap_or_default();
            (default, version["VersionNumber"].as_u64())
        };
        let version = versions.iter().max_by_key(number);
        let data = version.and_then(|version| version["LaunchTemplateData"].as_object());
        return data.cloned().ok_or(Error::NoTemplate);
    }
    match document.remove("LaunchTemplateData") {
        Some(Value::Object(data)) => return Ok(data),
        Some(_) => return Err(Error::NoTemplate),
        None => {}
    }
    // Names of fields of EC2 begin with a capital.
    let is_data = !document.is_empty()
        && document
            .keys()
            .all(|key| key.starts_with(|letter: char| letter.is_ascii_uppercase()));
    is_data.then_some(document).ok_or(Error::NoTemplate)
}

/// Puts the data of a template into a blueprint.
pub(super) fn apply(data: Map<String, Value>, above: &mut Fields<'_>, blueprint: &mut Blueprint) {
    above.inside(NAME.to_owned(), data, |fields| {
        instance(fields, blueprint);
        placement(fields, blueprint);
        for (path, mapping) in fields.objects("BlockDeviceMappings") {
            fields.inside(path, mapping, |fields| {
                if let Some(disk) = disk(fields) {
                    blueprint.disks.push(disk);
                }
            });
        }
        for (path, one) in fields.objects("NetworkInterfaces") {
            let mut made = Interface::default();
            fields.inside(path, one, |fields| made = interface(fields));
            blueprint.network.interfaces.push(made);
        }
        let groups = fields.texts("SecurityGroupIds");
        if !groups.is_empty() {
            let interfaces = &mut blueprint.network.interfaces;
            if interfaces.is_empty() {
                interfaces.push(Interface::default());
            }
            if let Some(first) = interfaces.first_mut() {
                first.security_group_ids.extend(groups);
            }
        }
        tags(fields, blueprint);
        if let Some(data) = fields.text("UserData") {
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(&data).ok();
            match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(text) => blueprint.launch.user_data = Some(text),
                None => fields.note("UserData", data, "this is not text in base64"),
            }
        }
        if let Some(image) = fields.text("ImageId") {
            let why = "rehost registers an image of its own from the converted disks";
            fields.note("ImageId", image, why);
        }
    });
}

fn instance(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    let instance = &mut blueprint.instance;
    instance.choice = fields.text("InstanceType").map(TypeChoice::Named);
    fields.object("InstanceRequirements", |fields| {
        let (mut cpus, mut memory) = (None, None);
        fields.object("VCpuCount", |fields| cpus = fields.number("Min"));
        fields.object("MemoryMiB", |fields| memory = fields.number("Min"));
        if let (Some(min_vcpu), Some(mib), None) = (cpus, memory, &instance.choice) {
            instance.choice = Some(TypeChoice::Fitting(Fitting {
                min_vcpu: min_vcpu.max(1),
                min_mem_mib: u64::from(mib).max(1),
                arch: None,
            }));
            return;
        }
        let why = "instance.type decides";
        for (name, value) in [("VCpuCount.Min", cpus), ("MemoryMiB.Min", memory)] {
            if let Some(value) = value {
                fields.note(name, value, why);
            }
        }
    });
    instance.ebs_optimized = fields.bool("EbsOptimized");
    fields.object("CpuOptions", |fields| {
        let (cores, threads) = (fields.number("CoreCount"), fields.number("ThreadsPerCore"));
        match (cores, threads) {
            (Some(core_count), Some(threads_per_core)) => {
                instance.cpu_options = Some(CpuOptions {
                    core_count,
                    threads_per_core,
                });
            }
            (cores, threads) => {
                for (name, value) in [("CoreCount", cores), ("ThreadsPerCore", threads)] {
                    if let Some(value) = value {
                        fields.note(name, value, "cores and threads have to be there both");
                    }
                }
            }
        }
    });
    fields.object("CreditSpecification", |fields| {
        instance.credit_specification = match fields.text("CpuCredits").as_deref() {
            Some("standard") => Some(CpuCredits::Standard),
            Some("unlimited") => Some(CpuCredits::Unlimited),
            Some(other) => {
                fields.note("CpuCredits", other, "no word that is known");
                None
            }
            None => None,
        };
    });
    fields.object("IamInstanceProfile", |fields| {
        let (arn, name) = (fields.text("Arn"), fields.text("Name"));
        blueprint.iam.instance_profile = arn.or(name);
    });
    blueprint.launch.key_name = fields.text("KeyName");
    blueprint.launch.termination_protection =
        fields.bool("DisableApiTermination").unwrap_or_default();
    fields.object("MetadataOptions", |fields| {
        let options = &mut blueprint.metadata_options;
        options.http_tokens = match fields.text("HttpTokens").as_deref() {
            Some("required") => Some(HttpTokens::Required),
            Some("optional") => Some(HttpTokens::Optional),
            Some(other) => {
                fields.note("HttpTokens", other, "no word that is known");
                None
            }
            None => None,
        };
        let hops = fields.number("HttpPutResponseHopLimit");
        options.hop_limit = hops.and_then(|hops| u8::try_from(hops).ok());
        options.instance_tags = match fields.text("InstanceMetadataTags").as_deref() {
            Some("enabled") => Some(true),
            Some("disabled") => Some(false),
            Some(other) => {
                fields.note("InstanceMetadataTags", other, "no word that is known");
                None
            }
            None => None,
        };
    });
}

fn placement(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    fields.object("Placement", |fields| {
        if let Some(zone) = fields.text("AvailabilityZone") {
            let region = zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
            blueprint.region = Some(region.to_owned());
            blueprint.availability_zone = Some(zone);
        }
        let instance = &mut blueprint.instance;
        match fields.text("Tenancy").as_deref() {
            None | Some("default") => {}
            Some("dedicated") => instance.tenancy = Tenancy::Dedicated,
            Some("host") => instance.tenancy = Tenancy::Host,
            Some(other) => fields.note("Tenancy", other, "no tenancy that is known"),
        }
        instance.host_id = fields.text("HostId");
        let partition = fields.number("PartitionNumber");
        match fields.text("GroupName") {
            Some(name) => {
                let partition = partition.and_then(|number| u8::try_from(number).ok());
                instance.placement_group = Some(PlacementGroup { name, partition });
            }
            None => {
                if let Some(number) = partition {
                    fields.note("PartitionNumber", number, "no placement group is named");
                }
            }
        }
    });
}

fn disk(fields: &mut Fields<'_>) -> Option<Disk> {
    let name = fields.text("DeviceName");
    let mut made = None;
    fields.object("Ebs", |fields| {
        let is_root = matches!(name.as_deref(), Some("/dev/sda1" | "/dev/xvda"));
        let mut disk = Disk {
            role: is_root.then_some(Role::Root),
            size_gib: fields.number("VolumeSize"),
            iops: fields.number("Iops"),
            throughput: fields.number("Throughput"),
            encrypted: fields.bool("Encrypted"),
            kms_key_id: fields.text("KmsKeyId"),
            delete_on_termination: fields.bool("DeleteOnTermination"),
            volume_initialization_rate: fields.number("VolumeInitializationRate"),
            ..Disk::default()
        };
        disk.volume_type = match fields.text("VolumeType").as_deref() {
            None => None,
            Some("gp3") => Some(VolumeType::Gp3),
            Some("gp2") => Some(VolumeType::Gp2),
            Some("io1") => Some(VolumeType::Io1),
            Some("io2") => Some(VolumeType::Io2),
            Some("st1") => Some(VolumeType::St1),
            Some("sc1") => Some(VolumeType::Sc1),
            Some("standard") => Some(VolumeType::Standard),
            Some(other) => {
                fields.note("VolumeType", other, "no volume type that is known");
                None
            }
        };
        if let Some(snapshot) = fields.text("SnapshotId") {
            let why = "disks are made from the converted snapshots";
            fields.note("SnapshotId", snapshot, why);
        }
        made = Some(disk);
    });
    match (&mut made, name) {
        (Some(disk), name) => disk.device_name = name,
        (None, Some(name)) => fields.note("DeviceName", name, "this is no volume of EBS"),
        (None, None) => {}
    }
    made
}

fn interface(fields: &mut Fields<'_>) -> Interface {
    let mut interface = Interface {
        device_index: fields.number("DeviceIndex"),
        subnet_id: fields.text("SubnetId"),
        eni_id: fields.text("NetworkInterfaceId"),
        security_group_ids: fields.texts("Groups"),
        ..Interface::default()
    };
    interface.public_ip = match fields.bool("AssociatePublicIpAddress") {
        None => PublicIp::Auto,
        Some(true) => PublicIp::Yes,
        Some(false) => PublicIp::No,
    };
    let mut addresses = Vec::new();
    addresses.extend(fields.text("PrivateIpAddress"));
    for (path, one) in fields.objects("PrivateIpAddresses") {
        fields.inside(path, one, |fields| {
            let primary = fields.bool("Primary").unwrap_or_default();
            let Some(address) = fields.text("PrivateIpAddress") else {
                return;
            };
            addresses.retain(|other| *other != address);
            let at = if primary { 0 } else { addresses.len() };
            addresses.insert(at, address);
        });
    }
    for address in addresses {
        match address.parse() {
            Ok(address) => interface.private_ips.push(address),
            Err(_) => fields.note("PrivateIpAddress", address, "this is no IPv4 address"),
        }
    }
    for (path, one) in fields.objects("Ipv6Addresses") {
        fields.inside(path, one, |fields| {
            let Some(address) = fields.text("Ipv6Address") else {
                return;
            };
            match address.parse() {
                Ok(address) => interface.ipv6.push(address),
                Err(_) => fields.note("Ipv6Address", address, "this is no IPv6 address"),
            }
        });
    }
    interface
}

/// Tags of instances and volumes are those of the machine; where they differ, the instance's stay.
fn tags(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    for (path, specification) in fields.objects("TagSpecifications") {
        fields.inside(path, specification, |fields| {
            let of = fields.text("ResourceType").unwrap_or_default();
            for (path, tag) in fields.objects("Tags") {
                fields.inside(path, tag, |fields| {
                    let value = fields.text("Value").unwrap_or_default();
                    let Some(key) = fields.text("Key") else {
                        return;
                    };
                    if key.starts_with("aws:") {
                        fields.note("Key", key, "a tag of AWS's own");
                        return;
                    }
                    match blueprint.tags.get(&key) {
                        Some(same) if *same == value => {}
                        Some(_) if of != "instance" => {
                            let why = format!("tag {key} of {of}: the instance has another value");
                            fields.note("Value", value, why);
                        }
                        _ => {
                            if let Some(before) = blueprint.tags.insert(key.clone(), value) {
                                let why = format!("tag {key}: the instance has another value");
                                fields.note("Value", before, why);
                            }
                        }
                    }
                });
            }
        });
    }
}

//! The parameters of RunInstances, checked as far as they can be without looking around.

use super::cloud::Cloud;
use super::form::{Form, Scope};
use super::instances::Metadata;
use super::interfaces::Wish;
use super::mapping;
use super::refusal::{bad, combination, missing, value};
use super::types::InstanceType;
use crate::error::Refusal;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet};

/// The most user data, before base64.
const USER_DATA: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Launch {
    pub(super) image: String,
    pub(super) kind: &'static InstanceType,
    pub(super) nics: Vec<Nic>,
    pub(super) mappings: Vec<mapping::Wish>,
    pub(super) profile: Option<String>,
    /// The instance profile's ARN, whose account is still to be compared.
    profile_arn: Option<String>,
    pub(super) key_name: Option<String>,
    pub(super) user_data: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) tenancy: String,
    pub(super) host: Option<String>,
    pub(super) placement_group: Option<String>,
    pub(super) partition: Option<u32>,
    pub(super) ebs_optimized: bool,
    tokens: Option<String>,
    hop_limit: Option<u8>,
    endpoint: Option<String>,
    instance_tags: bool,
    credits: Option<String>,
    pub(super) cpu: Option<(u32, u32)>,
    pub(super) monitoring: bool,
    pub(super) termination_protection: bool,
    pub(super) stop_protection: bool,
    pub(super) shutdown_behavior: String,
}

/// An interface as the request has it.
#[derive(Debug)]
pub(super) struct Nic {
    pub(super) index: u32,
    pub(super) existing: Option<String>,
    pub(super) subnet: Option<String>,
    pub(super) wish: Wish,
    pub(super) public: Option<bool>,
    pub(super) delete_on_termination: Option<bool>,
}

impl Launch {
    pub(super) fn parse(form: &Form) -> Result<Launch, Refusal> {
        let all = form.whole();
        for name in ["MinCount", "MaxCount"] {
            let count: Option<u32> = all.parse(name)?;
            match count {
                Some(1) => {}
                None => return Err(missing(name)),
                Some(count) => {
                    let message = format!("Value ({count}) for {name}: this fake launches one");
                    return Err(value(message));
                }
            }
        }
        let image = all.needed("ImageId")?.to_owned();
        let name = all.get("InstanceType").unwrap_or("m1.small");
        let kind = InstanceType::find(name)
            .ok_or_else(|| value(format!("Invalid value '{name}' for InstanceType.")))?;
        let placement = all.inside("Placement");
        let placement = placement.as_ref();
        let text = |name: &str| placement.and_then(|it| it.text(name));
        let host = text("HostId");
        let tenancy = match placement {
            Some(it) => it.word("Tenancy", &["default", "dedicated", "host"])?,
            None => None,
        };
        if host.is_some() && tenancy.as_ref().is_some_and(|tenancy| tenancy != "host") {
            return Err(combination("HostId needs the tenancy host"));
        }
        let tenancy =
            tenancy.unwrap_or_else(|| if host.is_some() { "host" } else { "default" }.into());
        let partition: Option<u32> = match placement {
            Some(it) => it.parse("PartitionNumber")?,
            None => None,
        };
        let ebs_optimized = all.flag("EbsOptimized")?.unwrap_or(false);
        if ebs_optimized && !kind.can_be_ebs_optimized() {
            return Err(bad(
                "Unsupported",
                "EBS-optimized instances are not supported for your requested configuration.",
            ));
        }
        let metadata = all.inside("MetadataOptions");
        let metadata = metadata.as_ref();
        let word = |name: &str, words: &[&str]| match metadata {
            Some(it) => it.word(name, words),
            None => Ok(None),
        };
        let switch = ["enabled", "disabled"];
        let tokens = word("HttpTokens", &["optional", "required"])?;
        let endpoint = word("HttpEndpoint", &switch)?;
        word("HttpProtocolIpv6", &switch)?;
        let instance_tags = word("InstanceMetadataTags", &switch)?;
        let hop_limit: Option<u8> = match metadata {
            Some(it) => it.parse("HttpPutResponseHopLimit")?,
            None => None,
        };
        if hop_limit.is_some_and(|hops| !(1..=64).contains(&hops)) {
            return Err(value("HttpPutResponseHopLimit must be 1 to 64"));
        }
        let (profile, profile_arn) = profile(&all)?;
        Ok(Launch {
            image,
            kind,
            nics: nics(&all)?,
            mappings: mapping::wishes(&all)?,
            profile,
            profile_arn,
            key_name: all.text("KeyName"),
            user_data: user_data(&all)?,
            zone: text("AvailabilityZone"),
            tenancy,
            host,
            placement_group: text("GroupName"),
            partition,
            ebs_optimized,
            tokens,
            hop_limit,
            endpoint,
            instance_tags: instance_tags.is_some_and(|word| word == "enabled"),
            credits: credits(&all, kind)?,
            cpu: cpu(&all, kind)?,
            monitoring: match all.inside("Monitoring") {
                Some(it) => it.flag("Enabled")?.unwrap_or(false),
                None => false,
            },
            termination_protection: all.flag("DisableApiTermination")?.unwrap_or(false),
            stop_protection: all.flag("DisableApiStop")?.unwrap_or(false),
            shutdown_behavior: all
                .word("InstanceInitiatedShutdownBehavior", &["stop", "terminate"])?
                .unwrap_or_else(|| "stop".into()),
        })
    }

    /// Refuses names that the account does not have.
    pub(super) fn check_surroundings(&self, world: &World, cloud: &Cloud) -> Result<(), Refusal> {
        let all = &cloud.surroundings;
        if let Some(name) = &self.key_name {
            cloud.key_pair(name)?;
        }
        if let Some(name) = &self.profile
            && !all.profiles.contains(name)
        {
            return Err(value(format!(
                "Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM \
                 Instance Profile name"
            )));
        }
        if let Some(arn) = &self.profile_arn {
            let own = format!("arn:aws:iam::{}:instance-profile/", world.config.account);
            if !arn.starts_with(&own) {
                return Err(value(format!(
                    "Value ({arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM \
                     Instance Profile ARN"
                )));
            }
        }
        let group = self.placement_group.as_ref().map(|name| {
            let mut groups = all.placement_groups.iter();
            groups.find(|group| group.name == *name).ok_or_else(|| {
                let message = format!("The Placement Group '{name}' is unknown.");
                bad("InvalidPlacementGroup.Unknown", message)
            })
        });
        let partitions = group.transpose()?.map_or(0, |group| group.partitions);
        match self.partition {
            Some(number) if partitions == 0 => Err(combination(format!(
                "PartitionNumber {number} needs a placement group with partitions"
            ))),
            Some(number) if !(1..=partitions).contains(&number) => Err(value(format!(
                "The partition number {number} is not 1 to {partitions}"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses tag keys that cannot be shown in the metadata, if they are to be.
    pub(super) fn metadata_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
        let plain = |symbol: char| symbol.is_ascii_alphanumeric() || "-_+=,.@:".contains(symbol);
        let bad = tags
            .keys()
            .find(|key| [".", "..", "_index"].contains(&key.as_str()) || !key.chars().all(plain));
        match bad {
            Some(key) if self.instance_tags => Err(value(format!(
                "'{key}' is not a valid tag key. Tag keys must match pattern \
                 ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', '_index')"
            ))),
            _ => Ok(()),
        }
    }

    /// The metadata options; an image may want IMDSv2, whose defaults are stricter.
    pub(super) fn metadata(&self, strict: bool) -> Metadata {
        let (tokens, hops) = if strict {
            ("required", 2)
        } else {
            ("optional", 1)
        };
        Metadata {
            tokens: self.tokens.clone().unwrap_or_else(|| tokens.into()),
            hop_limit: self.hop_limit.unwrap_or(hops),
            endpoint: self.endpoint.clone().unwrap_or_else(|| "enabled".into()),
            tags: if self.instance_tags {
                "enabled"
            } else {
                "disabled"
            }
            .into(),
        }
    }

    /// T2 is standard by default, its successors are unlimited.
    pub(super) fn credits(&self) -> Option<String> {
        let default = if self.kind.is_nitro() {
            "unlimited"
        } else {
            "standard"
        };
        self.kind
            .is_burstable()
            .then(|| self.credits.clone().unwrap_or_else(|| default.into()))
    }
}

fn profile(all: &Scope<'_>) -> Result<(Option<String>, Option<String>), Refusal> {
    let Some(profile) = all.inside("IamInstanceProfile") else {
        return Ok((None, None));
    };
    match (profile.text("Name"), profile.text("Arn")) {
        (Some(_), Some(_)) => Err(combination(
            "The parameter 'iamInstanceProfile.name' may not be used in combination with \
             'iamInstanceProfile.arn'",
        )),
        (None, Some(arn)) => {
            let name = arn.rsplit('/').next().map(str::to_owned);
            Ok((name, Some(arn)))
        }
        (name, None) => Ok((name, None)),
    }
}

fn user_data(all: &Scope<'_>) -> Result<Option<String>, Refusal> {
    let Some(data) = all.text("UserData") else {
        return Ok(None);
    };
    let Ok(bytes) = STANDARD.decode(&data) else {
        return Err(value("Invalid BASE64 encoding of user data."));
    };
    if bytes.len() > USER_DATA {
        return Err(value(format!("User data is limited to {USER_DATA} bytes")));
    }
    Ok(Some(data))
}

fn credits(all: &Scope<'_>, kind: &InstanceType) -> Result<Option<String>, Refusal> {
    let Some(credits) = all.inside("CreditSpecification") else {
        return Ok(None);
    };
    let credits = credits.word("CpuCredits", &["standard", "unlimited"])?;
    if !kind.is_burstable() {
        return Err(combination(format!(
            "The credit specification is not supported for {}: only for burstable types",
            kind.name
        )));
    }
    Ok(credits)
}

fn cpu(all: &Scope<'_>, kind: &InstanceType) -> Result<Option<(u32, u32)>, Refusal> {
    let Some(cpu) = all.inside("CpuOptions") else {
        return Ok(None);
    };
    let (cores, threads): (Option<u32>, Option<u32>) =
        (cpu.parse("CoreCount")?, cpu.parse("ThreadsPerCore")?);
    let (Some(cores), Some(threads)) = (cores, threads) else {
        return Err(missing(
            "CpuOptions.CoreCount and CpuOptions.ThreadsPerCore",
        ));
    };
    if kind.is_metal() || !kind.is_nitro() {
        return Err(combination(format!(
            "CPU options are not supported for {}",
            kind.name
        )));
    }
    if !(1..=kind.cores()).contains(&cores) || !(1..=kind.threads).contains(&threads) {
        return Err(value(format!(
            "{cores} cores with {threads} threads are not valid for {}: it has {} with {}",
            kind.name,
            kind.cores(),
            kind.threads
        )));
    }
    Ok(Some((cores, threads)))
}

/// The interfaces: those of `NetworkInterface.N`, or the one that the request describes itself.
fn nics(all: &Scope<'_>) -> Result<Vec<Nic>, Refusal> {
    let subnet = all.text("SubnetId");
    let groups: Vec<String> = all
        .list("SecurityGroupId")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let address = all.parse("PrivateIpAddress")?;
    let items = all.items("NetworkInterface");
    if items.is_empty() {
        if address.is_some() && subnet.is_none() {
            return Err(combination(
                "A private IP address can be specified only with a subnet",
            ));
        }
        return Ok(vec![Nic {
            index: 0,
            existing: None,
            subnet,
            wish: Wish {
                addresses: address.into_iter().collect(),
                security_groups: groups,
                ..Wish::default()
            },
            public: None,
            delete_on_termination: None,
        }]);
    }
    if subnet.is_some() || address.is_some() || !groups.is_empty() {
        return Err(combination(
            "Network interfaces and an instance-level subnet ID, private IP address or security \
             groups may not be specified on the same request",
        ));
    }
    let mut nics = Vec::new();
    for item in &items {
        nics.push(nic(item)?);
    }
    let indexes: BTreeSet<u32> = nics.iter().map(|nic| nic.index).collect();
    if indexes.len() != nics.len() {
        return Err(value(
            "Each network interface requires a unique device index",
        ));
    }
    if !indexes.contains(&0) {
        return Err(bad(
            "UnsupportedOperation",
            "When specifying network interfaces, you must include a device at index 0.",
        ));
    }
    if nics.len() > 1 && nics.iter().any(|nic| nic.public == Some(true)) {
        return Err(combination(
            "The associatePublicIPAddress parameter cannot be specified when launching with \
             multiple network interfaces.",
        ));
    }
    nics.sort_by_key(|nic| nic.index);
    Ok(nics)
}

fn nic(item: &Scope<'_>) -> Result<Nic, Refusal> {
    let index: Option<u32> = item.parse("DeviceIndex")?;
    let index = index.ok_or_else(|| value(format!("{} requires a device index", item.name())))?;
    let nic = Nic {
        index,
        existing: item.text("NetworkInterfaceId"),
        subnet: item.text("SubnetId"),
        wish: Wish::parse(item)?,
        public: item.flag("AssociatePublicIpAddress")?,
        delete_on_termination: item.flag("DeleteOnTermination")?,
    };
    if nic.existing.is_some() {
        let what = [
            (nic.subnet.is_some(), "a subnet"),
            (!nic.wish.addresses.is_empty(), "a private IP address"),
            (
                nic.wish.more_addresses > 0,
                "a count of private IP addresses",
            ),
            (!nic.wish.security_groups.is_empty(), "security groups"),
            (!nic.wish.description.is_empty(), "a description"),
            (
                nic.public.is_some(),
                "an associatePublicIPAddress parameter",
            ),
            (
                nic.delete_on_termination == Some(true),
                "delete on termination as true",
            ),
        ];
        if let Some((_, what)) = what.iter().find(|(is, _)| *is) {
            return Err(combination(format!(
                "A network interface may not specify both a network interface ID and {what}"
            )));
        }
    }
    Ok(nic)
}

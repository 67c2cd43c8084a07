//! Instances as they are, and the actions that only look at them.

use super::cloud::Cloud;
use super::filter::Filters;
use super::form::Form;
use super::id::Kind;
use super::interfaces::{self, Interface};
use super::page::Page;
use super::volumes::attached;
use super::xml::Xml;
use crate::chance::Setting;
use crate::clock::{iso, now_ms};
use crate::config::Life;
use crate::error::Refusal;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are Amazon's")]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
        }
    }

    fn code(self) -> u8 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }

    pub(super) fn item(self, xml: &mut Xml) {
        xml.text("code", self.code());
        xml.text("name", self.name());
    }
}

/// An instance.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its reservation's id.
    pub reservation: String,
    /// The image's id.
    pub image: String,
    /// Its type's name.
    pub instance_type: String,
    /// Where it stands.
    pub state: InstanceState,
    /// Why it is not running, with the code before it.
    pub state_reason: Option<(String, String)>,
    /// The image's architecture.
    pub architecture: String,
    /// The image's boot mode.
    pub boot_mode: Option<String>,
    /// How it boots on this type: `legacy-bios` or `uefi`.
    pub current_boot_mode: String,
    /// Whether NitroTPM is there.
    pub tpm: bool,
    /// Whether the image said that it has ENA's driver.
    pub ena: bool,
    /// The device that it boots from.
    pub root_device: String,
    /// Its subnet's id.
    pub subnet: String,
    /// Its VPC's id.
    pub vpc: String,
    /// Its zone's name.
    pub zone: String,
    /// The ids of its interfaces, by device index.
    pub interfaces: Vec<String>,
    /// The primary private address.
    pub private_address: Ipv4Addr,
    /// The instance profile's name.
    pub profile: Option<String>,
    /// The key pair's name.
    pub key_name: Option<String>,
    /// The user data in base64.
    pub user_data: Option<String>,
    /// `default`, `dedicated`, `host`.
    pub tenancy: String,
    /// The dedicated host's id.
    pub host: Option<String>,
    /// The placement group's name.
    pub placement_group: Option<String>,
    /// The partition within it.
    pub partition: Option<u32>,
    /// Whether the EBS network is its own.
    pub ebs_optimized: bool,
    /// How its metadata can be had.
    pub metadata: Metadata,
    /// `standard` or `unlimited`, of types with credits.
    pub cpu_credits: Option<String>,
    /// Cores, and threads on each.
    pub cpu: (u32, u32),
    /// Whether CloudWatch looks closely.
    pub monitoring: bool,
    /// Whether TerminateInstances is refused.
    pub termination_protection: bool,
    /// Whether StopInstances is refused.
    pub stop_protection: bool,
    /// `stop` or `terminate`.
    pub shutdown_behavior: String,
    /// The token of RunInstances.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub launched_ms: u64,
    #[serde(skip)]
    pub(super) born: Instant,
    /// When the next state comes by itself.
    #[serde(skip)]
    pub(super) due: Option<Instant>,
    /// It will not come up.
    #[serde(skip)]
    pub(super) fails: bool,
    /// Its status checks fail.
    #[serde(skip)]
    pub(super) impaired: bool,
    /// When its status checks are through.
    #[serde(skip)]
    pub(super) checked: Option<Instant>,
    #[serde(skip)]
    pub(super) life: Life,
}

/// How an instance's metadata can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// `optional` or `required`.
    pub tokens: String,
    /// 1 to 64.
    pub hop_limit: u8,
    /// `enabled` or `disabled`.
    pub endpoint: String,
    /// `enabled` or `disabled`.
    pub tags: String,
}

/// DescribeInstances
pub(super) fn describe(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("InstanceId");
    form.whole().flag("IncludeManagedResources")?;
    let filters = Filters::parse(
        form,
        &[
            "instance-id",
            "instance-state-name",
            "instance-state-code",
            "image-id",
            "instance-type",
            "architecture",
            "subnet-id",
            "vpc-id",
            "availability-zone",
            "private-ip-address",
            "network-interface.network-interface-id",
            "ip-address",
            "client-token",
            "key-name",
            "tenancy",
            "reservation-id",
            "root-device-name",
            "instance.group-id",
            "iam-instance-profile.arn",
            "block-device-mapping.volume-id",
            "placement-group-name",
        ],
    )?;
    let cloud = world.cloud();
    let found = visible(&cloud, setting, &ids)?
        .into_iter()
        .filter(|instance| filters.pass(&instance.tags, |name| fact(world, &cloud, instance, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("reservationSet", |xml, instance| {
        reservation(xml, instance, world, &cloud, false);
    }))
}

/// The instances with these ids, or all; without those that Describe does not know yet.
fn visible<'a>(
    cloud: &'a Cloud,
    setting: &Setting,
    ids: &[&str],
) -> Result<Vec<&'a Instance>, Refusal> {
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let seen = |instance: &&Instance| instance.born.elapsed() >= lag;
    for id in ids {
        Kind::Instance.well_formed(id)?;
        if cloud.instances.get(*id).filter(seen).is_none() {
            return Err(Kind::Instance.not_found(id));
        }
    }
    let all = cloud.instances.values().filter(seen);
    Ok(all
        .filter(|instance| ids.is_empty() || ids.contains(&instance.id.as_str()))
        .collect())
}

fn profile_arn(world: &World, name: &str) -> String {
    format!(
        "arn:aws:iam::{}:instance-profile/{name}",
        world.config.account
    )
}

fn fact(world: &World, cloud: &Cloud, instance: &Instance, name: &str) -> Vec<String> {
    let state = instance.state;
    let interfaces = || interfaces_of(cloud, instance).into_iter();
    // What a terminated instance has no more.
    let alive = |text: String| {
        if state == InstanceState::Terminated {
            Vec::new()
        } else {
            vec![text]
        }
    };
    match name {
        "instance-id" => vec![instance.id.clone()],
        "instance-state-name" => vec![state.name().into()],
        "instance-state-code" => vec![state.code().to_string()],
        "image-id" => vec![instance.image.clone()],
        "instance-type" => vec![instance.instance_type.clone()],
        "architecture" => vec![instance.architecture.clone()],
        "subnet-id" => alive(instance.subnet.clone()),
        "vpc-id" => alive(instance.vpc.clone()),
        "availability-zone" => vec![instance.zone.clone()],
        "private-ip-address" => alive(instance.private_address.to_string()),
        "network-interface.network-interface-id" => interfaces().map(|it| it.id.clone()).collect(),
        "ip-address" => {
            let primary = interfaces().next();
            let public = primary.and_then(|it| cloud.public_address_of(it));
            public.iter().map(ToString::to_string).collect()
        }
        "client-token" => instance.client_token.iter().cloned().collect(),
        "key-name" => instance.key_name.iter().cloned().collect(),
        "tenancy" => vec![instance.tenancy.clone()],
        "reservation-id" => vec![instance.reservation.clone()],
        "root-device-name" => vec![instance.root_device.clone()],
        "instance.group-id" => interfaces()
            .take(1)
            .flat_map(|it| it.security_groups.clone())
            .collect(),
        "iam-instance-profile.arn" => {
            let profile = instance.profile.iter();
            profile.map(|name| profile_arn(world, name)).collect()
        }
        "block-device-mapping.volume-id" => {
            let volumes = cloud.volumes_of(&instance.id);
            volumes
                .values()
                .map(|(volume, _)| volume.id.clone())
                .collect()
        }
        "placement-group-name" => instance.placement_group.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The interfaces that are attached, by device index.
fn interfaces_of<'a>(cloud: &'a Cloud, instance: &Instance) -> Vec<&'a Interface> {
    let attached = |interface: &&Interface| {
        let attachment = interface.attachment.as_ref();
        attachment.is_some_and(|it| it.instance == instance.id)
    };
    let ids = instance.interfaces.iter();
    ids.filter_map(|id| cloud.interfaces.get(id).filter(attached))
        .collect()
}

/// A reservation and its only instance. `new`: in the answer of RunInstances volumes are not yet listed.
pub(super) fn reservation(
    xml: &mut Xml,
    instance: &Instance,
    world: &World,
    cloud: &Cloud,
    new: bool,
) {
    xml.text("reservationId", &instance.reservation);
    xml.text("ownerId", &world.config.account);
    xml.group("groupSet", |_| ());
    xml.list("instancesSet", [instance], |xml, instance| {
        item(xml, instance, world, cloud, new);
    });
}

fn item(xml: &mut Xml, instance: &Instance, world: &World, cloud: &Cloud, new: bool) {
    let gone = instance.state == InstanceState::Terminated;
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &instance.image);
    xml.group("instanceState", |xml| instance.state.item(xml));
    if let Some((code, message)) = &instance.state_reason {
        xml.group("stateReason", |xml| {
            xml.text("code", code);
            xml.text("message", message);
        });
    }
    xml.maybe("keyName", instance.key_name.as_ref());
    xml.text("amiLaunchIndex", 0);
    xml.text("instanceType", &instance.instance_type);
    xml.text("launchTime", iso(instance.launched_ms));
    xml.group("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
        xml.text(
            "groupName",
            instance.placement_group.as_deref().unwrap_or_default(),
        );
        xml.maybe("partitionNumber", instance.partition);
        xml.maybe("hostId", instance.host.as_ref());
        xml.text("tenancy", &instance.tenancy);
    });
    xml.group("monitoring", |xml| {
        xml.text(
            "state",
            if instance.monitoring {
                "enabled"
            } else {
                "disabled"
            },
        );
    });
    let interfaces = interfaces_of(cloud, instance);
    let primary = interfaces.first();
    if !gone {
        xml.text("subnetId", &instance.subnet);
        xml.text("vpcId", &instance.vpc);
        xml.text("privateIpAddress", instance.private_address);
        let public = primary.and_then(|it| cloud.public_address_of(it));
        xml.maybe("ipAddress", public);
        let check = primary.is_none_or(|it| it.source_dest_check);
        xml.text("sourceDestCheck", check);
    }
    let groups = primary.map_or(&[][..], |it| it.security_groups.as_slice());
    xml.list("groupSet", groups, |xml, id| {
        xml.text("groupId", id);
        xml.maybe("groupName", cloud.group(id).ok().map(|group| &group.name));
    });
    xml.text("architecture", &instance.architecture);
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &instance.root_device);
    let mut volumes = cloud.volumes_of(&instance.id);
    if new {
        volumes.clear();
    }
    xml.list(
        "blockDeviceMapping",
        volumes,
        |xml, (device, (volume, attachment))| {
            xml.text("deviceName", device);
            xml.group("ebs", |xml| {
                xml.text("volumeId", &volume.id);
                xml.text("status", attached(cloud, attachment));
                xml.text("attachTime", iso(attachment.since_ms));
                xml.text("deleteOnTermination", attachment.delete_on_termination);
            });
        },
    );
    xml.text("virtualizationType", "hvm");
    xml.text("hypervisor", "xen");
    xml.maybe("clientToken", instance.client_token.as_ref());
    xml.list("networkInterfaceSet", interfaces, |xml, interface| {
        interfaces::item(xml, cloud, interface, world);
    });
    if let Some(name) = &instance.profile {
        xml.group("iamInstanceProfile", |xml| {
            xml.text("arn", profile_arn(world, name));
            xml.text("id", "AIPAFAKEFAKEFAKEFAKE1");
        });
    }
    xml.text("ebsOptimized", instance.ebs_optimized);
    xml.text("enaSupport", instance.ena);
    xml.group("cpuOptions", |xml| {
        let (cores, threads) = instance.cpu;
        xml.text("coreCount", cores);
        xml.text("threadsPerCore", threads);
    });
    xml.group("metadataOptions", |xml| {
        let pending = instance.state == InstanceState::Pending;
        xml.text("state", if pending { "pending" } else { "applied" });
        xml.text("httpTokens", &instance.metadata.tokens);
        xml.text("httpPutResponseHopLimit", instance.metadata.hop_limit);
        xml.text("httpEndpoint", &instance.metadata.endpoint);
        xml.text("httpProtocolIpv6", "disabled");
        xml.text("instanceMetadataTags", &instance.metadata.tags);
    });
    xml.maybe("bootMode", instance.boot_mode.as_ref());
    xml.text("currentInstanceBootMode", &instance.current_boot_mode);
    xml.maybe("tpmSupport", instance.tpm.then_some("v2.0"));
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.tags(&instance.tags);
}

impl Instance {
    /// What its status checks say.
    fn status(&self) -> &'static str {
        if self.state != InstanceState::Running {
            "not-applicable"
        } else if self.checked.is_none_or(|checked| checked > Instant::now()) {
            "initializing"
        } else if self.impaired {
            "impaired"
        } else {
            "ok"
        }
    }
}

/// DescribeInstanceStatus: of running instances, unless all are asked for.
pub(super) fn status(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("InstanceId");
    let all = form.whole();
    let every = all.flag("IncludeAllInstances")?.unwrap_or(false);
    all.flag("IncludeManagedResources")?;
    let filters = Filters::parse(
        form,
        &[
            "instance-state-name",
            "instance-state-code",
            "availability-zone",
            "instance-status.status",
            "system-status.status",
        ],
    )?;
    let cloud = world.cloud();
    let found: Vec<&Instance> = visible(&cloud, setting, &ids)?
        .into_iter()
        .filter(|instance| every || instance.state == InstanceState::Running)
        .filter(|instance| {
            // It cannot be filtered by tags, whose filters have been let through.
            filters.pass(&BTreeMap::new(), |name| match name {
                "instance-state-name" => vec![instance.state.name().into()],
                "instance-state-code" => vec![instance.state.code().to_string()],
                "availability-zone" => vec![instance.zone.clone()],
                _ => vec![instance.status().into()],
            })
        })
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("instanceStatusSet", |xml, instance| {
        xml.text("instanceId", &instance.id);
        xml.text("availabilityZone", &instance.zone);
        xml.group("instanceState", |xml| instance.state.item(xml));
        let status = instance.status();
        let details = match status {
            "ok" => "passed",
            "impaired" => "failed",
            other => other,
        };
        // What is impaired is the guest, not the host below it.
        let system = if status == "impaired" {
            ("ok", "passed")
        } else {
            (status, details)
        };
        for (name, (status, details)) in [
            ("systemStatus", system),
            ("instanceStatus", (status, details)),
        ] {
            xml.group(name, |xml| {
                xml.text("status", status);
                xml.list("details", [details], |xml, details| {
                    xml.text("name", "reachability");
                    xml.text("status", details);
                });
            });
        }
    }))
}

/// GetConsoleOutput: [`crate::Faults::console`], once the instance has been running.
pub(super) fn console(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("InstanceId")?;
    all.flag("Latest")?;
    let mut cloud = world.cloud();
    let instance = cloud.instance(id)?;
    form.settle()?;
    let mut xml = Xml::default();
    xml.text("instanceId", id);
    xml.text("timestamp", iso(now_ms()));
    if instance.state != InstanceState::Pending {
        let text = match &setting.faults.console {
            Some(text) => text.clone(),
            None => format!("fake console of {id}\n\nlogin: "),
        };
        xml.text("output", STANDARD.encode(text));
    }
    Ok(xml)
}

//! EBS volumes: of instances and alone.

use super::cloud::Cloud;
use super::disk::{Shape, VolumeType, holds, initialization_rate};
use super::filter::Filters;
use super::form::{Form, client_token};
use super::id::Kind;
use super::instances::InstanceState;
use super::mapping::{Mapping, Source, encryption};
use super::network::{letter, zone};
use super::page::Page;
use super::refusal::{bad, missing, value};
use super::tags::TagSpecifications;
use super::types::InstanceType;
use super::xml::Xml;
use crate::action::Action;
use crate::chance::Setting;
use crate::clock::{iso, now_ms};
use crate::error::Refusal;
use crate::world::World;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An EBS volume.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its zone's name.
    pub zone: String,
    /// What it was made from; none: empty.
    pub snapshot: Option<String>,
    /// Type, size and speed.
    pub shape: Shape,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// With which key.
    pub key: Option<String>,
    /// MiB/s.
    pub initialization_rate: Option<u32>,
    /// What it is attached to.
    pub attachment: Option<VolumeAttachment>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    #[serde(skip)]
    available: Instant,
    #[serde(skip)]
    born: Instant,
}

/// Where a volume is attached.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeAttachment {
    /// The instance's id.
    pub instance: String,
    /// `/dev/sda1` and so on.
    pub device: String,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

impl Volume {
    /// `creating`, `available` or `in-use`.
    pub fn state(&self) -> &'static str {
        if self.attachment.is_some() {
            "in-use"
        } else if self.available <= Instant::now() {
            "available"
        } else {
            "creating"
        }
    }
}

/// A volume of a launch, in the zone with that name.
pub(super) fn of_mapping(
    world: &World,
    mapping: &Mapping,
    zone: &str,
    instance: &str,
    tags: BTreeMap<String, String>,
) -> Volume {
    let now = Instant::now();
    Volume {
        id: Kind::Volume.make(&world.switches.random),
        zone: zone.to_owned(),
        snapshot: mapping.snapshot.clone(),
        shape: mapping.shape,
        encrypted: mapping.encrypted,
        key: mapping.key.clone(),
        initialization_rate: mapping.initialization_rate,
        attachment: Some(VolumeAttachment {
            instance: instance.to_owned(),
            device: mapping.device.clone(),
            delete_on_termination: mapping.delete_on_termination,
            since_ms: now_ms(),
        }),
        tags,
        created_ms: now_ms(),
        available: now,
        born: now,
    }
}

impl Cloud {
    /// The volumes of an instance, by device.
    pub(super) fn volumes_of(
        &self,
        instance: &str,
    ) -> BTreeMap<String, (&Volume, &VolumeAttachment)> {
        self.volumes
            .values()
            .filter_map(|volume| Some((volume, volume.attachment.as_ref()?)))
            .filter(|(_, attachment)| attachment.instance == instance)
            .map(|(volume, attachment)| (attachment.device.clone(), (volume, attachment)))
            .collect()
    }

    /// Refuses more volumes than the type can have.
    pub(super) fn check_volumes(
        kind: &InstanceType,
        volumes: usize,
        interfaces: usize,
    ) -> Result<(), Refusal> {
        let shared = if kind.shares_its_limit() {
            interfaces
        } else {
            0
        };
        if volumes + shared <= kind.volumes + usize::from(kind.shares_its_limit()) {
            return Ok(());
        }
        let message = format!(
            "{volumes} volumes and {interfaces} interfaces exceed the limit for {}",
            kind.name
        );
        Err(bad("AttachmentLimitExceeded", message))
    }
}

/// CreateVolume
pub(super) fn create(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let zone_name = all.needed("AvailabilityZone")?;
    let snapshot = all.text("SnapshotId");
    let size: Option<u32> = all.parse("Size")?;
    let kind = all
        .get("VolumeType")
        .map_or(Ok(VolumeType::Gp2), VolumeType::parse)?;
    let (iops, throughput) = (all.parse("Iops")?, all.parse("Throughput")?);
    let rate = initialization_rate(all.parse("VolumeInitializationRate")?, snapshot.is_some())?;
    let encrypted = all.flag("Encrypted")?;
    let key = all.text("KmsKeyId");
    let tags = TagSpecifications::parse(form, &[Kind::Volume])?;
    let token = client_token(form)?;

    let mut cloud = world.cloud();
    let letter = letter(world, &cloud, zone_name)?;
    if let Some(id) = cloud.made(Action::CreateVolume, token, &form.fingerprint())?
        && let Some(volume) = cloud.volumes.get(&id)
    {
        form.settle()?;
        let mut xml = Xml::default();
        item(&mut xml, volume, world, &cloud);
        return Ok(xml);
    }
    let source = snapshot
        .as_deref()
        .map(|id| Source::find(world, id))
        .transpose()?;
    let needs = source.as_ref().map(|source| source.size);
    let size = size.or(needs).ok_or_else(|| missing("size"))?;
    let shape = Shape::new(kind, size, iops, throughput)?;
    if let (Some(id), Some(needs)) = (&snapshot, needs) {
        holds(size, id, needs, "InvalidParameterValue")?;
    }
    let encrypted = if setting.faults.encryption_by_default {
        Some(true)
    } else {
        encrypted
    };
    let (encrypted, key) = encryption(source.and_then(|source| source.key), encrypted, key, world)?;
    form.settle()?;
    let now = Instant::now();
    let volume = Volume {
        id: Kind::Volume.make(&world.switches.random),
        zone: zone(world, letter),
        snapshot,
        shape,
        encrypted,
        key,
        initialization_rate: rate,
        attachment: None,
        tags: tags.of(Kind::Volume),
        created_ms: now_ms(),
        available: now + Duration::from_millis(setting.faults.life.volume_ms),
        born: now,
    };
    cloud.remember(Action::CreateVolume, token, form.fingerprint(), &volume.id);
    let mut xml = Xml::default();
    item(&mut xml, &volume, world, &cloud);
    cloud.volumes.insert(volume.id.clone(), volume);
    Ok(xml)
}

/// DeleteVolume
pub(super) fn delete(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let id = form.whole().needed("VolumeId")?;
    let mut cloud = world.cloud();
    let volume = cloud.volume(id)?;
    if let Some(attachment) = &volume.attachment {
        let message = format!(
            "Volume {id} is currently attached to {}",
            attachment.instance
        );
        return Err(bad("VolumeInUse", message));
    }
    if volume.state() == "creating" {
        let message = format!("The volume '{id}' is 'creating'");
        return Err(bad("IncorrectState", message));
    }
    form.settle()?;
    cloud.volumes.remove(id);
    Ok(Xml::done())
}

/// AttachVolume
pub(super) fn attach(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let device = all.needed("Device")?.to_owned();
    let (instance_id, id) = (all.needed("InstanceId")?, all.needed("VolumeId")?);
    let mut cloud = world.cloud();
    let instance = cloud.instance(instance_id)?;
    if !matches!(
        instance.state,
        InstanceState::Running | InstanceState::Stopped
    ) {
        let message = format!("Instance '{instance_id}' is not 'running'.");
        return Err(bad("IncorrectState", message));
    }
    let zone = instance.zone.clone();
    let kind = InstanceType::find(&instance.instance_type);
    let interfaces = instance.interfaces.len();
    let volume = cloud.volume(id)?;
    match volume.state() {
        "in-use" => {
            let message = format!("{id} is already attached to an instance");
            return Err(bad("VolumeInUse", message));
        }
        "creating" => {
            let message = format!("Volume '{id}' is not 'available'.");
            return Err(bad("IncorrectState", message));
        }
        _ => {}
    }
    if volume.zone != zone {
        let message = format!(
            "The volume '{id}' is not in the same availability zone as instance '{instance_id}'"
        );
        return Err(bad("InvalidVolume.ZoneMismatch", message));
    }
    let there = cloud.volumes_of(instance_id);
    if there.contains_key(&device) {
        return Err(value(format!(
            "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        )));
    }
    if let Some(kind) = kind {
        Cloud::check_volumes(kind, there.len() + 1, interfaces)?;
    }
    form.settle()?;
    let volume = cloud.volume(id)?;
    let attachment = VolumeAttachment {
        instance: instance_id.to_owned(),
        device,
        delete_on_termination: false,
        since_ms: now_ms(),
    };
    let mut xml = Xml::default();
    attachment_item(&mut xml, id, &attachment, "attaching");
    volume.attachment = Some(attachment);
    Ok(xml)
}

/// DetachVolume: the root volume only of a stopped instance.
pub(super) fn detach(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("VolumeId")?;
    let (instance_id, device) = (all.get("InstanceId"), all.get("Device"));
    all.flag("Force")?;
    let mut cloud = world.cloud();
    let Some(attachment) = cloud.volume(id)?.attachment.clone() else {
        let message = format!("Volume '{id}' is in the 'available' state.");
        return Err(bad("IncorrectState", message));
    };
    if instance_id.is_some_and(|other| other != attachment.instance)
        || device.is_some_and(|other| other != attachment.device)
    {
        let message = format!("The volume '{id}' is not attached there");
        return Err(bad("InvalidAttachment.NotFound", message));
    }
    let instance = cloud.instance(&attachment.instance)?;
    if instance.root_device == attachment.device && instance.state != InstanceState::Stopped {
        let message = format!(
            "Unable to detach root volume '{id}' from instance '{}'",
            instance.id
        );
        return Err(bad("OperationNotPermitted", message));
    }
    form.settle()?;
    cloud.volume(id)?.attachment = None;
    let mut xml = Xml::default();
    attachment_item(&mut xml, id, &attachment, "detaching");
    Ok(xml)
}

/// DescribeVolumes
pub(super) fn describe(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("VolumeId");
    form.whole().flag("IncludeManagedResources")?;
    let filters = Filters::parse(
        form,
        &[
            "volume-id",
            "status",
            "snapshot-id",
            "availability-zone",
            "size",
            "volume-type",
            "encrypted",
            "attachment.instance-id",
            "attachment.device",
            "attachment.delete-on-termination",
            "attachment.status",
        ],
    )?;
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let cloud = world.cloud();
    let visible = |volume: &&Volume| volume.born.elapsed() >= lag;
    for id in &ids {
        Kind::Volume.well_formed(id)?;
        if cloud.volumes.get(*id).filter(visible).is_none() {
            return Err(Kind::Volume.not_found(id));
        }
    }
    let found: Vec<&Volume> = cloud
        .volumes
        .values()
        .filter(visible)
        .filter(|volume| ids.is_empty() || ids.contains(&volume.id.as_str()))
        .filter(|volume| filters.pass(&volume.tags, |name| fact(&cloud, volume, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("volumeSet", |xml, volume| item(xml, volume, world, &cloud)))
}

fn fact(cloud: &Cloud, volume: &Volume, name: &str) -> Vec<String> {
    let attachment = volume.attachment.iter();
    match name {
        "volume-id" => vec![volume.id.clone()],
        "status" => vec![volume.state().into()],
        "snapshot-id" => volume.snapshot.iter().cloned().collect(),
        "availability-zone" => vec![volume.zone.clone()],
        "size" => vec![volume.shape.size.to_string()],
        "volume-type" => vec![volume.shape.kind.name().into()],
        "encrypted" => vec![volume.encrypted.to_string()],
        "attachment.instance-id" => attachment.map(|it| it.instance.clone()).collect(),
        "attachment.device" => attachment.map(|it| it.device.clone()).collect(),
        "attachment.delete-on-termination" => attachment
            .map(|it| it.delete_on_termination.to_string())
            .collect(),
        "attachment.status" => attachment.map(|it| attached(cloud, it).into()).collect(),
        _ => Vec::new(),
    }
}

/// The state of an attachment: it is complete once the instance runs.
pub(super) fn attached(cloud: &Cloud, attachment: &VolumeAttachment) -> &'static str {
    let instance = cloud.instances.get(&attachment.instance);
    if instance.is_some_and(|it| it.state == InstanceState::Pending) {
        "attaching"
    } else {
        "attached"
    }
}

fn item(xml: &mut Xml, volume: &Volume, world: &World, cloud: &Cloud) {
    let account = &world.config.account;
    xml.text("volumeId", &volume.id);
    let region = &world.config.region;
    xml.text(
        "volumeArn",
        format!("arn:aws:ec2:{region}:{account}:volume/{}", volume.id),
    );
    xml.text("size", volume.shape.size);
    xml.text("snapshotId", volume.snapshot.as_deref().unwrap_or_default());
    xml.text("availabilityZone", &volume.zone);
    xml.text("status", volume.state());
    xml.text("createTime", iso(volume.created_ms));
    xml.list("attachmentSet", &volume.attachment, |xml, attachment| {
        let state = attached(cloud, attachment);
        attachment_item(xml, &volume.id, attachment, state);
    });
    xml.text("volumeType", volume.shape.kind.name());
    xml.maybe("iops", volume.shape.iops);
    xml.maybe("throughput", volume.shape.throughput);
    xml.maybe("volumeInitializationRate", volume.initialization_rate);
    xml.text("encrypted", volume.encrypted);
    xml.maybe("kmsKeyId", volume.key.as_ref());
    xml.text("multiAttachEnabled", false);
    xml.tags(&volume.tags);
}

fn attachment_item(xml: &mut Xml, volume: &str, attachment: &VolumeAttachment, state: &str) {
    xml.text("volumeId", volume);
    xml.text("instanceId", &attachment.instance);
    xml.text("device", &attachment.device);
    xml.text("status", state);
    xml.text("attachTime", iso(attachment.since_ms));
    xml.text("deleteOnTermination", attachment.delete_on_termination);
}

//! RegisterImage, DeregisterImage and DescribeImages.

use super::filter::Filters;
use super::form::Form;
use super::id::Kind;
use super::mapping::{self, Mapping};
use super::page::Page;
use super::refusal::{bad, combination, value};
use super::tags::TagSpecifications;
use super::xml::Xml;
use crate::chance::Setting;
use crate::clock::{iso, now_ms};
use crate::error::Refusal;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An Amazon Machine Image.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name, of which there is one only.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// `x86_64`, `arm64`, or `i386`, which it is when nothing was said.
    pub architecture: String,
    /// `hvm`, or `paravirtual`, which it is when nothing was said.
    pub virtualization: String,
    /// The device to boot from.
    pub root_device: String,
    /// Its devices.
    pub mappings: Vec<Mapping>,
    /// `legacy-bios`, `uefi`, `uefi-preferred`.
    pub boot_mode: Option<String>,
    /// Whether NitroTPM is wanted.
    pub tpm: bool,
    /// The UEFI variables, in base64 as they came.
    pub uefi_data: Option<String>,
    /// Whether it says that it has ENA's driver.
    pub ena: bool,
    /// `simple`, if it says that it has the driver of the older network cards.
    pub sriov: Option<String>,
    /// Whether its instances must be asked for metadata by IMDSv2.
    pub imds_v2: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    #[serde(skip)]
    born: Instant,
    #[serde(skip)]
    available: Instant,
}

impl Image {
    /// `pending` or `available`.
    pub fn state(&self) -> &'static str {
        if self.available <= Instant::now() {
            "available"
        } else {
            "pending"
        }
    }
}

/// RegisterImage
pub(super) fn register(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let name = all.needed("Name")?;
    check_name(name)?;
    let description = all.text("Description");
    if description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 255)
    {
        return Err(value("Character limit exceeded for the description: 255"));
    }
    let architecture = all
        .word(
            "Architecture",
            &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"],
        )?
        .unwrap_or_else(|| "i386".into());
    let virtualization = all
        .word("VirtualizationType", &["hvm", "paravirtual"])?
        .unwrap_or_else(|| "paravirtual".into());
    let hvm = virtualization == "hvm";
    let boot_mode = all.word("BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?;
    let tpm = all.word("TpmSupport", &["v2.0"])?.is_some();
    let uefi_data = all.text("UefiData");
    let ena = all.flag("EnaSupport")?.unwrap_or(false);
    let sriov = all.word("SriovNetSupport", &["simple"])?;
    let imds_v2 = all.word("ImdsSupport", &["v2.0"])?.is_some();
    let mode = boot_mode.as_deref();
    let x86 = architecture == "x86_64";
    let arm = architecture == "arm64";
    let needs_hvm = [
        (
            matches!(mode, Some("uefi" | "uefi-preferred")),
            "BootMode uefi",
        ),
        (tpm, "TpmSupport"),
        (ena, "EnaSupport"),
        (sriov.is_some(), "SriovNetSupport"),
        (imds_v2, "ImdsSupport"),
        (arm, "Architecture arm64"),
    ];
    if let Some((_, what)) = needs_hvm.iter().find(|(is, _)| *is && !hvm) {
        return Err(combination(format!("{what} needs VirtualizationType hvm")));
    }
    if arm && matches!(mode, Some("legacy-bios" | "uefi-preferred")) {
        return Err(combination("arm64 images boot by uefi only"));
    }
    if mode == Some("uefi-preferred") && !x86 {
        return Err(combination("uefi-preferred is for x86_64 images only"));
    }
    if tpm && (mode != Some("uefi") || !x86) {
        return Err(combination(
            "TpmSupport v2.0 needs BootMode uefi and the architecture x86_64",
        ));
    }
    if let Some(data) = &uefi_data {
        if !matches!(mode, Some("uefi" | "uefi-preferred")) {
            return Err(combination(
                "UefiData needs BootMode uefi or uefi-preferred",
            ));
        }
        if data.len() > 64 << 10 || STANDARD.decode(data).is_err() {
            return Err(value("UefiData is not base64 of at most 64 KiB"));
        }
    }
    let root_device = all
        .text("RootDeviceName")
        .unwrap_or_else(|| "/dev/sda1".into());
    let wishes = mapping::wishes(&all)?;
    if wishes.is_empty() {
        // Of images in S3 this fake knows nothing.
        return Err(mapping::invalid("The image has no block device mapping"));
    }
    let tags = TagSpecifications::parse(form, &[Kind::Image])?;

    // The snapshots are held while their use by the image is not yet written down.
    let mut cloud = world.cloud();
    let mappings = mapping::of_image(world, &wishes, &root_device)?;
    if let Some(other) = cloud.images.values().find(|image| image.name == name) {
        let message = format!("AMI name {name} is already in use by AMI {}", other.id);
        return Err(bad("InvalidAMIName.Duplicate", message));
    }
    form.settle()?;
    let id = Kind::Image.make(&world.switches.random);
    let now = Instant::now();
    cloud.images.insert(
        id.clone(),
        Image {
            id: id.clone(),
            name: name.to_owned(),
            description,
            architecture,
            virtualization,
            root_device,
            mappings,
            boot_mode,
            tpm,
            uefi_data,
            ena,
            sriov,
            imds_v2,
            tags: tags.of(Kind::Image),
            created_ms: now_ms(),
            born: now,
            available: now + Duration::from_millis(setting.faults.life.image_ms),
        },
    );
    let mut xml = Xml::default();
    xml.text("imageId", id);
    Ok(xml)
}

/// 3 to 128 of a set of characters (EC2's API reference, RegisterImage).
fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = |symbol: char| symbol.is_ascii_alphanumeric() || "()[] ./-'@_".contains(symbol);
    if (3..=128).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    let message = "AMI names must be between 3 and 128 characters long, and may contain letters, \
                   numbers, '(', ')', '.', '-', '/', '_' and a few others";
    Err(bad("InvalidAMIName.Malformed", message))
}

/// DeregisterImage: its snapshots stay.
pub(super) fn deregister(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("ImageId")?;
    let mut cloud = world.cloud();
    cloud.image(id)?;
    if all.flag("DeleteAssociatedSnapshots")?.unwrap_or(false) {
        return Err(bad(
            "UnsupportedOperation",
            "this fake does not delete snapshots with their image",
        ));
    }
    form.settle()?;
    cloud.images.remove(id);
    cloud.deregistered.insert(id.to_owned());
    Ok(Xml::done())
}

/// DescribeImages
pub(super) fn describe(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("ImageId");
    let owners = form.list("Owner");
    let executable_by = form.list("ExecutableBy");
    for word in ["IncludeDeprecated", "IncludeDisabled"] {
        form.whole().flag(word)?;
    }
    let filters = Filters::parse(
        form,
        &[
            "name",
            "state",
            "image-id",
            "architecture",
            "owner-id",
            "is-public",
            "image-type",
            "root-device-type",
            "root-device-name",
            "virtualization-type",
            "boot-mode",
            "ena-support",
            "description",
            "block-device-mapping.snapshot-id",
            "block-device-mapping.device-name",
        ],
    )?;
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let cloud = world.cloud();
    let visible = |image: &&Image| image.born.elapsed() >= lag;
    for id in &ids {
        Kind::Image.well_formed(id)?;
        if cloud.images.get(*id).filter(visible).is_none() {
            return Err(Kind::Image.not_found(id));
        }
    }
    let account = &world.config.account;
    let mine = |names: &[&str]| {
        names.is_empty() || names.iter().any(|name| *name == "self" || name == account)
    };
    let found: Vec<&Image> = cloud
        .images
        .values()
        .filter(visible)
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|_| mine(&owners) && mine(&executable_by))
        .filter(|image| filters.pass(&image.tags, |name| fact(image, account, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 1, found)?;
    form.settle()?;
    Ok(page.answer("imagesSet", |xml, image| item(xml, image, account)))
}

fn fact(image: &Image, account: &str, name: &str) -> Vec<String> {
    let mappings = image.mappings.iter();
    match name {
        "name" => vec![image.name.clone()],
        "state" => vec![image.state().into()],
        "image-id" => vec![image.id.clone()],
        "architecture" => vec![image.architecture.clone()],
        "owner-id" => vec![account.to_owned()],
        "is-public" => vec!["false".into()],
        "image-type" => vec!["machine".into()],
        "root-device-type" => vec!["ebs".into()],
        "root-device-name" => vec![image.root_device.clone()],
        "virtualization-type" => vec![image.virtualization.clone()],
        "boot-mode" => image.boot_mode.iter().cloned().collect(),
        "ena-support" => vec![image.ena.to_string()],
        "description" => image.description.iter().cloned().collect(),
        "block-device-mapping.snapshot-id" => mappings
            .filter_map(|mapping| mapping.snapshot.clone())
            .collect(),
        "block-device-mapping.device-name" => {
            mappings.map(|mapping| mapping.device.clone()).collect()
        }
        _ => Vec::new(),
    }
}

fn item(xml: &mut Xml, image: &Image, account: &str) {
    xml.text("imageId", &image.id);
    xml.text("imageLocation", format!("{account}/{}", image.name));
    xml.text("imageState", image.state());
    xml.text("imageOwnerId", account);
    xml.text("creationDate", iso(image.created_ms));
    xml.text("isPublic", false);
    xml.text("architecture", &image.architecture);
    xml.text("imageType", "machine");
    xml.maybe("sriovNetSupport", image.sriov.as_ref());
    xml.text("name", &image.name);
    xml.maybe("description", image.description.as_ref());
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &image.root_device);
    xml.list("blockDeviceMapping", &image.mappings, |xml, mapping| {
        xml.text("deviceName", &mapping.device);
        xml.group("ebs", |xml| {
            xml.maybe("snapshotId", mapping.snapshot.as_ref());
            xml.text("volumeSize", mapping.shape.size);
            xml.text("deleteOnTermination", mapping.delete_on_termination);
            xml.text("volumeType", mapping.shape.kind.name());
            if mapping.shape.kind != super::disk::VolumeType::Gp2 {
                xml.maybe("iops", mapping.shape.iops);
            }
            xml.maybe("throughput", mapping.shape.throughput);
            xml.text("encrypted", mapping.encrypted);
            xml.maybe("VolumeInitializationRate", mapping.initialization_rate);
        });
    });
    xml.text("virtualizationType", &image.virtualization);
    xml.text("hypervisor", "xen");
    xml.maybe("bootMode", image.boot_mode.as_ref());
    xml.maybe("tpmSupport", image.tpm.then_some("v2.0"));
    xml.maybe("imdsSupport", image.imds_v2.then_some("v2.0"));
    xml.text("enaSupport", image.ena);
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.tags(&image.tags);
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_keep_to_their_characters() {
        for (name, good) in [
            ("web-1 (test) [a]/b.c'd@e_f", true),
            ("ab", false),
            ("a:b", false),
            ("über", false),
            (&"n".repeat(128), true),
            (&"n".repeat(129), false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }
}

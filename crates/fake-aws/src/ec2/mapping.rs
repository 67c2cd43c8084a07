//! Block device mappings: of an image, and of a launch that overrides its image's.

use super::disk::{Shape, VolumeType, holds, initialization_rate};
use super::form::Scope;
use super::refusal::{bad, combination};
use crate::error::Refusal;
use crate::snapshot::Phase;
use crate::world::World;
use serde::Serialize;
use std::collections::BTreeSet;

/// A device of an image or of a launch, and the volume behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// `/dev/sda1` and so on.
    pub device: String,
    /// What the volume is made from; none: empty.
    pub snapshot: Option<String>,
    /// Type, size and speed.
    pub shape: Shape,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key, if one was chosen or is inherited.
    pub key: Option<String>,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// MiB/s.
    pub initialization_rate: Option<u32>,
}

/// A mapping as a request has it.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) device: String,
    pub(super) no_device: bool,
    snapshot: Option<String>,
    size: Option<u32>,
    kind: Option<VolumeType>,
    iops: Option<u32>,
    throughput: Option<u32>,
    encrypted: Option<bool>,
    key: Option<String>,
    delete_on_termination: Option<bool>,
    initialization_rate: Option<u32>,
}

/// Reads `BlockDeviceMapping.N`.
pub(super) fn wishes(form: &Scope<'_>) -> Result<Vec<Wish>, Refusal> {
    let mut devices = BTreeSet::new();
    let mut wishes = Vec::new();
    for item in form.items("BlockDeviceMapping") {
        let device = item.needed("DeviceName")?.to_owned();
        if !is_device(&device) {
            return Err(invalid(format!("Invalid device name {device}")));
        }
        if !devices.insert(device.clone()) {
            return Err(invalid(format!(
                "The device '{device}' is used in more than one mapping"
            )));
        }
        let no_device = item.get("NoDevice").is_some();
        let ebs = item.inside("Ebs");
        if ebs.is_some() == no_device {
            // Instance stores are not modelled.
            return Err(invalid(format!(
                "The mapping of {device} needs either Ebs or NoDevice"
            )));
        }
        let ebs = ebs.as_ref();
        let kind = ebs.and_then(|ebs| ebs.get("VolumeType"));
        wishes.push(Wish {
            device,
            no_device,
            snapshot: ebs.and_then(|ebs| ebs.text("SnapshotId")),
            size: number(ebs, "VolumeSize")?,
            kind: kind.map(VolumeType::parse).transpose()?,
            iops: number(ebs, "Iops")?,
            throughput: number(ebs, "Throughput")?,
            encrypted: flag(ebs, "Encrypted")?,
            key: ebs.and_then(|ebs| ebs.text("KmsKeyId")),
            delete_on_termination: flag(ebs, "DeleteOnTermination")?,
            initialization_rate: number(ebs, "VolumeInitializationRate")?,
        });
    }
    Ok(wishes)
}

fn number(ebs: Option<&Scope<'_>>, name: &str) -> Result<Option<u32>, Refusal> {
    ebs.map_or(Ok(None), |ebs| ebs.parse(name))
}

fn flag(ebs: Option<&Scope<'_>>, name: &str) -> Result<Option<bool>, Refusal> {
    ebs.map_or(Ok(None), |ebs| ebs.flag(name))
}

/// The mappings of a new image.
pub(super) fn of_image(
    world: &World,
    wishes: &[Wish],
    root: &str,
) -> Result<Vec<Mapping>, Refusal> {
    let mut mappings = Vec::new();
    for wish in wishes.iter().filter(|wish| !wish.no_device) {
        if wish.snapshot.is_some() && wish.encrypted.is_some() {
            return Err(invalid(format!(
                "the encrypted flag cannot be specified since device {} has a snapshot specified.",
                wish.device
            )));
        }
        mappings.push(resolve(world, wish, None, root)?);
    }
    match mappings.iter().find(|mapping| mapping.device == root) {
        None => Err(invalid(format!(
            "The root device {root} is not among the block device mappings"
        ))),
        Some(mapping) if mapping.snapshot.is_none() => {
            Err(invalid(format!("The root device {root} has no snapshot")))
        }
        Some(_) => Ok(mappings),
    }
}

/// The mappings of a launch: the image's, and what the request changes of them. `by_default`: the
/// account encrypts every new volume.
pub(super) fn of_launch(
    world: &World,
    image: &[Mapping],
    wishes: &[Wish],
    root: &str,
    by_default: bool,
) -> Result<Vec<Mapping>, Refusal> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for base in image {
        match wishes.iter().find(|wish| wish.device == base.device) {
            Some(wish) if wish.no_device => {
                if base.device == root {
                    return Err(invalid(format!(
                        "The root device {root} cannot be left out"
                    )));
                }
            }
            Some(wish) => mappings.push(resolve(world, wish, Some(base), root)?),
            None => {
                // The snapshot may have been deleted since; the image keeps it from that here.
                mappings.push(base.clone());
            }
        }
    }
    for wish in wishes {
        if !wish.no_device && image.iter().all(|base| base.device != wish.device) {
            mappings.push(resolve(world, wish, None, root)?);
        }
    }
    for mapping in &mut mappings {
        if by_default && !mapping.encrypted {
            mapping.encrypted = true;
        }
        if mapping.encrypted && mapping.key.is_none() {
            mapping.key = Some(world.config.default_key.clone());
        }
    }
    Ok(mappings)
}

/// Applies the rules to one mapping, of which `base` is what the image says.
fn resolve(
    world: &World,
    wish: &Wish,
    base: Option<&Mapping>,
    root: &str,
) -> Result<Mapping, Refusal> {
    let device = &wish.device;
    if let (Some(base), Some(other)) = (base, &wish.snapshot)
        && base.device == root
        && base.snapshot.as_ref() != Some(other)
    {
        return Err(invalid("snapshotId cannot be modified on root device"));
    }
    let snapshot = wish
        .snapshot
        .clone()
        .or_else(|| base.and_then(|base| base.snapshot.clone()));
    let source = snapshot
        .as_deref()
        .map(|id| Source::find(world, id))
        .transpose()?;
    let needs = source.as_ref().map(|source| source.size);
    let size = wish.size.or(base.map(|base| base.shape.size)).or(needs);
    let size = size.ok_or_else(|| {
        invalid(format!(
            "The mapping of {device} needs a snapshot or a size"
        ))
    })?;
    let kind = wish
        .kind
        .or(base.map(|base| base.shape.kind))
        .unwrap_or(VolumeType::Gp2);
    // IOPS and throughput of the image are those of its type.
    let same = base.filter(|base| base.shape.kind == kind);
    let iops = wish.iops.or_else(|| {
        same.filter(|_| kind != VolumeType::Gp2)
            .and_then(|base| base.shape.iops)
    });
    let throughput = wish
        .throughput
        .or_else(|| same.and_then(|base| base.shape.throughput));
    let shape = Shape::new(kind, size, iops, throughput)?;
    if device == root && !kind.boots() {
        return Err(invalid(format!(
            "Invalid root device: a {} volume cannot be booted from",
            kind.name()
        )));
    }
    if let (Some(id), Some(needs)) = (&snapshot, needs) {
        holds(size, id, needs, "InvalidBlockDeviceMapping")?;
    }
    let (encrypted, key) = encryption(
        source.as_ref().and_then(|source| source.key.clone()),
        wish.encrypted
            .or(base.map(|base| base.encrypted).filter(|is| *is)),
        wish.key
            .clone()
            .or_else(|| base.and_then(|base| base.key.clone())),
        world,
    )?;
    Ok(Mapping {
        device: device.clone(),
        delete_on_termination: wish
            .delete_on_termination
            .or(base.map(|base| base.delete_on_termination))
            // From memory of the API's reference.
            .unwrap_or(true),
        initialization_rate: initialization_rate(
            wish.initialization_rate
                .or(base.and_then(|base| base.initialization_rate)),
            snapshot.is_some(),
        )?,
        snapshot,
        shape,
        encrypted,
        key,
    })
}

/// What a volume needs to know of its snapshot.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) size: u32,
    pub(super) key: Option<String>,
}

impl Source {
    /// The snapshot of that id, if it is completed.
    pub(super) fn find(world: &World, id: &str) -> Result<Source, Refusal> {
        let snapshot = super::snapshots::find(world, id)?;
        let phase = snapshot.live(world.minute()).phase.clone();
        if phase != Phase::Completed {
            let message = format!("Snapshot '{id}' is in invalid state - {}", phase.status());
            return Err(bad("IncorrectState", message));
        }
        Ok(Source {
            size: snapshot.origin.volume_size,
            key: snapshot.origin.key.clone(),
        })
    }
}

/// Whether a volume is encrypted, and with which key.
pub(super) fn encryption(
    snapshot_key: Option<String>,
    encrypted: Option<bool>,
    key: Option<String>,
    world: &World,
) -> Result<(bool, Option<String>), Refusal> {
    if encrypted == Some(false) && snapshot_key.is_some() {
        return Err(combination(
            "A volume of an encrypted snapshot cannot be unencrypted",
        ));
    }
    let is = encrypted.unwrap_or(snapshot_key.is_some());
    if key.is_some() && !is {
        return Err(bad(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        ));
    }
    if let Some(key) = &key
        && !world.config.keys.is_empty()
        && !world.config.keys.contains(key)
    {
        let message = format!("The key '{key}' does not exist");
        return Err(bad("InvalidKmsKeyId.NotFound", message));
    }
    let key = key
        .or(snapshot_key)
        .or_else(|| is.then(|| world.config.default_key.clone()));
    Ok((is, key.filter(|_| is)))
}

/// Device names of HVM and paravirtual instances (EC2 guide, "Device names").
fn is_device(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("/dev/") else {
        return false;
    };
    let lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    if let Some(letters) = rest.strip_prefix("xvd") {
        return matches!(letters.len(), 1 | 2) && lower(letters);
    }
    let Some(rest) = rest.strip_prefix("sd") else {
        return false;
    };
    let (letter, number) = rest.split_at_checked(1).unwrap_or(("", ""));
    letter.len() == 1
        && lower(letter)
        && (number.is_empty()
            || number
                .parse()
                .is_ok_and(|number: u8| (1..=15).contains(&number)))
}

/// `InvalidBlockDeviceMapping`.
pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    bad("InvalidBlockDeviceMapping", message)
}

#[cfg(test)]
mod tests {
    use super::is_device;

    #[test]
    fn device_names_are_those_of_the_guide() {
        for name in [
            "/dev/sda1",
            "/dev/sdf",
            "/dev/xvda",
            "/dev/xvdba",
            "/dev/sdp15",
        ] {
            assert!(is_device(name), "{name}");
        }
        for name in [
            "sda1",
            "/dev/sd",
            "/dev/sda16",
            "/dev/nvme0n1",
            "/dev/xvda1",
            "/dev/sdaa",
            "",
        ] {
            assert!(!is_device(name), "{name}");
        }
    }
}

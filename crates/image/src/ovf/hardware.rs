//! The virtual hardware of an OVF descriptor: its items, and of these the hard disks, in the order in
//! which the machine has them.

use super::envelope::{attribute, is};
use super::error::Damage;
use crate::error::Damage as AnyDamage;
use ondisk::cap;
use ondisk::width::u64_of;
use roxmltree::Node;
use std::collections::BTreeMap;

/// A hard disk of the hardware.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Drive {
    /// `ElementName`, or else `InstanceID`.
    pub(super) name: String,
    host_resource: String,
}

/// What a hard disk is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resource<'d> {
    /// The identifier of a Disk.
    Disk(&'d str),
    /// The identifier of a File.
    File(&'d str),
    Other(&'d str),
}

/// Most items of one machine: each hard disk looks for its controller among them.
const MAX_ITEMS: u64 = 20_000;

/// `ResourceType` of hard disks: disk drive, logical disk (CIM_ResourceAllocationSettingData).
const HARD_DISKS: [&str; 2] = ["17", "31"];

impl Drive {
    pub(super) fn resource(&self) -> Resource<'_> {
        let text = self.host_resource.as_str();
        let path = text.strip_prefix("ovf:").unwrap_or(text);
        let path = path.trim_start_matches('/');
        match path.split_once('/') {
            Some(("disk", id)) => Resource::Disk(id),
            Some(("file", id)) => Resource::File(id),
            _ => Resource::Other(text),
        }
    }
}

/// The machines of a descriptor; more than one are in collections.
pub(super) fn machines<'a, 'd: 'a>(root: Node<'a, 'd>) -> impl Iterator<Item = Node<'a, 'd>> {
    root.descendants().filter(|node| is(*node, "VirtualSystem"))
}

/// The hard disks of a machine.
///
/// Kinds of controllers follow each other as the lowest `InstanceID` of each does, controllers of a
/// kind by their addresses, disks of a controller by theirs: the order of the names that the guest
/// gave them. Disks without a controller come last.
pub(super) fn drives(machine: Node) -> Result<Vec<Drive>, AnyDamage> {
    let items = items(machine)?;
    // The first item of an identifier, so that it is found at once.
    let mut by_id: BTreeMap<&str, &Item> = BTreeMap::new();
    let mut first_of_kind: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for item in &items {
        by_id.entry(&item.instance_id).or_insert(item);
        let first = first_of_kind.entry(item.kind()).or_insert(u64::MAX);
        *first = item.number().min(*first);
    }
    let mut drives = Vec::new();
    for (position, item) in items.iter().enumerate() {
        if !item.is_hard_disk() {
            continue;
        }
        let controller = item.parent.as_deref().and_then(|id| by_id.get(id));
        let place = match controller {
            Some(controller) => {
                let first = first_of_kind.get(&controller.kind()).copied();
                (
                    first.unwrap_or(u64::MAX),
                    controller.address(),
                    controller.number(),
                    item.address_on_parent()?,
                )
            }
            None => (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        };
        drives.push(((place, position), item));
    }
    drives.sort_by_key(|(key, _)| *key);
    // An item may stand there once for each configuration that the machine can be deployed with.
    let mut drives: Vec<_> = drives.into_iter().map(|(_, item)| item).collect();
    drives.dedup_by(|a, b| a.instance_id == b.instance_id && a.host_resource == b.host_resource);
    Ok(drives.into_iter().map(Item::drive).collect())
}

/// The items of the machine's hardware.
pub(super) fn items(machine: Node) -> Result<Vec<Item>, AnyDamage> {
    // Sections after the first with items are for other hypervisors, with the same disks.
    let sections = machine
        .children()
        .filter(|node| is(*node, "VirtualHardwareSection"));
    let mut items = Vec::new();
    for section in sections {
        items = section.children().filter_map(Item::read).collect();
        cap::length(
            "the number of hardware items",
            u64_of(items.len()),
            MAX_ITEMS,
        )?;
        if items.iter().any(Item::is_hard_disk) {
            break;
        }
    }
    Ok(items)
}

/// An Item or StorageItem.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) resource_type: String,
    sub_type: String,
    pub(super) instance_id: String,
    /// The configurations that it is in; all, if it says none.
    pub(super) configurations: Option<String>,
    pub(super) virtual_quantity: String,
    /// The unit of `VirtualQuantity` of what is no count.
    pub(super) allocation_units: String,
    parent: Option<String>,
    address: Option<String>,
    address_on_parent: Option<String>,
    host_resource: String,
    element_name: String,
}

impl Item {
    fn read(node: Node) -> Option<Self> {
        if !is(node, "Item") && !is(node, "StorageItem") {
            return None;
        }
        // Lower and upper bounds of what may be given.
        if attribute(node, "bound").is_some_and(|bound| bound != "normal") {
            return None;
        }
        let mut item = Self {
            configurations: attribute(node, "configuration").map(str::to_owned),
            ..Self::default()
        };
        for child in node.children().filter(Node::is_element) {
            let text = child.text().unwrap_or_default().trim().to_owned();
            match child.tag_name().name() {
                "ResourceType" => item.resource_type = text,
                "ResourceSubType" => item.sub_type = text,
                "InstanceID" | "InstanceId" => item.instance_id = text,
                "Parent" => item.parent = Some(text),
                "Address" => item.address = Some(text),
                "AddressOnParent" => item.address_on_parent = Some(text),
                "HostResource" => item.host_resource = text,
                "VirtualQuantity" => item.virtual_quantity = text,
                "AllocationUnits" => item.allocation_units = text,
                "ElementName" => item.element_name = text,
                _ => {}
            }
        }
        Some(item)
    }

    fn is_hard_disk(&self) -> bool {
        HARD_DISKS.contains(&self.resource_type.as_str())
    }

    /// Controllers of SATA and NVMe have one `ResourceType`.
    fn kind(&self) -> (&str, &str) {
        let sub_type = if self.resource_type == "20" {
            &self.sub_type
        } else {
            ""
        };
        (&self.resource_type, sub_type)
    }

    /// The identifier as a number, which it is by everyone's habit.
    fn number(&self) -> u64 {
        self.instance_id.parse().unwrap_or(u64::MAX)
    }

    /// The number of a controller among those of its kind. What is no number (some write places on
    /// a bus) says nothing about the order.
    fn address(&self) -> u64 {
        let text = self.address.as_deref().unwrap_or("0");
        text.parse().unwrap_or(u64::MAX)
    }

    /// The place of a disk on its controller.
    fn address_on_parent(&self) -> Result<u64, AnyDamage> {
        match self.address_on_parent.as_deref() {
            None | Some("") => Ok(0),
            Some(text) => text.parse().map_err(|_| {
                let (what, value) = ("AddressOnParent", text.to_owned());
                Damage::Number { what, value }.into()
            }),
        }
    }

    fn drive(&self) -> Drive {
        let name = if self.element_name.is_empty() {
            &self.instance_id
        } else {
            &self.element_name
        };
        Drive {
            name: name.clone(),
            host_resource: self.host_resource.clone(),
        }
    }
}

//! How large the machine of an OVF descriptor is.

use super::envelope::{attribute, capacity, elements};
use super::hardware::{self, Item};
use crate::error::Damage as AnyDamage;
use roxmltree::Node;
use std::collections::BTreeMap;

/// The CPUs and the memory of a machine, as far as a description of it tells.
///
/// What is no number, has a unit that is not understood, or is beyond every hypervisor's limit is not
/// told: no disk depends on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MachineSize {
    /// Virtual CPUs, 1 to 4096.
    pub vcpus: Option<u32>,
    /// Memory in MiB, rounded up, 1 to 64 TiB.
    pub memory_mib: Option<u64>,
}

/// `ResourceType` of processors and memory (CIM_ResourceAllocationSettingData).
const PROCESSOR: &str = "3";
const MEMORY: &str = "4";

/// Most CPUs: of hypervisors KVM has the highest limit, 4096.
const MAX_VCPUS: u32 = 4096;
/// Most MiB: 64 TiB, more than hypervisors give to a machine.
const MAX_MEMORY_MIB: u64 = 64 << 20;

impl MachineSize {
    /// Reads the size of a machine of a descriptor, in its default configuration.
    pub(super) fn read(root: Node, machine: Node) -> Result<Self, AnyDamage> {
        let items = hardware::items(machine)?;
        let chosen = default_configuration(root);
        let cpus = sum(&items, chosen, PROCESSOR, |item| {
            item.virtual_quantity.parse().ok()
        });
        let bytes = sum(&items, chosen, MEMORY, |item| {
            capacity(&item.virtual_quantity, &item.allocation_units)
        });
        let vcpus = cpus.and_then(|cpus| u32::try_from(cpus).ok());
        let memory_mib = bytes.map(|bytes| bytes.div_ceil(1 << 20));
        Ok(Self {
            vcpus: vcpus.filter(|cpus| (1..=MAX_VCPUS).contains(cpus)),
            memory_mib: memory_mib.filter(|mib| (1..=MAX_MEMORY_MIB).contains(mib)),
        })
    }
}

/// The configuration that a machine is deployed with if nobody chooses: the one that is marked so, else
/// the first (DSP0243, "DeploymentOptionSection").
fn default_configuration<'a>(root: Node<'a, '_>) -> Option<&'a str> {
    let all = || elements(root, "DeploymentOptionSection", "Configuration");
    let is_default = |node: &Node| matches!(attribute(*node, "default"), Some("true" | "1"));
    let chosen = all().find(is_default).or_else(|| all().next())?;
    attribute(chosen, "id")
}

/// What the items of a type have together; none if there is no item, or one is not understood.
///
/// An item that is for the configuration takes the place of one with its `InstanceID` that is for all.
fn sum(
    items: &[Item],
    configuration: Option<&str>,
    resource_type: &str,
    quantity: impl Fn(&Item) -> Option<u64>,
) -> Option<u64> {
    let mut by_id: BTreeMap<&str, &Item> = BTreeMap::new();
    for item in items
        .iter()
        .filter(|item| item.resource_type == resource_type)
    {
        match &item.configurations {
            None => {
                by_id.entry(&item.instance_id).or_insert(item);
            }
            Some(names)
                if names
                    .split_whitespace()
                    .any(|one| Some(one) == configuration) =>
            {
                by_id.insert(&item.instance_id, item);
            }
            Some(_) => {}
        }
    }
    if by_id.is_empty() {
        return None;
    }
    by_id
        .values()
        .try_fold(0_u64, |sum, item| sum.checked_add(quantity(item)?))
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Envelope;
    use super::MachineSize;
    use std::path::Path;

    const DISK: &str = "<Item><InstanceID>9</InstanceID><ResourceType>17</ResourceType>\
                        <HostResource>ovf:/file/f</HostResource></Item>";

    fn item(id: u32, kind: u32, quantity: &str, units: &str, of: &str) -> String {
        format!(
            "<Item {of}><AllocationUnits>{units}</AllocationUnits><InstanceID>{id}</InstanceID>\
             <ResourceType>{kind}</ResourceType><VirtualQuantity>{quantity}</VirtualQuantity></Item>"
        )
    }

    fn system(items: &str) -> String {
        format!(
            "<VirtualSystem><VirtualHardwareSection>{items}</VirtualHardwareSection></VirtualSystem>"
        )
    }

    fn size(options: &str, systems: &str) -> MachineSize {
        let text = format!(
            "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><References>\
             <File href='a' id='f'/></References>{options}{systems}</Envelope>"
        );
        let envelope = Envelope::parse(Path::new("a.ovf"), text.as_bytes()).unwrap();
        envelope.size
    }

    fn told(vcpus: u32, memory_mib: u64) -> MachineSize {
        MachineSize {
            vcpus: Some(vcpus),
            memory_mib: Some(memory_mib),
        }
    }

    #[test]
    fn hypervisors_write_the_size_each_in_its_way() {
        for (units, quantity) in [
            ("byte * 2^20", "8192"),
            ("MegaBytes", "8192"),
            ("GigaBytes", "8"),
            ("KiloBytes", "8388608"),
            ("byte * 2^30", " 8 "),
            ("byte", "8589934591"),
        ] {
            let cpu = item(1, 3, "4", "hertz * 10^6", "");
            let memory = item(2, 4, quantity, units, "");
            let machine = system(&format!("{cpu}{memory}{DISK}"));
            assert_eq!(size("", &machine), told(4, 8192), "{units}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_told() {
        for (kind, quantity, units) in [
            (3, "0", ""),
            (3, "4097", ""),
            (3, "-2", ""),
            (3, "4294967297", ""),
            (3, "${cpus}", ""),
            (3, "", ""),
            (4, "0", "byte * 2^20"),
            (4, "67108865", "byte * 2^20"),
            (4, "18446744073709551615", "byte * 2^20"),
            (4, "4", "byte * 2^99"),
            (4, "4", "bit"),
            (4, "4", ""),
            (4, "4.5", "GigaBytes"),
            (8, "4", "byte * 2^20"),
        ] {
            let machine = system(&(item(1, kind, quantity, units, "") + DISK));
            let none = MachineSize::default();
            assert_eq!(size("", &machine), none, "{kind} {quantity} {units}");
        }
        // One that is understood is not the whole of two.
        let two = item(1, 4, "4", "GigaBytes", "") + &item(2, 4, "x", "GigaBytes", "");
        assert_eq!(size("", &system(&(two + DISK))).memory_mib, None);
    }

    #[test]
    fn items_add_up_and_bounds_are_none() {
        let items = item(1, 4, "4", "GigaBytes", "")
            + &item(2, 4, "2", "GigaBytes", "")
            + &item(1, 4, "1", "GigaBytes", "bound='min'")
            + &item(3, 3, "2", "", "");
        assert_eq!(size("", &system(&(items + DISK))), told(2, 6144));
    }

    #[test]
    fn the_default_configuration_counts() {
        let items = item(1, 3, "2", "", "")
            + &item(1, 3, "8", "", "configuration='large huge'")
            + &item(2, 4, "4", "GigaBytes", "configuration='small'")
            + &item(2, 4, "16", "GigaBytes", "configuration='large'")
            + DISK;
        let options = |default: &str| {
            format!(
                "<DeploymentOptionSection><Configuration id='small'/>\
                 <Configuration id='large' {default}/></DeploymentOptionSection>"
            )
        };
        let machine = system(&items);
        assert_eq!(size(&options(""), &machine), told(2, 4096));
        assert_eq!(size(&options("default='true'"), &machine), told(8, 16_384));
        assert_eq!(size("", &machine).memory_mib, None);
    }

    #[test]
    fn of_several_machines_none_is_meant() {
        let cpu = item(1, 3, "4", "", "");
        let one = system(&format!("{cpu}{DISK}"));
        let without_disks = system(&item(1, 3, "2", "", ""));
        assert_eq!(size("", &format!("{one}{without_disks}")).vcpus, Some(4));
        assert_eq!(size("", &format!("{one}{one}")), MachineSize::default());
    }
}

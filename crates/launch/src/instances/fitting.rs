//! Which type to propose.

use super::{Architecture, Boots, Hypervisor, InstanceType, Table};

impl Table {
    /// The smallest type of a current generation with at least so many CPUs and so much memory: of
    /// the families for general purposes, for much CPU, or for much memory, virtual, and without
    /// extras that cost. None if nothing is as large, or has that firmware.
    pub fn fitting(
        &self,
        architecture: Architecture,
        vcpus: u32,
        memory_mib: u64,
        boots: Boots,
    ) -> Option<&InstanceType> {
        self.types
            .iter()
            .filter(|one| one.current && one.hypervisor == Hypervisor::Nitro)
            .filter(|one| one.runs(architecture) && one.has(boots))
            .filter(|one| one.vcpus >= vcpus && one.memory_mib >= memory_mib)
            .filter_map(|one| Some((rank(one)?, one)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, one)| one)
    }
}

/// What is smaller is better: size, then how usual the processor is, then the generation: of the
/// current ones the oldest is in the most regions, and asks the least of old drivers.
fn rank(one: &InstanceType) -> Option<(u64, u32, u32)> {
    let mut letters = one.family().chars();
    let class = letters
        .next()
        .filter(|class| matches!(class, 'm' | 'c' | 'r'))?;
    let rest = letters.as_str();
    let kind = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let generation: u32 = rest.strip_suffix(kind)?.parse().ok()?;
    let processor = match kind {
        "i" | "g" => 0,
        "a" => 1,
        // Local disks, more network, higher clocks: somebody has to want them.
        _ => return None,
    };
    // A vCPU costs about what 4 GiB cost.
    let size = u64::from(one.vcpus) * 4096 + one.memory_mib;
    let general = u32::from(class != 'm');
    Some((size, general * 2 + processor, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_usual_type_is_proposed() {
        let table = Table::built_in();
        let name = |architecture, vcpus, mib, boots| {
            let found = table.fitting(architecture, vcpus, mib, boots);
            found.map(|one| one.name.as_str())
        };
        let x86 = Architecture::X86_64;
        assert_eq!(name(x86, 2, 8192, Boots::Uefi), Some("m7i.large"));
        assert_eq!(name(x86, 2, 4096, Boots::LegacyBios), Some("c6i.large"));
        assert_eq!(name(x86, 2, 12_000, Boots::Either), Some("r7i.large"));
        assert_eq!(name(x86, 5, 30_000, Boots::Either), Some("m7i.2xlarge"));
        let arm = Architecture::Arm64;
        assert_eq!(name(arm, 1, 1024, Boots::Uefi), Some("c6g.medium"));
        assert_eq!(name(arm, 1, 1024, Boots::LegacyBios), None);
        assert_eq!(name(x86, 10_000, 1, Boots::Either), None);
    }
}

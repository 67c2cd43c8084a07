//! The instance types that this fake has, and DescribeInstanceTypes.
//!
//! The numbers are those of DescribeInstanceTypes, written down by hand for a few types of each sort.

use super::filter::Filters;
use super::form::Form;
use super::page::Page;
use super::refusal::bad;
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// name, vCPUs, threads per core, MiB, interfaces, addresses on each, EBS volumes, family.
/// Families: `n` Nitro x86, `N` the same with burst credits, `7` Nitro x86 with dedicated EBS limits,
/// `g` Graviton, `G` with burst credits, `8` Graviton with dedicated limits, `x` Xen, `X` with burst
/// credits, `m` x86 metal, `M` Graviton metal.
const TABLE: &str = "\
t3.nano 2 2 512 2 2 27 N
t3.micro 2 2 1024 2 2 27 N
t3.small 2 2 2048 3 4 27 N
t3.medium 2 2 4096 3 6 27 N
t3.large 2 2 8192 3 12 27 N
t3.xlarge 4 2 16384 4 15 27 N
t3.2xlarge 8 2 32768 4 15 27 N
t3a.micro 2 2 1024 2 2 27 N
t3a.small 2 2 2048 2 4 27 N
t3a.medium 2 2 4096 3 6 27 N
t3a.large 2 2 8192 3 12 27 N
m5.large 2 2 8192 3 10 27 n
m5.xlarge 4 2 16384 4 15 27 n
m5.2xlarge 8 2 32768 4 15 27 n
m5.4xlarge 16 2 65536 8 30 27 n
c5.large 2 2 4096 3 10 27 n
c5.xlarge 4 2 8192 4 15 27 n
r5.large 2 2 16384 3 10 27 n
r5.xlarge 4 2 32768 4 15 27 n
m6i.large 2 2 8192 3 10 27 n
m6i.xlarge 4 2 16384 4 15 27 n
m6i.2xlarge 8 2 32768 4 15 27 n
m6i.4xlarge 16 2 65536 8 30 27 n
m6a.large 2 2 8192 3 10 27 n
c6i.large 2 2 4096 3 10 27 n
c6i.xlarge 4 2 8192 4 15 27 n
r6i.large 2 2 16384 3 10 27 n
r6i.xlarge 4 2 32768 4 15 27 n
m7i.large 2 2 8192 3 10 32 7
m7i.xlarge 4 2 16384 4 15 32 7
c7i.large 2 2 4096 3 10 32 7
r7i.large 2 2 16384 3 10 32 7
t4g.nano 2 1 512 2 2 27 G
t4g.micro 2 1 1024 2 2 27 G
t4g.small 2 1 2048 3 4 27 G
t4g.medium 2 1 4096 3 6 27 G
t4g.large 2 1 8192 3 12 27 G
m6g.medium 1 1 4096 2 4 27 g
m6g.large 2 1 8192 3 10 27 g
m6g.xlarge 4 1 16384 4 15 27 g
c6g.large 2 1 4096 3 10 27 g
r6g.large 2 1 16384 3 10 27 g
m7g.medium 1 1 4096 2 4 32 8
m7g.large 2 1 8192 3 10 32 8
c7g.large 2 1 4096 3 10 32 8
r7g.large 2 1 16384 3 10 32 8
t2.nano 1 1 512 2 2 39 X
t2.micro 1 1 1024 2 2 39 X
t2.small 1 1 2048 3 4 39 X
t2.medium 2 1 4096 3 6 39 X
t2.large 2 1 8192 3 12 39 X
m3.medium 1 1 3840 2 6 40 x
m3.large 2 2 7680 3 10 40 x
m4.large 2 2 8192 2 10 39 x
m4.xlarge 4 2 16384 4 15 39 x
c4.large 2 2 3840 3 10 39 x
m5.metal 96 2 393216 15 50 31 m
m6g.metal 64 1 262144 15 50 31 M
";

/// An instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InstanceType {
    pub(super) name: &'static str,
    pub(super) vcpus: u32,
    pub(super) threads: u32,
    pub(super) mib: u32,
    pub(super) interfaces: usize,
    pub(super) addresses: usize,
    pub(super) volumes: usize,
    family: char,
}

static TYPES: LazyLock<Vec<InstanceType>> = LazyLock::new(|| {
    let rows = TABLE.lines();
    rows.filter_map(row).collect()
});

fn row(line: &'static str) -> Option<InstanceType> {
    let mut fields = line.split(' ');
    Some(InstanceType {
        name: fields.next()?,
        vcpus: fields.next()?.parse().ok()?,
        threads: fields.next()?.parse().ok()?,
        mib: fields.next()?.parse().ok()?,
        interfaces: fields.next()?.parse().ok()?,
        addresses: fields.next()?.parse().ok()?,
        volumes: fields.next()?.parse().ok()?,
        family: fields.next()?.chars().next()?,
    })
}

impl InstanceType {
    pub(super) fn find(name: &str) -> Option<&'static InstanceType> {
        TYPES.iter().find(|kind| kind.name == name)
    }

    pub(super) fn architecture(&self) -> &'static str {
        match self.family {
            'g' | 'G' | '8' | 'M' => "arm64",
            _ => "x86_64",
        }
    }

    /// Whether it has NVMe disks and needs ENA: all but Xen.
    pub(super) fn is_nitro(&self) -> bool {
        !matches!(self.family, 'x' | 'X')
    }

    pub(super) fn is_metal(&self) -> bool {
        matches!(self.family, 'm' | 'M')
    }

    pub(super) fn boot_modes(&self) -> &'static [&'static str] {
        match self.family {
            'g' | 'G' | '8' | 'M' => &["uefi"],
            'x' | 'X' | 'm' => &["legacy-bios"],
            _ => &["legacy-bios", "uefi"],
        }
    }

    pub(super) fn is_burstable(&self) -> bool {
        matches!(self.family, 'N' | 'G' | 'X')
    }

    /// T2 has no EBS-optimized network, M3 and its kind have it on request.
    pub(super) fn can_be_ebs_optimized(&self) -> bool {
        self.family != 'X' && self.name != "m3.medium" && self.name != "m3.large"
    }

    pub(super) fn has_tpm(&self) -> bool {
        matches!(self.family, 'n' | 'N' | '7')
    }

    /// Whether interfaces count among the volumes.
    pub(super) fn shares_its_limit(&self) -> bool {
        matches!(self.family, 'n' | 'N' | 'g' | 'G')
    }

    fn item(&self, xml: &mut Xml) {
        let nitro = self.is_nitro();
        let required = |is: bool| if is { "required" } else { "unsupported" };
        xml.text("instanceType", self.name);
        xml.text("currentGeneration", nitro);
        xml.texts("supportedUsageClasses", ["on-demand", "spot"]);
        xml.texts("supportedRootDeviceTypes", ["ebs"]);
        xml.texts("supportedVirtualizationTypes", ["hvm"]);
        xml.text("bareMetal", self.is_metal());
        if !self.is_metal() {
            xml.text("hypervisor", if nitro { "nitro" } else { "xen" });
        }
        xml.group("processorInfo", |xml| {
            xml.texts("supportedArchitectures", [self.architecture()]);
        });
        xml.group("vCpuInfo", |xml| {
            xml.text("defaultVCpus", self.vcpus);
            xml.text("defaultCores", self.cores());
            xml.text("defaultThreadsPerCore", self.threads);
        });
        xml.group("memoryInfo", |xml| xml.text("sizeInMiB", self.mib));
        xml.text("instanceStorageSupported", false);
        xml.group("ebsInfo", |xml| {
            let optimized = if self.can_be_ebs_optimized() {
                "default"
            } else {
                "unsupported"
            };
            xml.text("ebsOptimizedSupport", optimized);
            xml.text("encryptionSupport", "supported");
            xml.text("nvmeSupport", required(nitro));
            xml.text("maximumEbsAttachments", self.volumes);
            let limit = if self.shares_its_limit() {
                "shared"
            } else {
                "dedicated"
            };
            xml.text("attachmentLimitType", limit);
        });
        xml.group("networkInfo", |xml| {
            xml.text("maximumNetworkInterfaces", self.interfaces);
            xml.text("ipv4AddressesPerInterface", self.addresses);
            xml.text("ipv6Supported", true);
            xml.text("enaSupport", required(nitro));
        });
        xml.text("burstablePerformanceSupported", self.is_burstable());
        xml.text("dedicatedHostsSupported", !self.is_burstable());
        xml.texts("supportedBootModes", self.boot_modes());
        let tpm = if self.has_tpm() {
            "supported"
        } else {
            "unsupported"
        };
        xml.text("nitroTpmSupport", tpm);
    }

    pub(super) fn cores(&self) -> u32 {
        self.vcpus / self.threads.max(1)
    }

    fn fact(&self, name: &str) -> Vec<String> {
        let bools = |is: bool| vec![is.to_string()];
        match name {
            "instance-type" => vec![self.name.into()],
            "processor-info.supported-architecture" => vec![self.architecture().into()],
            "bare-metal" => bools(self.is_metal()),
            "current-generation" => bools(self.is_nitro()),
            "supported-boot-mode" => self.boot_modes().iter().map(ToString::to_string).collect(),
            "hypervisor" if self.is_metal() => Vec::new(),
            "hypervisor" => vec![if self.is_nitro() { "nitro" } else { "xen" }.into()],
            "vcpu-info.default-vcpus" => vec![self.vcpus.to_string()],
            "memory-info.size-in-mib" => vec![self.mib.to_string()],
            _ => Vec::new(),
        }
    }
}

/// DescribeInstanceTypes
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let names = form.list("InstanceType");
    let filters = Filters::parse(
        form,
        &[
            "instance-type",
            "processor-info.supported-architecture",
            "bare-metal",
            "current-generation",
            "supported-boot-mode",
            "hypervisor",
            "vcpu-info.default-vcpus",
            "memory-info.size-in-mib",
        ],
    )?;
    if names.len() > 100 {
        return Err(bad("InvalidParameterValue", "over 100 instance types"));
    }
    let unknown: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| InstanceType::find(name).is_none())
        .collect();
    if !unknown.is_empty() {
        let message = format!(
            "The following supplied instance types do not exist: [{}]",
            unknown.join(", ")
        );
        return Err(bad("InvalidInstanceType", message));
    }
    let mut found: Vec<&InstanceType> = TYPES
        .iter()
        .filter(|kind| names.is_empty() || names.contains(&kind.name))
        .filter(|kind| filters.pass(&BTreeMap::new(), |name| kind.fact(name)))
        .collect();
    found.sort_by_key(|kind| kind.name);
    let page = Page::cut(world, form, !names.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("instanceTypeSet", |xml, kind| kind.item(xml)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(TYPES.len(), TABLE.lines().count());
        let names: std::collections::BTreeSet<_> = TYPES.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), TYPES.len());
        assert!(TYPES.iter().all(|kind| kind.vcpus % kind.threads == 0));
        assert!(TYPES.iter().all(|kind| "nN7gG8xXmM".contains(kind.family)));
    }
}

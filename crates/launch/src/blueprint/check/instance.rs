//! The hardware.

use super::Checker;
use crate::blueprint::{Target, Tenancy, TypeChoice, Unresolved};
use crate::instances::{Architecture, Hypervisor, InstanceType, Support};

const TYPE: &str = "instance.type";

impl Checker<'_> {
    pub(super) fn instance(&mut self) {
        self.type_exists();
        self.architecture();
        self.tenancy();
        if let Some(one) = self.instance_type {
            self.cpus(one);
            self.drivers(one);
            self.compare_size(one);
        }
    }

    fn type_exists(&mut self) {
        let Err(why) = self.blueprint.instance_type(&self.context) else {
            return;
        };
        let refresh = "give --instance-types the answer of `aws ec2 describe-instance-types`";
        match why {
            Unresolved::NoType => self.warn(
                TYPE,
                "instance-type-missing",
                "there is no instance type; the machine can be converted, not launched",
                "add `instance: {type: m7i.large}`",
            ),
            Unresolved::UnknownType(name) => {
                let fix = match self.context.types.nearest(&name) {
                    Some(meant) => format!("did you mean {meant}? If it is new, {refresh}"),
                    None => format!("write one as m7i.large; if it is new, {refresh}"),
                };
                let message = format!("no instance type is named {name}");
                self.error(TYPE, "instance-type-unknown", message, fix);
            }
            Unresolved::SourceSize if self.source.is_none() => self.warn(
                TYPE,
                "copy-origin-unknown",
                "the CPUs and the memory of the source are not known here",
                "see that the source's OVF or `hardware` in the project file tells them, or name a type",
            ),
            Unresolved::SourceSize => self.error(
                TYPE,
                "copy-origin-unknown",
                "the disks do not tell the CPUs and the memory of the source",
                "give --vcpus and --memory, and the project file `hardware`; or name a type",
            ),
            why => self.error(
                TYPE,
                "instance-type-too-large",
                why.to_string(),
                "ask for less, name a type of another generation, or another boot mode",
            ),
        }
    }

    fn architecture(&mut self) {
        let guest = self.source.map(|source| source.architecture);
        if guest == Some(None) {
            self.error(
                "metadata.machine",
                "architecture-of-guest",
                "the guest is for processors that EC2 does not have",
                "choose another machine: EC2 has x86_64 and arm64",
            );
            return;
        }
        let guest = guest.flatten();
        let wanted = match &self.blueprint.instance.choice {
            Some(TypeChoice::Fitting(least)) => least.arch,
            _ => None,
        };
        if let (Some(wanted), Some(guest)) = (wanted, guest)
            && wanted != guest
        {
            self.error(
                "instance.type.arch",
                "architecture",
                format!("the guest is for {guest}, not for {wanted}"),
                format!("write {guest}, or leave it out"),
            );
            return;
        }
        let Some(one) = self.instance_type else {
            return;
        };
        let guest_runs = guest.is_none_or(|guest| one.runs(guest));
        let known = one
            .architectures
            .iter()
            .any(|one| *one != Architecture::Mac);
        if known && guest_runs {
            return;
        }
        let runs: Vec<_> = one.architectures.iter().map(|one| one.name()).collect();
        let guest = guest.unwrap_or(Architecture::X86_64);
        let boots = crate::instances::Boots::Either;
        let same_size = self
            .context
            .types
            .fitting(guest, one.vcpus, one.memory_mib, boots);
        let fix = match same_size {
            Some(other) => format!("choose a type for {guest}, as {}", other.name),
            None => format!("choose a type for {guest}"),
        };
        let message = format!(
            "{} is for {}, the guest for {guest}",
            one.name,
            runs.join(", ")
        );
        self.error(TYPE, "architecture", message, fix);
    }

    fn tenancy(&mut self) {
        let instance = &self.blueprint.instance;
        if instance.host_id.is_some() && instance.tenancy != Tenancy::Host {
            self.error(
                "instance.hostId",
                "host-needs-tenancy",
                "a dedicated host is named, but the tenancy is not host",
                "write `tenancy: host`, or remove hostId",
            );
        }
        if instance.tenancy == Tenancy::Host && instance.placement_group.is_some() {
            self.error(
                "instance.placementGroup",
                "placement-on-host",
                "instances on dedicated hosts cannot be in a placement group",
                "remove placementGroup, or change the tenancy",
            );
        }
        let Some(one) = self.instance_type else {
            return;
        };
        if instance.tenancy == Tenancy::Host && !one.dedicated_hosts {
            self.error(
                "instance.tenancy",
                "host-of-type",
                format!("there are no dedicated hosts for {}", one.name),
                "choose another type, or the tenancy dedicated",
            );
        }
        if instance.credit_specification.is_some() && !one.burstable {
            self.error(
                "instance.creditSpecification",
                "credits-of-type",
                format!("{} earns no CPU credits", one.name),
                "remove creditSpecification, or choose a burstable type as t3.large",
            );
        }
    }

    fn cpus(&mut self, one: &InstanceType) {
        let Some(options) = &self.blueprint.instance.cpu_options else {
            return;
        };
        let path = "instance.cpuOptions";
        if one.cores.is_empty() && one.threads.is_empty() {
            self.error(
                path,
                "cpu-options-of-type",
                format!("the cores of {} cannot be chosen", one.name),
                "remove cpuOptions, or choose another type",
            );
            return;
        }
        let listed = |numbers: &[u32]| {
            let words: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            format!("write one of {}", words.join(", "))
        };
        for (field, value, allowed) in [
            ("coreCount", options.core_count, &one.cores),
            ("threadsPerCore", options.threads_per_core, &one.threads),
        ] {
            if !allowed.is_empty() && !allowed.contains(&value) {
                self.error(
                    format!("{path}.{field}"),
                    "cpu-options-of-type",
                    format!("{} cannot have {value}", one.name),
                    listed(allowed),
                );
            }
        }
    }

    /// Disks and network that the type has, and that the guest must be able to use.
    fn drivers(&mut self, one: &InstanceType) {
        let is_xen = one.hypervisor == Hypervisor::Xen;
        let wrong = match self.blueprint.conversion.target {
            Some(Target::Nitro) if is_xen => Some(("nitro", "Xen", "xen")),
            Some(Target::Xen) if !is_xen => Some(("xen", "Nitro", "nitro")),
            _ => None,
        };
        if let Some((target, hardware, right)) = wrong {
            self.error(
                "conversion.target",
                "conversion-target-of-type",
                format!(
                    "{} is {hardware} hardware; converted for {target} alone, the guest would not \
                     find its disk",
                    one.name
                ),
                format!("write {right} or both, or choose another type"),
            );
        }
        if !self.blueprint.boot.ena_support() && one.ena == Support::Required {
            self.error(
                "boot.enaSupport",
                "ena-of-type",
                format!("{} has no network but an Elastic Network Adapter", one.name),
                "write true, or choose a Xen type as t2.large",
            );
        }
        match (self.blueprint.instance.ebs_optimized, one.ebs_optimized) {
            (Some(true), Support::Unsupported) => self.error(
                "instance.ebsOptimized",
                "ebs-optimized-of-type",
                format!("{} has no bandwidth of its own to volumes", one.name),
                "write false, or choose another type",
            ),
            (Some(false), Support::Required) => self.error(
                "instance.ebsOptimized",
                "ebs-optimized-of-type",
                format!("{} always has bandwidth of its own to volumes", one.name),
                "remove ebsOptimized",
            ),
            _ => {}
        }
    }

    fn compare_size(&mut self, one: &InstanceType) {
        let Some(source) = self.source else {
            return;
        };
        let cpus = source.vcpus.filter(|vcpus| *vcpus > one.vcpus);
        let memory = source.memory_mib.filter(|mib| *mib > one.memory_mib);
        if cpus.is_none() && memory.is_none() {
            return;
        }
        let message = format!(
            "{} has {} vCPUs and {} MiB, the source had {} and {}",
            one.name,
            one.vcpus,
            one.memory_mib,
            source.vcpus.unwrap_or(one.vcpus),
            source.memory_mib.unwrap_or(one.memory_mib),
        );
        self.warn(
            TYPE,
            "smaller-than-source",
            message,
            "choose a larger type, unless the source was too large",
        );
    }
}

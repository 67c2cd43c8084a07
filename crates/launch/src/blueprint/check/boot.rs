//! Firmware.

use super::Checker;
use crate::blueprint::{BootMode, HttpTokens, boots_of};
use crate::instances::{Architecture, Boots, Hypervisor, InstanceType};
use base64::Engine;

const MODE: &str = "boot.mode";

impl Checker<'_> {
    pub(super) fn boot(&mut self) {
        self.mode_of_source();
        if let Some(one) = self.instance_type {
            self.mode_of_type(one);
        }
        self.tpm();
        self.uefi_data();
        self.root_device_name();
        let boot = &self.blueprint.boot;
        let optional = self.blueprint.metadata_options.http_tokens == Some(HttpTokens::Optional);
        if boot.imds_support.is_some() && optional {
            self.error(
                "boot.imdsSupport",
                "imds-contradiction",
                "the image would want IMDSv2, and the instance would not",
                "remove imdsSupport, or write `metadataOptions: {httpTokens: required}`",
            );
        }
        let is_xen = |one: &InstanceType| one.hypervisor == Hypervisor::Xen;
        if boot.sriov_net_support.is_some() && !self.instance_type.is_none_or(is_xen) {
            self.error(
                "boot.sriovNetSupport",
                "sriov-of-type",
                "this is for old Xen instances alone, and cannot be taken back",
                "remove it",
            );
        }
    }

    /// What the disks can be booted with.
    fn mode_of_source(&mut self) {
        let mode = self.blueprint.boot.mode;
        let Some(source) = self.source else {
            return;
        };
        let (bios, uefi) = (source.firmware.bios, source.firmware.uefi);
        let boots = match mode {
            BootMode::Auto => return,
            BootMode::LegacyBios => bios,
            BootMode::Uefi => uefi,
            BootMode::UefiPreferred => bios && uefi,
        };
        if boots {
            return;
        }
        let (has, right) = match (bios, uefi) {
            (true, true) => ("both firmwares", "auto"),
            (true, false) => ("a PC BIOS alone", "legacy-bios"),
            (false, true) => ("UEFI alone", "uefi"),
            (false, false) => ("no firmware that is known", "auto"),
        };
        self.error(
            MODE,
            "boot-mode-of-source",
            format!("the disks boot with {has}"),
            format!("write {right}"),
        );
    }

    fn mode_of_type(&mut self, one: &InstanceType) {
        let mode = self.blueprint.boot.mode;
        let is_arm = one.runs(Architecture::Arm64);
        if is_arm && matches!(mode, BootMode::LegacyBios | BootMode::UefiPreferred) {
            self.error(
                MODE,
                "boot-mode-of-architecture",
                format!("{} is for arm64, which boots with UEFI alone", one.name),
                "write uefi",
            );
            return;
        }
        let needed = boots_of(mode, self.source);
        if one.has(needed) {
            return;
        }
        let wanted = match needed {
            Boots::LegacyBios => "a PC BIOS",
            Boots::Uefi => "UEFI",
            Boots::Either => "firmware that is known",
        };
        let arch = if is_arm {
            Architecture::Arm64
        } else {
            Architecture::X86_64
        };
        let types = self.context.types;
        let other = types.fitting(arch, one.vcpus, one.memory_mib, needed);
        let fix = match other {
            Some(other) => format!("choose another type, as {}, or another mode", other.name),
            None => "choose another type or another mode".to_owned(),
        };
        let path = if mode == BootMode::Auto {
            "instance.type"
        } else {
            MODE
        };
        let message = format!("{} has not got {wanted}", one.name);
        self.error(path, "boot-mode-of-type", message, fix);
    }

    fn tpm(&mut self) {
        if self.blueprint.boot.tpm.is_none() {
            return;
        }
        let path = "boot.tpm";
        if self.blueprint.boot.mode != BootMode::Uefi {
            self.error(
                path,
                "tpm-needs-uefi",
                "a NitroTPM is there with UEFI alone, said as such",
                "write `mode: uefi`, or remove tpm",
            );
        }
        if let Some(one) = self.instance_type.filter(|one| !one.nitro_tpm) {
            self.error(
                path,
                "tpm-of-type",
                format!("{} has no NitroTPM", one.name),
                "choose another type, as m7i.large, or remove tpm",
            );
        }
    }

    fn uefi_data(&mut self) {
        let Some(data) = &self.blueprint.boot.uefi_data else {
            return;
        };
        let path = "boot.uefiData";
        let engine = base64::engine::general_purpose::STANDARD;
        if engine.decode(data).is_err() {
            self.error(
                path,
                "uefi-data-form",
                "this is not base64",
                "write what `aws ec2 get-instance-uefi-data` prints, in one line",
            );
        }
        if self.blueprint.boot.mode == BootMode::LegacyBios {
            self.error(
                path,
                "uefi-data-without-uefi",
                "a PC BIOS has no UEFI variables",
                "remove uefiData, or write `mode: uefi`",
            );
        }
    }

    fn root_device_name(&mut self) {
        let Some(name) = self.blueprint.boot.root_device_name.as_deref() else {
            return;
        };
        let path = "boot.rootDeviceName";
        if !matches!(name, "/dev/sda1" | "/dev/xvda") {
            self.error(
                path,
                "root-device-name",
                format!("{name} is not a name that EC2 boots from"),
                "write /dev/sda1 or /dev/xvda",
            );
        }
        let root = self.blueprint.root_disk();
        let root = root.and_then(|at| Some((at, self.blueprint.disks.get(at)?)));
        if let Some((at, disk)) = root
            && let Some(own) = disk.device_name.as_deref().filter(|own| *own != name)
        {
            self.error(
                path,
                "root-device-name-differs",
                format!("the root disk, disks[{at}], is named {own}"),
                format!("write {own} here, or remove one of them"),
            );
        }
    }
}

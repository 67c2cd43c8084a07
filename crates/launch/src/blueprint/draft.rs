//! A first blueprint, made from what inspection found.

use super::{Blueprint, OsType, SourceFacts, boots_of};
use crate::blueprint::BootMode;
use crate::instances::{Architecture, Boots, Table};
use std::fmt::Write as _;

/// What is proposed where nothing tells the size of the source.
const VCPUS: u32 = 2;
const MEMORY_MIB: u64 = 4096;

/// What a draft is made of.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The machine's name, as a blueprint may have it.
    pub machine: &'a str,
    /// What the operating system calls itself.
    pub os: &'a str,
    /// What has to be licensed, if inspection tells.
    pub os_type: Option<OsType>,
    /// How the disks are named on the command line. An archive may hold several: then it is one
    /// here and several disks of the source.
    pub sources: &'a [String],
    /// What inspection found.
    pub facts: &'a SourceFacts,
    /// The instance types.
    pub types: &'a Table,
}

impl Draft<'_> {
    /// Writes the draft, with what it was made of in comments.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        let facts = self.facts;
        let _ = writeln!(
            text,
            "# What the target of {} is to be. `rehost blueprint check` tells what cannot be;\n\
             # `rehost blueprint schema` makes editors complete it. Every field: docs/blueprint.md\n\
             apiVersion: rehost/v1\n\
             kind: Blueprint\n\
             metadata:\n  \
               machine: {}\n\
             \n\
             # Where it is launched; without it, where the command line or the environment says.\n\
             # region: eu-west-1\n",
            comment(self.machine),
            quoted(self.machine),
        );
        self.instance(&mut text);
        self.boot(&mut text);
        self.disks(&mut text);
        if let Some(name) = self.licensed() {
            let _ = writeln!(
                text,
                "# An image made from snapshots carries no license: this one is your own.\n\
                 licensing:\n  \
                   osType: {name}\n  \
                   byol: true\n"
            );
        }
        let address = facts.addresses.first();
        let address = address.map_or_else(|| "10.0.1.25".to_owned(), ToString::to_string);
        let _ = writeln!(
            text,
            "# Without interfaces, the target is in the default subnet of the default VPC.\n\
             # network:\n\
             #   interfaces:\n\
             #     - subnetId: subnet-0123456789abcdef0\n\
             #       securityGroupIds: [sg-0123456789abcdef0]\n\
             #       privateIps: [{address}]\n\
             #       publicIp: no\n\
             \n\
             # iam:\n\
             #   instanceProfile: web-server\n\
             \n\
             metadataOptions:\n  \
               httpTokens: required\n\
             \n\
             # tags: {{owner: web}}\n\
             \n\
             launch:\n  \
               disposition: started\n  \
               wait: status-ok\n\
             \n\
             conversion:\n  \
               # nitro, xen or both\n  \
               target: nitro"
        );
        text
    }

    fn instance(&self, text: &mut String) {
        let facts = self.facts;
        let architecture = facts.architecture.unwrap_or(Architecture::X86_64);
        let (vcpus, memory) = (
            facts.vcpus.unwrap_or(VCPUS),
            facts.memory_mib.unwrap_or(MEMORY_MIB),
        );
        let found = self
            .types
            .fitting(architecture, vcpus, memory, self.boots());
        let known = facts.vcpus.is_some() && facts.memory_mib.is_some();
        let why = if known {
            "as the source had"
        } else {
            "the disks do not tell what the source had"
        };
        text.push_str("instance:\n");
        match found {
            Some(found) => {
                let _ = writeln!(
                    text,
                    "  # {architecture}, {} vCPUs, {} MiB: {why}\n  type: {}\n",
                    found.vcpus, found.memory_mib, found.name
                );
            }
            None => {
                let _ = writeln!(
                    text,
                    "  # No type of a current generation fits; a smaller or older one may do\n  \
                     type: {{minVcpu: {vcpus}, minMemMiB: {memory}, arch: {architecture}}}\n"
                );
            }
        }
    }

    /// The word for an operating system that is sold, of those that run on shared hardware.
    fn licensed(&self) -> Option<&'static str> {
        match self.os_type {
            Some(OsType::Rhel) => Some("rhel"),
            Some(OsType::Suse) => Some("suse"),
            Some(OsType::Linux | OsType::Windows) | None => None,
        }
    }

    /// What the source was booted with; BIOS and UEFI both leave the choice.
    fn boots(&self) -> Boots {
        boots_of(BootMode::Auto, Some(self.facts))
    }

    fn boot(&self, text: &mut String) {
        let (found, mode) = match (self.facts.firmware.bios, self.facts.firmware.uefi) {
            (true, true) => ("BIOS and UEFI can boot the disks", "uefi-preferred"),
            (true, false) => ("a PC BIOS can boot the disks, UEFI cannot", "legacy-bios"),
            (false, true) => ("UEFI can boot the disks, a PC BIOS cannot", "uefi"),
            (false, false) => ("no boot loader was found", "auto"),
        };
        // There is no BIOS for it.
        let mode = match self.facts.architecture {
            Some(Architecture::Arm64) if mode == "uefi-preferred" => "uefi",
            _ => mode,
        };
        let _ = writeln!(text, "boot:\n  # {found}\n  mode: {mode}\n");
    }

    fn disks(&self, text: &mut String) {
        let _ = writeln!(text, "# {}\ndisks:", comment(self.os));
        let one_each = self.sources.len() == self.facts.disks.len();
        let several = self.facts.disks.len() > 1;
        if !one_each {
            let sources: Vec<_> = self.sources.iter().map(|source| comment(source)).collect();
            let _ = writeln!(text, "  # of {}, in their order", sources.join(", "));
        }
        for (at, disk) in self.facts.disks.iter().enumerate() {
            let table = if disk.mbr { ", MBR" } else { "" };
            let _ = writeln!(
                text,
                "  # {}: {} bytes{table}",
                comment(&disk.name),
                disk.size
            );
            let mut lines = Vec::new();
            if let (true, Some(source)) = (one_each, self.sources.get(at)) {
                lines.push(format!("source: {}", quoted(source)));
            }
            if several {
                lines.push(format!("role: {}", if disk.root { "root" } else { "data" }));
            }
            lines.push("type: gp3".to_owned());
            lines.push(format!("sizeGiB: {}", disk.size_gib().max(1)));
            for (number, line) in lines.iter().enumerate() {
                let start = if number == 0 { "  - " } else { "    " };
                let _ = writeln!(text, "{start}{line}");
            }
        }
        text.push('\n');
    }
}

impl Blueprint {
    /// A blueprint that says nothing but which machine it is about.
    pub fn of_machine(metadata: super::Metadata) -> Self {
        Self {
            api_version: Some(super::ApiVersion::V1),
            kind: Some(super::Kind::Blueprint),
            metadata,
            region: None,
            availability_zone: None,
            instance: Default::default(),
            boot: Default::default(),
            disks: Vec::new(),
            network: Default::default(),
            iam: Default::default(),
            metadata_options: Default::default(),
            tags: Default::default(),
            licensing: Default::default(),
            launch: Default::default(),
            conversion: Default::default(),
            upload: Default::default(),
        }
    }
}

/// Text for a comment: what comes out of a guest must not end its line.
fn comment(text: &str) -> String {
    let breaks = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    text.replace(breaks, "\u{fffd}")
}

/// A text as a scalar of YAML: bare where it can be nothing else, else in quotes.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/')
        && text.bytes().all(plain)
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_word {
        return text.to_owned();
    }
    // YAML reads what JSON writes.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blueprint::{Context, SourceDisk, SourceFirmware};
    use crate::document::read;

    fn disk(name: &str, size: u64, root: bool) -> SourceDisk {
        SourceDisk {
            name: name.to_owned(),
            size,
            mbr: false,
            root,
        }
    }

    #[test]
    fn a_draft_passes_the_check_against_its_own_source() {
        let firmware = |bios, uefi| SourceFirmware { bios, uefi };
        for (architecture, firmware) in [
            (Architecture::X86_64, firmware(true, false)),
            (Architecture::X86_64, firmware(false, true)),
            (Architecture::X86_64, firmware(true, true)),
            (Architecture::Arm64, firmware(false, true)),
        ] {
            for disks in [
                vec![disk("a.vmdk", 20 << 30, true)],
                vec![disk("d:\n ü#.vmdk", 3 << 40, false), disk("b", 1, true)],
            ] {
                let facts = SourceFacts {
                    architecture: Some(architecture),
                    firmware,
                    disks,
                    ..SourceFacts::default()
                };
                let sources: Vec<_> = facts.disks.iter().map(|disk| disk.name.clone()).collect();
                let draft = Draft {
                    machine: "yes",
                    os: "Debian\nregion: x",
                    os_type: Some(OsType::Rhel),
                    sources: &sources,
                    facts: &facts,
                    types: Table::built_in(),
                };
                let text = draft.to_yaml();
                let document = read::<Blueprint>(&text).unwrap_or_else(|e| panic!("{e:?} {text}"));
                let context = Context {
                    source: Some(&facts),
                    ..Context::default()
                };
                assert_eq!(Blueprint::check(&document, &context), [], "{text}");
                let blueprint = document.value();
                assert_eq!(blueprint.metadata.machine, "yes");
                assert_eq!(blueprint.licensing.os_type, Some(OsType::Rhel));
                let said = blueprint.disks.iter().map(|disk| disk.source.clone());
                assert_eq!(said.collect::<Option<Vec<_>>>().unwrap(), sources);
                assert_eq!(
                    blueprint.root_disk(),
                    facts.disks.iter().position(|disk| disk.root)
                );
            }
        }
    }

    #[test]
    fn disks_of_one_archive_are_drafted_without_names() {
        let facts = SourceFacts {
            architecture: Some(Architecture::X86_64),
            firmware: SourceFirmware {
                bios: true,
                uefi: false,
            },
            disks: vec![disk("a", 1 << 30, true), disk("b", 1 << 30, false)],
            ..SourceFacts::default()
        };
        let draft = Draft {
            machine: "m",
            os: "",
            os_type: None,
            sources: &["m.ova".to_owned()],
            facts: &facts,
            types: Table::built_in(),
        };
        let blueprint = read::<Blueprint>(&draft.to_yaml()).unwrap().into_value();
        assert_eq!(blueprint.disks.len(), 2);
        assert!(blueprint.disks.iter().all(|disk| disk.source.is_none()));
    }
}

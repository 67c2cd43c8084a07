//! cloud-init must find EC2, and must not take the machine for a new one.
//!
//! A guest that lived elsewhere has another datasource, is switched off by its installer, or would
//! make new host keys and a new host name for the new instance-id (linux-guests.md, item 50).
//! Password logins stay as sshd has them.

use super::command_lines::{self, Edit};
use super::network::has_cards;
use crate::{Draft, Error, NetworkMode, Rule, Severity};
use guest::GuestPath;
use guest::cloud_init::Disabled;
use guest::ini::Ini;

/// Switches cloud-init to EC2 and keeps the machine's identity.
pub(super) const RULE: Rule = Rule {
    id: "cloud-init",
    summary: "let cloud-init find EC2 and keep host keys, users and host name",
    applies: |facts, _| facts.cloud_init.is_some(),
    run,
};

/// Sorts behind `99-*` and `99_*` of installers and other clouds: the last file rules.
const OWN: &str = "/etc/cloud/cloud.cfg.d/99_zz-rehost.cfg";
const WORD: &str = "cloud-init=disabled";
const SETTINGS: &str = "\
# Written by rehost: this machine was moved, it is not new.
datasource_list: [ Ec2, None ]
# Users, keys and names stay what they were.
users: []
disable_root: false
ssh_pwauth: unchanged
ssh_deletekeys: false
preserve_hostname: true
manage_etc_hosts: false
";
const NO_NETWORK: &str = "\
# The network is configured in the distribution's own files.
network: {config: disabled}
";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let facts = draft.facts();
    let Some(cloud_init) = &facts.cloud_init else {
        return Ok(());
    };
    for reason in &cloud_init.disabled_by {
        enable(draft, reason)?;
    }
    for path in &cloud_init.leftovers {
        draft.remove(path, "an installer or another cloud left it for cloud-init")?;
    }
    let mut settings = SETTINGS.to_owned();
    if draft.options().network != NetworkMode::Leave && has_cards(&facts.network) {
        settings.push_str(NO_NETWORK);
    }
    draft.write(
        &GuestPath::from(OWN),
        settings,
        "cloud-init would look for another cloud, and give a moved machine a new identity",
    )
}

fn enable(draft: &mut Draft<'_>, reason: &Disabled) -> Result<(), Error> {
    let why = "cloud-init is switched off";
    match reason {
        Disabled::Marker(path) | Disabled::Masked(path) => draft.remove(path, why)?,
        Disabled::CommandLine(_) => command_lines::edit(
            draft,
            &Edit {
                why,
                replace: &|line| {
                    line.remove(|word| word == WORD);
                },
                add: &|_, _| Vec::new(),
            },
        )?,
        Disabled::Environment(path) => {
            if let Some(bytes) = draft.read(path)? {
                draft.write(path, without_environment(&bytes), why)?;
            }
        }
        Disabled::Policy(path) => {
            if let Some(text) = draft.read_text(path)? {
                draft.write(path, without_policy(&text), why)?;
            }
        }
        _ => {}
    }
    draft.find(
        Severity::Info,
        "cloud-init was switched off and is switched on, with the machine's identity kept",
    );
    Ok(())
}

fn without_environment(bytes: &[u8]) -> Vec<u8> {
    let mut ini = Ini::parse(bytes);
    let values: Vec<String> = ini
        .values("Manager", "DefaultEnvironment")
        .flat_map(str::split_whitespace)
        .filter(|word| !word.contains(WORD))
        .map(str::to_owned)
        .collect();
    if values.is_empty() {
        ini.remove("Manager", |key| key == "DefaultEnvironment");
    } else {
        ini.set("Manager", "DefaultEnvironment", &values.join(" "));
    }
    ini.render()
}

/// ds-identify's configuration without its policy: then it looks for datasources.
fn without_policy(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.trim_start().starts_with("policy:"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn what_keeps_it_from_ec2_goes() {
        let guest = TestGuest::of(&[
            ("/etc/cloud/cloud.cfg", "users: [default]\n"),
            ("/etc/cloud/cloud-init.disabled", ""),
            ("/etc/cloud/ds-identify.cfg", "policy: disabled\n# x\n"),
            (
                "/etc/cloud/cloud.cfg.d/99-installer.cfg",
                "datasource_list: [None]\n",
            ),
            (
                "/etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                "datasource_list: [NoCloud]\n",
            ),
            (
                "/etc/systemd/system.conf",
                "[Manager]\nDefaultEnvironment=A=1 KERNEL_CMDLINE=cloud-init=disabled\n",
            ),
            ("/etc/systemd/system/cloud-init.service", "-> /dev/null"),
            (
                "/boot/grub/grub.cfg",
                "menuentry 'A' {\n linux /vmlinuz ro cloud-init=disabled\n}\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert!(!after.has("/etc/cloud/cloud-init.disabled"));
        assert!(!after.has("/etc/cloud/cloud.cfg.d/99-installer.cfg"));
        assert!(after.has("/etc/cloud/cloud.cfg.d/90_dpkg.cfg"));
        assert!(!after.has("/etc/systemd/system/cloud-init.service"));
        assert_eq!(after.text("/etc/cloud/ds-identify.cfg"), "# x\n");
        assert_eq!(
            after.text("/etc/systemd/system.conf"),
            "[Manager]\nDefaultEnvironment=A=1\n"
        );
        assert!(after.text("/boot/grub/grub.cfg").contains("/vmlinuz ro\n"));
        assert_eq!(after.text(OWN), SETTINGS);
    }

    #[test]
    fn it_leaves_a_network_alone_that_is_configured() {
        let guest = TestGuest::of(&[
            ("/etc/cloud/cloud.cfg", ""),
            ("/etc/network/interfaces", "iface eth0 inet dhcp\n"),
        ]);
        assert!(
            guest
                .run(&[RULE])
                .text(OWN)
                .ends_with("network: {config: disabled}\n")
        );
    }

    #[test]
    fn a_guest_without_it_gets_none() {
        assert!(
            TestGuest::of(&[("/etc/fstab", "")])
                .run(&[RULE])
                .changed
                .is_empty()
        );
    }
}

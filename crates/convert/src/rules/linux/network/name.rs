//! The first network card keeps the name that the guest's configuration, its firewall and its
//! services use.
//!
//! A card is `ens5`, `enX0` or `eth0` on EC2, by instance type and by systemd's version. A `.link`
//! file that looks at the driver alone gives the old name on all of them: proven on guests that
//! came up as `ens33` (initramfs.md, section 2.4). The hardware address is not known before
//! launch, so that only one card can keep its name this way.

use super::{cards, ifcfg, is_pattern, red_hat};
use crate::{Draft, Error, NetworkMode, Rule, Severity, Target};
use guest::ini::Ini;
use guest::network::{Interface, Stack};
use guest::{Facts, GuestPath};

/// Names the first card by its driver.
pub(in super::super) const RULE: Rule = Rule {
    id: "network-name",
    summary: "let the first network card keep its name",
    applies: |_, options| options.network != NetworkMode::Leave,
    run,
};

const LINK: &str = "/etc/systemd/network/10-rehost.link";
/// Drivers of EC2's cards, then those of the hypervisors that a converted guest is tried on.
const DRIVERS: &str = "ena ixgbevf vif virtio_net e1000 e1000e vmxnet3";
/// systemd 209 and later, which know `.link` files, bring one of these.
const DEFAULT_LINKS: [&str; 2] = [
    "/usr/lib/systemd/network/99-default.link",
    "/lib/systemd/network/99-default.link",
];
/// RHEL 7 brings this one: there names come from udev rules, and what `.link` files say of them is
/// not asked.
const SLOT_RULES: [&str; 2] = [
    "/usr/lib/udev/rules.d/80-net-name-slot.rules",
    "/lib/udev/rules.d/80-net-name-slot.rules",
];
/// Before those, and before what names cards that have no name yet.
const UDEV_RULE: &str = "/etc/udev/rules.d/70-rehost-net.rules";
/// The first systemd that gives another name to a card that got one in the initramfs.
const NAMES_AGAIN: u32 = 243;

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let names = names(draft)?;
    let Some((first, others)) = names.split_first() else {
        return Ok(());
    };
    if !others.is_empty() {
        draft.find(
            Severity::Warning,
            format!(
                "only {first} keeps its name; {} will be named by the instance",
                others.join(", ")
            ),
        );
    }
    if let Some((path, text)) = file(draft)? {
        let why = format!("the guest's configuration knows its network card as {first}");
        draft.write(&path, text, why)?;
    }
    Ok(())
}

/// The file that keeps the first card's name, and what it says; none where the name holds anyway.
fn file(draft: &Draft<'_>) -> Result<Option<(GuestPath, String)>, Error> {
    let names = names(draft)?;
    let Some(first) = names.first() else {
        return Ok(None);
    };
    let by_link = any_exists(draft, &DEFAULT_LINKS)?;
    let by_slot = any_exists(draft, &SLOT_RULES)?;
    // Without either, cards are eth0 and so on as the kernel finds them.
    let kernel_names =
        first == "eth0" && (without_predictable_names(draft.facts()) || !(by_link || by_slot));
    let nitro_name = first == "ens5" && draft.options().target == Target::Nitro;
    if kernel_names || nitro_name {
        return Ok(None);
    }
    if by_slot || !by_link {
        let drivers = DRIVERS.replace(' ', "|");
        // Of several cards only the first may ask for the name: the others would wait for it.
        let text = format!(
            "# Written by rehost: the first network card keeps its name on any hardware.\n\
             SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"{drivers}\", KERNEL==\"eth0\", \
             NAME=\"{first}\"\n"
        );
        return Ok(Some((UDEV_RULE.into(), text)));
    }
    let text = format!(
        "# Written by rehost: the first network card keeps its name on any hardware.\n\
         [Match]\nType=ether\nDriver={DRIVERS}\n\n[Link]\nNamePolicy=\nName={first}\n"
    );
    Ok(Some((LINK.into(), text)))
}

/// The same for images that drive network cards: a card gets its name there, and systemd before 243
/// does not name it a second time (`should_rename` in `udev/net/link-config.c`). dracut copies what
/// names cards into images for this host only.
pub(in super::super) fn file_in_initramfs(
    draft: &Draft<'_>,
) -> Result<Option<(GuestPath, String)>, Error> {
    let systemd = draft.facts().packages.version("systemd");
    let number = systemd.and_then(|version| version.split(|c: char| !c.is_ascii_digit()).next());
    let number: Option<u32> = number.and_then(|number| number.parse().ok());
    let names_once = number.is_some_and(|number| number < NAMES_AGAIN);
    if !names_once || draft.options().network == NetworkMode::Leave {
        return Ok(None);
    }
    file(draft)
}

fn any_exists(draft: &Draft<'_>, paths: &[&str]) -> Result<bool, Error> {
    for path in paths {
        if draft.exists(&(*path).into())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of the configured cards, those that start at boot first, of these that with the default
/// route: installers leave a file behind for every card that was not set up.
fn names(draft: &Draft<'_>) -> Result<Vec<String>, Error> {
    let mut ranked = Vec::new();
    for card in cards(&draft.facts().network) {
        ranked.push(((!starts(draft, card)?, card.gateways.is_empty()), card));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut names: Vec<String> = Vec::new();
    for (_, card) in ranked {
        let name = card.name.as_ref();
        if let Some(name) = name.filter(|name| is_possible(name) && !names.contains(name)) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Whether the card is brought up at boot by what is read at all.
fn starts(draft: &Draft<'_>, card: &Interface) -> Result<bool, Error> {
    let bytes = match card.stack {
        Stack::Ifcfg if red_hat::reads_no_ifcfg(draft.facts()) => return Ok(false),
        Stack::Ifcfg | Stack::NetworkManager => draft.read(&card.file)?.unwrap_or_default(),
        _ => return Ok(true),
    };
    Ok(match card.stack {
        Stack::Ifcfg => ifcfg::starts(&bytes),
        _ => !matches!(
            Ini::parse(&bytes).value("connection", "autoconnect"),
            Some("false" | "0")
        ),
    })
}

/// Whether a text can be the name of one interface: Linux takes 15 bytes.
pub(super) fn is_possible(name: &str) -> bool {
    !name.is_empty() && name.len() <= 15 && !is_pattern(name) && !name.contains(['/', '%'])
}

/// Whether the kernel's own names are in use: `net.ifnames=0` on every command line.
fn without_predictable_names(facts: &Facts) -> bool {
    let entries = &facts.boot.entries;
    !entries.is_empty()
        && entries.iter().all(|entry| {
            let mut words = entry.arguments.split_whitespace();
            words.any(|word| word == "net.ifnames=0")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::rules::linux::testing::TestGuest;

    const DEFAULT: (&str, &str) = ("/lib/systemd/network/99-default.link", "[Match]\n");

    #[test]
    fn the_card_with_the_default_route_keeps_its_name() {
        let guest = TestGuest::of(&[
            DEFAULT,
            (
                "/etc/network/interfaces",
                "iface ens34 inet static\n address 10.1.0.1/24\niface ens33 inet static\n address 10.0.0.1/24\n gateway 10.0.0.254\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert!(
            after
                .text(LINK)
                .ends_with("[Link]\nNamePolicy=\nName=ens33\n"),
            "{}",
            after.text(LINK)
        );
        assert!(after.findings[0].contains("ens34"));
    }

    #[test]
    fn a_card_that_does_not_start_gives_way() {
        let scripts = "/etc/sysconfig/network-scripts/ifcfg-";
        let connections = "/etc/NetworkManager/system-connections/";
        let guest = TestGuest::of(&[
            DEFAULT,
            (
                &format!("{scripts}ens160"),
                "DEVICE=ens160\nONBOOT=no\nBOOTPROTO=static\nIPADDR=10.1.0.5\nGATEWAY=10.1.0.1\n",
            ),
            (
                &format!("{scripts}ens192"),
                "DEVICE=ens192\nONBOOT=yes\nBOOTPROTO=dhcp\n",
            ),
        ]);
        assert!(guest.run(&[RULE]).text(LINK).ends_with("Name=ens192\n"));
        let guest = TestGuest::of(&[
            DEFAULT,
            (
                &format!("{connections}a.nmconnection"),
                "[connection]\ntype=ethernet\ninterface-name=ens160\nautoconnect=false\n",
            ),
            (
                &format!("{connections}b.nmconnection"),
                "[connection]\ntype=ethernet\ninterface-name=ens192\n",
            ),
        ]);
        assert!(guest.run(&[RULE]).text(LINK).ends_with("Name=ens192\n"));
    }

    #[test]
    fn names_that_hold_anyway_need_no_file() {
        let eth0 = ("/etc/network/interfaces", "iface eth0 inet dhcp\n");
        let cfg = (
            "/boot/grub/grub.cfg",
            "menuentry 'A' {\n linux /vmlinuz net.ifnames=0\n}\n",
        );
        assert!(
            TestGuest::of(&[DEFAULT, eth0, cfg])
                .run(&[RULE])
                .changed
                .is_empty()
        );
        let any = (
            "/etc/netplan/a.yaml",
            "network: {ethernets: {a: {match: {name: 'e*'}, dhcp4: yes}}}\n",
        );
        assert!(
            TestGuest::of(&[DEFAULT, any])
                .run(&[RULE])
                .changed
                .is_empty()
        );
        let ens5 = ("/etc/network/interfaces", "iface ens5 inet dhcp\n");
        let nitro = Options {
            target: Target::Nitro,
            ..Options::default()
        };
        let guest = TestGuest::of(&[DEFAULT, ens5]);
        assert!(
            guest
                .clone()
                .with_options(nitro)
                .run(&[RULE])
                .changed
                .is_empty()
        );
        assert!(guest.run(&[RULE]).has(LINK));
    }

    #[test]
    fn an_old_udev_gets_a_rule() {
        let eth1 = ("/etc/network/interfaces", "iface eth1 inet dhcp\n");
        let slots = ("/usr/lib/udev/rules.d/80-net-name-slot.rules", "");
        for files in [&[eth1][..], &[eth1, DEFAULT, slots]] {
            let after = TestGuest::of(files).run(&[RULE]);
            assert_eq!(after.changed, [UDEV_RULE]);
            assert!(
                after.text(UDEV_RULE).ends_with(
                    "DRIVERS==\"ena|ixgbevf|vif|virtio_net|e1000|e1000e|vmxnet3\", KERNEL==\"eth0\", NAME=\"eth1\"\n"
                ),
                "{}",
                after.text(UDEV_RULE)
            );
        }
        let eth0 = ("/etc/network/interfaces", "iface eth0 inet dhcp\n");
        assert!(TestGuest::of(&[eth0]).run(&[RULE]).changed.is_empty());
        assert!(TestGuest::of(&[eth0, slots]).run(&[RULE]).has(UDEV_RULE));
    }
}

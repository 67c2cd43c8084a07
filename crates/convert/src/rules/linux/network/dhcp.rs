//! Addresses come from DHCP on EC2: the VPC knows no others.
//!
//! Every configured card keeps its name and its stack and asks DHCP (linux-guests.md, items 29 to
//! 34). Bonds, bridges and VLANs are left as they are and reported: what they join is not there.

use super::{cards, dhclient, files, ifupdown, keyfile, netplan, networkd, red_hat};
use crate::{Draft, Error, NetworkMode, Rule, Severity};
use guest::network::{InterfaceKind, Method, Netplan, Stack};
use guest::{Facts, GuestPath};
use std::collections::BTreeSet;

/// Makes all cards ask DHCP.
pub(in super::super) const RULE: Rule = Rule {
    id: "network-dhcp",
    summary: "make every configured network card ask DHCP, under its own name",
    applies: |_, options| options.network == NetworkMode::Dhcp,
    run,
};

const WHY: &str = "addresses in a VPC come from DHCP";
/// Any of these lets ifupdown ask DHCP.
pub(super) const CLIENTS: [&str; 8] = [
    "/sbin/dhclient",
    "/usr/sbin/dhclient",
    "/sbin/dhcpcd",
    "/usr/sbin/dhcpcd",
    "/sbin/udhcpc",
    "/usr/sbin/udhcpc",
    "/usr/bin/udhcpc",
    "/sbin/pump",
];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    report(draft);
    dhclient::report(draft)?;
    ifupdown_files(draft)?;
    netplan_files(draft)?;
    red_hat::with_dhcp(draft, WHY)?;
    let network = &draft.facts().network;
    for path in files(network, Stack::Networkd) {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        if is_card(draft.facts(), &path)
            && let Some(new) = networkd::with_dhcp(&bytes)
        {
            draft.write(&path, new, WHY)?;
        }
    }
    let only_card = cards(network).count() == 1;
    for path in files(network, Stack::NetworkManager) {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        if is_card(draft.facts(), &path)
            && let Some(new) = keyfile::with_dhcp(&bytes, only_card)
        {
            if keyfile::has_routes(&bytes) && !keyfile::has_routes(&new) {
                let text = format!("{path}: its fixed routes were given up with the addresses");
                draft.find(Severity::Warning, text);
            }
            // NetworkManager ignores profiles that others may read.
            draft.write_with_mode(&path, new, 0o600, WHY)?;
        }
    }
    Ok(())
}

fn is_card(facts: &Facts, path: &GuestPath) -> bool {
    cards(&facts.network).any(|card| card.file == *path)
}

/// Says what is left alone although it has fixed addresses, or cannot be understood.
fn report(draft: &mut Draft<'_>) {
    let network = &draft.facts().network;
    let mut texts = Vec::new();
    for file in &network.unreadable {
        texts.push(format!(
            "{} cannot be read ({}) and was left alone",
            file.file, file.reason
        ));
    }
    for interface in &network.interfaces {
        let name = interface.name.as_deref().unwrap_or("an interface");
        let fixed = [interface.ipv4, interface.ipv6].contains(&Some(Method::Static));
        match (interface.kind, interface.stack) {
            (InterfaceKind::Loopback, _) => {}
            (InterfaceKind::Bond | InterfaceKind::Bridge | InterfaceKind::Vlan, _) => {
                texts.push(format!(
                    "{}: {name} joins or divides network cards and was left alone; set up what \
                     the instance needs by hand",
                    interface.file
                ));
            }
            (InterfaceKind::Ethernet, Stack::Wicked) if fixed => {
                texts.push(format!(
                    "{}: {name} has a fixed address; {} files are not converted yet",
                    interface.file,
                    interface.stack.name()
                ));
            }
            _ => {}
        }
    }
    for text in texts {
        draft.find(Severity::Warning, text);
    }
}

fn ifupdown_files(draft: &mut Draft<'_>) -> Result<(), Error> {
    let network = &draft.facts().network;
    let names: BTreeSet<String> = cards(network)
        .filter(|card| card.stack == Stack::Ifupdown)
        .filter_map(|card| card.name.clone())
        .collect();
    let mut converter = ifupdown::Converter::new(names);
    for path in files(network, Stack::Ifupdown) {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let new = converter.with_dhcp(&bytes);
        if new != bytes {
            draft.write(&path, new, WHY)?;
        }
        for note in converter.take_notes() {
            draft.find(Severity::Warning, format!("{path}: {note}"));
        }
    }
    if converter.asks_dhcp() {
        let mut there = false;
        for client in CLIENTS {
            there |= draft.exists(&client.into())?;
        }
        if !there {
            draft.find(
                Severity::Problem,
                "the guest has no DHCP client (dhclient, dhcpcd or udhcpc): it will have no \
                 address. Install one before its disks are taken",
            );
        }
    }
    Ok(())
}

fn netplan_files(draft: &mut Draft<'_>) -> Result<(), Error> {
    let network = &draft.facts().network;
    let mut parsed = Vec::new();
    for path in files(network, Stack::Netplan) {
        if let Some(bytes) = draft.read(&path)?
            && let Ok(file) = Netplan::parse(&String::from_utf8_lossy(&bytes))
        {
            parsed.push((path, file));
        }
    }
    let own = GuestPath::from(netplan::OWN);
    let plans: Vec<&Netplan> = parsed.iter().map(|(_, file)| file).collect();
    let Some(text) = netplan::with_dhcp(&plans) else {
        return Ok(());
    };
    if plans.iter().any(|plan| netplan::has_routes(plan)) {
        draft.find(
            Severity::Warning,
            "the fixed routes of netplan's files were given up with the addresses",
        );
    }
    for (path, _) in &parsed {
        if *path != own {
            draft.remove(path, WHY)?;
        }
    }
    draft.write_with_mode(&own, text, 0o600, WHY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn a_static_ifupdown_guest_asks_dhcp() {
        let guest = TestGuest::of(&[
            (
                "/etc/network/interfaces",
                "auto lo\niface lo inet loopback\n\nallow-hotplug ens33\niface ens33 inet static\n\
                 \taddress 10.0.2.77/24\n\tgateway 10.0.2.2\n\tdns-nameservers 10.0.2.3\n",
            ),
            ("/sbin/dhclient", ""),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/network/interfaces"),
            "auto lo\niface lo inet loopback\n\nallow-hotplug ens33\niface ens33 inet dhcp\n"
        );
        assert!(after.findings.is_empty(), "{:?}", after.findings);
    }

    #[test]
    fn a_guest_without_client_is_reported() {
        let guest = TestGuest::of(&[(
            "/etc/network/interfaces",
            "auto eth0\niface eth0 inet static\n\taddress 10.0.0.1\n",
        )]);
        assert!(guest.run(&[RULE]).findings[0].contains("no DHCP client"));
    }

    #[test]
    fn netplan_is_written_anew() {
        let guest = TestGuest::of(&[(
            "/etc/netplan/00-installer-config.yaml",
            "network:\n  ethernets:\n    ens160:\n      addresses: [10.0.0.5/24]\n      gateway4: 10.0.0.1\n",
        )]);
        let after = guest.run(&[RULE]);
        assert!(!after.has("/etc/netplan/00-installer-config.yaml"));
        assert_eq!(after.modes[netplan::OWN], 0o600);
        assert!(
            after
                .text(netplan::OWN)
                .contains("    \"ens160\":\n      dhcp4: true\n")
        );
    }

    #[test]
    fn profiles_of_network_manager_stay_private() {
        let path = "/etc/NetworkManager/system-connections/lan.nmconnection";
        let guest = TestGuest::of(&[(
            path,
            "[connection]\ntype=ethernet\ninterface-name=ens192\n[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\n",
        )]);
        let after = guest.run(&[RULE]);
        assert!(after.text(path).ends_with("[ipv4]\nmethod=auto\n"));
        assert_eq!(after.modes[path], 0o600);
    }

    #[test]
    fn bridges_are_left_and_reported() {
        let guest = TestGuest::of(&[(
            "/etc/network/interfaces",
            "auto br0\niface br0 inet static\n\taddress 10.0.0.1/24\n\tbridge_ports eth0\n\
             iface eth0 inet manual\n",
        )]);
        let after = guest.run(&[RULE]);
        assert!(after.changed.is_empty());
        assert!(after.findings[0].contains("br0"), "{:?}", after.findings);
    }

    #[test]
    fn other_modes_touch_nothing() {
        let options = Options {
            network: NetworkMode::Preserve,
            ..Options::default()
        };
        let guest = TestGuest::of(&[(
            "/etc/network/interfaces",
            "iface eth0 inet static\n\taddress 10.0.0.1/24\n",
        )]);
        assert!(guest.with_options(options).run(&[RULE]).changed.is_empty());
    }
}

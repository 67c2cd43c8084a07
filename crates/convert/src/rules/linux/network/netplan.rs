//! netplan's definitions with DHCP, in one new file.

use guest::network::{Definition, InterfaceKind, Netplan};

/// The file that replaces the others. netplan reads files by name; `50-cloud-init.yaml` comes
/// before it.
pub(super) const OWN: &str = "/etc/netplan/60-rehost.yaml";

/// One file for all cards of these files; none where all of them ask DHCP under any address, or
/// where something is made of cards.
pub(super) fn with_dhcp(plans: &[&Netplan]) -> Option<String> {
    let definitions = || plans.iter().flat_map(|plan| &plan.definitions);
    let other = |definition: &Definition| {
        !matches!(
            definition.kind,
            InterfaceKind::Ethernet | InterfaceKind::Loopback
        )
    };
    if definitions().any(other) || !definitions().any(is_fixed) {
        return None;
    }
    let mut text = String::from(
        "# Written by rehost: network cards ask DHCP. The files before it are kept below\n\
         # /var/lib/rehost/original.\nnetwork:\n  version: 2\n",
    );
    let renderer = plans.iter().rev().find_map(|plan| plan.renderer.as_ref());
    if let Some(renderer) = renderer {
        text.push_str(&format!("  renderer: {}\n", quoted(renderer)));
    }
    text.push_str("  ethernets:\n");
    let mut seen: Vec<&str> = Vec::new();
    for definition in definitions() {
        let id = key(definition);
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        text.push_str(&format!("    {}:\n", quoted(id)));
        if definition.kind == InterfaceKind::Loopback {
            let list: Vec<String> = definition.addresses.iter().map(|a| quoted(a)).collect();
            text.push_str(&format!("      addresses: [{}]\n", list.join(", ")));
            continue;
        }
        if definition.is_wildcard() || definition.name().is_none() {
            text.push_str(&matching(definition));
        }
        // netplan takes all definitions of a card together, in whichever files they are.
        let same: Vec<&Definition> = definitions().filter(|other| key(other) == id).collect();
        text.push_str(&asks(&same));
    }
    Some(text)
}

/// Whether routes are given up with the addresses.
pub(super) fn has_routes(plan: &Netplan) -> bool {
    plan.definitions
        .iter()
        .any(|definition| definition.routes && definition.gateways.is_empty())
}

/// Whether a definition holds what is not valid on EC2.
fn is_fixed(definition: &Definition) -> bool {
    definition.kind == InterfaceKind::Ethernet
        && (!definition.addresses.is_empty()
            || !definition.gateways.is_empty()
            || definition.match_mac.is_some()
            // The drivers of the old cards are not those of EC2's.
            || !definition.match_driver.is_empty()
            || definition.macaddress.is_some())
}

/// The name of a card, or of its definition: one that was known by its hardware address alone can
/// have any name.
fn key(definition: &Definition) -> &str {
    match definition.name() {
        Some(name) if !definition.is_wildcard() => name,
        _ => &definition.id,
    }
}

fn matching(definition: &Definition) -> String {
    match (&definition.match_name, definition.match_driver.as_slice()) {
        (Some(name), _) => format!("      match:\n        name: {}\n", quoted(name)),
        // The drivers of the old hardware are not those of EC2.
        (None, _) => "      match:\n        name: \"e*\"\n".to_owned(),
    }
}

fn asks(definitions: &[&Definition]) -> String {
    let any = |wanted: &dyn Fn(&Definition) -> bool| definitions.iter().any(|one| wanted(one));
    let fixed = |v6: bool| {
        any(&|one| {
            one.addresses
                .iter()
                .any(|address| address.contains(':') == v6)
        })
    };
    let mut text = String::new();
    let v4 = any(&|one| one.dhcp4) || fixed(false);
    text.push_str(&format!("      dhcp4: {v4}\n"));
    if any(&|one| one.dhcp6) || fixed(true) {
        text.push_str("      dhcp6: true\n");
    }
    if any(&|one| one.optional) {
        text.push_str("      optional: true\n");
    }
    text
}

/// A YAML scalar in double quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str) -> Option<String> {
        with_dhcp(&[&Netplan::parse(text).unwrap()])
    }

    #[test]
    fn what_two_files_say_of_a_card_is_taken_together() {
        let installer = "network:\n  ethernets:\n    ens160: {dhcp4: false, optional: true}\n";
        let fixed = "network:\n  ethernets:\n    ens160: {addresses: [10.0.0.5/24]}\n";
        let plans = [installer, fixed].map(|text| Netplan::parse(text).unwrap());
        let text = with_dhcp(&[&plans[0], &plans[1]]).unwrap();
        assert!(
            text.contains("\"ens160\":\n      dhcp4: true\n      optional: true\n"),
            "{text}"
        );
    }

    #[test]
    fn a_card_known_by_its_old_driver_is_known_by_its_name() {
        let text =
            converted("network:\n  ethernets:\n    lan: {match: {driver: vmxnet3}, dhcp4: true}\n");
        let text = text.unwrap();
        assert!(text.contains("name: \"e*\"\n      dhcp4: true\n"), "{text}");
        assert_eq!(converted(&text), None, "the result is left alone");
    }

    #[test]
    fn cards_keep_their_names() {
        let text = converted(
            "network:\n  renderer: NetworkManager\n  ethernets:\n    lan:\n      match: {macaddress: '00:0c:29:00:00:01'}\n\
             \x20     set-name: ens160\n      addresses: [10.0.0.5/24, 'fd00::5/64']\n      optional: true\n\
             \x20   any:\n      match: {name: 'enp*'}\n      dhcp4: true\n    ens224: {}\n",
        )
        .unwrap();
        let body = text.split_once("network:\n").unwrap().1;
        assert_eq!(
            body,
            "  version: 2\n  renderer: \"NetworkManager\"\n  ethernets:\n    \"ens160\":\n      dhcp4: true\n      dhcp6: true\n\
             \x20     optional: true\n    \"any\":\n      match:\n        name: \"enp*\"\n      dhcp4: true\n    \"ens224\":\n      dhcp4: false\n"
        );
        assert_eq!(converted(&text), None);
    }

    #[test]
    fn what_asks_dhcp_stays_as_it_is() {
        assert_eq!(
            converted("network:\n  ethernets:\n    ens160: {dhcp4: yes}\n"),
            None
        );
        assert_eq!(
            converted(
                "network:\n  ethernets:\n    ens160: {addresses: [10.0.0.1/8]}\n  bridges:\n    br0: {interfaces: [ens160]}\n"
            ),
            None
        );
    }

    #[test]
    fn strange_names_are_quoted() {
        assert_eq!(quoted("a\"b\\\n"), "\"a\\\"b\\\\\\u000a\"");
    }
}

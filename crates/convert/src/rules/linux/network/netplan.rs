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
        // A card that was known by its hardware address alone can have any name.
        let name = definition.name();
        let id = if definition.is_wildcard() || name.is_none() {
            &definition.id
        } else {
            name?
        };
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
        if definition.is_wildcard() || name.is_none() {
            text.push_str(&matching(definition));
        }
        text.push_str(&asks(definition));
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
            || definition.macaddress.is_some())
}

fn matching(definition: &Definition) -> String {
    match (&definition.match_name, definition.match_driver.as_slice()) {
        (Some(name), _) => format!("      match:\n        name: {}\n", quoted(name)),
        // The drivers of the old hardware are not those of EC2.
        (None, _) => "      match:\n        name: \"e*\"\n".to_owned(),
    }
}

fn asks(definition: &Definition) -> String {
    let fixed = |v6: bool| {
        let mut addresses = definition.addresses.iter();
        addresses.any(|address| address.contains(':') == v6)
    };
    let mut text = String::new();
    let v4 = definition.dhcp4 || fixed(false);
    text.push_str(&format!("      dhcp4: {v4}\n"));
    if definition.dhcp6 || fixed(true) {
        text.push_str("      dhcp6: true\n");
    }
    if definition.optional {
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

//! netplan's YAML files. Source: netplan's reference of its configuration format, version 2.

use super::yaml::Yaml;
use super::{InterfaceKind, Method, mac};

/// What one netplan file says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Netplan {
    /// The renderer for all interfaces: `networkd` or `NetworkManager`.
    pub renderer: Option<String>,
    /// All definitions, in order.
    pub definitions: Vec<Definition>,
}

/// One definition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Definition {
    /// Its identifier: the interface's name where nothing is matched.
    pub id: String,
    /// What it is.
    pub kind: InterfaceKind,
    /// `match: name:`, which may be a pattern.
    pub match_name: Option<String>,
    /// `match: macaddress:`, in lower case with colons.
    pub match_mac: Option<String>,
    /// `match: driver:`.
    pub match_driver: Vec<String>,
    /// `set-name:`.
    pub set_name: Option<String>,
    /// `macaddress:`, which is set, in lower case with colons.
    pub macaddress: Option<String>,
    /// `dhcp4:`.
    pub dhcp4: bool,
    /// `dhcp6:`.
    pub dhcp6: bool,
    /// `addresses:`.
    pub addresses: Vec<String>,
    /// `gateway4:`, `gateway6:` and the default routes of `routes:`.
    pub gateways: Vec<String>,
    /// `nameservers: addresses:`.
    pub name_servers: Vec<String>,
    /// Whether `routes:` has any.
    pub routes: bool,
    /// `optional:`.
    pub optional: bool,
    /// Interfaces that this one is made of.
    pub members: Vec<String>,
}

impl Netplan {
    /// Reads a file.
    ///
    /// # Errors
    /// The reason why it is no YAML, as a line of text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let yaml = Yaml::parse(text)?;
        let network = yaml.key("network");
        let sections = [
            ("ethernets", InterfaceKind::Ethernet),
            ("wifis", InterfaceKind::Wireless),
            ("bonds", InterfaceKind::Bond),
            ("bridges", InterfaceKind::Bridge),
            ("vlans", InterfaceKind::Vlan),
            ("modems", InterfaceKind::Other),
            ("tunnels", InterfaceKind::Other),
            ("vrfs", InterfaceKind::Other),
            ("dummy-devices", InterfaceKind::Other),
            ("virtual-ethernets", InterfaceKind::Other),
            ("nm-devices", InterfaceKind::Other),
        ];
        let mut definitions = Vec::new();
        for (section, kind) in sections {
            for (id, body) in network.key(section).entries() {
                if id != "renderer" {
                    definitions.push(definition(id, kind, body));
                }
            }
        }
        Ok(Self {
            renderer: network.key("renderer").text().map(str::to_owned),
            definitions,
        })
    }
}

impl Definition {
    /// The name that the interface has in the running guest; none where it is matched by a
    /// hardware address or driver alone.
    pub fn name(&self) -> Option<&str> {
        let matched = self.match_mac.is_some() || !self.match_driver.is_empty();
        match (&self.set_name, &self.match_name) {
            (Some(name), _) | (None, Some(name)) => Some(name),
            (None, None) if matched => None,
            (None, None) => Some(&self.id),
        }
    }

    /// Whether it fits interfaces of more than one name.
    pub fn is_wildcard(&self) -> bool {
        match (&self.match_name, self.match_driver.as_slice()) {
            _ if self.match_mac.is_some() => false,
            (Some(name), _) => name.contains(['*', '?', '[']),
            (None, drivers) => !drivers.is_empty(),
        }
    }

    /// How it gets its IPv4 address.
    pub fn ipv4(&self) -> Option<Method> {
        let fixed = self.addresses.iter().any(|address| !address.contains(':'));
        match (self.dhcp4, fixed) {
            (true, _) => Some(Method::Dhcp),
            (false, true) => Some(Method::Static),
            (false, false) => None,
        }
    }

    /// How it gets its IPv6 address.
    pub fn ipv6(&self) -> Option<Method> {
        let fixed = self.addresses.iter().any(|address| address.contains(':'));
        match (self.dhcp6, fixed) {
            (true, _) => Some(Method::Dhcp),
            (false, true) => Some(Method::Static),
            (false, false) => None,
        }
    }
}

fn definition(id: &str, kind: InterfaceKind, body: &Yaml) -> Definition {
    let text = |key: &str| body.key(key).text().map(str::to_owned);
    let matched = body.key("match");
    let mut gateways: Vec<String> = [text("gateway4"), text("gateway6")]
        .into_iter()
        .flatten()
        .collect();
    for route in body.key("routes").items() {
        let to = route.key("to").text();
        if matches!(to, Some("default" | "0.0.0.0/0" | "::/0")) {
            gateways.extend(route.key("via").text().map(str::to_owned));
        }
    }
    let mut members = body.key("interfaces").texts();
    members.extend(text("link"));
    let kind = if id == "lo" && kind == InterfaceKind::Ethernet {
        InterfaceKind::Loopback
    } else {
        kind
    };
    Definition {
        id: id.to_owned(),
        kind,
        match_name: matched.key("name").text().map(str::to_owned),
        match_mac: matched.key("macaddress").text().map(mac),
        match_driver: matched.key("driver").texts(),
        set_name: text("set-name"),
        macaddress: body.key("macaddress").text().map(mac),
        dhcp4: body.key("dhcp4").is_true(),
        dhcp6: body.key("dhcp6").is_true(),
        addresses: body.key("addresses").texts(),
        gateways,
        name_servers: body.key("nameservers").key("addresses").texts(),
        routes: !body.key("routes").items().is_empty(),
        optional: body.key("optional").is_true(),
        members,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    lan:\n      match:\n\
        \x20       macaddress: \"00:0C:29:4A:5B:6C\"\n      set-name: ens160\n      dhcp4: no\n      addresses:\n\
        \x20       - 10.0.0.5/24\n        - \"2001:db8::1/64\":\n            label: x\n      routes:\n\
        \x20       - to: default\n          via: 10.0.0.1\n      nameservers: {addresses: [10.0.0.2]}\n\
        \x20   all:\n      match: {name: \"en*\"}\n      dhcp4: yes\n  bonds:\n    bond0:\n      interfaces: [lan]\n";

    #[test]
    fn definitions_are_read() {
        let netplan = Netplan::parse(FILE).unwrap();
        assert_eq!(netplan.renderer.as_deref(), Some("networkd"));
        let [lan, all, bond] = netplan.definitions.as_slice() else {
            panic!("{netplan:?}");
        };
        assert_eq!(lan.name(), Some("ens160"));
        assert_eq!(lan.match_mac.as_deref(), Some("00:0c:29:4a:5b:6c"));
        assert_eq!(
            (lan.ipv4(), lan.ipv6()),
            (Some(Method::Static), Some(Method::Static))
        );
        assert_eq!(lan.addresses, ["10.0.0.5/24", "2001:db8::1/64"]);
        assert_eq!(
            (lan.gateways.as_slice(), lan.name_servers.as_slice()),
            (&["10.0.0.1".to_owned()][..], &["10.0.0.2".to_owned()][..])
        );
        assert!(all.is_wildcard() && all.ipv4() == Some(Method::Dhcp));
        assert!(!lan.is_wildcard());
        assert_eq!(
            (bond.kind, bond.members.as_slice()),
            (InterfaceKind::Bond, &["lan".to_owned()][..])
        );
    }

    #[test]
    fn a_file_without_network_says_nothing() {
        for text in ["", "network:\n  version: 2\n", "- 1\n", "x: y\n"] {
            assert_eq!(Netplan::parse(text), Ok(Netplan::default()));
        }
        assert!(Netplan::parse("network: [").is_err());
    }
}

//! NetworkManager's keyfiles. Source: nm-settings-keyfile(5).

use super::{Interface, InterfaceKind, Method, Stack, mac};
use crate::GuestPath;
use crate::ini::Ini;

/// What a connection profile says.
pub(super) fn profile(file: &GuestPath, bytes: &[u8]) -> Interface {
    let ini = Ini::parse(bytes);
    let text = |section: &str, key: &str| ini.value(section, key).filter(|value| !value.is_empty());
    let list = |value: &str| -> Vec<String> {
        let items = value.split([';', ',']).map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut addresses = Vec::new();
    let mut gateways = Vec::new();
    let mut name_servers = Vec::new();
    for section in ["ipv4", "ipv6"] {
        for (key, value) in ini.entries(section) {
            let numbered = key
                .strip_prefix("address")
                .is_some_and(|rest| rest == "es" || rest.bytes().all(|byte| byte.is_ascii_digit()));
            if numbered {
                // address1=10.0.0.5/24,10.0.0.1: the gateway stands behind the address.
                let parts = list(value);
                let (fixed, routers): (Vec<String>, Vec<String>) =
                    parts.into_iter().partition(|part| part.contains('/'));
                addresses.extend(fixed);
                gateways.extend(routers);
            } else if key == "gateway" {
                gateways.push(value.to_owned());
            } else if key == "dns" {
                name_servers.extend(list(value));
            }
        }
    }
    let address = ["mac-address", "cloned-mac-address"]
        .iter()
        .find_map(|key| text("ethernet", key).or_else(|| text("802-3-ethernet", key)));
    Interface {
        name: text("connection", "interface-name").map(str::to_owned),
        kind: kind(text("connection", "type").unwrap_or_default()),
        stack: Stack::NetworkManager,
        file: file.clone(),
        ipv4: method(text("ipv4", "method")),
        ipv6: method(text("ipv6", "method")),
        addresses,
        gateways,
        name_servers,
        mac: address.map(mac),
    }
}

fn kind(name: &str) -> InterfaceKind {
    match name {
        "ethernet" | "802-3-ethernet" => InterfaceKind::Ethernet,
        "loopback" => InterfaceKind::Loopback,
        "bond" | "team" => InterfaceKind::Bond,
        "bridge" => InterfaceKind::Bridge,
        "vlan" => InterfaceKind::Vlan,
        "wifi" | "802-11-wireless" => InterfaceKind::Wireless,
        _ => InterfaceKind::Other,
    }
}

fn method(name: Option<&str>) -> Option<Method> {
    Some(match name? {
        "auto" | "dhcp" => Method::Dhcp,
        "manual" => Method::Static,
        "disabled" | "ignore" => Method::Disabled,
        "link-local" | "shared" => Method::Other,
        _ => Method::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_understood() {
        let file = GuestPath::from("/etc/NetworkManager/system-connections/lan.nmconnection");
        let text = b"[connection]\nid=lan\ntype=ethernet\ninterface-name=ens192\n\n[ethernet]\n\
            mac-address=00:0C:29:00:00:01\n\n[ipv4]\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.2;10.0.0.3;\n\
            method=manual\n\n[ipv6]\nmethod=auto\n";
        let profile = profile(&file, text);
        assert_eq!(profile.name.as_deref(), Some("ens192"));
        assert_eq!(
            (profile.ipv4, profile.ipv6),
            (Some(Method::Static), Some(Method::Dhcp))
        );
        assert_eq!(profile.addresses, ["10.0.0.5/24"]);
        assert_eq!(profile.gateways, ["10.0.0.1"]);
        assert_eq!(profile.name_servers, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(profile.mac.as_deref(), Some("00:0c:29:00:00:01"));
    }
}

//! systemd-networkd's `.network`, `.netdev` and `.link` files. Source: systemd.network(5),
//! systemd.netdev(5), systemd.link(5).

use super::{Interface, InterfaceKind, Method, NameBinding, Stack, mac};
use crate::GuestPath;
use crate::ini::Ini;

/// What a `.network` file says of the interface that it matches.
pub(super) fn network(
    file: &GuestPath,
    bytes: &[u8],
    netdevs: &[(String, InterfaceKind)],
) -> Interface {
    let ini = Ini::parse(bytes);
    let name = ini.value("Match", "Name").map(str::to_owned);
    let all = |section: &str, key: &str| -> Vec<String> {
        let values = ini.values(section, key).flat_map(str::split_whitespace);
        values.map(str::to_owned).collect()
    };
    let mut addresses = all("Network", "Address");
    addresses.extend(all("Address", "Address"));
    let mut gateways = all("Network", "Gateway");
    gateways.extend(all("Route", "Gateway"));
    let dhcp = ini
        .value("Network", "DHCP")
        .unwrap_or("no")
        .to_ascii_lowercase();
    let both = matches!(dhcp.as_str(), "yes" | "both" | "true" | "on" | "1");
    let method = |asks: bool, fixed: bool| match (asks, fixed) {
        (true, _) => Some(Method::Dhcp),
        (false, true) => Some(Method::Static),
        (false, false) => None,
    };
    let address = ["PermanentMACAddress", "MACAddress"]
        .iter()
        .find_map(|key| ini.value("Match", key))
        .or_else(|| ini.value("Link", "MACAddress"));
    Interface {
        kind: kind(name.as_deref(), ini.value("Match", "Type"), netdevs),
        stack: Stack::Networkd,
        file: file.clone(),
        ipv4: method(
            both || matches!(dhcp.as_str(), "ipv4" | "v4"),
            addresses.iter().any(|address| !address.contains(':')),
        ),
        ipv6: method(
            both || matches!(dhcp.as_str(), "ipv6" | "v6"),
            addresses.iter().any(|address| address.contains(':')),
        ),
        addresses,
        gateways,
        name_servers: all("Network", "DNS"),
        mac: address
            .and_then(|list| list.split_whitespace().next())
            .map(mac),
        name,
    }
}

/// The interface that a `.netdev` file makes.
pub(super) fn netdev(bytes: &[u8]) -> Option<(String, InterfaceKind)> {
    let ini = Ini::parse(bytes);
    let kind = match ini.value("NetDev", "Kind")? {
        "bond" | "team" => InterfaceKind::Bond,
        "bridge" => InterfaceKind::Bridge,
        "vlan" => InterfaceKind::Vlan,
        _ => InterfaceKind::Other,
    };
    Some((ini.value("NetDev", "Name")?.to_owned(), kind))
}

/// What ties a `.link` file to one piece of hardware; none where nothing does.
pub(super) fn link(file: &GuestPath, bytes: &[u8]) -> Option<NameBinding> {
    let ini = Ini::parse(bytes);
    let address = ["MACAddress", "PermanentMACAddress"]
        .iter()
        .find_map(|key| ini.value("Match", key))
        .filter(|value| !value.is_empty());
    let place = ini
        .value("Match", "Path")
        .filter(|value| !value.contains('*'));
    address.or(place)?;
    Some(NameBinding {
        file: file.clone(),
        mac: address
            .and_then(|list| list.split_whitespace().next())
            .map(mac),
        name: ini.value("Link", "Name").map(str::to_owned),
    })
}

fn kind(
    name: Option<&str>,
    type_: Option<&str>,
    netdevs: &[(String, InterfaceKind)],
) -> InterfaceKind {
    if let Some((_, kind)) = netdevs.iter().find(|(made, _)| Some(made.as_str()) == name) {
        return *kind;
    }
    match (name, type_) {
        (Some("lo"), _) | (_, Some("loopback")) => InterfaceKind::Loopback,
        (_, Some("wlan" | "wwan")) => InterfaceKind::Wireless,
        (Some(name), _) if name.starts_with("wl") => InterfaceKind::Wireless,
        (Some(name), _) if super::is_virtual_name(name) => InterfaceKind::Other,
        _ => InterfaceKind::Ethernet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_is_understood() {
        let file = GuestPath::from("/etc/systemd/network/10-lan.network");
        let text =
            b"[Match]\nName=ens160\nMACAddress=00:0C:29:00:00:01\n[Network]\nAddress=10.0.0.5/24\n\
            DNS=10.0.0.1 10.0.0.2\n[Route]\nGateway=10.0.0.1\n";
        let interface = network(&file, text, &[]);
        assert_eq!(interface.kind, InterfaceKind::Ethernet);
        assert_eq!(
            (interface.ipv4, interface.ipv6),
            (Some(Method::Static), None)
        );
        assert_eq!(interface.gateways, ["10.0.0.1"]);
        assert_eq!(interface.name_servers.len(), 2);
        assert_eq!(interface.mac.as_deref(), Some("00:0c:29:00:00:01"));
        let interface = network(
            &file,
            b"[Match]\nName=br0\n[Network]\nDHCP=ipv4\n",
            &[("br0".into(), InterfaceKind::Bridge)],
        );
        assert_eq!(
            (interface.kind, interface.ipv4, interface.ipv6),
            (InterfaceKind::Bridge, Some(Method::Dhcp), None)
        );
    }

    #[test]
    fn a_link_file_is_bound_by_its_match() {
        let file = GuestPath::from("/etc/systemd/network/10-lan.link");
        let bound = link(
            &file,
            b"[Match]\nMACAddress=00:0C:29:00:00:01\n[Link]\nName=lan0\n",
        )
        .unwrap();
        assert_eq!(
            (bound.mac.as_deref(), bound.name.as_deref()),
            (Some("00:0c:29:00:00:01"), Some("lan0"))
        );
        assert!(
            link(
                &file,
                b"[Match]\nPath=pci-0000:03:00.0\n[Link]\nName=lan0\n"
            )
            .is_some()
        );
        assert_eq!(
            link(&file, b"[Match]\nDriver=ena vif\n[Link]\nName=lan0\n"),
            None
        );
        assert_eq!(
            link(
                &file,
                b"[Match]\nOriginalName=*\n[Link]\nNamePolicy=kernel\n"
            ),
            None
        );
    }
}

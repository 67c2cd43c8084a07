//! `ifcfg-*` files of Red Hat's and SUSE's families. Source: initscripts' `sysconfig.txt`,
//! ifcfg(5) of wicked.

use super::{Interface, InterfaceKind, Method, Stack, mac};
use crate::GuestPath;
use crate::assignment::{Assignment, Assignments};

/// What an `ifcfg` file says.
pub(super) fn ifcfg(file: &GuestPath, bytes: &[u8], stack: Stack) -> Interface {
    let settings = Assignments::parse(bytes);
    let text = |name: &str| settings.value(name).filter(|value| !value.is_empty());
    let numbered = |prefix: &str| -> Vec<String> {
        let found = settings.iter().filter(|setting| {
            setting.name().strip_prefix(prefix).is_some_and(|rest| {
                rest.bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'_')
            })
        });
        found.map(Assignment::value).collect()
    };
    let suffix = file
        .name()
        .map(|name| String::from_utf8_lossy(name).replacen("ifcfg-", "", 1));
    let name = text("DEVICE").or(suffix);
    let addresses = numbered("IPADDR");
    let ipv4 = match text("BOOTPROTO")
        .unwrap_or_default()
        .to_lowercase()
        .as_str()
    {
        "dhcp" | "bootp" | "dhcp4" => Some(Method::Dhcp),
        _ if !addresses.is_empty() => Some(Method::Static),
        _ => None,
    };
    let yes = |name: &str| text(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    let ipv6 = if yes("DHCPV6C") {
        Some(Method::Dhcp)
    } else if text("IPV6ADDR").is_some() {
        Some(Method::Static)
    } else {
        yes("IPV6_AUTOCONF").then_some(Method::Auto)
    };
    let kind = match text("TYPE")
        .or_else(|| text("DEVICETYPE"))
        .unwrap_or_default()
        .to_lowercase()
        .as_str()
    {
        _ if name.as_deref() == Some("lo") => InterfaceKind::Loopback,
        "bond" | "team" => InterfaceKind::Bond,
        "bridge" => InterfaceKind::Bridge,
        "vlan" => InterfaceKind::Vlan,
        "wireless" => InterfaceKind::Wireless,
        "" | "ethernet" if yes("VLAN") || text("ETHERDEVICE").is_some() => InterfaceKind::Vlan,
        "" | "ethernet" if text("TEAM_CONFIG").is_some() => InterfaceKind::Bond,
        "" if yes("BONDING_MASTER") || text("BONDING_OPTS").is_some() => InterfaceKind::Bond,
        "" if yes("BRIDGE") && stack == Stack::Wicked => InterfaceKind::Bridge,
        "" | "ethernet" => InterfaceKind::Ethernet,
        _ => InterfaceKind::Other,
    };
    Interface {
        name,
        kind,
        stack,
        file: file.clone(),
        ipv4,
        ipv6,
        addresses,
        gateways: numbered("GATEWAY"),
        name_servers: numbered("DNS"),
        mac: text("HWADDR")
            .or_else(|| text("MACADDR"))
            .or_else(|| text("LLADDR"))
            .map(|value| mac(&value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ifcfg_file_is_understood() {
        let file = GuestPath::from("/etc/sysconfig/network-scripts/ifcfg-eth0");
        let text = b"HWADDR=\"AA:BB:CC:DD:EE:FF\"\nNAME=\"eth0\"\nIPADDR='192.168.1.10'\nPREFIX=24\nDNS1=10.0.0.1\n";
        let interface = ifcfg(&file, text, Stack::Ifcfg);
        assert_eq!(interface.name.as_deref(), Some("eth0"));
        assert_eq!(interface.ipv4, Some(Method::Static));
        assert_eq!(interface.addresses, ["192.168.1.10"]);
        assert_eq!(interface.name_servers, ["10.0.0.1"]);
        assert_eq!(interface.mac.as_deref(), Some("aa:bb:cc:dd:ee:ff"));
        let interface = ifcfg(
            &file,
            b"DEVICE=bond0\nBONDING_OPTS=\"mode=1\"\nBOOTPROTO=dhcp\n",
            Stack::Ifcfg,
        );
        assert_eq!(
            (interface.kind, interface.ipv4),
            (InterfaceKind::Bond, Some(Method::Dhcp))
        );
    }
}

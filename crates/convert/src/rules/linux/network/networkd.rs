//! A `.network` file with DHCP. Source: systemd.network(5).

use guest::ini::Ini;

/// Keys of `[Network]` that make the card part of something else.
const PORTS: [&str; 9] = [
    "Bridge",
    "Bond",
    "VLAN",
    "MACVLAN",
    "MACVTAP",
    "VRF",
    "Team",
    "IPVLAN",
    "BatmanAdvanced",
];
const HARDWARE: [&str; 4] = ["MACAddress", "PermanentMACAddress", "Driver", "Path"];

/// The file with DHCP in place of fixed addresses; none if it is right as it is.
pub(super) fn with_dhcp(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut ini = Ini::parse(bytes);
    if PORTS.iter().any(|key| ini.value("Network", key).is_some()) {
        return None;
    }
    let fixed = ini.value("Network", "Address").is_some()
        || ini.value("Network", "Gateway").is_some()
        || ini.sections().any(|name| name == "Address");
    if fixed {
        ini.remove("Network", |key| {
            matches!(key, "Address" | "Gateway" | "DNS")
        });
        ini.remove_sections("Address", |_| true);
        ini.remove_sections("Route", |entries| {
            entries.iter().any(|(key, _)| *key == "Gateway")
        });
        ini.set("Network", "DHCP", "yes");
    }
    let new = without_hardware(ini);
    (new != bytes).then_some(new)
}

/// The file without hardware addresses. A card that was known by nothing else can have any name.
pub(super) fn without_hardware(mut ini: Ini) -> Vec<u8> {
    let bound = ini.remove("Match", |key| HARDWARE.contains(&key));
    if bound && ini.entries("Match").next().is_none() {
        ini.set("Match", "Name", "e*");
    }
    ini.remove("Link", |key| key == "MACAddress");
    ini.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_dhcp() {
        let text = "[Match]\nName=ens160\n\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.2\nNTP=10.0.0.3\n\n\
            [Route]\nGateway=10.0.0.9\nDestination=10.9.0.0/16\n";
        let new = with_dhcp(text.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(new.clone()).unwrap(),
            "[Match]\nName=ens160\n\n[Network]\nNTP=10.0.0.3\nDHCP=yes\n\n"
        );
        assert_eq!(with_dhcp(&new), None);
    }

    #[test]
    fn a_match_by_hardware_becomes_one_by_name() {
        let text = b"[Match]\nMACAddress=00:0c:29:00:00:01\n[Network]\nDHCP=ipv4\n";
        let new = with_dhcp(text).unwrap();
        assert_eq!(new, b"[Match]\nName=e*\n[Network]\nDHCP=ipv4\n");
        assert_eq!(with_dhcp(&new), None);
    }

    #[test]
    fn ports_stay_as_they_are() {
        assert_eq!(
            with_dhcp(b"[Match]\nName=eth0\n[Network]\nBridge=br0\nAddress=10.0.0.1/8\n"),
            None
        );
    }
}

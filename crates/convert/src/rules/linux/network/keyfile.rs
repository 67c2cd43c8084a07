//! A NetworkManager profile with DHCP. Source: nm-settings-keyfile(5).

use guest::ini::Ini;

/// Keys that make the card part of something else.
const PORTS: [&str; 4] = ["master", "slave-type", "controller", "port-type"];

/// The profile with DHCP in place of fixed addresses; none if it is right as it is. The only card
/// there is has the default route.
pub(super) fn with_dhcp(bytes: &[u8], only_card: bool) -> Option<Vec<u8>> {
    let mut ini = Ini::parse(bytes);
    let is_port = |(key, value): (&str, &str)| PORTS.contains(&key) && !value.is_empty();
    if ini.entries("connection").any(is_port) {
        return None;
    }
    for section in ["ipv4", "ipv6"] {
        if ini.value(section, "method") == Some("manual") {
            ini.set(section, "method", "auto");
            ini.remove(section, is_fixed);
            // The name servers are DHCP's from now on.
            ini.remove(section, |key| {
                key == "ignore-auto-dns" || only_card && key == "never-default"
            });
        } else if ini.value(section, "method") == Some("auto")
            && ini.value(section, "dns").is_some_and(|dns| !dns.is_empty())
        {
            ini.remove(section, |key| matches!(key, "dns" | "ignore-auto-dns"));
        }
    }
    let new = without_hardware(ini);
    (new != bytes).then_some(new)
}

/// The profile without what ties it to the old card.
pub(super) fn without_hardware(mut ini: Ini) -> Vec<u8> {
    for section in ["ethernet", "802-3-ethernet"] {
        ini.remove(section, |key| {
            matches!(
                key,
                "mac-address" | "cloned-mac-address" | "assigned-mac-address"
            )
        });
    }
    // A place on the bus and a driver are those of the old card as well.
    let bound = ini.remove("match", |key| matches!(key, "path" | "driver"));
    if bound && ini.entries("match").next().is_none() {
        ini.remove_sections("match", |_| true);
    }
    ini.render()
}

/// Whether a profile has routes of its own, or rules for them.
pub(super) fn has_routes(bytes: &[u8]) -> bool {
    let ini = Ini::parse(bytes);
    let is_route = |(key, value): (&str, &str)| {
        (key == "routes" || is_numbered(key, "route") || is_numbered(key, "routing-rule"))
            && !value.is_empty()
    };
    ["ipv4", "ipv6"]
        .iter()
        .any(|section| ini.entries(section).any(is_route))
}

/// Whether a key of `ipv4` or `ipv6` belongs to fixed addresses.
fn is_fixed(key: &str) -> bool {
    // Search domains stay: DHCP's are added to them.
    matches!(key, "addresses" | "gateway" | "dns" | "routes")
        || ["address", "route", "routing-rule"]
            .iter()
            .any(|prefix| is_numbered(key, prefix))
}

fn is_numbered(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_old_site_go_where_dhcp_was_asked_before() {
        let text =
            "[ipv4]\nmethod=auto\ndns=192.168.10.2;\nignore-auto-dns=true\ndns-search=a.b;\n";
        let new = with_dhcp(text.as_bytes(), true).unwrap();
        assert_eq!(new, b"[ipv4]\nmethod=auto\ndns-search=a.b;\n");
        assert_eq!(with_dhcp(&new, true), None);
    }

    #[test]
    fn routes_and_rules_are_seen_and_go_with_the_addresses() {
        let text = "[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\nroute-metric=7\nroute1=10.9.0.0/16,10.0.0.9\n\
                    routing-rule1=priority 5 from 10.0.0.5 table 100\n";
        assert!(has_routes(text.as_bytes()));
        let new = with_dhcp(text.as_bytes(), true).unwrap();
        assert_eq!(new, b"[ipv4]\nmethod=auto\nroute-metric=7\n");
        assert!(!has_routes(&new));
    }

    #[test]
    fn addresses_become_dhcp() {
        let text = "[connection]\nid=lan\ninterface-name=ens192\n\n[ethernet]\nmac-address=00:0C:29:00:00:01\nmtu=9000\n\n\
            [ipv4]\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.2;\nmethod=manual\nmay-fail=false\nroute1=10.9.0.0/16,10.0.0.9\n\n[ipv6]\nmethod=disabled\n";
        let new = with_dhcp(text.as_bytes(), false).unwrap();
        assert_eq!(
            String::from_utf8(new.clone()).unwrap(),
            "[connection]\nid=lan\ninterface-name=ens192\n\n[ethernet]\nmtu=9000\n\n\
             [ipv4]\nmethod=auto\nmay-fail=false\n\n[ipv6]\nmethod=disabled\n"
        );
        assert_eq!(with_dhcp(&new, false), None);
    }

    #[test]
    fn the_old_card_is_not_looked_for() {
        let text = b"[connection]\ntype=ethernet\n\n[match]\npath=pci-0000:0b:00.0;\n\n[ipv4]\nignore-auto-dns=true\nmethod=manual\naddress1=10.0.0.5/24\n";
        let new = with_dhcp(text, false).unwrap();
        assert_eq!(new, b"[connection]\ntype=ethernet\n\n[ipv4]\nmethod=auto\n");
        assert_eq!(with_dhcp(&new, false), None);
        let text = b"[ipv4]\nmethod=manual\nnever-default=true\n";
        assert_eq!(with_dhcp(text, true).unwrap(), b"[ipv4]\nmethod=auto\n");
        assert_eq!(
            with_dhcp(text, false).unwrap(),
            b"[ipv4]\nmethod=auto\nnever-default=true\n"
        );
        let text = b"[match]\ninterface-name=ens*\npath=pci-0\n";
        assert_eq!(
            with_dhcp(text, false).unwrap(),
            b"[match]\ninterface-name=ens*\n"
        );
    }

    #[test]
    fn ports_stay_as_they_are() {
        let text = b"[connection]\nmaster=bond0\n[ipv4]\nmethod=manual\naddress1=10.0.0.1/8\n";
        assert_eq!(with_dhcp(text, false), None);
    }
}

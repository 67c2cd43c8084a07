//! An `ifcfg` file of Red Hat's family with DHCP. Sources: initscripts' `sysconfig.txt`,
//! nm-settings-ifcfg-rh(5).

use super::name::is_possible;
use guest::assignment::{Assignment, Assignments};

/// Settings that make the card part of something else, if they say more than "no".
const PORTS: [&str; 10] = [
    "MASTER",
    "MASTER_UUID",
    "SLAVE",
    "BRIDGE",
    "BRIDGE_UUID",
    "TEAM_MASTER",
    "TEAM_MASTER_UUID",
    "TEAM_PORT_CONFIG",
    "OVS_BRIDGE",
    "VRF",
];

/// Who reads the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readers {
    /// NetworkManager alone: there are no network scripts.
    pub(super) network_manager_alone: bool,
    /// There is no other card that could have the default route.
    pub(super) only_card: bool,
    /// The network scripts' client is told to go on asking where nobody answers at first.
    pub(super) scripts: bool,
}

/// Whether the card is a port of a bond, bridge or team.
pub(super) fn is_port(bytes: &[u8]) -> bool {
    let settings = Assignments::parse(bytes);
    let said = |name: &str| {
        let value = settings.value(name).unwrap_or_default();
        !value.is_empty() && !value.eq_ignore_ascii_case("no")
    };
    PORTS.iter().any(|name| said(name))
}

/// Whether the card is brought up at boot; it is where the file says nothing.
pub(super) fn starts(bytes: &[u8]) -> bool {
    let value = Assignments::parse(bytes)
        .value("ONBOOT")
        .unwrap_or_default();
    !value.eq_ignore_ascii_case("no")
}

/// The file with DHCP in place of fixed addresses; none if it is right as it is. `name` is the
/// card's if the file does not say it.
pub(super) fn with_dhcp(bytes: &[u8], name: Option<&str>, readers: Readers) -> Option<Vec<u8>> {
    if is_port(bytes) {
        return None;
    }
    let mut settings = Assignments::parse(bytes);
    let any = |settings: &Assignments, wanted: fn(&str) -> bool| {
        settings.iter().any(|setting| wanted(setting.name()))
    };
    let has_dns = any(&settings, |name| numbered(name, "DNS"));
    if any(&settings, is_fixed4) {
        settings.remove(|setting| is_fixed4(setting.name()));
        settings.set("BOOTPROTO", "dhcp");
        if readers.only_card {
            settings.remove(|setting| {
                setting.name() == "DEFROUTE" && setting.value().eq_ignore_ascii_case("no")
            });
        }
        if readers.scripts {
            settings.set("PERSISTENT_DHCLIENT", "1");
        }
        ask_for_route_and_servers(&mut settings, has_dns);
    } else if asks(&settings) && has_dns {
        // DHCP with name servers of the old site before its own.
        ask_for_route_and_servers(&mut settings, has_dns);
    }
    if any(&settings, is_fixed6) {
        settings.remove(|setting| is_fixed6(setting.name()));
        settings.set("IPV6_AUTOCONF", "yes");
    }
    let unmanaged = settings.value("NM_CONTROLLED");
    if readers.network_manager_alone
        && unmanaged.is_some_and(|value| value.eq_ignore_ascii_case("no"))
    {
        settings.set("NM_CONTROLLED", "yes");
    }
    forget_hardware(&mut settings, name);
    let new = settings.render();
    (new != bytes).then_some(new)
}

/// The file without hardware addresses; `name` as in [`with_dhcp`].
pub(super) fn without_hardware(bytes: &[u8], name: Option<&str>) -> Vec<u8> {
    let mut settings = Assignments::parse(bytes);
    forget_hardware(&mut settings, name);
    settings.render()
}

/// Where the hardware address alone says which card is meant, the name has to do so instead:
/// without either, network scripts start nothing (`source_config` of initscripts).
fn forget_hardware(settings: &mut Assignments, name: Option<&str>) {
    let bound = settings.value("HWADDR").is_some_and(|it| !it.is_empty());
    let named = settings.value("DEVICE").is_some_and(|it| !it.is_empty());
    settings.remove(is_hardware);
    if let Some(name) = name.filter(|name| bound && !named && is_possible(name)) {
        settings.set("DEVICE", name);
    }
}

/// `/etc/sysconfig/network` without the old site's gateway, which would come before DHCP's.
pub(super) fn without_gateway(bytes: &[u8]) -> Vec<u8> {
    let mut settings = Assignments::parse(bytes);
    settings.remove(|setting| {
        matches!(
            setting.name(),
            "GATEWAY" | "GATEWAYDEV" | "IPV6_DEFAULTGW" | "IPV6_DEFAULTDEV"
        )
    });
    settings.render()
}

/// What a fixed address may do without, and DHCP may not.
fn ask_for_route_and_servers(settings: &mut Assignments, has_dns: bool) {
    settings.remove(|setting| {
        let name = setting.name();
        let off = setting.value().eq_ignore_ascii_case("no");
        numbered(name, "DNS") || (off && name == "PEERROUTES")
    });
    let closed = settings.value("PEERDNS");
    if has_dns && closed.is_some_and(|value| value.eq_ignore_ascii_case("no")) {
        settings.set("PEERDNS", "yes");
    }
}

fn asks(settings: &Assignments) -> bool {
    let method = settings.value("BOOTPROTO").unwrap_or_default();
    matches!(method.to_lowercase().as_str(), "dhcp" | "bootp")
}

/// Whether a setting belongs to a fixed IPv4 address.
fn is_fixed4(name: &str) -> bool {
    matches!(name, "NETWORK" | "BROADCAST" | "GATEWAYDEV")
        || ["IPADDR", "PREFIX", "NETMASK", "GATEWAY"]
            .iter()
            .any(|prefix| numbered(name, prefix))
}

fn is_fixed6(name: &str) -> bool {
    matches!(
        name,
        "IPV6ADDR" | "IPV6ADDR_SECONDARIES" | "IPV6_DEFAULTGW" | "IPV6_DEFAULTDEV"
    )
}

fn is_hardware(setting: &Assignment) -> bool {
    matches!(setting.name(), "HWADDR" | "MACADDR")
}

/// Whether a name is this one, or this one with a number behind it.
fn numbered(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix);
    rest.is_some_and(|rest| {
        rest.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str, readers: Readers) -> Option<String> {
        let new = with_dhcp(text.as_bytes(), Some("static1"), readers)?;
        let again = with_dhcp(&new, Some("static1"), readers);
        assert_eq!(again, None, "the result is left alone");
        Some(String::from_utf8(new).unwrap())
    }

    #[test]
    fn a_fixed_address_becomes_dhcp() {
        let text = "TYPE=Ethernet\nBOOTPROTO=none\nDEFROUTE=yes\nPEERDNS=no\nNAME=\"System eth0\"\nDEVICE=eth0\n\
             HWADDR=00:0C:29:4A:5B:6C\nONBOOT=yes\nIPADDR=10.0.0.5\nPREFIX=24\nIPADDR1=10.0.0.6\nPREFIX1=24\n\
             GATEWAY=10.0.0.1\nDNS1=10.0.0.2\nDNS2=10.0.0.3\nDOMAIN=corp.example\nIPV6INIT=yes\n\
             IPV6ADDR=fd00::5/64\nIPV6_DEFAULTGW=fd00::1\n";
        assert_eq!(
            converted(text, Readers::default()).unwrap(),
            "TYPE=Ethernet\nBOOTPROTO=dhcp\nDEFROUTE=yes\nPEERDNS=yes\nNAME=\"System eth0\"\nDEVICE=eth0\n\
             ONBOOT=yes\nDOMAIN=corp.example\nIPV6INIT=yes\nIPV6_AUTOCONF=yes\n"
        );
    }

    #[test]
    fn scripts_and_network_manager_get_what_they_need() {
        let text =
            "DEVICE=eth0\nNM_CONTROLLED=no\nBOOTPROTO=static\nIPADDR=10.0.0.5\nNETMASK=255.0.0.0\n";
        let scripts = Readers {
            scripts: true,
            only_card: true,
            ..Readers::default()
        };
        let text_without_route = text.replace("BOOT", "DEFROUTE=no\nBOOT");
        assert_eq!(
            converted(&text_without_route, scripts),
            converted(text, scripts)
        );
        assert_eq!(
            converted(text, scripts).unwrap(),
            "DEVICE=eth0\nNM_CONTROLLED=no\nBOOTPROTO=dhcp\nPERSISTENT_DHCLIENT=1\n"
        );
        let alone = Readers {
            network_manager_alone: true,
            ..Readers::default()
        };
        assert_eq!(
            converted(text, alone).unwrap(),
            "DEVICE=eth0\nNM_CONTROLLED=yes\nBOOTPROTO=dhcp\n"
        );
    }

    #[test]
    fn a_card_that_only_its_address_names_gets_its_name() {
        let text = "TYPE=Ethernet\nBOOTPROTO=dhcp\nHWADDR=00:0c:29:4a:5b:6c\nONBOOT=yes\n";
        assert_eq!(
            converted(text, Readers::default()).unwrap(),
            "TYPE=Ethernet\nBOOTPROTO=dhcp\nONBOOT=yes\nDEVICE=static1\n"
        );
        // No card can have a name like this one; NetworkManager does without.
        let kept = without_hardware(text.as_bytes(), Some("Wired_connection_1"));
        assert_eq!(kept, b"TYPE=Ethernet\nBOOTPROTO=dhcp\nONBOOT=yes\n");
    }

    #[test]
    fn what_asks_dhcp_or_has_no_address_stays_as_it_is() {
        for text in [
            "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\nTYPE=Ethernet\nPERSISTENT_DHCLIENT=yes\n",
            "DEVICE=eth1\nBOOTPROTO=none\n",
            "DEVICE=eth1\nMASTER=bond0\nSLAVE=yes\nHWADDR=00:0C:29:4A:5B:6C\n",
            "DEVICE=eth1\nBRIDGE=br0\nIPADDR=10.0.0.1\n",
        ] {
            assert_eq!(converted(text, Readers::default()), None, "{text}");
        }
        let text = "DEVICE=eth0\nBOOTPROTO=dhcp\nHWADDR=\"00:0c:29:4a:5b:6c\"\nDNS1=10.0.0.2\nPEERDNS=no\n";
        assert_eq!(
            converted(text, Readers::default()).unwrap(),
            "DEVICE=eth0\nBOOTPROTO=dhcp\nPEERDNS=yes\n"
        );
    }

    #[test]
    fn the_common_gateway_goes() {
        let text = b"NETWORKING=yes\nHOSTNAME=db1\nGATEWAY=10.0.0.1\nGATEWAYDEV=eth0\n";
        assert_eq!(without_gateway(text), b"NETWORKING=yes\nHOSTNAME=db1\n");
    }
}

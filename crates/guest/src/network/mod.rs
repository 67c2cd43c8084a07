//! Network configuration: ifupdown, netplan, systemd-networkd, NetworkManager, interface names.
//!
//! Files that can be edited are kept byte for byte where they are not; netplan's YAML is only
//! read.

mod facts;
mod ifcfg;
mod ifupdown;
mod keyfile;
mod netplan;
mod networkd;
mod udev;
mod yaml;

pub use facts::{
    Interface, InterfaceKind, Method, NameBinding, Network, ResolvConf, Stack, Unreadable,
};
pub use ifupdown::{Iface, IfaceEdit, Interfaces};
pub use netplan::{Definition, Netplan};
pub use udev::{NamingRule, UdevRules};
pub(crate) use yaml::Yaml;

use crate::boot::{CONFIG_CAP, present};
use crate::{Error, Guest, GuestPath};
use fs::Kind;

/// Files that name each other with `source` are followed this far.
const MAX_SOURCES: usize = 8;

/// Reads how the guest configures its network.
///
/// # Errors
/// What reading the guest meets; a configuration that makes no sense is recorded as unreadable.
pub fn inspect(guest: &Guest) -> Result<Network, Error> {
    let mut network = Network {
        resolv_conf: resolv_conf(guest)?,
        ..Network::default()
    };
    for (file, bytes) in interfaces_files(guest)? {
        network
            .interfaces
            .extend(ifupdown_interfaces(&file, &bytes));
    }
    netplan_files(guest, &mut network)?;
    networkd_files(guest, &mut network)?;
    for (file, bytes) in files(guest, "/etc/NetworkManager/system-connections", "")? {
        network.interfaces.push(keyfile::profile(&file, &bytes));
    }
    for (directory, stack) in [
        ("/etc/sysconfig/network-scripts", Stack::Ifcfg),
        ("/etc/sysconfig/network", Stack::Wicked),
    ] {
        for (file, bytes) in files(guest, directory, "")? {
            if is_ifcfg(&file) {
                network.interfaces.push(ifcfg::ifcfg(&file, &bytes, stack));
            }
        }
    }
    for (file, bytes) in files(guest, "/etc/udev/rules.d", ".rules")? {
        for rule in UdevRules::parse(&bytes).naming() {
            network.name_bindings.push(NameBinding {
                file: file.clone(),
                mac: rule.mac,
                name: Some(rule.name),
            });
        }
    }
    let own = network.interfaces.iter();
    network.stacks = own
        .filter(|interface| interface.kind != InterfaceKind::Loopback)
        .map(|interface| interface.stack)
        .collect();
    network.stacks.sort_unstable();
    network.stacks.dedup();
    Ok(network)
}

/// `/etc/network/interfaces` and every file that it reads, in order.
///
/// # Errors
/// What reading the guest meets.
pub fn interfaces_files(guest: &Guest) -> Result<Vec<(GuestPath, Vec<u8>)>, Error> {
    let mut found: Vec<(GuestPath, Vec<u8>)> = Vec::new();
    let mut waiting = vec![(GuestPath::from("/etc/network/interfaces"), 0usize)];
    while let Some((file, depth)) = waiting.pop() {
        let known = found.iter().any(|(path, _)| *path == file);
        let Some(bytes) = guest.read(&file, CONFIG_CAP)?.filter(|_| !known) else {
            continue;
        };
        let mut next = Vec::new();
        if depth < MAX_SOURCES {
            for (keyword, pattern) in Interfaces::parse(&bytes).sources() {
                let pattern = if pattern.starts_with('/') {
                    GuestPath::from(pattern)
                } else {
                    GuestPath::from("/etc/network").join(pattern)
                };
                next.extend(sourced(guest, keyword, &pattern)?);
            }
        }
        found.push((file, bytes));
        waiting.extend(
            next.into_iter()
                .rev()
                .map(|file| (file, depth.saturating_add(1))),
        );
    }
    Ok(found)
}

/// The files that a `source` line reads. A pattern in another part of the path than the last one
/// finds nothing.
fn sourced(guest: &Guest, keyword: &str, pattern: &GuestPath) -> Result<Vec<GuestPath>, Error> {
    let directory = guest
        .stat_followed(pattern)?
        .is_some_and(|meta| meta.kind == Kind::Dir);
    if directory {
        let entries = guest.list(pattern)?;
        // run-parts' rule of names, as ifupdown takes it for whole directories.
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let named = entries.iter().filter(|entry| entry.name.iter().all(plain));
        return Ok(named.map(|entry| pattern.join(&entry.name)).collect());
    }
    if keyword != "source" {
        return Ok(Vec::new());
    }
    let (Some(parent), Some(name)) = (pattern.parent(), pattern.name()) else {
        return Ok(Vec::new());
    };
    let entries = guest.list(&parent)?;
    let fitting = entries
        .iter()
        .filter(|entry| matches_pattern(name, &entry.name));
    Ok(fitting.map(|entry| parent.join(&entry.name)).collect())
}

/// Whether a name fits a shell pattern of `*` and `?`; names with a leading dot fit none that
/// starts with one of them.
pub fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // The place after the last `*`, and how much of the name it has taken.
    let (mut p, mut n, mut star) = (0usize, 0usize, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    p = after;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// A hardware address in lower case with colons.
pub(crate) fn mac(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('-', ":")
}

/// Whether the name is one that only virtual interfaces have.
pub(crate) fn is_virtual_name(name: &str) -> bool {
    let prefixes = [
        "br", "bond", "team", "vlan", "docker", "virbr", "veth", "tun", "tap", "dummy", "wg",
        "ppp", "vmbr", "lxc", "ip6tnl", "sit", "gre", "vxlan", "cni", "flannel",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn ifupdown_interfaces(file: &GuestPath, bytes: &[u8]) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for iface in Interfaces::parse(bytes).ifaces() {
        let method = ifupdown_method(&iface);
        let v6 = iface.family == "inet6";
        let words = |option: &str| -> Vec<String> {
            let words = iface.values(option).flat_map(str::split_whitespace);
            words.map(str::to_owned).collect()
        };
        let mut name_servers = words("dns-nameservers");
        name_servers.extend(words("dns-nameserver"));
        let address = words("hwaddress").pop().map(|text| mac(&text));
        let known = interfaces
            .iter_mut()
            .find(|known| known.name.as_deref() == Some(&iface.name));
        let (addresses, gateways) = (words("address"), words("gateway"));
        if let Some(known) = known {
            let family = if v6 { &mut known.ipv6 } else { &mut known.ipv4 };
            *family = (*family).or(method);
            known.addresses.extend(addresses);
            known.gateways.extend(gateways);
            known.name_servers.extend(name_servers);
            known.mac = known.mac.take().or(address);
            continue;
        }
        interfaces.push(Interface {
            kind: ifupdown_kind(&iface),
            stack: Stack::Ifupdown,
            file: file.clone(),
            ipv4: method.filter(|_| !v6),
            ipv6: method.filter(|_| v6),
            addresses,
            gateways,
            name_servers,
            mac: address,
            name: Some(iface.name),
        });
    }
    interfaces
}

fn ifupdown_method(iface: &Iface) -> Option<Method> {
    Some(match iface.method.as_str() {
        "dhcp" => Method::Dhcp,
        "static" => Method::Static,
        "auto" => Method::Auto,
        "manual" => Method::Manual,
        // ifupdown2 and ifupdown-ng take the method from the options.
        "" if iface.has(|name| name == "address") => Method::Static,
        "" | "loopback" => return None,
        _ => Method::Other,
    })
}

/// What an ifupdown stanza configures, by its options and its name.
fn ifupdown_kind(iface: &Iface) -> InterfaceKind {
    let has = |wanted: &[&str]| iface.has(|name| wanted.contains(&name));
    if iface.method == "loopback" || iface.name == "lo" {
        InterfaceKind::Loopback
    } else if iface
        .has(|name| matches!(name, "bridge_ports" | "bridge-ports") || name.starts_with("bridge_"))
    {
        InterfaceKind::Bridge
    } else if has(&[
        "bond-slaves",
        "bond-mode",
        "bond_mode",
        "slaves",
        "bond-members",
    ]) {
        InterfaceKind::Bond
    } else if has(&["vlan-raw-device", "vlan_raw_device", "vlan-id"]) || iface.name.contains('.') {
        InterfaceKind::Vlan
    } else if iface.has(|name| name.starts_with("wpa-") || name.starts_with("wireless-"))
        || iface.name.starts_with("wl")
    {
        InterfaceKind::Wireless
    } else if is_virtual_name(&iface.name) {
        InterfaceKind::Other
    } else {
        InterfaceKind::Ethernet
    }
}

fn netplan_files(guest: &Guest, network: &mut Network) -> Result<(), Error> {
    for (file, bytes) in files(guest, "/etc/netplan", ".yaml")? {
        let netplan = match Netplan::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(netplan) => netplan,
            Err(reason) => {
                network.unreadable.push(Unreadable { file, reason });
                continue;
            }
        };
        for definition in netplan.definitions {
            network.interfaces.push(Interface {
                name: definition.name().map(str::to_owned),
                kind: definition.kind,
                stack: Stack::Netplan,
                file: file.clone(),
                ipv4: definition.ipv4(),
                ipv6: definition.ipv6(),
                addresses: definition.addresses,
                gateways: definition.gateways,
                name_servers: definition.name_servers,
                mac: definition.match_mac.or(definition.macaddress),
            });
        }
    }
    Ok(())
}

fn networkd_files(guest: &Guest, network: &mut Network) -> Result<(), Error> {
    let directory = "/etc/systemd/network";
    let netdevs: Vec<(String, InterfaceKind)> = files(guest, directory, ".netdev")?
        .iter()
        .filter_map(|(_, bytes)| networkd::netdev(bytes))
        .collect();
    for (file, bytes) in files(guest, directory, ".network")? {
        network
            .interfaces
            .push(networkd::network(&file, &bytes, &netdevs));
    }
    for (file, bytes) in files(guest, directory, ".link")? {
        network.name_bindings.extend(networkd::link(&file, &bytes));
    }
    Ok(())
}

/// The regular files in a directory whose names end in `suffix`, with their content, by name.
/// Hidden files and what editors and package managers leave behind are no configuration.
fn files(guest: &Guest, directory: &str, suffix: &str) -> Result<Vec<(GuestPath, Vec<u8>)>, Error> {
    let directory = GuestPath::from(directory);
    let mut files = Vec::new();
    for entry in guest.list(&directory)? {
        let file = directory.join(&entry.name);
        let leftover = [
            ".bak",
            "~",
            ".orig",
            ".old",
            ".rpmsave",
            ".rpmnew",
            ".dpkg-old",
        ]
        .iter()
        .any(|suffix| file.has_suffix(suffix));
        if entry.name.starts_with(b".") || leftover || !file.has_suffix(suffix) {
            continue;
        }
        if present(guest, file.clone())?.is_some()
            && let Some(bytes) = guest.read(&file, CONFIG_CAP)?
        {
            files.push((file, bytes));
        }
    }
    Ok(files)
}

fn is_ifcfg(file: &GuestPath) -> bool {
    let name = file.name().unwrap_or_default();
    name.starts_with(b"ifcfg-") && name != b"ifcfg-template"
}

fn resolv_conf(guest: &Guest) -> Result<ResolvConf, Error> {
    let path = GuestPath::from("/etc/resolv.conf");
    if let Some(target) = guest.read_link(&path)? {
        let base = if target.starts_with(b"/") {
            GuestPath::root()
        } else {
            "/etc".into()
        };
        return Ok(ResolvConf::Link(base.join(target)));
    }
    let Some(bytes) = guest.read(&path, CONFIG_CAP)? else {
        return Ok(ResolvConf::Absent);
    };
    Ok(ResolvConf::File(name_servers(&bytes)))
}

/// The name servers of a `resolv.conf`.
pub fn name_servers(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    servers.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, fits) in [
            ("*", "a", true),
            ("*", ".a", false),
            ("*.cfg", "a.cfg", true),
            ("e?h*0", "eth10", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b", "axxc", false),
            ("", "", true),
        ] {
            assert_eq!(
                matches_pattern(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }
}

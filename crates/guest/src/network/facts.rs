//! What inspection saw of the guest's network configuration.

use crate::GuestPath;
use serde::{Deserialize, Serialize};

/// How the guest configures its network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Network {
    /// The configuration systems that hold at least one interface, sorted.
    pub stacks: Vec<Stack>,
    /// Every configured interface, loopback too, in the order of stacks and files.
    pub interfaces: Vec<Interface>,
    /// Files that give interfaces their names by hardware address or place in the machine.
    pub name_bindings: Vec<NameBinding>,
    /// What `/etc/resolv.conf` is.
    pub resolv_conf: ResolvConf,
    /// Files that could not be understood, with the reason.
    pub unreadable: Vec<Unreadable>,
}

/// A system of network configuration.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stack {
    /// `/etc/network/interfaces`: Debian's ifupdown, ifupdown2, ifupdown-ng, Alpine's busybox.
    Ifupdown,
    /// `/etc/netplan/*.yaml`.
    Netplan,
    /// `/etc/systemd/network/*.network`.
    Networkd,
    /// `/etc/NetworkManager/system-connections`.
    NetworkManager,
    /// `/etc/sysconfig/network-scripts/ifcfg-*`, of Red Hat's family.
    Ifcfg,
    /// `/etc/sysconfig/network/ifcfg-*`, of SUSE's family.
    Wicked,
}

impl Stack {
    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ifupdown => "ifupdown",
            Self::Netplan => "netplan",
            Self::Networkd => "systemd-networkd",
            Self::NetworkManager => "NetworkManager",
            Self::Ifcfg => "ifcfg",
            Self::Wicked => "wicked",
        }
    }
}

/// One interface as one file configures it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Its name, or the pattern that the file matches names with; none where the file matches by
    /// something else.
    pub name: Option<String>,
    /// What it is.
    pub kind: InterfaceKind,
    /// Which system configures it.
    pub stack: Stack,
    /// The file.
    pub file: GuestPath,
    /// How it gets its IPv4 address; none where the file says nothing about IPv4.
    pub ipv4: Option<Method>,
    /// How it gets its IPv6 address; none where the file says nothing about IPv6.
    pub ipv6: Option<Method>,
    /// Fixed addresses, with prefix length where the file has one.
    pub addresses: Vec<String>,
    /// Default gateways.
    pub gateways: Vec<String>,
    /// Name servers.
    pub name_servers: Vec<String>,
    /// The hardware address that the file matches or sets, in lower case with colons.
    pub mac: Option<String>,
}

/// What an interface is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InterfaceKind {
    /// A network card.
    Ethernet,
    /// The loopback interface.
    Loopback,
    /// A bond or team of other interfaces.
    Bond,
    /// A bridge of other interfaces.
    Bridge,
    /// A VLAN on another interface.
    Vlan,
    /// A radio.
    Wireless,
    /// Anything else: tunnels, dummies, modems.
    Other,
}

/// How an interface gets an address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// From a DHCP server.
    Dhcp,
    /// Fixed in the file.
    Static,
    /// From router advertisements.
    Auto,
    /// Not at all: brought up, and left to others.
    Manual,
    /// Switched off.
    Disabled,
    /// Something else, as point-to-point links.
    Other,
}

/// A file that names interfaces.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NameBinding {
    /// The file.
    pub file: GuestPath,
    /// The hardware address that it looks for, in lower case with colons; none where it looks at
    /// the place in the machine.
    pub mac: Option<String>,
    /// The name that it gives.
    pub name: Option<String>,
}

/// What `/etc/resolv.conf` is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvConf {
    /// Not there.
    #[default]
    Absent,
    /// A file of its own, with these name servers.
    File(Vec<String>),
    /// A symbolic link to what a service writes.
    Link(GuestPath),
}

/// A file that could not be understood.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unreadable {
    /// The file.
    pub file: GuestPath,
    /// Why.
    pub reason: String,
}

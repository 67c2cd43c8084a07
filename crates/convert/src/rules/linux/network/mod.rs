//! The network: addresses from DHCP, names that stay, nothing tied to the old hardware.

mod bindings;
mod dhclient;
mod dhcp;
mod ifcfg;
mod ifupdown;
mod keyfile;
mod mac;
mod name;
mod netplan;
mod networkd;
mod no_auto_default;
mod red_hat;
mod resolv_conf;

pub(super) use bindings::RULE as BINDINGS;
pub(super) use dhcp::RULE as DHCP;
pub(super) use mac::RULE as MAC;
pub(super) use name::{RULE as NAME, file_in_initramfs as name_in_initramfs};
pub(super) use no_auto_default::RULE as NO_AUTO_DEFAULT;
pub(super) use resolv_conf::RULE as RESOLV_CONF;

use guest::GuestPath;
use guest::network::{Interface, InterfaceKind, Network, Stack};

/// The network cards that are configured: no loopback, nothing virtual, no second names of a card
/// as `eth0:1`.
fn cards(network: &Network) -> impl Iterator<Item = &Interface> {
    network.interfaces.iter().filter(|interface| {
        interface.kind == InterfaceKind::Ethernet
            && interface
                .name
                .as_deref()
                .is_none_or(|name| !name.contains(':'))
    })
}

/// Whether any network card is configured.
pub(super) fn has_cards(network: &Network) -> bool {
    cards(network).next().is_some()
}

/// The files of a stack, each once, in order.
fn files(network: &Network, stack: Stack) -> Vec<GuestPath> {
    let mut files: Vec<GuestPath> = Vec::new();
    for interface in &network.interfaces {
        if interface.stack == stack && !files.contains(&interface.file) {
            files.push(interface.file.clone());
        }
    }
    files
}

/// Whether a name in a configuration fits more than one interface.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[', '!']) || name.contains(char::is_whitespace)
}

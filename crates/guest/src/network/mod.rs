//! Network configuration: ifupdown, netplan, systemd-networkd, NetworkManager, interface names.

mod facts;

pub use facts::{
    Interface, InterfaceKind, Method, NameBinding, Network, ResolvConf, Stack, Unreadable,
};

use crate::{Error, Guest};

/// Reads how the guest configures its network.
///
/// # Errors
/// What reading the guest meets; a configuration that makes no sense is recorded as unreadable.
pub(crate) fn inspect(_guest: &Guest) -> Result<Network, Error> {
    Ok(Network::default())
}

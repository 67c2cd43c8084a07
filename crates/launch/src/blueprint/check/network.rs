//! The network interfaces.

use super::Checker;
use crate::blueprint::cidr::{Cidr, NoCidr};
use crate::blueprint::{Interface, PrivateIpAction, PublicIp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Security groups of an interface that a new account may have; AWS grants 16 on request.
const GROUPS: usize = 5;

impl Checker<'_> {
    pub(super) fn network(&mut self) {
        self.numbers();
        self.limits();
        let interfaces = &self.blueprint.network.interfaces;
        let mut addresses = BTreeMap::new();
        let mut singles = BTreeMap::new();
        for (at, interface) in interfaces.iter().enumerate() {
            let path = format!("network.interfaces[{at}]");
            if interface.eni_id.is_some() {
                self.existing(interface, &path);
            }
            self.action(at, interface, &path);
            self.subnet(interface, &path);
            self.groups(interface, &path);
            self.public(interface, &path, interfaces.len());
            for (index, address) in interface.private_ips.iter().enumerate() {
                let field = format!("{path}.privateIps[{index}]");
                if let Some(first) = addresses.insert(*address, field.clone()) {
                    self.error(
                        field,
                        "ip-twice",
                        format!("{address} is at {first} already"),
                        "write another address",
                    );
                }
            }
            for (name, id) in [
                ("eniId", &interface.eni_id),
                ("eipAllocationId", &interface.eip_allocation_id),
            ] {
                let Some(id) = id else { continue };
                let field = format!("{path}.{name}");
                if let Some(first) = singles.insert(id.clone(), field.clone()) {
                    self.error(
                        field,
                        "network-id-twice",
                        format!("{id} is at {first} already"),
                        "name another one",
                    );
                }
            }
        }
    }

    fn numbers(&mut self) {
        let network = &self.blueprint.network;
        if network.interfaces.is_empty() {
            return;
        }
        let mut seen = BTreeMap::new();
        for (at, (number, _)) in network.numbered().enumerate() {
            if let Some(first) = seen.insert(number, at) {
                self.error(
                    format!("network.interfaces[{at}].deviceIndex"),
                    "interface-number-twice",
                    format!("network.interfaces[{first}] has number {number} already"),
                    "give each interface its own number, or leave all out",
                );
            }
        }
        if !seen.contains_key(&0) {
            self.error(
                "network.interfaces",
                "interface-primary-missing",
                "no interface has number 0, which an instance boots with",
                "write `deviceIndex: 0` at one of them",
            );
        }
    }

    fn limits(&mut self) {
        let Some(one) = self.instance_type else {
            return;
        };
        let interfaces = &self.blueprint.network.interfaces;
        let over = |count: usize, most: u32| usize::try_from(most).is_ok_and(|most| count > most);
        if over(interfaces.len(), one.max_interfaces) {
            self.error(
                format!("network.interfaces[{}]", one.max_interfaces),
                "interfaces-of-type",
                format!("{} has at most {} interfaces", one.name, one.max_interfaces),
                "choose a larger type, or have fewer interfaces",
            );
        }
        for (at, interface) in interfaces.iter().enumerate() {
            for (field, count, most) in [
                (
                    "privateIps",
                    interface.private_ips.len(),
                    one.ipv4_per_interface,
                ),
                ("ipv6", interface.ipv6.len(), one.ipv6_per_interface),
            ] {
                if over(count, most) {
                    self.error(
                        format!("network.interfaces[{at}].{field}"),
                        "addresses-of-type",
                        format!("{} has at most {most} of them for an interface", one.name),
                        "choose a larger type, or have fewer addresses",
                    );
                }
            }
        }
    }

    /// An interface that exists has everything already.
    fn existing(&mut self, interface: &Interface, path: &str) {
        let said = [
            ("subnetId", interface.subnet_id.is_some()),
            ("privateIps", !interface.private_ips.is_empty()),
            ("securityGroupIds", !interface.security_group_ids.is_empty()),
            ("publicIp", interface.public_ip != PublicIp::Auto),
            ("ipv6", !interface.ipv6.is_empty()),
            ("sourceDestCheck", interface.source_dest_check.is_some()),
        ];
        for (field, _) in said.into_iter().filter(|(_, said)| *said) {
            self.error(
                format!("{path}.{field}"),
                "eni-excludes",
                "the interface in eniId exists, and has this already",
                format!("remove {field}, or remove eniId"),
            );
        }
    }

    fn action(&mut self, at: usize, interface: &Interface, path: &str) {
        let action = interface.private_ip_action();
        let field = format!("{path}.privateIpAction");
        let has_addresses = !interface.private_ips.is_empty();
        let has_eni = interface.eni_id.is_some();
        if action == PrivateIpAction::UseEni && !has_eni {
            self.error(
                field.clone(),
                "eni-missing",
                "an interface that exists is wanted, but not which",
                "add `eniId: eni-…`, or write create-new",
            );
        }
        if action != PrivateIpAction::UseEni && has_eni {
            self.error(
                field.clone(),
                "ip-action-with-eni",
                "the interface in eniId has its own address",
                "write use-eni, or remove eniId",
            );
        }
        if action == PrivateIpAction::Custom && !has_addresses {
            self.error(
                field.clone(),
                "ip-missing",
                "a given address is wanted, but none is there",
                "add `privateIps: [10.0.1.25]`, or write create-new",
            );
        }
        let chooses = matches!(
            action,
            PrivateIpAction::CreateNew | PrivateIpAction::CopyOrigin
        );
        if chooses && has_addresses {
            self.error(
                format!("{path}.privateIps"),
                "ip-action-with-ips",
                "addresses are given, but privateIpAction says otherwise",
                "write `privateIpAction: custom`, or remove privateIps",
            );
        }
        let needs_subnet = matches!(
            action,
            PrivateIpAction::Custom | PrivateIpAction::CopyOrigin
        ) || !interface.ipv6.is_empty();
        if needs_subnet && interface.subnet_id.is_none() && !has_eni {
            self.error(
                path,
                "ip-without-subnet",
                "an address is given, but not the subnet that has it",
                "add `subnetId: subnet-…`",
            );
        }
        if let (PrivateIpAction::CopyOrigin, Some(source)) = (action, self.source)
            && self.blueprint.private_ips(at, source).is_err()
        {
            self.error(
                field,
                "copy-origin-address",
                "the guest has no fixed IPv4 address that could be copied",
                "write `privateIpAction: custom` with the address, or create-new",
            );
        }
    }

    fn subnet(&mut self, interface: &Interface, path: &str) {
        for (index, address) in interface.private_ips.iter().enumerate() {
            if !is_usable(*address) {
                self.error(
                    format!("{path}.privateIps[{index}]"),
                    "ip-unusable",
                    format!("{address} cannot be the address of an instance"),
                    "write an address of the subnet",
                );
            }
        }
        let Some(text) = &interface.subnet_cidr else {
            return;
        };
        let field = format!("{path}.subnetCidr");
        let cidr = match Cidr::parse(text) {
            Ok(cidr) => cidr,
            Err(NoCidr::Form) => {
                let message = format!("{text:?} is no block of addresses");
                self.error(field, "cidr-form", message, "write it as in 10.0.1.0/24");
                return;
            }
            Err(NoCidr::HostBits(cidr)) => {
                let message = format!("{text} does not begin its block");
                self.error(field, "cidr-form", message, format!("write {cidr}"));
                return;
            }
        };
        if !(16..=28).contains(&cidr.prefix) {
            self.error(
                field,
                "cidr-size",
                format!("/{} is no size of a subnet", cidr.prefix),
                "write the block of the subnet, /16 to /28",
            );
            return;
        }
        for (index, address) in interface.private_ips.iter().enumerate() {
            let field = format!("{path}.privateIps[{index}]");
            if !cidr.contains(*address) {
                self.error(
                    field,
                    "ip-outside-subnet",
                    format!("{address} is not in {cidr}"),
                    "write an address of the subnet, or correct subnetCidr",
                );
            } else if cidr.reserves(*address) {
                self.error(
                    field,
                    "ip-reserved",
                    format!("AWS keeps the first four addresses of {cidr} and the last"),
                    "write another address of the subnet",
                );
            }
        }
    }

    fn groups(&mut self, interface: &Interface, path: &str) {
        let groups = &interface.security_group_ids;
        let mut seen = BTreeSet::new();
        for (index, group) in groups.iter().enumerate() {
            if !seen.insert(group) {
                self.error(
                    format!("{path}.securityGroupIds[{index}]"),
                    "security-group-twice",
                    format!("{group} is there already"),
                    "remove it",
                );
            }
        }
        if groups.len() > GROUPS {
            self.warn(
                format!("{path}.securityGroupIds"),
                "security-groups-many",
                format!(
                    "there are {}; accounts allow {GROUPS} at first",
                    groups.len()
                ),
                "join rules into fewer groups, or have the quota raised",
            );
        }
    }

    fn public(&mut self, interface: &Interface, path: &str, count: usize) {
        let field = format!("{path}.publicIp");
        if interface.public_ip == PublicIp::Yes && count > 1 {
            self.error(
                field.clone(),
                "public-ip-of-several",
                "EC2 gives public addresses to instances of one interface alone",
                "write auto, and give an Elastic IP address by eipAllocationId",
            );
        }
        if interface.public_ip == PublicIp::Yes && interface.eip_allocation_id.is_some() {
            self.error(
                field,
                "public-ip-with-eip",
                "the Elastic IP address would take the place of the public one",
                "remove publicIp, or remove eipAllocationId",
            );
        }
    }
}

fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_link_local()
        || address.is_broadcast())
}

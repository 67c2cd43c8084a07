//! The network interfaces of the target.

use super::is_default;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The network interfaces of the target
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// The interfaces; without any, one in the default subnet of the default VPC
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub interfaces: Vec<Interface>,
}

/// A network interface: a new one, or one that exists
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Interface {
    /// Its number at the instance; without it its place in this list, from 0
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 63))]
    pub device_index: Option<u32>,
    /// The subnet
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "the id of a subnet",
        example = "subnet-0123456789abcdef0",
        regex(pattern = "^subnet-[0-9a-f]{8,17}$")
    )]
    pub subnet_id: Option<String>,
    /// The addresses of the subnet, to check private addresses by without asking EC2
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "10.0.1.0/24")]
    pub subnet_cidr: Option<String>,
    /// Where the private address comes from; without it custom if addresses are given, use-eni if an
    /// interface is, else create-new
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_ip_action: Option<PrivateIpAction>,
    /// The private IPv4 addresses, the first one as the primary
    #[serde(rename = "privateIps", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub private_ips: Vec<Ipv4Addr>,
    /// An interface that exists, instead of a new one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "the id of a network interface",
        example = "eni-0123456789abcdef0",
        regex(pattern = "^eni-[0-9a-f]{8,17}$")
    )]
    pub eni_id: Option<String>,
    /// The security groups; without any, the default one of the VPC
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(regex(pattern = "^sg-[0-9a-f]{8,17}$")),
        extend("examples" = [["sg-0123456789abcdef0"]])
    )]
    pub security_group_ids: Vec<String>,
    /// Whether it gets a public address; without it as the subnet says
    #[serde(skip_serializing_if = "is_default")]
    pub public_ip: PublicIp,
    /// An Elastic IP address that it gets
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        title = "the id of an Elastic IP address",
        example = "eipalloc-0123456789abcdef0",
        regex(pattern = "^eipalloc-[0-9a-f]{8,17}$")
    )]
    pub eip_allocation_id: Option<String>,
    /// IPv6 addresses
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ipv6: Vec<Ipv6Addr>,
    /// Whether it drops what is not sent from or to its own addresses; true if it is not said.
    /// Routers and NAT need false
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_dest_check: Option<bool>,
}

/// Where the private address of an interface comes from
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateIpAction {
    /// EC2 takes a free one of the subnet
    CreateNew,
    /// The one that the guest has configured; the subnet must have it
    CopyOrigin,
    /// Those in privateIps
    Custom,
    /// That of the interface in eniId
    UseEni,
}

/// Whether an interface gets a public address
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublicIp {
    /// As the subnet says
    #[default]
    Auto,
    /// It gets one
    Yes,
    /// It gets none
    No,
}

impl Interface {
    /// Where the private address comes from.
    pub fn private_ip_action(&self) -> PrivateIpAction {
        match self.private_ip_action {
            Some(action) => action,
            None if self.eni_id.is_some() => PrivateIpAction::UseEni,
            None if !self.private_ips.is_empty() => PrivateIpAction::Custom,
            None => PrivateIpAction::CreateNew,
        }
    }

    /// Whether it drops what is not sent from or to its own addresses.
    pub fn source_dest_check(&self) -> bool {
        self.source_dest_check.unwrap_or(true)
    }
}

impl Network {
    /// The interfaces with their numbers at the instance.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &Interface)> {
        (0..).zip(&self.interfaces).map(|(place, interface)| {
            let number = interface.device_index.unwrap_or(place);
            (number, interface)
        })
    }
}

//! What an account has before anything is launched: networks, roles, keys, hosts.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

/// The account's surroundings. The default is enough for most tests, with these names:
///
/// | what | id or name |
/// |---|---|
/// | VPC 10.0.0.0/16 | `vpc-00000000000000001` |
/// | subnet 10.0.1.0/24 in zone a | `subnet-0000000000000000a` |
/// | subnet 10.0.2.0/24 in zone b | `subnet-0000000000000000b` |
/// | security group `default` | `sg-0000000000000000a` |
/// | security group `web` | `sg-0000000000000000b` |
/// | instance profile | `rehost-target` |
/// | key pair | `rehost` |
/// | dedicated host in zone a | `h-0000000000000000a` |
/// | placement groups | `close` (cluster), `apart` (spread), `parts` (3 partitions) |
///
/// Zones are the region's name and a letter.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The letters of the zones.
    pub zones: Vec<char>,
    /// The VPCs; the first is the default one.
    pub vpcs: Vec<Vpc>,
    /// Their subnets; the first of the default VPC is taken when a launch names none.
    pub subnets: Vec<Subnet>,
    /// Their security groups; the one named `default` is taken when an interface names none.
    pub security_groups: Vec<SecurityGroup>,
    /// Names of instance profiles.
    pub profiles: Vec<String>,
    /// Names of key pairs.
    pub key_pairs: Vec<String>,
    /// Dedicated hosts.
    pub hosts: Vec<Host>,
    /// Placement groups.
    pub placement_groups: Vec<PlacementGroup>,
    /// How many Elastic IP addresses there may be (quota L-0263D0A3).
    pub address_limit: usize,
    /// How many security groups an interface may have (quota L-2AFB9258).
    pub groups_per_interface: usize,
}

/// A virtual network.
#[derive(Debug, Clone, Serialize)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its addresses.
    pub cidr: Cidr,
}

/// A subnet.
#[derive(Debug, Clone, Serialize)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its VPC's id.
    pub vpc: String,
    /// Its addresses.
    pub cidr: Cidr,
    /// The letter of its zone.
    pub zone: char,
    /// Whether instances get a public address when nothing is said.
    pub public: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A security group.
#[derive(Debug, Clone, Serialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its VPC's id.
    pub vpc: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A dedicated host.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// The letter of its zone.
    pub zone: char,
}

/// A placement group.
#[derive(Debug, Clone, Serialize)]
pub struct PlacementGroup {
    /// Its name.
    pub name: String,
    /// Its partitions, if its strategy is to have such.
    pub partitions: u32,
}

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    bits: u8,
}

impl Cidr {
    /// The network of `bits` (32 at most) that `address` is in.
    pub fn new(address: Ipv4Addr, bits: u8) -> Self {
        let bits = bits.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        Cidr {
            base: u32::from(address) & mask,
            bits,
        }
    }

    /// How many addresses it has.
    pub(crate) fn len(self) -> u64 {
        1 << (32 - u32::from(self.bits))
    }

    /// The address of that number.
    pub(crate) fn nth(self, number: u64) -> Option<Ipv4Addr> {
        let number = u32::try_from(number).ok()?;
        (u64::from(number) < self.len()).then(|| Ipv4Addr::from(self.base | number))
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        Cidr::new(address, self.bits) == self
    }

    /// Whether AWS keeps the address for itself: the first four and the last.
    pub(crate) fn reserves(self, address: Ipv4Addr) -> bool {
        let number = u64::from(u32::from(address) ^ self.base);
        number < 4 || number == self.len() - 1
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        let vpc = "vpc-00000000000000001";
        let subnet = |letter: char, third: u8| Subnet {
            id: format!("subnet-0000000000000000{letter}"),
            vpc: vpc.into(),
            cidr: Cidr::new(Ipv4Addr::new(10, 0, third, 0), 24),
            zone: letter,
            public: false,
            tags: BTreeMap::new(),
        };
        let group = |letter: char, name: &str| SecurityGroup {
            id: format!("sg-0000000000000000{letter}"),
            name: name.into(),
            vpc: vpc.into(),
            tags: BTreeMap::new(),
        };
        let placement = |name: &str, partitions| PlacementGroup {
            name: name.into(),
            partitions,
        };
        Surroundings {
            zones: vec!['a', 'b'],
            vpcs: vec![Vpc {
                id: vpc.into(),
                cidr: Cidr::new(Ipv4Addr::new(10, 0, 0, 0), 16),
            }],
            subnets: vec![subnet('a', 1), subnet('b', 2)],
            security_groups: vec![group('a', "default"), group('b', "web")],
            profiles: vec!["rehost-target".into()],
            key_pairs: vec!["rehost".into()],
            hosts: vec![Host {
                id: "h-0000000000000000a".into(),
                zone: 'a',
            }],
            placement_groups: vec![
                placement("close", 0),
                placement("apart", 0),
                placement("parts", 3),
            ],
            address_limit: 5,
            groups_per_interface: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_keeps_five_addresses() {
        let cidr = Cidr::new(Ipv4Addr::new(10, 0, 1, 77), 28);
        assert_eq!(cidr.to_string(), "10.0.1.64/28");
        let address = |last| Ipv4Addr::new(10, 0, 1, last);
        let free = (0..=255)
            .filter(|last| cidr.contains(address(*last)) && !cidr.reserves(address(*last)));
        assert_eq!(free.collect::<Vec<_>>(), (68..79).collect::<Vec<_>>());
        assert_eq!(cidr.nth(15), Some(address(79)));
        assert_eq!(cidr.nth(16), None);
    }
}

//! The addresses of a subnet.

use std::net::Ipv4Addr;

/// A block of IPv4 addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cidr {
    /// Its first address.
    pub(super) network: Ipv4Addr,
    /// Bits that all of them share, 0 to 32.
    pub(super) prefix: u8,
}

/// Why a text is no block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoCidr {
    /// It is not `ADDRESS/BITS`.
    Form,
    /// The address is not the first one of the block, which is this.
    HostBits(Cidr),
}

impl Cidr {
    pub(super) fn parse(text: &str) -> Result<Self, NoCidr> {
        let (address, prefix) = text.split_once('/').ok_or(NoCidr::Form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| NoCidr::Form)?;
        // `parse` takes a plus sign too.
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|bits| digits && *bits <= 32);
        let prefix = prefix.ok_or(NoCidr::Form)?;
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        let cidr = Self { network, prefix };
        if network == address {
            Ok(cidr)
        } else {
            Err(NoCidr::HostBits(cidr))
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Whether AWS keeps an address of the subnet to itself: the first four, and the last.
    pub(super) fn reserves(&self, address: Ipv4Addr) -> bool {
        let first = self.network.to_bits();
        let last = first | !mask(self.prefix);
        let address = address.to_bits();
        address == last || address.checked_sub(first).is_some_and(|offset| offset < 4)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(u32::from(32_u8.saturating_sub(prefix)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_and_know_their_addresses() {
        let cidr = Cidr::parse("10.0.1.0/24").unwrap();
        let at = |last| Ipv4Addr::new(10, 0, 1, last);
        assert!(cidr.contains(at(0)) && cidr.contains(at(255)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 0, 2, 0)));
        for (last, reserved) in [(0, true), (3, true), (4, false), (254, false), (255, true)] {
            assert_eq!(cidr.reserves(at(last)), reserved, "{last}");
        }
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains(at(1)));
        assert!(!Cidr::parse("10.0.1.1/32").unwrap().contains(at(2)));
        for bad in [
            "10.0.1.0",
            "10.0.1.0/33",
            "10.0.1/24",
            "10.0.1.0/+4",
            "10.0.1.0/",
            "/24",
        ] {
            assert_eq!(Cidr::parse(bad), Err(NoCidr::Form), "{bad}");
        }
        assert_eq!(Cidr::parse("10.0.1.7/24"), Err(NoCidr::HostBits(cidr)));
    }
}

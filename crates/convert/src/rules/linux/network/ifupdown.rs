//! ifupdown's stanzas with DHCP. Source: interfaces(5).

use guest::network::{Iface, IfaceEdit, Interfaces};
use std::collections::BTreeSet;

/// Converts the files of one guest, in the order in which ifupdown reads them.
#[derive(Debug)]
pub(super) struct Converter {
    cards: BTreeSet<String>,
    /// Names and families that ask DHCP.
    done: BTreeSet<(String, String)>,
    notes: Vec<String>,
}

impl Converter {
    /// For a guest with these network cards.
    pub(super) fn new(cards: BTreeSet<String>) -> Self {
        Self {
            cards,
            done: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// A file in which every card asks DHCP. Second addresses go, be they in a stanza of the same
    /// name or of an alias as `eth0:1`: the VPC would not route them.
    pub(super) fn with_dhcp(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut file = Interfaces::parse(bytes);
        let mut aliases = Vec::new();
        file.edit(|iface| {
            let base = iface.name.split(':').next().unwrap_or_default();
            let card = self.cards.contains(base);
            if card && iface.name.contains(':') {
                aliases.push(iface.name.clone());
                return IfaceEdit::Remove;
            }
            if card {
                self.decide(iface)
            } else {
                IfaceEdit::Keep
            }
        });
        for alias in aliases {
            self.notes.push(format!(
                "{alias} was given up; add its address to the instance"
            ));
            file.remove_auto(&alias);
        }
        file.render()
    }

    /// Whether any card asks DHCP over IPv4.
    pub(super) fn asks_dhcp(&self) -> bool {
        self.done.iter().any(|(_, family)| family == "inet")
    }

    /// What the user should know about the files so far.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn decide(&mut self, iface: &Iface) -> IfaceEdit {
        let method = match (iface.family.as_str(), iface.method.as_str()) {
            ("inet", "static" | "dhcp") => "dhcp",
            ("inet6", "static") => "auto",
            ("inet6", "auto" | "dhcp") => iface.method.as_str(),
            ("", _) if iface.has(|name| name == "address") => {
                let text = format!(
                    "{} has a fixed address and no method; it was left",
                    iface.name
                );
                self.notes.push(text);
                return IfaceEdit::Keep;
            }
            _ => return IfaceEdit::Keep,
        };
        if !self.done.insert((iface.name.clone(), iface.family.clone())) {
            return IfaceEdit::Remove;
        }
        for (name, value) in &iface.options {
            let command = matches!(name.as_str(), "up" | "post-up" | "pre-up" | "down");
            if command && (value.contains("route") || value.contains("addr")) {
                let text = format!(
                    "{} still runs \"{value}\"; look whether it fits",
                    iface.name
                );
                self.notes.push(text);
            }
        }
        let fixed = iface.method == "static";
        let drop = iface.options.iter().enumerate();
        let drop = drop.filter(|(_, (name, _))| goes(name, fixed));
        IfaceEdit::Change {
            method: method.to_owned(),
            drop: drop.map(|(index, _)| index).collect(),
        }
    }
}

/// Whether an option makes no sense with DHCP, or ties the stanza to the old card.
fn goes(option: &str, fixed: bool) -> bool {
    option == "hwaddress"
        || fixed
            && (option.starts_with("dns-")
                || matches!(
                    option,
                    "address"
                        | "netmask"
                        | "gateway"
                        | "broadcast"
                        | "network"
                        | "pointopoint"
                        | "scope"
                        | "accept_ra"
                        | "autoconf"
                        | "preferred-lifetime"
                ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str) -> (String, Vec<String>) {
        let cards = ["eth0", "eth1"].map(str::to_owned);
        let mut converter = Converter::new(BTreeSet::from(cards));
        let bytes = converter.with_dhcp(text.as_bytes());
        (String::from_utf8(bytes).unwrap(), converter.take_notes())
    }

    #[test]
    fn what_is_no_address_stays() {
        let (text, notes) = converted(
            "source /etc/network/interfaces.d/*\nauto lo eth0\niface lo inet loopback\n\
             iface eth0 inet static\n  address 10.0.0.5\n  netmask 255.255.255.0\n  hwaddress ether 00:0c:29:00:00:01\n\
             \x20 # big frames\n  mtu 9000\n  up ip route add 10.9.0.0/16 via 10.0.0.9\n\
             iface eth0 inet6 static\n  address 2001:db8::5/64\n  accept_ra 0\n",
        );
        assert_eq!(
            text,
            "source /etc/network/interfaces.d/*\nauto lo eth0\niface lo inet loopback\n\
             iface eth0 inet dhcp\n  # big frames\n  mtu 9000\n  up ip route add 10.9.0.0/16 via 10.0.0.9\n\
             iface eth0 inet6 auto\n"
        );
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn second_addresses_go() {
        let (text, notes) = converted(
            "auto eth0 eth0:1\niface eth0 inet static\n address 10.0.0.5/24\n\
             iface eth0 inet static\n address 10.0.0.6/24\niface eth0:1 inet static\n address 10.0.0.7/24\n",
        );
        assert_eq!(text, "auto eth0\niface eth0 inet dhcp\n");
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn a_card_that_asks_dhcp_only_loses_its_hardware_address() {
        let (text, _) = converted(
            "iface eth0 inet dhcp\n hostname web\n hwaddress ether 00:0c:29:00:00:01\niface eth1 inet manual\n",
        );
        assert_eq!(
            text,
            "iface eth0 inet dhcp\n hostname web\niface eth1 inet manual\n"
        );
    }
}

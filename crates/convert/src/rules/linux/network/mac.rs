//! Where addresses stay, nothing may look for the old cards' hardware addresses or set them: the
//! VPC drops frames from any address that is not the card's own.

use super::{cards, files, ifcfg, keyfile, networkd};
use crate::{Draft, Error, NetworkMode, Rule, Severity};
use guest::ini::Ini;
use guest::network::{Iface, IfaceEdit, Interfaces, Stack};

/// Removes hardware addresses from configurations whose other settings are kept.
pub(in super::super) const RULE: Rule = Rule {
    id: "network-mac",
    summary: "remove hardware addresses from the kept network configuration",
    applies: |_, options| options.network == NetworkMode::Preserve,
    run,
};

const WHY: &str = "the network cards have other hardware addresses on EC2";

/// The bytes of a file without hardware addresses; the name is that of its card.
type Convert = fn(&[u8], Option<&str>) -> Vec<u8>;

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let network = &draft.facts().network;
    let converters: [(Stack, Convert); 4] = [
        (Stack::Ifupdown, |bytes, _| ifupdown(bytes)),
        (Stack::Ifcfg, ifcfg::without_hardware),
        (Stack::Networkd, |bytes, _| {
            networkd::without_hardware(Ini::parse(bytes))
        }),
        (Stack::NetworkManager, |bytes, _| {
            keyfile::without_hardware(Ini::parse(bytes))
        }),
    ];
    for (stack, convert) in converters {
        for path in files(network, stack) {
            let Some(bytes) = draft.read(&path)? else {
                continue;
            };
            let card = cards(network).find(|card| card.file == path);
            let new = convert(&bytes, card.and_then(|card| card.name.as_deref()));
            if new != bytes {
                draft.write(&path, new, WHY)?;
            }
        }
    }
    let left = network.interfaces.iter().filter(|interface| {
        interface.mac.is_some() && matches!(interface.stack, Stack::Netplan | Stack::Wicked)
    });
    for interface in left {
        draft.find(
            Severity::Problem,
            format!(
                "{}: {} is bound to a hardware address; remove it by hand",
                interface.file,
                interface.name.as_deref().unwrap_or("an interface")
            ),
        );
    }
    Ok(())
}

fn ifupdown(bytes: &[u8]) -> Vec<u8> {
    let mut file = Interfaces::parse(bytes);
    file.edit(|iface: &Iface| {
        let options = iface.options.iter().enumerate();
        let drop = options.filter(|(_, (name, _))| name == "hwaddress");
        IfaceEdit::Change {
            method: iface.method.clone(),
            drop: drop.map(|(index, _)| index).collect(),
        }
    });
    file.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn addresses_stay_and_hardware_addresses_go() {
        let options = Options {
            network: NetworkMode::Preserve,
            ..Options::default()
        };
        let guest = TestGuest::of(&[
            (
                "/etc/network/interfaces",
                "iface eth0 inet static\n address 10.0.0.1/24\n hwaddress ether 00:0c:29:00:00:01\n",
            ),
            (
                "/etc/sysconfig/network-scripts/ifcfg-eth1",
                "DEVICE=eth1\nHWADDR=00:0C:29:00:00:02\nIPADDR=10.0.0.2\n",
            ),
            (
                "/etc/netplan/a.yaml",
                "network: {ethernets: {a: {match: {macaddress: '00:0c:29:00:00:01'}, addresses: [10.0.0.1/8]}}}\n",
            ),
        ]);
        let after = guest.with_options(options).run(&[RULE]);
        assert_eq!(
            after.text("/etc/network/interfaces"),
            "iface eth0 inet static\n address 10.0.0.1/24\n"
        );
        assert_eq!(
            after.text("/etc/sysconfig/network-scripts/ifcfg-eth1"),
            "DEVICE=eth1\nIPADDR=10.0.0.2\n"
        );
        assert!(after.findings[0].contains("/etc/netplan/a.yaml"));
    }
}

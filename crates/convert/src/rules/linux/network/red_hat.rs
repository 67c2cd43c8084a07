//! The files in `/etc/sysconfig` that configure the network of Red Hat's family, with DHCP.
//!
//! linux-guests.md, item 30. Which program reads them depends on the release: scripts up to RHEL 7,
//! NetworkManager from RHEL 8 on (unless the package network-scripts is there), nobody from RHEL 10
//! on.

use super::dhcp::CLIENTS;
use super::ifcfg::{self, Readers};
use super::{cards, files};
use crate::{Draft, Error, Severity};
use guest::network::Stack;
use guest::{Facts, GuestPath, Lineage};
use std::collections::BTreeSet;

const DIRECTORY: &str = "/etc/sysconfig/network-scripts";
const COMMON: &str = "/etc/sysconfig/network";
const NETWORK_MANAGER: [&str; 2] = ["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"];

/// Makes all cards ask DHCP, and says what is left.
pub(super) fn with_dhcp(draft: &mut Draft<'_>, why: &str) -> Result<(), Error> {
    let facts = draft.facts();
    let paths = files(&facts.network, Stack::Ifcfg);
    if paths.is_empty() {
        return Ok(());
    }
    let release = release(facts);
    if reads_no_ifcfg(facts) {
        draft.find(
            Severity::Info,
            format!("{DIRECTORY}: this release reads no ifcfg files, and they were left alone"),
        );
        return Ok(());
    }
    let readers = readers(facts, release);
    let (mut starts, mut any, mut changed) = (false, false, false);
    for path in &paths {
        let card = cards(&facts.network).find(|card| card.file == *path);
        let (Some(card), Some(bytes)) = (card, draft.read(path)?) else {
            continue;
        };
        any = true;
        starts |= ifcfg::starts(&bytes);
        if let Some(new) = ifcfg::with_dhcp(&bytes, card.name.as_deref(), readers) {
            draft.write(path, new, why)?;
            changed = true;
        }
    }
    aliases(draft, why)?;
    report(draft)?;
    if changed && let Some(bytes) = draft.read(&COMMON.into())? {
        let new = ifcfg::without_gateway(&bytes);
        if new != bytes {
            draft.write(&COMMON.into(), new, "DHCP gives the gateway of the VPC")?;
        }
    }
    // Where something is made of cards, that is what starts.
    if any && !starts && cards(&facts.network).count() == facts_ethernets(facts) {
        draft.find(
            Severity::Warning,
            "no network card starts at boot (ONBOOT=no): the instance may have no address",
        );
    }
    client(draft)
}

/// All configured interfaces but loopback.
fn facts_ethernets(facts: &Facts) -> usize {
    let interfaces = facts.network.interfaces.iter();
    interfaces
        .filter(|interface| interface.kind != guest::network::InterfaceKind::Loopback)
        .count()
}

/// Whether nothing reads the files, whatever they say.
pub(super) fn reads_no_ifcfg(facts: &Facts) -> bool {
    release(facts).is_some_and(|release| release >= 10)
}

/// The major release of Red Hat's family, where it counts as Red Hat's does.
fn release(facts: &Facts) -> Option<u32> {
    use guest::Family;
    let counts = matches!(
        facts.os.family,
        Family::Rhel
            | Family::Centos
            | Family::Rocky
            | Family::Alma
            | Family::Oracle
            | Family::OtherRedHat
    );
    let version = facts.os.version.as_deref().filter(|_| counts)?;
    version.split('.').next()?.parse().ok()
}

fn readers(facts: &Facts, release: Option<u32>) -> Readers {
    let has_scripts = facts.packages.has("network-scripts");
    let modern = release.is_some_and(|release| release >= 8);
    Readers {
        network_manager_alone: modern && !has_scripts,
        only_card: cards(&facts.network).count() == 1,
        scripts: release.is_some_and(|release| release < 8) || has_scripts,
    }
}

/// Second addresses of cards, as `ifcfg-eth0:1` and `ifcfg-eth0-range0`: the VPC would not route
/// them.
fn aliases(draft: &mut Draft<'_>, why: &str) -> Result<(), Error> {
    let network = &draft.facts().network;
    let names: BTreeSet<&str> = cards(network)
        .filter(|card| card.stack == Stack::Ifcfg)
        .filter_map(|card| card.name.as_deref())
        .collect();
    let mut gone: Vec<(GuestPath, String)> = Vec::new();
    for entry in draft.list(&DIRECTORY.into())? {
        let Some(name) = entry.name.strip_prefix(b"ifcfg-") else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let base = name.split_once(':').or_else(|| name.split_once("-range"));
        if base.is_some_and(|(base, _)| names.contains(base)) {
            gone.push((GuestPath::from(DIRECTORY).join(&entry.name), name));
        }
    }
    for (path, name) in gone {
        draft.remove(&path, why)?;
        draft.find(
            Severity::Warning,
            format!("{name} was given up; add its address to the instance"),
        );
    }
    Ok(())
}

/// Routes and rules beside the files: their gateways are those of the old site.
fn report(draft: &mut Draft<'_>) -> Result<(), Error> {
    for entry in draft.list(&DIRECTORY.into())? {
        let kinds = [&b"route-"[..], b"route6-", b"rule-", b"rule6-"];
        if kinds.iter().any(|kind| entry.name.starts_with(kind)) {
            let path = GuestPath::from(DIRECTORY).join(&entry.name);
            draft.find(
                Severity::Warning,
                format!("{path} was left alone: its gateways are those of the old network"),
            );
        }
    }
    Ok(())
}

/// Says so if nothing can ask DHCP.
fn client(draft: &mut Draft<'_>) -> Result<(), Error> {
    if draft.facts().os.family.lineage() != Lineage::RedHat {
        return Ok(());
    }
    for program in CLIENTS.iter().chain(&NETWORK_MANAGER) {
        if draft.exists(&(*program).into())? {
            return Ok(());
        }
    }
    draft.find(
        Severity::Problem,
        "the guest has neither a DHCP client (dhclient) nor NetworkManager: it will have no \
         address. Install one before its disks are taken",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{BINDINGS, DHCP, NAME};
    use super::*;
    use crate::rules::linux::testing::TestGuest;
    use guest::Family;

    const CARD: &str = "/etc/sysconfig/network-scripts/ifcfg-eth0";
    const FIXED: &str = "DEVICE=eth0\nTYPE=Ethernet\nONBOOT=yes\nNM_CONTROLLED=no\nBOOTPROTO=none\n\
        HWADDR=00:0C:29:4A:5B:6C\nIPADDR=10.0.0.5\nNETMASK=255.255.255.0\nDNS1=10.0.0.2\n";

    #[test]
    fn rhel_6_asks_dhcp_and_its_first_card_is_eth0() {
        let guest = TestGuest::of(&[
            (CARD, FIXED),
            (COMMON, "NETWORKING=yes\nHOSTNAME=web1\nGATEWAY=10.0.0.1\n"),
            (
                "/etc/sysconfig/network-scripts/ifcfg-eth0:1",
                "DEVICE=eth0:1\nIPADDR=10.0.0.6\n",
            ),
            (
                "/etc/sysconfig/network-scripts/route-eth0",
                "10.9.0.0/16 via 10.0.0.9\n",
            ),
            (
                "/etc/udev/rules.d/70-persistent-net.rules",
                "SUBSYSTEM==\"net\", ATTR{address}==\"00:0c:29:4a:5b:6c\", NAME=\"eth0\"\n",
            ),
            ("/lib/udev/rules.d/75-persistent-net-generator.rules", "x\n"),
            ("/sbin/dhclient", ""),
        ])
        .with_facts(|facts| {
            facts.os.family = Family::Rhel;
            facts.os.version = Some("6.10".to_owned());
        });
        let after = guest.run(&[DHCP, NAME, BINDINGS]);
        assert_eq!(
            after.text(CARD),
            "DEVICE=eth0\nTYPE=Ethernet\nONBOOT=yes\nNM_CONTROLLED=no\nBOOTPROTO=dhcp\nPERSISTENT_DHCLIENT=1\n"
        );
        assert_eq!(after.text(COMMON), "NETWORKING=yes\nHOSTNAME=web1\n");
        assert!(!after.has("/etc/sysconfig/network-scripts/ifcfg-eth0:1"));
        assert!(after.has("/etc/sysconfig/network-scripts/route-eth0"));
        assert!(!after.has("/etc/udev/rules.d/70-persistent-net.rules"));
        assert!(
            !after.has("/etc/udev/rules.d/70-rehost-net.rules"),
            "eth0 comes by itself"
        );
        let texts = after.findings.join("\n");
        assert_eq!(after.findings.len(), 2, "{texts}");
        assert!(
            texts.contains("eth0:1 was given up") && texts.contains("route-eth0"),
            "{texts}"
        );
    }

    #[test]
    fn rhel_8_is_left_to_network_manager() {
        let guest = TestGuest::of(&[
            (
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                "NAME=ens192\nDEVICE=ens192\nNM_CONTROLLED=no\nBOOTPROTO=none\nIPADDR=10.0.0.5\nPREFIX=24\n\
                 GATEWAY=10.0.0.1\nUUID=1-2\n",
            ),
            ("/usr/sbin/NetworkManager", ""),
            ("/usr/lib/systemd/network/99-default.link", ""),
        ])
        .with_facts(|facts| {
            facts.os.family = Family::Rocky;
            facts.os.version = Some("8.9".to_owned());
        });
        let after = guest.run(&[DHCP, NAME]);
        assert_eq!(
            after.text("/etc/sysconfig/network-scripts/ifcfg-ens192"),
            "NAME=ens192\nDEVICE=ens192\nNM_CONTROLLED=yes\nBOOTPROTO=dhcp\nUUID=1-2\n"
        );
        assert!(
            after
                .text("/etc/systemd/network/10-rehost.link")
                .contains("Name=ens192\n")
        );
        assert!(after.findings.is_empty(), "{:?}", after.findings);
    }

    #[test]
    fn amazon_linux_made_for_ec2_is_not_touched() {
        let eth0 = "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\nTYPE=Ethernet\nUSERCTL=yes\nPEERDNS=yes\n\
            DHCPV6C=yes\nDHCPV6C_OPTIONS=-nw\nPERSISTENT_DHCLIENT=yes\nRES_OPTIONS=\"timeout:2 attempts:5\"\nDHCP_ARP_CHECK=no\n";
        let guest = TestGuest::of(&[
            (CARD, eth0),
            (
                COMMON,
                "NETWORKING=yes\nHOSTNAME=localhost.localdomain\nNOZEROCONF=yes\n",
            ),
            (
                "/boot/grub2/grub.cfg",
                "menuentry 'A' {\n linux /vmlinuz net.ifnames=0 biosdevname=0\n}\n",
            ),
            ("/usr/lib/systemd/network/99-default.link", ""),
            ("/usr/sbin/dhclient", ""),
        ])
        .with_facts(|facts| facts.os.family = Family::Amazon);
        let after = guest.run(&[DHCP, NAME, BINDINGS]);
        assert!(after.changed.is_empty(), "{:?}", after.changed);
        assert!(after.findings.is_empty(), "{:?}", after.findings);
    }

    #[test]
    fn bonds_stay_whole_and_are_reported() {
        let port = "DEVICE=eth0\nMASTER=bond0\nSLAVE=yes\nBOOTPROTO=none\n";
        let guest = TestGuest::of(&[
            (CARD, port),
            (
                "/etc/sysconfig/network-scripts/ifcfg-bond0",
                "DEVICE=bond0\nBONDING_OPTS=mode=1\nIPADDR=10.0.0.5\nPREFIX=24\n",
            ),
            ("/sbin/dhclient", ""),
        ])
        .with_facts(|facts| facts.os.family = Family::Centos);
        let after = guest.run(&[DHCP]);
        assert!(after.changed.is_empty(), "{:?}", after.changed);
        assert!(after.findings[0].contains("bond0"), "{:?}", after.findings);
    }

    #[test]
    fn rhel_10_reads_no_ifcfg_files() {
        let guest = TestGuest::of(&[(CARD, FIXED)]).with_facts(|facts| {
            facts.os.family = Family::Rhel;
            facts.os.version = Some("10.1".to_owned());
        });
        let after = guest.run(&[DHCP]);
        assert!(after.changed.is_empty());
        assert!(
            after.findings[0].contains("no ifcfg files"),
            "{:?}",
            after.findings
        );
    }

    #[test]
    fn nothing_that_asks_and_nothing_that_starts_are_reported() {
        let guest = TestGuest::of(&[(CARD, "DEVICE=eth0\nONBOOT=no\nBOOTPROTO=dhcp\n")])
            .with_facts(|facts| facts.os.family = Family::Oracle);
        let texts = guest.run(&[DHCP]).findings.join("\n");
        assert!(
            texts.contains("ONBOOT=no") && texts.contains("neither a DHCP client"),
            "{texts}"
        );
    }
}

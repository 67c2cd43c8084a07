//! The old site's name servers do not answer on EC2.
//!
//! Where fixed addresses become DHCP, the DHCP client writes `/etc/resolv.conf`; until it has,
//! every look-up would wait for servers that are gone (linux-guests.md, item 37). A link belongs
//! to the service that it points to.

use super::cards;
use crate::{Draft, Error, NetworkMode, Rule, Severity};
use guest::ini::Ini;
use guest::network::{Method, ResolvConf, Stack};
use guest::{Facts, GuestPath};

/// Removes them.
pub(in super::super) const RULE: Rule = Rule {
    id: "resolv-conf",
    summary: "remove the old site's name servers where DHCP gives others",
    applies: |_, options| options.network == NetworkMode::Dhcp,
    run,
};

/// What resolvconf puts before everything else.
const BASE: &str = "/etc/resolvconf/resolv.conf.d/base";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    report_resolved(draft)?;
    let facts = draft.facts();
    let ResolvConf::File(servers) = &facts.network.resolv_conf else {
        return Ok(());
    };
    let local = servers
        .iter()
        .any(|server| server.starts_with("127.") || server == "::1");
    if servers.is_empty() || local || !had_fixed_addresses(facts) {
        return Ok(());
    }
    let stacks: Vec<Stack> = cards(&facts.network).map(|card| card.stack).collect();
    let written = stacks.iter().any(|stack| {
        matches!(
            stack,
            Stack::Ifupdown | Stack::NetworkManager | Stack::Ifcfg
        )
    });
    if !written {
        draft.find(
            Severity::Warning,
            format!(
                "/etc/resolv.conf names {} and nothing will write it on EC2: enter the VPC's \
                 resolver (169.254.169.253) or link it to systemd-resolved",
                servers.join(", ")
            ),
        );
        return Ok(());
    }
    for path in [GuestPath::from("/etc/resolv.conf"), GuestPath::from(BASE)] {
        let Some(text) = draft.read_text(&path)? else {
            continue;
        };
        if let Some(new) = without_servers(&text) {
            draft.write(
                &path,
                new,
                "the name servers of the old site do not answer on EC2",
            )?;
        }
    }
    Ok(())
}

fn had_fixed_addresses(facts: &Facts) -> bool {
    cards(&facts.network).any(|card| card.ipv4 == Some(Method::Static))
}

fn without_servers(text: &str) -> Option<String> {
    let kept = text
        .split_inclusive('\n')
        .filter(|line| line.split_whitespace().next() != Some("nameserver"));
    let new: String = kept.collect();
    (new != text).then_some(new)
}

/// Servers of systemd-resolved rule over those of DHCP.
fn report_resolved(draft: &mut Draft<'_>) -> Result<(), Error> {
    let path = GuestPath::from("/etc/systemd/resolved.conf");
    let bytes = draft.read(&path)?.unwrap_or_default();
    let ini = Ini::parse(&bytes);
    let servers = ini.value("Resolve", "DNS").unwrap_or_default();
    if !servers.is_empty() {
        draft.find(
            Severity::Warning,
            format!("{path} sets the name servers {servers}; remove them if they stayed behind"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    const INTERFACES: (&str, &str) = (
        "/etc/network/interfaces",
        "iface eth0 inet static\n address 10.0.0.1/24\n",
    );

    #[test]
    fn servers_go_and_the_rest_stays() {
        let guest = TestGuest::of(&[
            INTERFACES,
            (
                "/etc/resolv.conf",
                "search example.org\nnameserver 10.0.0.2\noptions rotate\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/resolv.conf"),
            "search example.org\noptions rotate\n"
        );
    }

    #[test]
    fn links_and_local_resolvers_stay() {
        for content in [
            "-> ../run/systemd/resolve/stub-resolv.conf",
            "nameserver 127.0.0.1\n",
        ] {
            let guest = TestGuest::of(&[INTERFACES, ("/etc/resolv.conf", content)]);
            assert!(guest.run(&[RULE]).changed.is_empty(), "{content}");
        }
    }
}

//! NetworkManager brings up no card that it has no profile for, if its configuration says so.
//!
//! The package NetworkManager-config-server sets `no-auto-default=*`. On EC2 a card may have
//! another name than the profile looks for, and then DHCP on any card is what makes the instance
//! reachable (linux-guests.md, item 30). Removing packages needs the guest's own tools: a later
//! file overrides it, NetworkManager.conf(5).

use super::cards;
use crate::{Draft, Error, NetworkMode, Rule};
use guest::GuestPath;
use guest::ini::Ini;
use guest::network::Stack;

/// Lets NetworkManager bring up cards without a profile.
pub(in super::super) const RULE: Rule = Rule {
    id: "network-auto-default",
    summary: "let NetworkManager bring up network cards that it has no profile for",
    applies: |_, options| options.network == NetworkMode::Dhcp,
    run,
};

/// Sorts behind what packages and administrators have.
const OWN: &str = "/etc/NetworkManager/conf.d/99-zz-rehost.conf";
const TEXT: &str = "\
# Written by rehost: cards of the instance that have no profile ask DHCP.
[main]
no-auto-default=
";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    if !is_forbidden(draft)? {
        return Ok(());
    }
    let network = &draft.facts().network;
    let read_by_it = |stack| matches!(stack, Stack::NetworkManager | Stack::Ifcfg);
    let elsewhere = cards(network).any(|card| !read_by_it(card.stack));
    // What something else configures must not be brought up by two.
    if elsewhere {
        return Ok(());
    }
    let why = "the instance's network cards may have other names than the profiles look for";
    draft.write(&OWN.into(), TEXT, why)
}

/// Whether the last file that says anything forbids it for all cards.
fn is_forbidden(draft: &Draft<'_>) -> Result<bool, Error> {
    let mut files = Vec::new();
    let own = GuestPath::from("/etc/NetworkManager/conf.d");
    let packaged = GuestPath::from("/usr/lib/NetworkManager/conf.d");
    let names = |directory: &GuestPath| -> Result<Vec<Vec<u8>>, Error> {
        let entries = draft.list(directory)?.into_iter();
        let names = entries.map(|entry| entry.name);
        Ok(names.filter(|name| name.ends_with(b".conf")).collect())
    };
    let configured = names(&own)?;
    for name in names(&packaged)? {
        // A file of the same name replaces it.
        if !configured.contains(&name) {
            files.push(packaged.join(name));
        }
    }
    files.push("/etc/NetworkManager/NetworkManager.conf".into());
    files.extend(configured.iter().map(|name| own.join(name)));
    let mut forbidden = false;
    for path in files.iter().filter(|path| **path != OWN) {
        let Some(bytes) = draft.read(path)? else {
            continue;
        };
        if let Some(value) = Ini::parse(&bytes).value("main", "no-auto-default") {
            forbidden = value.split([',', ';']).any(|card| card.trim() == "*");
        }
    }
    Ok(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    const SERVER: (&str, &str) = (
        "/usr/lib/NetworkManager/conf.d/00-server.conf",
        "[main]\nno-auto-default=*\nignore-carrier=*\n",
    );

    #[test]
    fn the_servers_configuration_is_overridden() {
        let after = TestGuest::of(&[SERVER]).run(&[RULE]);
        assert_eq!(after.text(OWN), TEXT);
        assert!(after.has(SERVER.0));
    }

    #[test]
    fn what_is_allowed_stays_allowed() {
        for files in [
            &[("/etc/NetworkManager/NetworkManager.conf", "[main]\n")][..],
            &[
                SERVER,
                (
                    "/etc/NetworkManager/conf.d/10-a.conf",
                    "[main]\nno-auto-default=\n",
                ),
            ],
            &[SERVER, ("/etc/NetworkManager/conf.d/00-server.conf", "")],
            &[
                SERVER,
                ("/etc/network/interfaces", "iface eth0 inet dhcp\n"),
            ],
        ] {
            assert!(
                TestGuest::of(files).run(&[RULE]).changed.is_empty(),
                "{files:?}"
            );
        }
    }
}

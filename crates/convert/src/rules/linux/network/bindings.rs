//! Rules that give names to the old network cards: by hardware address or slot.
//!
//! On new cards they name nothing, and udev's generator (before systemd 209) adds the new card as
//! `eth1`, which no configuration knows (linux-guests.md, item 28).

use crate::{Draft, Error, NetworkMode, Rule};
use guest::network::UdevRules;
use guest::{Family, GuestPath};

/// Removes them.
pub(in super::super) const RULE: Rule = Rule {
    id: "persistent-net-rules",
    summary: "remove udev rules and .link files that name the old network cards",
    applies: |_, options| options.network != NetworkMode::Leave,
    run,
};

const WHY: &str = "it names network cards that are not there any more";
const GENERATOR: &str = "75-persistent-net-generator.rules";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let bindings = &draft.facts().network.name_bindings;
    let mut files: Vec<GuestPath> = bindings
        .iter()
        .map(|binding| binding.file.clone())
        .collect();
    files.dedup();
    for path in files {
        if path.has_suffix(".link") {
            draft.remove(&path, WHY)?;
            continue;
        }
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let mut rules = UdevRules::parse(&bytes);
        rules.remove_naming();
        if rules.is_empty() {
            draft.remove(&path, WHY)?;
        } else if rules.render() != bytes {
            draft.write(&path, rules.render(), WHY)?;
        }
    }
    generator(draft)
}

/// Keeps udev from writing such rules for the new cards.
fn generator(draft: &mut Draft<'_>) -> Result<(), Error> {
    let own = GuestPath::from("/etc/udev/rules.d").join(GENERATOR);
    let masked = draft.read_link(&own)?.as_deref() == Some(b"/dev/null");
    // Amazon Linux has a generator of its own, made for instances.
    if draft.facts().os.family == Family::Amazon && draft.exists(&own)? {
        return Ok(());
    }
    let mut there = false;
    for directory in ["/lib/udev/rules.d", "/usr/lib/udev/rules.d"] {
        there |= draft.exists(&GuestPath::from(directory).join(GENERATOR))?;
    }
    if there && !masked {
        let why = "it would give the names of the old network cards away for good";
        draft.symlink(&own, b"/dev/null", why)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn amazons_own_generator_stays() {
        let guest = TestGuest::of(&[
            (
                "/etc/udev/rules.d/75-persistent-net-generator.rules",
                "# ec2-net-utils\n",
            ),
            (
                "/lib/udev/rules.d/75-persistent-net-generator.rules",
                "# generator\n",
            ),
        ]);
        assert_eq!(guest.run(&[RULE]).changed.len(), 1);
        let guest = guest.with_facts(|facts| facts.os.family = Family::Amazon);
        assert!(guest.run(&[RULE]).changed.is_empty());
    }

    #[test]
    fn rules_of_old_cards_go_and_others_stay() {
        let rule = "SUBSYSTEM==\"net\", ATTR{address}==\"00:0c:29:4a:5b:6c\", NAME=\"ens33\"\n";
        let mixed = format!("{rule}KERNEL==\"fuse\", MODE=\"0666\"\n");
        let guest = TestGuest::of(&[
            ("/etc/udev/rules.d/70-persistent-net.rules", rule),
            ("/etc/udev/rules.d/80-local.rules", &mixed),
            (
                "/etc/systemd/network/10-lan.link",
                "[Match]\nMACAddress=00:0c:29:4a:5b:6c\n[Link]\nName=lan0\n",
            ),
            (
                "/etc/systemd/network/20-any.link",
                "[Match]\nDriver=ena\n[Link]\nMTUBytes=9000\n",
            ),
            (
                "/lib/udev/rules.d/75-persistent-net-generator.rules",
                "# generator\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert!(!after.has("/etc/udev/rules.d/70-persistent-net.rules"));
        assert_eq!(
            after.text("/etc/udev/rules.d/80-local.rules"),
            "KERNEL==\"fuse\", MODE=\"0666\"\n"
        );
        assert!(!after.has("/etc/systemd/network/10-lan.link"));
        assert!(after.has("/etc/systemd/network/20-any.link"));
        assert_eq!(
            after.text("/etc/udev/rules.d/75-persistent-net-generator.rules"),
            "-> /dev/null"
        );
    }
}

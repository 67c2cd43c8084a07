//! mdadm.conf must not say on which devices arrays are looked for.
//!
//! `DEVICE /dev/sda1 /dev/sdb1` leaves the instance's disks out, and `devices=` of an `ARRAY` line has
//! to hold besides its `UUID=`. Without them mdadm looks at all partitions (mdadm.conf(5)).

use crate::{Draft, Error, Rule};
use guest::DeviceName;

/// Lets mdadm look at all disks.
pub(super) const RULE: Rule = Rule {
    id: "mdadm-devices",
    summary: "let mdadm look for arrays on all disks instead of the old ones",
    applies: |_, _| true,
    run,
};

/// Where Red Hat and Debian keep it.
pub(super) const CONFIGURATION: [&str; 2] = ["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    for path in CONFIGURATION {
        let path = path.into();
        let Some(text) = draft.read_text(&path)? else {
            continue;
        };
        if let Some(new) = scanning_all(&text) {
            let why = "arrays would be looked for on disks of the old machine alone";
            draft.write(&path, new, why)?;
        }
    }
    Ok(())
}

/// The file without names of the old machine's disks; none if it has none.
pub(super) fn scanning_all(text: &str) -> Option<String> {
    let mut new = String::with_capacity(text.len());
    // Lines that begin with blanks go on with the one before.
    let mut keyword = String::new();
    for line in text.split_inclusive('\n') {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if first.starts_with('#') || first.is_empty() {
            new.push_str(line);
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            keyword = first.to_lowercase();
        }
        let old = |word: &str| match keyword.as_str() {
            "device" | "dev" => DeviceName::parse(word).depends_on_hardware() || is_pattern(word),
            "array" => word.strip_prefix("devices=").is_some_and(|names| {
                let mut names = names.split(',');
                names.any(|name| DeviceName::parse(name).depends_on_hardware() || is_pattern(name))
            }),
            _ => false,
        };
        if !line.split_ascii_whitespace().any(old) {
            new.push_str(line);
            continue;
        }
        let words = line.split_ascii_whitespace();
        let mut kept: Vec<&str> = words.filter(|word| !old(word)).collect();
        if keyword.starts_with("dev") && !kept.contains(&"partitions") {
            kept.push("partitions");
        }
        if line.starts_with([' ', '\t']) {
            new.push(' ');
        }
        new.push_str(&kept.join(" "));
        new.push('\n');
    }
    (new != text).then_some(new)
}

/// Whether it is a pattern of names of old disks, as `/dev/sd*`.
fn is_pattern(word: &str) -> bool {
    let disks = [
        "/dev/sd",
        "/dev/hd",
        "/dev/vd",
        "/dev/cciss",
        "/dev/disk/by-id",
        "/dev/disk/by-path",
    ];
    word.contains(['*', '[', '?']) && disks.iter().any(|disk| word.starts_with(disk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn old_devices_go_and_arrays_stay() {
        let guest = TestGuest::of(&[(
            "/etc/mdadm.conf",
            "# mdadm.conf written out by anaconda\nMAILADDR root\nDEVICE /dev/sda1\n  /dev/sd[bc]1\n\
             ARRAY /dev/md0 level=raid1 num-devices=2 UUID=1:2:3:4 devices=/dev/sda1,/dev/sdb1\n",
        )]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/etc/mdadm.conf"),
            "# mdadm.conf written out by anaconda\nMAILADDR root\nDEVICE partitions\n partitions\n\
             ARRAY /dev/md0 level=raid1 num-devices=2 UUID=1:2:3:4\n"
        );
    }

    #[test]
    fn what_holds_anyway_is_left_alone() {
        for text in [
            "DEVICE partitions containers\nARRAY /dev/md/0 metadata=1.2 UUID=1\n",
            "",
        ] {
            assert_eq!(scanning_all(text), None);
        }
    }
}

//! LVM must not look for volume groups on the old machine's disks alone.
//!
//! Since RHEL 9 `/etc/lvm/devices/system.devices` lists the disks by serial number or name: others
//! are not looked at, so that no volume group is found. Without the file LVM looks at all disks, also
//! where `use_devicesfile` is on (`setup_devices` in `lib/device/dev-cache.c` of lvm2: removing the
//! file is a way to disable it; RHBZ 2112801). An empty file would hide all of them. A filter that
//! accepts disks by their old names has to accept those of EC2.

use crate::{Draft, Error, Rule, Severity};
use guest::GuestPath;
use regex_lite::{Regex, RegexBuilder};
use std::ops::Range;

/// Makes the instance's disks known.
pub(super) const RULE: Rule = Rule {
    id: "lvm-devices",
    summary: "let LVM look for volume groups on the instance's disks",
    applies: |_, _| true,
    run,
};

/// The list of disks.
pub(super) const DEVICES: &str = "/etc/lvm/devices/system.devices";
/// Files that may have filters.
pub(super) const CONFIGURATION: [&str; 2] = ["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"];

/// What a filter gets in front.
const ACCEPT: &str = "\"a|^/dev/nvme[0-9]|\", \"a|^/dev/xvd[a-z]|\"";
/// Names that disks have on EC2.
const NEW: [&str; 4] = ["/dev/nvme0n1", "/dev/nvme0n1p2", "/dev/xvda2", "/dev/xvdf"];
/// Names that they have elsewhere.
const OLD: [&str; 10] = [
    "/dev/sda",
    "/dev/sda2",
    "/dev/sdb",
    "/dev/sdb1",
    "/dev/vda2",
    "/dev/vdb",
    "/dev/hda2",
    "/dev/cciss/c0d0p2",
    "/dev/disk/by-id/scsi-36000c29a-part2",
    "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2",
];

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let devices = GuestPath::from(DEVICES);
    if draft.exists(&devices)? {
        draft.remove(
            &devices,
            "it lists disks of the old machine, and hides all others",
        )?;
        draft.find(
            Severity::Info,
            format!(
                "LVM looks at all disks again, for {DEVICES} named those of the old machine; \
                 `vgimportdevices -a` on the target makes the list anew"
            ),
        );
    }
    for path in CONFIGURATION {
        let path = GuestPath::from(path);
        let Some(text) = draft.read_text(&path)? else {
            continue;
        };
        if let Some(new) = widened(&text) {
            draft.write(
                &path,
                new,
                "its filter accepts disks of the old machine alone",
            )?;
        }
        if by_host_name(&text) {
            let text = format!(
                "{path} gives volume groups to the host of one name (system_id_source): if the target \
                 gets another host name, LVM does not touch them"
            );
            draft.find(Severity::Warning, text);
        }
    }
    Ok(())
}

/// The configuration with filters that accept EC2's disks; none if no filter has to be changed.
pub(super) fn widened(text: &str) -> Option<String> {
    let mut new = text.to_owned();
    let mut changed = false;
    // From the end on, so that places before stay where they are.
    for filter in filters(text).into_iter().rev() {
        if !filter.is_for_old_disks() {
            continue;
        }
        let (start, end) = (filter.value.start, filter.value.end);
        match text.get(filter.value.clone())?.strip_prefix('[') {
            Some(_) => new.insert_str(start + 1, &format!(" {ACCEPT},")),
            None => {
                let alone = text.get(filter.value.clone())?;
                new.replace_range(start..end, &format!("[ {ACCEPT}, {alone} ]"));
            }
        }
        changed = true;
    }
    changed.then_some(new)
}

/// A filter in a configuration.
struct Filter {
    /// Where its value stands.
    value: Range<usize>,
    patterns: Vec<Pattern>,
}

struct Pattern {
    accepts: bool,
    regex: Regex,
}

impl Filter {
    /// Whether it accepts a disk of the old machine and rejects one of EC2's.
    fn is_for_old_disks(&self) -> bool {
        let accepts = |name: &str| {
            let first = self.patterns.iter().find(|p| p.regex.is_match(name));
            first.is_none_or(|pattern| pattern.accepts)
        };
        // The names of real disks are as many as there are: what a pattern says itself counts too.
        let named = |pattern: &Pattern| {
            let text = pattern.regex.as_str();
            let words = [
                "/sd", "/vd", "/hd", "by-id", "by-path", "mpath", "cciss", "emcpower",
            ];
            pattern.accepts && words.iter().any(|word| text.contains(word))
        };
        let old = OLD.iter().any(|name| accepts(name)) || self.patterns.iter().any(named);
        old && !NEW.iter().all(|name| accepts(name))
    }
}

/// All filters, with patterns that are understood; lvm.conf(5): `filter` or `global_filter`, in the
/// section `devices` or behind its name and a slash, is a string or an array of strings.
fn filters(text: &str) -> Vec<Filter> {
    let mut filters = Vec::new();
    for (start, word) in words(text) {
        let key = word.rsplit('/').next().unwrap_or(word);
        if !matches!(key, "filter" | "global_filter") {
            continue;
        }
        let after = start + word.len();
        let Some(rest) = text.get(after..) else {
            continue;
        };
        let value = rest.trim_start();
        let Some(value) = value.strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        let from = text.len() - value.len();
        if let Some((length, strings)) = array_or_string(value) {
            let patterns: Option<Vec<Pattern>> = strings.iter().map(|s| pattern(s)).collect();
            filters.extend(patterns.map(|patterns| Filter {
                value: from..from + length,
                patterns,
            }));
        }
    }
    filters
}

/// Names outside of comments and strings, and where they stand.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '-' | '.');
        let length = rest.find(|c| !name(c)).unwrap_or(rest.len());
        at += if length > 0 {
            words.push((at, &rest[..length]));
            length
        } else if rest.starts_with('#') {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with('"') {
            string(rest).map_or(rest.len(), |(length, _)| length)
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    words
}

/// The length of a value, and the strings in it; none if it is no array or has no end.
fn array_or_string(value: &str) -> Option<(usize, Vec<String>)> {
    if value.starts_with('"') {
        let (length, text) = string(value)?;
        return Some((length, vec![text]));
    }
    let mut strings = Vec::new();
    let mut at = 1;
    value.strip_prefix('[')?;
    loop {
        let rest = value.get(at..)?;
        at += match rest.chars().next()? {
            ']' => return Some((at + 1, strings)),
            '"' => {
                let (length, text) = string(rest)?;
                strings.push(text);
                length
            }
            '#' => rest.find('\n')?,
            other => other.len_utf8(),
        };
    }
}

/// A string from its quote on: its length with both quotes, and what it says.
fn string(text: &str) -> Option<(usize, String)> {
    let (mut said, mut escaped) = (String::new(), false);
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => {
                escaped = false;
                if !matches!(character, '"' | '\\') {
                    said.push('\\');
                }
                said.push(character);
            }
            '\\' => escaped = true,
            '"' => return Some((at + 1, said)),
            other => said.push(other),
        }
    }
    None
}

/// `a|regex|` accepts, `r|regex|` rejects; any character, or a pair of brackets, is in place of `|`.
fn pattern(text: &str) -> Option<Pattern> {
    let mut characters = text.chars();
    let accepts = match characters.next()? {
        'a' => true,
        'r' => false,
        _ => return None,
    };
    let open = characters.next()?;
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    };
    let body = characters.as_str();
    let body = body.get(..body.rfind(close)?)?;
    let mut builder = RegexBuilder::new(body);
    let regex = builder.size_limit(REGEX_SIZE).build().ok()?;
    Some(Pattern { accepts, regex })
}

/// Whether volume groups belong to the host name.
fn by_host_name(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let value = line.strip_prefix("system_id_source");
        let value = value.and_then(|rest| rest.trim_start().strip_prefix('='));
        value.is_some_and(|value| value.trim().trim_matches('"') == "uname")
    })
}

/// Bytes of a compiled expression: those of filters have a few names of devices.
const REGEX_SIZE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn the_list_of_disks_goes() {
        let guest = TestGuest::of(&[(
            DEVICES,
            "# LVM uses devices listed in this file.\n# Created by LVM command vgimportdevices pid 902\n\
             # HASH=3142353445\nPRODUCT_UUID=4c4c4544\nVERSION=1.1.5\n\
             IDTYPE=sys_wwid IDNAME=naa.6000c29a DEVNAME=/dev/sda3 PVID=abcdef PART=3\n",
        )]);
        let after = guest.run(&[RULE]);
        assert!(!after.has(DEVICES));
        assert!(after.findings[0].contains("vgimportdevices"));
    }

    #[test]
    fn filters_for_old_disks_are_widened() {
        let text = "# filter = [ \"a|x|\" ]\ndevices {\n\t# accept\n\tfilter = [ \"a|^/dev/sda[0-9]*$|\", # the first\n\
            \t\t\"r|.*|\" ]\n\tglobal_filter=[\"a/sd.*/\",\"r/.*/\"]\n\tscan = [ \"/dev\" ]\n}\n";
        let expected = text
            .replace("filter = [ \"a|^", &format!("filter = [ {ACCEPT}, \"a|^"))
            .replace("=[\"a/sd", &format!("=[ {ACCEPT},\"a/sd"));
        let after = TestGuest::of(&[(CONFIGURATION[0], text)]).run(&[RULE]);
        assert_eq!(after.text(CONFIGURATION[0]), expected);
    }

    #[test]
    fn filters_that_accept_the_new_disks_stay() {
        for value in [
            "[ \"a|.*|\" ]",
            "[ \"r|^/dev/cdrom|\", \"r|/dev/drbd.*|\" ]",
            "[ \"a|^/dev/sd|\", \"a|^/dev/nvme|\", \"a|^/dev/xvd|\", \"r|.*|\" ]",
            // Volume groups on arrays and nothing else.
            "[ \"a|^/dev/md|\", \"r|.*|\" ]",
            "[ \"x|/dev/sda|\" ]",
            "[ \"a|/dev/sda|\"",
        ] {
            let text = format!("devices {{ filter = {value} }}\n");
            assert_eq!(widened(&text), None, "{value}");
        }
    }

    #[test]
    fn a_filter_may_be_one_string_and_name_its_section() {
        let new = widened("devices/global_filter = \"r|^/dev/[nx]|\"\n").unwrap();
        let expected = format!("devices/global_filter = [ {ACCEPT}, \"r|^/dev/[nx]|\" ]\n");
        assert_eq!(new, expected);
        let new = widened("devices/filter=\"a|/dev/disk/by-id/scsi-1|\" x=1\n");
        assert_eq!(new, None, "rejects nothing");
    }

    #[test]
    fn a_host_name_that_owns_volume_groups_is_reported() {
        let text = "global {\n\tsystem_id_source = \"uname\"\n}\n";
        let after = TestGuest::of(&[(CONFIGURATION[1], text)]).run(&[RULE]);
        assert!(after.changed.is_empty());
        assert!(after.findings[0].contains("host name"));
    }
}

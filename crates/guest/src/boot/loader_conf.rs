//! systemd-boot's own configuration, `loader/loader.conf`.
//!
//! Source: loader.conf(5): keys and values with blanks between them; `default` is a pattern of
//! entries' names, or a name that begins with `@` for what firmware's variables say.

use std::cmp::Ordering;

/// What `default` says; none where it says nothing that the file alone can tell.
pub fn default_pattern(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut values = text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("default")?;
        rest.starts_with([' ', '\t'])
            .then(|| rest.trim().to_owned())
    });
    values.next_back().filter(|value| !value.starts_with('@'))
}

/// The file with another `default`.
pub fn with_default(bytes: &[u8], entry: &str) -> Vec<u8> {
    let mut new = Vec::new();
    let mut there = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let rest = text.trim_start().strip_prefix("default");
        if rest.is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            there = true;
            new.extend_from_slice(format!("default {entry}\n").as_bytes());
        } else {
            new.extend_from_slice(line);
        }
    }
    if !there {
        if new.last().is_some_and(|byte| *byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(format!("default {entry}\n").as_bytes());
    }
    new
}

/// Whether a shell pattern of `*`, `?` and plain characters fits a name, case ignored.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    let (pattern, name) = (lower(pattern), lower(name));
    let (mut at, mut in_name) = (0usize, 0usize);
    // Where the last star stands, and how much of the name it took: only that one has to give.
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = name.get(in_name) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at = at.saturating_add(1);
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at = at.saturating_add(1);
                in_name = in_name.saturating_add(1);
            }
            _ => {
                let Some((position, taken)) = star else {
                    return false;
                };
                let taken = taken.saturating_add(1);
                star = Some((position, taken));
                at = position.saturating_add(1);
                in_name = taken;
            }
        }
    }
    pattern.iter().skip(at).all(|character| *character == '*')
}

/// Which of two entries systemd-boot shows first, by `sort-key`, `machine-id`, `version` and name.
pub(super) fn compare(one: &[&str; 4], other: &[&str; 4]) -> Ordering {
    let ([key_one, machine_one, version_one, name_one], [key, machine, version, name]) =
        (one, other);
    let newer = super::version_order::compare_entries;
    match (key_one.is_empty(), key.is_empty()) {
        (false, true) => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, false) => key_one
            .cmp(key)
            .then_with(|| machine_one.cmp(machine))
            .then_with(|| newer(version, version_one))
            .then_with(|| newer(name, name_one)),
        (true, true) => newer(name, name_one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_read_and_replaced() {
        let text = b"#timeout 3\ndefault  6a98*\nconsole-mode max";
        assert_eq!(default_pattern(text).as_deref(), Some("6a98*"));
        assert_eq!(default_pattern(b"default @saved\n"), None);
        assert_eq!(default_pattern(b"defaultx 1\n"), None);
        let new = with_default(text, "a.conf");
        assert_eq!(new, b"#timeout 3\ndefault a.conf\nconsole-mode max");
        assert_eq!(with_default(b"timeout 3", "a"), b"timeout 3\ndefault a\n");
    }

    #[test]
    fn patterns_fit_as_in_the_shell() {
        for (pattern, name, expected) in [
            ("6a98*", "6A98-6.1.conf", true),
            ("*-6.1.*", "6a98-6.1.conf", true),
            ("a*b*c", "abxbc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}

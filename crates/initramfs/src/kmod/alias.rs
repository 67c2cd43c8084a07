//! `modules.alias`: patterns of device names and the modules that serve them.

/// The pattern and the module of every line, in order.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (Some("alias"), Some(pattern), Some(module)) =
            (words.next(), words.next(), words.next())
        else {
            return None;
        };
        Some((pattern, module))
    })
}

/// Whether a shell pattern (`*`, `?`, `[a-z]`, `[!a-z]`) matches the whole name, as `fnmatch` does
/// for kmod.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // behind the last star, and how much of the name it has swallowed
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            star = Some((rest, name));
            pattern = rest;
            continue;
        }
        let Some((byte, rest_of_name)) = name.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = match_one(pattern, *byte) {
            pattern = rest;
            name = rest_of_name;
            continue;
        }
        let Some((after_star, swallowed)) = star else {
            return false;
        };
        let Some((_, left)) = swallowed.split_first() else {
            return false;
        };
        star = Some((after_star, left));
        pattern = after_star;
        name = left;
    }
}

/// Matches one byte with the front of the pattern and gives the pattern's rest.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => {
            // a bracket right after the opening one is a member
            let end = rest.iter().skip(1).position(|byte| *byte == b']')?;
            let (set, rest) = rest.split_at_checked(end.checked_add(1)?)?;
            let rest = rest.get(1..)?;
            let (negated, set) = match set.split_first() {
                Some((b'!' | b'^', set)) => (true, set),
                _ => (false, set),
            };
            (in_set(set, byte) != negated).then_some(rest)
        }
        _ => (*first == byte).then_some(rest),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest
            }
            [member, rest @ ..] => {
                if *member == byte {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_alias_are_passed_over() {
        let text = "# Aliases\nalias xen:vbd xen_blkfront\nalias broken\n";
        assert_eq!(
            parse(text).collect::<Vec<_>>(),
            [("xen:vbd", "xen_blkfront")]
        );
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let device = "pci:v0000144Dd0000A808sv0000sd00bc01sc08i02";
        assert!(matches("pci:v*d*sv*sd*bc01sc08i02*", device));
        assert!(!matches("pci:v*d*sv*sd*bc01sc06i01*", device));
        assert!(matches(
            "cpu:type:x86,ven*[0-4a]x",
            "cpu:type:x86,ven0000ax"
        ));
        assert!(!matches("a[!b]c", "abc"));
        assert!(matches("a[!b]c", "adc"));
        assert!(matches("*", ""));
        assert!(!matches("?", ""));
        assert!(!matches("a[b", "ab"));
        assert!(matches("crc32c", "crc32c"));
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }
}

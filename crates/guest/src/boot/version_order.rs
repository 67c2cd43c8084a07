//! The order in which `blscfg` puts entries: their names as versions of packages, newest first.
//!
//! Source: `grub-core/commands/blscfg.c` in Fedora's GRUB, whose comparison is rpm's.

use std::cmp::Ordering;

/// Compares the names of two entries, without `.conf`: a machine's identifier (or anything), version
/// and release, with `-` between them. Equal names are possible among different texts; GRUB then
/// takes one of the two files.
pub fn compare_entries(one: &str, other: &str) -> Ordering {
    let (name_one, version_one, release_one) = parts(one);
    let (name_other, version_other, release_other) = parts(other);
    compare(name_one, name_other)
        .then_with(|| compare(version_one, version_other))
        .then_with(|| compare(release_one, release_other))
}

/// Name, version and release; what is missing is missing at the end.
fn parts(entry: &str) -> (&str, &str, &str) {
    match entry.rsplit_once('-') {
        None => (entry, "", ""),
        Some((rest, last)) => match rest.rsplit_once('-') {
            None => (rest, last, ""),
            Some((name, version)) => (name, version, last),
        },
    }
}

/// Compares two versions: runs of digits and runs of letters one by one, a number above letters,
/// `~` below everything, `+` above the end and below the rest.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        (one, other) = (from_segment(one), from_segment(other));
        match (one.first(), other.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'+'), Some(b'+')) => {
                (one, other) = (rest(one, 1), rest(other, 1));
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, Some(b'+')) => return Ordering::Less,
            (Some(b'+'), None) => return Ordering::Greater,
            (Some(b'+'), _) => return Ordering::Less,
            (_, Some(b'+')) => return Ordering::Greater,
            (None, _) | (_, None) => return one.len().cmp(&other.len()),
            (Some(first), Some(_)) => {
                let digits = first.is_ascii_digit();
                let (own, theirs) = (run(one, digits), run(other, digits));
                if theirs.is_empty() {
                    // Of different kinds: the number is the newer one.
                    return if digits {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    };
                }
                let order = if digits {
                    let (own, theirs) = (without_zeros(own), without_zeros(theirs));
                    own.len().cmp(&theirs.len()).then_with(|| own.cmp(theirs))
                } else {
                    own.cmp(theirs)
                };
                if order != Ordering::Equal {
                    return order;
                }
                (one, other) = (rest(one, own.len()), rest(other, theirs.len()));
            }
        }
    }
}

fn from_segment(text: &[u8]) -> &[u8] {
    let separators = text
        .iter()
        .take_while(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'+'));
    rest(text, separators.count())
}

fn run(text: &[u8], digits: bool) -> &[u8] {
    let length = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() && byte.is_ascii_digit() == digits)
        .count();
    text.get(..length).unwrap_or(text)
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    rest(digits, zeros)
}

fn rest(text: &[u8], from: usize) -> &[u8] {
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_ordered_as_grub_orders_them() {
        let id = "6a9857a393724b7a981ebb5b8495b9ea";
        for (older, newer) in [
            ("3.8.0-1.fc19.x86_64", "3.8.0-2.fc19.x86_64"),
            ("4.18.0-80.el8.x86_64", "4.18.0-553.el8.x86_64"),
            ("0-rescue", "4.18.0-80.el8.x86_64"),
            ("5.14.0-70.el9.x86_64", "5.14.0-70.13.1.el9.x86_64"),
            ("5.14.0-70.el9.x86_64", "5.14.0-70.el9.x86_64+debug"),
            ("6.0.0~rc1-1", "6.0.0-1"),
            ("6.1-a", "6.1-1"),
            ("6.01-1", "6.2-1"),
        ] {
            let (older, newer) = (format!("{id}-{older}"), format!("{id}-{newer}"));
            assert_eq!(compare_entries(&older, &newer), Ordering::Less, "{older}");
            assert_eq!(compare_entries(&newer, &older), Ordering::Greater);
            assert_eq!(compare_entries(&newer, &newer), Ordering::Equal);
        }
        assert_eq!(compare_entries("a_1", "a.1"), Ordering::Equal);
        assert_eq!(compare_entries("", "x"), Ordering::Less);
    }
}

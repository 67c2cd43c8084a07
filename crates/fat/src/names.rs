//! Names: what FAT can hold, and when two are the same.

/// Whether `fatfs` and every other system can store `name`.
///
/// `fatfs` checks that too, but only after it has removed the old name or taken a cluster. Names
/// that end in a dot or space are cut by Windows and refused by Linux.
pub(crate) fn is_storable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.ends_with(['.', ' '])
        && !name.starts_with(' ')
        && name.chars().all(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '\u{80}'..='\u{ffff}' => true,
            _ => "$%'-_@~`!(){}. +,;=[]^#&".contains(c),
        })
}

/// Whether two names are the same to FAT.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let upper = |name: &'_ str| {
        name.chars()
            .flat_map(char::to_uppercase)
            .collect::<String>()
    };
    upper(one) == upper(other)
}

/// Text of a short name or label. The code page is not known; only ASCII is sure.
pub(crate) fn from_code_page(bytes: &[u8]) -> String {
    let char = |byte: &u8| match byte {
        0..=0x7f => char::from(*byte),
        _ => char::REPLACEMENT_CHARACTER,
    };
    bytes.iter().map(char).collect()
}

/// The short name of a slot with its dot; `lower` says which part is to be shown in lower case.
pub(crate) fn short(name: &[u8; 11], lower: Lower) -> String {
    let (base, extension) = name.split_at(8);
    let mut base = base.trim_ascii_end().to_vec();
    // A first byte of 0xe5 would mark the slot as free, so 0x05 stands for it.
    if let Some(first @ 0x05) = base.first_mut() {
        *first = 0xe5;
    }
    let mut extension = extension.trim_ascii_end().to_vec();
    if lower.base {
        base.make_ascii_lowercase();
    }
    if lower.extension {
        extension.make_ascii_lowercase();
    }
    let mut text = from_code_page(&base);
    if !extension.is_empty() {
        text.push('.');
        text.push_str(&from_code_page(&extension));
    }
    text
}

/// Windows NT's flags for short names in lower case.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lower {
    pub(crate) base: bool,
    pub(crate) extension: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_get_their_dot_and_case() {
        let both = Lower {
            base: true,
            extension: true,
        };
        assert_eq!(short(b"BOOTX64 EFI", Lower::default()), "BOOTX64.EFI");
        assert_eq!(short(b"BOOTX64 EFI", both), "bootx64.efi");
        assert_eq!(short(b"EFI        ", Lower::default()), "EFI");
        assert_eq!(short(b"\x05A      B  ", Lower::default()), "\u{fffd}A.B");
    }

    #[test]
    fn what_other_systems_would_cut_or_refuse_is_not_storable() {
        for name in ["a", "grub.cfg", ".a", "Ünïcödé", "a b+c", &"x".repeat(255)] {
            assert!(is_storable(name), "{name}");
        }
        for name in [
            "", "a.", "a ", " a", ".", "..", "a/b", "a\\b", "a:b", "a*", "a\u{7}", "😀",
        ] {
            assert!(!is_storable(name), "{name}");
        }
        assert!(!is_storable(&"x".repeat(256)));
        assert!(same("EFI", "efi") && same("ÜB", "üb") && !same("a", "b"));
    }
}

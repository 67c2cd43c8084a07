//! Numbers as people read them; no line ends between a number and its unit.

/// A number of bytes in the unit that people would choose, with one decimal where that says more.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while tenths >= 10_240 {
        let Some(next) = units.next() else {
            break;
        };
        tenths /= 1024;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    match tenths % 10 {
        0 => format!("{}\u{a0}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}\u{a0}{unit}", tenths / 10),
    }
}

/// A whole number with thin spaces between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share in percent, never 0 of something nor 100 of less than all.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0\u{a0}%".to_owned();
    }
    if part >= whole {
        return "100\u{a0}%".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    match tenths {
        0 => "<\u{a0}0.1\u{a0}%".to_owned(),
        1..100 => format!("{}.{}\u{a0}%", tenths / 10, tenths % 10),
        _ => format!("{}\u{a0}%", tenths / 10),
    }
}

/// Milliseconds as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{seconds}.{}\u{a0}s", milliseconds % 1000 / 100),
        10..60 => format!("{seconds}\u{a0}s"),
        60..3600 => format!("{}\u{a0}min\u{a0}{}\u{a0}s", seconds / 60, seconds % 60),
        _ => format!(
            "{}\u{a0}h\u{a0}{}\u{a0}min",
            seconds / 3600,
            seconds / 60 % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let bytes = |size| bytes(size).replace('\u{a0}', " ");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(16 << 40), "16 TiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(123_456), "123\u{202f}456");
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (1, 1 << 40, "< 0.1 %"),
            (1, 70, "1.4 %"),
            (1, 2, "50 %"),
            (u64::MAX - 1, u64::MAX, "99 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(percent(part, whole).replace('\u{a0}', " "), text);
        }
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (420, "0.4 s"),
            (12_999, "12 s"),
            (185_000, "3 min 5 s"),
            (7_620_000, "2 h 7 min"),
        ] {
            assert_eq!(duration(milliseconds).replace('\u{a0}', " "), text);
        }
    }
}

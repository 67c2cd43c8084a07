//! Durations as people write them.

use std::time::Duration;

/// Reads `90s`, `3m`, `2h` or `1d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = match text.char_indices().next_back() {
        Some((at, 's')) => Some((at, 1)),
        Some((at, 'm')) => Some((at, 60)),
        Some((at, 'h')) => Some((at, 60 * 60)),
        Some((at, 'd')) => Some((at, 24 * 60 * 60)),
        _ => None,
    };
    let seconds = seconds.and_then(|(at, unit)| text[..at].parse::<u64>().ok()?.checked_mul(unit));
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("a duration is a number with its unit: 90s, 3m, 2h or 1d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_understood_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("3m", 180), ("2h", 7200), ("1d", 86400)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "s",
            "0s",
            "3",
            "3 m",
            "-3m",
            "1.5h",
            "3ms",
            "99999999999999999999d",
            "3ä",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("{}d", u64::MAX)).is_err());
    }
}

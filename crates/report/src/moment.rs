//! Points in time, to the second.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; in JSON as RFC 3339 in UTC, `2026-01-31T23:59:59Z`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// What the clock says; 1970 if it lies before that.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| since.as_secs()))
    }

    /// Reads what [`Display`](fmt::Display) writes. Fractions of seconds are cut off; offsets other
    /// than `Z` are refused.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z')?;
        let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let (date, time) = text.split_once('T')?;
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time, ':')?;
        let is_digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
        // A year of five digits would be no RFC 3339, and the day's number could overflow.
        if !is_digits
            || !(1970..=9999).contains(&year)
            || !(1..=12).contains(&month)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let days = days_since_1970(year, month, day);
        // The 31st of February would be some day of March.
        if civil(days) != (year, month, day) {
            return None;
        }
        Some(Self(days * 86_400 + hour * 3600 + minute * 60 + second))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a time is written 2026-01-31T23:59:59Z"))
    }
}

/// Three numbers, the first of four digits or of two, the others of two.
fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |length: &[usize]| {
        let part = parts.next()?;
        let sound = length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if sound { part.parse().ok() } else { None }
    };
    let numbers = [next(&[2, 4])?, next(&[2])?, next(&[2])?];
    parts.next().is_none().then_some(numbers)
}

const DAYS_OF_400_YEARS: u64 = 146_097;
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;

/// Year, month and day of a day since 1970 in the Gregorian calendar. A year is counted from its
/// March on, so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let next_year = u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + next_year, month, day)
}

/// The other way round, for a year from 1970 on and a month from 1 to 12.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = if month < 3 { month + 9 } else { month - 3 };
    let (era, year) = (year / 400, year % 400);
    let before = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5;
    (era * DAYS_OF_400_YEARS + before + day).saturating_sub(DAYS_TO_1970 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_date() {
        // `date -u -d @SECONDS +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Moment(seconds).to_string(), text);
            assert_eq!(Moment::parse(text), Some(Moment(seconds)), "{text}");
        }
        for day in 0..40_000 {
            let moment = Moment(day * 86_400 + 43_200);
            assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        assert_eq!(
            Moment::parse("2026-01-31T23:59:59.25Z"),
            Moment::parse("2026-01-31T23:59:59Z")
        );
        for text in [
            "",
            "Z",
            "2026-01-31",
            "2026-01-31T23:59:59",
            "2026-01-31T23:59:59+01:00",
            "2026-02-30T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-13-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-10T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "26-01-31T00:00:00Z",
            "+026-01-31T00:00:00Z",
            "2026-01-31T00:00:00.Z",
            "2026-01-31T00:00:00:00Z",
            "99999999999999999999-01-31T00:00:00Z",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}

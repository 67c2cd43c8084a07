//! Times: FAT's own form, and the clock that `fatfs` is given.

use fatfs::{Date, DateTime, TimeProvider};
use fs::Time;
use std::cell::Cell;

/// A FAT date and time: two seconds are the smallest step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct DosTime {
    pub(crate) date: u16,
    pub(crate) time: u16,
}

impl DosTime {
    /// The nearest time that FAT can say, from 1980 to 2107.
    pub(crate) fn from_unix(time: Time) -> Self {
        let seconds = time.seconds.clamp(FIRST, LAST);
        let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let date = year.saturating_sub(1980) << 9 | month << 5 | day;
        let time = (of_day / 3600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2);
        // Both are below 2^16 with a clamped time.
        Self {
            date: u16::try_from(date).unwrap_or_default(),
            time: u16::try_from(time).unwrap_or_default(),
        }
    }

    /// As Unix counts; a date that does not exist is taken as the epoch.
    pub(crate) fn to_unix(self) -> Time {
        let (date, time) = (i64::from(self.date), i64::from(self.time));
        let (year, month, day) = ((date >> 9).saturating_add(1980), date >> 5 & 15, date & 31);
        if !(1..=12).contains(&month) || day == 0 {
            return Time::default();
        }
        let of_day = (time >> 11)
            .saturating_mul(3600)
            .saturating_add((time >> 5 & 63).saturating_mul(60))
            .saturating_add((time & 31).saturating_mul(2));
        Time {
            seconds: days_from_civil(year, month, day)
                .saturating_mul(DAY)
                .saturating_add(of_day),
            nanoseconds: 0,
        }
    }
}

/// The clock of a thread that edits; `fatfs` wants a static one.
#[derive(Debug)]
pub(crate) struct Clock;

/// The only [`Clock`].
pub(crate) static CLOCK: Clock = Clock;

thread_local! {
    static NOW: Cell<DosTime> = const { Cell::new(DosTime { date: 0x21, time: 0 }) };
}

impl Clock {
    /// Sets the time for what this thread edits next.
    pub(crate) fn set(time: Time) {
        NOW.set(DosTime::from_unix(time));
    }
}

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        let date = NOW.get().date;
        Date {
            year: (date >> 9).saturating_add(1980),
            month: date >> 5 & 15,
            day: date & 31,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = NOW.get().time;
        DateTime {
            date: self.get_current_date(),
            time: fatfs::Time {
                hour: time >> 11,
                min: time >> 5 & 63,
                sec: (time & 31).saturating_mul(2),
                millis: 0,
            },
        }
    }
}

/// Days since 1970-01-01 of a day of the Gregorian calendar, after 1970.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one.
    let year = if month <= 2 {
        year.saturating_sub(1)
    } else {
        year
    };
    let from_march = month.saturating_add(9).rem_euclid(12);
    let before = from_march.saturating_mul(153).saturating_add(2) / 5;
    year.saturating_mul(365)
        .saturating_add(year / 4)
        .saturating_sub(year / 100)
        .saturating_add(year / 400)
        .saturating_add(before)
        .saturating_add(day)
        .saturating_sub(719_469)
}

/// The inverse, for days from 1970 on.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let mut year = days.saturating_div(366).saturating_add(1970);
    while days_from_civil(year.saturating_add(1), 1, 1) <= days {
        year = year.saturating_add(1);
    }
    let mut month = 12;
    while days_from_civil(year, month, 1) > days {
        month = i64::saturating_sub(month, 1);
    }
    let day = days
        .saturating_sub(days_from_civil(year, month, 1))
        .saturating_add(1);
    (year, month, day)
}

const DAY: i64 = 86_400;
/// 1980-01-01 00:00:00 and 2107-12-31 23:59:58.
const FIRST: i64 = 315_532_800;
const LAST: i64 = 4_354_819_198;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time {
            seconds,
            nanoseconds: 5,
        }
    }

    #[test]
    fn known_times() {
        // date -u -d ... +%s
        let cases = [
            (FIRST, (1980, 1, 1), (0, 0, 0)),
            (951_827_696, (2000, 2, 29), (12, 34, 56)),
            (951_868_800, (2000, 3, 1), (0, 0, 0)),
            (1_763_825_234, (2025, 11, 22), (15, 27, 14)),
            (LAST, (2107, 12, 31), (23, 59, 58)),
        ];
        for (seconds, (year, month, day), (hour, minute, second)) in cases {
            let dos = DosTime::from_unix(at(seconds));
            assert_eq!(dos.date, (year - 1980) << 9 | month << 5 | day, "{seconds}");
            assert_eq!(
                dos.time,
                hour << 11 | minute << 5 | (second / 2),
                "{seconds}"
            );
            assert_eq!(dos.to_unix().seconds, seconds);
        }
    }

    #[test]
    fn what_fat_cannot_say_is_clamped() {
        assert_eq!(DosTime::from_unix(at(0)), DosTime::from_unix(at(FIRST)));
        assert_eq!(DosTime::from_unix(at(i64::MIN)).date, 0x21);
        assert_eq!(
            DosTime::from_unix(at(i64::MAX)),
            DosTime::from_unix(at(LAST))
        );
        assert_eq!(DosTime { date: 0, time: 9 }.to_unix(), Time::default());
        let odd = DosTime {
            date: 0xff9f,
            time: 0xffff,
        };
        assert!(odd.to_unix().seconds > LAST);
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Places in a log and times, as people write them.
//!
//! Owns: RFC 3339 both ways, durations that lie back, offsets. Dates are of the Gregorian calendar, in both directions from 1970,
//! by counting days from 1 March of year 0 (years that begin in March have their leap day at the end).
//! Must not know: the clock; `now_ms` is an argument.

use crate::settings::value::{Kind, Value};

/// A place in each partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Earliest,
    Latest,
    /// This offset.
    Offset(i64),
    /// That many records before the end.
    BeforeEnd(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
}

/// Shown where a place is asked for.
pub const PLACES: &str = "earliest, latest, an offset (-10: ten before the end), a time such as \
                          2026-11-25T08:00:00Z, or how long ago such as 10m";

const DAY_MS: i64 = 86_400_000;
const FAR_MS: u64 = 100 * 366 * DAY_MS as u64;

/// Reads a place.
///
/// # Errors
/// What can be written instead.
pub fn read_place(text: &str, now_ms: i64) -> Result<Place, String> {
    let text = text.trim();
    match text {
        "earliest" | "beginning" | "start" => return Ok(Place::Earliest),
        "latest" | "end" => return Ok(Place::Latest),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(if number < 0 { Place::BeforeEnd(-number) } else { Place::Offset(number) });
    }
    match read_time(text, now_ms) {
        Ok(time) => Ok(Place::Time(time)),
        Err(_) => Err(format!("{text:?} is no place in a log: write {PLACES}")),
    }
}

/// Reads a time: RFC 3339, a date, or how long ago.
///
/// # Errors
/// What can be written instead.
pub fn read_time(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    if let Some(time) = read_rfc3339(text) {
        return Ok(time);
    }
    let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
    if let Ok(back_ms) = read_duration_ms(ago) {
        return Ok(now_ms - back_ms);
    }
    Err(format!("{text:?} is no time: write one such as 2026-11-25T08:00:00Z or how long ago such as 10m"))
}

/// Reads a duration with its unit: `500ms`, `10m`, `2h`, `7d`.
///
/// # Errors
/// What can be written instead.
pub fn read_duration_ms(text: &str) -> Result<i64, String> {
    match (Kind::Time { min_ms: 0, max_ms: FAR_MS }).read(text) {
        Ok(Value::Number(ms)) => Ok(i64::try_from(ms).unwrap_or(i64::MAX)),
        Ok(_) => Err(format!("{text:?} is no duration")),
        Err(why) => Err(format!("a duration {why}")),
    }
}

fn read_rfc3339(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let sign = |at: usize, letter: u8| (text.as_bytes().get(at) == Some(&letter)).then_some(());
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    sign(4, b'-')?;
    sign(7, b'-')?;
    if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    let date_ms = days_from_1970(year, month, day) * DAY_MS;
    if text.len() == 10 {
        return Some(date_ms);
    }
    matches!(text.as_bytes()[10], b'T' | b't' | b' ').then_some(())?;
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    sign(13, b':')?;
    sign(16, b':')?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let length = after.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return None;
        }
        let thousandths: String = after[..length].chars().chain("00".chars()).take(3).collect();
        fraction_ms = thousandths.parse().ok()?;
        rest = &after[length..];
    }
    let zone_minutes = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [plus @ (b'+' | b'-'), _, _, b':', _, _] => {
            let number = |part: &str| -> Option<i64> {
                part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
            };
            let (hours, minutes) = (number(&rest[1..3])?, number(&rest[4..6])?);
            (if *plus == b'-' { -1 } else { 1 }) * (hours * 60 + minutes)
        }
        _ => return None,
    };
    Some(date_ms + ((hour * 60 + minute - zone_minutes) * 60 + second) * 1000 + fraction_ms)
}

/// `2026-11-25T08:00:00.000Z`; nothing for years that have not four digits.
pub fn write_rfc3339(ms: i64) -> Option<String> {
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date_from_1970(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (seconds, thousandths) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{thousandths:03}Z"))
}

/// Days of 400 years, and of 1 March 0000 to 1 January 1970.
const ERA_DAYS: i64 = 146_097;
const EPOCH_DAYS: i64 = 719_468;

fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    // Months from March have 31 30 31 30 31 | 31 30 31 30 31 | 31 days: 153 each five.
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAYS
}

fn date_from_1970(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_1970(next_year, next_month, 1) - days_from_1970(year, month, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_593_600_000;

    #[test]
    fn times_are_read_and_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-25T08:00:00Z", NOW_MS),
            ("2026-11-25T10:00:00+02:00", NOW_MS),
            ("2026-11-25 08:00:00.25Z", NOW_MS + 250),
            ("2026-11-25", NOW_MS - 8 * 3_600_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("10m", NOW_MS - 600_000),
            ("10m ago", NOW_MS - 600_000),
            ("2h ago", NOW_MS - 7_200_000),
            ("7d", NOW_MS - 7 * DAY_MS),
        ] {
            assert_eq!(read_time(text, NOW_MS), Ok(ms), "{text}");
        }
        assert_eq!(write_rfc3339(NOW_MS + 7).as_deref(), Some("2026-11-25T08:00:00.007Z"));
        assert_eq!(write_rfc3339(-1).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(write_rfc3339(i64::MAX), None);
        for day in (-200_000..200_000).step_by(13) {
            let text = write_rfc3339(day * DAY_MS).unwrap();
            assert_eq!(read_time(&text, 0), Ok(day * DAY_MS), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-25T",
            "2026-11-25T25:00:00Z",
            "2026-11-25T08:00:00",
            "2026-11-25T08:00:00.Z",
            "2026-11-25T08:00:00+2:00",
            "10",
            "10 parsecs",
            "é026-11-25",
            "2026-11-25é8:00:00Z",
        ] {
            assert!(read_time(text, NOW_MS).is_err(), "{text}");
        }
    }

    #[test]
    fn places_are_read() {
        let read = |text| read_place(text, NOW_MS).unwrap();
        assert_eq!(read("earliest"), Place::Earliest);
        assert_eq!(read("latest"), Place::Latest);
        assert_eq!(read("end"), Place::Latest);
        assert_eq!(read("17"), Place::Offset(17));
        assert_eq!(read("-3"), Place::BeforeEnd(3));
        assert_eq!(read("1h"), Place::Time(NOW_MS - 3_600_000));
        assert_eq!(read("2026-11-25T08:00:00Z"), Place::Time(NOW_MS));
        assert!(read_place("first", NOW_MS).unwrap_err().contains("earliest, latest"));
    }
}

//! Times as XMPP writes them (XEP-0082).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xmpp_parsers::date::DateTime;

/// Reads a time in the profile of XEP-0082; `None` if it is none.
#[must_use]
pub fn parse_stamp(text: &str) -> Option<SystemTime> {
    let time: DateTime = text.trim().parse().ok()?;
    let micros = time.0.timestamp_micros();
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
}

/// Writes a time in the profile of XEP-0082: in UTC, to the millisecond.
#[must_use]
pub fn format_stamp(time: SystemTime) -> String {
    let millis = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = date_of(days);
    let (hours, minutes, seconds, millis) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// The date in the Gregorian calendar of a day counted from 1970-01-01: years begin in March, so that leap days come last.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_written_as_they_are_read() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_795_694_400, "2026-11-26T12:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(format_stamp(time), text);
            assert_eq!(parse_stamp(text), Some(time));
        }
        let early = UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!((format_stamp(early).as_str(), parse_stamp("1969-12-31T23:59:59.999Z")), ("1969-12-31T23:59:59.999Z", Some(early)));
        assert_eq!(parse_stamp("2002-09-10T23:41:07+02:00"), parse_stamp(" 2002-09-10T21:41:07Z\n"));
        assert_eq!(parse_stamp("yesterday"), None);
    }

    #[test]
    fn every_day_of_four_centuries_is_read_as_it_was_written() {
        for day in 0..146_097_u64 {
            let time = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            assert_eq!(parse_stamp(&format_stamp(time)), Some(time));
        }
    }
}

//! Times as stanzas carry them (XEP-0082).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a `DateTime` of XEP-0082 §3.2: `2026-07-01T12:00:00Z`, perhaps with a fraction of a second and another zone.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use xmppkit::xml::parse_datetime;
/// assert_eq!(parse_datetime("1970-01-01T01:00:00.5+01:00"), Some(UNIX_EPOCH + Duration::from_millis(500)));
/// assert_eq!(parse_datetime("yesterday"), None);
/// ```
#[must_use]
pub fn parse_datetime(text: &str) -> Option<SystemTime> {
    let time: xmpp_parsers::date::DateTime = text.trim().parse().ok()?;
    let micros = time.0.timestamp_micros();
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
}

/// Writes a `DateTime` of XEP-0082 §3.2 in UTC, with microseconds where there are any. Times before the year 0 and after
/// the year 9999 have no such form; the nearest that has is written.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use xmppkit::xml::format_datetime;
/// assert_eq!(format_datetime(UNIX_EPOCH), "1970-01-01T00:00:00Z");
/// assert_eq!(format_datetime(UNIX_EPOCH + Duration::from_micros(1_500_000)), "1970-01-01T00:00:01.500000Z");
/// ```
#[must_use]
pub fn format_datetime(time: SystemTime) -> String {
    /// From the year 0 to the end of the year 9999.
    const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;
    let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    let (seconds, micros) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (seconds(since), since.subsec_micros()),
        Err(before) => {
            let before = before.duration();
            let micros = (1_000_000 - before.subsec_micros()) % 1_000_000;
            (-seconds(before) - i64::from(micros > 0), micros)
        }
    };
    let (seconds, micros) =
        if SECONDS.contains(&seconds) { (seconds, micros) } else { (seconds.clamp(*SECONDS.start(), *SECONDS.end()), 0) };
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so that a leap day is the last one.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (year + era * 400, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2000-02-29T23:59:59Z",
            "2001-03-01T00:00:00.000001Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_datetime(text).map(format_datetime).as_deref(), Some(text));
        }
        for days in (-400_000..400_000_i64).step_by(97) {
            let distance = Duration::from_secs(days.unsigned_abs() * 86_400 + 3_661);
            let time = if days < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
            assert_eq!(parse_datetime(&format_datetime(time)), Some(time));
        }
    }

    #[test]
    fn a_time_without_a_form_is_written_as_the_nearest_that_has_one() {
        let far = Duration::from_secs(400_000_000_000);
        assert_eq!(format_datetime(UNIX_EPOCH + far), "9999-12-31T23:59:59Z");
        assert_eq!(format_datetime(UNIX_EPOCH - far), "0000-01-01T00:00:00Z");
    }
}

//! Instants. Everything inside is UTC; the store keeps microseconds since the epoch.

use chrono::{DateTime, Duration, Utc};

/// An instant in UTC.
pub type UtcTime = DateTime<Utc>;

/// Microseconds since the epoch, as the store keeps them.
pub fn micros(time: UtcTime) -> i64 {
    time.timestamp_micros()
}

/// The instant of a stored number of microseconds; numbers outside chrono's range become its nearest end.
pub fn from_micros(micros: i64) -> UtcTime {
    DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// The start of the interval-aligned bucket that holds `time`; `interval` is at least one second.
pub fn bucket_floor(time: UtcTime, interval: Duration) -> UtcTime {
    let seconds = interval.num_seconds().max(1);
    let floor = time.timestamp().div_euclid(seconds) * seconds;
    DateTime::from_timestamp(floor, 0).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_before_and_after_the_epoch() {
        let minute = Duration::minutes(1);
        let at = |s| DateTime::from_timestamp(s, 500_000_000).unwrap();
        assert_eq!(bucket_floor(at(119), minute).timestamp(), 60);
        assert_eq!(bucket_floor(at(-1), minute).timestamp(), -60);
        assert_eq!(from_micros(micros(at(7))), at(7));
    }
}

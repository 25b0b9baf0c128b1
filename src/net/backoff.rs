//! When to try again: exponential growth with full jitter, and what a server asks for by `Retry-After`.
//! Pure: the random number and the time are handed in.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

/// The longest wait that a server may ask of us: a wrong header must not silence a page for days.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Exponential back-off with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// The longest wait at all.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after failure number `attempt` (from 1): `random` in `0..1` times the smaller of the cap and
    /// the base doubled with each failure. Full jitter, so that many clients do not come back in step.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.cap);
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
        ceiling.mul_f64(random)
    }
}

/// A random number in `0..1` from the operating system, for [`Backoff::delay`].
pub fn random() -> f64 {
    // Without an answer from the system the longest wait is the careful one.
    let bits = getrandom::u32().unwrap_or(u32::MAX);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// How long a `Retry-After` header asks us to wait from `now`: seconds (fractions are rounded up) or one of
/// HTTP's three date formats, bounded by [`MAX_RETRY_AFTER`]; a date in the past is zero. `None` if it is neither.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if value.starts_with(|c: char| c.is_ascii_digit())
        && let Ok(seconds) = value.parse::<f64>()
    {
        let longest = MAX_RETRY_AFTER.as_secs_f64();
        return Some(Duration::from_secs_f64(seconds.ceil().min(longest)));
    }
    let wait = (http_date(value)? - now).to_std().unwrap_or_default();
    Some(wait.min(MAX_RETRY_AFTER))
}

fn http_date(value: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = DateTime::parse_from_rfc2822(value) {
        return Some(date.to_utc());
    }
    // The two obsolete forms that RFC 9110 still makes every reader accept.
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(value, format).ok())
        .map(|date| date.and_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_mins(5) };

    #[test]
    fn it_doubles_up_to_the_cap() {
        let waits: Vec<u64> =
            [1, 2, 3, 8, 9, 10, 1_000].map(|n| BACKOFF.delay(n, 1.0).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 4, 128, 256, 300, 300]);
        assert_eq!(BACKOFF.delay(3, 0.5), Duration::from_secs(2));
        assert_eq!(BACKOFF.delay(3, f64::NAN), Duration::from_secs(4));
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:07Z").unwrap().to_utc();
        let half_a_minute = Some(Duration::from_secs(30));
        for (value, expected) in [
            ("30", half_a_minute),
            (" 30 ", half_a_minute),
            ("29.2", half_a_minute),
            ("Sun, 06 Nov 1994 08:49:37 GMT", half_a_minute),
            ("Sunday, 06-Nov-94 08:49:37 GMT", half_a_minute),
            ("Sun Nov  6 08:49:37 1994", half_a_minute),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Duration::ZERO)),
            ("0", Some(Duration::ZERO)),
            ("99999999999999999999", Some(MAX_RETRY_AFTER)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(MAX_RETRY_AFTER)),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("NaN", None),
            ("inf", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn random_numbers_are_in_range() {
        assert!((0..100).map(|_| random()).all(|number| (0.0..1.0).contains(&number)));
    }

    proptest! {
        #[test]
        fn a_wait_is_bounded(attempt: u32, random: f64, header in ".{0,40}") {
            prop_assert!(BACKOFF.delay(attempt, random) <= BACKOFF.cap);
            if let Some(wait) = retry_after(&header, DateTime::UNIX_EPOCH) {
                prop_assert!(wait <= MAX_RETRY_AFTER);
            }
        }
    }
}

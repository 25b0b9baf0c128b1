//! What follows from an attempt to deliver: when to try again, when to give up, who else must be told, and how
//! fast a receiver may be sent to. Pure; the tasks around it are `lane` and `dispatcher`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Failure, Reason, Retry};
use crate::model::{Delivery, Severity, UtcTime};
use crate::net::{Backoff, MAX_RETRY_AFTER};
use crate::store::Attempt;

/// `notify.delivery` in the settings: how hard a message is tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The most seconds before the first retry; doubled for each further one.
    pub retry_first_seconds: u64,
    /// The most seconds between two retries, unless the receiver asks for more.
    pub retry_cap_seconds: u64,
    /// Hours after which a P1 or P2 that cannot be delivered is given up.
    pub give_up_urgent_hours: u64,
    /// Hours after which anything else that cannot be delivered is given up.
    pub give_up_hours: u64,
    /// Failed attempts after which a P1 goes to its fallback as well.
    pub fallback_attempts: u32,
    /// Seconds after which an undelivered P1 goes to its fallback as well.
    pub fallback_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry_first_seconds: 1,
            retry_cap_seconds: 120,
            give_up_urgent_hours: 24,
            give_up_hours: 4,
            fallback_attempts: 3,
            fallback_seconds: 60,
        }
    }
}

impl Settings {
    /// What is wrong with the settings: path, value and fix, a line each.
    pub(super) fn problems(&self) -> Vec<String> {
        let fallback_attempts = u64::from(self.fallback_attempts);
        [
            ("retry_first_seconds", self.retry_first_seconds, 1, 60),
            ("retry_cap_seconds", self.retry_cap_seconds, self.retry_first_seconds.max(1), 3_600),
            ("give_up_urgent_hours", self.give_up_urgent_hours, 1, 168),
            ("give_up_hours", self.give_up_hours, 1, 168),
            ("fallback_attempts", fallback_attempts, 1, 100),
            ("fallback_seconds", self.fallback_seconds, 5, 3_600),
        ]
        .into_iter()
        .filter(|(_, value, least, most)| !(least..=most).contains(&value))
        .map(|(name, value, least, most)| {
            format!("notify.delivery.{name} is {value}: use {least} to {most}")
        })
        .collect()
    }

    fn give_up(&self, severity: Severity) -> Duration {
        let urgent = severity >= Severity::P2;
        Duration::from_hours(if urgent { self.give_up_urgent_hours } else { self.give_up_hours })
    }

    /// From when on an undelivered P1 belongs to its fallback too.
    pub(super) fn overdue(&self, created_at: UtcTime) -> UtcTime {
        later(created_at, Duration::from_secs(self.fallback_seconds))
    }
}

/// How fast a receiver may be sent to: one message `every` so often, and up to `burst` at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time between two messages in the long run.
    pub every: Duration,
    /// How many may go at once after a rest; at least one.
    pub burst: u32,
}

impl Pace {
    /// No limit.
    pub const FREE: Self = Self { every: Duration::ZERO, burst: 1 };

    /// What the services allow: Slack one message a second per channel, `PagerDuty` 120 events in any minute
    /// per key.
    pub fn of(kind: &str) -> Self {
        match kind {
            "slack" => Self { every: Duration::from_secs(1), burst: 3 },
            "pagerduty" => Self { every: Duration::from_millis(600), burst: 20 },
            "webhook" => Self { every: Duration::from_millis(100), burst: 20 },
            _ => Self::FREE,
        }
    }
}

/// Keeps a [`Pace`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pacer {
    /// When the messages sent so far would all have gone at the long-run pace.
    booked_until: Option<Instant>,
}

impl Pacer {
    /// From when on the next message may go; `None` if now.
    pub(super) fn not_before(self, pace: Pace, now: Instant) -> Option<Instant> {
        let slack = pace.every * pace.burst.saturating_sub(1);
        let at = self.booked_until?.checked_sub(slack)?;
        (at > now).then_some(at)
    }

    /// Counts a message that goes now.
    pub(super) fn took(&mut self, pace: Pace, now: Instant) {
        self.booked_until = Some(self.booked_until.map_or(now, |at| at.max(now)) + pace.every);
    }
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Consequence {
    /// What to record.
    pub(super) attempt: Attempt,
    /// How long nothing at all may go to the receiver.
    pub(super) pause: Option<Duration>,
}

/// What is known of a message that could not be delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried<'a> {
    pub(super) severity: Severity,
    pub(super) created_at: UtcTime,
    /// Attempts so far, including the one that failed.
    pub(super) attempts: u32,
    /// The receiver that stands in.
    pub(super) fallback: Option<&'a str>,
}

impl<'a> Tried<'a> {
    pub(super) fn of(delivery: &Delivery, fallback: Option<&'a str>) -> Self {
        Self {
            severity: delivery.severity,
            created_at: delivery.created_at,
            attempts: delivery.attempts,
            fallback,
        }
    }
}

/// Decides what follows from a failed attempt; `chance` in `0..1` spreads the retries.
pub(super) fn after_failure(
    tried: Tried<'_>,
    failure: &Failure,
    now: UtcTime,
    settings: &Settings,
    chance: f64,
) -> Consequence {
    let error = failure.detail.clone();
    let stand_in = (tried.severity == Severity::P1).then_some(tried.fallback).flatten();
    let delay = match failure.retry {
        Retry::Never => None,
        Retry::Later => Some(back_off(tried.attempts, settings, chance)),
        Retry::After(asked) => {
            Some(asked.min(MAX_RETRY_AFTER).max(back_off(tried.attempts, settings, chance)))
        }
    };
    let pause = delay.filter(|_| failure.reason == Reason::Throttled);
    let last = later(tried.created_at, settings.give_up(tried.severity));
    let Some(delay) = delay.filter(|delay| later(now, *delay) <= last) else {
        let fallback = stand_in.map(str::to_owned);
        return Consequence { attempt: Attempt::Dead { error, fallback }, pause };
    };
    let due_at = later(now, delay);
    let overdue = tried.attempts >= settings.fallback_attempts
        || due_at >= settings.overdue(tried.created_at);
    let fallback = stand_in.filter(|_| overdue).map(str::to_owned);
    Consequence { attempt: Attempt::Retry { due_at, error, fallback }, pause }
}

/// Exponential with full jitter, but never less than a quarter of the first step, so that no retry is idle
/// hammering.
pub(super) fn back_off(attempts: u32, settings: &Settings, chance: f64) -> Duration {
    let base = Duration::from_secs(settings.retry_first_seconds.max(1));
    let cap = Duration::from_secs(settings.retry_cap_seconds).max(base);
    Backoff { base, cap }.delay(attempts, chance).max(base / 4)
}

/// `time` plus `span`; far beyond every calendar it stays at the calendar's end.
pub(super) fn later(time: UtcTime, span: Duration) -> UtcTime {
    chrono::Duration::from_std(span)
        .ok()
        .and_then(|span| time.checked_add_signed(span))
        .unwrap_or(UtcTime::MAX_UTC)
}

/// A stream of numbers in `0..1` (xorshift64*): enough to spread retries, and repeatable from its seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32);
        f64::from(high.unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn failed(reason: Reason, retry: Retry) -> Failure {
        Failure { reason, detail: "no".to_owned(), retry }
    }

    fn tried(severity: Severity, attempts: u32) -> Tried<'static> {
        Tried { severity, created_at: at(0), attempts, fallback: Some("spare") }
    }

    fn outcome(tried: Tried<'_>, failure: &Failure, now: UtcTime) -> Attempt {
        after_failure(tried, failure, now, &Settings::default(), 0.999_999).attempt
    }

    fn fallback_of(attempt: &Attempt) -> Option<&str> {
        match attempt {
            Attempt::Retry { fallback, .. } | Attempt::Dead { fallback, .. } => fallback.as_deref(),
            Attempt::Delivered(_) | Attempt::Superseded => None,
        }
    }

    #[test]
    fn a_refusal_is_final_and_a_p1_goes_to_the_fallback() {
        let refused = failed(Reason::Refused, Retry::Never);
        let dead = outcome(tried(Severity::P1, 1), &refused, at(1));
        assert_eq!(
            dead,
            Attempt::Dead { error: "no".to_owned(), fallback: Some("spare".to_owned()) }
        );
        let dead = outcome(tried(Severity::P2, 1), &refused, at(1));
        assert_eq!(dead, Attempt::Dead { error: "no".to_owned(), fallback: None });
    }

    #[test]
    fn a_p1_goes_to_the_fallback_after_three_attempts_or_a_minute() {
        let down = failed(Reason::Unavailable, Retry::Later);
        assert_eq!(fallback_of(&outcome(tried(Severity::P1, 2), &down, at(3))), None);
        assert_eq!(fallback_of(&outcome(tried(Severity::P1, 3), &down, at(5))), Some("spare"));
        assert_eq!(fallback_of(&outcome(tried(Severity::P1, 1), &down, at(60))), Some("spare"));
        assert_eq!(fallback_of(&outcome(tried(Severity::P2, 9), &down, at(99))), None);
        let wait = failed(Reason::Throttled, Retry::After(Duration::from_secs(90)));
        assert_eq!(fallback_of(&outcome(tried(Severity::P1, 1), &wait, at(0))), Some("spare"));
    }

    #[test]
    fn urgent_messages_are_tried_for_a_day_and_the_rest_for_hours() {
        let down = failed(Reason::Unreachable, Retry::Later);
        for (severity, hours) in
            [(Severity::P1, 24), (Severity::P2, 24), (Severity::P3, 4), (Severity::P4, 4)]
        {
            let before = outcome(tried(severity, 40), &down, at(hours * 3_600 - 121));
            assert!(matches!(before, Attempt::Retry { .. }), "{severity}: {before:?}");
            let after = outcome(tried(severity, 40), &down, at(hours * 3_600));
            assert!(matches!(after, Attempt::Dead { .. }), "{severity}: {after:?}");
        }
    }

    #[test]
    fn bad_settings_are_named() {
        assert_eq!(Settings::default().problems(), Vec::<String>::new());
        let bad = Settings { give_up_hours: 0, retry_cap_seconds: 0, ..Settings::default() };
        let expected = [
            "notify.delivery.retry_cap_seconds is 0: use 1 to 3600",
            "notify.delivery.give_up_hours is 0: use 1 to 168",
        ];
        assert_eq!(bad.problems(), expected);
    }

    #[test]
    fn only_a_throttle_pauses_the_receiver() {
        let settings = Settings::default();
        let wait = Retry::After(Duration::from_secs(30));
        let pause = |reason, retry| {
            let failure = failed(reason, retry);
            after_failure(tried(Severity::P3, 1), &failure, at(0), &settings, 0.5).pause
        };
        assert_eq!(pause(Reason::Throttled, wait), Some(Duration::from_secs(30)));
        assert_eq!(pause(Reason::Unavailable, wait), None);
        let absurd = Retry::After(Duration::MAX);
        assert_eq!(pause(Reason::Throttled, absurd), Some(MAX_RETRY_AFTER));
    }

    proptest! {
        #[test]
        fn retries_wait_between_a_quarter_step_and_the_cap(attempts in 0_u32..u32::MAX, chance in 0.0..1.0) {
            let settings = Settings::default();
            let wait = back_off(attempts, &settings, chance);
            prop_assert!(wait >= Duration::from_millis(250) && wait <= Duration::from_mins(2));
        }

        #[test]
        fn a_receivers_wish_is_never_cut_short(
            attempts in 1_u32..50, asked in 0_u64..3_600, chance in 0.0..1.0,
        ) {
            let failure = failed(Reason::Throttled, Retry::After(Duration::from_secs(asked)));
            let tried = tried(Severity::P2, attempts);
            let then = after_failure(tried, &failure, at(0), &Settings::default(), chance);
            let asked = i64::try_from(asked).unwrap();
            let Attempt::Retry { due_at, .. } = then.attempt else { panic!("given up") };
            prop_assert!(due_at >= at(asked));
            prop_assert!(then.pause.unwrap() >= Duration::from_secs(asked.unsigned_abs()));
        }

        #[test]
        fn chances_lie_between_zero_and_one(seed in any::<u64>()) {
            let mut chance = Chance::new(seed);
            for _ in 0..100 {
                let drawn = chance.next();
                prop_assert!((0.0..1.0).contains(&drawn));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_the_service_allows() {
        for (kind, most) in [("slack", 63), ("pagerduty", 120)] {
            let pace = Pace::of(kind);
            let mut pacer = Pacer::default();
            let mut sent = Vec::new();
            let mut now = Instant::now();
            let end = now + Duration::from_mins(5);
            while now < end {
                if let Some(at) = pacer.not_before(pace, now) {
                    now = at;
                } else {
                    pacer.took(pace, now);
                    sent.push(now);
                }
            }
            for (index, first) in sent.iter().enumerate() {
                let within = sent
                    .iter()
                    .skip(index)
                    .take_while(|at| **at < *first + Duration::from_mins(1))
                    .count();
                assert!(within <= most, "{kind}: {within} in a minute");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_pace_never_waits() {
        let mut pacer = Pacer::default();
        for _ in 0..10 {
            assert_eq!(pacer.not_before(Pace::FREE, Instant::now()), None);
            pacer.took(Pace::FREE, Instant::now());
        }
    }
}

//! Wall-clock time as an argument: the only place that asks the operating system what time it is.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::UtcTime;

/// Tells the wall-clock time. Code below the tasks takes `now` as an argument instead.
pub trait Clock: Debug + Send + Sync {
    /// The current instant in UTC.
    fn now(&self) -> UtcTime;

    /// How many seconds of this clock pass in one second of the timer.
    fn speed(&self) -> u32 {
        1
    }

    /// How long the timer must run until this clock shows `at`; zero if it already has.
    fn until(&self, at: UtcTime) -> Duration {
        (at - self.now()).to_std().unwrap_or_default() / self.speed().max(1)
    }

    /// How long the timer must run for `span` of this clock to pass.
    fn span(&self, span: Duration) -> Duration {
        span / self.speed().max(1)
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UtcTime {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the system's clock"
        )]
        chrono::Utc::now()
    }
}

/// A wall clock driven by tokio's timer: `tokio::time::advance` moves the wall clock and every timer
/// together, and the `demo` command runs hours in seconds with it (`speed`).
#[derive(Debug, Clone, Copy)]
pub struct TimerClock {
    epoch: UtcTime,
    started: Instant,
    speed: u32,
}

impl TimerClock {
    /// A clock that shows `epoch` now and runs at the timer's own speed.
    pub fn new(epoch: UtcTime) -> Self {
        Self::with_speed(epoch, 1)
    }

    /// A clock that shows `epoch` now and runs `speed` times as fast as the timer.
    pub fn with_speed(epoch: UtcTime, speed: u32) -> Self {
        Self { epoch, started: Instant::now(), speed }
    }
}

impl Clock for TimerClock {
    fn now(&self) -> UtcTime {
        let elapsed = self.started.elapsed() * self.speed;
        // An i64 of microseconds spans 292,000 years, so only absurd speeds saturate.
        self.epoch + chrono::Duration::from_std(elapsed).unwrap_or(chrono::Duration::MAX)
    }

    fn speed(&self) -> u32 {
        self.speed
    }
}

/// A wall clock that begins in the past, runs fast until it has caught up with the present, and then runs like
/// any other: `demo` plays half an hour in as many seconds and goes on in real time.
#[derive(Debug, Clone, Copy)]
pub struct CatchUpClock {
    present: UtcTime,
    started: Instant,
    behind: Duration,
    speed: u32,
}

impl CatchUpClock {
    /// A clock that shows `present - behind` now; `speed` is at least two.
    pub fn new(present: UtcTime, behind: Duration, speed: u32) -> Self {
        Self { present, started: Instant::now(), behind, speed: speed.max(2) }
    }

    /// The timer's time after which it shows the present.
    fn catches_up_after(&self) -> Duration {
        self.behind / (self.speed - 1)
    }
}

impl Clock for CatchUpClock {
    fn now(&self) -> UtcTime {
        let elapsed = self.started.elapsed();
        let fast = elapsed.min(self.catches_up_after());
        let shown = fast * self.speed + elapsed.saturating_sub(fast);
        // Both are hours, not ages: far from chrono's ends.
        let span = |span| chrono::Duration::from_std(span).unwrap_or_default();
        self.present - span(self.behind) + span(shown)
    }

    fn speed(&self) -> u32 {
        if self.started.elapsed() < self.catches_up_after() { self.speed } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timer_clock_moves_with_the_timer() {
        let epoch = UtcTime::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = TimerClock::new(epoch);
        let fast = TimerClock::with_speed(epoch, 60);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now(), epoch + chrono::Duration::milliseconds(1_500));
        assert_eq!(fast.now(), epoch + chrono::Duration::seconds(90));
        assert_eq!(fast.until(epoch + chrono::Duration::seconds(150)), Duration::from_secs(1));
        assert_eq!(fast.until(epoch), Duration::ZERO);
    }
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_catches_up_runs_fast_and_then_true() {
        let present = UtcTime::from_timestamp(1_700_000_000, 0).unwrap();
        let clock = CatchUpClock::new(present, Duration::from_secs(590), 60);
        assert_eq!(clock.now(), present - chrono::Duration::seconds(590));
        assert_eq!(clock.until(present - chrono::Duration::seconds(530)), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), present - chrono::Duration::seconds(290));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!((clock.now(), clock.speed()), (present + chrono::Duration::seconds(10), 1));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(clock.now(), present + chrono::Duration::seconds(70));
    }
}

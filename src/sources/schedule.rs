//! Which span to read next: pure, so that every rule about gaps, lateness and clock steps can be tested
//! without a clock. It reads nothing itself; `poll` does.
//!
//! - A bucket is read *fresh* once, when it has closed and its documents have had the time to arrive (`delay`).
//! - What is missing after failures or a pause is read again: up to the look-back fresh, the older part as
//!   backfill, nothing older than the history that detection wants. History that cannot be read in time is asked
//!   for in part, so that it does not keep us from what is fresh.
//! - Between fresh reads the newest buckets are *corrected*: read again as far back as documents come late.
//! - A source that knows which buckets have changed since is believed: corrections reach back to the first of them,
//!   however late its documents came, within the history.
//! - The lag is measured by the source where it can; the largest of the last few measurements counts, so that it
//!   grows at once and shrinks slowly. A fresh read waits for at most two buckets: what comes later than that is
//!   for corrections, which look back at most one look-back.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};

use super::{Settings, Span};
use crate::model::{Completeness, FailureKind, UtcTime, WindowKind, bucket_floor};

/// Measurements of the lag that are remembered.
const LAGS: usize = 10;
/// A fresh read waits for late documents at most so many buckets.
const DELAY_BUCKETS: i32 = 2;
/// What a measured lag leaves out: the time until a stored document can be searched.
const SEARCHABLE: TimeDelta = TimeDelta::seconds(2);
/// The first wait after a failure, doubled by each further one.
const BACK_OFF: TimeDelta = TimeDelta::seconds(5);
/// The longest wait after failures, unless the source asks for more.
const BACK_OFF_MOST: TimeDelta = TimeDelta::seconds(60);
/// The longest wait that a source can ask for.
const RETRY_MOST: TimeDelta = TimeDelta::hours(1);
/// A read of history may take so many times as long as an ordinary one.
const BACKFILL_DEADLINES: u32 = 15;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read this span now.
    Read(Span),
    /// Nothing to do before this instant.
    Wait(UtcTime),
}

/// Decides which spans to read. Ask [`Schedule::next`], read, tell [`Schedule::done`].
#[derive(Debug, Clone)]
pub struct Schedule {
    bucket: TimeDelta,
    every: TimeDelta,
    lookback: TimeDelta,
    history: TimeDelta,
    lag_setting: TimeDelta,
    lags: VecDeque<TimeDelta>,
    /// The end of the last bucket that was read completely.
    watermark: Option<UtcTime>,
    /// The first bucket that has changed since it was read, as the source says.
    changed_from: Option<UtcTime>,
    read_at: Option<UtcTime>,
    corrected_at: Option<UtcTime>,
    failures: u32,
    not_before: Option<UtcTime>,
    seen: Option<UtcTime>,
}

impl Schedule {
    /// A schedule that begins with `history` as one backfill, or behind `resume_from` if an earlier run read
    /// so far.
    pub fn new(settings: &Settings, history: Duration, resume_from: Option<UtcTime>) -> Self {
        let bucket = TimeDelta::seconds(i64::from(settings.bucket_seconds.max(1)));
        let aligned = |span: TimeDelta| {
            let seconds = bucket.num_seconds();
            let buckets = span.num_seconds().max(0).div_euclid(seconds)
                + i64::from(span.num_seconds().rem_euclid(seconds) > 0);
            TimeDelta::seconds(buckets.max(1) * seconds)
        };
        Self {
            bucket,
            every: seconds(settings.interval_seconds.max(1)),
            lookback: aligned(TimeDelta::minutes(i64::from(settings.lookback_minutes))),
            history: aligned(TimeDelta::from_std(history).unwrap_or(TimeDelta::days(30))),
            lag_setting: seconds(settings.lag_seconds),
            lags: VecDeque::with_capacity(LAGS),
            watermark: resume_from.map(|at| bucket_floor(at, bucket)),
            changed_from: None,
            read_at: None,
            corrected_at: None,
            failures: 0,
            not_before: None,
            seen: None,
        }
    }

    /// The end of the last bucket that was read completely.
    pub fn watermark(&self) -> Option<UtcTime> {
        self.watermark
    }

    /// How late documents come: measured, or as the settings say.
    pub fn lag(&self) -> TimeDelta {
        self.lags.iter().max().map_or(self.lag_setting, |lag| *lag + SEARCHABLE)
    }

    /// Takes note of what the source says has changed since it was read: from, to.
    pub fn note_changed(&mut self, changed: Option<(UtcTime, UtcTime)>) {
        self.changed_from = changed.map(|(from, _)| bucket_floor(from, self.bucket));
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: UtcTime) -> Step {
        self.survive_clock_step(now);
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return Step::Wait(until);
        }
        let closed = bucket_floor(now - self.delay(), self.bucket);
        let Some(watermark) = self.watermark else {
            let from = closed - self.history;
            return Step::Read(Span { from, to: closed, kind: WindowKind::Backfill });
        };
        if watermark < closed {
            return Step::Read(self.missing(watermark, closed));
        }
        let fresh_due = watermark + self.bucket + self.delay();
        let Some(correction_due) = self.correction_due() else {
            return Step::Wait(fresh_due);
        };
        if now < correction_due {
            return Step::Wait(fresh_due.min(correction_due));
        }
        let late = watermark - self.bucket * self.late_buckets();
        let changed = self.changed_from.map_or(late, |from| from.max(watermark - self.history));
        let from = late.min(changed);
        Step::Read(Span { from, to: watermark, kind: WindowKind::Correction })
    }

    /// Takes note of how the read of `span` ended, and of how late documents were seen to come.
    pub fn done(
        &mut self,
        span: Span,
        completeness: &Completeness,
        lag: Option<Duration>,
        now: UtcTime,
    ) {
        if span.kind == WindowKind::Correction {
            self.corrected_at = Some(now);
        }
        if !completeness.is_complete() {
            self.ask_for_less(span, completeness);
            let doublings = self.failures.min(10);
            self.failures = self.failures.saturating_add(1);
            let back_off = now + (BACK_OFF * 2_i32.pow(doublings)).min(BACK_OFF_MOST);
            let asked = match completeness {
                Completeness::Failed { retry_at: Some(at), .. } => (*at).min(now + RETRY_MOST),
                _ => back_off,
            };
            self.not_before = Some(back_off.max(asked));
            return;
        }
        self.failures = 0;
        self.not_before = None;
        if span.kind != WindowKind::Correction {
            self.watermark = Some(self.watermark.map_or(span.to, |mark| mark.max(span.to)));
            self.read_at = Some(now);
        }
        if let Some(lag) = lag.and_then(|lag| TimeDelta::from_std(lag).ok()) {
            if self.lags.len() == LAGS {
                self.lags.pop_front();
            }
            self.lags.push_back(lag);
        }
    }

    /// History that cannot be read in time must not keep us from reading what is fresh.
    fn ask_for_less(&mut self, span: Span, completeness: &Completeness) {
        let late = matches!(completeness, Completeness::Failed { kind: FailureKind::Deadline, .. });
        if late && span.kind == WindowKind::Backfill {
            let half = bucket_floor(DateTime::UNIX_EPOCH + self.history / 2, self.bucket);
            self.history = (half - DateTime::UNIX_EPOCH).max(self.lookback);
        }
    }

    /// The oldest part of what is missing between `watermark` and `closed`.
    fn missing(&self, watermark: UtcTime, closed: UtcTime) -> Span {
        let from = watermark.max(closed - self.history.max(self.lookback));
        let fresh_from = closed - self.lookback;
        if from < fresh_from {
            Span { from, to: fresh_from, kind: WindowKind::Backfill }
        } else {
            Span { from, to: closed, kind: WindowKind::Fresh }
        }
    }

    /// How long after its close a bucket is read.
    fn delay(&self) -> TimeDelta {
        self.lag().min(self.bucket * DELAY_BUCKETS)
    }

    /// How many of the newest buckets late documents may still change.
    fn late_buckets(&self) -> i32 {
        let bucket = self.bucket.num_milliseconds();
        let lag = self.lag().num_milliseconds();
        let late = lag.div_euclid(bucket) + i64::from(lag.rem_euclid(bucket) > 0);
        let most = self.lookback.num_milliseconds().div_euclid(bucket).max(1);
        i32::try_from(late.clamp(0, most)).unwrap_or(1)
    }

    /// When the newest buckets should be read again; never if no document can be late.
    fn correction_due(&self) -> Option<UtcTime> {
        let changed = self.changed_from.is_some_and(|from| Some(from) < self.watermark);
        if self.late_buckets() == 0 && !changed {
            return None;
        }
        let settled = self.read_at? + self.every.min(self.bucket / 2);
        Some(self.corrected_at.map_or(settled, |at| settled.max(at + self.every)))
    }

    /// After a step backwards the instants that were noted lie in the future: they are forgotten, and reading goes
    /// on from the bucket that the clock shows now. A step forwards needs nothing: it is a gap.
    fn survive_clock_step(&mut self, now: UtcTime) {
        if self.seen.is_some_and(|seen| now < seen - TimeDelta::seconds(1)) {
            self.not_before = None;
            self.read_at = self.read_at.map(|at| at.min(now));
            self.corrected_at = self.corrected_at.map(|at| at.min(now));
        }
        self.seen = Some(now);
        let current = bucket_floor(now, self.bucket);
        if self.watermark.is_some_and(|mark| mark > current + self.bucket) {
            tracing::warn!(clock.now = %now, "clock went backwards: reading goes on from here");
            self.watermark = Some(current);
        }
    }
}

/// How long a read of this kind may take.
pub fn deadline(settings: &Settings, kind: WindowKind) -> Duration {
    let times = if kind == WindowKind::Backfill { BACKFILL_DEADLINES } else { 1 };
    Duration::from_secs(settings.deadline_seconds.max(1)).saturating_mul(times)
}

/// At most a day, so that no setting can overflow an instant.
fn seconds(count: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(count.min(86_400)).unwrap_or(86_400))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HISTORY: Duration = Duration::from_mins(65);

    /// Seconds after an aligned minute.
    fn at(second: i64) -> UtcTime {
        UtcTime::from_timestamp(1_700_000_040 + second, 0).unwrap()
    }

    fn minute(count: i64) -> UtcTime {
        at(count * 60)
    }

    fn span(from: i64, to: i64, kind: WindowKind) -> Step {
        Step::Read(Span { from: minute(from), to: minute(to), kind })
    }

    fn failed(retry_at: Option<UtcTime>) -> Completeness {
        Completeness::Failed { kind: FailureKind::Throttled, reason: "busy".to_owned(), retry_at }
    }

    fn read(schedule: &mut Schedule, now: UtcTime) -> Span {
        match schedule.next(now) {
            Step::Read(span) => span,
            Step::Wait(until) => panic!("waits until {until} at {now}"),
        }
    }

    fn good(schedule: &mut Schedule, now: UtcTime) -> Span {
        let span = read(schedule, now);
        schedule.done(span, &Completeness::Complete, None, now);
        span
    }

    /// A schedule that has read everything before minute 0, asked at 0:10.
    fn started() -> Schedule {
        let mut schedule = Schedule::new(&Settings::default(), HISTORY, None);
        let first = good(&mut schedule, at(10));
        assert_eq!(Step::Read(first), span(-65, 0, WindowKind::Backfill));
        schedule
    }

    #[test]
    fn history_first_then_each_minute_ten_seconds_after_its_close_and_corrected_once() {
        let mut schedule = started();
        assert_eq!(schedule.next(at(11)), Step::Wait(at(40)));
        assert_eq!(schedule.next(at(40)), span(-1, 0, WindowKind::Correction));
        good(&mut schedule, at(40));
        assert_eq!(schedule.next(at(41)), Step::Wait(at(70)));
        assert_eq!(schedule.next(at(70)), span(0, 1, WindowKind::Fresh));
        good(&mut schedule, at(70));
        assert_eq!(schedule.next(at(71)), Step::Wait(at(100)));
        assert_eq!(schedule.next(at(100)), span(0, 1, WindowKind::Correction));
    }

    #[test]
    fn what_a_failure_missed_is_read_again() {
        let mut schedule = started();
        let missed = read(&mut schedule, at(70));
        schedule.done(missed, &failed(None), None, at(70));
        assert_eq!(schedule.next(at(71)), Step::Wait(at(75)));
        schedule.done(missed, &failed(None), None, at(75));
        assert_eq!(schedule.next(at(76)), Step::Wait(at(85)));
        assert_eq!(schedule.next(at(135)), span(0, 2, WindowKind::Fresh));
    }

    #[test]
    fn a_long_gap_is_history_but_for_the_look_back_and_what_is_too_old_is_left() {
        let mut schedule = started();
        let after = minute(30) + TimeDelta::seconds(12);
        assert_eq!(schedule.next(after), span(0, 25, WindowKind::Backfill));
        good(&mut schedule, after);
        assert_eq!(schedule.next(after), span(25, 30, WindowKind::Fresh));
        good(&mut schedule, after);
        let later = minute(10_000) + TimeDelta::seconds(12);
        assert_eq!(schedule.next(later), span(9_935, 9_995, WindowKind::Backfill));
    }

    #[test]
    fn a_source_that_asks_for_time_gets_it_within_reason() {
        let mut schedule = started();
        let missed = read(&mut schedule, at(70));
        schedule.done(missed, &failed(Some(at(500))), None, at(70));
        assert_eq!(schedule.next(at(80)), Step::Wait(at(500)));
        schedule.done(missed, &failed(Some(at(500_000))), None, at(500));
        assert_eq!(schedule.next(at(501)), Step::Wait(at(500 + 3_600)));
    }

    #[test]
    fn history_that_takes_too_long_is_asked_for_in_part() {
        let mut schedule = Schedule::new(&Settings::default(), HISTORY, None);
        let late = Completeness::Failed {
            kind: FailureKind::Deadline,
            reason: "slow".to_owned(),
            retry_at: None,
        };
        let mut lengths = Vec::new();
        for attempt in 0..7 {
            let span = read(&mut schedule, minute(attempt * 2));
            lengths.push((span.to - span.from).num_minutes());
            schedule.done(span, &late, None, minute(attempt * 2));
        }
        assert_eq!(lengths, [65, 32, 16, 8, 5, 5, 5]);
    }

    #[test]
    fn waits_after_failures_double_up_to_a_minute() {
        let mut schedule = started();
        let missed = read(&mut schedule, at(70));
        let mut waits = Vec::new();
        for _ in 0..40 {
            schedule.done(missed, &failed(None), None, at(100));
            let Step::Wait(until) = schedule.next(at(100)) else { panic!("no wait") };
            waits.push((until - at(100)).num_seconds());
        }
        assert_eq!(waits[..5], [5, 10, 20, 40, 60]);
        assert!(waits[5..].iter().all(|wait| *wait == 60));
    }

    #[test]
    fn a_measured_lag_delays_fresh_reads_and_widens_corrections() {
        let mut schedule = started();
        let newest = read(&mut schedule, at(70));
        schedule.done(newest, &Completeness::Complete, Some(Duration::from_secs(88)), at(70));
        assert_eq!(schedule.lag(), TimeDelta::seconds(90));
        assert_eq!(schedule.next(at(100)), span(-1, 1, WindowKind::Correction));
        good(&mut schedule, at(100));
        assert_eq!(schedule.next(at(209)), span(-1, 1, WindowKind::Correction));
        good(&mut schedule, at(209));
        assert_eq!(schedule.next(at(210)), span(1, 2, WindowKind::Fresh));
        let newest = read(&mut schedule, at(210));
        schedule.done(newest, &Completeness::Complete, Some(Duration::from_hours(5)), at(210));
        assert_eq!(schedule.delay(), TimeDelta::seconds(120));
        assert_eq!(schedule.late_buckets(), 5);
    }

    #[test]
    fn a_restart_goes_on_where_it_ended_and_corrects_nothing_where_nothing_can_be_late() {
        let settings = Settings { lag_seconds: 0, ..Settings::default() };
        let mut schedule = Schedule::new(&settings, HISTORY, Some(minute(-2)));
        let missed = good(&mut schedule, minute(1));
        assert_eq!(Step::Read(missed), span(-2, 1, WindowKind::Fresh));
        assert_eq!(schedule.next(at(90)), Step::Wait(minute(2)));
    }

    #[test]
    fn what_the_source_says_has_changed_is_read_again_within_the_history() {
        let settings = Settings { lag_seconds: 0, ..Settings::default() };
        let mut schedule = Schedule::new(&settings, HISTORY, Some(minute(0)));
        good(&mut schedule, minute(1));
        schedule.note_changed(Some((minute(-20), minute(-18))));
        assert_eq!(schedule.next(at(89)), Step::Wait(at(90)));
        assert_eq!(schedule.next(at(90)), span(-20, 1, WindowKind::Correction));
        schedule.note_changed(Some((minute(-9_000), minute(1))));
        assert_eq!(schedule.next(at(90)), span(-64, 1, WindowKind::Correction));
        schedule.note_changed(None);
        assert_eq!(schedule.next(at(90)), Step::Wait(minute(2)));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_blind() {
        let mut schedule = started();
        let missed = read(&mut schedule, at(70));
        schedule.done(missed, &failed(Some(at(2_000))), None, at(70));
        let before = minute(-60) + TimeDelta::seconds(30);
        let Step::Wait(until) = schedule.next(before) else { panic!("reads") };
        assert!(until <= before + TimeDelta::seconds(60), "{until}");
        let again = good(&mut schedule, minute(-59) + TimeDelta::seconds(10));
        assert_eq!(Step::Read(again), span(-60, -59, WindowKind::Fresh));
    }

    proptest! {
        /// Whatever fails and however long it takes: what is read completely is contiguous, aligned, closed, and
        /// no bucket is read twice but by corrections.
        #[test]
        fn each_bucket_is_read_once(
            steps in prop::collection::vec((0_i64..400, 0_u8..4, prop::option::of(0_u64..300)), 1..120),
        ) {
            let mut schedule = Schedule::new(&Settings::default(), HISTORY, None);
            let mut now = at(0);
            let mut end: Option<UtcTime> = None;
            for (pause, outcome, lag) in steps {
                now += TimeDelta::seconds(pause);
                let Step::Read(span) = schedule.next(now) else { continue };
                prop_assert!(span.from < span.to && span.to <= now);
                prop_assert_eq!(span.from.timestamp() % 60, 0);
                prop_assert_eq!(span.to.timestamp() % 60, 0);
                if span.kind == WindowKind::Correction {
                    prop_assert_eq!(Some(span.to), end);
                } else {
                    if let Some(end) = end {
                        prop_assert!(span.from == end || span.from == span.to - schedule.lookback
                            || now - end > schedule.history);
                    }
                    if outcome > 0 {
                        end = Some(span.to);
                    }
                }
                let completeness = if outcome == 0 { failed(None) } else { Completeness::Complete };
                schedule.done(span, &completeness, lag.map(Duration::from_secs), now);
                prop_assert_eq!(schedule.watermark(), end);
            }
        }
    }
}

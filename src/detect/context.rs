//! What a step of a series needs beside the series: settings, lengths, the instant; and the questions asked
//! with them.

use chrono::DateTime;

use crate::model::{Measure, Severity, Signal, UtcTime};

use super::baseline::Baseline;
use super::judge::{self, Ruling};
use super::series::{Cell, Series, Shape};
use super::{Case, Sample, Settings, Silence, Tuning};

/// What all series of one signal and tuning share in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) shape: Shape,
    pub(super) interval_seconds: i64,
    pub(super) signal: &'a Signal,
    pub(super) tuning: &'a Tuning,
    /// When the step happens.
    pub(super) now: UtcTime,
    /// Whether findings are announced; history is only recorded.
    pub(super) loud: bool,
}

impl Context<'_> {
    /// The start of a bucket.
    pub(super) fn time(&self, bucket: i64) -> UtcTime {
        DateTime::from_timestamp(bucket.saturating_mul(self.interval_seconds), 0)
            .unwrap_or(self.now)
    }

    pub(super) fn measure(&self) -> Measure {
        self.signal.measure
    }

    fn minutes(&self, buckets: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "windows are short")]
        let buckets = buckets as f64;
        buckets * self.shape.bucket_minutes
    }

    /// Judgements in a row that a severity needs.
    pub(super) fn judgements(&self, severity: Severity) -> u32 {
        match severity {
            Severity::P1 => 1,
            Severity::P2 => self.settings.p2_judgements,
            // Windows that do not overlap: the second begins where the first ended.
            Severity::P3 | Severity::P4 => {
                let window = u32::try_from(self.shape.window).unwrap_or(1);
                self.settings.persistence_windows.saturating_sub(1).saturating_mul(window) + 1
            }
        }
    }

    /// A case about the window of `length` buckets before `end`.
    pub(super) fn case<'a>(
        &'a self,
        series: &Series,
        baseline: &'a Baseline,
        end: i64,
        length: i64,
    ) -> Option<Case<'a>> {
        let measure = self.measure();
        let current = series.sample(end, length, self.shape, measure, baseline.lens())?;
        let alone = length == 1 && self.shape.window > 1;
        Some(Case {
            signal: self.signal,
            tuning: self.tuning,
            current,
            minutes: self.minutes(length),
            baseline: if alone { &baseline.buckets } else { &baseline.windows },
            slow_limit: baseline.slow_limit,
            silence: self.silence(series, baseline, end),
        })
    }

    fn silence(&self, series: &Series, baseline: &Baseline, end: i64) -> Silence {
        if self.measure() != Measure::Count {
            return Silence::default();
        }
        let longest = self.shape.capacity.min(60);
        let mut silent = 0;
        while silent < longest && series.cell(end - 1 - silent) == Cell::Absent {
            silent += 1;
        }
        Silence {
            minutes: self.minutes(silent),
            enough: silent >= i64::from(self.settings.absence_buckets),
            presence: baseline.presence,
        }
    }

    /// The ruling that counts at `end`: of the window, or of its newest bucket alone if that is of P1 strength
    /// (in an open episode: of any). With it the length of what was judged.
    pub(super) fn rule(
        &self,
        series: &Series,
        baseline: &Baseline,
        end: i64,
        open: bool,
    ) -> Option<(Ruling, i64)> {
        let window = self.shape.window;
        let whole = self.case(series, baseline, end, window).and_then(|case| judge::rule(&case));
        let settled = whole.is_some_and(|ruling| ruling.severity == Some(Severity::P1));
        if window == 1 || settled || baseline.buckets.is_empty() {
            return whole.map(|ruling| (ruling, window));
        }
        let alone = self
            .case(series, baseline, end, 1)
            .filter(|case| self.worth_alone(case))
            .and_then(|case| judge::rule(&case))
            // A limit knows nothing of chance: few requests of a single bucket break it too easily.
            .filter(|ruling| ruling.score.fixed.is_none())
            .filter(|ruling| open || ruling.severity == Some(Severity::P1));
        match (whole, alone) {
            (whole, Some(alone)) if alone.severity > whole.and_then(|whole| whole.severity) => {
                Some((alone, 1))
            }
            (whole, _) => whole.map(|ruling| (ruling, window)),
        }
    }

    /// A single bucket never proves a fall of traffic: documents that come late look the same.
    fn worth_alone(&self, case: &Case<'_>) -> bool {
        match self.measure() {
            Measure::Ratio | Measure::Quantile(_) => {
                case.current.part >= self.tuning.minimum_events
            }
            Measure::Count => case.baseline.iter().all(|past| case.current.value > past.value),
            Measure::Sum | Measure::Mean | Measure::Max => true,
        }
    }

    /// Whether the newest bucket is worth the dearer look at single buckets.
    pub(super) fn bucket_could_page(&self, series: &Series, baseline: &Baseline, end: i64) -> bool {
        let enough = baseline.windows.len() >= self.tuning.min_data_points;
        let beyond = |newest: Sample| match self.measure() {
            Measure::Ratio | Measure::Quantile(_) => newest.part >= self.tuning.minimum_events,
            Measure::Sum => true,
            _ => {
                baseline.windows.iter().all(|past| newest.value > past.value)
                    || baseline.windows.iter().all(|past| newest.value < past.value)
            }
        };
        self.shape.window > 1
            && enough
            && series
                .sample(end, 1, self.shape, self.measure(), baseline.lens())
                .is_some_and(beyond)
    }

    /// The first bucket out of line among those that the verdict rests on.
    pub(super) fn onset(&self, series: &Series, baseline: &Baseline, end: i64, first: i64) -> i64 {
        let bad = |bucket: &i64| {
            series.sample(bucket + 1, 1, self.shape, self.measure(), baseline.lens()).is_some_and(
                |current| {
                    let mut case = judge::bare(self.signal, self.tuning, current, 1.0);
                    case.minutes = self.shape.bucket_minutes;
                    case.slow_limit = baseline.slow_limit;
                    case.baseline = if baseline.buckets.is_empty() {
                        &baseline.windows
                    } else {
                        &baseline.buckets
                    };
                    case.silence = self.silence(series, baseline, bucket + 1);
                    judge::good_bucket(&case) == Some(false)
                },
            )
        };
        (first..end).find(bad).unwrap_or(first)
    }
}

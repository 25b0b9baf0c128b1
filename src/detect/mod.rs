//! What is expected, and what is out of line. Pure: windows and `now` in, findings out.
//!
//! One closed bucket at a time, for every series:
//! 1. [`Engine`] keeps the bucket (`series.rs`), absent ones as *zero* or *unknown*;
//! 2. `baseline.rs` says what the hour before expects of a window of the same length;
//! 3. a [`Detector`] scores the trailing window against it: `robust`, `zscore`, `beta_binomial`, `slow_share`,
//!    beside them `threshold` and `absence`; each is one file;
//! 4. `severity.rs` grades the score, after the gates;
//! 5. `episode.rs` opens, holds (with the baseline frozen), accepts and ends what fired; `sight.rs` watches
//!    whether the source can be read at all.
//!
//! What it is not: incidents, identity and cooldown are `incidents`.

mod absence;
mod baseline;
mod beta_binomial;
mod cells;
mod context;
mod engine;
mod episode;
mod explain;
mod intake;
mod judge;
mod memory;
mod robust;
mod series;
mod settings;
mod severity;
mod sight;
mod slow_share;
mod step;
mod tail;
mod threshold;
mod tuning;
mod zscore;

pub use absence::Absence;
pub use baseline::Baseline;
pub use beta_binomial::BetaBinomial;
pub use engine::{Engine, Frame};
pub use memory::{Kept, Restored};
pub use robust::Robust;
pub use settings::{
    Limit, Method, ServiceSettings, Settings, SignalSettings, SomeThresholds, Thresholds,
};
pub use slow_share::SlowShare;
pub use tail::{LARGEST_Z, beta_binomial_sf, ln_gamma, z_of_tail};
pub use threshold::Threshold;
pub use tuning::Tuning;
pub use zscore::Zscore;

use crate::model::{Severity, Signal};

/// One window in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Its value in the signal's unit; NaN where there is none, such as a rate of no requests.
    pub value: f64,
    /// Errors of a ratio; samples slower than the baseline's slow limit of a distribution; otherwise 0.
    pub part: f64,
    /// Requests of a ratio, samples of a distribution, the sum of a count; otherwise 0.
    pub whole: f64,
}

/// What a detector is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The signal.
    pub signal: &'a Signal,
    /// The settings of the series.
    pub tuning: &'a Tuning,
    /// The judged window.
    pub current: Sample,
    /// Its length in minutes, as it is called in sentences.
    pub minutes: f64,
    /// Windows of the same length before it, oldest first, not overlapping; each has a value.
    pub baseline: &'a [Sample],
    /// The limit beyond which a sample of a distribution is slow.
    pub slow_limit: f64,
    /// What is known of silence.
    pub silence: Silence,
}

/// How long a series has been silent while others of its source were there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Silence {
    /// Minutes of newest buckets in a row in which the series was absent and others were present.
    pub minutes: f64,
    /// Whether these are as many buckets as the settings ask for.
    pub enough: bool,
    /// The share of the baseline's buckets in which the series was present.
    pub presence: f64,
}

/// What a detector makes of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Signed: positive is a rise. Finite, within ±[`LARGEST_Z`].
    pub z: f64,
    /// In the signal's unit.
    pub current: f64,
    /// In the signal's unit.
    pub expected: f64,
    /// In the signal's unit; 0 where the method has none.
    pub spread: f64,
    /// What the gates look at; absent where the detector's own rule is all there is.
    pub gauge: Option<Gauge>,
    /// A severity that does not come from z, worst-case bound of the detector's own rule.
    pub fixed: Option<Severity>,
    /// The worst severity this detector may give by z.
    pub worst: Severity,
}

/// The numbers that gates look at, in whatever unit the detector compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauge {
    /// The judged value.
    pub observed: f64,
    /// What it is compared with.
    pub reference: f64,
    /// The least absolute change.
    pub least_change: f64,
    /// The least factor of a rise, and of a fall.
    pub factors: Option<(f64, f64)>,
    /// Requests in the window.
    pub volume: Option<f64>,
    /// Errors or slow requests in the window.
    pub events: Option<f64>,
    /// Smallest and largest value of the baseline, which must be left.
    pub range: Option<(f64, f64)>,
}

/// A way to tell what is out of line. No state: everything it may know is in the case.
pub trait Detector: std::fmt::Debug + Send + Sync {
    /// As evidence names it.
    fn name(&self) -> &'static str;

    /// Scores the case, or `None` if it has nothing to say of it (then the next detector is asked).
    /// Allocates nothing for up to 64 baseline windows.
    fn score(&self, case: &Case<'_>) -> Option<Score>;

    /// One sentence for people, and the deciding numbers by name.
    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>);
}

/// A length of time in words: `5 min`.
fn minutes_text(minutes: f64) -> String {
    if (minutes - minutes.round()).abs() < 1e-9 {
        format!("{minutes:.0} min")
    } else {
        format!("{minutes:.1} min")
    }
}

/// How far back the baseline reaches, in words: `60 min`.
fn baseline_text(case: &Case<'_>) -> String {
    minutes_text(case.minutes * count(case.baseline.len()))
}

/// A number of things as `f64`; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of windows and buckets are small")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;

//! What a detector concluded of a window, fired or not, with the numbers that decided.

use serde::{Deserialize, Serialize};

use super::{Direction, SeriesKey, Severity, Unit, UtcTime};

/// A verdict that fired: what people are told about one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The series.
    pub series: SeriesKey,
    /// The unit of `current`, `expected` and `spread`.
    pub unit: Unit,
    /// How bad.
    pub severity: Severity,
    /// Which way it went: `Up` or `Down`.
    pub direction: Direction,
    /// The score on the scale of standard deviations (z), finite, capped at 37.
    pub score: f64,
    /// The value of the judged window.
    pub current: f64,
    /// What the baseline expected.
    pub expected: f64,
    /// The baseline's spread, in the same unit; 0 where the method has none.
    pub spread: f64,
    /// The first bucket that was out of line.
    pub onset: UtcTime,
    /// The judged window `[from, to)`.
    pub window: (UtcTime, UtcTime),
    /// When it was detected.
    pub detected_at: UtcTime,
    /// The numbers that decided.
    pub evidence: Evidence,
}

/// Why a verdict came out as it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The method: `robust`, `zscore`, `beta_binomial`, `slow_share`, `threshold`, `absence`.
    pub method: String,
    /// One sentence for people: `60 of 90 requests failed; 12 of 600 in the hour before`.
    pub summary: String,
    /// The deciding numbers by name, e.g. `("errors", 60.0)`.
    pub numbers: Vec<(String, f64)>,
    /// Every gate, passed or not.
    pub gates: Vec<Gate>,
    /// Values of the newest buckets, oldest first, `None` where there was none: at most 60, for sparklines.
    pub recent: Vec<Option<f64>>,
    /// Start of the first of `recent`.
    pub recent_from: Option<UtcTime>,
}

/// One condition a verdict had to meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name: `minimum_volume`, `minimum_change`, `persistence`, …
    pub name: String,
    /// Whether it let the verdict through.
    pub passed: bool,
    /// With the numbers: `12 requests, needs 30`.
    pub detail: String,
}

/// What was concluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outlook")]
pub enum Outlook {
    /// Out of line, and every gate passed.
    Fired {
        /// How bad.
        severity: Severity,
    },
    /// In line, or held back by a gate.
    Quiet,
    /// Cannot be judged yet: too little history.
    Learning {
        /// What is missing, in words.
        reason: String,
    },
    /// Cannot be judged: the data was not complete.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

/// A verdict in full, as `why` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The series.
    pub series: SeriesKey,
    /// The unit of the values.
    pub unit: Unit,
    /// The judged window `[from, to)`.
    pub window: (UtcTime, UtcTime),
    /// The conclusion.
    pub outlook: Outlook,
    /// z, if it could be computed.
    pub score: Option<f64>,
    /// The window's value.
    pub current: Option<f64>,
    /// What the baseline expected.
    pub expected: Option<f64>,
    /// The baseline's spread.
    pub spread: Option<f64>,
    /// Values of the baseline's windows, oldest first.
    pub baseline: Vec<f64>,
    /// Whether the baseline is frozen because an incident is open, and since when.
    pub frozen_since: Option<UtcTime>,
    /// The numbers and gates.
    pub evidence: Evidence,
}

//! Detection as a whole: minutes of a small world in, findings out.

mod memory;
mod properties;
mod rows;
mod simulation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};

use super::{Engine, Frame, Settings};
use crate::model::{
    Anomaly, Completeness, FailureKind, Finding, Point, QUANTILES, Quantiles, Row, SeriesKey,
    Severity, Signal, UtcTime, WindowKind, Windows,
};

/// Minute `n` of the test's time.
pub(super) fn minute(n: i64) -> UtcTime {
    DateTime::from_timestamp(1_800_000_000 + n * 60, 0).unwrap()
}

/// A distribution of `count` durations spread evenly between two values.
pub(super) fn durations(count: u32, from: f64, to: f64) -> Point {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
    let values = QUANTILES.map(|q| (from + q * (to - from)) as f32);
    Point::Quantiles(Quantiles { count, values })
}

/// What one service does in one minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Did {
    pub(super) requests: u32,
    pub(super) errors: u32,
    /// Milliseconds.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Did {
    pub(super) fn well(requests: u32) -> Self {
        Self { requests, errors: 0, from: 80.0, to: 160.0 }
    }

    pub(super) fn errors(self, errors: u32) -> Self {
        Self { errors, ..self }
    }

    pub(super) fn took(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    pub(super) fn row(self, service: &Arc<str>, start: UtcTime) -> Row {
        Row {
            service: service.clone(),
            start,
            points: vec![
                (
                    "error_rate".into(),
                    Point::Ratio { part: f64::from(self.errors), whole: f64::from(self.requests) },
                ),
                ("latency_p99".into(), durations(self.requests, self.from, self.to)),
                ("throughput".into(), Point::Count(f64::from(self.requests))),
            ],
        }
    }
}

/// An engine and the source it watches.
pub(super) struct World {
    pub(super) engine: Engine,
    /// The number of the next minute.
    pub(super) next: i64,
}

pub(super) fn frame() -> Frame {
    Frame {
        interval: Duration::from_mins(1),
        lookback_minutes: 5,
        signals: vec![
            Signal::error_rate("logs"),
            Signal::latency_p99("logs"),
            Signal::throughput("logs"),
        ],
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with("{}")
    }

    pub(super) fn with(yaml: &str) -> Self {
        let settings: Settings = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(settings.problems(), Vec::<String>::new());
        Self { engine: Engine::new(settings, frame()), next: 0 }
    }

    pub(super) fn windows(from: i64, to: i64, kind: WindowKind, rows: Vec<Row>) -> Windows {
        Windows {
            source: "logs".into(),
            from: minute(from),
            to: minute(to),
            interval: Duration::from_mins(1),
            kind,
            completeness: Completeness::Complete,
            rows,
            rejected: Vec::new(),
            lag: None,
            read_at: minute(to),
            took: Duration::from_millis(5),
            requests: 1,
        }
    }

    pub(super) fn rows(start: i64, did: &[(&str, Did)]) -> Vec<Row> {
        did.iter().map(|(service, did)| did.row(&Arc::from(*service), minute(start))).collect()
    }

    /// One minute in which the services did this.
    pub(super) fn minute(&mut self, did: &[(&str, Did)]) -> Vec<Finding> {
        let rows = Self::rows(self.next, did);
        let windows = Self::windows(self.next, self.next + 1, WindowKind::Fresh, rows);
        self.next += 1;
        self.engine.apply(&windows, minute(self.next) + TimeDelta::seconds(5))
    }

    /// Many minutes alike.
    pub(super) fn minutes(&mut self, number: u32, did: &[(&str, Did)]) -> Vec<Finding> {
        (0..number).flat_map(|_| self.minute(did)).collect()
    }

    /// A minute whose read failed.
    pub(super) fn dark_minute(&mut self, completeness: Completeness) -> Vec<Finding> {
        let mut windows = Self::windows(self.next, self.next + 1, WindowKind::Fresh, Vec::new());
        windows.completeness = completeness;
        self.next += 1;
        self.engine.apply(&windows, minute(self.next) + TimeDelta::seconds(5))
    }

    /// History in one read: `did` says what happened in each minute.
    pub(super) fn backfill(
        &mut self,
        minutes: u32,
        did: impl Fn(u32) -> Vec<(&'static str, Did)>,
    ) -> Vec<Finding> {
        let to = self.next + i64::from(minutes);
        let rows =
            (0..minutes).flat_map(|n| Self::rows(self.next + i64::from(n), &did(n))).collect();
        let windows = Self::windows(self.next, to, WindowKind::Backfill, rows);
        self.next = to;
        self.engine.apply(&windows, minute(to) + TimeDelta::seconds(5))
    }
}

pub(super) fn failed() -> Completeness {
    Completeness::Failed {
        kind: FailureKind::Throttled,
        reason: "429 Too Many Requests".to_owned(),
        retry_at: None,
    }
}

pub(super) fn fired(findings: &[Finding]) -> Vec<&Anomaly> {
    findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Fired(anomaly) => Some(&**anomaly),
            _ => None,
        })
        .collect()
}

/// The worst severity that fired, by series.
pub(super) fn worst(findings: &[Finding]) -> BTreeMap<String, Severity> {
    let mut worst = BTreeMap::new();
    for anomaly in fired(findings) {
        let severity = worst.entry(anomaly.series.to_string()).or_insert(anomaly.severity);
        *severity = anomaly.severity.max(*severity);
    }
    worst
}

pub(super) fn recovered(findings: &[Finding], series: &str) -> bool {
    findings.iter().any(
        |finding| matches!(finding, Finding::Recovered { series: key, .. } if key.to_string() == series),
    )
}

pub(super) fn key(service: &str, signal: &str) -> SeriesKey {
    SeriesKey::new(service, signal)
}

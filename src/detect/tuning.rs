//! The settings of one series, resolved from all levels, with the built-in of its kind below them.

use crate::model::{Direction, Measure, Severity, Signal, Unit};

use super::settings::{Limit, Method, Settings, SignalSettings, Thresholds};

/// Everything that a judgement of one series needs to know beside its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// How values are compared.
    pub method: Method,
    /// The score from which a severity is given.
    pub thresholds: Thresholds,
    /// Which deviations are bad.
    pub direction: Direction,
    /// Requests that a window needs.
    pub minimum_volume: f64,
    /// Errors, or slow requests, that a window needs.
    pub minimum_events: f64,
    /// The least change, in the signal's unit.
    pub minimum_change: f64,
    /// The least change as a share of the expected value, 0 to 0.99.
    pub minimum_relative_change: f64,
    /// The least spread as a share of the expected value.
    pub spread_floor: f64,
    /// The least spread in the signal's unit; 0 where nothing is known of its scale.
    pub spread_least: f64,
    /// The worst severity of a rise.
    pub worst_up: Severity,
    /// Absolute limits.
    pub limits: Vec<Limit>,
    /// Silence is normal.
    pub may_stop: bool,
    /// Windows that a baseline needs.
    pub min_data_points: usize,
}

impl Tuning {
    /// Resolves the settings of one series.
    pub fn of(settings: &Settings, signal: &Signal, service: &str) -> Self {
        let mut tuning = Self::built_in(settings, signal);
        if let Some(over) = settings.signals.get(&*signal.name) {
            tuning.lay_over(over);
        }
        if let Some(over) = settings.services.get(service) {
            tuning.method = over.method.unwrap_or(tuning.method);
            tuning.thresholds = over.thresholds.over(tuning.thresholds);
            tuning.may_stop = over.may_stop;
            if let Some(over) = over.signals.get(&*signal.name) {
                tuning.lay_over(over);
            }
        }
        tuning
    }

    /// What fits a signal of this kind and unit when nobody said otherwise.
    fn built_in(settings: &Settings, signal: &Signal) -> Self {
        let base = Self {
            method: settings.method,
            thresholds: settings.thresholds,
            direction: signal.direction,
            minimum_volume: 0.0,
            minimum_events: 0.0,
            minimum_change: 0.0,
            minimum_relative_change: 0.25,
            spread_floor: 0.05,
            spread_least: 0.0,
            worst_up: Severity::P1,
            limits: Vec::new(),
            may_stop: false,
            min_data_points: usize::try_from(settings.min_data_points).unwrap_or(usize::MAX),
        };
        let (minimum_change, spread_least) = match signal.unit {
            Unit::Ratio => (0.02, 0.002),
            Unit::Percent => (5.0, 1.0),
            Unit::Milliseconds => (50.0, 5.0),
            _ => (0.0, 0.0),
        };
        let base = Self { minimum_change, spread_least, ..base };
        match signal.measure {
            Measure::Ratio => Self {
                minimum_volume: 5.0,
                minimum_events: 5.0,
                minimum_relative_change: 0.5,
                // More than half of the requests failing is no service's normal.
                limits: if &*signal.name == "error_rate" {
                    vec![Limit { above: Some(0.5), below: None, severity: Severity::P1 }]
                } else {
                    Vec::new()
                },
                ..base
            },
            Measure::Quantile(_) => Self {
                minimum_volume: 5.0,
                minimum_events: 5.0,
                minimum_relative_change: 0.5,
                ..base
            },
            // A rush of requests is worth a look; what it breaks shows in errors and latency.
            Measure::Count => Self {
                minimum_volume: 20.0,
                minimum_relative_change: 0.5,
                worst_up: Severity::P3,
                ..base
            },
            Measure::Sum | Measure::Mean | Measure::Max => base,
        }
    }

    fn lay_over(&mut self, over: &SignalSettings) {
        self.method = over.method.unwrap_or(self.method);
        self.thresholds = over.thresholds.over(self.thresholds);
        self.direction = over.direction.unwrap_or(self.direction);
        self.minimum_volume = over.minimum_volume.unwrap_or(self.minimum_volume);
        self.minimum_events = over.minimum_events.unwrap_or(self.minimum_events);
        self.minimum_change = over.minimum_change.unwrap_or(self.minimum_change);
        self.minimum_relative_change =
            over.minimum_relative_change.unwrap_or(self.minimum_relative_change);
        self.spread_floor = over.spread_floor.unwrap_or(self.spread_floor);
        self.worst_up = over.worst_up.unwrap_or(self.worst_up);
        if let Some(limits) = &over.limits {
            self.limits.clone_from(limits);
        }
    }

    /// The factor that a rise must reach: 1.5 for a least relative change of 0.5.
    pub fn factor_up(&self) -> f64 {
        1.0 + self.minimum_relative_change
    }

    /// The factor that a fall must reach: 0.5 for a least relative change of 0.5.
    pub fn factor_down(&self) -> f64 {
        1.0 - self.minimum_relative_change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_levels_win() {
        let settings: Settings = serde_yaml::from_str(
            "method: zscore
thresholds: {p1: 6}
signals: {error_rate: {minimum_volume: 7, thresholds: {p2: 4}, limits: []}}
services:
  pay:
    thresholds: {p1: 5.5}
    may_stop: true
    signals: {error_rate: {method: robust, minimum_volume: 3}}",
        )
        .unwrap();
        let signal = Signal::error_rate("logs");
        let elsewhere = Tuning::of(&settings, &signal, "order");
        assert_eq!(elsewhere.method, Method::Zscore);
        assert_eq!((elsewhere.thresholds.p1, elsewhere.thresholds.p2), (6.0, 4.0));
        assert!((elsewhere.minimum_volume - 7.0).abs() < f64::EPSILON);
        assert_eq!(elsewhere.limits, Vec::new());
        let pay = Tuning::of(&settings, &signal, "pay");
        assert_eq!(pay.method, Method::Robust);
        assert_eq!((pay.thresholds.p1, pay.thresholds.p2, pay.may_stop), (5.5, 4.0, true));
        assert!((pay.minimum_volume - 3.0).abs() < f64::EPSILON);
    }
}

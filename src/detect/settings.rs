//! `detection` in the settings: keys, defaults, and what is wrong with them in words.
//!
//! A value for one series comes from, in this order: `services.NAME.signals.SIGNAL`, `services.NAME`,
//! `signals.SIGNAL`, the built-in of the signal's kind (`tuning.rs`), the top of the section.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Direction, Severity};

/// `detection` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How values are compared with their baseline.
    pub method: Method,
    /// The score z from which a severity is given.
    pub thresholds: Thresholds,
    /// Minutes of history that make the baseline.
    pub baseline_window_minutes: u32,
    /// Windows that a baseline needs before it is believed.
    pub min_data_points: u32,
    /// Consecutive windows, not overlapping, that P3 and P4 must last before they open an incident.
    pub persistence_windows: u32,
    /// Judgements in a row (one a bucket) that must all be P2 or worse before a P2 opens an incident.
    pub p2_judgements: u32,
    /// Good closed buckets after which a series has recovered.
    pub recovery_buckets: u32,
    /// Empty buckets in a row from which a stop of traffic may be announced.
    pub absence_buckets: u32,
    /// Minutes without a good read after which a source counts as blind.
    pub blind_after_minutes: u32,
    /// Hours that a deviation must last, at a stable level, to be accepted as the new normal.
    pub new_normal_hours: u32,
    /// Hours without a document after which a series is forgotten.
    pub retire_after_hours: u32,
    /// By the name of a signal.
    pub signals: BTreeMap<String, SignalSettings>,
    /// By the name of a service.
    pub services: BTreeMap<String, ServiceSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Robust,
            thresholds: Thresholds::default(),
            baseline_window_minutes: 60,
            min_data_points: 10,
            persistence_windows: 3,
            p2_judgements: 3,
            recovery_buckets: 3,
            absence_buckets: 2,
            blind_after_minutes: 5,
            new_normal_hours: 24,
            retire_after_hours: 24,
            signals: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// How values are compared with their baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Median and scaled median deviation with floors; ratios by a beta-binomial tail.
    Robust,
    /// Mean and standard deviation, ratios too.
    Zscore,
}

/// The score z from which a severity is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// P1 from here.
    pub p1: f64,
    /// P2 from here.
    pub p2: f64,
    /// P3 from here.
    pub p3: f64,
    /// P4 from here.
    pub p4: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { p1: 5.0, p2: 3.5, p3: 2.5, p4: 2.0 }
    }
}

/// Thresholds of which some may be left to the level above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SomeThresholds {
    /// P1 from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p1: Option<f64>,
    /// P2 from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p2: Option<f64>,
    /// P3 from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p3: Option<f64>,
    /// P4 from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p4: Option<f64>,
}

/// What is different for one signal, everywhere or in one service. Absent keys leave the level above.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalSettings {
    /// How values are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The score from which a severity is given.
    pub thresholds: SomeThresholds,
    /// Which deviations are bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Requests that a window needs to be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_volume: Option<f64>,
    /// Errors, or slow requests, that a window needs to be out of line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_events: Option<f64>,
    /// The least change, in the signal's own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_change: Option<f64>,
    /// The least change as a share of the expected value: 0.5 is half as much again, or half as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_relative_change: Option<f64>,
    /// The least spread as a share of the expected value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_floor: Option<f64>,
    /// The worst severity that a rise can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_up: Option<Severity>,
    /// Absolute limits beside z; an empty list removes the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<Limit>>,
}

/// What is different for one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// How values are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The score from which a severity is given.
    pub thresholds: SomeThresholds,
    /// A batch job, a service that scales to zero or is being retired: silence is normal and never pages.
    pub may_stop: bool,
    /// By the name of a signal.
    pub signals: BTreeMap<String, SignalSettings>,
}

/// An absolute limit: out of line beyond it, whatever the baseline says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Out of line above this value, in the signal's unit (a ratio as a share: 0.2 is 20 %).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Out of line below this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// How bad.
    pub severity: Severity,
}

impl Settings {
    /// What is wrong, one sentence each: the path below `detection`, the value, and what to write instead.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let thresholds = self.thresholds;
        check_ladder("thresholds", thresholds, &mut found);
        let mut at_least = |path: &str, value: u32, least: u32| {
            if value < least {
                found.push(format!("{path} is {value}: use {least} or more"));
            }
        };
        at_least("baseline_window_minutes", self.baseline_window_minutes, 10);
        at_least("min_data_points", self.min_data_points, 3);
        at_least("persistence_windows", self.persistence_windows, 1);
        at_least("p2_judgements", self.p2_judgements, 1);
        at_least("recovery_buckets", self.recovery_buckets, 1);
        at_least("absence_buckets", self.absence_buckets, 1);
        at_least("blind_after_minutes", self.blind_after_minutes, 1);
        at_least("new_normal_hours", self.new_normal_hours, 1);
        at_least("retire_after_hours", self.retire_after_hours, 2);
        if self.baseline_window_minutes > 1_440 {
            found.push(format!(
                "baseline_window_minutes is {}: use 1440 (a day) or less, history beyond it is not kept",
                self.baseline_window_minutes
            ));
        }
        for (name, signal) in &self.signals {
            check_signal(&format!("signals.{name}"), signal, thresholds, &mut found);
        }
        for (name, service) in &self.services {
            let path = format!("services.{name}");
            let ladder = service.thresholds.over(thresholds);
            if service.thresholds != SomeThresholds::default() {
                check_ladder(&format!("{path}.thresholds"), ladder, &mut found);
            }
            for (signal_name, signal) in &service.signals {
                check_signal(&format!("{path}.signals.{signal_name}"), signal, ladder, &mut found);
            }
        }
        found
    }

    /// What does not fit the judged window's length, which another section sets (`polling.lookback_minutes`).
    pub fn problems_with_lookback(&self, lookback_minutes: u32) -> Vec<String> {
        let windows = self.baseline_window_minutes / lookback_minutes.max(1);
        if windows >= self.min_data_points {
            return Vec::new();
        }
        vec![format!(
            "min_data_points is {}, but baseline_window_minutes {} holds only {windows} windows of polling.lookback_minutes {lookback_minutes}: use {} minutes or more, or fewer points",
            self.min_data_points,
            self.baseline_window_minutes,
            self.min_data_points.saturating_mul(lookback_minutes),
        )]
    }
}

impl SomeThresholds {
    /// These over those of the level above.
    pub(super) fn over(self, above: Thresholds) -> Thresholds {
        Thresholds {
            p1: self.p1.unwrap_or(above.p1),
            p2: self.p2.unwrap_or(above.p2),
            p3: self.p3.unwrap_or(above.p3),
            p4: self.p4.unwrap_or(above.p4),
        }
    }
}

fn check_ladder(path: &str, ladder: Thresholds, found: &mut Vec<String>) {
    let steps = [("p1", ladder.p1), ("p2", ladder.p2), ("p3", ladder.p3), ("p4", ladder.p4)];
    for (name, value) in steps {
        if !(value.is_finite() && value > 0.0 && value <= super::LARGEST_Z) {
            found.push(format!(
                "{path}.{name} is {value}: use a number above 0 and at most {}",
                super::LARGEST_Z
            ));
        }
    }
    for pair in steps.windows(2) {
        if let [(worse, high), (milder, low)] = pair
            && low > high
        {
            found.push(format!(
                "{path}.{milder} is {low}, above {worse} ({high}): the milder severity needs the lower score"
            ));
        }
    }
}

fn check_signal(path: &str, signal: &SignalSettings, above: Thresholds, found: &mut Vec<String>) {
    // What it inherits is reported where it was written.
    if signal.thresholds != SomeThresholds::default() {
        check_ladder(&format!("{path}.thresholds"), signal.thresholds.over(above), found);
    }
    let numbers = [
        ("minimum_volume", signal.minimum_volume, f64::MAX),
        ("minimum_events", signal.minimum_events, f64::MAX),
        ("minimum_change", signal.minimum_change, f64::MAX),
        ("minimum_relative_change", signal.minimum_relative_change, 0.99),
        ("spread_floor", signal.spread_floor, 1.0),
    ];
    for (name, value, most) in numbers {
        if let Some(value) = value
            && !(value.is_finite() && value >= 0.0 && value <= most)
        {
            let range = if most < f64::MAX { format!(" to {most}") } else { " or more".to_owned() };
            found.push(format!("{path}.{name} is {value}: use 0{range}"));
        }
    }
    for (index, limit) in signal.limits.iter().flatten().enumerate() {
        match (limit.above, limit.below) {
            (Some(value), None) | (None, Some(value)) if value.is_finite() => {}
            (Some(_), Some(_)) => found
                .push(format!("{path}.limits[{index}] has `above` and `below`: write two limits")),
            (None, None) => found.push(format!(
                "{path}.limits[{index}] has neither `above` nor `below`: write one of them"
            )),
            _ => found.push(format!("{path}.limits[{index}] is not a finite number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Settings {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn a_partial_threshold_map_keeps_the_other_defaults() {
        let settings = parse("thresholds: {p1: 6}\nsignals: {error_rate: {thresholds: {p4: 1.5}}}");
        assert_eq!(settings.thresholds, Thresholds { p1: 6.0, ..Thresholds::default() });
        let ladder = settings.signals["error_rate"].thresholds.over(settings.thresholds);
        assert_eq!(ladder, Thresholds { p1: 6.0, p2: 3.5, p3: 2.5, p4: 1.5 });
        assert_eq!(settings.problems(), Vec::<String>::new());
    }

    #[test]
    fn problems_name_path_value_and_fix() {
        let settings = parse(
            "thresholds: {p2: 6, p4: -1}
baseline_window_minutes: 5
signals: {latency_p99: {limits: [{severity: P2}], spread_floor: 2}}
services: {payment: {signals: {error_rate: {minimum_change: .nan}}}}",
        );
        insta::assert_snapshot!(settings.problems().join("\n"));
        insta::assert_snapshot!(Settings::default().problems_with_lookback(10).join("\n"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_yaml::from_str::<Settings>("tresholds: {}").unwrap_err().to_string();
        assert!(error.contains("tresholds"), "{error}");
    }
}

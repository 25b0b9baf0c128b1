//! `incidents` and `correlation` in the settings.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::state::Rules;
use crate::model::Severity;

/// `incidents` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Minutes since the last sighting during which the same trouble reopens its incident.
    pub dedup_cooldown_minutes: u32,
    /// Severities that PagerDuty receives by default.
    pub pagerduty_severities: Vec<Severity>,
    /// More reopenings than this within an hour: the incident flaps, further turns are not announced.
    pub flapping_reopenings: u32,
    /// More openings than this within a minute: a storm, announced as one incident with a list.
    pub storm_openings_per_minute: u32,
    /// Minutes without a further opening after which a storm is over.
    pub storm_quiet_minutes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dedup_cooldown_minutes: 30,
            pagerduty_severities: vec![Severity::P1, Severity::P2],
            flapping_reopenings: 4,
            storm_openings_per_minute: 10,
            storm_quiet_minutes: 10,
        }
    }
}

impl Settings {
    /// What is wrong: the setting's path, and its value with what is right.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let ranges = [
            ("incidents.dedup_cooldown_minutes", self.dedup_cooldown_minutes, 0, 10_080),
            ("incidents.flapping_reopenings", self.flapping_reopenings, 1, 100),
            ("incidents.storm_openings_per_minute", self.storm_openings_per_minute, 1, 10_000),
            ("incidents.storm_quiet_minutes", self.storm_quiet_minutes, 1, 1_440),
        ];
        outside(&ranges)
    }

    /// The rules of the state machine.
    pub fn rules(&self, correlation: &CorrelationSettings) -> Rules {
        Rules {
            cooldown: Duration::minutes(i64::from(self.dedup_cooldown_minutes)),
            window: Duration::minutes(i64::from(correlation.window_minutes)),
            max_events: correlation.max_events as usize,
            flapping_reopenings: self.flapping_reopenings as usize,
            storm_openings: self.storm_openings_per_minute as usize,
            storm_quiet: Duration::minutes(i64::from(self.storm_quiet_minutes)),
        }
    }
}

/// `correlation` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorrelationSettings {
    /// Anomalies that begin within so many minutes of an incident's opening join it.
    pub window_minutes: u32,
    /// At most so many related events are kept with an incident.
    pub max_events: u32,
}

impl Default for CorrelationSettings {
    fn default() -> Self {
        Self { window_minutes: 10, max_events: 50 }
    }
}

impl CorrelationSettings {
    /// What is wrong: the setting's path, and its value with what is right.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        outside(&[
            ("correlation.window_minutes", self.window_minutes, 1, 1_440),
            ("correlation.max_events", self.max_events, 1, 10_000),
        ])
    }
}

fn outside(ranges: &[(&'static str, u32, u32, u32)]) -> Vec<(&'static str, String)> {
    ranges
        .iter()
        .filter(|(_, value, from, to)| !(from..=to).contains(&value))
        .map(|(path, value, from, to)| (*path, format!("is {value}, must be {from} to {to}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_the_rest_is_named() {
        assert_eq!(Settings::default().problems(), []);
        assert_eq!(CorrelationSettings::default().problems(), []);
        let settings = Settings { storm_openings_per_minute: 0, ..Settings::default() };
        let expected =
            [("incidents.storm_openings_per_minute", "is 0, must be 1 to 10000".to_owned())];
        assert_eq!(settings.problems(), expected);
        let correlation =
            CorrelationSettings { window_minutes: 2_000, ..CorrelationSettings::default() };
        let expected = [("correlation.window_minutes", "is 2000, must be 1 to 1440".to_owned())];
        assert_eq!(correlation.problems(), expected);
    }
}

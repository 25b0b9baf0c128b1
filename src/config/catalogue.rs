//! The list of all settings with their defaults, which the documentation and the shipped file are held to.

use super::{Config, tree};
use crate::detect::{Limit, Method, ServiceSettings, SignalSettings, SomeThresholds};
use crate::model::{Direction, Severity};
use crate::notify::settings::{Console, PagerDuty, Rule, Slack, Webhook};
use crate::sources::elasticsearch::{Aggregation, Metric};

/// Keys of entries of lists that have no default.
const REQUIRED: [&str; 4] = [
    "elasticsearch.metrics[].name",
    "elasticsearch.metrics[].field",
    "elasticsearch.metrics[].aggregation",
    "detection.signals.NAME.limits[].severity",
];

impl Config {
    /// Every setting with its default as text: what the documentation must name. What may stand several times
    /// is shown once, as `NAME` in maps and `[]` in lists.
    pub fn catalogue() -> Vec<(String, String)> {
        let mut all = tree::listed(&tree::dict_of(&Self::default()));
        for (prefix, entry) in [
            ("notify.slack.NAME", tree::dict_of(&Slack::default())),
            ("notify.pagerduty.NAME", tree::dict_of(&PagerDuty::default())),
            ("notify.webhook.NAME", tree::dict_of(&Webhook::default())),
            ("notify.console.NAME", tree::dict_of(&Console::default())),
            ("notify.routes[]", tree::dict_of(&Rule::default())),
            ("elasticsearch.metrics[]", tree::dict_of(&metric())),
            ("detection.signals.NAME", tree::dict_of(&signal())),
            ("detection.signals.NAME.limits[]", tree::dict_of(&limit())),
            ("detection.services.NAME", tree::dict_of(&service())),
        ] {
            let entries = tree::listed(&entry);
            all.extend(
                entries.into_iter().map(|(path, value)| (format!("{prefix}.{path}"), value)),
            );
        }
        all.into_iter()
            .map(|(path, value)| {
                let last = path.rsplit('.').next().unwrap_or_default();
                let default = if REQUIRED.contains(&path.as_str()) {
                    "required".to_owned()
                } else if path.starts_with("detection.s") && path.contains(".NAME.") {
                    // Absent keys leave the level above.
                    if last == "may_stop" { "false" } else { "none" }.to_owned()
                } else {
                    tree::shown(&value)
                };
                (path, default)
            })
            .collect()
    }
}

/// One with every key set: those that are not set are not listed.
fn signal() -> SignalSettings {
    SignalSettings {
        method: Some(Method::Robust),
        thresholds: thresholds(),
        direction: Some(Direction::Up),
        minimum_volume: Some(0.0),
        minimum_events: Some(0.0),
        minimum_change: Some(0.0),
        minimum_relative_change: Some(0.0),
        spread_floor: Some(0.0),
        worst_up: Some(Severity::P1),
        limits: Some(Vec::new()),
    }
}

fn limit() -> Limit {
    Limit { above: Some(0.0), below: Some(0.0), severity: Severity::P1 }
}

fn service() -> ServiceSettings {
    ServiceSettings {
        method: Some(Method::Robust),
        thresholds: thresholds(),
        may_stop: false,
        signals: std::collections::BTreeMap::new(),
    }
}

fn thresholds() -> SomeThresholds {
    SomeThresholds { p1: Some(0.0), p2: Some(0.0), p3: Some(0.0), p4: Some(0.0) }
}

fn metric() -> Metric {
    Metric {
        name: String::new(),
        index: None,
        field: String::new(),
        aggregation: Aggregation::Avg,
        service_field: None,
        filter: None,
        unit: "count".to_owned(),
        direction: Direction::Up,
    }
}

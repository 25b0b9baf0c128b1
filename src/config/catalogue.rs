//! The list of all settings with their defaults, which the documentation and the shipped file are held to.

use super::{Config, layers};
use crate::model::Direction;
use crate::notify::settings::{Console, PagerDuty, Rule, Slack, Webhook};
use crate::sources::elasticsearch::{Aggregation, Metric};

/// Fields of a metric signal that have no default.
const REQUIRED: [&str; 3] = ["name", "field", "aggregation"];

impl Config {
    /// Every setting with its default as text: what the documentation must name. What may stand several times
    /// is shown once, as `NAME` in maps and `[]` in lists.
    pub fn catalogue() -> Vec<(String, String)> {
        let mut all = layers::listed(&layers::dict_of(&Self::default()));
        for (prefix, entry) in [
            ("notify.slack.NAME", layers::dict_of(&Slack::default())),
            ("notify.pagerduty.NAME", layers::dict_of(&PagerDuty::default())),
            ("notify.webhook.NAME", layers::dict_of(&Webhook::default())),
            ("notify.console.NAME", layers::dict_of(&Console::default())),
            ("notify.routes[]", layers::dict_of(&Rule::default())),
            ("elasticsearch.metrics[]", layers::dict_of(&metric())),
        ] {
            let entries = layers::listed(&entry);
            all.extend(
                entries.into_iter().map(|(path, value)| (format!("{prefix}.{path}"), value)),
            );
        }
        all.into_iter()
            .map(|(path, value)| {
                let required = path
                    .strip_prefix("elasticsearch.metrics[].")
                    .is_some_and(|field| REQUIRED.contains(&field));
                let default = if required { "required".to_owned() } else { layers::shown(&value) };
                (path, default)
            })
            .collect()
    }
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

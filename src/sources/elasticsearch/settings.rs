//! `elasticsearch` in the settings, and what can be wrong with it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::model::{Direction, Measure, Unit};
use crate::secret::Secret;

/// `elasticsearch` in the settings. Without a URL the daemon keeps logs itself (the embedded store).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Base URL; several nodes of one cluster are separated by commas. Empty: the embedded store is used.
    pub url: String,
    /// API key, as Elasticsearch shows it (`encoded`) or as `id:api_key`.
    pub api_key: Secret,
    /// User for basic authentication, if there is no API key.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// A PEM file with the certificate authority of the cluster, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is verified. Only for trials: `false` lets anyone listen.
    pub tls_verify: bool,
    /// Where the logs are: an index, alias, data stream or pattern; several separated by commas.
    pub log_index: String,
    /// Where metric signals are, unless they say otherwise.
    pub metrics_index: String,
    /// Where historical incidents are kept.
    pub runbook_index: String,
    /// How log documents are laid out.
    pub schema: Schema,
    /// Fields that differ from the schema.
    pub fields: Fields,
    /// Signals from metric documents.
    pub metrics: Vec<Metric>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            api_key: Secret::default(),
            username: String::new(),
            password: Secret::default(),
            ca_file: None,
            tls_verify: true,
            log_index: "app-logs-*".to_owned(),
            metrics_index: "app-metrics-*".to_owned(),
            runbook_index: "incident-runbooks".to_owned(),
            schema: Schema::Auto,
            fields: Fields::default(),
            metrics: Vec::new(),
        }
    }
}

/// How log documents are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// Found out from the fields that the index has.
    Auto,
    /// `service.name`, `level`, `duration_ms`, `status_code`.
    Seed,
    /// Elastic Common Schema: `service.name`, `log.level`, `event.duration`, `http.response.status_code`.
    Ecs,
    /// OpenTelemetry: `resource.attributes.service.name`, `severity_number`, `duration`.
    Otel,
}

/// Fields that differ from the schema; the schema's own where nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// When it happened.
    pub timestamp: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The level, a word or a number.
    pub level: Option<String>,
    /// OpenTelemetry's severity number.
    pub severity_number: Option<String>,
    /// How long the request took.
    pub duration: Option<String>,
    /// The unit of `duration`.
    pub duration_unit: Option<DurationUnit>,
    /// The HTTP status.
    pub status: Option<String>,
    /// `success` or `failure`.
    pub outcome: Option<String>,
    /// When the document came in: measures how late documents come.
    pub ingested: Option<String>,
}

/// Units of durations in documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurationUnit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl DurationUnit {
    /// Milliseconds in one of these.
    pub fn milliseconds(self) -> f64 {
        match self {
            Self::Ns => 1e-6,
            Self::Us => 1e-3,
            Self::Ms => 1.0,
            Self::S => 1e3,
        }
    }
}

/// A signal from metric documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The signal's name, unique.
    pub name: String,
    /// Where the documents are; `metrics_index` if absent.
    #[serde(default)]
    pub index: Option<String>,
    /// The numeric field.
    pub field: String,
    /// What becomes of its values.
    pub aggregation: Aggregation,
    /// The field with the service; `service.name` if absent.
    #[serde(default)]
    pub service_field: Option<String>,
    /// Which documents count: an object of the Query DSL, or text as for `query_string`. All if absent.
    #[serde(default)]
    pub filter: Option<serde_json::Value>,
    /// `percent`, `ratio`, `ms`, `bytes`, `count`, `per_minute`, or a unit to be shown as written.
    #[serde(default = "count")]
    pub unit: String,
    /// Which deviation is bad.
    #[serde(default = "up")]
    pub direction: Direction,
}

fn count() -> String {
    "count".to_owned()
}

fn up() -> Direction {
    Direction::Up
}

/// What becomes of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Their mean.
    Avg,
    /// The largest.
    Max,
    /// Their sum over the window.
    Sum,
    /// Their number, a minute.
    Count,
    /// Their 95th percentile.
    P95,
    /// Their 99th percentile.
    P99,
}

impl Aggregation {
    /// How points of this aggregation merge into a value.
    pub fn measure(self) -> Measure {
        match self {
            Self::Avg => Measure::Mean,
            Self::Max => Measure::Max,
            Self::Sum => Measure::Sum,
            Self::Count => Measure::Count,
            Self::P95 => Measure::Quantile(0.95),
            Self::P99 => Measure::Quantile(0.99),
        }
    }
}

impl Metric {
    /// The unit as the model knows it.
    pub fn unit(&self) -> Unit {
        match self.unit.as_str() {
            "percent" | "%" => Unit::Percent,
            "ratio" => Unit::Ratio,
            "ms" | "milliseconds" => Unit::Milliseconds,
            "bytes" => Unit::Bytes,
            "count" | "" => Unit::Count,
            "per_minute" => Unit::PerMinute,
            other => Unit::Other(other.to_owned()),
        }
    }
}

/// Signals that every log source has.
const TAKEN: [&str; 3] = ["error_rate", "latency_p99", "throughput"];

impl Settings {
    /// Whether there is an Elasticsearch to read.
    pub fn configured(&self) -> bool {
        !self.url.trim().is_empty()
    }

    /// The nodes' URLs.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.url.split(',').map(str::trim).filter(|url| !url.is_empty())
    }

    /// What is wrong with the settings: path, value and fix, a line each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |problem: String| problems.push(problem);
        for url in self.urls() {
            match Url::parse(url) {
                Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => {
                    say(format!("elasticsearch.url `{url}`: use http:// or https://"));
                }
                Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
                    say("elasticsearch.url holds a user or password, which would be logged: use \
                         elasticsearch.username and elasticsearch.password"
                        .to_owned());
                }
                Ok(parsed) if parsed.host_str().is_none() => {
                    say(format!("elasticsearch.url `{url}` names no host"));
                }
                Ok(_) => {}
                Err(error) => {
                    say(format!(
                        "elasticsearch.url `{url}` is no URL ({error}): use e.g. https://localhost:9200"
                    ));
                }
            }
        }
        if !self.api_key.is_empty() && !self.username.is_empty() {
            say("elasticsearch.api_key and elasticsearch.username are both given: keep one"
                .to_owned());
        }
        if self.api_key.expose().bytes().any(|byte| !byte.is_ascii_graphic()) {
            say("elasticsearch.api_key holds a space, a line end or another character that no key has: \
                 copy it again"
                .to_owned());
        }
        if self.username.is_empty() && !self.password.is_empty() {
            say("elasticsearch.password is given without elasticsearch.username".to_owned());
        }
        for (name, index) in
            [("log_index", &self.log_index), ("metrics_index", &self.metrics_index)]
        {
            if index.trim().is_empty() {
                say(format!("elasticsearch.{name} is empty: name an index or a pattern"));
            }
        }
        self.metric_problems(&mut problems);
        problems
    }

    fn metric_problems(&self, problems: &mut Vec<String>) {
        for (place, metric) in self.metrics.iter().enumerate() {
            let path = format!("elasticsearch.metrics[{place}]");
            if metric.name.trim().is_empty() || metric.field.trim().is_empty() {
                problems.push(format!("{path} needs a name and a field"));
            }
            let twice = self.metrics.iter().take(place).any(|other| other.name == metric.name);
            if twice || TAKEN.contains(&metric.name.as_str()) {
                problems.push(format!(
                    "{path}.name `{}` is taken: signals need different names",
                    metric.name
                ));
            }
            if !matches!(
                metric.filter,
                None | Some(serde_json::Value::String(_) | serde_json::Value::Object(_))
            ) {
                problems
                    .push(format!("{path}.filter is neither text nor an object of the Query DSL"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_not_configured() {
        let settings = Settings::default();
        assert_eq!(settings.problems(), Vec::<String>::new());
        assert!(!settings.configured() && settings.tls_verify);
    }

    #[test]
    fn problems_name_path_value_and_fix() {
        let metric = |name: &str, filter| Metric {
            name: name.to_owned(),
            index: None,
            field: "cpu".to_owned(),
            aggregation: Aggregation::Avg,
            service_field: None,
            filter,
            unit: "percent".to_owned(),
            direction: Direction::Up,
        };
        let settings = Settings {
            url: "localhost:9200, ftp://x, https://me:secret@es, http://fine:9200".to_owned(),
            api_key: Secret::new("with space"),
            username: "elastic".to_owned(),
            log_index: " ".to_owned(),
            metrics: vec![
                metric("cpu", None),
                metric("cpu", Some(serde_json::json!("env:prod"))),
                metric("error_rate", Some(serde_json::json!(3))),
                metric("", None),
            ],
            ..Settings::default()
        };
        insta::assert_snapshot!(settings.problems().join("\n"));
    }

    #[test]
    fn yaml_as_the_documents_show_it() {
        let settings: Settings = serde_yaml::from_str(
            "url: https://es:9200\napi_key: 12345\nschema: ecs\nfields: {duration: took, duration_unit: us}\n\
             metrics:\n  - {name: cpu, field: system.cpu, aggregation: p95, unit: percent, \
             filter: {term: {env: prod}}}\n",
        )
        .unwrap();
        assert_eq!(settings.api_key.expose(), "12345");
        assert_eq!(settings.fields.duration_unit, Some(DurationUnit::Us));
        assert_eq!(settings.metrics[0].unit(), Unit::Percent);
        assert_eq!(settings.metrics[0].direction, Direction::Up);
        assert_eq!(settings.problems(), Vec::<String>::new());
    }
}

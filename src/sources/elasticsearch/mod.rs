//! Logs and metrics from Elasticsearch 8.11 and newer: one paged search a cycle for each index, for all its
//! services. Never writes. How often, and what about gaps, is for the loop in `poll`.
//!
//! The lag is measured where documents carry `event.ingested`: in each bucket the instant by which 99 % of its
//! documents had come in, counted from the bucket's close. Fresh reads come too early to see what is later; the
//! corrections that follow see it.

mod buckets;
mod check;
mod client;
mod connect;
mod fields;
mod query;
mod read;
mod reply;
mod rows;
mod schema;
mod settings;

use std::sync::Arc;

use tokio::time::Instant;

use self::client::Client;
use self::read::{Reader, Reading, What};
use self::rows::LogSignals;
use super::{BoxFuture, Checked, Source, Span, deadline};
use crate::clock::Clock;
use crate::model::{Completeness, Signal, SignalName, SourceName, Windows};

pub use connect::Error;
pub use settings::{Aggregation, DurationUnit, Fields, Metric, Schema, Settings};

const SERVICE_FIELD: &str = "service.name";

/// One source a distinct index and service field: `logs`, then `metrics` or `metrics:<index>`.
pub fn sources(
    settings: &Settings,
    polling: &super::Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Box<dyn Source>>, Error> {
    let client = Arc::new(Client::new(settings, clock.clone())?);
    let logs_name: SourceName = "logs".into();
    let log_signals = vec![
        Signal::error_rate(logs_name.clone()),
        Signal::latency_p99(logs_name.clone()),
        Signal::throughput(logs_name.clone()),
    ];
    let [error_rate, latency_p99, throughput] =
        ["error_rate", "latency_p99", "throughput"].map(SignalName::from);
    let what = What::Logs {
        schema: settings.schema,
        fields: settings.fields.clone(),
        signals: LogSignals { error_rate, latency_p99, throughput },
    };
    let build = |name, index: &str, what, signals| -> Box<dyn Source> {
        let reader = Reader::new(client.clone(), index.to_owned(), what, polling.bucket_seconds);
        Box::new(Elasticsearch {
            name,
            signals,
            reader,
            polling: polling.clone(),
            clock: clock.clone(),
        })
    };
    let mut sources = vec![build(logs_name, &settings.log_index, what, log_signals)];
    for group in groups(settings) {
        let signals = group
            .metrics
            .iter()
            .map(|metric| Signal {
                name: metric.name.as_str().into(),
                source: group.name.clone(),
                unit: metric.unit(),
                direction: metric.direction,
                measure: metric.aggregation.measure(),
            })
            .collect();
        let what = What::Metrics {
            service_field: group.service_field,
            signals: group.metrics.iter().map(|metric| metric.name.as_str().into()).collect(),
            metrics: group.metrics,
        };
        sources.push(build(group.name, &group.index, what, signals));
    }
    Ok(sources)
}

/// Metric signals that one search answers.
struct Group {
    name: SourceName,
    index: String,
    service_field: String,
    metrics: Vec<Metric>,
}

fn groups(settings: &Settings) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for metric in &settings.metrics {
        let index = metric.index.as_ref().unwrap_or(&settings.metrics_index);
        let service_field = metric.service_field.as_deref().unwrap_or(SERVICE_FIELD);
        let same =
            |group: &&mut Group| group.index == *index && group.service_field == service_field;
        if let Some(group) = groups.iter_mut().find(same) {
            group.metrics.push(metric.clone());
            continue;
        }
        let mut name = "metrics".to_owned();
        if *index != settings.metrics_index {
            name = format!("{name}:{index}");
        }
        if service_field != SERVICE_FIELD {
            name = format!("{name}:{service_field}");
        }
        groups.push(Group {
            name: name.into(),
            index: index.clone(),
            service_field: service_field.to_owned(),
            metrics: vec![metric.clone()],
        });
    }
    groups
}

#[derive(Debug)]
struct Elasticsearch {
    name: SourceName,
    signals: Vec<Signal>,
    reader: Reader,
    polling: super::Settings,
    clock: Arc<dyn Clock>,
}

impl Source for Elasticsearch {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn signals(&self) -> Vec<Signal> {
        self.signals.clone()
    }

    fn read(&mut self, span: Span) -> BoxFuture<'_, Windows> {
        Box::pin(self.read_span(span))
    }

    fn check(&mut self) -> BoxFuture<'_, Vec<Checked>> {
        Box::pin(check::check(&mut self.reader, &self.polling, &self.clock))
    }
}

impl Elasticsearch {
    async fn read_span(&mut self, span: Span) -> Windows {
        let started = Instant::now();
        let mut reading = Reading::default();
        let limit = started + deadline(&self.polling, span.kind);
        let completeness = self.reader.read(span, &mut reading, limit).await;
        let complete = completeness.is_complete();
        let rejected = if complete { reading.rows.rejected() } else { Vec::new() };
        debug_assert!(
            !matches!(completeness, Completeness::Complete) || reading.requests > 0,
            "an answer without a request"
        );
        Windows {
            source: self.name.clone(),
            from: span.from,
            to: span.to,
            interval: std::time::Duration::from_secs(u64::from(self.polling.bucket_seconds)),
            kind: span.kind,
            completeness,
            rows: if complete { reading.rows.rows } else { Vec::new() },
            rejected,
            lag: read::lag(reading.lateness, span.kind).filter(|_| complete),
            read_at: self.clock.now(),
            took: started.elapsed(),
            requests: reading.requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::model::Direction;

    #[test]
    fn one_source_for_each_index_and_service_field() {
        let metric = |name: &str, index: Option<&str>, service: Option<&str>| Metric {
            name: name.to_owned(),
            index: index.map(str::to_owned),
            field: "value".to_owned(),
            aggregation: Aggregation::Avg,
            service_field: service.map(str::to_owned),
            filter: None,
            unit: "percent".to_owned(),
            direction: Direction::Up,
        };
        let settings = Settings {
            url: "http://127.0.0.1:1".to_owned(),
            metrics: vec![
                metric("cpu", None, None),
                metric("queue", Some("queues-*"), None),
                metric("memory", None, None),
                metric("threads", Some("queues-*"), Some("app")),
            ],
            ..Settings::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let sources = sources(&settings, &super::super::Settings::default(), &clock).unwrap();
        let shown: Vec<String> = sources
            .iter()
            .map(|source| {
                let signals: Vec<_> =
                    source.signals().into_iter().map(|signal| signal.name.to_string()).collect();
                format!("{}: {}", source.name(), signals.join(", "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "logs: error_rate, latency_p99, throughput",
                "metrics: cpu, memory",
                "metrics:queues-*: queue",
                "metrics:queues-*:app: threads",
            ]
        );
    }
}

//! The bodies of the searches: one composite aggregation, service × time, for all services at once. Pure.
//!
//! **What is an error**: a level of error or worse in any spelling and case, a severity number of 17 or more, an
//! HTTP status of 500 or more, or the outcome `failure`, as far as the index has these fields.
//!
//! **What is a request**: in the `seed` layout every document. Elsewhere, if the index has a status or a duration,
//! the documents with one of them, and errors (which are often logged without); the reader falls back to all
//! documents for services that never show a status or a duration.

use serde_json::{Value, json};

use super::schema::{Layout, LevelKind};
use super::settings::{Aggregation, Metric};
use crate::model::UtcTime;
use crate::sources::level::{ERROR_NUMBER, ERROR_WORDS};

/// The percentiles that are asked for: [`crate::model::QUANTILES`] in per cent.
pub(super) const PERCENTS: [f64; 7] = [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 100.0];

/// What a search covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// Inclusive.
    pub from: UtcTime,
    /// Exclusive.
    pub to: UtcTime,
    /// The length of a bucket in seconds.
    pub bucket_seconds: u32,
}

/// What is the same in every page of a read.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    timestamp: String,
    service: String,
    /// Sub-aggregations of each service and bucket.
    values: Value,
    /// A field that says when documents came in.
    ingested: Option<String>,
    /// Which documents are read at all.
    filter: Option<Value>,
}

impl Plan {
    /// Logs: errors, requests, durations. `expensive`: whether the cluster allows queries by pattern.
    pub(super) fn logs(layout: &Layout, expensive: bool) -> Self {
        let mut values = serde_json::Map::new();
        let errors = error_query(layout, expensive);
        if let Some(errors) = &errors {
            values.insert("errors".to_owned(), json!({"filter": errors}));
        }
        if layout.tells_requests() {
            let mut any: Vec<Value> = [&layout.status]
                .into_iter()
                .flatten()
                .chain(layout.duration.as_ref().map(|(field, _)| field))
                .map(|field| json!({"exists": {"field": field}}))
                .collect();
            any.extend(errors);
            values.insert("requests".to_owned(), json!({"filter": either(any)}));
        }
        if let Some((field, _)) = &layout.duration {
            values.insert("timed".to_owned(), json!({"value_count": {"field": field}}));
            values.insert("latency".to_owned(), percentiles(field));
        }
        Self {
            timestamp: layout.timestamp.clone(),
            service: layout.service.clone(),
            values: Value::Object(values),
            ingested: layout.ingested.clone(),
            filter: None,
        }
    }

    /// Metrics of one index and service field, each with its position, which names its values in the query.
    pub(super) fn metrics(timestamp: &str, service: &str, metrics: &[(usize, &Metric)]) -> Self {
        let mut values = serde_json::Map::new();
        for (place, metric) in metrics {
            let inner = match metric.aggregation {
                Aggregation::Avg | Aggregation::Max | Aggregation::Sum => {
                    json!({"v": {"stats": {"field": metric.field}}})
                }
                Aggregation::Count => json!({"n": {"value_count": {"field": metric.field}}}),
                Aggregation::P95 | Aggregation::P99 => json!({
                    "n": {"value_count": {"field": metric.field}},
                    "p": percentiles(&metric.field),
                }),
            };
            let filter = metric.filter.as_ref().map_or_else(|| json!({"match_all": {}}), as_query);
            values.insert(place.to_string(), json!({"filter": filter, "aggs": inner}));
        }
        // Documents of none of the signals need not be looked at.
        let all = metrics.iter().map(|(_, metric)| {
            let exists = json!({"exists": {"field": metric.field}});
            match &metric.filter {
                None => exists,
                Some(filter) => json!({"bool": {"filter": [exists, as_query(filter)]}}),
            }
        });
        Self {
            timestamp: timestamp.to_owned(),
            service: service.to_owned(),
            values: Value::Object(values),
            ingested: None,
            filter: Some(either(all.collect())),
        }
    }

    /// The body of one page. `after` is the reply's `after_key`; `timeout_ms` tells the server when to give up.
    pub(super) fn page(
        &self,
        range: Range,
        size: usize,
        after: Option<&Value>,
        timeout_ms: u128,
    ) -> Value {
        let interval = format!("{}s", range.bucket_seconds);
        let mut composite = json!({
            "size": size,
            "sources": [
                {"service": {"terms": {"field": self.service, "missing_bucket": true}}},
                {"time": {"date_histogram": {"field": self.timestamp, "fixed_interval": interval}}},
            ],
        });
        if let (Some(after), Some(fields)) = (after, composite.as_object_mut()) {
            fields.insert("after".to_owned(), after.clone());
        }
        let mut aggregations = json!({"rows": {"composite": composite, "aggs": self.values}});
        if let (Some(field), None, Some(all)) =
            (&self.ingested, after, aggregations.as_object_mut())
        {
            let arrivals = json!({
                "date_histogram": {
                    "field": self.timestamp,
                    "fixed_interval": interval,
                    "min_doc_count": 1,
                },
                "aggs": {"latest": {"percentiles": {"field": field, "percents": [99.0]}}},
            });
            all.insert("arrivals".to_owned(), arrivals);
        }
        let time = json!({"range": {&self.timestamp: {
            "gte": range.from.timestamp_millis(),
            "lt": range.to.timestamp_millis(),
            "format": "epoch_millis",
        }}});
        let filters: Vec<&Value> =
            [Some(&time), self.filter.as_ref()].into_iter().flatten().collect();
        json!({
            "size": 0,
            "track_total_hits": false,
            "timeout": format!("{timeout_ms}ms"),
            "query": {"bool": {"filter": filters}},
            "aggs": aggregations,
        })
    }
}

fn percentiles(field: &str) -> Value {
    json!({"percentiles": {"field": field, "percents": PERCENTS}})
}

fn either(mut queries: Vec<Value>) -> Value {
    if queries.len() == 1 {
        return queries.remove(0);
    }
    json!({"bool": {"should": queries, "minimum_should_match": 1}})
}

fn as_query(filter: &Value) -> Value {
    match filter.as_str() {
        Some(text) => json!({"query_string": {"query": text}}),
        None => filter.clone(),
    }
}

fn error_query(layout: &Layout, expensive: bool) -> Option<Value> {
    let mut any = Vec::new();
    match &layout.level {
        Some((field, LevelKind::Word)) if expensive => any.push(word_pattern(field)),
        Some((field, LevelKind::Word)) => any.push(json!({"terms": {field: spellings()}})),
        Some((field, LevelKind::Number)) => {
            any.push(json!({"range": {field: {"gte": ERROR_NUMBER, "lte": 24}}}));
            any.push(json!({"range": {field: {"gte": 50, "lte": 60}}}));
        }
        None => {}
    }
    if let Some(field) = &layout.severity_number {
        any.push(json!({"range": {field: {"gte": ERROR_NUMBER}}}));
    }
    if let Some(field) = &layout.status {
        any.push(json!({"range": {field: {"gte": 500, "lt": 600}}}));
    }
    if let Some(field) = &layout.outcome {
        any.push(json!({"term": {field: "failure"}}));
    }
    (!any.is_empty()).then(|| either(any))
}

/// Any case, surrounding brackets, OpenTelemetry's finer steps, numbers as text: what `Level::from_text` accepts.
fn word_pattern(field: &str) -> Value {
    let words = ERROR_WORDS.join("|");
    let pattern = format!("[\\[\\]<>: ]*(({words})[1-4]*|1[7-9]|2[0-4]|5[0-9]|60)[\\[\\]<>: ]*");
    json!({"regexp": {field: {"value": pattern, "case_insensitive": true}}})
}

/// The usual spellings, for clusters that allow no patterns (`search.allow_expensive_queries: false`).
fn spellings() -> Vec<String> {
    let mut words = Vec::new();
    for word in ERROR_WORDS {
        let mut letters = word.chars();
        let capital: String = letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect())
            .unwrap_or_default();
        for spelling in [word.to_owned(), capital, word.to_uppercase()] {
            for step in ["", "2", "3", "4"] {
                words.push(format!("{spelling}{step}"));
            }
        }
    }
    words.extend((ERROR_NUMBER..=24).chain([50, 60]).map(|number| number.to_string()));
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::super::settings::{DurationUnit, Schema};
    use super::*;
    use crate::model::{Direction, QUANTILES};
    use crate::sources::level::Level;

    fn range() -> Range {
        Range {
            from: UtcTime::from_timestamp(1_700_000_040, 0).unwrap(),
            to: UtcTime::from_timestamp(1_700_000_100, 0).unwrap(),
            bucket_seconds: 60,
        }
    }

    fn ecs() -> Layout {
        Layout {
            schema: Schema::Ecs,
            timestamp: "@timestamp".to_owned(),
            service: "service.name".to_owned(),
            level: Some(("log.level".to_owned(), LevelKind::Word)),
            severity_number: Some("severity_number".to_owned()),
            duration: Some(("event.duration".to_owned(), DurationUnit::Ns)),
            status: Some("http.response.status_code".to_owned()),
            outcome: Some("event.outcome".to_owned()),
            ingested: Some("event.ingested".to_owned()),
            missing: Vec::new(),
        }
    }

    #[test]
    fn percents_are_the_quantiles_of_the_model() {
        for (percent, quantile) in PERCENTS.iter().zip(QUANTILES) {
            assert!((percent - quantile * 100.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_first_page_of_logs() {
        let page = Plan::logs(&ecs(), true).page(range(), 10, None, 18_000);
        insta::assert_json_snapshot!(page);
    }

    #[test]
    fn a_further_page_of_the_plainest_index() {
        let layout = Layout {
            schema: Schema::Seed,
            level: Some(("level".to_owned(), LevelKind::Number)),
            severity_number: None,
            duration: None,
            status: None,
            outcome: None,
            ..ecs()
        };
        let after = json!({"service": "a", "time": 1});
        insta::assert_json_snapshot!(Plan::logs(&layout, true).page(
            range(),
            10,
            Some(&after),
            18_000
        ));
    }

    #[test]
    fn metrics_side_by_side() {
        let metric = |aggregation, filter| Metric {
            name: "x".to_owned(),
            index: None,
            field: "cpu".to_owned(),
            aggregation,
            service_field: None,
            filter,
            unit: String::new(),
            direction: Direction::Up,
        };
        let metrics = [
            metric(Aggregation::Avg, None),
            metric(Aggregation::P99, Some(json!("env:prod"))),
            metric(Aggregation::Count, Some(json!({"term": {"env": "prod"}}))),
        ];
        let placed: Vec<_> = metrics.iter().enumerate().collect();
        let plan = Plan::metrics("@timestamp", "service.name", &placed);
        insta::assert_json_snapshot!(plan.page(range(), 10, None, 18_000));
    }

    #[test]
    fn spellings_are_errors_to_the_model_too() {
        for spelling in spellings() {
            assert_eq!(Level::from_text(&spelling), Some(Level::Error), "{spelling}");
        }
    }
}

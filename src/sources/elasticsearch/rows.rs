//! From buckets to rows: points of signals by service and minute, and what had to be refused. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::buckets::{Key, LogBucket, MetricBucket, MetricValue, float};
use super::settings::{Aggregation, Metric};
use crate::model::{Point, Row, ServiceName, SignalName, UtcTime};

/// The names of a log source's signals, made once.
#[derive(Debug, Clone)]
pub(super) struct LogSignals {
    pub error_rate: SignalName,
    pub latency_p99: SignalName,
    pub throughput: SignalName,
}

/// Rows as they are collected from pages.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    rejected: HashMap<&'static str, u64>,
}

/// Services that were seen, so that each name is kept once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<ServiceName>);

impl Names {
    fn intern(&mut self, name: &str) -> ServiceName {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new: ServiceName = Arc::from(name);
        self.0.insert(new.clone());
        new
    }

    /// Whether there are more than a deployment has: names that come and go must not pile up.
    pub(super) fn too_many(&self) -> bool {
        self.0.len() > 100_000
    }
}

/// What turns log buckets into points.
#[derive(Debug)]
pub(super) struct LogReading<'a> {
    pub signals: &'a LogSignals,
    /// Milliseconds in one unit of duration.
    pub factor: f64,
    /// Services that were seen to have requests among their documents.
    pub serving: &'a mut HashSet<ServiceName>,
    pub names: &'a mut Names,
}

impl Rows {
    /// What was refused, for people, in a stable order.
    pub(super) fn rejected(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> =
            self.rejected.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect();
        all.sort();
        all
    }

    fn reject(&mut self, why: &'static str, count: u64) {
        *self.rejected.entry(why).or_default() += count;
    }

    fn place(
        &mut self,
        key: &Key<'_>,
        doc_count: u64,
        names: &mut Names,
    ) -> Option<(ServiceName, UtcTime)> {
        let Some(name) = key.service.0.as_deref().map(str::trim).filter(|name| !name.is_empty())
        else {
            self.reject("documents without a service", doc_count);
            return None;
        };
        let Some(start) = UtcTime::from_timestamp_millis(key.time) else {
            self.reject("documents with a time out of range", doc_count);
            return None;
        };
        Some((names.intern(name), start))
    }

    /// Adds log buckets.
    pub(super) fn add_logs(&mut self, buckets: &[LogBucket<'_>], reading: &mut LogReading<'_>) {
        for bucket in buckets {
            // A request beside errors, or a duration: this service's requests can be told from its other lines.
            let errors = bucket.errors.map_or(0, |errors| errors.doc_count);
            let plain = bucket.requests.is_some_and(|requests| requests.doc_count > errors);
            if (plain || bucket.timed.is_some_and(|timed| timed.value > 0))
                && let Some(name) = bucket.key.service.0.as_deref()
            {
                let name = reading.names.intern(name.trim());
                reading.serving.insert(name);
            }
        }
        self.rows.reserve(buckets.len());
        for bucket in buckets {
            let Some((service, start)) = self.place(&bucket.key, bucket.doc_count, reading.names)
            else {
                continue;
            };
            let points = self.log_points(bucket, &service, reading);
            self.rows.push(Row { service, start, points });
        }
    }

    fn log_points(
        &mut self,
        bucket: &LogBucket<'_>,
        service: &ServiceName,
        reading: &LogReading<'_>,
    ) -> Vec<(SignalName, Point)> {
        let whole = match bucket.requests {
            Some(requests) if reading.serving.contains(service) => requests.doc_count,
            _ => bucket.doc_count,
        };
        let mut points = Vec::with_capacity(3);
        let signals = reading.signals;
        if let Some(errors) = bucket.errors {
            let point = Point::Ratio { part: float(errors.doc_count), whole: float(whole) };
            points.push((signals.error_rate.clone(), point));
        }
        points.push((signals.throughput.clone(), Point::Count(float(whole))));
        if let (Some(timed), Some(latency)) =
            (bucket.timed.filter(|timed| timed.value > 0), bucket.latency)
        {
            match latency.values.quantiles(timed.value, reading.factor) {
                Ok(quantiles) => {
                    points.push((signals.latency_p99.clone(), Point::Quantiles(quantiles)));
                }
                Err(()) => self.reject("durations that are no finite numbers", timed.value),
            }
        }
        points
    }

    /// Adds metric buckets; `signals` and `metrics` are in the order of the query.
    pub(super) fn add_metrics(
        &mut self,
        buckets: &[MetricBucket<'_>],
        signals: &[SignalName],
        metrics: &[Metric],
        names: &mut Names,
    ) {
        for bucket in buckets {
            let Some((service, start)) = self.place(&bucket.key, bucket.doc_count, names) else {
                continue;
            };
            let mut points = Vec::with_capacity(bucket.values.len());
            for (place, value) in &bucket.values {
                let (Some(signal), Some(metric)) = (signals.get(*place), metrics.get(*place))
                else {
                    continue;
                };
                match metric_point(metric.aggregation, value) {
                    Ok(Some(point)) => points.push((signal.clone(), point)),
                    Ok(None) => {}
                    Err(count) => self.reject("metric values that are no finite numbers", count),
                }
            }
            if !points.is_empty() {
                self.rows.push(Row { service, start, points });
            }
        }
    }
}

/// `None` without values; `Err` with their number if they make no finite number.
fn metric_point(aggregation: Aggregation, value: &MetricValue) -> Result<Option<Point>, u64> {
    let finite = |number: Option<f64>, count| number.filter(|n| n.is_finite()).ok_or(count);
    match (aggregation, value) {
        (
            Aggregation::Avg | Aggregation::Max | Aggregation::Sum,
            MetricValue { v: Some(stats), .. },
        ) if stats.count > 0 => {
            let count = stats.count;
            Ok(Some(match aggregation {
                Aggregation::Max => Point::Max(finite(stats.max, count)?),
                Aggregation::Sum => Point::Count(finite(stats.sum, count)?),
                _ => Point::Mean {
                    sum: finite(stats.sum, count)?,
                    count: u32::try_from(count).unwrap_or(u32::MAX),
                },
            }))
        }
        (Aggregation::Count, MetricValue { n: Some(n), .. }) if n.value > 0 => {
            Ok(Some(Point::Count(float(n.value))))
        }
        (Aggregation::P95 | Aggregation::P99, MetricValue { n: Some(n), p: Some(p), .. })
            if n.value > 0 =>
        {
            p.values
                .quantiles(n.value, 1.0)
                .map(|q| Some(Point::Quantiles(q)))
                .map_err(|()| n.value)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::reply::{ErrorBody, Page};
    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
            "took",
            "_shards",
            "total",
            "failed",
            "aggregations",
            "rows",
            "buckets",
            "key",
            "service",
            "time",
            "doc_count",
            "errors",
            "latency",
            "values",
            "99.0",
            "timed",
            "value",
            "0",
            "v",
            "n",
            "after_key",
            "NaN",
            "error",
            "reason",
            "root_cause",
            "caused_by",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            words.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            let words = words.clone();
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((words, inner), 0..6).prop_map(|fields| Value::Object(
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                )),
            ]
        })
    }

    fn take(text: &str) {
        if let Ok(page) = serde_json::from_str::<Page<LogBucket<'_>>>(text)
            && let Some((_, _, buckets)) = page.into_parts(60)
        {
            let signals = LogSignals {
                error_rate: "error_rate".into(),
                latency_p99: "latency_p99".into(),
                throughput: "throughput".into(),
            };
            let mut rows = Rows::default();
            let reading = &mut LogReading {
                signals: &signals,
                factor: 1.0,
                serving: &mut HashSet::new(),
                names: &mut Names::default(),
            };
            rows.add_logs(&buckets, reading);
            for (_, point) in rows.rows.iter().flat_map(|row| &row.points) {
                if let Point::Quantiles(quantiles) = point {
                    assert!(quantiles.values.iter().all(|value| value.is_finite()));
                    assert!(quantiles.values.is_sorted());
                }
            }
        }
        if let Ok(page) = serde_json::from_str::<Page<MetricBucket<'_>>>(text)
            && let Some((_, _, buckets)) = page.into_parts(60)
        {
            Rows::default().add_metrics(&buckets, &[], &[], &mut Names::default());
        }
        if let Ok(error) = serde_json::from_str::<ErrorBody>(text) {
            assert!(error.words().chars().count() <= 301);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_answered_panics(value in json_value()) {
            take(&value.to_string());
        }

        #[test]
        fn no_bucket_panics(bucket in json_value(), cut in 0_usize..400) {
            let page = json!({"_shards": {"total": 1}, "aggregations": {"rows": {"buckets": [bucket]}}});
            let text = page.to_string();
            take(&text);
            take(&text.chars().take(cut).collect::<String>());
        }

        #[test]
        fn numbers_of_any_size_make_finite_quantiles_or_none(
            values in prop::collection::vec(prop::num::f64::ANY, 7),
            start in any::<i64>(),
        ) {
            let names = ["25.0", "50.0", "75.0", "90.0", "95.0", "99.0", "100.0"];
            let values: serde_json::Map<_, _> =
                names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let bucket = json!({"key": {"service": "a", "time": start}, "doc_count": 1,
                "timed": {"value": u64::MAX}, "latency": {"values": values}});
            take(&json!({"_shards": {"total": 1}, "aggregations": {"rows": {"buckets": [bucket]}}}).to_string());
        }
    }
}

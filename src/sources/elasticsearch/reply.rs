//! What a search answered: typed, because a cycle may bring 10,000 rows of ten numbers, and turned into rows. Pure.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::settings::{Aggregation, Metric};
use crate::model::{Point, Quantiles, Row, ServiceName, SignalName, UtcTime};

/// One page of a search.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
pub(super) struct Page<B> {
    #[serde(default)]
    pub took: u64,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    terminated_early: Option<bool>,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(rename = "_clusters", default)]
    clusters: Option<Clusters>,
    #[serde(default = "Option::default")]
    aggregations: Option<Aggregations<B>>,
}

#[derive(Debug, Deserialize)]
struct Shards {
    total: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    failures: Vec<ShardFailure>,
}

#[derive(Debug, Deserialize)]
struct ShardFailure {
    #[serde(default)]
    index: Option<String>,
    #[serde(default)]
    reason: Option<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Clusters {
    skipped: u64,
    partial: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
struct Aggregations<B> {
    rows: Buckets<B>,
    #[serde(default)]
    arrivals: Option<Arrivals>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
struct Buckets<B> {
    #[serde(default)]
    after_key: Option<Value>,
    buckets: Vec<B>,
}

#[derive(Debug, Deserialize)]
struct Arrivals {
    buckets: Vec<Arrival>,
}

#[derive(Debug, Deserialize)]
struct Arrival {
    key: i64,
    latest: Latest,
}

#[derive(Debug, Deserialize)]
struct Latest {
    values: LatestValue,
}

#[derive(Debug, Deserialize)]
struct LatestValue {
    #[serde(rename = "99.0", default, deserialize_with = "number")]
    p99: Option<f64>,
}

impl<B> Page<B> {
    /// What is missing from the answer; `None` if it is whole.
    pub(super) fn partial(&self) -> Option<String> {
        if self.timed_out {
            return Some("the search timed out on the server".to_owned());
        }
        if self.shards.failed > 0 {
            let why = self.shards.failures.iter().find_map(|failure| {
                let cause = failure.reason.as_ref()?.words();
                let index = failure.index.as_deref().unwrap_or("?");
                Some(format!(": {index}: {cause}"))
            });
            return Some(format!(
                "{} of {} shards failed{}",
                self.shards.failed,
                self.shards.total,
                why.unwrap_or_default()
            ));
        }
        if self.terminated_early == Some(true) {
            return Some("the search ended early on the server".to_owned());
        }
        let clusters = self.clusters.as_ref()?;
        let missing = clusters.skipped + clusters.partial + clusters.failed;
        (missing > 0).then(|| format!("{missing} remote clusters did not answer wholly"))
    }

    /// Whether any index was asked at all.
    pub(super) fn asked_nothing(&self) -> bool {
        self.shards.total == 0 && self.aggregations.is_none()
    }

    /// Where the next page begins, how many milliseconds after the close of each bucket its documents had come,
    /// and the buckets. `None` if the answer has no aggregations.
    pub(super) fn into_parts(
        self,
        bucket_seconds: u32,
    ) -> Option<(Option<Value>, Vec<i64>, Vec<B>)> {
        let aggregations = self.aggregations?;
        let length = i64::from(bucket_seconds) * 1_000;
        let lateness = aggregations.arrivals.map(|arrivals| {
            let of = |arrival: &Arrival| {
                let latest = arrival.latest.values.p99.filter(|latest| latest.is_finite())?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "saturates, and is bounded later"
                )]
                let latest = latest as i64;
                Some(latest.saturating_sub(arrival.key.saturating_add(length)).max(0))
            };
            arrivals.buckets.iter().filter_map(of).collect()
        });
        let Buckets { after_key, buckets } = aggregations.rows;
        Some((after_key, lateness.unwrap_or_default(), buckets))
    }
}

/// An error as Elasticsearch words it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    error: Cause,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    #[serde(rename = "root_cause")]
    roots: Vec<Cause>,
    caused_by: Option<Box<Cause>>,
    failed_shards: Vec<FailedShard>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FailedShard {
    reason: Cause,
}

impl ErrorBody {
    /// The kind and the reason of the innermost cause that says something.
    pub(super) fn words(&self) -> String {
        self.error.words()
    }

    /// Whether `text` occurs in any kind or reason.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.error.mentions(text)
    }
}

impl Cause {
    fn words(&self) -> String {
        let inner = self
            .caused_by
            .as_deref()
            .or_else(|| self.roots.iter().find(|cause| cause.reason.is_some()))
            .or_else(|| self.failed_shards.first().map(|shard| &shard.reason));
        if let Some(inner) = inner.filter(|inner| inner.reason.is_some()) {
            return inner.words();
        }
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        let text = match &self.kind {
            Some(kind) => format!("{kind}: {reason}"),
            None => reason.to_owned(),
        };
        shorten(&text)
    }

    fn mentions(&self, text: &str) -> bool {
        let here =
            [&self.kind, &self.reason].into_iter().flatten().any(|words| words.contains(text));
        here || self.roots.iter().any(|cause| cause.mentions(text))
            || self.caused_by.as_ref().is_some_and(|cause| cause.mentions(text))
            || self.failed_shards.iter().any(|shard| shard.reason.mentions(text))
    }
}

/// Text from outside, kept to one short line.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 300;
    let line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MOST + 1)
        .collect();
    if line.chars().count() > MOST {
        line.chars().take(MOST).chain(['…']).collect()
    } else {
        line
    }
}

/// A service as documents give it: text, or a number or flag where the field is one.
#[derive(Debug)]
struct Name<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a service")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(flag.to_string()))))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Name<'de>, E> {
                Ok(Name(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Debug, Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    service: Name<'a>,
    time: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Docs {
    doc_count: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Number {
    value: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Percentiles {
    values: Values,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Values {
    #[serde(rename = "25.0", default, deserialize_with = "number")]
    p25: Option<f64>,
    #[serde(rename = "50.0", default, deserialize_with = "number")]
    p50: Option<f64>,
    #[serde(rename = "75.0", default, deserialize_with = "number")]
    p75: Option<f64>,
    #[serde(rename = "90.0", default, deserialize_with = "number")]
    p90: Option<f64>,
    #[serde(rename = "95.0", default, deserialize_with = "number")]
    p95: Option<f64>,
    #[serde(rename = "99.0", default, deserialize_with = "number")]
    p99: Option<f64>,
    #[serde(rename = "100.0", default, deserialize_with = "number")]
    max: Option<f64>,
}

/// A number, `null`, or one of the words that stand for numbers that are not finite.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    struct Lenient;
    impl Visitor<'_> for Lenient {
        type Value = Option<f64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<f64>, E> {
            Ok(Some(number))
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<f64>, E> {
            Ok(Some(float(number)))
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<f64>, E> {
            #[expect(clippy::cast_precision_loss, reason = "a measurement, not an id")]
            Ok(Some(number as f64))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Option<f64>, E> {
            Ok(None)
        }
        fn visit_str<E: de::Error>(self, word: &str) -> Result<Option<f64>, E> {
            match word {
                "NaN" | "Infinity" | "-Infinity" => Ok(Some(f64::NAN)),
                _ => Err(de::Error::invalid_value(de::Unexpected::Str(word), &self)),
            }
        }
    }
    deserializer.deserialize_any(Lenient)
}

impl Values {
    /// The distribution in milliseconds (or whatever `factor` makes of it); `Err` if a number is not finite,
    /// missing, or does not fit.
    fn quantiles(self, count: u64, factor: f64) -> Result<Quantiles, ()> {
        let Self { p25, p50, p75, p90, p95, p99, max } = self;
        let mut values = [0.0_f32; 7];
        let mut last = f32::NEG_INFINITY;
        for (slot, value) in values.iter_mut().zip([p25, p50, p75, p90, p95, p99, max]) {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be finite below")]
            let value = (value.ok_or(())? * factor) as f32;
            if !value.is_finite() {
                return Err(());
            }
            // An estimate may be out of order by rounding.
            last = value.max(last);
            *slot = last;
        }
        Ok(Quantiles { count: u32::try_from(count).unwrap_or(u32::MAX), values })
    }
}

/// A bucket of a log index.
#[derive(Debug, Deserialize)]
pub(super) struct LogBucket<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    doc_count: u64,
    errors: Option<Docs>,
    requests: Option<Docs>,
    timed: Option<Number>,
    latency: Option<Percentiles>,
}

/// A bucket of a metrics index: the signals' values by their positions.
#[derive(Debug)]
pub(super) struct MetricBucket<'a> {
    key: Key<'a>,
    doc_count: u64,
    values: Vec<(usize, MetricValue)>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct MetricValue {
    n: Option<Number>,
    p: Option<Percentiles>,
    v: Option<Stats>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Stats {
    count: u64,
    #[serde(default, deserialize_with = "number")]
    max: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    sum: Option<f64>,
}

impl<'de> Deserialize<'de> for MetricBucket<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = MetricBucket<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bucket")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut key, mut doc_count, mut values) = (None, None, Vec::new());
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    let name = name.as_deref().unwrap_or_default();
                    match (name, name.parse::<usize>()) {
                        ("key", _) => key = Some(map.next_value()?),
                        ("doc_count", _) => doc_count = Some(map.next_value()?),
                        (_, Ok(place)) => values.push((place, map.next_value()?)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(MetricBucket {
                    key: key.ok_or_else(|| de::Error::missing_field("key"))?,
                    doc_count: doc_count.ok_or_else(|| de::Error::missing_field("doc_count"))?,
                    values,
                })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

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

    /// Forgets names that nobody else holds, once there are more than a deployment has.
    pub(super) fn tidy(&mut self) {
        const MANY: usize = 100_000;
        if self.0.len() > MANY {
            self.0.retain(|name| Arc::strong_count(name) > 1);
        }
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

#[expect(clippy::cast_precision_loss, reason = "counts of documents stay far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

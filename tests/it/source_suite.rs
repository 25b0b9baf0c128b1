//! What every source of logs must do, whoever keeps the logs: one suite, run against each kind.
//!
//! A kind joins with a [`Rig`] and one line of `suite!`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::{Duration, SecondsFormat};
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{Point, Row, UtcTime, WindowKind, Windows, bucket_floor};
use sentinelops::sources::{self, Source, Span, elasticsearch};
use serde_json::{Value, json};

use crate::embedded::{Store, settings};
use crate::support::elasticsearch::Node;

/// Something that logs can be written to and read from.
pub(crate) trait Rig: Sized {
    /// An empty one.
    async fn start() -> Self;
    /// What time it is there.
    fn now(&self) -> UtcTime;
    /// Writes documents and waits until they can be read; answers how many were refused.
    async fn write(&self, documents: &[Value]) -> usize;
    /// A source of the logs written.
    fn source(&self) -> Box<dyn Source>;
}

/// A real Elasticsearch.
pub(crate) struct ElasticsearchRig {
    node: Node,
    index: String,
}

impl Rig for ElasticsearchRig {
    async fn start() -> Self {
        let node = Node::shared().await;
        let index = format!("{}-logs", node.prefix);
        node.make_index(&index).await;
        Self { node, index }
    }

    fn now(&self) -> UtcTime {
        SystemClock.now()
    }

    async fn write(&self, documents: &[Value]) -> usize {
        self.node.write(&self.index, documents).await
    }

    fn source(&self) -> Box<dyn Source> {
        let settings = elasticsearch::Settings {
            url: self.node.url.clone(),
            log_index: self.index.clone(),
            ..elasticsearch::Settings::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let polling = sources::Settings::default();
        elasticsearch::sources(&settings, &polling, &clock).unwrap().remove(0)
    }
}

/// The log store of the binary itself.
pub(crate) struct EmbeddedRig {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Rig for EmbeddedRig {
    async fn start() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(settings(folder.path()), Arc::new(SystemClock)).await;
        Self { store, _folder: folder }
    }

    fn now(&self) -> UtcTime {
        SystemClock.now()
    }

    async fn write(&self, documents: &[Value]) -> usize {
        let action = json!({"create": {"_index": "logs"}});
        let lines: Vec<Value> =
            documents.iter().flat_map(|document| [action.clone(), document.clone()]).collect();
        let reply = self.store.bulk(&lines).await;
        let items = reply["items"].as_array().unwrap();
        items.iter().filter(|item| item["create"]["status"] != 201).count()
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(self.store.source.clone())
    }
}

macro_rules! suite {
    ($kind:ident: $rig:ty, $($behaviour:ident),+ $(,)?) => {
        mod $kind {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    super::$behaviour(&<$rig as super::Rig>::start().await).await;
                }
            )+
        }
    };
    ($kind:ident: $rig:ty) => {
        suite!(
            $kind: $rig,
            counts_by_service_and_minute,
            an_error_is_an_error_in_any_spelling,
            percentiles_are_close,
            buckets_are_half_open,
            late_documents_are_seen_when_read_again,
            every_one_of_500_services_is_seen,
            a_service_without_durations_has_no_latency,
            a_range_without_documents_is_complete_and_empty,
            bad_documents_harm_no_good_ones,
            a_service_may_be_written_as_object_or_with_a_dot,
            an_hour_is_read_at_once,
            other_times_are_not_counted,
            names_are_data,
        );
    };
}

suite!(on_elasticsearch: super::ElasticsearchRig);
suite!(on_embedded: super::EmbeddedRig);

/// A minute that has closed, ten minutes ago.
fn closed_minute(rig: &impl Rig) -> UtcTime {
    bucket_floor(rig.now() - Duration::minutes(10), Duration::minutes(1))
}

pub(crate) fn document(at: UtcTime, service: &str, level: &str, duration: Option<f64>) -> Value {
    let mut document = json!({
        "@timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "service": {"name": service},
        "level": level,
        "message": "a request",
    });
    if let Some(duration) = duration {
        document["duration_ms"] = json!(duration);
    }
    document
}

async fn read_from(
    source: &mut dyn Source,
    from: UtcTime,
    minutes: i64,
    kind: WindowKind,
) -> Windows {
    let span = Span { from, to: from + Duration::minutes(minutes), kind };
    let windows = source.read(span).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    assert_eq!((windows.from, windows.to, windows.kind), (span.from, span.to, span.kind));
    for row in &windows.rows {
        assert!(span.from <= row.start && row.start < span.to, "{row:?}");
        assert_eq!(row.start.timestamp() % 60, 0);
    }
    windows
}

async fn read(rig: &impl Rig, from: UtcTime, minutes: i64) -> Windows {
    read_from(rig.source().as_mut(), from, minutes, WindowKind::Fresh).await
}

/// Errors and requests of a row.
fn ratio(row: &Row) -> (f64, f64) {
    row.points
        .iter()
        .find_map(|(name, point)| match point {
            Point::Ratio { part, whole } if &**name == "error_rate" => Some((*part, *whole)),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no error_rate: {row:?}"))
}

fn throughput(row: &Row) -> f64 {
    row.points
        .iter()
        .find_map(|(name, point)| match point {
            Point::Count(count) if &**name == "throughput" => Some(*count),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no throughput: {row:?}"))
}

/// Errors and requests by service and minute after `from`.
fn table(windows: &Windows) -> BTreeMap<(String, i64), (f64, f64)> {
    windows
        .rows
        .iter()
        .map(|row| {
            let minute = (row.start - windows.from).num_minutes();
            assert_eq!(throughput(row).to_bits(), ratio(row).1.to_bits());
            ((row.service.to_string(), minute), ratio(row))
        })
        .collect()
}

fn key(service: &str, minute: i64) -> (String, i64) {
    (service.to_owned(), minute)
}

async fn counts_by_service_and_minute(rig: &impl Rig) {
    let from = closed_minute(rig);
    let mut documents = Vec::new();
    for (service, minute, good, bad) in [("a", 0, 7, 0), ("a", 2, 3, 2), ("b", 1, 0, 4)] {
        let levels = std::iter::repeat_n("info", good).chain(std::iter::repeat_n("error", bad));
        for (place, level) in (0..).zip(levels) {
            let at = from + Duration::minutes(minute) + Duration::seconds(place * 5);
            documents.push(document(at, service, level, Some(100.0)));
        }
    }
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 3).await;
    let expected = BTreeMap::from([
        (key("a", 0), (0.0, 7.0)),
        (key("a", 2), (2.0, 5.0)),
        (key("b", 1), (4.0, 4.0)),
    ]);
    assert_eq!(table(&windows), expected);
    assert!(windows.rejected.is_empty(), "{:?}", windows.rejected);
}

async fn an_error_is_an_error_in_any_spelling(rig: &impl Rig) {
    let from = closed_minute(rig);
    let errors = [
        "error",
        "ERROR",
        "Error",
        "eRrOr",
        "err",
        "fatal",
        "FATAL",
        "critical",
        "Crit",
        "alert",
        "emergency",
        "panic",
        "severe",
        "ERROR2",
        "[error]",
        "17",
        "21",
    ];
    let others = [
        "info",
        "INFO",
        "warn",
        "WARNING",
        "Warn",
        "debug",
        "trace",
        "notice",
        "informational",
        "9",
        "13",
        "",
        "banana",
        "errors expected",
        "no error",
    ];
    let documents: Vec<Value> =
        errors.iter().chain(&others).map(|level| document(from, "a", level, None)).collect();
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let expected = (errors.len() as f64, documents.len() as f64);
    assert_eq!(table(&windows), BTreeMap::from([(key("a", 0), expected)]));
}

async fn percentiles_are_close(rig: &impl Rig) {
    let from = closed_minute(rig);
    let documents: Vec<Value> =
        (1..=1_000).map(|n| document(from, "a", "info", Some(f64::from(n)))).collect();
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    let quantiles = windows.rows[0]
        .points
        .iter()
        .find_map(|(name, point)| match point {
            Point::Quantiles(quantiles) if &**name == "latency_p99" => Some(*quantiles),
            _ => None,
        })
        .unwrap();
    assert_eq!(quantiles.count, 1_000);
    for (value, expected) in
        quantiles.values.iter().zip([250.0, 500.0, 750.0, 900.0, 950.0, 990.0, 1_000.0])
    {
        assert!((value - expected).abs() <= expected * 0.02, "{quantiles:?}");
    }
}

async fn buckets_are_half_open(rig: &impl Rig) {
    let from = closed_minute(rig);
    let edges = [-1, 0, 59_999, 60_000, 119_999, 120_000];
    let documents: Vec<Value> = edges
        .iter()
        .map(|edge| document(from + Duration::milliseconds(*edge), "a", "info", None))
        .collect();
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    assert_eq!(table(&windows), BTreeMap::from([(key("a", 0), (0.0, 2.0))]));
    let windows = read(rig, from, 2).await;
    let expected = BTreeMap::from([(key("a", 0), (0.0, 2.0)), (key("a", 1), (0.0, 2.0))]);
    assert_eq!(table(&windows), expected);
}

async fn late_documents_are_seen_when_read_again(rig: &impl Rig) {
    let from = closed_minute(rig);
    let mut source = rig.source();
    assert_eq!(rig.write(&[document(from, "a", "info", None)]).await, 0);
    let first = read_from(source.as_mut(), from, 1, WindowKind::Fresh).await;
    assert_eq!(table(&first), BTreeMap::from([(key("a", 0), (0.0, 1.0))]));
    let late = [document(from, "a", "error", None), document(from, "b", "info", None)];
    assert_eq!(rig.write(&late).await, 0);
    let again = read_from(source.as_mut(), from, 1, WindowKind::Correction).await;
    let expected = BTreeMap::from([(key("a", 0), (1.0, 2.0)), (key("b", 0), (0.0, 1.0))]);
    assert_eq!(table(&again), expected);
}

async fn every_one_of_500_services_is_seen(rig: &impl Rig) {
    let from = closed_minute(rig);
    let documents: Vec<Value> =
        (0..500).map(|n| document(from, &format!("service-{n:03}"), "info", Some(1.0))).collect();
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    let seen: HashSet<_> = windows.rows.iter().map(|row| row.service.clone()).collect();
    assert_eq!((seen.len(), windows.rows.len()), (500, 500));
}

async fn a_service_without_durations_has_no_latency(rig: &impl Rig) {
    let from = closed_minute(rig);
    let documents =
        [document(from, "timed", "info", Some(5.0)), document(from, "untimed", "error", None)];
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    for row in &windows.rows {
        let timed = row.points.iter().any(|(name, _)| &**name == "latency_p99");
        assert_eq!(timed, &*row.service == "timed", "{row:?}");
    }
    let expected = BTreeMap::from([(key("timed", 0), (0.0, 1.0)), (key("untimed", 0), (1.0, 1.0))]);
    assert_eq!(table(&windows), expected);
}

async fn a_range_without_documents_is_complete_and_empty(rig: &impl Rig) {
    let from = closed_minute(rig);
    assert_eq!(rig.write(&[document(from, "a", "info", None)]).await, 0);
    let windows = read(rig, from + Duration::minutes(1), 2).await;
    assert!(windows.rows.is_empty(), "{:?}", windows.rows);
}

async fn bad_documents_harm_no_good_ones(rig: &impl Rig) {
    let from = closed_minute(rig);
    let time = from.to_rfc3339_opts(SecondsFormat::Millis, true);
    let documents = [
        document(from, "a", "info", Some(10.0)),
        json!({"@timestamp": time, "level": "error", "message": "names no service"}),
        json!({"@timestamp": time, "service": {"name": null}, "level": "error"}),
        json!({"@timestamp": time, "service": {"name": "  "}, "level": "info"}),
        json!({"@timestamp": "yesterday", "service": {"name": "a"}, "level": "error"}),
        json!({"@timestamp": time, "service": {"name": "a"}, "level": "error", "duration_ms": "slow"}),
        json!({"@timestamp": time, "service": "a", "level": "error"}),
        document(from, "a", "error", Some(20.0)),
    ];
    let refused = rig.write(&documents).await;
    let windows = read(rig, from, 1).await;
    let counted = table(&windows);
    assert_eq!(counted.keys().collect::<Vec<_>>(), [&key("a", 0)]);
    let rejected: u64 = windows.rejected.iter().map(|(_, count)| count).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
    let kept = counted[&key("a", 0)].1 as usize + rejected as usize + refused;
    // None vanished: each was counted, refused when written, or rejected when read.
    assert_eq!(kept, documents.len(), "refused {refused}, {:?}, {counted:?}", windows.rejected);
    assert!(counted[&key("a", 0)].1 >= 2.0 && counted[&key("a", 0)].0 >= 1.0);
}

async fn a_service_may_be_written_as_object_or_with_a_dot(rig: &impl Rig) {
    let from = closed_minute(rig);
    let time = from.to_rfc3339_opts(SecondsFormat::Millis, true);
    let documents = [
        json!({"@timestamp": time, "service": {"name": "a"}, "level": "info"}),
        json!({"@timestamp": time, "service.name": "a", "level": "error"}),
        json!({"@timestamp": from.timestamp_millis(), "service.name": "a", "level": "info"}),
    ];
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    assert_eq!(table(&windows), BTreeMap::from([(key("a", 0), (1.0, 3.0))]));
}

async fn an_hour_is_read_at_once(rig: &impl Rig) {
    let from = closed_minute(rig) - Duration::minutes(55);
    let mut documents = Vec::new();
    for minute in 0..60 {
        for service in ["a", "b", "c"] {
            let at = from + Duration::minutes(minute) + Duration::seconds(30);
            documents.push(document(at, service, "info", Some(3.0)));
        }
    }
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read_from(rig.source().as_mut(), from, 60, WindowKind::Backfill).await;
    assert_eq!(windows.rows.len(), 180);
    assert!(table(&windows).values().all(|counts| *counts == (0.0, 1.0)));
}

async fn other_times_are_not_counted(rig: &impl Rig) {
    let from = closed_minute(rig);
    let documents = [
        document(from - Duration::hours(2), "a", "error", None),
        document(from + Duration::seconds(30), "a", "info", None),
        document(rig.now() + Duration::minutes(2), "a", "error", None),
    ];
    // A keeper of logs may refuse what lies far away; what it takes must not be counted here.
    rig.write(&documents).await;
    let windows = read(rig, from, 1).await;
    assert_eq!(table(&windows), BTreeMap::from([(key("a", 0), (0.0, 1.0))]));
}

async fn names_are_data(rig: &impl Rig) {
    let from = closed_minute(rig);
    let names =
        ["\"quoted\"", "back\\slash", "new\u{a0}space", "ünïcödé-サービス", "{json}", "a b"];
    let documents: Vec<Value> =
        names.iter().map(|name| document(from, name, "info", None)).collect();
    assert_eq!(rig.write(&documents).await, 0);
    let windows = read(rig, from, 1).await;
    let seen: HashSet<String> = windows.rows.iter().map(|row| row.service.to_string()).collect();
    assert_eq!(seen, names.iter().map(|name| (*name).to_owned()).collect());
}

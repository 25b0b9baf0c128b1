//! What is particular to Elasticsearch: its hard states on a real node, other layouts, metric signals, and what
//! pretends to be Elasticsearch or answers nonsense.

use std::sync::Arc;

use chrono::{Duration, SecondsFormat};
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{
    Completeness, Direction, FailureKind, Point, UtcTime, WindowKind, Windows, bucket_floor,
};
use sentinelops::secret::Secret;
use sentinelops::sources::elasticsearch::{Aggregation, Metric, Settings, sources};
use sentinelops::sources::{self, Source, Span};
use serde_json::{Value, json};

use crate::source_suite::document;
use crate::support::elasticsearch::{Node, PASSWORD};

fn closed_minute() -> UtcTime {
    bucket_floor(SystemClock.now() - Duration::minutes(10), Duration::minutes(1))
}

fn settings(url: &str, index: &str) -> Settings {
    Settings { url: url.to_owned(), log_index: index.to_owned(), ..Settings::default() }
}

fn build(settings: &Settings) -> Vec<Box<dyn Source>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    sources(settings, &sources::Settings { deadline_seconds: 10, ..Default::default() }, &clock)
        .unwrap()
}

fn logs(settings: &Settings) -> Box<dyn Source> {
    build(settings).remove(0)
}

fn minute(from: UtcTime) -> Span {
    Span { from, to: from + Duration::minutes(1), kind: WindowKind::Fresh }
}

async fn read(source: &mut dyn Source, from: UtcTime) -> Windows {
    source.read(minute(from)).await
}

#[track_caller]
fn failed(windows: &Windows) -> (FailureKind, String) {
    match &windows.completeness {
        Completeness::Failed { kind, reason, .. } => {
            assert!(windows.rows.is_empty());
            (*kind, reason.clone())
        }
        other => panic!("{other:?}"),
    }
}

async fn checked(source: &mut dyn Source) -> Vec<String> {
    let lines = source.check().await;
    lines
        .into_iter()
        .map(|line| {
            let mark = match line.ok {
                Some(true) => "ok  ",
                Some(false) => "BAD ",
                None => "note",
            };
            format!("{mark} {}: {}", line.what, line.detail)
        })
        .collect()
}

/// An index with one document, and another whose shard is nowhere.
async fn half_an_index(node: &Node, from: UtcTime) {
    let good = format!("{}-good", node.prefix);
    node.make_index(&good).await;
    node.write(&good, &[document(from, "a", "info", None)]).await;
    let bad = json!({
        "settings": {"index.routing.allocation.require._name": "none", "number_of_replicas": 0},
        "mappings": {"properties": {"@timestamp": {"type": "date"}}},
    });
    let path = format!("{}-bad?wait_for_active_shards=0", node.prefix);
    node.must("PUT", &path, Some(bad)).await;
}

#[tokio::test]
async fn failed_shards_make_a_read_partial() {
    let node = Node::shared().await;
    let from = closed_minute();
    half_an_index(&node, from).await;
    let mut source = logs(&settings(&node.url, &format!("{}-*", node.prefix)));
    let windows = read(source.as_mut(), from).await;
    let Completeness::Partial { reason } = &windows.completeness else { panic!("{windows:?}") };
    assert!(reason.starts_with("1 of 2 shards failed"), "{reason}");
    assert!(windows.rows.is_empty());
}

#[tokio::test]
async fn no_shard_at_all_is_unavailable() {
    let node = Node::shared().await;
    let from = closed_minute();
    half_an_index(&node, from).await;
    let bad = format!("{}-bad", node.prefix);
    let windows = read(logs(&settings(&node.url, &bad)).as_mut(), from).await;
    let (kind, reason) = failed(&windows);
    assert!(matches!(kind, FailureKind::Unavailable | FailureKind::Refused), "{kind:?} {reason}");
}

#[tokio::test]
async fn a_tripped_circuit_breaker_is_throttling() {
    let node = Node::alone().await;
    let from = closed_minute();
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    node.write(&index, &[document(from, "a", "info", Some(1.0))]).await;
    let mut source = logs(&settings(&node.url, &index));
    node.set("indices.breaker.request.limit", json!("1b")).await;
    let tripped = read(source.as_mut(), from).await;
    node.set("indices.breaker.request.limit", Value::Null).await;
    let (kind, reason) = failed(&tripped);
    assert_eq!(kind, FailureKind::Throttled, "{reason}");
    assert!(reason.contains("circuit_breaking_exception"), "{reason}");
    assert!(read(source.as_mut(), from).await.completeness.is_complete());
}

#[tokio::test]
async fn pages_shrink_until_the_cluster_takes_them() {
    let node = Node::alone().await;
    let from = closed_minute();
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    let documents: Vec<Value> =
        (0..500).map(|n| document(from, &format!("s{n}"), "info", Some(1.0))).collect();
    node.write(&index, &documents).await;
    node.set("search.max_buckets", json!(100)).await;
    let mut source = logs(&settings(&node.url, &index));
    let windows = read(source.as_mut(), from).await;
    let again = read(source.as_mut(), from).await;
    node.set("search.max_buckets", Value::Null).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    assert_eq!(windows.rows.len(), 500);
    // The size that worked is remembered: 500 rows by pages of 64 and no refusals.
    assert_eq!((again.rows.len(), again.requests), (500, 8));
}

#[tokio::test]
async fn patterns_may_be_forbidden() {
    let node = Node::alone().await;
    let from = closed_minute();
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    let levels = ["error", "ERROR", "Fatal", "info", "21"];
    let documents = levels.map(|level| document(from, "a", level, None));
    node.write(&index, &documents).await;
    node.set("search.allow_expensive_queries", json!(false)).await;
    let windows = read(logs(&settings(&node.url, &index)).as_mut(), from).await;
    node.set("search.allow_expensive_queries", Value::Null).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    let (_, point) = &windows.rows[0].points[0];
    assert_eq!(*point, Point::Ratio { part: 4.0, whole: 5.0 });
}

#[tokio::test]
async fn keys_and_passwords() {
    let node = Node::secured().await;
    let from = closed_minute();
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    node.write(&index, &[document(from, "a", "info", None)]).await;
    let plain = settings(&node.url, &index);
    let key = async |privileges: Value| {
        let role = json!({"reader": {"indices": [{"names": [index], "privileges": privileges}]}});
        let body = json!({"name": "test", "role_descriptors": role});
        node.must("POST", "_security/api_key", Some(body)).await
    };
    let with_key = |key: &str| Settings { api_key: Secret::new(key), ..plain.clone() };
    let reader = key(json!(["read"])).await;
    let nobody = key(json!(["monitor"])).await;
    let text = |answer: &Value, field: &str| answer[field].as_str().unwrap().to_owned();

    let both = format!("{}:{}", text(&reader, "id"), text(&reader, "api_key"));
    for good in [
        with_key(&text(&reader, "encoded")),
        with_key(&both),
        Settings {
            username: "elastic".to_owned(),
            password: Secret::new(PASSWORD),
            ..plain.clone()
        },
    ] {
        let windows = read(logs(&good).as_mut(), from).await;
        assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
        assert_eq!(windows.rows.len(), 1);
    }
    for bad in [plain.clone(), with_key("bm8ta2V5Om5v"), with_key(&text(&nobody, "encoded"))] {
        let mut source = logs(&bad);
        let (kind, reason) = failed(&read(source.as_mut(), from).await);
        assert_eq!(kind, FailureKind::Denied, "{reason}");
        let lines = checked(source.as_mut()).await.join("\n");
        assert!(lines.contains("BAD") && lines.contains("not allowed"), "{lines}");
        assert!(!lines.contains("bm8ta2V5Om5v"), "{lines}");
    }
}

#[tokio::test]
async fn an_index_that_is_not_there_is_named() {
    let node = Node::shared().await;
    for index in [format!("{}-no", node.prefix), format!("{}-no-*", node.prefix)] {
        let (kind, reason) =
            failed(&read(logs(&settings(&node.url, &index)).as_mut(), closed_minute()).await);
        assert_eq!(kind, FailureKind::Refused);
        assert!(reason.contains(&format!("no index matches `{index}`")), "{reason}");
    }
}

#[tokio::test]
async fn an_index_that_goes_away_is_noticed() {
    let node = Node::shared().await;
    let from = closed_minute();
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    node.write(&index, &[document(from, "a", "info", None)]).await;
    let mut source = logs(&settings(&node.url, &index));
    assert!(read(source.as_mut(), from).await.completeness.is_complete());
    node.must("DELETE", &index, None).await;
    assert_eq!(failed(&read(source.as_mut(), from).await).0, FailureKind::Refused);
}

#[tokio::test]
async fn ecs_requests_are_told_from_other_lines_and_lag_is_measured() {
    let node = Node::shared().await;
    let from = closed_minute();
    let index = format!("{}-ecs", node.prefix);
    let mappings = json!({"properties": {
        "@timestamp": {"type": "date_nanos"},
        "service.name": {"type": "keyword"},
        "log.level": {"type": "keyword"},
        "event.duration": {"type": "long"},
        "event.ingested": {"type": "date"},
        "http.response.status_code": {"type": "long"},
    }});
    node.make_index_with(&index, mappings).await;
    let line = |service: &str, second: i64, fields: Value| {
        let at = from + Duration::seconds(second);
        let came = at + Duration::seconds(25);
        let mut line = json!({
            "@timestamp": at.to_rfc3339_opts(SecondsFormat::Nanos, true),
            "event.ingested": came.to_rfc3339_opts(SecondsFormat::Millis, true),
            "service.name": service,
        });
        for (name, value) in fields.as_object().unwrap() {
            line[name] = value.clone();
        }
        line
    };
    let request = |status: i64| json!({"http.response.status_code": status, "event.duration": 250_000_000, "log.level": "info"});
    let documents = [
        line("api", 1, request(200)),
        line("api", 2, request(503)),
        line("api", 3, json!({"log.level": "debug"})),
        line("api", 4, json!({"log.level": "Error"})),
        line("worker", 5, json!({"log.level": "info"})),
        line("worker", 59, json!({"log.level": "ERROR"})),
    ];
    assert_eq!(node.write(&index, &documents).await, 0);
    let windows = read(logs(&settings(&node.url, &index)).as_mut(), from).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    let point = |service: &str, signal: &str| {
        let row = windows.rows.iter().find(|row| &*row.service == service).unwrap();
        row.points.iter().find(|(name, _)| &**name == signal).map(|(_, point)| *point)
    };
    // The debug line is no request; the error line is one that ended badly.
    assert_eq!(point("api", "error_rate"), Some(Point::Ratio { part: 2.0, whole: 3.0 }));
    assert_eq!(point("worker", "error_rate"), Some(Point::Ratio { part: 1.0, whole: 2.0 }));
    let Some(Point::Quantiles(latency)) = point("api", "latency_p99") else { panic!("none") };
    assert!(latency.count == 2 && (latency.values[5] - 250.0).abs() < 1.0, "{latency:?}");
    assert_eq!(point("worker", "latency_p99"), None);
    // The last document came 25 s after second 59: 24 s after the close, give or take the percentile.
    let lag = windows.lag.unwrap().as_secs_f64();
    assert!((10.0..=24.5).contains(&lag), "{lag}");
}

#[tokio::test]
async fn opentelemetry_by_severity_number() {
    let node = Node::shared().await;
    let from = closed_minute();
    let index = format!("{}-otel", node.prefix);
    let mappings = json!({"properties": {
        "@timestamp": {"type": "date_nanos"},
        "resource.attributes.service.name": {"type": "keyword"},
        "severity_text": {"type": "keyword"},
        "severity_number": {"type": "byte"},
        "duration": {"type": "long"},
    }});
    node.make_index_with(&index, mappings).await;
    let span = |text: Option<&str>, number: Option<u8>| {
        json!({"@timestamp": from.to_rfc3339_opts(SecondsFormat::Nanos, true), "duration": 2_000_000,
            "resource": {"attributes": {"service.name": "cart"}}, "severity_text": text,
            "severity_number": number})
    };
    let documents = [
        span(Some("INFO"), Some(9)),
        span(Some("WARN"), Some(13)),
        span(Some("odd"), Some(17)),
        span(None, Some(24)),
        span(Some("FATAL"), None),
    ];
    assert_eq!(node.write(&index, &documents).await, 0);
    let windows = read(logs(&settings(&node.url, &index)).as_mut(), from).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    let row = &windows.rows[0];
    assert_eq!(&*row.service, "cart");
    assert_eq!(row.points[0].1, Point::Ratio { part: 3.0, whole: 5.0 });
    let Point::Quantiles(latency) = row.points[2].1 else { panic!("{row:?}") };
    assert!((latency.values[5] - 2.0).abs() < 1e-3, "{latency:?}");
}

#[tokio::test]
async fn text_fields_are_read_by_their_keyword() {
    let node = Node::shared().await;
    let from = closed_minute();
    let index = format!("{}-dynamic", node.prefix);
    // No mapping at all: the server guesses text with .keyword.
    let documents = [
        document(from, "checkout service", "ERROR", Some(12.5)),
        document(from, "checkout service", "Info", Some(2.5)),
    ];
    node.write(&index, &documents).await;
    let mut source = logs(&settings(&node.url, &index));
    let windows = read(source.as_mut(), from).await;
    assert_eq!(&*windows.rows[0].service, "checkout service");
    assert_eq!(windows.rows[0].points[0].1, Point::Ratio { part: 1.0, whole: 2.0 });
    let lines = checked(source.as_mut()).await.join("\n");
    assert!(lines.contains("service service.name.keyword, level level.keyword"), "{lines}");
}

#[tokio::test]
async fn a_field_that_changes_its_type_costs_only_its_signal() {
    let node = Node::shared().await;
    let from = closed_minute();
    let good = format!("{}-1", node.prefix);
    node.make_index(&good).await;
    node.write(&good, &[document(from, "a", "error", Some(1.0))]).await;
    let mut source = logs(&settings(&node.url, &format!("{}-*", node.prefix)));
    assert!(read(source.as_mut(), from).await.completeness.is_complete());
    let mappings = json!({"properties": {
        "@timestamp": {"type": "date"},
        "service.name": {"type": "keyword"},
        "level": {"type": "keyword"},
        "duration_ms": {"type": "keyword"},
    }});
    let other = format!("{}-2", node.prefix);
    node.make_index_with(&other, mappings).await;
    let odd = json!({"@timestamp": from.timestamp_millis(), "service.name": "b", "level": "info",
        "duration_ms": "slow"});
    node.write(&other, &[odd]).await;
    let windows = read(source.as_mut(), from).await;
    let Completeness::Partial { reason } = &windows.completeness else { panic!("{windows:?}") };
    assert!(reason.contains("duration_ms"), "{reason}");
    // The next read has looked again, and goes without the duration.
    let windows = read(source.as_mut(), from).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    assert_eq!(windows.rows.len(), 2);
    let lines = checked(source.as_mut()).await.join("\n");
    assert!(lines.contains("`duration_ms` is keyword and number in different indices"), "{lines}");
}

fn metric(name: &str, field: &str, aggregation: Aggregation, filter: Option<Value>) -> Metric {
    Metric {
        name: name.to_owned(),
        index: None,
        field: field.to_owned(),
        aggregation,
        service_field: None,
        filter,
        unit: "percent".to_owned(),
        direction: Direction::Up,
    }
}

#[tokio::test]
async fn metric_signals_of_one_index_are_one_search() {
    let node = Node::shared().await;
    let from = closed_minute();
    let index = format!("{}-metrics", node.prefix);
    let mappings = json!({"properties": {
        "@timestamp": {"type": "date"},
        "service.name": {"type": "keyword"},
        "cpu": {"type": "double"},
        "queue": {"type": "long"},
        "env": {"type": "keyword"},
        "label": {"type": "keyword"},
    }});
    node.make_index_with(&index, mappings).await;
    let documents: Vec<Value> = (1..=100)
        .map(|n| {
            let env = if n % 2 == 0 { "prod" } else { "test" };
            json!({"@timestamp": from.timestamp_millis(), "service.name": "a", "cpu": n, "env": env,
                "queue": 2})
        })
        .chain([json!({"@timestamp": from.timestamp_millis(), "service.name": "b", "queue": 7})])
        .collect();
    node.write(&index, &documents).await;
    let prod = json!({"term": {"env": "prod"}});
    let settings = Settings {
        metrics_index: index,
        metrics: vec![
            metric("cpu_avg", "cpu", Aggregation::Avg, None),
            metric("cpu_max", "cpu", Aggregation::Max, Some(prod)),
            metric("cpu_p95", "cpu", Aggregation::P95, None),
            metric("queue_sum", "queue", Aggregation::Sum, None),
            metric("prod_count", "cpu", Aggregation::Count, Some(json!("env:prod"))),
            metric("labels", "label", Aggregation::Avg, None),
        ],
        ..settings(&node.url, "unused")
    };
    let mut source = build(&settings).remove(1);
    assert_eq!(&**source.name(), "metrics");
    let windows = read(source.as_mut(), from).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    let again = read(source.as_mut(), from).await;
    assert_eq!(again.requests, 1);
    let row = |service: &str| windows.rows.iter().find(|row| &*row.service == service).unwrap();
    let names: Vec<&str> = row("a").points.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["cpu_avg", "cpu_max", "cpu_p95", "queue_sum", "prod_count"]);
    let point = |place: usize| row("a").points[place].1;
    assert_eq!(point(0), Point::Mean { sum: 5_050.0, count: 100 });
    assert_eq!(point(1), Point::Max(100.0));
    let Point::Quantiles(p) = point(2) else { panic!("{:?}", point(2)) };
    assert!(p.count == 100 && (p.values[4] - 95.0).abs() < 2.0, "{p:?}");
    assert_eq!(point(3), Point::Count(200.0));
    assert_eq!(point(4), Point::Count(50.0));
    // Service b has no cpu: nothing is said about it.
    assert_eq!(row("b").points.len(), 1);
    let lines = checked(source.as_mut()).await.join("\n");
    assert!(lines.contains("signal labels: `label` is keyword, not a number"), "{lines}");
}

#[tokio::test]
async fn a_wrong_filter_is_refused_with_the_reason() {
    let node = Node::shared().await;
    let index = format!("{}-metrics", node.prefix);
    let from = closed_minute();
    let sample = json!({"@timestamp": from, "service": {"name": "a"}, "cpu": 1});
    node.write(&index, &[sample]).await;
    let settings = Settings {
        metrics_index: index,
        metrics: vec![metric("cpu", "cpu", Aggregation::Avg, Some(json!({"trem": {"a": 1}})))],
        ..settings(&node.url, "unused")
    };
    let (kind, reason) = failed(&read(build(&settings).remove(1).as_mut(), from).await);
    assert_eq!(kind, FailureKind::Refused);
    assert!(reason.contains("trem"), "{reason}");
}

#[tokio::test]
async fn check_says_what_was_found_and_what_it_costs() {
    let node = Node::shared().await;
    let from = bucket_floor(SystemClock.now(), Duration::minutes(1)) - Duration::minutes(1);
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    let documents: Vec<Value> =
        (0..4).map(|n| document(from + Duration::seconds(n), "a", "info", Some(1.0))).collect();
    node.write(&index, &documents).await;
    let lines = checked(logs(&settings(&node.url, &index)).as_mut()).await;
    let shown = lines.join("\n").replace(&node.url, "URL").replace(&index, "INDEX");
    // The clock may have gone into the next minute meanwhile.
    let shown = regexless(&shown);
    insta::assert_snapshot!(shown);
}

/// Replaces each run of digits by `N`.
fn regexless(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if shown.ends_with('N') => {}
            '0'..='9' => shown.push('N'),
            other => shown.push(other),
        }
    }
    shown
}

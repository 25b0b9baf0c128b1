//! How long one cycle of the Elasticsearch source takes: one minute of all services, read and turned into points.
//!
//! Against a stand-in in this process that answers after 5 ms, with 50 and with 10,000 services, and, when
//! `ES_TEST_URL` names a real node (`tests/servers/elasticsearch/es-node`), on 200,000 documents of 10,000 services.
//!
//!     cargo bench --bench source_cycle
#![expect(clippy::print_stdout, reason = "a bench that tells its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should say where")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{UtcTime, WindowKind, Windows, bucket_floor};
use sentinelops::sources::elasticsearch::{Settings, sources};
use sentinelops::sources::{self, Source, Span};
use serde_json::{Value, json};

const LATENCY: Duration = Duration::from_millis(5);
/// Of the system to beat: 1 + 4·50 requests, one after the other, against the same kind of stand-in.
const RIVAL: Duration = Duration::from_millis(1_240);
const MINUTE: i64 = 1_700_000_040;

#[tokio::main]
async fn main() {
    let fifty = stand_in(50, 200, "50 services").await;
    println!("    {:.0} times as fast as 1.24 s", RIVAL.as_secs_f64() / fifty.as_secs_f64());
    stand_in(10_000, 50, "10,000 services x 3 signals").await;
    #[expect(clippy::disallowed_methods, reason = "the bench's only setting")]
    match std::env::var("ES_TEST_URL") {
        Ok(url) if !url.is_empty() => real(&url).await,
        _ => println!("real node: not measured, ES_TEST_URL is not set"),
    }
}

fn source(url: &str, index: &str) -> Box<dyn Source> {
    let settings =
        Settings { url: url.to_owned(), log_index: index.to_owned(), ..Settings::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    sources(&settings, &sources::Settings::default(), &clock).unwrap().remove(0)
}

async fn cycle(source: &mut dyn Source, from: UtcTime) -> Windows {
    let span = Span { from, to: from + chrono::Duration::minutes(1), kind: WindowKind::Fresh };
    let windows = source.read(span).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    windows
}

/// Cycles until `times`; tells the middle and the 95th percentile, answers the middle.
async fn measure(source: &mut dyn Source, from: UtcTime, times: usize, what: &str) -> Duration {
    let first = cycle(source, from).await;
    let mut took = Vec::with_capacity(times);
    let mut last = first.clone();
    for _ in 0..times {
        last = cycle(source, from).await;
        took.push(last.took);
    }
    took.sort_unstable();
    let (middle, high) = (took[times / 2], took[times * 95 / 100]);
    println!(
        "{what}: {} rows, {} request a cycle, median {:.1} ms, 95 % {:.1} ms (the first, with {} requests, {:.1} ms)",
        last.rows.len(),
        last.requests,
        milliseconds(middle),
        milliseconds(high),
        first.requests,
        milliseconds(first.took),
    );
    middle
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

async fn stand_in(services: usize, times: usize, what: &str) -> Duration {
    let buckets: Vec<Value> = (0..services)
        .map(|n| {
            json!({
                "key": {"service": format!("service-{n:05}"), "time": MINUTE * 1_000},
                "doc_count": 60 + n % 40,
                "errors": {"doc_count": n % 3},
                "timed": {"value": 60 + n % 40},
                "latency": {"values": {"25.0": 81.339_874_267_578_12, "50.0": 119.857_139_587_402_34,
                    "75.0": 141.116_680_145_263_67, "90.0": 158.205_993_652_343_75,
                    "95.0": 169.731_384_277_343_75, "99.0": 188.906_822_204_589_84,
                    "100.0": 201.440_826_416_015_62}},
            })
        })
        .collect();
    let reply = json!({"took": 5, "timed_out": false,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"max_score": null, "hits": []},
        "aggregations": {"rows": {"after_key": {"service": "z", "time": MINUTE * 1_000}, "buckets": buckets}}});
    let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    let fields = json!({"indices": ["i"], "fields": {"@timestamp": of("date"), "level": of("keyword"),
        "service.name": of("keyword"), "duration_ms": of("float")}});
    let info = json!({"version": {"number": "8.19.1"}});
    let text = |value: &Value| Bytes::from(value.to_string());
    let routes = Router::new()
        .route("/", get(answer).with_state(text(&info)))
        .route("/{index}/_field_caps", any(answer).with_state(text(&fields)))
        .route("/{index}/_search", any(answer).with_state(text(&reply)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await });
    let from = UtcTime::from_timestamp(MINUTE, 0).unwrap();
    measure(source(&url, "app-logs").as_mut(), from, times, what).await
}

async fn answer(State(body): State<Bytes>) -> impl IntoResponse {
    tokio::time::sleep(LATENCY).await;
    ([("x-elastic-product", "Elasticsearch"), ("content-type", "application/json")], body)
}

/// 10,000 services with 20 documents each in the minute that has just closed.
async fn real(url: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let index = format!("bench-{}", std::process::id());
    let mappings = json!({"properties": {
        "@timestamp": {"type": "date"}, "level": {"type": "keyword"}, "message": {"type": "text"},
        "service": {"properties": {"name": {"type": "keyword"}}}, "duration_ms": {"type": "float"}}});
    let settings = json!({"number_of_shards": 1, "number_of_replicas": 0});
    let made = http
        .put(format!("{url}/{index}"))
        .json(&json!({"mappings": mappings, "settings": settings}))
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let minute = chrono::Duration::minutes(1);
    let from = bucket_floor(SystemClock.now(), minute) - minute;
    for part in 0..20_i64 {
        let mut body = String::new();
        for service in 0..10_000_i64 {
            let at = (from + chrono::Duration::milliseconds(part * 2_900 + service % 2_000))
                .timestamp_millis();
            let level = if (service + part) % 37 == 0 { "error" } else { "info" };
            let duration = 50 + (service * 31 + part * 97) % 200;
            let document = json!({"@timestamp": at, "service": {"name": format!("service-{service:05}")},
                "level": level, "message": "a request", "duration_ms": duration});
            body.push_str("{\"index\":{}}\n");
            body.push_str(&document.to_string());
            body.push('\n');
        }
        let sent = http
            .post(format!("{url}/{index}/_bulk"))
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(sent.status().is_success());
    }
    http.post(format!("{url}/{index}/_refresh")).send().await.unwrap();
    let mut source = source(url, &index);
    measure(source.as_mut(), from, 10, "real node, 200,000 documents, 10,000 services").await;
    // The minute may have gone by while the documents were written.
    if bucket_floor(SystemClock.now(), minute) - minute == from {
        for line in source.check().await {
            println!("    {}", line.detail);
        }
    }
    http.delete(format!("{url}/{index}")).send().await.unwrap();
}

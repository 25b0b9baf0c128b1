//! The log store as its users see it: over HTTP, through its file, and as a source.
//!
//! Long because every way in is tried here.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::{Client, Method, Response, StatusCode};
use sentinelops::clock::{Clock, TimerClock};
use sentinelops::model::{Completeness, Point, UtcTime, WindowKind, Windows};
use sentinelops::secret::Secret;
use sentinelops::sources::embedded::{Embedded, EmbeddedSource, Settings};
use sentinelops::sources::{Source, Span};
use sentinelops::telemetry::Metrics;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::python::judge;
use crate::support::time::eventually;

const TOKEN: &str = "id:a-token-for-the-tests";

fn epoch() -> UtcTime {
    at("2026-11-21T10:00:30Z")
}

fn at(text: &str) -> UtcTime {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("logs.db"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        token: Secret::new(TOKEN),
        max_body_mb: 1,
        queue_mb: 1,
        ..Settings::default()
    }
}

/// A running log store.
pub(crate) struct Store {
    pub(crate) source: EmbeddedSource,
    pub(crate) url: String,
    http: Client,
    metrics: Metrics,
    soft: CancellationToken,
    task: JoinHandle<()>,
}

impl Store {
    pub(crate) async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let metrics = Metrics::new();
        let (source, mut intake) = Embedded::open(settings, clock, metrics.clone()).await.unwrap();
        let url = format!("http://{}", intake.bind().await.unwrap().unwrap());
        let soft = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "ended by the test itself")]
        let task = tokio::spawn(intake.serve(soft.clone()));
        let http = Client::builder().no_proxy().build().unwrap();
        Self { source, url, http, metrics, soft, task }
    }

    async fn start(folder: &TempDir) -> Self {
        Self::open(settings(folder.path()), Arc::new(TimerClock::new(epoch()))).await
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.soft.cancel();
        tokio::time::timeout(Duration::from_secs(1), self.task).await.unwrap().unwrap();
    }

    async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        self.call(Method::POST, path, headers, body).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("authorization", format!("ApiKey {TOKEN}"))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let product =
            response.headers().get("x-elastic-product").map(|value| value.to_str().unwrap());
        assert_eq!(product, Some("Elasticsearch"), "Elastic's clients refuse other products");
        response
    }

    pub(crate) async fn bulk(&self, lines: &[Value]) -> Value {
        let response = self.post("/_bulk", &[NDJSON], ndjson(lines)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    async fn read(&mut self, from: &str, to: &str) -> Windows {
        let span = Span { from: at(from), to: at(to), kind: WindowKind::Fresh };
        self.source.read(span).await
    }
}

type Headers = Vec<(&'static str, &'static str)>;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn ndjson(lines: &[Value]) -> String {
    lines.iter().fold(String::new(), |body, line| format!("{body}{line}\n"))
}

/// Action and document.
fn create(document: Value) -> [Value; 2] {
    [json!({"create": {"_index": "logs-app"}}), document]
}

fn request(service: &str, time: &str, level: &str, duration_ms: f64) -> Value {
    json!({"@timestamp": time, "service.name": service, "level": level, "message": "m",
        "duration_ms": duration_ms, "trace.id": "t1"})
}

/// Rows in words, sorted: what every assertion compares.
fn shown(windows: &Windows) -> Vec<String> {
    let mut rows: Vec<String> = windows
        .rows
        .iter()
        .map(|row| {
            let points: Vec<String> = row
                .points
                .iter()
                .map(|(signal, point)| match point {
                    Point::Ratio { part, whole } => format!("{signal} {part}/{whole}"),
                    Point::Count(count) => format!("{signal} {count}"),
                    Point::Quantiles(q) => {
                        format!("{signal} {} of {:.0}..{:.0}", q.count, q.values[0], q.values[6])
                    }
                    other => format!("{signal} {other:?}"),
                })
                .collect();
            format!("{} {}: {}", row.start.format("%H:%M"), row.service, points.join(", "))
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn what_was_answered_is_read_and_survives_an_abrupt_end() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::start(&folder).await;
    let lines: Vec<Value> = [
        create(request("pay", "2026-11-21T09:58:10Z", "info", 100.0)),
        create(request("pay", "2026-11-21T09:58:50Z", "ERROR", 1_800.0)),
        create(json!({"@timestamp": "2026-11-21T09:58:00Z"})),
        create(request("pay", "2026-11-21T09:59:00Z", "warn", 300.0)),
        create(request("pay", "1999-01-01T00:00:00Z", "info", 1.0)),
        create(request("pay", "2026-11-21T11:00:00Z", "info", 1.0)),
        create(request(&"x".repeat(300), "2026-11-21T09:58:00Z", "info", 1.0)),
        create(request("order", "2026-11-21T09:59:59.999Z", "info", 7.0)),
        create(json!({"@timestamp": "2026-11-21T09:58:00Z", "service.name": "pay", "duration_ms": "NaN"})),
        create(json!(["no object"])),
    ]
    .concat();
    let mut reply = store.bulk(&lines).await;
    for item in reply["items"].as_array_mut().unwrap() {
        item["create"].as_object_mut().unwrap().remove("_id").unwrap();
    }
    reply["took"] = json!(0);
    insta::assert_json_snapshot!("bulk_reply", reply);
    let deleted = [
        json!({"delete": {"_index": "logs-app", "_id": "1"}}),
        json!({"update": {"_index": "logs-app", "_id": "1"}}),
        json!({"doc": {}}),
    ];
    let reply = store.bulk(&deleted).await;
    assert_eq!((&reply["errors"], reply["items"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(reply["items"][0]["delete"]["status"], 400);

    let expected = [
        "09:58 pay: error_rate 1/2, throughput 2, latency_p99 2 of 100..1800",
        "09:59 order: error_rate 0/1, throughput 1, latency_p99 1 of 7..7",
        "09:59 pay: error_rate 0/1, throughput 1, latency_p99 1 of 300..300",
    ];
    let windows = store.read("2026-11-21T09:58:00Z", "2026-11-21T10:00:00Z").await;
    assert_eq!(windows.completeness, Completeness::Complete);
    let first = shown(&windows);
    assert_eq!(first.len(), expected.len(), "{first:?}");
    for (row, expected) in first.iter().zip(expected) {
        // The smallest quantile is the sketch's: within one per cent.
        assert_eq!(row.replace("101..", "100..").replace("99..", "100.."), expected);
    }
    // As kill −9 does: nothing gets to finish.
    store.task.abort();
    drop(store);
    let mut store = Store::start(&folder).await;
    let windows = store.read("2026-11-21T09:58:00Z", "2026-11-21T10:00:00Z").await;
    assert_eq!(shown(&windows), first);
    let events = store.source.events(at("2026-11-21T09:00:00Z"), epoch(), 10).await.unwrap();
    let events: Vec<_> = events.iter().map(|e| (e.level.as_str(), e.trace_id.as_deref())).collect();
    assert_eq!(events, [("warning", Some("t1")), ("error", Some("t1"))]);
    let counted: u64 = store.source.rejected().await.unwrap().iter().map(|(_, count)| count).sum();
    assert_eq!(counted, 8);
    store.stop().await;
}

#[tokio::test]
async fn late_documents_change_their_bucket_and_are_told() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::start(&folder).await;
    store.bulk(&create(request("pay", "2026-11-21T09:59:10Z", "info", 10.0))).await;
    let (from, to) = ("2026-11-21T09:59:00Z", "2026-11-21T10:00:00Z");
    store.read(from, to).await;
    assert_eq!(store.source.changed(), None);
    store.bulk(&create(request("pay", "2026-11-21T09:59:20Z", "error", 20.0))).await;
    store.bulk(&create(request("pay", "2026-11-21T10:00:20Z", "error", 20.0))).await;
    assert_eq!(store.source.changed(), Some((at(from), at(to))));
    let windows = store.read(from, to).await;
    assert_eq!(
        shown(&windows),
        ["09:59 pay: error_rate 1/2, throughput 2, latency_p99 2 of 10..20"]
    );
    assert_eq!(store.source.changed(), None);
    // Between ten and seventy seconds late: the next power of two.
    assert!(windows.lag.unwrap() > Duration::from_mins(1), "{:?}", windows.lag);
    store.stop().await;
}

#[tokio::test]
async fn requests_are_refused_in_elasticsearchs_words() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(&folder).await;
    let good = ndjson(&create(request("pay", "2026-11-21T10:00:00Z", "info", 1.0)));
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b'\n'; 30_000_000]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let cases: [(&str, &str, Headers, Vec<u8>); 15] = [
        (
            "a wrong token",
            "/_bulk",
            vec![NDJSON, ("authorization", "ApiKey nobody")],
            good.clone().into(),
        ),
        (
            "a browser",
            "/_bulk",
            vec![NDJSON, ("origin", "http://evil.example")],
            good.clone().into(),
        ),
        ("a form", "/_bulk", vec![("content-type", "text/plain")], good.clone().into()),
        ("no content type", "/_bulk", vec![], good.clone().into()),
        ("nothing", "/_bulk", vec![NDJSON], vec![]),
        ("no newline", "/_bulk", vec![NDJSON], good.trim_end().into()),
        ("no action", "/_bulk", vec![NDJSON], b"hello\n".to_vec()),
        ("no index", "/_bulk", vec![NDJSON], b"{\"create\":{}}\n{}\n".to_vec()),
        ("too large", "/_bulk", vec![NDJSON], vec![b' '; 1_000_001]),
        ("a bomb", "/_bulk", vec![NDJSON, ("content-encoding", "gzip")], bomb),
        ("no gzip", "/_bulk", vec![NDJSON, ("content-encoding", "gzip")], good.clone().into()),
        ("zstd", "/_bulk", vec![NDJSON, ("content-encoding", "zstd")], good.clone().into()),
        ("a search", "/logs/_search", vec![NDJSON], b"{}".to_vec()),
        ("elsewhere", "/_nodes/reload", vec![NDJSON], b"{}".to_vec()),
        (
            "a bad document",
            "/logs/_doc",
            vec![("content-type", "application/json")],
            b"{}".to_vec(),
        ),
    ];
    let mut answers = Vec::new();
    for (what, path, headers, body) in cases {
        let request = store.http.post(format!("{}{path}", store.url)).body(body);
        let mut request = if what == "a wrong token" {
            request
        } else {
            request.header("authorization", format!("ApiKey {TOKEN}"))
        };
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-elastic-product"], "Elasticsearch");
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["status"], status);
        let error = &body["error"];
        assert_eq!(error["root_cause"][0]["reason"], error["reason"]);
        let (kind, reason) = (error["type"].as_str().unwrap(), error["reason"].as_str().unwrap());
        answers.push(format!("{what}: {status} {kind}: {reason}"));
    }
    insta::assert_snapshot!("refusals", answers.join("\n"));
    // None of it harmed the store.
    assert_eq!(store.post("/_bulk", &[NDJSON], good).await.status(), StatusCode::OK);
    store.stop().await;
}

#[tokio::test]
async fn a_full_queue_tells_senders_to_come_back() {
    let folder = TempDir::new().unwrap();
    let store = Store::start(&folder).await;
    // One sender holds most of the room by sending slowly.
    let address = store.url.trim_start_matches("http://");
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    let line = ndjson(&create(request("pay", "2026-11-21T10:00:00Z", "info", 1.0)));
    let body = line.repeat(900_000 / line.len());
    let head = format!(
        "POST /_bulk HTTP/1.1\r\nhost: x\r\nauthorization: ApiKey {TOKEN}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let (sent, held) = body.split_at(body.len() - 1);
    slow.write_all(sent.as_bytes()).await.unwrap();
    eventually("the slow sender's body occupies the room", || async {
        store.metrics.intake_queue_bytes.get() > 800_000
    })
    .await;
    let refused = store.post("/_bulk", &[NDJSON], line.repeat(200_000 / line.len())).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["type"], "es_rejected_execution_exception");
    // The slow one is served, and then there is room again.
    slow.write_all(held.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:.100}");
    // The largest request that is allowed fits into an empty queue.
    let taken = store.post("/_bulk", &[NDJSON], line.repeat(1_000_000 / line.len())).await;
    assert_eq!(taken.status(), StatusCode::OK);
    let shown = store.metrics.render();
    assert!(shown.contains("sentinelops_intake_requests_total{status=\"429\"} 1"), "{shown}");
    store.stop().await;
}

/// What Vector's `elasticsearch` sink and Fluent Bit's `es` output send, byte for byte in headers and framing, with
/// their defaults for Elasticsearch 8; and what other shippers ask when they start.
#[tokio::test]
async fn shippers_find_what_they_ask_for() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::start(&folder).await;
    let gzip = |body: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(body.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let vector = "{\"create\":{\"_index\":\"vector-2026.11.21\"}}\n\
        {\"host\":\"h\",\"level\":\"error\",\"message\":\"m\",\"service\":\"pay\",\"source_type\":\"file\",\
        \"timestamp\":\"2026-11-21T09:59:01.123456789Z\"}\n";
    let fluent_bit = "{\"create\":{\"_index\":\"fluent-bit\",\"_type\":\"_doc\"}}\n\
        {\"@timestamp\":\"2026-11-21T09:59:02.000Z\",\"service\":{\"name\":\"pay\"},\"log\":{\"level\":\"warn\"},\
        \"event\":{\"duration\":5000000}}\n";
    let sent = [
        (
            "/_bulk",
            vec![NDJSON, ("content-encoding", "gzip"), ("accept-encoding", "identity")],
            gzip(vector),
        ),
        ("/_bulk/?pipeline=p", vec![NDJSON, ("user-agent", "Fluent-Bit")], fluent_bit.into()),
        ("/_bulk", vec![("content-type", "application/json; charset=utf-8")], vector.into()),
        (
            "/logs/_bulk",
            vec![("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=9")],
            b"{\"index\":{}}\n{\"@timestamp\":1795255140000,\"service.name\":\"pay\"}\n".to_vec(),
        ),
    ];
    for (path, headers, body) in sent {
        let response = store.post(path, &headers, body).await;
        assert_eq!(response.status(), StatusCode::OK, "{path} {headers:?}");
        let reply: Value = response.json().await.unwrap();
        assert_eq!(reply["errors"], false, "{reply}");
    }
    let windows = store.read("2026-11-21T09:59:00Z", "2026-11-21T10:00:00Z").await;
    assert_eq!(shown(&windows), ["09:59 pay: error_rate 2/3, throughput 3, latency_p99 1 of 5..5"]);

    let asked = [
        (Method::GET, "/", 200),
        (Method::HEAD, "/", 200),
        (Method::GET, "/_license?human=false", 200),
        (Method::GET, "/_xpack", 200),
        (Method::GET, "/_cluster/health", 200),
        (Method::GET, "/_cat/health", 200),
        (Method::HEAD, "/_index_template/filebeat-8.19.0", 404),
        (Method::PUT, "/_index_template/filebeat-8.19.0", 200),
        (Method::GET, "/_ilm/policy/filebeat", 404),
        (Method::PUT, "/_ilm/policy/filebeat", 200),
        (Method::PUT, "/_ingest/pipeline/filebeat", 200),
        (Method::PUT, "/_data_stream/filebeat-8.19.0", 200),
        (Method::HEAD, "/logs-app", 200),
        (Method::POST, "/logs-app/_refresh", 200),
    ];
    for (method, path, status) in asked {
        let response = store.call(method.clone(), path, &[], "").await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
    }
    let accept = ("accept", "application/vnd.elasticsearch+json; compatible-with=9");
    let info = store.call(Method::GET, "/", &[accept], "").await;
    assert_eq!(
        info.headers()["content-type"],
        "application/vnd.elasticsearch+json;compatible-with=9"
    );
    let info: Value = info.json().await.unwrap();
    assert_eq!(info["version"]["build_flavor"], "default");
    store.stop().await;
}

#[tokio::test]
async fn what_is_old_is_dropped_and_what_is_open_is_locked() {
    let folder = TempDir::new().unwrap();
    let clock = TimerClock::new(epoch());
    let mut store = Store::open(settings(folder.path()), Arc::new(clock)).await;
    store.bulk(&create(request("pay", "2026-11-15T00:00:00Z", "error", 1.0))).await;
    store.bulk(&create(request("pay", "2026-11-21T10:00:00Z", "error", 1.0))).await;
    let (from, to) = ("2026-11-14T00:00:00Z", "2026-11-22T00:00:00Z");
    assert_eq!(store.read(from, to).await.rows.len(), 2);
    let second = Embedded::open(settings(folder.path()), Arc::new(clock), Metrics::new()).await;
    let error = second.err().map(|error| error.to_string()).unwrap();
    assert!(error.ends_with("another sentinelops process uses it"), "{error}");
    store.stop().await;

    // Two days later the first one is older than a week.
    let later = TimerClock::new(epoch() + TimeDelta::days(2));
    let mut store = Store::open(settings(folder.path()), Arc::new(later)).await;
    eventually("the old bucket is gone", || async { store.metrics.log_store_bytes.get() > 0 })
        .await;
    assert_eq!(
        shown(&store.read(from, "2026-11-23T11:00:00Z").await),
        Vec::<String>::new(),
        "a read that reaches into a pause of two days is not complete yet"
    );
    let span = Span { from: at(from), to: at(to), kind: WindowKind::Backfill };
    let windows = store.source.read(span).await;
    assert_eq!(windows.completeness, Completeness::Complete);
    assert_eq!(windows.rows.len(), 1);
    let refused = store.bulk(&create(request("pay", "2026-11-15T00:00:00Z", "info", 1.0))).await;
    assert_eq!(refused["errors"], true);
    store.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_to_senders_and_readers() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::start(&folder).await;
    let (from, to) = ("2026-11-21T10:00:00Z", "2026-11-21T10:01:00Z");
    let document = create(request("pay", "2026-11-21T10:00:10Z", "info", 1.0));
    store.bulk(&document).await;
    assert_eq!(store.read(from, to).await.rows.len(), 1);
    // Somebody else writes to the file for longer than the store waits.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("logs.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut other).await.unwrap();
    let refused = store.post("/_bulk", &[NDJSON], ndjson(&document)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    let windows = store.read(from, to).await;
    let reason = windows.completeness.reason().unwrap();
    assert!(reason.starts_with("the log store cannot be written since"), "{reason}");
    assert!(windows.rows.is_empty());
    let health = store.call(Method::GET, "/_cluster/health", &[], "").await;
    assert_eq!(health.json::<Value>().await.unwrap()["status"], "red");
    // Afterwards it goes on, and what was refused has left no trace.
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    store.bulk(&document).await;
    let windows = store.read(from, to).await;
    let reason = windows.completeness.reason().unwrap();
    assert!(reason.contains("shippers have until"), "{reason}");
    let span = Span { from: at(from), to: at(to), kind: WindowKind::Backfill };
    let windows = store.source.read(span).await;
    assert_eq!(shown(&windows), ["10:00 pay: error_rate 0/2, throughput 2, latency_p99 2 of 1..1"]);
    store.stop().await;
}

#[tokio::test]
async fn documents_from_inside_the_process_need_no_listener() {
    let folder = TempDir::new().unwrap();
    let settings = Settings { listen: None, ..settings(folder.path()) };
    let clock = Arc::new(TimerClock::new(epoch()));
    let (mut source, mut intake) = Embedded::open(settings, clock, Metrics::new()).await.unwrap();
    assert_eq!(intake.bind().await.unwrap(), None);
    let ingest = intake.ingest();
    let soft = CancellationToken::new();
    let body = ndjson(&create(request("pay", "2026-11-21T09:59:00Z", "info", 1.0)));
    let write = async {
        let reply = ingest.bulk(body.as_bytes(), None).await.unwrap();
        assert_eq!((reply.items.len(), reply.refused()), (1, 0));
        soft.cancel();
    };
    tokio::join!(intake.serve(soft.clone()), write);
    assert!(ingest.bulk(body.as_bytes(), None).await.is_err(), "it is closed");
    let span = Span { from: at("2026-11-21T09:59:00Z"), to: epoch(), kind: WindowKind::Fresh };
    assert_eq!(source.read(span).await.rows.len(), 1);
    assert!(source.check().await.iter().all(|checked| checked.ok != Some(false)));
}

#[tokio::test]
async fn elastics_python_clients_write_to_it() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::start(&folder).await;
    for (package, service) in [("elasticsearch8", "eight"), ("elasticsearch", "nine")] {
        let arguments = [package, &store.url, TOKEN, service, "2026-11-21T09:59:30Z"];
        let said = judge("elasticsearch_writes.py", &arguments, "").await;
        assert_eq!(
            said, "bulk 500 streaming 500 refused 1 document created basic 1\n",
            "{package}"
        );
    }
    let windows = store.read("2026-11-21T09:59:00Z", "2026-11-21T10:00:00Z").await;
    assert_eq!(
        shown(&windows),
        [
            "09:59 eight: error_rate 100/1002, throughput 1002, latency_p99 1002 of 5..5",
            "09:59 nine: error_rate 100/1002, throughput 1002, latency_p99 1002 of 5..5",
        ]
    );
    store.stop().await;
}

//! What a server that is broken, overloaded or no Elasticsearch at all may answer, and what becomes of it: each its
//! own completeness, none of it a panic. On stand-ins; the real node's own hard states are in `elasticsearch`.

use std::sync::Arc;
use std::time::Duration;

use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{Completeness, FailureKind, Point, UtcTime, WindowKind, Windows};
use sentinelops::sources::elasticsearch::{Settings, sources};
use sentinelops::sources::{self, Source, Span};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn good(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .insert_header("x-elastic-product", "Elasticsearch")
        .set_body_json(body)
}

fn fields() -> Value {
    let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    json!({"indices": ["i"], "fields": {
        "@timestamp": of("date"),
        "service.name": of("keyword"),
        "level": of("keyword"),
        "duration_ms": of("float"),
    }})
}

/// A stand-in that answers all but searches like a sound server.
async fn stand_in(version: &str) -> MockServer {
    let server = MockServer::start().await;
    let info = json!({"version": {"number": version}, "tagline": "You Know, for Search"});
    Mock::given(method("GET")).and(path("/")).respond_with(good(&info)).mount(&server).await;
    Mock::given(path_regex("/_field_caps$")).respond_with(good(&fields())).mount(&server).await;
    server
}

async fn answering(search: ResponseTemplate) -> MockServer {
    let server = stand_in("8.19.1").await;
    Mock::given(path_regex("/_search$")).respond_with(search).mount(&server).await;
    server
}

fn source(url: &str, deadline_seconds: u64) -> Box<dyn Source> {
    let settings = Settings { url: url.to_owned(), ..Settings::default() };
    let polling = sources::Settings { deadline_seconds, ..sources::Settings::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    sources(&settings, &polling, &clock).unwrap().remove(0)
}

const MINUTE: i64 = 1_700_000_040;

async fn read(source: &mut dyn Source) -> Windows {
    let at = |second| UtcTime::from_timestamp(second, 0).unwrap();
    let span = Span { from: at(MINUTE), to: at(MINUTE + 60), kind: WindowKind::Fresh };
    let windows = source.read(span).await;
    assert!(windows.completeness.is_complete() || windows.rows.is_empty());
    windows
}

/// What became of one answer to a search.
async fn outcome(search: ResponseTemplate) -> String {
    let server = answering(search).await;
    let windows = read(source(&server.uri(), 5).as_mut()).await;
    shown(&windows.completeness).replace(&server.uri(), "URL")
}

fn shown(completeness: &Completeness) -> String {
    match completeness {
        Completeness::Complete => "complete".to_owned(),
        Completeness::Partial { reason } => format!("partial: {reason}"),
        Completeness::Failed { kind, reason, .. } => format!("{}: {reason}", kind.as_str()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json! at the calls")]
fn reply(extra: Value, buckets: Value) -> Value {
    let mut reply = json!({
        "took": 3,
        "timed_out": false,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {"hits": []},
        "aggregations": {"rows": {"buckets": buckets}},
    });
    for (name, value) in extra.as_object().unwrap() {
        reply[name] = value.clone();
    }
    reply
}

fn bucket(service: &Value) -> Value {
    let values = json!({"25.0": 1.0, "50.0": 2.0, "75.0": 3.0, "90.0": 4.0, "95.0": 5.0, "99.0": 6.0,
        "100.0": 7.0});
    json!({"key": {"service": service, "time": MINUTE * 1_000}, "doc_count": 10,
        "errors": {"doc_count": 1}, "timed": {"value": 10}, "latency": {"values": values}})
}

#[tokio::test]
async fn every_answer_has_its_outcome() {
    let error = |status: u16, kind: &str, reason: &str| {
        let cause = json!({"type": kind, "reason": reason});
        let body = json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status});
        ResponseTemplate::new(status)
            .insert_header("x-elastic-product", "Elasticsearch")
            .set_body_json(body)
    };
    let shards = json!({"_shards": {"total": 5, "successful": 3, "skipped": 0, "failed": 2, "failures": [
        {"shard": 0, "index": "logs-1", "node": "n",
         "reason": {"type": "query_shard_exception", "reason": "field went away"}}]}});
    let answers = [
        ("sound", good(&reply(json!({}), json!([bucket(&json!("a"))])))),
        ("timed out", good(&reply(json!({"timed_out": true}), json!([])))),
        ("ended early", good(&reply(json!({"terminated_early": true}), json!([])))),
        ("failed shards", good(&reply(shards, json!([bucket(&json!("a"))])))),
        (
            "a remote cluster is away",
            good(&reply(
                json!({"_clusters": {"total": 2, "successful": 1, "skipped": 1}}),
                json!([]),
            )),
        ),
        ("busy", error(429, "es_rejected_execution_exception", "queue is full")),
        ("not yet", error(503, "cluster_block_exception", "state not recovered")),
        ("gateway", ResponseTemplate::new(502).set_body_string("<html>Bad Gateway</html>")),
        ("no key", error(401, "security_exception", "missing credentials")),
        ("not allowed", error(403, "security_exception", "action is unauthorized")),
        ("wrong query", error(400, "parsing_exception", "unknown query [trem]")),
        ("no JSON", good(&json!(null)).set_body_string("<html>hello</html>")),
        (
            "cut off",
            good(&json!(null)).set_body_string("{\"took\":3,\"_shards\":{\"total\":5},\"aggreg"),
        ),
        ("of another shape", good(&json!({"cluster_name": "x", "status": "green"}))),
        ("wrong types", good(&reply(json!({}), json!([{"key": 3, "doc_count": "many"}])))),
        (
            "a negative count",
            good(&reply(json!({}), json!([{"key": {"service": "a", "time": 0}, "doc_count": -1}]))),
        ),
        ("without aggregations", good(&json!({"_shards": {"total": 5}}))),
        ("no index", good(&json!({"_shards": {"total": 0}}))),
        ("no Elasticsearch", ResponseTemplate::new(200).set_body_string("It works!")),
    ];
    let mut outcomes = Vec::new();
    for (name, answer) in answers {
        outcomes.push(format!("{name} -> {}", outcome(answer).await));
    }
    insta::assert_snapshot!(outcomes.join("\n"));
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "120");
    let server = answering(busy).await;
    let before = SystemClock.now();
    let windows = read(source(&server.uri(), 5).as_mut()).await;
    let Completeness::Failed { kind, retry_at: Some(at), .. } = windows.completeness else {
        panic!("{:?}", windows.completeness)
    };
    assert_eq!(kind, FailureKind::Throttled);
    assert!((119..=125).contains(&(at - before).num_seconds()), "{at}");
}

#[tokio::test]
async fn numbers_that_are_none_are_kept_apart() {
    let with = |service: &Value, values: Value| {
        let mut bucket = bucket(service);
        bucket["latency"]["values"] = values;
        bucket
    };
    let all = |value: &Value| {
        let names = ["25.0", "50.0", "75.0", "90.0", "95.0", "99.0", "100.0"];
        Value::Object(names.iter().map(|name| ((*name).to_owned(), value.clone())).collect())
    };
    let buckets = json!([
        bucket(&json!("sound")),
        with(&json!("null"), all(&json!(null))),
        with(&json!("nan"), all(&json!("NaN"))),
        with(&json!("infinite"), all(&json!("Infinity"))),
        with(&json!("huge"), all(&json!(1e300))),
        with(&json!("absent"), json!({})),
        bucket(&json!(null)),
        bucket(&json!(42)),
        bucket(&json!("")),
    ]);
    let server = answering(good(&reply(json!({}), buckets))).await;
    let windows = read(source(&server.uri(), 5).as_mut()).await;
    assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
    let timed: Vec<&str> = windows
        .rows
        .iter()
        .filter(|row| row.points.iter().any(|(_, point)| matches!(point, Point::Quantiles(_))))
        .map(|row| &*row.service)
        .collect();
    assert_eq!(timed, ["sound", "42"]);
    // Their counts are good all the same.
    assert_eq!(windows.rows.len(), 7);
    assert_eq!(
        windows.rejected,
        [
            ("documents without a service".to_owned(), 20),
            ("durations that are no finite numbers".to_owned(), 50)
        ]
    );
}

#[tokio::test]
async fn paging_that_does_not_advance_ends() {
    let full: Vec<Value> = (0..16_384).map(|_| bucket(&json!("a"))).collect();
    let mut stuck = reply(json!({}), Value::Array(full));
    stuck["aggregations"]["rows"]["after_key"] = json!({"service": "a", "time": 1});
    let said = outcome(good(&stuck)).await;
    assert_eq!(said, "malformed: paging does not advance");
}

#[tokio::test]
async fn others_are_refused_by_name() {
    let opensearch = MockServer::start().await;
    let info = json!({"version": {"distribution": "opensearch", "number": "2.19.1"}});
    let answer = ResponseTemplate::new(200).set_body_json(&info);
    Mock::given(method("GET")).respond_with(answer).mount(&opensearch).await;
    let old = stand_in("8.10.4").await;
    let web = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_string("<html>welcome</html>");
    Mock::given(method("GET")).respond_with(page).mount(&web).await;
    let mut said = Vec::new();
    for server in [&opensearch, &old, &web] {
        let mut source = source(&server.uri(), 5);
        let windows = read(source.as_mut()).await;
        assert!(matches!(
            windows.completeness,
            Completeness::Failed { kind: FailureKind::Refused, .. }
        ));
        let lines = source.check().await;
        assert!(lines.iter().any(|line| line.ok == Some(false)), "{lines:?}");
        said.push(shown(&windows.completeness).replace(&server.uri(), "URL"));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn a_silent_server_costs_one_deadline() {
    let slow = good(&reply(json!({}), json!([]))).set_delay(Duration::from_mins(1));
    let server = answering(slow).await;
    let windows = read(source(&server.uri(), 1).as_mut()).await;
    let Completeness::Failed { kind, .. } = windows.completeness else { panic!("answered") };
    assert_eq!(kind, FailureKind::Deadline);
    assert!(windows.took < Duration::from_secs(10), "{:?}", windows.took);
}

#[tokio::test]
async fn another_node_is_asked_when_one_is_gone() {
    let server = answering(good(&reply(json!({}), json!([bucket(&json!("a"))])))).await;
    let gone = "http://127.0.0.1:1";
    let mut both = source(&format!("{gone},{}", server.uri()), 5);
    for _ in 0..3 {
        assert_eq!(read(both.as_mut()).await.rows.len(), 1);
    }
    let windows = read(source(gone, 5).as_mut()).await;
    let said = shown(&windows.completeness);
    assert!(said.starts_with("unreachable: http://127.0.0.1:1 cannot be reached: "), "{said}");
    assert!(said.to_lowercase().contains("connection refused"), "{said}");
}

#[tokio::test]
async fn only_reading_calls_are_sent() {
    let server = answering(good(&reply(json!({}), json!([])))).await;
    let mut source = source(&server.uri(), 5);
    read(source.as_mut()).await;
    source.check().await;
    for request in server.received_requests().await.unwrap() {
        let call = (request.method.as_str(), request.url.path());
        let reads = matches!(call, ("GET", "/"))
            || matches!(call, ("GET", path) if path.ends_with("/_field_caps"))
            || matches!(call, ("POST", path) if path.ends_with("/_search"));
        assert!(reads, "{call:?}");
    }
}

/// Answers every request with these bytes.
async fn raw(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 8_192];
            if connection.read(&mut request).await.is_ok() {
                connection.write_all(answer.as_bytes()).await.unwrap_or_default();
            }
        }
    });
    url
}

#[tokio::test]
async fn huge_and_broken_answers_are_not_swallowed() {
    let head = "HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-length: ";
    let huge: &'static str = Box::leak(format!("{head}99000000000\r\n\r\n{{").into_boxed_str());
    let broken: &'static str = Box::leak(format!("{head}500\r\n\r\n{{\"took\"").into_boxed_str());
    let mut said = Vec::new();
    for answer in [huge, broken, "", "HTTP/1.1 banana\r\n\r\n"] {
        let url = raw(answer).await;
        let windows = read(source(&url, 5).as_mut()).await;
        said.push(shown(&windows.completeness).replace(&url, "URL"));
    }
    insta::assert_snapshot!(said.join("\n"));
}

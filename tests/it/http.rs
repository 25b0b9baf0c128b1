//! The API as clients see it: bodies, refusals, and who may ask. Long because every route and every refusal is
//! asked for once, over one rig.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use sentinelops::clock::Clock;
use sentinelops::http::{
    self, BoxFuture, Explain, Freshness, NotNow, Question, Server, Settings, SourceFreshness, State,
};
use sentinelops::incidents::{self, Handle, Snapshot, Writer};
use sentinelops::lifecycle::Lifecycle;
use sentinelops::model::{
    Change, Evidence, Gate, IncidentState, Outlook, SeriesKey, ServiceName, Severity, Unit,
    UtcTime, Verdict,
};
use sentinelops::secret::Secret;
use sentinelops::store::{self, Changes, Store};
use sentinelops::telemetry::Metrics;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use crate::support::incidents::{incident, owed};
use crate::support::messages::{at, outage};
use crate::support::time::eventually;

const NOW: &str = "2026-11-21T03:30:00Z";
pub(crate) const TOKEN: &str = "0123456789abcdef0123";

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UtcTime {
        at(NOW)
    }
}

/// Knows one series; breaks or stays silent when asked to.
#[derive(Debug)]
struct Oracle;

impl Explain for Oracle {
    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Vec<Verdict>, NotNow>> {
        Box::pin(async move {
            match question.service.as_str() {
                "payment-service" => Ok(vec![verdict()]),
                "broken" => panic!("broken on purpose"),
                "silent" => std::future::pending().await,
                "stopping" => Err(NotNow),
                _ => Ok(Vec::new()),
            }
        })
    }
}

pub(crate) fn verdict() -> Verdict {
    Verdict {
        series: SeriesKey::new("payment-service", "error_rate"),
        unit: Unit::Ratio,
        window: (at("2026-11-21T03:10:00Z"), at("2026-11-21T03:15:00Z")),
        outlook: Outlook::Quiet,
        score: Some(2.4),
        current: Some(0.051),
        expected: Some(0.021),
        spread: Some(0.012),
        baseline: vec![0.018, 0.02, 0.024, 0.021],
        frozen_since: None,
        evidence: Evidence {
            method: "beta_binomial".to_owned(),
            summary: "5 of 98 requests failed; 12 of 600 in the hour before".to_owned(),
            numbers: vec![("errors".to_owned(), 5.0), ("requests".to_owned(), 98.0)],
            gates: vec![
                Gate {
                    name: "minimum_volume".to_owned(),
                    passed: true,
                    detail: "98 requests, needs 30".to_owned(),
                },
                Gate {
                    name: "persistence".to_owned(),
                    passed: false,
                    detail: "1 window of 3".to_owned(),
                },
            ],
            recent: vec![Some(0.02), Some(0.0), None, Some(0.06), Some(0.08)],
            recent_from: Some(at("2026-11-21T03:10:00Z")),
        },
    }
}

#[derive(Debug)]
struct Sources {
    blind: bool,
}

impl Freshness for Sources {
    fn sources(&self) -> Vec<SourceFreshness> {
        vec![SourceFreshness {
            name: "logs".into(),
            last_read_at: Some(at("2026-11-21T03:29:15Z")),
            newest: Some(at("2026-11-21T03:29:00Z")),
            blind_since: self.blind.then(|| at("2026-11-21T03:24:00Z")),
            trouble: self.blind.then(|| "Elasticsearch answered 401".to_owned()),
            lag: Some(Duration::from_millis(8_500)),
            rejected: 3,
        }]
    }

    fn services(&self) -> Vec<ServiceName> {
        vec!["auth-service".into(), "payment-service".into()]
    }
}

/// A running writer over a store with three incidents, and the routes before them.
struct Rig {
    router: Router,
    lifecycle: Lifecycle,
    _folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

impl Rig {
    async fn new(settings: Settings) -> Self {
        Self::with(settings, false).await
    }

    async fn with(settings: Settings, blind: bool) -> Self {
        let (state, lifecycle, folder) = parts(settings, blind).await;
        Self { router: http::router(Arc::new(state)), lifecycle, _folder: folder }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1_000_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.ask(request("GET", path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, String) {
        let request = request("POST", path).header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn detail(&self, path: &str) -> (u16, String) {
        let (status, body) = self.get(path).await;
        (status.as_u16(), detail(&body))
    }
}

fn detail(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["detail"].as_str().unwrap().to_owned()
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "127.0.0.1:8080")
}

pub(crate) fn local() -> Settings {
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() }
}

pub(crate) async fn parts(
    settings: Settings,
    blind: bool,
) -> (State, Lifecycle, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("s.db").display());
    let store = Store::open(&store::Settings { url, ..store::Settings::default() }).await.unwrap();
    let opened = at("2026-11-20T10:00:00Z");
    let mut over = incident("INC-20261120-100000-aaaaaa", "order-service", Severity::P2, opened);
    over.state = IncidentState::Resolved;
    over.resolved_at = Some(at("2026-11-20T10:42:00Z"));
    let open = outage();
    let changes = Changes {
        owed: vec![owed(&open, "slack", Change::Opened, open.opened_at)],
        incidents: vec![over, open],
        silences: Vec::new(),
    };
    store.commit(&changes).await.unwrap();

    let lifecycle = Lifecycle::new();
    let metrics = Metrics::new();
    let (commands, asked) = mpsc::channel(incidents::QUEUE);
    let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let handle = Handle::new(commands, snapshots);
    let (emergency, _) = mpsc::channel(1);
    let config = sentinelops::config::Config::default();
    let writer = Writer {
        store: store.clone(),
        rules: config.incidents.rules(&config.correlation),
        route: Arc::new(|_, _| vec!["slack".to_owned()]),
        clock: Arc::new(Fixed),
        metrics: metrics.clone(),
        commands: asked,
        snapshot,
        emergency,
    };
    lifecycle.spawn("incidents", incidents::run(writer, lifecycle.soft()));
    eventually("the writer has loaded the book", || async { handle.snapshot().open.len() == 1 })
        .await;
    let (_, settings) = watch::channel(Arc::new(settings));
    let state = State {
        settings,
        base_url: Some("https://sentinelops.example.org".to_owned()),
        store,
        incidents: handle,
        explain: Arc::new(Oracle),
        freshness: Arc::new(Sources { blind }),
        metrics,
        clock: Arc::new(Fixed),
    };
    (state, lifecycle, folder)
}

#[tokio::test]
async fn health_is_exactly_this() {
    let rig = Rig::new(local()).await;
    let (status, body) = rig.get("/health").await;
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (200, r#"{"status":"ok","service":"sentinelops"}"#)
    );
}

#[tokio::test]
async fn bodies_are_as_documented() {
    let rig = Rig::new(local()).await;
    let silence =
        json!({"owner": "ana", "reason": "deploy", "service": "order-*", "duration_minutes": 60});
    let (status, _) = rig.post("/api/silences", &silence).await;
    assert_eq!(status, StatusCode::CREATED);
    let mut shown = Vec::new();
    for path in [
        "/ready",
        "/api/health",
        "/api/incidents?limit=10",
        "/api/incidents/INC-20261121-031620-3f9a2c",
        "/api/services",
        "/api/silences",
        "/api/why?service=payment-service&signal=error_rate&at=2026-11-21T03:15:00Z",
    ] {
        let (status, body) = rig.get(path).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        shown.push(format!("## {path}: {status}\n{body:#}"));
    }
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let rig = Rig::new(local()).await;
    let ids = |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let incidents = body["incidents"].as_array().unwrap().clone();
        let ids: Vec<_> =
            incidents.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        (body["total"].as_u64().unwrap(), ids)
    };
    let open = "INC-20261121-031620-3f9a2c";
    let over = "INC-20261120-100000-aaaaaa";
    for (query, total, expected) in [
        ("", 2, vec![open, over]),
        ("?limit=1", 2, vec![open]),
        ("?limit=1&offset=1", 2, vec![over]),
        ("?offset=5", 2, vec![]),
        ("?state=open,acknowledged", 1, vec![open]),
        ("?state=resolved", 1, vec![over]),
        ("?severity=P1", 1, vec![open]),
        ("?severity=P2", 2, vec![open, over]),
        ("?service=auth-service", 0, vec![]),
    ] {
        let (status, body) = rig.get(&format!("/api/incidents{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(ids(body), (total, expected), "{query}");
    }
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let rig = Rig::new(local()).await;
    let mut shown = Vec::new();
    for path in [
        "/api/incidents?limit=0",
        "/api/incidents?limit=-1",
        "/api/incidents?limit=501",
        "/api/incidents?limit=many",
        "/api/incidents?offset=-1",
        "/api/incidents?state=closed",
        "/api/incidents?severity=P9",
        "/api/incidents?sevrity=P1",
        "/api/incidents?limit=1&limit=2",
        "/api/why",
        "/api/why?service=payment-service&at=yesterday",
    ] {
        let (status, body) = rig.get(path).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {body}");
        shown.push(format!("{path}: {body}"));
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn unknown_ids_and_paths_are_not_found_and_no_path_leads_to_a_file() {
    let rig = Rig::new(local()).await;
    let incident = (404, "Incident not found".to_owned());
    let nothing = (404, "Not found".to_owned());
    for path in [
        "/api/incidents/INC-none",
        "/api/incidents/..%2f..%2fconfig.yaml",
        "/api/incidents/%2e%2e%2f%2e%2e%2f.env",
        "/api/incidents/a%00b",
        "/api/incidents/%27%20or%201=1",
    ] {
        assert_eq!(rig.detail(path).await, incident, "{path}");
    }
    for path in ["/..%2f..%2f.env", "/%2e%2e/.env", "/config.yaml", "/", "/api", "/api/incidents/"]
    {
        assert_eq!(rig.detail(path).await, nothing, "{path}");
    }
    let long = format!("/api/incidents/{}", "a".repeat(5_000));
    assert_eq!(rig.detail(&long).await, incident);
    let why = rig.detail("/api/why?service=nobody").await;
    assert_eq!(why.0, 404);
}

#[tokio::test]
async fn an_incident_is_acknowledged_and_resolved_once() {
    let rig = Rig::new(local()).await;
    let path = |verb: &str| format!("/api/incidents/INC-20261121-031620-3f9a2c/{verb}");
    let ana = json!({"actor": "ana@laptop"});
    let (status, body) = rig.post(&path("ack"), &ana).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "acknowledged");
    assert_eq!(body["acknowledged_by"], "ana@laptop");
    let over = json!({"actor": "ana@laptop", "note": "rolled back", "outcome": "real"});
    let (status, body) = rig.post(&path("resolve"), &over).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    // A judgement may come later; otherwise what is over is over.
    let (status, body) = rig.post(&path("resolve"), &over).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (status, _) = rig.post(&path("resolve"), &ana).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = rig.post(&path("ack"), &ana).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (_, body) = rig.get("/api/incidents/INC-20261121-031620-3f9a2c").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "resolved");
    assert_eq!(body["outcome"], "real");
    assert!(body["timeline"].to_string().contains("rolled back"));
    let (status, body) = rig.post("/api/incidents/INC-none/ack", &ana).await;
    assert_eq!((status.as_u16(), detail(&body)), (404, "Incident not found".to_owned()));
    let (_, body) = rig.get("/api/services").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let services = body["services"].as_array().unwrap();
    assert!(services.iter().all(|one| one["status"] == "healthy"), "{body:#}");
}

#[tokio::test]
async fn a_silence_is_added_listed_and_expired() {
    let rig = Rig::new(local()).await;
    let asked = json!({"owner": "ana", "reason": "deploy", "service": "order-service", "duration_minutes": 60});
    let (status, body) = rig.post("/api/silences", &asked).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let added: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(added["status"], "active");
    let id = added["id"].as_str().unwrap();
    let end = |actor: &str| request("DELETE", &format!("/api/silences/{id}{actor}"));
    let (status, body) = rig.ask(end("").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let (status, body) = rig.ask(end("?actor=ana").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let ended: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ended["status"], "expired");
    let gone = request("DELETE", "/api/silences/SIL-none?actor=ana").body(Body::empty()).unwrap();
    let (status, body) = rig.ask(gone).await;
    assert_eq!((status.as_u16(), detail(&body)), (404, "Silence not found".to_owned()));
}

#[tokio::test]
async fn bodies_that_cannot_be_used_are_refused() {
    let rig = Rig::new(local()).await;
    let path = "/api/incidents/INC-20261121-031620-3f9a2c/ack";
    let send = |kind: &'static str, body: Vec<u8>| {
        rig.ask(request("POST", path).header("content-type", kind).body(Body::from(body)).unwrap())
    };
    let json = "application/json";
    for (kind, body, expected) in [
        ("text/plain", br#"{"actor":"ana"}"#.to_vec(), 415),
        ("application/x-www-form-urlencoded", b"actor=ana".to_vec(), 415),
        (json, vec![b'a'; 70_000], 413),
        (json, Vec::new(), 422),
        (json, b"{".to_vec(), 422),
        (json, vec![0xff, 0xfe], 422),
        (json, br#"{"actor":7}"#.to_vec(), 422),
        (json, br#"{"actor":" "}"#.to_vec(), 422),
        (json, br#"{"actor":"a\u0007"}"#.to_vec(), 422),
        (json, br#"{"actor":"ana","role":"admin"}"#.to_vec(), 422),
        (json, "[".repeat(60_000).into_bytes(), 422),
    ] {
        let (status, body) = send(kind, body).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(!detail(&body).is_empty());
    }
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_set() {
    let rig = Rig::with(Settings { token: Secret::new(TOKEN), ..local() }, true).await;
    let with = |path: &str, value: &str| {
        rig.ask(request("GET", path).header("authorization", value).body(Body::empty()).unwrap())
    };
    for path in ["/metrics", "/api/incidents", "/api/health", "/nowhere", "/api/why?service=x"] {
        let (status, body) = rig.get(path).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {body}");
    }
    for wrong in
        ["", "Bearer", "Bearer ", "Bearer 0123456789abcdef012", "Basic 0123456789abcdef0123"]
    {
        let (status, _) = with("/api/incidents", wrong).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let (status, _) = with("/api/incidents", &format!("Bearer {TOKEN}")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = with("/metrics", &format!("bearer {TOKEN}")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        body.contains("sentinelops_http_requests_total{route=\"/api/incidents\",status=\"401\"} 6"),
        "{body}"
    );
    assert_eq!(rig.get("/health").await.0, StatusCode::OK);
    // Strangers learn yes or no, not which source is blind and why.
    assert_eq!(
        rig.get("/ready").await,
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"ready":false}"#.to_owned())
    );
    let (status, body) = with("/ready", &format!("Bearer {TOKEN}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body.contains(
            "source logs is blind since 2026-11-21T03:24:00Z: Elasticsearch answered 401"
        )
    );
}

#[tokio::test]
async fn hosts_that_are_not_ours_are_refused() {
    let rig = Rig::new(Settings { allowed_hosts: vec!["sentinel".to_owned()], ..local() }).await;
    for (host, expected) in [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("10.0.0.7", 200),
        ("sentinel:8080", 200),
        ("sentinelops.example.org", 200),
        ("evil.example.com", 421),
        ("evil.example.com:8080", 421),
        ("localhost.evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("", 421),
    ] {
        let request = Request::builder().uri("/api/incidents").header("host", host);
        let (status, _) = rig.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{host}");
    }
}

#[tokio::test]
async fn writes_from_pages_of_other_sites_are_refused() {
    let rig = Rig::new(local()).await;
    let body = r#"{"owner":"ana","reason":"deploy","duration_minutes":5}"#;
    for (name, value, expected) in [
        ("origin", "http://127.0.0.1:8080", 201),
        ("origin", "https://evil.example.com", 403),
        ("origin", "http://127.0.0.1:9090", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "same-origin", 201),
    ] {
        let request = request("POST", "/api/silences")
            .header("content-type", "application/json")
            .header(name, value);
        let (status, answer) = rig.ask(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{name}: {value}: {answer}");
    }
}

#[tokio::test]
async fn what_breaks_or_stays_silent_is_answered() {
    let rig = Rig::new(Settings { deadline_seconds: 1, ..local() }).await;
    assert_eq!(rig.detail("/api/why?service=broken").await.0, 500);
    assert_eq!(rig.detail("/api/why?service=stopping").await.0, 503);
    assert_eq!(rig.detail("/api/why?service=silent").await.0, 503);
    let (status, body) = rig.post("/api/incidents", &json!({})).await;
    assert_eq!((status.as_u16(), detail(&body)), (405, "Method not allowed".to_owned()));
    assert_eq!(rig.get("/health").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_test_message_can_be_asked_for() {
    let rig = Rig::new(local()).await;
    let (status, body) = rig.post("/api/test", &json!({"actor": "ana"})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let id = body["incident_id"].as_str().unwrap();
    let (status, body) = rig.get(&format!("/api/incidents/{id}")).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["kind"], "test");
    assert_eq!(body["deliveries"][0]["receiver"], "slack");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token() {
    let open = Settings { listen: SocketAddr::from(([0, 0, 0, 0], 0)), ..Settings::default() };
    let (state, lifecycle, _folder) = parts(open, false).await;
    let error = Server::bind(state).await.unwrap_err();
    lifecycle.stop();
    assert_eq!(
        error.to_string(),
        "listen on 0.0.0.0:0 without http.token: others can reach that address"
    );
}

#[tokio::test]
async fn the_listener_answers_and_ends_when_asked() {
    let (state, lifecycle, _folder) = parts(local(), false).await;
    let server = Server::bind(state).await.unwrap();
    let address = server.address();
    lifecycle.spawn("http", server.run(lifecycle.soft()));
    let client = sentinelops::net::client(
        &sentinelops::net::Settings::default(),
        sentinelops::net::Reach::Anywhere,
    )
    .unwrap();
    let answer = client.get(format!("http://{address}/health")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"ok","service":"sentinelops"}"#);
    // One that hangs must not hold up the end.
    let hanging = client.get(format!("http://{address}/api/why?service=silent")).send();
    tokio::pin!(hanging);
    tokio::select! {
        _ = &mut hanging => panic!("it answers"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    lifecycle.stop();
    let ending = lifecycle.finished(Duration::from_secs(2)).await;
    assert_eq!(ending, sentinelops::lifecycle::Ending::Clean);
}

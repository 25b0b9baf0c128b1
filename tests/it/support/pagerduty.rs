//! A stand-in for PagerDuty's Events API v2: as strict as the service, with its meaning of deduplication keys.
//! `tests/judges/pagerduty_judge.py` holds it to the vendor's own client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::remote::{Hard, Remote, Script};

pub(crate) const ROUTING_KEY: &str = "R0123456789012345678901234567890";

/// A running stand-in.
#[derive(Debug)]
pub(crate) struct FakePagerDuty {
    /// What a receiver's `base_url` should be.
    pub(crate) url: String,
    /// Hard answers to come.
    pub(crate) script: Script,
    state: Arc<Mutex<Service>>,
    _remote: Remote,
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alert {
    Triggered,
    Acknowledged,
    Resolved,
}

#[derive(Debug, Default)]
struct Service {
    events: Vec<Value>,
    refused: Vec<String>,
    alerts: BTreeMap<String, Alert>,
    /// The keys for which somebody's phone rang, in order.
    rung: Vec<String>,
}

#[derive(Debug, Clone)]
struct Shared {
    service: Arc<Mutex<Service>>,
    script: Script,
}

impl FakePagerDuty {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, script) = (Arc::default(), Script::default());
        let shared = Shared { service: Arc::clone(&state), script: script.clone() };
        let router = Router::new()
            .route("/v2/enqueue", post(enqueue))
            .layer(DefaultBodyLimit::max(4_000_000))
            .with_state(shared);
        let remote = Remote::start(listener, router);
        Self { url: remote.url.clone(), script, state, _remote: remote }
    }

    /// The events taken so far, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.state.lock().unwrap().events.clone()
    }

    /// `trigger KEY`, `acknowledge KEY`, … in order.
    pub(crate) fn actions(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |event: &Value| {
            format!("{} {}", text(&event["event_action"]), text(&event["dedup_key"]))
        };
        self.events().iter().map(of).collect()
    }

    /// What was refused with 400, and why.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap().refused.clone()
    }

    /// The keys for which somebody was woken, in order.
    pub(crate) fn rung(&self) -> Vec<String> {
        self.state.lock().unwrap().rung.clone()
    }

    /// How each alert stands.
    pub(crate) fn alerts(&self) -> BTreeMap<String, Alert> {
        self.state.lock().unwrap().alerts.clone()
    }
}

async fn enqueue(State(shared): State<Shared>, body: Bytes) -> Response {
    let hard = shared.script.take("enqueue");
    if let Some(hard) = hard.clone().filter(|hard| !matches!(hard, Hard::Lost)) {
        return hard.answer().await;
    }
    let taken = shared.service.lock().unwrap().take(&body);
    if hard.is_some() {
        return Hard::Lost.answer().await;
    }
    match taken {
        Ok(key) => (
            StatusCode::ACCEPTED,
            Json(json!({ "status": "success", "message": "Event processed", "dedup_key": key })),
        )
            .into_response(),
        Err(problem) => (
            StatusCode::BAD_REQUEST,
            Json(json!({
                "status": "invalid event",
                "message": "Event object is invalid",
                "errors": [problem],
            })),
        )
            .into_response(),
    }
}

impl Service {
    fn take(&mut self, body: &[u8]) -> Result<String, String> {
        let event = check(body).inspect_err(|problem| self.refused.push(problem.clone()))?;
        let given = event["dedup_key"].as_str().map(str::to_owned);
        let key = given.unwrap_or_else(|| format!("made-{}", self.events.len()));
        let alert = self.alerts.get(&key).copied();
        match (event["event_action"].as_str(), alert) {
            (Some("trigger"), None | Some(Alert::Resolved)) => {
                self.alerts.insert(key.clone(), Alert::Triggered);
                self.rung.push(key.clone());
            }
            (Some("acknowledge"), Some(Alert::Triggered)) => {
                self.alerts.insert(key.clone(), Alert::Acknowledged);
            }
            (Some("resolve"), Some(_)) => {
                self.alerts.insert(key.clone(), Alert::Resolved);
            }
            // A further trigger is added to the open alert and wakes nobody; the rest is dropped.
            _ => {}
        }
        self.events.push(event);
        Ok(key)
    }
}

/// What the service refuses.
fn check(body: &[u8]) -> Result<Value, String> {
    if body.len() > 512 * 1024 {
        return Err("event is larger than 512 KB".to_owned());
    }
    let event: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let within = |name: &str, value: &Value, limit: usize| match text(value) {
        Some(text) if (1..=limit).contains(&text.chars().count()) => Ok(()),
        _ => Err(format!("{name} must be text of 1 to {limit} characters")),
    };
    if event["routing_key"] != ROUTING_KEY {
        return Err("invalid routing key".to_owned());
    }
    let action = text(&event["event_action"]).unwrap_or_default();
    match action.as_str() {
        "trigger" => {
            if !event["dedup_key"].is_null() {
                within("dedup_key", &event["dedup_key"], 255)?;
            }
            within("payload.summary", &event["payload"]["summary"], 1_024)?;
            within("payload.source", &event["payload"]["source"], 255)?;
            let severity = text(&event["payload"]["severity"]).unwrap_or_default();
            if !["critical", "error", "warning", "info"].contains(&severity.as_str()) {
                return Err(format!("payload.severity `{severity}` is invalid"));
            }
            for link in event["links"].as_array().into_iter().flatten() {
                let href = text(&link["href"]).unwrap_or_default();
                if !url::Url::parse(&href).is_ok_and(|url| url.has_host()) {
                    return Err(format!("link `{href}` is no full URL"));
                }
            }
        }
        "acknowledge" | "resolve" => within("dedup_key", &event["dedup_key"], 255)?,
        other => return Err(format!("event_action `{other}` is invalid")),
    }
    Ok(event)
}

//! Alive, ready, and what the daemon counts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::auth::is_allowed;
use crate::http::error::ApiError;
use crate::http::state::{SourceFreshness, State};
use crate::model::UtcTime;
use crate::store::IncidentFilter;

/// A delivery that is owed for longer than this many seconds makes the daemon not ready: people are not told.
const LATE_SECONDS: i64 = 300;

/// The answer of `/ready`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether everything works; the status is 503 otherwise.
    pub ready: bool,
    /// What does not work, in words.
    pub problems: Vec<String>,
    /// Every source.
    pub sources: Vec<ReadySource>,
    /// What is owed; absent if the store cannot say.
    pub outbox: Option<ReadyOutbox>,
    /// The store.
    pub store: ReadyStore,
}

/// How fresh a source is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadySource {
    /// Its name.
    pub name: String,
    /// When it was last read completely.
    pub last_read_at: Option<UtcTime>,
    /// Seconds since then.
    pub age_seconds: Option<i64>,
    /// The end of the newest bucket that was read completely.
    pub newest_bucket_end: Option<UtcTime>,
    /// Since when it has been called blind.
    pub blind_since: Option<UtcTime>,
    /// What was wrong with the last read.
    pub trouble: Option<String>,
    /// How late documents arrive.
    pub lag_seconds: Option<f64>,
    /// Rows or documents that were refused since the start.
    pub rejected: u64,
}

/// What is owed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyOutbox {
    /// Deliveries owed.
    pub owed: u64,
    /// When the oldest of them became owed.
    pub oldest_at: Option<UtcTime>,
    /// Seconds since then.
    pub age_seconds: Option<i64>,
    /// Deliveries given up.
    pub dead: u64,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyStore {
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it could be written the last time it was tried.
    pub writable: bool,
}

/// The answer of `/api/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: String,
    /// How many incidents are kept.
    pub incidents_tracked: u64,
    /// How many of them have not ended.
    pub incidents_open: u64,
    /// What does not work, in words.
    pub problems: Vec<String>,
}

/// The answer of `/health`: its fields stand in this order.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Alive {
    status: &'static str,
    service: &'static str,
}

pub(in crate::http) async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok", service: "sentinelops" })
}

pub(in crate::http) async fn ready(
    Extract(state): Extract<Arc<State>>,
    headers: HeaderMap,
) -> Response {
    let ready = look(&state).await;
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Names of sources and addresses in their troubles are not for strangers.
    if is_allowed(&state, &headers) {
        (status, Json(ready)).into_response()
    } else {
        (status, Json(json!({ "ready": ready.ready }))).into_response()
    }
}

pub(in crate::http) async fn metrics(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], state.metrics.render())
}

pub(in crate::http) async fn summary(
    Extract(state): Extract<Arc<State>>,
) -> Result<Json<Health>, ApiError> {
    let filter = IncidentFilter { limit: 1, ..IncidentFilter::default() };
    let (incidents_tracked, _) = state.store.incidents(&filter).await?;
    let ready = look(&state).await;
    Ok(Json(Health {
        status: if ready.ready { "ok" } else { "degraded" }.to_owned(),
        incidents_tracked,
        incidents_open: state.incidents.snapshot().open.len() as u64,
        problems: ready.problems,
    }))
}

async fn look(state: &State) -> Ready {
    let now = state.clock.now();
    let age = |at: UtcTime| (now - at).num_seconds().max(0);
    let mut problems = Vec::new();
    let sources: Vec<_> =
        state.freshness.sources().into_iter().map(|one| source(one, age)).collect();
    problems.extend(sources.iter().filter_map(|source| {
        let trouble = source.trouble.as_ref().map_or_else(String::new, |text| format!(": {text}"));
        match (source.blind_since, source.last_read_at) {
            (Some(since), _) => Some(format!(
                "source {} is blind since {}{trouble}",
                source.name,
                since.format("%Y-%m-%dT%H:%M:%SZ")
            )),
            (None, None) => Some(format!("source {} has not been read yet{trouble}", source.name)),
            (None, Some(_)) => None,
        }
    }));
    let (outbox, readable) = match state.store.outbox().await {
        Ok(outbox) => (
            Some(ReadyOutbox {
                owed: outbox.owed,
                oldest_at: outbox.oldest,
                age_seconds: outbox.oldest.map(age),
                dead: outbox.dead,
            }),
            true,
        ),
        Err(_) => (None, false),
    };
    let writable = state.incidents.snapshot().store_writable;
    if !readable {
        problems.push("the store cannot be read".to_owned());
    }
    if !writable {
        problems.push("the store cannot be written".to_owned());
    }
    if let Some(seconds) =
        outbox.as_ref().and_then(|outbox| outbox.age_seconds).filter(|age| *age > LATE_SECONDS)
    {
        problems.push(format!("the oldest delivery has been owed for {seconds} s"));
    }
    Ready {
        ready: problems.is_empty(),
        problems,
        sources,
        outbox,
        store: ReadyStore { readable, writable },
    }
}

fn source(one: SourceFreshness, age: impl Fn(UtcTime) -> i64) -> ReadySource {
    ReadySource {
        name: one.name.to_string(),
        last_read_at: one.last_read_at,
        age_seconds: one.last_read_at.map(age),
        newest_bucket_end: one.newest,
        blind_since: one.blind_since,
        trouble: one.trouble,
        lag_seconds: one.lag.map(|lag| lag.as_secs_f64()),
        rejected: one.rejected,
    }
}

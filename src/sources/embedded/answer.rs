//! What the intake answers, in Elasticsearch's shapes. Pure.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ingest::{BulkError, BulkReply, Item};
use super::rejection::Rejection;

/// The version that clients are told: what shippers of 8 and 9 both accept.
const VERSION: &str = "8.19.0";

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or wrong.
    Unauthorized { path: String },
    /// A browser's page wants to write.
    Origin,
    /// The body is larger than the settings allow.
    TooLarge { most: usize },
    /// The body came too slowly, or broke off.
    Broken(&'static str),
    /// Packed in a way that is not known, or not as it says.
    Encoding(String),
    /// A content type that is no JSON.
    ContentType(Option<String>),
    /// Nothing that a log store answers.
    Unknown { method: String, path: String },
    /// Asked to search.
    WriteOnly,
    /// See there.
    Bulk(BulkError),
}

impl From<BulkError> for Refusal {
    fn from(error: BulkError) -> Self {
        Self::Bulk(error)
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ContentType(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Broken(_)
            | Self::Unknown { .. }
            | Self::WriteOnly
            | Self::Bulk(BulkError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::Bulk(BulkError::Full { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Bulk(BulkError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Elasticsearch's name of the error, and the words.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Unauthorized { path } => (
                "security_exception",
                format!("missing or wrong authentication credentials for REST request [{path}]"),
            ),
            Self::Origin => (
                "security_exception",
                "requests with an Origin header are refused: the intake is not for browsers"
                    .to_owned(),
            ),
            Self::TooLarge { most } => (
                "content_too_long_exception",
                format!(
                    "the request is larger than {most} bytes; send smaller ones, or raise embedded.max_body_mb"
                ),
            ),
            Self::Broken(reason) => ("parse_exception", (*reason).to_owned()),
            Self::Encoding(reason) => ("illegal_argument_exception", reason.clone()),
            Self::ContentType(None) => {
                ("media_type_header_exception", "Content-Type header is missing".to_owned())
            }
            Self::ContentType(Some(given)) => (
                "media_type_header_exception",
                format!("Content-Type header [{given}] is not supported"),
            ),
            Self::Unknown { method, path } => (
                "illegal_argument_exception",
                format!("no handler found for uri [{path}] and method [{method}]"),
            ),
            Self::WriteOnly => (
                "illegal_argument_exception",
                "this is the intake of SentinelOps' log store: it can be written, not searched"
                    .to_owned(),
            ),
            Self::Bulk(BulkError::Malformed(malformed)) => {
                (malformed.kind, malformed.reason.clone())
            }
            Self::Bulk(error @ BulkError::Full { .. }) => {
                ("es_rejected_execution_exception", error.to_string())
            }
            Self::Bulk(error @ BulkError::Unavailable(_)) => {
                ("unavailable_shards_exception", error.to_string())
            }
        }
    }

    /// The response.
    pub(super) fn respond(&self, media: &HeaderValue) -> Response {
        let status = self.status();
        let (kind, reason) = self.words();
        let cause = json!({"type": kind, "reason": reason});
        let body = json!({
            "error": {"root_cause": [cause], "type": kind, "reason": reason},
            "status": status.as_u16(),
        });
        let mut response = respond(status, &body, media);
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized { .. } => {
                let schemes = ["Basic realm=\"sentinelops\", charset=\"UTF-8\"", "ApiKey"];
                for scheme in schemes {
                    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
                }
            }
            Self::Bulk(BulkError::Full { .. } | BulkError::Unavailable(_)) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// A response with a JSON body and the headers that Elastic's clients insist on.
pub(super) fn respond(status: StatusCode, body: &Value, media: &HeaderValue) -> Response {
    respond_text(status, body.to_string(), media)
}

/// The same of a body that is text already.
pub(super) fn respond_text(status: StatusCode, body: String, media: &HeaderValue) -> Response {
    (status, [(header::CONTENT_TYPE, media.clone())], body).into_response()
}

/// The content type to answer in: the versioned one if that is what the client speaks.
pub(super) fn media(headers: &HeaderMap) -> HeaderValue {
    let accepted =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    for version in ["8", "9"] {
        if accepted.contains("vnd.elasticsearch")
            && accepted.contains(&format!("compatible-with={version}"))
        {
            let media = format!("application/vnd.elasticsearch+json;compatible-with={version}");
            return HeaderValue::from_str(&media)
                .unwrap_or(HeaderValue::from_static("application/json"));
        }
    }
    HeaderValue::from_static("application/json")
}

/// `GET /`.
pub(super) fn info() -> Value {
    json!({
        "name": "sentinelops",
        "cluster_name": "sentinelops",
        "cluster_uuid": "sentinelops-log-store-0",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "0000000000000000000000000000000000000000",
            "build_date": "2025-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.1",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    })
}

/// `GET /_license`.
pub(super) fn license() -> Value {
    json!({"license": {
        "status": "active",
        "uid": "sentinelops-log-store-0",
        "type": "basic",
        "issue_date": "2025-01-01T00:00:00.000Z",
        "issue_date_in_millis": 1_735_689_600_000_u64,
        "max_nodes": 1,
        "max_resource_units": null,
        "issued_to": "sentinelops",
        "issuer": "sentinelops",
        "start_date_in_millis": -1,
    }})
}

/// `GET /_xpack`: no index lifecycles here, so that shippers do not set any up.
pub(super) fn xpack() -> Value {
    json!({
        "build": {"hash": "0", "date": "2025-01-01T00:00:00.000Z"},
        "license": {"uid": "sentinelops-log-store-0", "type": "basic", "mode": "basic", "status": "active"},
        "features": {"ilm": {"available": false, "enabled": false}, "security": {"available": true, "enabled": true}},
        "tagline": "You know, for X",
    })
}

/// `GET /_cluster/health`.
pub(super) fn health(writable: bool) -> Value {
    json!({
        "cluster_name": "sentinelops",
        "status": if writable { "green" } else { "red" },
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    })
}

/// The reply to a whole `_bulk`, as text: as values it would take several times the memory.
pub(super) fn bulk(reply: &BulkReply) -> String {
    let mut text = format!(
        "{{\"errors\":{},\"took\":{},\"items\":[",
        reply.refused() > 0,
        reply.took.as_millis()
    );
    for (place, item) in reply.items.iter().enumerate() {
        let (_, body) = document(item);
        let comma = if place == 0 { "" } else { "," };
        text.push_str(comma);
        text.push_str(&json!({item.verb.as_str(): body}).to_string());
    }
    text.push_str("]}");
    text
}

/// The reply to one document: its status and body.
pub(super) fn document(item: &Item) -> (StatusCode, Value) {
    match &item.outcome {
        Ok(number) => (
            StatusCode::CREATED,
            json!({
                "_index": item.index,
                "_id": item.id,
                "_version": 1,
                "result": "created",
                "_shards": {"total": 1, "successful": 1, "failed": 0},
                "_seq_no": number,
                "_primary_term": 1,
                "status": 201,
            }),
        ),
        Err(rejection) => (
            StatusCode::BAD_REQUEST,
            json!({
                "_index": item.index,
                "_id": item.id,
                "status": 400,
                "error": {"type": rejection.reason.elastic_type(), "reason": rejection.text},
            }),
        ),
    }
}

/// The reply to a single document that was refused, which is an error of the request.
pub(super) fn refused(rejection: &Rejection) -> Value {
    let (kind, reason) = (rejection.reason.elastic_type(), &rejection.text);
    json!({
        "error": {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason},
        "status": 400,
    })
}

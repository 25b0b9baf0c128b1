//! The routes and what stands before all of them: limits, guards, and answers when something breaks.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Extract};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::api::{health, incidents, receivers, services, silences, why};
use super::auth::guard;
use super::error::ApiError;
use super::state::State;

/// Bytes of a body, at most.
pub(super) const BODY: usize = 64 * 1024;

/// All routes. Nothing is served from files, so no path leads to one.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/health", get(health::alive))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/health", get(health::summary))
        .route("/api/incidents", get(incidents::list))
        .route("/api/incidents/{id}", get(incidents::show))
        .route("/api/incidents/{id}/ack", post(incidents::acknowledge))
        .route("/api/incidents/{id}/resolve", post(incidents::resolve))
        .route("/api/services", get(services::list))
        .route("/api/silences", get(silences::list).post(silences::add))
        .route("/api/silences/{id}", delete(silences::expire))
        .route("/api/why", get(why::explain))
        .route("/api/test", post(receivers::test))
        .fallback(|| async { ApiError::NotFound("Not found") })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        // From here outwards: what is listed last sees a request first.
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Arc::clone(&state), deadline))
        .layer(from_fn_with_state(Arc::clone(&state), guard))
        .layer(CatchPanicLayer::custom(broken))
        .layer(from_fn_with_state(Arc::clone(&state), count))
        .layer(from_fn(finish))
        .with_state(state)
}

async fn deadline(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let limit = Duration::from_secs(state.settings.borrow().deadline_seconds);
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        ApiError::Unavailable("No answer within the deadline".to_owned()).into_response()
    })
}

async fn count(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    tracing::debug!(http.route = route, http.method = %method, http.status = status.as_u16(), "answered");
    state
        .metrics
        .http_requests
        .get_or_create(&vec![("route", route), ("status", status.as_u16().to_string())])
        .inc();
    response
}

async fn finish(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
fn broken(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic.message = message, "a request broke its handler");
    ApiError::Internal.into_response()
}

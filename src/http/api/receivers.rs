//! A test message to every receiver.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{Body, required};
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::incidents::{Command, Reply};

/// The body of `POST /api/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Who asks.
    pub actor: String,
}

/// A test was started: its deliveries are those of this incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStarted {
    /// The incident to look at.
    pub incident_id: String,
}

pub(in crate::http) async fn test(
    Extract(state): Extract<Arc<State>>,
    Body(body): Body<TestRequest>,
) -> Result<(StatusCode, Json<TestStarted>), ApiError> {
    let actor = required("actor", &body.actor)?;
    match state.incidents.ask(Command::Test { actor }).await? {
        Reply::Done(Some(incident)) => {
            let started = TestStarted { incident_id: incident.id.0.clone() };
            Ok((StatusCode::ACCEPTED, Json(started)))
        }
        Reply::Conflict(reason) => Err(ApiError::Conflict(reason)),
        Reply::Unavailable(reason) => Err(ApiError::Unavailable(reason)),
        Reply::Done(None) | Reply::NotFound | Reply::Silence(_) => Err(ApiError::Internal),
    }
}

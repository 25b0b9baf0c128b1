//! JSON bodies, with refusals that say what is wrong.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

/// A JSON body.
pub(in crate::http) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // A form or plain text could be sent by any page without asking first: JSON cannot.
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(ApiError::MediaType);
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(refused)?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::invalid("body", error.to_string()))
    }
}

fn refused(rejection: BytesRejection) -> ApiError {
    if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::TooLarge
    } else {
        ApiError::invalid("body", "could not be read")
    }
}

/// A text that somebody must give: trimmed, not empty, not endless, on one line.
pub(super) fn required(field: &'static str, text: &str) -> Result<String, ApiError> {
    optional(field, Some(text))?.ok_or_else(|| ApiError::invalid(field, "must not be empty"))
}

/// The same where it may be absent.
pub(super) fn optional(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<String>, ApiError> {
    const LONGEST: usize = 500;
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.chars().count() > LONGEST {
        return Err(ApiError::invalid(field, format!("is longer than {LONGEST} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "holds control characters"));
    }
    Ok(Some(text.to_owned()))
}

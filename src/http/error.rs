//! The one error that routes answer: `{"detail": …}` with a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::incidents::Stopped;
use crate::store;

/// What a request is answered instead of what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// 404.
    NotFound(&'static str),
    /// 401.
    Unauthorized,
    /// 403: from another site.
    Forbidden(&'static str),
    /// 421: a `Host` that is not ours.
    Misdirected(String),
    /// 405.
    Method,
    /// 409: not in its present state.
    Conflict(String),
    /// 413.
    TooLarge,
    /// 415.
    MediaType,
    /// 422: a field or parameter, and what is wrong with it.
    Invalid(&'static str, String),
    /// 503.
    Unavailable(String),
    /// 500: a defect of ours; the log has it.
    Internal,
}

impl ApiError {
    pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid(field, reason.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotFound(detail) | Self::Forbidden(detail) => (*detail).to_owned(),
            Self::Unauthorized => "A token is needed: Authorization: Bearer …".to_owned(),
            Self::Misdirected(detail) | Self::Conflict(detail) | Self::Unavailable(detail) => {
                detail.clone()
            }
            Self::Method => "Method not allowed".to_owned(),
            Self::TooLarge => format!("The body is larger than {} bytes", super::router::BODY),
            Self::MediaType => "The body must be JSON: Content-Type: application/json".to_owned(),
            Self::Invalid(field, reason) => format!("{field}: {reason}"),
            Self::Internal => "Internal error; the log says more".to_owned(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "detail": self.detail() });
        if let Self::Invalid(field, _) = &self {
            body["field"] = json!(field);
        }
        let mut response = (self.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        // Shown as a chain: the layers speak for themselves.
        if let store::Error::Corrupt { .. } = &error {
            tracing::error!(error.message = %Chain(&error), "a row cannot be read");
            Self::Internal
        } else {
            tracing::warn!(error.message = %Chain(&error), "the store cannot be used");
            Self::Unavailable("The store cannot be used".to_owned())
        }
    }
}

impl From<Stopped> for ApiError {
    fn from(_: Stopped) -> Self {
        Self::Unavailable("The daemon is stopping".to_owned())
    }
}

struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

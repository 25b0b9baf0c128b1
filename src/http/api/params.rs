//! Query parameters, read by hand so that each refusal names its parameter.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::error::ApiError;
use crate::model::UtcTime;

/// The parameters of a request.
pub(in crate::http) struct Params(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Params {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut params = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if params.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(ApiError::invalid("query", format!("`{name}` is given twice")));
            }
        }
        Ok(Self(params))
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|text| !text.is_empty())
    }

    /// A value that can be read from text.
    pub(super) fn value<T>(&mut self, name: &'static str) -> Result<Option<T>, ApiError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|error: T::Err| ApiError::invalid(name, error.to_string()))
            })
            .transpose()
    }

    /// A whole number of a range.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: u32,
        from: u32,
        to: u32,
    ) -> Result<u32, ApiError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if (from..=to).contains(&number) => Ok(number),
            _ => Err(ApiError::invalid(name, format!("is `{text}`, must be {from} to {to}"))),
        }
    }

    /// An instant.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<UtcTime>, ApiError> {
        self.text(name).map(|text| time(name, &text)).transpose()
    }

    /// Refuses what nobody asked for: a misspelt filter must not answer everything.
    pub(super) fn end(self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::invalid(
                "query",
                format!("`{name}` is unknown; known here: {}", known.join(", ")),
            )),
        }
    }
}

/// Reads an instant in RFC 3339.
pub(super) fn time(name: &'static str, text: &str) -> Result<UtcTime, ApiError> {
    chrono::DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| {
        ApiError::invalid(name, format!("is `{text}`, must be a time such as 2026-11-21T03:15:00Z"))
    })
}

//! Who may ask: the `Host` must be ours (DNS rebinding), writes must come from our own pages or from no page
//! at all (CSRF), and the token must match where one is set.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::State;

/// Answered without a token, so that probes need none; `/ready` then tells only yes or no.
const OPEN: [&str; 2] = ["/health", "/ready"];

/// Lets a request through, or answers why not.
pub(super) async fn guard(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let judged = judge(&state, request.method(), request.uri().path(), request.headers());
    match judged {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn judge(state: &State, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = text(headers, header::HOST);
    if let Some(host) = host
        && !is_ours(state, host)
    {
        return Err(ApiError::Misdirected(
            "This host name is not ours; http.allowed_hosts adds names".to_owned(),
        ));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        same_site(headers, host)?;
    }
    if OPEN.contains(&path) || is_allowed(state, headers) {
        Ok(())
    } else {
        Err(ApiError::Unauthorized)
    }
}

/// Whether the request carries the token, where one is set.
pub(super) fn is_allowed(state: &State, headers: &HeaderMap) -> bool {
    let settings = state.settings.borrow();
    if settings.token.is_empty() {
        return true;
    }
    text(headers, header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .is_some_and(|(_, token)| settings.token.matches(token.trim()))
}

/// A browser names the page that a request comes from; other clients send none of these headers.
fn same_site(headers: &HeaderMap, host: Option<&str>) -> Result<(), ApiError> {
    const REFUSED: ApiError = ApiError::Forbidden("Writes from pages of other sites are refused");
    if text(headers, header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !matches!(site, "same-origin" | "none"))
    {
        return Err(REFUSED);
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = text(headers, header::ORIGIN)
        .and_then(|origin| origin.strip_prefix("http://").or(origin.strip_prefix("https://")));
    match (origin, host) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(REFUSED),
    }
}

/// Addresses cannot be rebound, so any is fine; names must be known.
fn is_ours(state: &State, host: &str) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let settings = state.settings.borrow();
    let base = state.base_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    settings
        .allowed_hosts
        .iter()
        .map(String::as_str)
        .chain(base.as_ref().and_then(url::Url::host_str))
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.chars().all(|c| c.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off() {
        for (host, expected) in [
            ("localhost:8080", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("a:b:80", "a:b:80"),
        ] {
            assert_eq!(without_port(host), expected);
        }
    }
}

//! Asks an Elasticsearch: the official client's transport (pool, authentication, TLS) behind three read calls, and
//! every way in which they can fail, classed. It knows nothing of logs.
//!
//! Every good answer must carry `X-Elastic-Product`, which all supported versions send: what does not is not read
//! at all. The official transport reads bodies whole, so a declared length is checked first; a page's size bounds the
//! rest.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use elasticsearch::http::headers::{HeaderMap, RETRY_AFTER};
use elasticsearch::http::request::JsonBody;
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::Transport;
use elasticsearch::http::{Method, StatusCode};
use elasticsearch::params::ExpandWildcards;
use elasticsearch::{FieldCapsParts, SearchParts};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connect::{self, Error};
use super::fields::FieldCaps;
use super::reply::{ErrorBody, shorten};
use super::settings::Settings;
use crate::clock::Clock;
use crate::model::{Completeness, FailureKind, UtcTime};
use crate::net;

/// The oldest version that is supported.
const OLDEST: (u64, u64) = (8, 11);
/// The longest answer that is read: some thirty times a full page.
const LONGEST: u64 = 256 * 1024 * 1024;
/// The longest error text that is read.
const LONGEST_ERROR: u64 = 1024 * 1024;

/// A call that failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub kind: FailureKind,
    /// For people; names no secret.
    pub reason: String,
    pub retry_at: Option<UtcTime>,
    /// The page was too large for the cluster.
    pub too_many_buckets: bool,
    /// The cluster allows no queries by pattern.
    pub expensive: bool,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_at: None,
            too_many_buckets: false,
            expensive: false,
        }
    }
}

impl From<Failure> for Completeness {
    fn from(failure: Failure) -> Self {
        let Failure { kind, reason, retry_at, .. } = failure;
        Self::Failed { kind, reason, retry_at }
    }
}

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// Unknown where the key may not ask.
    pub version: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: std::collections::BTreeMap<String, Node>,
}

#[derive(Deserialize)]
struct Node {
    version: String,
}

/// One cluster.
#[derive(Debug, Clone)]
pub(super) struct Client {
    transport: Transport,
    nodes: usize,
    /// The nodes, for people.
    pub address: String,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct IndexOptions<'a> {
    ignore_unavailable: bool,
    allow_no_indices: bool,
    expand_wildcards: ExpandWildcards,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_cache: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a str>,
}

impl IndexOptions<'_> {
    /// What matches no index is told from the answer; hidden indices are not meant.
    const USUAL: Self = Self {
        ignore_unavailable: true,
        allow_no_indices: true,
        expand_wildcards: ExpandWildcards::Open,
        request_cache: None,
        fields: None,
    };
}

impl Client {
    pub(super) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let transport = connect::transport(settings)?;
        let urls: Vec<&str> = settings.urls().collect();
        Ok(Self { transport, nodes: urls.len(), address: urls.join(", "), clock })
    }

    /// Who answers, and whether it is an Elasticsearch that is new enough.
    pub(super) async fn server(&self, limit: Duration) -> Result<Server, Failure> {
        let root = self.send(Method::Get, "/", None::<&()>, None, limit).await?;
        let number = match root.status_code() {
            StatusCode::METHOD_NOT_ALLOWED => {
                let query = [("filter_path", "nodes.*.version")];
                let reply =
                    self.send(Method::Get, "/_nodes/_local", Some(&query), None, limit).await?;
                if reply.status_code() == StatusCode::FORBIDDEN {
                    return Ok(Server { version: None });
                }
                let body = self.accept(reply).await?;
                let nodes: Nodes = parse(body.as_ref())?;
                nodes.nodes.into_values().next().map(|node| node.version)
            }
            // A key that may only read indices may not ask; the header of its other answers has to do.
            StatusCode::FORBIDDEN => None,
            status if status.is_success() && !is_product(&root) => {
                return Err(self.foreign(root).await);
            }
            _ => {
                let body = self.accept(root).await?;
                let info: Info = parse(body.as_ref())?;
                Some(info.version.number)
            }
        };
        if let Some(number) = &number
            && version(number).is_some_and(|version| version < OLDEST)
        {
            let (major, minor) = OLDEST;
            return Err(Failure::new(
                FailureKind::Refused,
                format!(
                    "Elasticsearch {} is too old: {major}.{minor} or newer is needed",
                    shorten(number)
                ),
            ));
        }
        Ok(Server { version: number })
    }

    /// What fields the indices have.
    pub(super) async fn field_caps(
        &self,
        index: &str,
        fields: &[String],
        limit: Duration,
    ) -> Result<FieldCaps, Failure> {
        let fields = fields.join(",");
        let query = IndexOptions { fields: Some(&fields), ..IndexOptions::USUAL };
        let path = FieldCapsParts::Index(&[index]).url();
        let reply = self.send(Method::Get, &path, Some(&query), None, limit).await?;
        parse(self.accept(reply).await?.as_ref())
    }

    /// One search; the answer's bytes.
    pub(super) async fn search(
        &self,
        index: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<impl AsRef<[u8]> + use<>, Failure> {
        // A closed minute is asked for once or twice: not worth the server's cache.
        let query = IndexOptions { request_cache: Some(false), ..IndexOptions::USUAL };
        let path = SearchParts::Index(&[index]).url();
        let reply = self.send(Method::Post, &path, Some(&query), Some(body), limit).await?;
        self.accept(reply).await
    }

    /// Sends to the next node, and to the others if it cannot be reached.
    async fn send<Q: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        query: Option<&Q>,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Response, Failure> {
        let mut tried = 0;
        loop {
            let body = body.map(JsonBody::new);
            let sent =
                self.transport.send(method, path, HeaderMap::new(), query, body, Some(limit)).await;
            tried += 1;
            match sent {
                Ok(response) => return Ok(response),
                Err(error) => {
                    let failure = self.lost(&error);
                    if failure.kind != FailureKind::Unreachable || tried >= self.nodes {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// The body of a good answer, or what a bad one means.
    async fn accept(&self, response: Response) -> Result<impl AsRef<[u8]> + use<>, Failure> {
        let status = response.status_code();
        if !status.is_success() {
            return Err(self.refused(response).await);
        }
        if !is_product(&response) {
            return Err(self.foreign(response).await);
        }
        if let Some(length) = response.content_length().filter(|length| *length > LONGEST) {
            return Err(Failure::new(
                FailureKind::Malformed,
                format!("an answer of {} MB was not read", length / 1_000_000),
            ));
        }
        response.bytes().await.map_err(|error| self.lost(&error))
    }

    /// A status that is no success.
    async fn refused(&self, response: Response) -> Failure {
        let status = response.status_code();
        let retry_at = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| net::retry_after(value, self.clock.now()))
            .map(|wait| self.clock.now() + wait);
        let kind = match status.as_u16() {
            429 => FailureKind::Throttled,
            401 | 403 => FailureKind::Denied,
            408 => FailureKind::Deadline,
            500.. => FailureKind::Unavailable,
            _ => FailureKind::Refused,
        };
        // Refusals by Elasticsearch's security come without its product header, but with their length.
        let readable = match response.content_length() {
            Some(length) => length <= LONGEST_ERROR,
            None => is_product(&response),
        };
        let body: Option<ErrorBody> = if readable {
            response.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok())
        } else {
            None
        };
        let words = body.as_ref().map(|body| format!(": {}", body.words())).unwrap_or_default();
        let advice = match status.as_u16() {
            401 => " (check elasticsearch.api_key, or username and password)",
            403 => " (the key needs the privilege `read` on the index)",
            _ => "",
        };
        let mentions = |text: &str| body.as_ref().is_some_and(|body| body.mentions(text));
        Failure {
            kind,
            reason: format!("HTTP {}{words}{advice}", status.as_u16()),
            retry_at,
            too_many_buckets: mentions("too_many_buckets") || mentions("search.max_buckets"),
            expensive: mentions("allow_expensive_queries"),
        }
    }

    /// An answer from something that is no Elasticsearch.
    async fn foreign(&self, response: Response) -> Failure {
        let short = response.content_length().is_some_and(|length| length <= 65_536);
        let info: Option<Info> = if short {
            response.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok())
        } else {
            None
        };
        let distribution = info.and_then(|info| info.version.distribution);
        let reason = if distribution.as_deref() == Some("opensearch") {
            format!(
                "{} is OpenSearch, which is not supported: use Elasticsearch 8.11 or newer, or leave \
                 elasticsearch.url empty and ship logs to the embedded store",
                self.address
            )
        } else {
            format!(
                "{} is no Elasticsearch: its answer has no X-Elastic-Product header (a proxy may have removed it)",
                self.address
            )
        };
        Failure::new(FailureKind::Refused, reason)
    }

    /// No answer, or it broke off.
    fn lost(&self, error: &elasticsearch::Error) -> Failure {
        if error.is_timeout() {
            let reason = format!("{} did not answer in time", self.address);
            return Failure::new(FailureKind::Deadline, reason);
        }
        // The innermost cause says it best: "connection refused".
        let mut innermost = error.source();
        let mut words = String::new();
        while let Some(cause) = innermost {
            words = cause.to_string();
            innermost = cause.source();
        }
        let reason = format!("{} cannot be reached: {}", self.address, shorten(&words));
        Failure::new(FailureKind::Unreachable, reason)
    }
}

fn is_product(response: &Response) -> bool {
    response.headers().get("x-elastic-product").is_some_and(|value| value == "Elasticsearch")
}

/// Reads an answer, or says that it cannot be understood.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(
            FailureKind::Malformed,
            format!("the answer cannot be understood: {}", shorten(&error.to_string())),
        )
    })
}

fn version(number: &str) -> Option<(u64, u64)> {
    let mut parts = number.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("8.19.21"), Some((8, 19)));
        assert_eq!(version("9.0.0-SNAPSHOT"), Some((9, 0)));
        assert!(version("8.10.4") < Some(OLDEST) && version("10.0.1") > Some(OLDEST));
        assert_eq!(version("banana"), None);
    }
}

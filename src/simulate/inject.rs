//! Sends simulated documents to Elasticsearch or to the embedded intake, in bounded `_bulk` requests: with a
//! deadline each, tried again while the receiver asks for patience, and with every refused document counted.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::document::{Document, bulk_body};
use crate::clock::Clock;
use crate::net::{Backoff, random, read_bounded, retry_after};

/// Most documents of one request: about 250 kB.
const BATCH: usize = 1_000;
/// Longest answer that is read: some 100 bytes a document.
const ANSWER_BYTES: usize = 4 << 20;
/// After this many tries of one request it is given up.
const TRIES: u32 = 8;
/// Until a request must be answered.
const DEADLINE: Duration = Duration::from_secs(30);
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(10) };

/// Where documents go.
#[derive(Debug, Clone)]
pub struct Target {
    client: Client,
    url: Url,
    index: String,
    authorization: Option<HeaderValue>,
}

/// What became of documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Accepted.
    pub accepted: u64,
    /// Refused, by the reason given.
    pub refused: BTreeMap<String, u64>,
}

impl Sent {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}

/// Why documents could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot have a path, or the index is no name.
    #[error("{0}")]
    Target(String),
    /// No answer, after several tries.
    #[error("{url} does not answer after {tries} tries")]
    Unreachable {
        /// Who.
        url: Url,
        /// How often.
        tries: u32,
        /// The last failure.
        #[source]
        source: reqwest::Error,
    },
    /// Not now, after several tries.
    #[error("{url} still answers {status} after {tries} tries: it cannot keep up, or is not ready")]
    Busy {
        /// Who.
        url: Url,
        /// What it answers.
        status: u16,
        /// How often.
        tries: u32,
    },
    /// The credentials are missing, wrong, or not allowed to write.
    #[error("{url} answers {status}: give an API key or user that may write to this index")]
    Denied {
        /// Who.
        url: Url,
        /// 401 or 403.
        status: u16,
    },
    /// The request as a whole was refused.
    #[error("{url} refuses with {status}: {body}")]
    Refused {
        /// Who.
        url: Url,
        /// What it answers.
        status: u16,
        /// The beginning of its answer.
        body: String,
    },
    /// The answer is not one to a `_bulk` request.
    #[error("{url} does not answer as Elasticsearch does")]
    Malformed {
        /// Who.
        url: Url,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct BulkAnswer {
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
}

impl Target {
    /// Documents go to `index` below `url`; `authorization` is the whole value of the header.
    pub fn new(
        client: Client,
        url: Url,
        index: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, Error> {
        let forbidden = |c: char| c.is_uppercase() || r#"\/*?"<>| ,#:"#.contains(c);
        if index.is_empty() || index.starts_with(['-', '_', '+', '.']) || index.contains(forbidden)
        {
            return Err(Error::Target(format!(
                "`{index}` is no index name: use small letters, digits and hyphens"
            )));
        }
        if url.cannot_be_a_base() {
            return Err(Error::Target(format!("`{url}` is no base URL: write http://host:port")));
        }
        Ok(Self { client, url, index: index.to_owned(), authorization })
    }

    /// Makes the index with the fields' types where it does not exist yet. Nothing that exists is changed; an
    /// intake that keeps no indices is left alone.
    pub async fn prepare(&self, clock: &dyn Clock) -> Result<(), Error> {
        let path = [self.index.as_str()];
        let exists = self.ask(clock, || self.request(Method::HEAD, &path)).await?;
        if exists.status() != StatusCode::NOT_FOUND {
            return denied(exists).map(drop);
        }
        let keyword = json!({"type": "keyword"});
        let body = json!({"mappings": {"properties": {
            "@timestamp": {"type": "date"},
            "service.name": keyword,
            "level": keyword,
            "message": {"type": "text"},
            "duration_ms": {"type": "double"},
            "trace.id": keyword,
            "status_code": {"type": "short"},
        }}});
        let made = self.ask(clock, || self.request(Method::PUT, &path).json(&body)).await?;
        // 400: somebody else made it meanwhile; if it is anything worse, the first documents will tell.
        denied(made).map(drop)
    }

    /// Sends documents, in as many requests as it takes.
    pub async fn send(&self, documents: &[Document], clock: &dyn Clock) -> Result<Sent, Error> {
        let mut sent = Sent::default();
        for batch in documents.chunks(BATCH) {
            sent.add(self.send_batch(batch, clock).await?);
        }
        Ok(sent)
    }

    /// Sends one request; what the receiver had no room for (429) is sent again.
    async fn send_batch(&self, batch: &[Document], clock: &dyn Clock) -> Result<Sent, Error> {
        let mut sent = Sent::default();
        let mut left = batch.to_vec();
        for attempt in 1..=TRIES {
            let body = bulk_body(&left);
            let answer = self
                .ask(clock, || {
                    self.request(Method::POST, &[&self.index, "_bulk"])
                        .header(CONTENT_TYPE, "application/x-ndjson")
                        .body(body.clone())
                })
                .await?;
            let items = self.items(answer).await?;
            left = sent.count(left, items);
            if left.is_empty() {
                return Ok(sent);
            }
            tokio::time::sleep(BACKOFF.delay(attempt, random())).await;
        }
        Err(Error::Busy { url: self.url.clone(), status: 429, tries: TRIES })
    }

    async fn items(&self, answer: Response) -> Result<Vec<Item>, Error> {
        let status = answer.status();
        let answer = denied(answer)?;
        let body = read_bounded(answer, ANSWER_BYTES)
            .await
            .map_err(|source| Error::Unreachable { url: self.url.clone(), tries: 1, source })?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(Error::Refused { url: self.url.clone(), status: status.as_u16(), body });
        }
        let answer: BulkAnswer = serde_json::from_slice(&body)
            .map_err(|source| Error::Malformed { url: self.url.clone(), source })?;
        Ok(answer.items.into_iter().filter_map(|item| item.into_values().next()).collect())
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.request(method, url).timeout(DEADLINE);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request until it is answered with something else than "later".
    async fn ask(
        &self,
        clock: &dyn Clock,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        let mut tries = 1;
        loop {
            let answer = request().send().await;
            let patience = match &answer {
                Ok(response) if is_later(response.status()) => response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| retry_after(value.to_str().ok()?, clock.now())),
                Ok(_) => None,
                Err(_) => Some(Duration::ZERO),
            };
            match answer {
                Ok(response) if !is_later(response.status()) => return Ok(response),
                Ok(response) if tries >= TRIES => {
                    let status = response.status().as_u16();
                    return Err(Error::Busy { url: self.url.clone(), status, tries });
                }
                Err(source) if tries >= TRIES => {
                    return Err(Error::Unreachable { url: self.url.clone(), tries, source });
                }
                _ => {}
            }
            let wait = patience.unwrap_or_default().max(BACKOFF.delay(tries, random()));
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }
}

impl Sent {
    /// Counts what became of `documents`; answers those that were not taken for want of room.
    fn count(&mut self, documents: Vec<Document>, items: Vec<Item>) -> Vec<Document> {
        let mut left = Vec::new();
        let mut items = items.into_iter();
        for document in documents {
            match items.next() {
                Some(item) if item.status < 300 => self.accepted += 1,
                Some(item) if item.status == 429 => left.push(document),
                Some(item) => {
                    let reason = item.error.map_or_else(
                        || format!("status {}", item.status),
                        |e| format!("{}: {}", e.kind, e.reason.unwrap_or_default()),
                    );
                    *self.refused.entry(reason).or_default() += 1;
                }
                None => *self.refused.entry("not answered".to_owned()).or_default() += 1,
            }
        }
        left
    }
}

fn is_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn denied(answer: Response) -> Result<Response, Error> {
    let status = answer.status().as_u16();
    if matches!(status, 401 | 403) {
        let mut url = answer.url().clone();
        url.set_path("/");
        return Err(Error::Denied { url, status });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_string_contains, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::clock::SystemClock;
    use crate::model::UtcTime;
    use crate::net::{Reach, Settings, client};
    use crate::simulate::Scene;

    fn documents(count: usize) -> Vec<Document> {
        let at = |minutes: i64| UtcTime::from_timestamp(1_700_000_100 + minutes * 60, 0).unwrap();
        let mut documents = Scene::normal(1, 5).documents(at(0), at(30));
        documents.truncate(count);
        documents
    }

    fn target(server: &MockServer) -> Target {
        let client = client(&Settings::default(), Reach::Anywhere).unwrap();
        let key = Some(HeaderValue::from_static("ApiKey abc"));
        Target::new(client, server.uri().parse().unwrap(), "app-logs", key).unwrap()
    }

    fn answer(statuses: &[u16]) -> ResponseTemplate {
        let items: Vec<_> = statuses
            .iter()
            .map(|status| match status {
                201 => json!({"create": {"status": 201}}),
                _ => json!({"create": {"status": status,
                    "error": {"type": "mapper_parsing_exception", "reason": "no date"}}}),
            })
            .collect();
        ResponseTemplate::new(200).set_body_json(json!({"errors": true, "items": items}))
    }

    #[tokio::test]
    async fn what_had_no_room_is_sent_again_and_what_is_refused_is_counted() {
        let server = MockServer::start().await;
        let bulk = || Mock::given(method("POST")).and(path("/app-logs/_bulk"));
        bulk().respond_with(ResponseTemplate::new(503)).up_to_n_times(1).mount(&server).await;
        bulk()
            .and(header("authorization", "ApiKey abc"))
            .and(header("content-type", "application/x-ndjson"))
            .and(body_string_contains("\"service.name\""))
            .respond_with(answer(&[201, 400, 429]))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        bulk().respond_with(answer(&[201])).expect(1).mount(&server).await;
        let sent = target(&server).send(&documents(3), &SystemClock).await.unwrap();
        assert_eq!(sent.accepted, 2);
        let refused = BTreeMap::from([("mapper_parsing_exception: no date".to_owned(), 1)]);
        assert_eq!(sent.refused, refused);
    }

    #[tokio::test]
    async fn large_sets_go_in_batches() {
        let server = MockServer::start().await;
        let all = documents(usize::MAX);
        assert!(all.len() > BATCH && all.len() < 3 * BATCH, "{}", all.len());
        Mock::given(method("POST"))
            .respond_with(answer(&[201; BATCH]))
            .expect(u64::try_from(all.len().div_ceil(BATCH)).unwrap())
            .mount(&server)
            .await;
        let sent = target(&server).send(&all, &SystemClock).await.unwrap();
        assert_eq!(sent.accepted, u64::try_from(all.len()).unwrap());
    }

    #[tokio::test]
    async fn failures_say_what_to_do() {
        let mut said = Vec::new();
        for status in [401, 400, 200] {
            let server = MockServer::start().await;
            let reply = ResponseTemplate::new(status).set_body_string("{\"error\":\"why\"}");
            Mock::given(method("POST")).respond_with(reply).mount(&server).await;
            let error = target(&server).send(&documents(1), &SystemClock).await.unwrap_err();
            said.push(error.to_string().replace(&server.uri(), "http://HOST"));
        }
        let client = client(&Settings::default(), Reach::Anywhere).unwrap();
        for (url, index) in [("http://h", "Logs*"), ("mailto:x", "logs")] {
            let error = Target::new(client.clone(), url.parse().unwrap(), index, None).unwrap_err();
            said.push(error.to_string());
        }
        insta::assert_snapshot!(said.join("\n"));
    }

    #[tokio::test]
    async fn the_index_is_made_only_where_it_is_missing() {
        let server = MockServer::start().await;
        let head = || Mock::given(method("HEAD")).and(path("/app-logs"));
        head().respond_with(ResponseTemplate::new(404)).up_to_n_times(1).mount(&server).await;
        head().respond_with(ResponseTemplate::new(200)).mount(&server).await;
        Mock::given(method("PUT"))
            .and(path("/app-logs"))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
        target(&server).prepare(&SystemClock).await.unwrap();
        target(&server).prepare(&SystemClock).await.unwrap();
    }
}

//! The listener that Elasticsearch's clients and shippers write to. It only translates: `route` says which call a
//! request is, `ingest` does it, `answer` words the reply.
//!
//! Limits: a body's size before and after decompression, the bytes of all requests that wait, the time a body may
//! take. When the store is full it says so (429) after the body has been taken off the wire, so that the sender
//! reads the answer instead of a broken connection.

use std::future::poll_fn;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Refusal, respond};
use super::auth::allowed;
use super::ingest::{Ingest, Room};
use super::route::{Route, route};
use super::shared::Shared;
use super::writer::Writer;

/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How long requests that are under way may take once the end was asked for.
const GRACE: Duration = Duration::from_millis(500);
/// Room is taken in steps of this many bytes.
const STEP: usize = 64 * 1_024;

/// The listener and the writer behind it.
#[derive(Debug)]
pub struct Intake {
    shared: Arc<Shared>,
    ingest: Ingest,
    writer: Writer,
    listener: Option<TcpListener>,
}

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The settings forbid it.
    #[error("open the log store's intake: {0}")]
    Refused(String),
    /// The operating system does.
    #[error("listen on embedded.listen {listen}; another process may use it, set another port")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, ingest: Ingest, writer: Writer) -> Self {
        Self { shared, ingest, writer, listener: None }
    }

    /// A way in for documents from inside the process. They are answered once [`Intake::serve`] runs.
    pub fn ingest(&self) -> Ingest {
        self.ingest.clone()
    }

    /// Opens the listener, if the settings have one, and tells its address.
    pub async fn bind(&mut self) -> Result<Option<SocketAddr>, BindError> {
        let Some(listen) = self.shared.settings.listen else {
            return Ok(None);
        };
        if let Some(problem) = self.shared.settings.problems().into_iter().next() {
            return Err(BindError::Refused(problem));
        }
        let failed = |source| BindError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        self.listener = Some(listener);
        Ok(Some(address))
    }

    /// Takes documents until `soft` fires; ends when everything that was taken is written.
    pub async fn serve(self, soft: CancellationToken) {
        let Self { shared, ingest, writer, listener } = self;
        let stop = CancellationToken::new();
        let listen = async {
            if let Some(listener) = listener {
                let router = router(shared, ingest);
                let served = axum::serve(listener, router)
                    .with_graceful_shutdown(soft.clone().cancelled_owned());
                let cut = async {
                    soft.cancelled().await;
                    tokio::time::sleep(GRACE).await;
                };
                tokio::select! {
                    served = served => if let Err(error) = served {
                        tracing::error!(%error, "log store's intake ended");
                    },
                    () = cut => {}
                }
            } else {
                drop(ingest);
                soft.cancelled().await;
            }
            stop.cancel();
        };
        tokio::join!(writer.run(stop.clone()), listen);
    }
}

#[derive(Debug, Clone)]
struct Handler {
    shared: Arc<Shared>,
    ingest: Ingest,
}

/// Every path goes through one handler, as Elasticsearch's paths are no fixed set.
pub(super) fn router(shared: Arc<Shared>, ingest: Ingest) -> Router {
    Router::new().fallback(handle).with_state(Handler { shared, ingest })
}

async fn handle(State(handler): State<Handler>, request: Request) -> Response {
    let media = answer::media(request.headers());
    let mut response = match handler.answer(request, &media).await {
        Ok(response) => response,
        Err(refusal) => refusal.respond(&media),
    };
    let product = HeaderValue::from_static("Elasticsearch");
    response.headers_mut().insert("x-elastic-product", product);
    let status = response.status().as_u16().to_string();
    handler.shared.metrics.intake_requests.get_or_create(&vec![("status", status)]).inc();
    response
}

impl Handler {
    async fn answer(&self, request: Request, media: &HeaderValue) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let text = |name: header::HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
        if !allowed(&self.shared.settings.token, text(header::AUTHORIZATION)) {
            return Err(Refusal::Unauthorized { path: super::rejection::quote(path) });
        }
        if parts.headers.contains_key(header::ORIGIN) {
            return Err(Refusal::Origin);
        }
        let ok = |body| Ok(respond(StatusCode::OK, &body, media));
        match route(&parts.method, path) {
            Route::Info => ok(answer::info()),
            Route::License => ok(answer::license()),
            Route::Features => ok(answer::xpack()),
            Route::Health => ok(answer::health(self.shared.broken().is_none())),
            Route::Refresh => ok(json!({"_shards": {"total": 1, "successful": 1, "failed": 0}})),
            Route::Exists => ok(json!({})),
            Route::Setup => ok(json!({"acknowledged": true, "shards_acknowledged": true})),
            Route::Missing => Ok(respond(StatusCode::NOT_FOUND, &json!({}), media)),
            Route::Search => Err(Refusal::WriteOnly),
            Route::Unknown => Err(Refusal::Unknown {
                method: parts.method.to_string(),
                path: super::rejection::quote(path),
            }),
            Route::Bulk { index } => {
                let (body, room) = self.body(&parts.headers, body).await?;
                let reply = self.ingest.bulk_within(body, index.as_deref(), room).await?;
                Ok(answer::respond_text(StatusCode::OK, answer::bulk(&reply), media))
            }
            Route::Document { verb, index, id } => {
                let (body, room) = self.body(&parts.headers, body).await?;
                let item = self.ingest.document(verb, index, id, &body, room).await?;
                let (status, body) = match &item.outcome {
                    Ok(_) => answer::document(&item),
                    Err(rejection) => (StatusCode::BAD_REQUEST, answer::refused(rejection)),
                };
                Ok(respond(status, &body, media))
            }
        }
    }

    /// The body, unpacked, with the room that it occupies.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Room), Refusal> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let packing = text(header::CONTENT_ENCODING).unwrap_or("identity").trim().to_lowercase();
        check_content_type(text(header::CONTENT_TYPE))?;
        let collected = tokio::time::timeout(BODY_DEADLINE, self.collect(body));
        let (body, mut room) = collected
            .await
            .map_err(|_| Refusal::Broken("the request's body came too slowly"))??;
        match packing.as_str() {
            "" | "identity" => Ok((body.into(), room)),
            "gzip" | "x-gzip" | "deflate" => {
                let (this, packed) = (self.clone(), body);
                let unpack = move || {
                    let unpacked = if packing == "deflate" {
                        this.unpack(flate2::read::ZlibDecoder::new(packed.as_slice()), &mut room)
                    } else {
                        this.unpack(flate2::read::MultiGzDecoder::new(packed.as_slice()), &mut room)
                    };
                    unpacked.map(|body| (body.into(), room))
                };
                tokio::task::spawn_blocking(unpack)
                    .await
                    .map_err(|_| Refusal::Broken("the request's body could not be unpacked"))?
            }
            other => Err(Refusal::Encoding(format!(
                "Content-Encoding [{}] is not supported; use gzip or none",
                super::rejection::quote(other)
            ))),
        }
    }

    /// Takes a body off the wire. A body that is refused is read on for a while without being kept, so that the
    /// sender comes to the answer.
    async fn collect(&self, mut body: Body) -> Result<(Vec<u8>, Room), Refusal> {
        let most = self.most();
        let mut kept = Vec::new();
        let mut room = self.ingest.reserve(1)?;
        let mut refusal = None;
        let mut passed = 0;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|_| Refusal::Broken("the request's body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if refusal.is_none() {
                refusal = self.grow(&mut room, kept.len() + data.len()).err();
            }
            if refusal.is_none() {
                kept.extend_from_slice(&data);
            } else {
                kept = Vec::new();
                passed += data.len();
                if passed > most {
                    break;
                }
            }
        }
        refusal.map_or(Ok((kept, room)), Err)
    }

    fn unpack(&self, mut packed: impl Read, room: &mut Room) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        loop {
            let before = body.len();
            let taken =
                packed.by_ref().take(STEP as u64).read_to_end(&mut body).map_err(|error| {
                    Refusal::Encoding(format!("the body is not packed as it says: {error}"))
                })?;
            if taken == 0 {
                return Ok(body);
            }
            debug_assert!(body.len() > before, "something was read");
            self.grow(room, body.len())?;
        }
    }

    /// Makes room for a body of `bytes`.
    fn grow(&self, room: &mut Room, bytes: usize) -> Result<(), Refusal> {
        let most = self.most();
        if bytes > most {
            return Err(Refusal::TooLarge { most });
        }
        let lacking = bytes.saturating_sub(room.bytes());
        if lacking > 0 {
            room.merge(self.ingest.reserve(lacking.max(STEP))?);
        }
        Ok(())
    }

    fn most(&self) -> usize {
        self.shared.settings.max_body_mb * 1_000_000
    }
}

/// JSON or newline-delimited JSON, plain or in Elastic's versioned form.
fn check_content_type(given: Option<&str>) -> Result<(), Refusal> {
    let kind = given.map(|given| given.split(';').next().unwrap_or_default().trim().to_lowercase());
    let known = [
        "application/json",
        "application/x-ndjson",
        "application/ndjson",
        "application/vnd.elasticsearch+json",
        "application/vnd.elasticsearch+x-ndjson",
    ];
    match kind {
        Some(kind) if known.contains(&kind.as_str()) => Ok(()),
        _ => Err(Refusal::ContentType(given.map(super::rejection::quote))),
    }
}

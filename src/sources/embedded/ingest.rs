//! The way into the log store, whoever comes: the listener's requests, `demo`, tests. Reads a request's documents,
//! queues them, and answers when they are on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::buckets::Batch;
use super::bulk::{self, Malformed, Verb};
use super::document;
use super::rejection::{Reason, Rejection};
use super::shared::Shared;
use super::writer::Queued;

/// Bodies above this are read on a thread of their own, so that others are served meanwhile.
const LARGE: usize = 256 * 1_024;
/// Room is counted in units of this many bytes.
const UNIT: usize = 1_024;
/// Room beyond the setting, as room is taken in steps: the largest request fits an empty queue.
const SLACK: usize = 128 * 1_024;

/// Writes documents to the log store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    ids: Arc<Ids>,
}

/// What became of a request's documents, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkReply {
    /// How long it took.
    pub took: Duration,
    /// One a document.
    pub items: Vec<Item>,
}

impl BulkReply {
    /// How many documents were refused.
    pub fn refused(&self) -> usize {
        self.items.iter().filter(|item| item.outcome.is_err()).count()
    }
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was asked for.
    pub verb: Verb,
    /// The index that the sender named.
    pub index: String,
    /// The document's id: the sender's, or one made here.
    pub id: String,
    /// Its number, ascending; or why it was refused.
    pub outcome: Result<u64, Rejection>,
}

/// Nothing of the request was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// The request is no `_bulk` body.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Too much waits to be written already: come back later.
    #[error(
        "rejected execution: {waiting} bytes of requests wait to be written, at most {most} may"
    )]
    Full {
        /// Bytes that wait.
        waiting: usize,
        /// Bytes that may.
        most: usize,
    },
    /// The file cannot be written, or the store is closing: come back later.
    #[error("the log store cannot be written: {0}")]
    Unavailable(String),
}

/// Bytes of the queue that a request occupies until it is written.
#[derive(Debug)]
pub(super) struct Room(OwnedSemaphorePermit);

impl Room {
    /// How many bytes there is room for.
    pub(super) fn bytes(&self) -> usize {
        self.0.num_permits() * UNIT
    }

    /// Adds more.
    pub(super) fn merge(&mut self, more: Self) {
        self.0.merge(more.0);
    }
}

impl Ingest {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Sender<Queued>) -> Self {
        let units = (shared.settings.queue_mb * 1_000_000 + SLACK) / UNIT;
        Self { shared, queue, room: Arc::new(Semaphore::new(units)), ids: Arc::new(Ids::new()) }
    }

    /// Takes a `_bulk` body; `index` is used where an action names none. Answers when the documents that were
    /// taken are on the disk.
    pub async fn bulk(&self, body: &[u8], index: Option<&str>) -> Result<BulkReply, BulkError> {
        let room = self.reserve(body.len())?;
        self.bulk_within(Bytes::copy_from_slice(body), index, room).await
    }

    /// Occupies room for a request of `bytes`, or says that there is none.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Room, BulkError> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(units);
        self.show_queue();
        permit.map(Room).map_err(|_| {
            let most = self.shared.settings.queue_mb * 1_000_000;
            BulkError::Full { waiting: self.waiting(), most }
        })
    }

    /// Like [`Ingest::bulk`], with the room already taken.
    pub(super) async fn bulk_within(
        &self,
        body: Bytes,
        index: Option<&str>,
        room: Room,
    ) -> Result<BulkReply, BulkError> {
        let started = Instant::now();
        let (batch, items) = if body.len() < LARGE {
            self.read(&body, index)?
        } else {
            let this = self.clone();
            let index = index.map(str::to_owned);
            tokio::task::spawn_blocking(move || this.read(&body, index.as_deref()))
                .await
                .map_err(|error| BulkError::Unavailable(error.to_string()))??
        };
        self.write(batch, room).await?;
        let taken = items.iter().filter(|item| item.outcome.is_ok()).count();
        self.shared.metrics.intake_documents.inc_by(taken as u64);
        Ok(BulkReply { took: started.elapsed(), items })
    }

    /// Takes one document.
    pub(super) async fn document(
        &self,
        verb: Verb,
        index: String,
        id: Option<String>,
        body: &[u8],
        room: Room,
    ) -> Result<Item, BulkError> {
        let mut batch = Batch::default();
        let now = self.shared.clock.now();
        let outcome = self.take(&mut batch, verb, body, self.shared.horizon(now));
        batch.arrived(now);
        let item = Item { verb, index, id: id.unwrap_or_else(|| self.ids.next()), outcome };
        self.write(batch, room).await?;
        self.shared.metrics.intake_documents.inc_by(u64::from(item.outcome.is_ok()));
        Ok(item)
    }

    /// Reads the documents of a request.
    fn read(&self, body: &[u8], index: Option<&str>) -> Result<(Batch, Vec<Item>), Malformed> {
        let now = self.shared.clock.now();
        let horizon = self.shared.horizon(now);
        let mut batch = Batch::default();
        let actions = bulk::parse(body, index)?;
        let mut items = Vec::with_capacity(actions.len());
        for action in actions {
            let outcome = self.take(&mut batch, action.verb, action.source, horizon);
            let id = action.id.unwrap_or_else(|| self.ids.next());
            items.push(Item { verb: action.verb, index: action.index, id, outcome });
        }
        batch.arrived(now);
        Ok((batch, items))
    }

    fn take(
        &self,
        batch: &mut Batch,
        verb: Verb,
        source: &[u8],
        horizon: document::Horizon,
    ) -> Result<u64, Rejection> {
        let taken = match verb {
            Verb::Index | Verb::Create => document::observe(source, horizon)
                .and_then(|seen| Ok((self.shared.intern(&seen.service)?, seen))),
            Verb::Update | Verb::Delete => Err(Rejection::new(
                Reason::Action,
                "only write ops with an op_type of [create] or [index] are allowed in this log store",
            )),
        };
        match taken {
            Ok((service, seen)) => {
                batch.add(&service, seen);
                Ok(self.ids.number())
            }
            Err(rejection) => {
                self.shared.refuse(rejection.reason);
                *batch.rejected.entry(rejection.reason).or_default() += 1;
                Err(rejection)
            }
        }
    }

    /// Queues and waits until it is on the disk.
    async fn write(&self, batch: Batch, room: Room) -> Result<(), BulkError> {
        let (reply, written) = oneshot::channel();
        let queued = Queued { batch, reply, room: room.0 };
        self.queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BulkError::Full {
                waiting: self.waiting(),
                most: self.shared.settings.queue_mb * 1_000_000,
            },
            mpsc::error::TrySendError::Closed(_) => closing(),
        })?;
        let outcome = written.await.map_err(|_| closing())?;
        self.show_queue();
        outcome.map_err(BulkError::Unavailable)
    }

    fn waiting(&self) -> usize {
        let units = (self.shared.settings.queue_mb * 1_000_000 + SLACK) / UNIT;
        units.saturating_sub(self.room.available_permits()) * UNIT
    }

    fn show_queue(&self) {
        let waiting = i64::try_from(self.waiting()).unwrap_or(i64::MAX);
        self.shared.metrics.intake_queue_bytes.set(waiting);
    }
}

fn closing() -> BulkError {
    BulkError::Unavailable("it is closing".to_owned())
}

/// Ids for documents that came without one, and their numbers.
#[derive(Debug)]
struct Ids {
    start: [u8; 7],
    count: AtomicU64,
    number: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let mut start = [0; 7];
        // Without randomness ids still differ within this run, and nothing relies on more.
        getrandom::fill(&mut start).unwrap_or_default();
        Self { start, count: AtomicU64::new(0), number: AtomicU64::new(0) }
    }

    /// Twenty characters, as Elasticsearch's.
    fn next(&self) -> String {
        let mut bytes = [0; 15];
        bytes[..7].copy_from_slice(&self.start);
        bytes[7..].copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}

//! What survives: incidents, deliveries owed, receipts, silences, and the memory of detection. The verbs are
//! the domain's; `now` is an argument. One set of SQL texts serves `SQLite` and `PostgreSQL`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::model::{
    Change, Delivery, DeliveryId, Incident, IncidentId, IncidentState, Receipt, Severity, Silence,
    UtcTime,
};

/// `store` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `sqlite:PATH` or `postgres://…`; the environment's `DATABASE_URL` goes before it.
    pub url: String,
    /// Days that resolved incidents with their deliveries are kept.
    pub incident_retention_days: u32,
    /// Hours that buckets are kept for `why`.
    pub bucket_retention_hours: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "sqlite:sentinelops.db".to_owned(),
            incident_retention_days: 400,
            bucket_retention_hours: 24,
        }
    }
}

/// Everything that one step of the incident writer changes, committed in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Incidents, whole, to be inserted or replaced (never by an older revision).
    pub incidents: Vec<Incident>,
    /// Messages that become owed.
    pub owed: Vec<Owed>,
    /// Silences to be inserted or replaced.
    pub silences: Vec<Silence>,
}

/// A message that becomes owed.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// The incident it is about.
    pub incident: IncidentId,
    /// The receiver.
    pub receiver: String,
    /// Why.
    pub change: Change,
    /// The incident's severity now.
    pub severity: Severity,
    /// The incident's revision now.
    pub revision: i64,
    /// Not before this instant.
    pub due_at: UtcTime,
    /// When it became owed.
    pub created_at: UtcTime,
}

/// Which incidents to list; newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentFilter {
    /// Only these states; all if empty.
    pub states: Vec<IncidentState>,
    /// Only incidents that hit this service.
    pub service: Option<String>,
    /// Only this severity or worse.
    pub at_least: Option<Severity>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
}

/// How a leased delivery ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// The receiver has it: keep the receipt.
    Delivered(Receipt),
    /// Try again.
    Retry {
        /// Not before.
        due_at: UtcTime,
        /// Why.
        error: String,
        /// Who is owed it as well, because it has failed for too long. In the same transaction, at once, and
        /// only if that receiver has no delivery of the same incident, change and revision yet: so it may be
        /// named again with each retry, and takes effect once.
        fallback: Option<String>,
    },
    /// Given up; `fallback` names the receiver that is owed it instead, if there is one (the same rule).
    Dead {
        /// Why.
        error: String,
        /// Who gets it instead.
        fallback: Option<String>,
    },
    /// Needs no sending any more: a message that was sent shows it already.
    Superseded,
}

/// How many emergencies may wait for the dispatcher; when the queue is full the writer drops the newest and
/// logs it, for it must not wait.
pub const EMERGENCIES: usize = 256;

/// The store cannot be written, and these must not wait for it: P1 and P2. The dispatcher sends them from
/// memory and remembers each by (incident, receiver, change, revision). The writer commits the very same
/// `owed` when the store can be written again; the dispatcher then settles them instead of sending them twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Emergency {
    /// The incident as it is now.
    pub incident: Incident,
    /// What would have become owed.
    pub owed: Vec<Owed>,
}

/// What is owed, for `/ready`, metrics and self-alerts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// Deliveries owed.
    pub owed: u64,
    /// When the oldest of them became owed.
    pub oldest: Option<UtcTime>,
    /// Deliveries given up within the retention.
    pub dead: u64,
}

/// A value that detection remembers: `kind` says what it is, `key` whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// E.g. `episode`, `series_hour`, `watermark`.
    pub kind: String,
    /// E.g. a series, or a series and an hour.
    pub key: String,
    /// The instant it is about; retention goes by it.
    pub at: UtcTime,
    /// JSON or base64 text.
    pub body: String,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, read or written.
    #[error("the store cannot be used")]
    Database(#[from] sqlx::Error),
    /// A row could not be understood: written by a newer version, or damaged.
    #[error("{what} in the store cannot be read")]
    Corrupt {
        /// Which row.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The result of a verb.
pub type Result<T> = std::result::Result<T, Error>;

#[expect(clippy::unused_async, clippy::todo, unused_variables, reason = "signatures first")]
impl Store {
    /// Opens the database and brings its tables up to date.
    pub async fn open(settings: &Settings) -> Result<Self> {
        todo!()
    }

    /// Commits one step of the incident writer, in one transaction. Deliveries of the same incident and
    /// receiver that an owed one makes unnecessary are superseded in it.
    pub async fn commit(&self, changes: &Changes) -> Result<()> {
        todo!()
    }

    /// What the writer needs at start: open incidents, those resolved since `since`, and living silences.
    pub async fn load_book(&self, since: UtcTime) -> Result<(Vec<Incident>, Vec<Silence>)> {
        todo!()
    }

    /// One incident.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>> {
        todo!()
    }

    /// A page of incidents, newest first, and how many there are.
    pub async fn incidents(&self, filter: &IncidentFilter) -> Result<(u64, Vec<Incident>)> {
        todo!()
    }

    /// All silences that have not been over for longer than the retention.
    pub async fn silences(&self) -> Result<Vec<Silence>> {
        todo!()
    }

    /// The deliveries of an incident, oldest first.
    pub async fn deliveries(&self, incident: &IncidentId) -> Result<Vec<Delivery>> {
        todo!()
    }

    /// Takes up to `limit` deliveries of one receiver that are due, in order: P1 before the rest, then by
    /// age; of one incident only the oldest owed one, and none while that one is leased or not yet due. They
    /// stay taken until `until`, or until they are settled. Each lease counts as an attempt: the deliveries
    /// carry `attempts` including this one.
    pub async fn lease(
        &self,
        receiver: &str,
        now: UtcTime,
        until: UtcTime,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        todo!()
    }

    /// What [`Store::lease`] would take of P1 and P2 if nothing was leased, without taking it: only reads, for
    /// when the store cannot be written.
    pub async fn urgent(&self, receiver: &str, now: UtcTime, limit: u32) -> Result<Vec<Delivery>> {
        todo!()
    }

    /// Frees every lease of a receiver: those of a process that was killed, or of a call that failed half-way.
    /// Only for the dispatcher while it has nothing under way to that receiver. Answers how many there were.
    pub async fn release(&self, receiver: &str) -> Result<u64> {
        todo!()
    }

    /// The receivers that something is owed to, with the instant from which [`Store::lease`] would take
    /// something (due and not leased, or when that ends), earliest first.
    pub async fn due(&self) -> Result<Vec<(String, UtcTime)>> {
        todo!()
    }

    /// Fires when something became owed. Only a hint: it may fire early, late, or for nothing.
    pub fn owed_hint(&self) -> Arc<Notify> {
        todo!()
    }

    /// Records how a delivery ended; false if it is not owed any more. A lease that ran out without anybody
    /// else taking it does not matter.
    pub async fn settle(&self, id: DeliveryId, attempt: &Attempt, now: UtcTime) -> Result<bool> {
        todo!()
    }

    /// What a receiver answered for an incident.
    pub async fn receipt(&self, incident: &IncidentId, receiver: &str) -> Result<Option<Receipt>> {
        todo!()
    }

    /// What is owed.
    pub async fn outbox(&self) -> Result<Outbox> {
        todo!()
    }

    /// Keeps values for detection, replacing those of the same kind and key.
    pub async fn remember(&self, values: &[Memory]) -> Result<()> {
        todo!()
    }

    /// The kept values of a kind since an instant, by key.
    pub async fn recall(&self, kind: &str, since: UtcTime) -> Result<Vec<Memory>> {
        todo!()
    }

    /// The kept values of a kind whose key begins with `prefix`, by key.
    pub async fn recall_keys(&self, kind: &str, prefix: &str) -> Result<Vec<Memory>> {
        todo!()
    }

    /// Drops kept values.
    pub async fn forget(&self, kind: &str, keys: &[String]) -> Result<()> {
        todo!()
    }

    /// Removes what is past its retention; answers how many rows.
    pub async fn prune(&self, settings: &Settings, now: UtcTime) -> Result<u64> {
        todo!()
    }

    /// Takes or renews the lease of the active replica; false while another one holds it.
    pub async fn lead(&self, holder: &str, now: UtcTime, until: UtcTime) -> Result<bool> {
        todo!()
    }
}

//! What survives: incidents, deliveries owed, receipts, silences, and the memory of detection. The verbs are
//! the domain's; `now` is an argument. One set of SQL texts serves `SQLite` and `PostgreSQL`.
//!
//! Here are the nouns of the verbs; the verbs themselves stand in `book` (incidents, silences), `outbox`
//! (deliveries) and `memory` (detection, retention, replicas).

mod book;
mod faults;
mod memory;
mod open;
mod outbox;
mod rows;
mod sql;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AnyPool;
use tokio::sync::Notify;

use crate::model::{
    Change, Incident, IncidentId, IncidentState, Receipt, Severity, Silence, UtcTime,
};
pub use faults::Faults;
pub use trouble::Trouble;

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

/// No replica has led yet: commits are not fenced.
const UNFENCED: i64 = -1;

/// The database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    owed: Arc<Notify>,
    /// Names this process in leases of deliveries.
    holder: Arc<str>,
    /// The epoch in which this process leads, or [`UNFENCED`].
    epoch: Arc<AtomicI64>,
    /// How long one verb may take; none for a local file, whose own limits are enough.
    deadline: Option<Duration>,
    faults: Option<Arc<dyn Faults>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's options hold the address with its password.
        f.debug_struct("Store").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Store {
    /// Fires when something became owed, or when what waited behind a delivery can be taken. Only a hint: it
    /// may fire early, late, or for nothing.
    pub fn owed_hint(&self) -> Arc<Notify> {
        self.owed.clone()
    }

    /// The same store, whose verbs fail as the faults say.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, read or written.
    #[error("the store cannot be used")]
    Database(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("the store's tables cannot be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The address leads nowhere.
    #[error("the store cannot be opened: {problem}; {fix}")]
    Location {
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// No answer in time.
    #[error("the store did not answer `{0}` before the deadline")]
    Deadline(&'static str),
    /// Another replica has taken over.
    #[error("another replica leads; this one must not write")]
    Fenced,
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

impl Error {
    fn location(problem: impl Into<String>, fix: &'static str) -> Self {
        Self::Location { problem: problem.into(), fix }
    }
}

/// The result of a verb.
pub type Result<T> = std::result::Result<T, Error>;

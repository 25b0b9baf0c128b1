//! The log store of the binary itself, for where there is no Elasticsearch: an intake that Elasticsearch's clients
//! and shippers write to, minute buckets and warning and error events in one SQLite file, and the same windows as
//! the Elasticsearch source reads. Nothing can be searched here but what detection and explanation need.
//!
//! ```text
//! shippers ──HTTP──► intake ─┐                      ┌─► file: buckets, events ──► source ──windows──► detect
//! demo, tests ──────────────►┴─ ingest ──queue──► writer (one transaction for all that waits)
//! ```
//!
//! Durability: a request is answered after its documents are committed and synced. kill −9 or a power cut loses
//! nothing that was answered; what was not answered is sent again by the shipper, and may then be counted twice.
//!
//! Back-pressure: senders are *told* (429, Retry-After) when more waits than `embedded.queue_mb`.

mod answer;
mod auth;
mod buckets;
mod bulk;
mod db;
mod document;
mod ingest;
mod intake;
mod rejection;
mod route;
mod settings;
mod shared;
mod source;
mod writer;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::telemetry::Metrics;

pub use bulk::{Malformed, Verb};
pub use db::OpenError;
pub use ingest::{BulkError, BulkReply, Ingest, Item};
pub use intake::{BindError, Intake};
pub use rejection::{Reason, Rejection};
pub use settings::Settings;
pub use source::{EmbeddedSource, INTERVAL};

/// Requests that may wait to be written; their bytes are bounded by the settings besides.
const QUEUE: usize = 4_096;

/// The log store.
#[derive(Debug, Clone, Copy)]
pub struct Embedded;

impl Embedded {
    /// Opens the file, and gives what reads from it and what writes to it. Nothing runs before
    /// [`Intake::serve`] does.
    pub async fn open(
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<(EmbeddedSource, Intake), OpenError> {
        let db::Opened { mut writer, readers, lock } = db::open(&settings.path).await?;
        let sql = |source| OpenError::Sql { path: settings.path.clone(), source };
        let alive = db::alive(&mut writer).await.map_err(sql)?;
        let services = db::services(&mut writer).await.map_err(sql)?;
        let shared = Arc::new(shared::Shared::new(settings, clock, metrics));
        for name in services.keys() {
            shared.names.insert(name.clone(), ());
        }
        let (sender, queue) = mpsc::channel(QUEUE);
        let ingest = Ingest::new(Arc::clone(&shared), sender);
        let writer = writer::Writer::new(writer, services, queue, Arc::clone(&shared));
        let source = EmbeddedSource::new(Arc::clone(&shared), readers, alive, lock);
        Ok((source, Intake::new(shared, ingest, writer)))
    }
}

//! What the routes use: the store for reading, the writer for changes, and two traits that `app` wires.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::incidents::Handle;
use crate::model::{ServiceName, SourceName, UtcTime, Verdict};
use crate::store::Store;
use crate::telemetry::Metrics;

/// A boxed future, so that whoever answers stands behind one trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Shared by all routes.
#[derive(Debug)]
pub struct State {
    /// Settings, which a reload replaces; the address of the listener stays.
    pub settings: watch::Receiver<Arc<super::Settings>>,
    /// Where people reach this daemon (`notify.base_url`): its host is accepted too.
    pub base_url: Option<String>,
    /// Read only.
    pub store: Store,
    /// The single writer.
    pub incidents: Handle,
    /// Why did, or didn't, a series fire?
    pub explain: Arc<dyn Explain>,
    /// How fresh the sources are, and which services they see.
    pub freshness: Arc<dyn Freshness>,
    /// Counters.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Answers `why`.
pub trait Explain: Send + Sync + Debug {
    /// A verdict for each series that fits; none if there is no such series.
    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Vec<Verdict>, NotNow>>;
}

/// What somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The service.
    pub service: String,
    /// The signal; all of the service's if absent.
    pub signal: Option<String>,
    /// The instant; now if absent.
    pub at: Option<UtcTime>,
}

/// Detection cannot answer: the process is starting or stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("detection does not answer")]
pub struct NotNow;

/// Tells how fresh the sources are.
pub trait Freshness: Send + Sync + Debug {
    /// All sources, by name.
    fn sources(&self) -> Vec<SourceFreshness>;

    /// The services that the sources see, by name.
    fn services(&self) -> Vec<ServiceName>;
}

/// How fresh one source is.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFreshness {
    /// Its name.
    pub name: SourceName,
    /// When it was last read completely.
    pub last_read_at: Option<UtcTime>,
    /// The end of the newest bucket that was read completely.
    pub newest: Option<UtcTime>,
    /// Since when it has been called blind.
    pub blind_since: Option<UtcTime>,
    /// What was wrong with the last read, if anything.
    pub trouble: Option<String>,
    /// How late documents arrive.
    pub lag: Option<Duration>,
    /// Rows or documents that were refused since the start.
    pub rejected: u64,
}

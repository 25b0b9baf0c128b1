//! Where windows come from. A source is one file or folder; the loop around it schedules its reads,
//! notices what it missed, and hands the windows on.
//!
//! Back-pressure: the loop *waits* when the pipeline is busy; the buckets stay in the source meanwhile.

mod drought;
pub mod elasticsearch;
pub mod embedded;
pub mod level;
mod poll;
mod schedule;

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::model::{Signal, SourceName, UtcTime, WindowKind, Windows};

pub use poll::{Poll, run};
pub use schedule::{Schedule, Step, deadline};

/// A boxed future, so that sources of different kinds stand behind one trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What to read: closed, aligned buckets of `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start, aligned, inclusive.
    pub from: UtcTime,
    /// End, aligned, exclusive.
    pub to: UtcTime,
    /// Why.
    pub kind: WindowKind,
}

/// Something that windows are read from.
pub trait Source: Send + std::fmt::Debug {
    /// Its name, stable and unique.
    fn name(&self) -> &SourceName;

    /// The signals that it reads.
    fn signals(&self) -> Vec<Signal>;

    /// Reads a span. Never fails: what went wrong stands in the windows' completeness. Respects its own
    /// deadline.
    fn read(&mut self, span: Span) -> BoxFuture<'_, Windows>;

    /// From the first to the end of the last bucket that was read already and has changed since, because documents
    /// came late; `None` if none has, or if the source cannot tell: then corrections go by the lag alone.
    fn changed(&self) -> Option<(UtcTime, UtcTime)> {
        None
    }

    /// Finds out whether the source can be reached, is allowed, and has the fields it needs: one line per
    /// thing that was looked at.
    fn check(&mut self) -> BoxFuture<'_, Vec<Checked>>;
}

/// One thing that `check` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// What was looked at: `elasticsearch: index app-logs-all`.
    pub what: String,
    /// Whether it is good; `None` where it is only worth knowing.
    pub ok: Option<bool>,
    /// What was found, and what to do about it.
    pub detail: String,
}

/// `polling` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds between reads. Reads are also aligned to the close of each bucket.
    pub interval_seconds: u64,
    /// Length of the judged window in minutes.
    pub lookback_minutes: u32,
    /// Length of a bucket in seconds.
    pub bucket_seconds: u32,
    /// How late documents may come, in seconds, where the source cannot measure it.
    pub lag_seconds: u64,
    /// Seconds after which a read is given up.
    pub deadline_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_seconds: 30,
            lookback_minutes: 5,
            bucket_seconds: 60,
            lag_seconds: 10,
            deadline_seconds: 20,
        }
    }
}

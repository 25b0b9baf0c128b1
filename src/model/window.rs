//! What a source read: closed, interval-aligned buckets over `[from, to)`, and how complete the read was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Point, ServiceName, SignalName, SourceName, UtcTime};

/// The windows of all series that one read of one source answered.
///
/// A series that has no row for a bucket had no documents in it, provided the read is
/// [`Completeness::Complete`]; the detection engine decides whether that is *zero* or *absent*.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// The source that was read.
    pub source: SourceName,
    /// Start of the range, aligned to `interval`, inclusive.
    pub from: UtcTime,
    /// End of the range, aligned, exclusive.
    pub to: UtcTime,
    /// The length of a bucket.
    pub interval: Duration,
    /// Why it was read.
    pub kind: WindowKind,
    /// Whether the answer can be believed.
    pub completeness: Completeness,
    /// What was there, in no particular order; empty unless the read answered.
    pub rows: Vec<Row>,
    /// Rows or documents that were refused (no service, no number, not finite), with a reason each kind.
    pub rejected: Vec<(String, u64)>,
    /// How late documents were seen to arrive, if the source can tell.
    pub lag: Option<Duration>,
    /// When the read finished.
    pub read_at: UtcTime,
    /// How long it took, and how many requests.
    pub took: Duration,
    /// The number of requests that the read needed.
    pub requests: u32,
}

/// One bucket of one service: the points of every signal that the service had in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The service.
    pub service: ServiceName,
    /// The bucket's start.
    pub start: UtcTime,
    /// Its points, one a signal.
    pub points: Vec<(SignalName, Point)>,
}

/// Why a range was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Buckets that have just closed: judged, may page.
    Fresh,
    /// Buckets read again because late documents may have come: they replace what was kept, and the current
    /// window is judged again.
    Correction,
    /// History at start or after a gap: builds baselines; what began and ended in it is recorded, not paged.
    Backfill,
}

/// Whether a read can be believed. Only `Complete` may change what is known of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "completeness")]
pub enum Completeness {
    /// Everything was there.
    Complete,
    /// An answer came, but some of it is missing: failed shards, a time-out, an early end.
    Partial {
        /// What is missing, in words for people.
        reason: String,
    },
    /// No answer.
    Failed {
        /// What class of failure.
        kind: FailureKind,
        /// In words for people; names no secret.
        reason: String,
        /// When the remote system asked to be tried again.
        retry_at: Option<UtcTime>,
    },
}

impl Completeness {
    /// Whether the read may change what is known of a series.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// What is missing, if anything.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Complete => None,
            Self::Partial { reason } | Self::Failed { reason, .. } => Some(reason),
        }
    }
}

/// Classes of failed reads; a bounded label for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Could not connect, or the connection broke.
    Unreachable,
    /// No answer before the deadline.
    Deadline,
    /// Asked to slow down (429).
    Throttled,
    /// Not now (503 and other 5xx).
    Unavailable,
    /// Not allowed (401, 403): a person must act.
    Denied,
    /// The request itself was refused (other 4xx): a person must act.
    Refused,
    /// The answer could not be understood.
    Malformed,
}

impl FailureKind {
    /// The label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

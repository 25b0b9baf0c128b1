//! Delivers what is owed. A notifier is one file; the dispatcher leases owed deliveries, sends them in order,
//! retries, and records the outcome.

mod build;
mod chart;
mod console;
mod decide;
pub mod dispatcher;
mod exchange;
pub mod heartbeat;
mod lane;
mod ledger;
pub mod message;
mod pagerduty;
pub mod route;
#[cfg(test)]
mod samples;
pub mod settings;
mod slack;
mod webhook;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::model::{Change, Incident, IncidentId, Receipt, UtcTime};

pub use build::receivers;
pub use chart::png as chart_png;
pub use console::Console;
pub use pagerduty::PagerDuty;
pub use settings::Settings;
pub use slack::Slack;
pub use webhook::Webhook;

/// A boxed future, so that notifiers of different kinds stand behind one trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One message to send: everything a notifier may say.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The incident as it is now.
    pub incident: Incident,
    /// Why the message is owed.
    pub change: Change,
    /// What the receiver answered before for this incident.
    pub receipt: Option<Receipt>,
    /// The same for every attempt to deliver the same message, also from memory: [`Outgoing::key`].
    pub key: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When it is sent.
    pub now: UtcTime,
    /// Where people read more: the base URL of our own pages, if set.
    pub base_url: Option<String>,
}

impl Outgoing {
    /// What tells one message from another, whoever sends it: the incident, why a message became owed, and
    /// the incident's revision at that time ([`crate::model::Delivery::revision`]).
    pub fn key(incident: &IncidentId, change: Change, revision: i64) -> String {
        format!("{incident}/{}/{revision}", change.as_str())
    }
}

/// The longest that [`Notifier::send`] takes before it answers with a failure: a lease must be longer.
pub const LONGEST_SEND: Duration = Duration::from_secs(45);

/// Sends messages to one receiver.
pub trait Notifier: Send + Sync + Debug {
    /// Its kind: `slack`, `pagerduty`, `webhook`, `console`; a label of metrics.
    fn kind(&self) -> &'static str;

    /// Sends, with a deadline of its own; answers how to find the message again (to be kept for the
    /// incident), or how it failed.
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>>;

    /// Whether a message shows the whole incident as it is, so that one that was sent stands for every change
    /// that it shows already. Not so where each change is an event of its own: a trigger ends nothing at
    /// `PagerDuty`, however far the incident was when it was sent.
    fn coalesces(&self) -> bool {
        false
    }
}

/// Why a message could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What class of failure.
    pub reason: Reason,
    /// In words; names no secret.
    pub detail: String,
    /// Whether trying again makes sense.
    pub retry: Retry,
}

/// Whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: a person must act.
    Never,
    /// With back-off.
    Later,
    /// Not before this much time has passed (Retry-After).
    After(Duration),
}

/// Classes of failed sends; a bounded label for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Could not connect, or the connection broke.
    Unreachable,
    /// No answer before the deadline.
    Deadline,
    /// Asked to slow down.
    Throttled,
    /// 5xx.
    Unavailable,
    /// Token or key not accepted.
    Denied,
    /// The message was refused.
    Refused,
    /// The answer could not be understood.
    Malformed,
}

impl Reason {
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

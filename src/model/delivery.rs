//! One message owed to one notifier, and its outcome.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DeliveryId, IncidentId, Severity, UtcTime};

/// What changed about an incident: why a message is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Opened for the first time.
    Opened,
    /// Opened again within the cooldown.
    Reopened,
    /// Its severity rose, or its scope grew so that people must be told again.
    Worsened,
    /// Anything else that the living message should show; may be coalesced with later ones.
    Updated,
    /// Somebody looks at it.
    Acknowledged,
    /// Over.
    Resolved,
}

impl Change {
    /// As the store, the API and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Reopened => "reopened",
            Self::Worsened => "worsened",
            Self::Updated => "updated",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// Whether people must be told (a page, a new message); the rest only edits what is there.
    pub fn pages(self) -> bool {
        matches!(self, Self::Opened | Self::Reopened | Self::Worsened)
    }
}

/// One message owed to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Given by the store; ascending.
    pub id: DeliveryId,
    /// The incident it is about.
    pub incident: IncidentId,
    /// The name of the receiver in the settings.
    pub receiver: String,
    /// Why it is owed.
    pub change: Change,
    /// The incident's severity when it became owed: P1 goes first.
    pub severity: Severity,
    /// The incident's revision when it became owed; the message shows this or a newer one.
    pub revision: i64,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before this instant (retry, Retry-After).
    pub due_at: UtcTime,
    /// While leased: until when no one else takes it.
    pub leased_until: Option<UtcTime>,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// When it became owed.
    pub created_at: UtcTime,
    /// When it was done with, in whichever way.
    pub finished_at: Option<UtcTime>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent.
    Owed,
    /// The receiver has it.
    Delivered,
    /// A later one of the same incident and receiver made it unnecessary.
    Superseded,
    /// Given up: visible, counted, and handed to the fallback if there is one.
    Dead,
}

impl DeliveryState {
    /// As the store and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Delivered => "delivered",
            Self::Superseded => "superseded",
            Self::Dead => "dead",
        }
    }
}

/// What a receiver gave us to find the message again: kept per incident and receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// E.g. Slack's channel id or PagerDuty's routing destination name.
    pub destination: String,
    /// E.g. Slack's `ts` or PagerDuty's deduplication key.
    pub reference: String,
    /// Further keys that must be ended with the first, e.g. PagerDuty's `fingerprint:2`.
    #[serde(default)]
    pub further: Vec<String>,
    /// When the message began.
    pub at: Option<UtcTime>,
    /// What the notifier itself remembers between messages, e.g. the severity that it told last.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

//! What belongs together: room for the explanation of an incident.

use serde::{Deserialize, Serialize};

use super::UtcTime;

/// Related events and ranked suspects of an incident.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// Suspects, most likely first.
    pub suspects: Vec<Suspect>,
    /// Related log events.
    pub events: Vec<RelatedEvent>,
}

/// A possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The service.
    pub service: String,
    /// The signal or change.
    pub what: String,
    /// Larger is more likely; adds up from the evidence's parts.
    pub score: f64,
    /// One line each.
    pub evidence: Vec<String>,
}

/// A log event near an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelatedEvent {
    /// When.
    pub at: UtcTime,
    /// Which service logged it.
    pub service: String,
    /// Normalised level: `error`, `warning`, …
    pub level: String,
    /// The message as logged: data, never markup.
    pub message: String,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
}

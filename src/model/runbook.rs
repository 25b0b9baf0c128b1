//! A historical incident or runbook that fits an incident.

use serde::{Deserialize, Serialize};

/// A match, its score and the reason it fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookMatch {
    /// The runbook's stable id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What the cause was then.
    pub root_cause: String,
    /// What to do, in order.
    pub steps: Vec<String>,
    /// The services it is about.
    pub services: Vec<String>,
    /// How well it fits.
    pub score: f64,
    /// Why it fits, in words.
    pub reason: String,
}

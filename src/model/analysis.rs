//! The model's reply, parsed, bounded and checked against the evidence.

use serde::{Deserialize, Serialize};

/// A root-cause analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// One paragraph.
    pub summary: String,
    /// The likely cause.
    pub root_cause: String,
    /// How sure.
    pub confidence: Confidence,
    /// What to do, in order.
    pub steps: Vec<String>,
}

/// How sure an analysis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Supported by several pieces of evidence.
    High,
    /// Plausible.
    Medium,
    /// A guess.
    Low,
}

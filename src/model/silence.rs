//! A silence mutes notices for a while; it never stops detection.

use serde::{Deserialize, Serialize};

use super::{Severity, SilenceId, UtcTime};

/// Mutes notices of matching incidents between two instants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: SilenceId,
    /// Who asked for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Only this service; any if absent. A trailing `*` matches a prefix.
    pub service: Option<String>,
    /// Only this signal; any if absent.
    pub signal: Option<String>,
    /// When it begins.
    pub starts_at: UtcTime,
    /// When it ends (of its first occurrence, if it recurs).
    pub ends_at: UtcTime,
    /// Whether it comes back.
    pub recurrence: Option<Recurrence>,
    /// Incidents of this severity or worse are announced all the same.
    pub unless: Option<Severity>,
    /// When a person ended it early.
    pub expired_at: Option<UtcTime>,
}

/// How a silence comes back, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// Every day at the same time.
    Daily,
    /// Every week on the same day at the same time.
    Weekly,
}

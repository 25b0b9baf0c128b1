//! From rows to nouns and back. JSON that cannot be read names the row it stood in.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Error, Result};
use crate::model::{Delivery, DeliveryId, Incident, IncidentId, Severity, UtcTime, from_micros};

/// JSON text to a noun.
pub(super) fn decode<T: DeserializeOwned>(what: &str, body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|source| Error::Corrupt { what: what.to_owned(), source })
}

/// A noun to JSON text.
pub(super) fn encode<T: Serialize>(what: &str, noun: &T) -> Result<String> {
    serde_json::to_string(noun).map_err(|source| Error::Corrupt { what: what.to_owned(), source })
}

/// The one word that an enum is stored as.
fn word<T: DeserializeOwned>(what: &str, text: String) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(text))
        .map_err(|source| Error::Corrupt { what: what.to_owned(), source })
}

pub(super) fn change(text: String) -> Result<crate::model::Change> {
    word("the change of a delivery", text)
}

/// P1 is 1.
pub(super) fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::P1 => 1,
        Severity::P2 => 2,
        Severity::P3 => 3,
        Severity::P4 => 4,
    }
}

pub(super) fn severity(rank: i64) -> Severity {
    match rank {
        ..=1 => Severity::P1,
        2 => Severity::P2,
        3 => Severity::P3,
        4.. => Severity::P4,
    }
}

/// A service's name as it stands in `incidents.services`.
pub(super) fn service_mark(service: &str) -> String {
    format!("\n{}\n", service.replace('\n', " "))
}

pub(super) fn services(incident: &Incident) -> String {
    incident.services().into_iter().map(service_mark).collect()
}

/// From microseconds where there are some.
fn instant(micros: Option<i64>) -> Option<UtcTime> {
    micros.map(from_micros)
}

pub(super) fn delivery(row: &AnyRow) -> Result<Delivery> {
    Ok(Delivery {
        id: DeliveryId(row.try_get("id")?),
        incident: IncidentId(row.try_get("incident_id")?),
        receiver: row.try_get("receiver")?,
        change: change(row.try_get("change")?)?,
        severity: severity(row.try_get("severity")?),
        revision: row.try_get("revision")?,
        state: word("the state of a delivery", row.try_get("state")?)?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
        due_at: from_micros(row.try_get("due_at")?),
        leased_until: instant(row.try_get("leased_until")?),
        last_error: row.try_get("last_error")?,
        created_at: from_micros(row.try_get("created_at")?),
        finished_at: instant(row.try_get("finished_at")?),
    })
}

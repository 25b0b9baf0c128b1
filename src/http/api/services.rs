//! Services: how each one is now, and what happened to it lately.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use serde::{Deserialize, Serialize};

use super::incidents::{AnomalyView, member};
use super::params::Params;
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::model::{Incident, MemberState, Severity, UtcTime};
use crate::store::IncidentFilter;

/// How many of the newest incidents are looked at.
const NEWEST: u32 = 500;

/// The answer of `/api/services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceList {
    /// Worst first, then by name.
    pub services: Vec<ServiceView>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub service: String,
    /// By its open incidents: `critical` (P1), `warning` (P2), `degraded` (P3, P4) or `healthy`.
    pub status: String,
    /// Its newest incident.
    pub last_incident_id: Option<String>,
    /// When that was opened.
    pub last_incident_at: Option<UtcTime>,
    /// Its incidents among the newest 500.
    pub incident_count: u64,
    /// Those of them that have not ended.
    pub open_incident_count: u64,
    /// The worst of its open incidents.
    pub worst_severity: Option<Severity>,
    /// Its series that are out of line now.
    pub anomalies: Vec<AnomalyView>,
}

pub(in crate::http) async fn list(
    Extract(state): Extract<Arc<State>>,
    params: Params,
) -> Result<Json<ServiceList>, ApiError> {
    params.end(&[])?;
    let filter = IncidentFilter { limit: NEWEST, ..IncidentFilter::default() };
    let (_, incidents) = state.store.incidents(&filter).await?;
    let known = state.freshness.services();
    Ok(Json(gather(known.iter().map(|name| &**name), &incidents)))
}

/// `incidents` come newest first.
fn gather<'a>(known: impl Iterator<Item = &'a str>, incidents: &[Incident]) -> ServiceList {
    let mut services: BTreeMap<&str, ServiceView> =
        known.map(|name| (name, healthy(name))).collect();
    for incident in incidents {
        for name in incident.services() {
            let service = services.entry(name).or_insert_with(|| healthy(name));
            service.incident_count += 1;
            if service.last_incident_id.is_none() {
                service.last_incident_id = Some(incident.id.0.clone());
                service.last_incident_at = Some(incident.opened_at);
            }
            if !incident.is_open() {
                continue;
            }
            service.open_incident_count += 1;
            let firing = incident.members.iter().filter(|member| {
                &*member.anomaly.series.service == name && member.state == MemberState::Firing
            });
            service.anomalies.extend(firing.map(member));
            // An incident may be P1 because of another service: its own anomalies decide, if it has any.
            let own = service.anomalies.iter().map(|anomaly| anomaly.severity).max();
            service.worst_severity = own.max(service.worst_severity);
        }
    }
    let mut services: Vec<_> = services.into_values().collect();
    for service in &mut services {
        service.status = status(service.worst_severity).into();
    }
    // Stable: names stay in order among equals.
    services.sort_by_key(|service| std::cmp::Reverse(service.worst_severity));
    ServiceList { services }
}

fn status(worst: Option<Severity>) -> &'static str {
    match worst {
        Some(Severity::P1) => "critical",
        Some(Severity::P2) => "warning",
        Some(Severity::P3 | Severity::P4) => "degraded",
        None => "healthy",
    }
}

fn healthy(name: &str) -> ServiceView {
    ServiceView {
        service: name.to_owned(),
        status: String::new(),
        last_incident_id: None,
        last_incident_at: None,
        incident_count: 0,
        open_incident_count: 0,
        worst_severity: None,
        anomalies: Vec::new(),
    }
}

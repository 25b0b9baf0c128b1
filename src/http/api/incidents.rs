//! Incidents: listed, shown whole, acknowledged, resolved. Long because every field that clients see is named
//! and described here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde::{Deserialize, Serialize};

use super::body::{Body, optional, required};
use super::params::Params;
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::incidents::{Command, Reply};
use crate::model::{
    Analysis, Anomaly, Confidence, Delivery, Direction, Gate, Incident, IncidentId, IncidentKind,
    IncidentState, Member, MemberState, Outcome, RelatedEvent, RunbookMatch, Severity, Suspect,
    TimelineEntry, TimelineKind, Unit, UtcTime,
};
use crate::store::{self, IncidentFilter, Store};

/// Related events that are shown, at most.
const EVENTS: usize = 30;

/// The answer of `/api/incidents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentList {
    /// How many fit, on all pages.
    pub total: u64,
    /// One page, newest first.
    pub incidents: Vec<IncidentSummary>,
}

/// One incident in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentSummary {
    /// Its id.
    pub id: String,
    /// One line.
    pub title: String,
    /// How bad it is now.
    pub severity: Severity,
    /// When it was opened (first time).
    pub created_at: UtcTime,
    /// The key that receivers deduplicate by; the same as `fingerprint`.
    pub dedup_key: String,
    /// The services, in the order in which they were hit.
    pub services: Vec<String>,
    /// How many series are or were out of line.
    pub anomaly_count: usize,
    /// Whether there is an analysis.
    pub has_analysis: bool,
    /// Of the analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<String>,
    /// Of the analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// `anomaly`, `blind`, `store`, `storm` or `test`.
    pub kind: String,
    /// Where it stands.
    pub state: IncidentState,
    /// How bad it has been since it was (re)opened.
    pub worst_severity: Severity,
    /// SHA-256 in hex of what it is.
    pub fingerprint: String,
    /// When trouble began, as the data says.
    pub onset: UtcTime,
    /// When anything about it last changed.
    pub updated_at: UtcTime,
    /// When it ended.
    pub resolved_at: Option<UtcTime>,
    /// Who looks at it.
    pub acknowledged_by: Option<String>,
    /// When they said so.
    pub acknowledged_at: Option<UtcTime>,
    /// A person's judgement.
    pub outcome: Option<Outcome>,
    /// How often it was reopened.
    pub reopened: u32,
    /// The silence that mutes it.
    pub silenced_by: Option<String>,
    /// Whether it comes and goes.
    pub flapping: bool,
}

/// The answer of `/api/incidents/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// What the list shows; its fields stand beside the others.
    #[serde(flatten)]
    pub incident: IncidentSummary,
    /// The series that are or were out of line, in the order in which they joined.
    pub anomalies: Vec<AnomalyView>,
    /// Related log events.
    pub correlated_events: Vec<EventView>,
    /// Possible causes, most likely first.
    pub suspects: Vec<SuspectView>,
    /// Runbooks that fit.
    pub matched_runbooks: Vec<RunbookView>,
    /// The model's analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisView>,
    /// What could not be read or done.
    pub missing: Vec<String>,
    /// Everything that happened, oldest first.
    pub timeline: Vec<TimelineView>,
    /// Every message that was owed, oldest first.
    pub deliveries: Vec<DeliveryView>,
}

/// One series that is or was out of line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnomalyView {
    /// The service.
    pub service: String,
    /// The signal.
    pub metric: String,
    /// The value of the judged window.
    pub current_value: f64,
    /// What the baseline expected.
    pub baseline_mean: f64,
    /// The baseline's spread.
    pub baseline_stddev: f64,
    /// The score on the scale of standard deviations.
    pub z_score: f64,
    /// How bad.
    pub severity: Severity,
    /// When it was detected.
    pub timestamp: UtcTime,
    /// The unit of the values.
    pub unit: Unit,
    /// The current value in words: `7.3 %`.
    pub current: String,
    /// The expected value in words.
    pub expected: String,
    /// Which way it went.
    pub direction: Direction,
    /// The first bucket that was out of line.
    pub onset: UtcTime,
    /// Whether it goes on.
    pub state: MemberState,
    /// When it was last seen.
    pub last_seen_at: UtcTime,
    /// The method that decided.
    pub method: String,
    /// Why, in one sentence.
    pub summary: String,
    /// Every condition it had to meet.
    pub gates: Vec<GateView>,
    /// Values of the newest buckets, oldest first.
    pub recent: Vec<Option<f64>>,
}

/// One condition a verdict had to meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateView {
    /// Its name.
    pub name: String,
    /// Whether it let the verdict through.
    pub passed: bool,
    /// With the numbers.
    pub detail: String,
}

/// A related log event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Which service logged it.
    pub service: String,
    /// Its level.
    pub level: String,
    /// The message as logged: data, never markup.
    pub message: String,
    /// When.
    pub timestamp: UtcTime,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
}

/// A possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuspectView {
    /// The service.
    pub service: String,
    /// The signal or change.
    pub what: String,
    /// Larger is more likely.
    pub score: f64,
    /// One line each.
    pub evidence: Vec<String>,
}

/// A runbook that fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookView {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What the cause was then.
    pub root_cause: String,
    /// What to do, in order.
    pub resolution_steps: Vec<String>,
    /// The services it is about.
    pub services_affected: Vec<String>,
    /// How well it fits.
    pub score: f64,
    /// Why it fits.
    pub reason: String,
}

/// The model's analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisView {
    /// One paragraph.
    pub summary: String,
    /// The likely cause.
    pub root_cause: String,
    /// How sure.
    pub confidence: Confidence,
    /// What to do, in order.
    pub remediation_steps: Vec<String>,
    /// The services of the incident.
    pub affected_services: Vec<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineView {
    /// When.
    pub at: UtcTime,
    /// What sort of thing.
    pub kind: TimelineKind,
    /// In words.
    pub text: String,
    /// Who did it.
    pub actor: Option<String>,
}

/// One message that was owed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its number.
    pub id: i64,
    /// The receiver.
    pub receiver: String,
    /// Why it was owed: `opened`, `worsened`, …
    pub change: String,
    /// Where it stands: `owed`, `delivered`, `superseded`, `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it became owed.
    pub created_at: UtcTime,
    /// When it was done with.
    pub finished_at: Option<UtcTime>,
    /// The last failure in words.
    pub last_error: Option<String>,
}

/// The body of `POST …/ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// Who looks at it.
    pub actor: String,
}

/// The body of `POST …/resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// Who says that it is over.
    pub actor: String,
    /// A remark for the timeline.
    #[serde(default)]
    pub note: Option<String>,
    /// Their judgement: `real`, `noise` or `expected`.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

pub(in crate::http) async fn list(
    Extract(state): Extract<Arc<State>>,
    mut params: Params,
) -> Result<Json<IncidentList>, ApiError> {
    let filter = IncidentFilter {
        limit: params.number("limit", 50, 1, 500)?,
        offset: params.number("offset", 0, 0, 1_000_000)?,
        states: states(params.text("state").as_deref())?,
        service: params.text("service"),
        at_least: params.value("severity")?,
    };
    params.end(&["limit", "offset", "state", "service", "severity"])?;
    Ok(Json(read_list(&state.store, &filter).await?))
}

/// A page of incidents.
pub async fn read_list(store: &Store, filter: &IncidentFilter) -> store::Result<IncidentList> {
    let (total, incidents) = store.incidents(filter).await?;
    Ok(IncidentList { total, incidents: incidents.iter().map(summary).collect() })
}

/// One incident with its deliveries.
pub async fn read_detail(store: &Store, id: &IncidentId) -> store::Result<Option<IncidentDetail>> {
    let Some(incident) = store.incident(id).await? else { return Ok(None) };
    let deliveries = store.deliveries(id).await?;
    Ok(Some(detail(&incident, &deliveries)))
}

/// `open,acknowledged`, one, or none for all.
fn states(text: Option<&str>) -> Result<Vec<IncidentState>, ApiError> {
    const ALL: [IncidentState; 3] =
        [IncidentState::Open, IncidentState::Acknowledged, IncidentState::Resolved];
    let one = |name: &str| {
        ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
            ApiError::invalid("state", format!("`{name}` is none of open, acknowledged, resolved"))
        })
    };
    text.map_or(Ok(Vec::new()), |text| text.split(',').map(one).collect())
}

pub(in crate::http) async fn show(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
) -> Result<Json<IncidentDetail>, ApiError> {
    let id = incident_id(&id)?;
    Ok(Json(read_detail(&state.store, &id).await?.ok_or(UNKNOWN)?))
}

pub(in crate::http) async fn acknowledge(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
    Body(body): Body<Acknowledge>,
) -> Result<Json<IncidentSummary>, ApiError> {
    let id = incident_id(&id)?;
    let actor = required("actor", &body.actor)?;
    changed(state.incidents.ask(Command::Acknowledge { id, actor }).await?)
}

pub(in crate::http) async fn resolve(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
    Body(body): Body<Resolve>,
) -> Result<Json<IncidentSummary>, ApiError> {
    let id = incident_id(&id)?;
    let actor = required("actor", &body.actor)?;
    let note = optional("note", body.note.as_deref())?;
    let command = Command::Resolve { id, actor, note, outcome: body.outcome };
    changed(state.incidents.ask(command).await?)
}

const UNKNOWN: ApiError = ApiError::NotFound("Incident not found");

fn changed(reply: Reply) -> Result<Json<IncidentSummary>, ApiError> {
    match reply {
        Reply::Done(Some(incident)) => Ok(Json(summary(&incident))),
        Reply::NotFound => Err(UNKNOWN),
        Reply::Conflict(reason) => Err(ApiError::Conflict(reason)),
        Reply::Unavailable(reason) => Err(ApiError::Unavailable(reason)),
        Reply::Done(None) | Reply::Silence(_) => Err(ApiError::Internal),
    }
}

/// What cannot be an id is not looked up.
pub(super) fn incident_id(text: &str) -> Result<IncidentId, ApiError> {
    if is_id(text) { Ok(IncidentId(text.to_owned())) } else { Err(UNKNOWN) }
}

pub(super) fn is_id(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

pub(super) fn summary(incident: &Incident) -> IncidentSummary {
    let kind = match &incident.kind {
        IncidentKind::Anomaly => "anomaly",
        IncidentKind::Blind { .. } => "blind",
        IncidentKind::Store { .. } => "store",
        IncidentKind::Storm { .. } => "storm",
        IncidentKind::Test => "test",
    };
    IncidentSummary {
        id: incident.id.0.clone(),
        title: incident.title.clone(),
        severity: incident.severity,
        created_at: incident.opened_at,
        dedup_key: incident.fingerprint.clone(),
        services: incident.services().into_iter().map(str::to_owned).collect(),
        anomaly_count: incident.members.len(),
        has_analysis: incident.analysis.is_some(),
        root_cause: incident.analysis.as_ref().map(|analysis| analysis.root_cause.clone()),
        confidence: incident.analysis.as_ref().map(|analysis| analysis.confidence),
        kind: kind.to_owned(),
        state: incident.state,
        worst_severity: incident.worst,
        fingerprint: incident.fingerprint.clone(),
        onset: incident.onset,
        updated_at: incident.updated_at,
        resolved_at: incident.resolved_at,
        acknowledged_by: incident.acknowledged.as_ref().map(|(actor, _)| actor.clone()),
        acknowledged_at: incident.acknowledged.as_ref().map(|(_, at)| *at),
        outcome: incident.outcome,
        reopened: incident.reopened,
        silenced_by: incident.silenced_by.as_ref().map(|silence| silence.0.clone()),
        flapping: incident.flapping,
    }
}

fn detail(incident: &Incident, deliveries: &[Delivery]) -> IncidentDetail {
    let correlation = incident.correlation.as_ref();
    let events = correlation.map_or(&[][..], |correlation| &correlation.events);
    let suspects = correlation.map_or(&[][..], |correlation| &correlation.suspects);
    IncidentDetail {
        incident: summary(incident),
        anomalies: incident.members.iter().map(member).collect(),
        correlated_events: events.iter().take(EVENTS).map(event).collect(),
        suspects: suspects.iter().map(suspect).collect(),
        matched_runbooks: incident.runbooks.iter().map(runbook).collect(),
        analysis: incident.analysis.as_ref().map(|analysis| analysed(analysis, incident)),
        missing: incident.missing.clone(),
        timeline: incident.timeline.iter().map(happened).collect(),
        deliveries: deliveries.iter().map(delivery).collect(),
    }
}

pub(super) fn member(member: &Member) -> AnomalyView {
    let Anomaly { series, unit, evidence, .. } = &member.anomaly;
    let anomaly = &member.anomaly;
    AnomalyView {
        service: series.service.to_string(),
        metric: series.signal.to_string(),
        current_value: anomaly.current,
        baseline_mean: anomaly.expected,
        baseline_stddev: anomaly.spread,
        z_score: anomaly.score,
        severity: anomaly.severity,
        timestamp: anomaly.detected_at,
        unit: unit.clone(),
        current: unit.show(anomaly.current),
        expected: unit.show(anomaly.expected),
        direction: anomaly.direction,
        onset: anomaly.onset,
        state: member.state,
        last_seen_at: member.last_seen_at,
        method: evidence.method.clone(),
        summary: evidence.summary.clone(),
        gates: evidence.gates.iter().map(gate).collect(),
        recent: evidence.recent.clone(),
    }
}

pub(super) fn gate(gate: &Gate) -> GateView {
    GateView { name: gate.name.clone(), passed: gate.passed, detail: gate.detail.clone() }
}

fn event(event: &RelatedEvent) -> EventView {
    EventView {
        service: event.service.clone(),
        level: event.level.clone(),
        message: event.message.clone(),
        timestamp: event.at,
        trace_id: event.trace_id.clone(),
    }
}

fn suspect(suspect: &Suspect) -> SuspectView {
    SuspectView {
        service: suspect.service.clone(),
        what: suspect.what.clone(),
        score: suspect.score,
        evidence: suspect.evidence.clone(),
    }
}

fn runbook(runbook: &RunbookMatch) -> RunbookView {
    RunbookView {
        id: runbook.id.clone(),
        title: runbook.title.clone(),
        root_cause: runbook.root_cause.clone(),
        resolution_steps: runbook.steps.clone(),
        services_affected: runbook.services.clone(),
        score: runbook.score,
        reason: runbook.reason.clone(),
    }
}

fn analysed(analysis: &Analysis, incident: &Incident) -> AnalysisView {
    AnalysisView {
        summary: analysis.summary.clone(),
        root_cause: analysis.root_cause.clone(),
        confidence: analysis.confidence,
        remediation_steps: analysis.steps.clone(),
        affected_services: incident.services().into_iter().map(str::to_owned).collect(),
    }
}

fn happened(entry: &TimelineEntry) -> TimelineView {
    TimelineView {
        at: entry.at,
        kind: entry.kind,
        text: entry.text.clone(),
        actor: entry.actor.clone(),
    }
}

fn delivery(delivery: &Delivery) -> DeliveryView {
    DeliveryView {
        id: delivery.id.0,
        receiver: delivery.receiver.clone(),
        change: delivery.change.as_str().to_owned(),
        state: delivery.state.as_str().to_owned(),
        attempts: delivery.attempts,
        created_at: delivery.created_at,
        finished_at: delivery.finished_at,
        last_error: delivery.last_error.clone(),
    }
}

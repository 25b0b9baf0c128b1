//! What titles and timelines say.

use crate::model::{Anomaly, Incident, IncidentKind, TimelineEntry, TimelineKind, UtcTime};

/// The first entries and the newest are kept; what is dropped lies between.
const FIRST_ENTRIES: usize = 50;
const MOST_ENTRIES: usize = 200;
/// Of what happened while an incident was muted, so many things are listed.
const MOST_MISSED: usize = 6;

/// `payment-service: error_rate 66.7 %`, with how many other services are hit.
pub(super) fn title(incident: &Incident) -> String {
    match &incident.kind {
        IncidentKind::Anomaly => anomaly_title(incident),
        IncidentKind::Blind { source, .. } => format!("blind on {source}: it cannot be read"),
        IncidentKind::Store { .. } => "the store of SentinelOps cannot be written".to_owned(),
        IncidentKind::Storm { incidents } => {
            format!("storm: {} incidents at once", incidents.len())
        }
        IncidentKind::Test => "test message: nothing is wrong".to_owned(),
    }
}

fn anomaly_title(incident: &Incident) -> String {
    let Some(first) = incident.members.first() else { return String::new() };
    let anomaly = &first.anomaly;
    let text = format!(
        "{}: {} {}",
        anomaly.series.service,
        anomaly.series.signal,
        anomaly.unit.show(anomaly.current)
    );
    match incident.services().len() {
        0 | 1 => text,
        2 => format!("{text} (+1 service)"),
        more => format!("{text} (+{} services)", more - 1),
    }
}

/// `payment-service error_rate 66.7 %, expected 2 %`.
pub(super) fn reading(anomaly: &Anomaly) -> String {
    let (current, expected) =
        (anomaly.unit.show(anomaly.current), anomaly.unit.show(anomaly.expected));
    format!("{} {current}, expected {expected}", anomaly.series)
}

/// `03:15` of the same day, with the date otherwise.
pub(super) fn clock(time: UtcTime, now: UtcTime) -> String {
    let format = if time.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("{} UTC", time.format(format))
}

/// Adds an entry and drops one from the middle when there are too many.
pub(super) fn log(
    incident: &mut Incident,
    at: UtcTime,
    kind: TimelineKind,
    text: impl Into<String>,
    actor: Option<&str>,
) {
    if incident.timeline.len() >= MOST_ENTRIES {
        incident.timeline.remove(FIRST_ENTRIES);
    }
    let actor = actor.map(str::to_owned);
    incident.timeline.push(TimelineEntry { at, kind, text: text.into(), actor });
}

/// What happened since the incident was muted.
pub(super) fn missed(incident: &Incident) -> String {
    let since = incident
        .timeline
        .iter()
        .rposition(|entry| entry.kind == TimelineKind::Silenced)
        .map_or(0, |index| index + 1);
    let told = |kind: TimelineKind| {
        !matches!(kind, TimelineKind::Unsilenced | TimelineKind::Delivered | TimelineKind::Enriched)
    };
    let missed: Vec<&str> = incident
        .timeline
        .iter()
        .skip(since)
        .filter(|entry| told(entry.kind))
        .map(|entry| entry.text.as_str())
        .collect();
    match missed.len() {
        0 => "while muted nothing changed".to_owned(),
        all if all > MOST_MISSED => {
            let shown = missed.get(all - MOST_MISSED..).unwrap_or_default().join("; ");
            format!("while muted, {all} things happened, at last: {shown}")
        }
        _ => format!("while muted: {}", missed.join("; ")),
    }
}

//! Incidents that the tests of this stage share.

use super::Outgoing;
use crate::model::{Change, Incident, IncidentKind, Severity, UtcTime};

pub(super) fn at(text: &str) -> UtcTime {
    text.parse().unwrap()
}

/// Three services hit, as the simulated outage does: the same file serves the integration tests.
pub(super) fn outage() -> Incident {
    serde_json::from_str(include_str!("../../tests/it/fixtures/outage.json")).unwrap()
}

pub(super) fn test_incident() -> Incident {
    let mut incident = outage();
    incident.kind = IncidentKind::Test;
    incident.members.clear();
    incident.severity = Severity::P4;
    incident.worst = Severity::P4;
    incident.onset = incident.opened_at;
    incident.timeline.truncate(1);
    incident.timeline[0].text = "test asked for".to_owned();
    incident.timeline[0].actor = Some("ana".to_owned());
    incident
}

/// The first attempt to send a change at 03:19:30.
pub(super) fn outgoing(incident: Incident, change: Change) -> Outgoing {
    Outgoing {
        key: Outgoing::key(&incident.id, change, incident.revision),
        incident,
        change,
        receipt: None,
        attempt: 1,
        now: at("2026-11-21T03:19:30Z"),
        base_url: Some("https://sentinelops.example.com/".to_owned()),
    }
}

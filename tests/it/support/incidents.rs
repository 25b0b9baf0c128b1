//! Builders of anomalies, incidents and what is owed for them.

use chrono::Duration;
use sentinelops::model::{
    Anomaly, Bookkeeping, Change, Direction, Evidence, Incident, IncidentId, IncidentKind,
    IncidentState, Member, MemberState, SeriesKey, Severity, Unit, UtcTime,
};
use sentinelops::store::Owed;

/// 2026-11-21 03:15:00 UTC and so many seconds.
pub(crate) fn at(seconds: i64) -> UtcTime {
    UtcTime::from_timestamp(1_795_230_900 + seconds, 0).unwrap()
}

/// An error rate of 66.7 % that began at `onset`.
pub(crate) fn anomaly(service: &str, signal: &str, severity: Severity, onset: UtcTime) -> Anomaly {
    Anomaly {
        series: SeriesKey::new(service, signal),
        unit: Unit::Ratio,
        severity,
        direction: Direction::Up,
        score: 9.5,
        current: 2.0 / 3.0,
        expected: 0.02,
        spread: 0.01,
        onset,
        window: (onset, onset + Duration::minutes(1)),
        detected_at: onset + Duration::minutes(1),
        evidence: Evidence {
            method: "beta_binomial".to_owned(),
            summary: "60 of 90 requests failed; 12 of 600 in the hour before".to_owned(),
            numbers: vec![("errors".to_owned(), 60.0), ("requests".to_owned(), 90.0)],
            recent: vec![Some(0.02), None, Some(2.0 / 3.0)],
            recent_from: Some(onset - Duration::minutes(2)),
            ..Evidence::default()
        },
    }
}

/// An open incident of one anomaly.
pub(crate) fn incident(id: &str, service: &str, severity: Severity, opened: UtcTime) -> Incident {
    Incident {
        id: IncidentId(id.to_owned()),
        fingerprint: format!("fingerprint-of-{service}"),
        kind: IncidentKind::Anomaly,
        state: IncidentState::Open,
        severity,
        worst: severity,
        title: format!("{service}: error_rate 66.7 %"),
        onset: opened - Duration::minutes(1),
        opened_at: opened,
        last_seen_at: opened,
        updated_at: opened,
        acknowledged: None,
        resolved_at: None,
        outcome: None,
        reopened: 0,
        escalations: 0,
        revision: 1,
        silenced_by: None,
        flapping: false,
        members: vec![Member {
            anomaly: anomaly(service, "error_rate", severity, opened - Duration::minutes(1)),
            state: MemberState::Firing,
            joined_at: opened,
            last_seen_at: opened,
            worst: severity,
        }],
        timeline: Vec::new(),
        missing: Vec::new(),
        correlation: None,
        runbooks: Vec::new(),
        analysis: None,
        notes: Bookkeeping::default(),
    }
}

/// A message about the incident as it is.
pub(crate) fn owed(incident: &Incident, receiver: &str, change: Change, now: UtcTime) -> Owed {
    Owed {
        incident: incident.id.clone(),
        receiver: receiver.to_owned(),
        change,
        severity: incident.severity,
        revision: incident.revision,
        due_at: now,
        created_at: now,
    }
}

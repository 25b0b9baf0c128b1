//! Every kind of trouble and every change, as the person on call reads it.

use std::fmt::Write;

use super::*;
use crate::model::{
    Analysis, Confidence, Correlation, IncidentId, RelatedEvent, RunbookMatch, SilenceId, Suspect,
    TimelineEntry,
};
use crate::notify::samples::{at, outage, outgoing, test_incident};

/// The whole message as plain text: what every notifier lays out.
fn shown(outgoing: &Outgoing) -> String {
    let message = compose(outgoing);
    let mut text = format!("{}\n{}\n{}\n", message.first_line(), message.lead, message.state);
    for line in &message.anomalies {
        writeln!(text, "- {} ({})\n  {}", line.what, line.grade, line.evidence).unwrap();
        writeln!(text, "  {}", line.sparkline.as_deref().unwrap_or("no values")).unwrap();
    }
    if message.more > 0 {
        writeln!(text, "- and {} more", message.more).unwrap();
    }
    for section in &message.sections {
        writeln!(text, "# {}", section.title).unwrap();
        for line in &section.lines {
            let link = line.link.as_deref().unwrap_or_default();
            writeln!(text, "{}", format!("  {} {link}", line.text).trim_end()).unwrap();
        }
    }
    for line in &message.missing {
        writeln!(text, "! {line}").unwrap();
    }
    writeln!(text, "{}", message.timeline.join("\n")).unwrap();
    writeln!(text, "{} {} {}", message.id, message.as_of, message.link.unwrap_or_default())
        .unwrap();
    text
}

fn check(name: &str, incident: Incident, change: Change) {
    insta::assert_snapshot!(name, shown(&outgoing(incident, change)));
}

fn entry(time: &str, kind: TimelineKind, text: &str, actor: Option<&str>) -> TimelineEntry {
    TimelineEntry { at: at(time), kind, text: text.to_owned(), actor: actor.map(str::to_owned) }
}

fn resolved(mut incident: Incident) -> Incident {
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(at("2026-11-21T03:18:50Z"));
    incident.severity = Severity::P3;
    for member in &mut incident.members {
        member.state = MemberState::Recovered;
    }
    incident.timeline.push(entry(
        "2026-11-21T03:18:50Z",
        TimelineKind::Resolved,
        "every series is back in line",
        None,
    ));
    incident
}

#[test]
fn an_outage_from_opening_to_end() {
    let mut first = outage();
    first.members.truncate(1);
    first.timeline.truncate(1);
    check("opened", first, Change::Opened);

    let mut worsened = outage();
    worsened
        .timeline
        .insert(1, entry("2026-11-21T03:17:20Z", TimelineKind::Worsened, "from P2 to P1", None));
    check("worsened", worsened, Change::Worsened);

    let mut acknowledged = outage();
    acknowledged.state = IncidentState::Acknowledged;
    acknowledged.acknowledged = Some(("ana".to_owned(), at("2026-11-21T03:18:30Z")));
    acknowledged.timeline.push(entry(
        "2026-11-21T03:18:30Z",
        TimelineKind::Acknowledged,
        "acknowledged",
        Some("ana"),
    ));
    check("acknowledged", acknowledged, Change::Acknowledged);

    check("resolved", resolved(outage()), Change::Resolved);

    let mut reopened = outage();
    reopened.reopened = 2;
    reopened.notes.turn_onset = at("2026-11-21T03:18:00Z");
    reopened.notes.turn_opened_at = at("2026-11-21T03:18:20Z");
    reopened.flapping = true;
    check("reopened", reopened, Change::Reopened);

    let mut updated = outage();
    updated.severity = Severity::P2;
    updated.members[0].state = MemberState::Recovered;
    updated.members[1].state = MemberState::Recovered;
    updated.silenced_by = Some(SilenceId("SIL-1".to_owned()));
    check("updated", updated, Change::Updated);
}

#[test]
fn an_explained_outage() {
    let mut incident = outage();
    incident.missing = vec!["related events of gateway: Elasticsearch answered 400".to_owned()];
    incident.correlation = Some(Correlation {
        suspects: vec![Suspect {
            service: "payment-service".to_owned(),
            what: "error_rate".to_owned(),
            score: 3.0,
            evidence: vec!["first to break, 60 s before the rest".to_owned()],
        }],
        events: (0..7)
            .map(|second| RelatedEvent {
                at: at(&format!("2026-11-21T03:15:0{second}Z")),
                service: "payment-service".to_owned(),
                level: "error".to_owned(),
                message: "pool exhausted:\n  timeout <after> 30s & retry".to_owned(),
                trace_id: None,
            })
            .collect(),
    });
    incident.runbooks = vec![RunbookMatch {
        id: "payment-timeout".to_owned(),
        title: "Payment timeout storm".to_owned(),
        root_cause: "connection pool of 10 was too small".to_owned(),
        steps: vec!["Raise the pool to 50".to_owned(), "Restart payment-service".to_owned()],
        services: vec!["payment-service".to_owned()],
        score: 0.9,
        reason: "same service, same signal".to_owned(),
    }];
    incident.analysis = Some(Analysis {
        summary: "The payment pool ran dry.".to_owned(),
        root_cause: "pool exhaustion".to_owned(),
        confidence: Confidence::Medium,
        steps: vec!["Raise the pool".to_owned()],
    });
    check("explained", incident, Change::Updated);
}

#[test]
fn a_stop_of_traffic_says_so() {
    let mut incident = outage();
    incident.members.truncate(1);
    let anomaly = &mut incident.members[0].anomaly;
    anomaly.series.signal = "throughput".into();
    anomaly.unit = crate::model::Unit::PerMinute;
    anomaly.direction = crate::model::Direction::Down;
    (anomaly.current, anomaly.expected) = (0.0, 240.0);
    anomaly.evidence.method = "absence".to_owned();
    anomaly.evidence.summary = "no request in 5 min, present in 60 of 60 minutes before".to_owned();
    anomaly.evidence.recent = [[Some(240.0); 25].as_slice(), &[Some(0.0); 5]].concat();
    check("traffic_stop", incident, Change::Opened);
}

#[test]
fn trouble_of_our_own() {
    let mut blind = outage();
    blind.members.clear();
    blind.severity = Severity::P2;
    blind.worst = Severity::P2;
    blind.timeline.truncate(1);
    blind.timeline[0].text = "opened as P2: blind on logs".to_owned();
    blind.kind = IncidentKind::Blind {
        source: "logs".into(),
        reason: "Elasticsearch answered 401: the API key is not accepted".to_owned(),
    };
    check("blind_opened", blind.clone(), Change::Opened);
    check("blind_resolved", resolved(blind.clone()), Change::Resolved);

    let mut store = blind.clone();
    store.kind = IncidentKind::Store { reason: "database or disk is full".to_owned() };
    store.severity = Severity::P1;
    check("store_opened", store.clone(), Change::Opened);
    check("store_resolved", resolved(store), Change::Resolved);

    let mut storm = blind;
    storm.kind = IncidentKind::Storm {
        incidents: (0..27).map(|n| IncidentId(format!("INC-20261121-0316{n:02}-3f9a2c"))).collect(),
    };
    storm.severity = Severity::P1;
    storm.timeline.push(entry(
        "2026-11-21T03:17:20Z",
        TimelineKind::Joined,
        "P1: cart error_rate 66.7 %, expected 2 % (INC-20261121-031600-3f9a2c)",
        None,
    ));
    check("storm", storm, Change::Opened);
}

#[test]
fn a_test_says_that_it_is_one() {
    check("test_opened", test_incident(), Change::Opened);
    let mut ended = resolved(test_incident());
    ended.timeline.truncate(1);
    check("test_resolved", ended, Change::Resolved);
}

#[test]
fn the_worst_that_goes_on_leads_and_the_first_to_break_breaks_ties() {
    let mut incident = outage();
    incident.members.reverse();
    incident.members[1].anomaly.onset = at("2026-11-21T03:15:30Z");
    let message = compose(&outgoing(incident.clone(), Change::Opened));
    assert!(message.headline.starts_with("payment-service"), "{}", message.headline);
    incident.members[2].state = MemberState::Recovered;
    let message = compose(&outgoing(incident.clone(), Change::Updated));
    assert!(message.headline.starts_with("order-service"), "{}", message.headline);
    // Broken in the same minute: the larger score leads, whoever joined first.
    for member in &mut incident.members {
        member.state = MemberState::Firing;
        member.anomaly.severity = Severity::P1;
        member.anomaly.onset = incident.onset;
    }
    incident.members[0].anomaly.score = 99.0;
    let message = compose(&outgoing(incident, Change::Updated));
    assert!(message.headline.starts_with("gateway"), "{}", message.headline);
}

#[test]
fn hostile_text_becomes_one_clean_line() {
    let mut incident = outage();
    incident.members[0].anomaly.series.service = "pay\u{202e}ment\n\u{7}<!channel> ".into();
    incident.members[0].anomaly.evidence.summary = "x".repeat(100_000);
    incident.members[0].anomaly.current = f64::INFINITY;
    let message = compose(&outgoing(incident, Change::Opened));
    assert!(message.headline.starts_with("payment <!channel> error rate n/a"), "{message:?}");
    assert_eq!(message.anomalies[0].evidence.chars().count(), SENTENCE);
}

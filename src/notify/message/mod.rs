//! What a message says, per kind of trouble and of change. Pure, and free of any receiver's markup: notifiers
//! lay it out and escape it. Texts from outside are cleaned and cut here, once.
//!
//! Whoever is on call reads the first two lines on a phone at three in the morning: [`Message::first_line`]
//! says how bad and what broke, [`Message::lead`] since when, by how much, and who else is hit.

mod explain;
#[cfg(test)]
mod tests;
mod words;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use chrono::Duration;

use super::Outgoing;
use crate::model::{
    Anomaly, Change, Incident, IncidentKind, IncidentState, Member, MemberState, Severity,
    TimelineKind, UtcTime,
};

pub use explain::{Item, Section};
pub use words::{clean, clock, severity as severity_word, signal as signal_words};

/// How many anomalies, and how many lines of the timeline, a message shows.
const ANOMALIES: usize = 8;
const TIMELINE: usize = 6;
/// How many characters of a name, a title or a sentence from outside are shown.
const NAME: usize = 80;
const SENTENCE: usize = 300;

/// A message, composed. Every text is one clean line without markup.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// How bad it is now; once over, how bad it was at worst.
    pub severity: Severity,
    /// Where it stands: chooses the mark in front.
    pub standing: Standing,
    /// How bad and where it stands, in words: `P1 critical, worse`.
    pub label: String,
    /// What broke: `payment-service error rate 66.7 %, expected 2 %`.
    pub headline: String,
    /// Since when, by how much, who else.
    pub lead: String,
    /// Who looks at it, or how it ended; silences and flapping.
    pub state: String,
    /// The services in the order in which they were hit.
    pub services: Vec<String>,
    /// One block an anomaly, worst first.
    pub anomalies: Vec<Line>,
    /// How many anomalies are not shown.
    pub more: usize,
    /// The explanation: suspects, runbooks, analysis, events; and lists that belong to the kind.
    pub sections: Vec<Section>,
    /// What could not be had.
    pub missing: Vec<String>,
    /// The newest things that happened, oldest first.
    pub timeline: Vec<String>,
    /// Where to read more, if there is a page.
    pub link: Option<String>,
    /// The incident's id.
    pub id: String,
    /// As of when.
    pub as_of: String,
}

/// Where an incident stands, for a mark beside the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Going on.
    Open,
    /// Somebody looks at it.
    Acknowledged,
    /// Over.
    Resolved,
    /// Not real.
    Test,
}

/// One anomaly.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// `order-service error rate 41.2 %, expected 1.9 %`.
    pub what: String,
    /// `22×, z 12.3, P1`, or that it has recovered.
    pub grade: String,
    /// The sentence that says why.
    pub evidence: String,
    /// The newest buckets.
    pub sparkline: Option<String>,
}

impl Message {
    /// How bad and what broke, on one line.
    pub fn first_line(&self) -> String {
        format!("{}: {}", self.label, self.headline)
    }
}

/// Composes a message.
pub fn compose(outgoing: &Outgoing) -> Message {
    let incident = &outgoing.incident;
    let now = outgoing.now;
    let standing = standing(incident);
    let severity = if standing == Standing::Resolved { incident.worst } else { incident.severity };
    let mut members: Vec<&Member> =
        incident.members.iter().filter(|m| is_of_turn(incident, m)).collect();
    members.sort_by(|a, b| worst_first(a, b));
    let services: Vec<String> =
        incident.services().into_iter().map(|service| clean(service, NAME)).collect();
    Message {
        severity,
        standing,
        label: label(outgoing.change, standing, severity),
        headline: headline(incident, members.first().copied()),
        lead: lead(incident, &members, now),
        state: state(incident, now),
        anomalies: members.iter().take(ANOMALIES).map(|member| line(member, now)).collect(),
        more: members.len().saturating_sub(ANOMALIES),
        services,
        sections: explain::sections(incident, outgoing.base_url.as_deref(), now),
        missing: incident.missing.iter().take(5).map(|text| clean(text, SENTENCE)).collect(),
        timeline: timeline(incident, now),
        link: outgoing.base_url.as_deref().map(|base| page(base, &incident.id.0)),
        id: clean(&incident.id.0, NAME),
        as_of: clock(now, now),
    }
}

/// The page of an incident.
fn page(base_url: &str, id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("{}/incidents/{id}", base_url.trim().trim_end_matches('/'))
}

fn standing(incident: &Incident) -> Standing {
    match (&incident.kind, incident.state) {
        (IncidentKind::Test, _) => Standing::Test,
        (_, IncidentState::Open) => Standing::Open,
        (_, IncidentState::Acknowledged) => Standing::Acknowledged,
        (_, IncidentState::Resolved) => Standing::Resolved,
    }
}

/// Whether an anomaly belongs to the present turn: what was over before a reopening does not.
fn is_of_turn(incident: &Incident, member: &Member) -> bool {
    incident.reopened == 0
        || member.state == MemberState::Firing
        || member.last_seen_at >= incident.notes.turn_opened_at
}

/// Worst first: what goes on before what is over, then severity, then the earlier onset, since the first to
/// break is the likelier cause, then the larger score.
pub fn worst_first(a: &Member, b: &Member) -> Ordering {
    let over = |member: &Member| member.state == MemberState::Recovered;
    let severity = |member: &Member| {
        if over(member) { member.worst } else { member.anomaly.severity }
    };
    over(a)
        .cmp(&over(b))
        .then(severity(b).cmp(&severity(a)))
        .then(a.anomaly.onset.cmp(&b.anomaly.onset))
        .then(b.anomaly.score.abs().total_cmp(&a.anomaly.score.abs()))
}

fn label(change: Change, standing: Standing, severity: Severity) -> String {
    let severity = format!("{severity} {}", severity_word(severity));
    match (standing, change) {
        (Standing::Test, Change::Resolved) => "TEST, ended".to_owned(),
        (Standing::Test, _) => "TEST".to_owned(),
        (Standing::Resolved, _) => format!("Resolved (was {severity})"),
        (Standing::Acknowledged, _) => format!("{severity}, acknowledged"),
        (Standing::Open, Change::Worsened) => format!("{severity}, worse"),
        (Standing::Open, Change::Reopened) => format!("{severity}, again"),
        (Standing::Open, _) => severity,
    }
}

fn headline(incident: &Incident, worst: Option<&Member>) -> String {
    let over = !incident.is_open();
    match (&incident.kind, worst) {
        (IncidentKind::Anomaly, Some(member)) => what(&member.anomaly, over),
        (IncidentKind::Anomaly, None) => clean(&incident.title, SENTENCE),
        (IncidentKind::Blind { source, .. }, _) if over => {
            format!("{} can be read again", clean(source, NAME))
        }
        (IncidentKind::Blind { source, reason }, _) => {
            format!("blind on {}: {}", clean(source, NAME), clean(reason, SENTENCE))
        }
        (IncidentKind::Store { .. }, _) if over => {
            "SentinelOps' own store can be written again".to_owned()
        }
        (IncidentKind::Store { reason }, _) => {
            format!("SentinelOps' own store cannot be written: {}", clean(reason, SENTENCE))
        }
        (IncidentKind::Storm { incidents }, _) => {
            format!("{} incidents opened at once", incidents.len())
        }
        (IncidentKind::Test, _) => "nothing is broken, this only tries the way to you".to_owned(),
    }
}

/// `payment-service error rate 66.7 %, expected 2 %`.
fn what(anomaly: &Anomaly, over: bool) -> String {
    let series = &anomaly.series;
    let mut name = clean(&series.service, NAME);
    if !series.dimensions.is_empty() {
        let pairs: Vec<String> =
            series.dimensions.iter().map(|(key, value)| format!("{key}={value}")).collect();
        name = format!("{name} ({})", clean(&pairs.join(", "), NAME));
    }
    let expected = anomaly.unit.show(anomaly.expected);
    let stopped = anomaly.evidence.method == "absence"
        || (&*series.signal == "throughput" && anomaly.current <= 0.0);
    if stopped {
        let verb = if over { "had stopped" } else { "stopped" };
        return format!("{name} traffic {verb}, expected {expected}");
    }
    let signal = clean(signal_words(&series.signal), NAME);
    let was = if over { "was " } else { "" };
    format!("{name} {signal} {was}{}, expected {expected}", anomaly.unit.show(anomaly.current))
}

fn lead(incident: &Incident, members: &[&Member], now: UtcTime) -> String {
    let mut parts = vec![when(incident, now)];
    match &incident.kind {
        IncidentKind::Anomaly => {
            let ratio = members.first().filter(|_| incident.is_open());
            if let Some(ratio) = ratio.and_then(|member| words::ratio(&member.anomaly)) {
                parts.push(if ratio.ends_with('×') { format!("{ratio} expected") } else { ratio });
            }
            let others = others(incident, members);
            if !others.is_empty() {
                parts.push(format!("also hit: {}", words::list(&others, 5)));
            }
        }
        IncidentKind::Blind { .. } if incident.is_open() => parts
            .push("nothing of it is judged meanwhile: trouble there would not be seen".to_owned()),
        IncidentKind::Store { .. } if incident.is_open() => parts.push(
            "P1 and P2 still go out from memory; the rest waits until it can be written".to_owned(),
        ),
        IncidentKind::Storm { .. } => parts.push("announced once, in this message".to_owned()),
        IncidentKind::Test => parts.push("asked for by a person, ends by itself".to_owned()),
        IncidentKind::Blind { .. } | IncidentKind::Store { .. } => {}
    }
    parts.join(" · ")
}

/// The services beside that of the headline, in the order in which they were hit: while it goes on, those that
/// still are.
fn others(incident: &Incident, members: &[&Member]) -> Vec<String> {
    let lead = members.first().map(|member| &member.anomaly.series.service);
    let mut hit: Vec<&Member> = members
        .iter()
        .copied()
        .filter(|member| !incident.is_open() || member.state == MemberState::Firing)
        .filter(|member| Some(&member.anomaly.series.service) != lead)
        .collect();
    hit.sort_by_key(|member| (member.joined_at, member.anomaly.onset));
    let mut seen = BTreeSet::new();
    hit.into_iter()
        .map(|member| &member.anomaly.series.service)
        .filter(|service| seen.insert(*service))
        .map(|service| clean(service, NAME))
        .collect()
}

/// `since 03:15 UTC (4 min ago)`; once over, from when to when.
fn when(incident: &Incident, now: UtcTime) -> String {
    // After a reopening, when it came back.
    let onset = if incident.reopened > 0 { incident.notes.turn_onset } else { incident.onset };
    if let Some(end) = incident.resolved_at.filter(|_| !incident.is_open()) {
        let lasted = words::span(end - onset);
        return format!("{} to {} ({lasted})", clock(onset, now), clock(end, now));
    }
    let ago = match now - onset {
        length if length < Duration::minutes(1) => "just now".to_owned(),
        length => format!("{} ago", words::span(length)),
    };
    format!("since {} ({ago})", clock(onset, now))
}

fn state(incident: &Incident, now: UtcTime) -> String {
    if incident.kind == IncidentKind::Test {
        return "if you can read this, messages reach you here".to_owned();
    }
    let opened =
        if incident.reopened > 0 { incident.notes.turn_opened_at } else { incident.opened_at };
    let mut parts = Vec::new();
    match (incident.state, &incident.acknowledged) {
        (IncidentState::Resolved, _) => {
            let last = incident.timeline.iter().rev().find(|e| e.kind == TimelineKind::Resolved);
            parts.push(last.map_or_else(
                || "resolved".to_owned(),
                |entry| with_actor(&entry.text, entry.actor.as_deref()),
            ));
        }
        (IncidentState::Acknowledged, Some((who, at))) => parts.push(format!(
            "{} looks at it since {} ({} after opening)",
            clean(who, NAME),
            clock(*at, now),
            words::span(*at - opened)
        )),
        (IncidentState::Acknowledged, None) => parts.push("somebody looks at it".to_owned()),
        (IncidentState::Open, _) => parts.push(unattended(incident)),
    }
    match incident.reopened {
        0 => {}
        1 => parts.push("opened again once".to_owned()),
        times => parts.push(format!("opened again {times} times")),
    }
    if incident.flapping {
        parts.push("comes and goes, further turns are not announced".to_owned());
    }
    if let Some(silence) = &incident.silenced_by {
        parts.push(format!("silenced by {}", clean(&silence.0, NAME)));
    }
    parts.join(" · ")
}

/// That nobody looks at it, or that whoever did knows only of something less bad.
fn unattended(incident: &Incident) -> String {
    let turns = [TimelineKind::Opened, TimelineKind::Reopened];
    let newest = incident.timeline.iter().rev();
    newest
        .take_while(|entry| !turns.contains(&entry.kind))
        .find(|entry| entry.kind == TimelineKind::AckLapsed)
        .map_or_else(
            || "nobody has acknowledged it yet".to_owned(),
            |lapsed| clean(&lapsed.text, SENTENCE),
        )
}

fn line(member: &Member, now: UtcTime) -> Line {
    let anomaly = &member.anomaly;
    let over = member.state == MemberState::Recovered;
    let mut grade = Vec::new();
    if over {
        let seen = clock(member.last_seen_at, now);
        grade.push(format!("recovered, last seen {seen}, worst {}", member.worst));
    } else {
        grade.extend(words::ratio(anomaly));
        if anomaly.score.is_finite() && anomaly.score != 0.0 {
            grade.push(words::score(anomaly.score.abs()));
        }
        grade.push(anomaly.severity.to_string());
        grade.push(format!("since {}", clock(anomaly.onset, now)));
    }
    Line {
        what: what(anomaly, over),
        grade: grade.join(" · "),
        evidence: clean(&anomaly.evidence.summary, SENTENCE),
        sparkline: words::sparkline(&anomaly.evidence, anomaly.window.1),
    }
}

fn timeline(incident: &Incident, now: UtcTime) -> Vec<String> {
    let entries = &incident.timeline;
    let skipped = entries.len().saturating_sub(TIMELINE);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(format!("… {skipped} earlier"));
    }
    for entry in entries.iter().skip(skipped) {
        let text = with_actor(&entry.text, entry.actor.as_deref());
        lines.push(format!("{} {text}", clock(entry.at, now)));
    }
    lines
}

/// A text with who did it, unless it says so itself.
fn with_actor(text: &str, actor: Option<&str>) -> String {
    let text = clean(text, SENTENCE);
    match actor.map(|actor| clean(actor, NAME)) {
        Some(actor) if !text.contains(&actor) => format!("{text} ({actor})"),
        _ => text,
    }
}

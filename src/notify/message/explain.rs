//! The rooms for the explanation: suspects, runbooks, analysis and related events, and the lists that belong to
//! a kind of trouble. What is not there takes no room.

use super::words::{clean, clock, list};
use super::{NAME, SENTENCE, page};
use crate::model::{
    Analysis, Confidence, Correlation, Incident, IncidentId, IncidentKind, UtcTime,
};

const SUSPECTS: usize = 3;
const RUNBOOKS: usize = 3;
const STEPS: usize = 5;
const EVENTS: usize = 5;
const STORM: usize = 20;

/// A titled list.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Its lines.
    pub lines: Vec<Item>,
}

/// One line of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it says.
    pub text: String,
    /// A page of our own to read more.
    pub link: Option<String>,
}

impl From<String> for Item {
    fn from(text: String) -> Self {
        Self { text, link: None }
    }
}

/// Every section that has something to say, most useful first.
pub(super) fn sections(incident: &Incident, base_url: Option<&str>, now: UtcTime) -> Vec<Section> {
    let mut sections = Vec::new();
    if let IncidentKind::Storm { incidents } = &incident.kind {
        let mut lines: Vec<Item> = incidents
            .iter()
            .take(STORM)
            .map(|id| Item {
                text: listed(incident, id),
                link: base_url.map(|base| page(base, &id.0)),
            })
            .collect();
        if incidents.len() > STORM {
            lines.push(format!("and {} more", incidents.len() - STORM).into());
        }
        sections.push(Section { title: "Incidents".to_owned(), lines });
    }
    if let Some(correlation) = &incident.correlation {
        sections.extend(suspects(correlation));
    }
    if let Some(analysis) = &incident.analysis {
        sections.push(opinion(analysis));
    }
    sections.extend(runbooks(incident));
    if let Some(correlation) = &incident.correlation {
        sections.extend(events(correlation, now));
    }
    sections
}

/// One incident of a storm: the timeline tells its severity and title, for as long as it reaches back.
fn listed(storm: &Incident, id: &IncidentId) -> String {
    let entry = storm.timeline.iter().rev().find(|entry| entry.text.contains(&id.0));
    clean(entry.map_or(&id.0, |entry| &entry.text), SENTENCE)
}

fn suspects(correlation: &Correlation) -> Option<Section> {
    let lines: Vec<Item> = correlation
        .suspects
        .iter()
        .take(SUSPECTS)
        .enumerate()
        .map(|(index, suspect)| {
            let evidence: Vec<String> =
                suspect.evidence.iter().take(3).map(|line| clean(line, SENTENCE)).collect();
            let (service, what) = (clean(&suspect.service, NAME), clean(&suspect.what, NAME));
            format!("{}. {service} {what}: {}", index + 1, evidence.join("; ")).into()
        })
        .collect();
    (!lines.is_empty()).then(|| Section { title: "Likely causes, ranked".to_owned(), lines })
}

/// The model's words are marked as such: people check them before they act.
fn opinion(analysis: &Analysis) -> Section {
    let confidence = match analysis.confidence {
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
    };
    let mut lines = vec![
        Item::from(clean(&analysis.summary, 2 * SENTENCE)),
        format!("Cause: {}", clean(&analysis.root_cause, 2 * SENTENCE)).into(),
    ];
    lines.extend(numbered(&analysis.steps));
    Section { title: format!("Analysis by a model, confidence {confidence}: check it"), lines }
}

fn runbooks(incident: &Incident) -> Option<Section> {
    let mut lines = Vec::new();
    for (index, runbook) in incident.runbooks.iter().take(RUNBOOKS).enumerate() {
        let (title, reason) = (clean(&runbook.title, 2 * NAME), clean(&runbook.reason, SENTENCE));
        lines.push(Item::from(format!("{title} ({reason})")));
        lines.push(format!("Cause then: {}", clean(&runbook.root_cause, SENTENCE)).into());
        // Only the best match spells out its steps; the page has the rest.
        if index == 0 {
            lines.extend(numbered(&runbook.steps));
        }
    }
    (!lines.is_empty()).then(|| Section { title: "Seen before".to_owned(), lines })
}

fn numbered(steps: &[String]) -> impl Iterator<Item = Item> {
    steps
        .iter()
        .take(STEPS)
        .enumerate()
        .map(|(index, step)| format!("{}. {}", index + 1, clean(step, SENTENCE)).into())
}

fn events(correlation: &Correlation, now: UtcTime) -> Option<Section> {
    let mut lines: Vec<Item> = correlation
        .events
        .iter()
        .take(EVENTS)
        .map(|event| {
            let (service, level) = (clean(&event.service, NAME), clean(&event.level, 20));
            let message = clean(&event.message, SENTENCE);
            format!("{} {service} {level}: {message}", clock(event.at, now)).into()
        })
        .collect();
    let rest = correlation.events.len().saturating_sub(EVENTS);
    if rest > 0 {
        let mut services: Vec<String> = Vec::new();
        for event in correlation.events.iter().skip(EVENTS) {
            let service = clean(&event.service, NAME);
            if !services.contains(&service) {
                services.push(service);
            }
        }
        lines.push(format!("and {rest} more from {}", list(&services, 5)).into());
    }
    (!lines.is_empty()).then(|| Section { title: "Logged around it".to_owned(), lines })
}

//! What people, and later stages, ask for.

use super::turns::suffix;
use super::{Book, Step, silences, words};
use crate::incidents::{Command, Enrichment, Reply, fingerprint};
use crate::model::{
    IncidentId, IncidentKind, IncidentState, MemberState, Outcome, Severity, Silence, SilenceId,
    TimelineKind,
};

/// What could not be had is listed up to this many lines.
const MOST_MISSING: usize = 20;

impl Book {
    pub(super) fn command(&mut self, step: &mut Step, command: Command) -> Reply {
        match command {
            Command::Findings(findings) => {
                self.findings(step, findings);
                Reply::Done(None)
            }
            Command::Acknowledge { id, actor } => self.acknowledge(step, &id, &actor),
            Command::Resolve { id, actor, note, outcome } => {
                self.end_by_hand(step, &id, &actor, note.as_deref(), outcome)
            }
            Command::Silence(silence) => self.silence(step, silence),
            Command::ExpireSilence { id, actor } => self.expire(step, &id, &actor),
            Command::Enrich { id, enrichment } => self.enrich(step, &id, enrichment),
            Command::Test { actor } => self.test(step, &actor),
            Command::Reload(rules) => {
                self.rules = rules;
                Reply::Done(None)
            }
        }
    }

    fn acknowledge(&mut self, step: &mut Step, id: &IncidentId, actor: &str) -> Reply {
        let Some(incident) = self.incidents.get(id) else { return Reply::NotFound };
        if !incident.is_open() {
            return Reply::Conflict(format!("{id} is resolved: there is nothing to acknowledge"));
        }
        if incident.acknowledged.as_ref().is_some_and(|(who, _)| who == actor) {
            return Reply::Done(Some(Box::new(incident.clone())));
        }
        let now = step.now;
        step.about = Some(id.clone());
        step.acknowledged.insert(id.clone());
        let incident = self.edit(step, id);
        incident.state = IncidentState::Acknowledged;
        incident.acknowledged = Some((actor.to_owned(), now));
        incident.notes.acknowledged_severity = Some(incident.severity);
        let text = format!("{actor} looks at it");
        self.log_by(step, id, TimelineKind::Acknowledged, text, Some(actor));
        Reply::Done(None)
    }

    /// Members that still fire are dismissed: they reopen the incident only if they worsen, or recover and
    /// fire again.
    fn end_by_hand(
        &mut self,
        step: &mut Step,
        id: &IncidentId,
        actor: &str,
        note: Option<&str>,
        outcome: Option<Outcome>,
    ) -> Reply {
        let Some(incident) = self.incidents.get(id) else { return Reply::NotFound };
        let open = incident.is_open();
        if !open && outcome.is_none() && note.is_none() {
            return Reply::Conflict(format!("{id} is resolved already"));
        }
        step.about = Some(id.clone());
        let firing =
            incident.members.iter().filter(|member| member.state == MemberState::Firing).count();
        if let Some(note) = note {
            self.log_by(step, id, TimelineKind::Noted, note, Some(actor));
        }
        if let Some(outcome) = outcome {
            self.edit(step, id).outcome = Some(outcome);
            step.visible.insert(id.clone());
        }
        if open {
            let text = match firing {
                0 => format!("{actor} ended it"),
                1 => format!("{actor} ended it while one anomaly went on"),
                more => format!("{actor} ended it while {more} anomalies went on"),
            };
            self.resolve(step, id, text, Some(actor));
            let incident = self.edit(step, id);
            incident.notes.dismissed =
                firing > 0 || matches!(incident.kind, IncidentKind::Blind { .. });
        }
        Reply::Done(None)
    }

    fn silence(&mut self, step: &mut Step, mut silence: Silence) -> Reply {
        if silence.ends_at <= silence.starts_at {
            return Reply::Conflict("the silence ends before it begins".to_owned());
        }
        if silences::is_over(&silence, step.now) {
            return Reply::Conflict(format!(
                "the silence would have ended at {}",
                words::clock(silence.ends_at, step.now)
            ));
        }
        while silence.id.0.is_empty() {
            self.count += 1;
            let micros = step.now.timestamp_micros().to_string();
            let parts = [silence.owner.as_str(), &micros, &self.count.to_string()];
            let id = SilenceId(format!("SIL-{}-{}", step.now.format("%Y%m%d"), suffix(&parts)));
            if !self.silences.contains_key(&id) {
                silence.id = id;
            }
        }
        step.silences.insert(silence.id.clone());
        self.silences.insert(silence.id.clone(), silence.clone());
        Reply::Silence(Box::new(silence))
    }

    fn expire(&mut self, step: &mut Step, id: &SilenceId, actor: &str) -> Reply {
        let now = step.now;
        let Some(silence) = self.silences.get_mut(id) else { return Reply::NotFound };
        if silences::is_over(silence, now) {
            return Reply::Conflict(format!("{id} is over already"));
        }
        silence.expired_at = Some(now);
        let silence = silence.clone();
        step.silences.insert(id.clone());
        let muted: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| incident.is_open() && incident.silenced_by.as_ref() == Some(id))
            .map(|incident| incident.id.clone())
            .collect();
        for incident in muted {
            let text = format!("{actor} ended the silence {id}");
            self.log_by(step, &incident, TimelineKind::Noted, text, Some(actor));
        }
        Reply::Silence(Box::new(silence))
    }

    fn enrich(&mut self, step: &mut Step, id: &IncidentId, enrichment: Enrichment) -> Reply {
        if !self.incidents.contains_key(id) {
            return Reply::NotFound;
        }
        step.about = Some(id.clone());
        let most_events = self.rules.max_events;
        let incident = self.edit(step, id);
        let text = match enrichment {
            Enrichment::Correlation(mut correlation) => {
                correlation.events.truncate(most_events);
                let (suspects, events) = (correlation.suspects.len(), correlation.events.len());
                incident.correlation = Some(correlation);
                format!("correlated: {suspects} suspects, {events} related events")
            }
            Enrichment::Runbooks(runbooks) => {
                let text = format!("{} runbooks match", runbooks.len());
                incident.runbooks = runbooks;
                text
            }
            Enrichment::Analysis(analysis) => {
                incident.analysis = Some(analysis);
                "analysed".to_owned()
            }
            Enrichment::Missing(text) => {
                if incident.missing.contains(&text) || incident.missing.len() >= MOST_MISSING {
                    return Reply::Done(None);
                }
                incident.missing.push(text.clone());
                text
            }
        };
        self.log(step, id, TimelineKind::Enriched, text);
        Reply::Done(None)
    }

    /// Opens an incident; [`Book::apply`] ends it at once, and every receiver is told both.
    fn test(&mut self, step: &mut Step, actor: &str) -> Reply {
        let now = step.now;
        self.count += 1;
        let fingerprint = fingerprint::of_test(now, self.count);
        let id = self.open(step, fingerprint, IncidentKind::Test, Severity::P4, now);
        self.log_by(step, &id, TimelineKind::Opened, "test asked for", Some(actor));
        step.about = Some(id);
        Reply::Done(None)
    }
}

//! How an incident begins, begins again, and ends; and which one it is.

use sha2::{Digest, Sha256};

use super::{Book, Step, conclude};
use crate::incidents::fingerprint;
use crate::model::{
    Bookkeeping, Incident, IncidentId, IncidentKind, IncidentState, Severity, TimelineKind, UtcTime,
};

impl Book {
    /// A new incident without members.
    pub(super) fn open(
        &mut self,
        step: &mut Step,
        fingerprint: String,
        kind: IncidentKind,
        severity: Severity,
        onset: UtcTime,
    ) -> IncidentId {
        let now = step.now;
        let id = self.new_id(&fingerprint, now);
        self.enter(Incident {
            id: id.clone(),
            fingerprint,
            kind,
            state: IncidentState::Open,
            severity,
            worst: severity,
            title: String::new(),
            onset,
            opened_at: now,
            last_seen_at: now,
            updated_at: now,
            acknowledged: None,
            resolved_at: None,
            outcome: None,
            reopened: 0,
            escalations: 0,
            revision: 0,
            silenced_by: None,
            flapping: false,
            members: Vec::new(),
            timeline: Vec::new(),
            missing: Vec::new(),
            correlation: None,
            runbooks: Vec::new(),
            analysis: None,
            notes: Bookkeeping { turn_onset: onset, turn_opened_at: now, ..Bookkeeping::default() },
        });
        step.turned.insert(id.clone());
        self.edit(step, &id);
        id
    }

    /// Opens a resolved incident again.
    pub(super) fn reopen(
        &mut self,
        step: &mut Step,
        id: &IncidentId,
        onset: UtcTime,
        text: String,
    ) {
        let now = step.now;
        step.turned.insert(id.clone());
        let incident = self.edit(step, id);
        incident.state = IncidentState::Open;
        incident.acknowledged = None;
        incident.resolved_at = None;
        incident.outcome = None;
        incident.silenced_by = None;
        incident.reopened += 1;
        incident.last_seen_at = now;
        let notes = &mut incident.notes;
        notes.turn_onset = onset;
        notes.turn_opened_at = now;
        notes.acknowledged_severity = None;
        notes.storm = None;
        notes.dismissed = false;
        notes.reopenings.retain(|at| now - *at < conclude::FLAPPING_SPAN);
        notes.reopenings.push(now);
        if notes.announced.is_none() {
            // Nobody knows of an earlier turn: the keys of its escalations are spent.
            incident.escalations = 0;
        }
        self.log(step, id, TimelineKind::Reopened, text);
    }

    /// Ends an incident.
    pub(super) fn resolve(
        &mut self,
        step: &mut Step,
        id: &IncidentId,
        text: String,
        actor: Option<&str>,
    ) {
        let now = step.now;
        let incident = self.edit(step, id);
        incident.state = IncidentState::Resolved;
        incident.resolved_at = Some(now);
        self.log_by(step, id, TimelineKind::Resolved, text, actor);
    }

    fn new_id(&mut self, fingerprint: &str, now: UtcTime) -> IncidentId {
        loop {
            self.count += 1;
            let id = IncidentId(format!(
                "INC-{}-{}",
                now.format("%Y%m%d-%H%M%S"),
                suffix(&[
                    fingerprint,
                    &now.timestamp_micros().to_string(),
                    &self.count.to_string()
                ])
            ));
            if !self.incidents.contains_key(&id) {
                return id;
            }
        }
    }

    /// The open incident of a fingerprint: there is at most one.
    pub(super) fn open_of(&self, fingerprint: &str) -> Option<IncidentId> {
        let found = self
            .incidents
            .values()
            .find(|incident| incident.is_open() && incident.fingerprint == fingerprint)?;
        Some(found.id.clone())
    }

    /// Whether a resolved incident may be opened again: its cooldown runs, and no other is open in its place.
    pub(super) fn may_reopen(&self, incident: &Incident, now: UtcTime) -> bool {
        !incident.is_open()
            && now - incident.last_seen_at <= self.rules.cooldown
            && self.open_of(&incident.fingerprint).is_none()
    }

    /// The newest resolved incident of a fingerprint that may be opened again.
    pub(super) fn recent_of(&self, fingerprint: &str, now: UtcTime) -> Option<IncidentId> {
        self.incidents
            .values()
            .filter(|incident| {
                incident.fingerprint == fingerprint && self.may_reopen(incident, now)
            })
            .max_by_key(|incident| (incident.last_seen_at, &incident.id))
            .map(|incident| incident.id.clone())
    }
}

/// Six characters that tell ids of the same second apart.
pub(super) fn suffix(parts: &[&str]) -> String {
    let hash = Sha256::digest(parts.join("/"));
    fingerprint::hex(hash.get(..3).unwrap_or_default())
}

//! A storm: more openings within a minute than people can read are announced as one incident with a list.
//!
//! The openings of the step that goes over the limit, and all further ones while the storm lasts, are held
//! back; those that were announced before stay as they are. The storm is as bad as the worst of its open
//! incidents. It is over when all of them are, when a person ends it, or when nothing was added for
//! `storm_quiet`; what still goes on is then announced by itself. An incident that ended in the storm is told
//! to nobody.

use std::cmp::Reverse;

use chrono::Duration;

use super::{Book, Step};
use crate::incidents::fingerprint;
use crate::model::{Incident, IncidentId, IncidentKind, TimelineKind};

/// Openings are counted over this span.
const SPAN: Duration = Duration::minutes(1);

impl Book {
    /// Begins, feeds and ends storms, after everything else of the step was judged.
    pub(super) fn storms(&mut self, step: &mut Step) {
        let now = step.now;
        self.end_storm(step);
        self.openings.retain(|at| now - *at < SPAN);
        let openings: Vec<IncidentId> = step
            .touched
            .iter()
            .filter(|id| !step.released.contains(*id))
            .filter(|id| self.incidents.get(*id).is_some_and(is_opening))
            .cloned()
            .collect();
        if openings.is_empty() {
            return self.grade_storm(step);
        }
        let active = self.open_of(&fingerprint::of_storm());
        let many = self.openings.len() + openings.len() > self.rules.storm_openings;
        self.openings.extend(openings.iter().map(|_| now));
        if active.is_some() || many {
            let storm = active.unwrap_or_else(|| self.begin_storm(step, &openings));
            self.feed_storm(step, &storm, &openings);
        }
        // More than the limit in one minute says no more than the limit does.
        let surplus = self.openings.len().saturating_sub(self.rules.storm_openings + 1);
        self.openings.drain(..surplus);
        self.grade_storm(step);
    }

    fn begin_storm(&mut self, step: &mut Step, openings: &[IncidentId]) -> IncidentId {
        let fingerprint = fingerprint::of_storm();
        let hit = || openings.iter().filter_map(|id| self.incidents.get(id));
        let onset = hit().map(|incident| incident.onset).min().unwrap_or(step.now);
        let worst = hit().map(|incident| incident.severity).max();
        let severity = worst.unwrap_or(crate::model::Severity::P4);
        let kind = IncidentKind::Storm { incidents: Vec::new() };
        let text = format!("{} incidents at once are announced as one", openings.len());
        if let Some(id) = self.recent_of(&fingerprint, step.now) {
            self.edit(step, &id).kind = kind;
            self.reopen(step, &id, onset, text);
            return id;
        }
        let id = self.open(step, fingerprint, kind, severity, onset);
        self.log(step, &id, TimelineKind::Opened, text);
        id
    }

    fn feed_storm(&mut self, step: &mut Step, storm: &IncidentId, openings: &[IncidentId]) {
        for id in openings {
            let incident = self.edit(step, id);
            incident.notes.storm = Some(storm.clone());
            let line = format!("{}: {} ({id})", incident.severity, incident.title);
            self.log(
                step,
                id,
                TimelineKind::Noted,
                format!("announced as part of the storm {storm}"),
            );
            self.log(step, storm, TimelineKind::Joined, line);
        }
        let now = step.now;
        let incident = self.edit(step, storm);
        incident.last_seen_at = now;
        if let IncidentKind::Storm { incidents } = &mut incident.kind {
            incidents.extend(
                openings.iter().filter(|id| !incidents.contains(id)).cloned().collect::<Vec<_>>(),
            );
        }
    }

    /// The storm is as bad as the worst that goes on in it.
    fn grade_storm(&mut self, step: &mut Step) {
        let Some(storm) = self.open_of(&fingerprint::of_storm()) else { return };
        let worst = self.held_by(&storm).map(|incident| incident.severity).max();
        if let Some(worst) = worst
            && self.incidents.get(&storm).is_some_and(|incident| incident.severity != worst)
        {
            self.grade(step, &storm, worst);
        }
        if step.touched.contains(&storm) {
            self.judge_and_mute(step, &storm);
        }
    }

    fn end_storm(&mut self, step: &mut Step) {
        let storms: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| matches!(incident.kind, IncidentKind::Storm { .. }))
            .map(|incident| incident.id.clone())
            .collect();
        for storm in storms {
            let mut held: Vec<&Incident> = self.held_by(&storm).collect();
            held.sort_by_key(|incident| (Reverse(incident.severity), incident.onset));
            let open: Vec<IncidentId> =
                held.into_iter().map(|incident| incident.id.clone()).collect();
            let Some(incident) = self.incidents.get(&storm) else { continue };
            let quiet = step.now - incident.last_seen_at >= self.rules.storm_quiet;
            if incident.is_open() && (quiet || open.is_empty()) {
                let text = match open.len() {
                    0 => "over: all of its incidents are".to_owned(),
                    1 => "over: one incident goes on and is announced by itself".to_owned(),
                    more => format!("over: {more} incidents go on and are announced by themselves"),
                };
                self.resolve(step, &storm, text, None);
                self.judge_and_mute(step, &storm);
            }
            if self.incidents.get(&storm).is_some_and(Incident::is_open) {
                continue;
            }
            for id in open {
                self.edit(step, &id).notes.storm = None;
                step.released.insert(id.clone());
                self.log(step, &id, TimelineKind::Noted, "the storm is over: announced by itself");
                self.judge_and_mute(step, &id);
            }
        }
    }

    /// The open incidents that a storm announces.
    fn held_by<'a>(&'a self, storm: &'a IncidentId) -> impl Iterator<Item = &'a Incident> {
        self.incidents.values().filter(move |incident| {
            incident.is_open() && incident.notes.storm.as_ref() == Some(storm)
        })
    }
}

/// Whether this step would announce it as opened or reopened.
fn is_opening(incident: &Incident) -> bool {
    incident.is_open()
        && incident.notes.announced.is_none()
        && incident.silenced_by.is_none()
        && incident.notes.storm.is_none()
        && matches!(incident.kind, IncidentKind::Anomaly | IncidentKind::Blind { .. })
}

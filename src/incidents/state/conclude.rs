//! The second half of a step: from what incidents are and what people were told to what is owed.

use chrono::Duration;

use super::{Book, Effects, Notice, QUIET_WRITES, Step, silences, words};
use crate::incidents::Reply;
use crate::model::{
    Change, Incident, IncidentId, IncidentKind, IncidentState, MemberState, Severity, TimelineKind,
    UtcTime,
};

/// Reopenings are counted over this span.
pub(super) const FLAPPING_SPAN: Duration = Duration::hours(1);
/// Updates of one incident are announced at most so often.
const UPDATES: Duration = Duration::minutes(1);
/// A value that moved by more than this share of the greater one is news.
const MOVED: f64 = 0.2;

impl Book {
    /// Looks at everything that was touched, or that time has changed, and says what is owed.
    pub(super) fn conclude(&mut self, mut step: Step, reply: Reply) -> Effects {
        self.touch_what_time_changed(&mut step);
        let mut looked_at = 0;
        while let Some(id) = step.touched.get(looked_at).cloned() {
            looked_at += 1;
            self.judge_and_mute(&mut step, &id);
        }
        self.storms(&mut step);
        let mut effects = Effects {
            incidents: Vec::new(),
            notices: Vec::new(),
            silences: Vec::new(),
            reply: Reply::Done(None),
        };
        for id in step.touched.clone() {
            self.announce(&step, &id, &mut effects);
        }
        let changed = step.silences.iter().filter_map(|id| self.silences.get(id));
        effects.silences = changed.cloned().collect();
        effects.reply = match (reply, step.about.as_ref().and_then(|id| self.incidents.get(id))) {
            (Reply::Done(None), Some(incident)) => Reply::Done(Some(Box::new(incident.clone()))),
            (reply, _) => reply,
        };
        self.forget(step.now);
        effects
    }

    /// Incidents that are due for something although nothing happened to them.
    fn touch_what_time_changed(&mut self, step: &mut Step) {
        let now = step.now;
        let active = self.silences.values().any(|silence| silences::is_active(silence, now));
        let due: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| {
                let muted = incident.silenced_by.is_some() || active;
                (incident.is_open() && muted)
                    || incident.flapping
                    || (incident.notes.update_due && may_update(incident, now))
            })
            .map(|incident| incident.id.clone())
            .collect();
        for id in due {
            self.edit(step, &id);
        }
    }

    pub(super) fn judge_and_mute(&mut self, step: &mut Step, id: &IncidentId) {
        self.judge(step, id);
        self.mute(step, id);
    }

    /// Severity, end and flapping, from the members and the time.
    fn judge(&mut self, step: &mut Step, id: &IncidentId) {
        let Some(incident) = self.incidents.get(id) else { return };
        if incident.is_open() && incident.kind == IncidentKind::Anomaly {
            let firing = incident
                .members
                .iter()
                .filter(|member| member.state == MemberState::Firing)
                .map(|member| member.anomaly.severity)
                .max();
            if let Some(severity) = firing {
                self.grade(step, id, severity);
            } else {
                let text = match incident.members.len() {
                    1 => "over: back in line".to_owned(),
                    more => format!("over: all {more} anomalies are back in line"),
                };
                self.resolve(step, id, text, None);
            }
        }
        self.flap(step, id);
        let incident = self.edit(step, id);
        if step.turned.contains(id) {
            incident.worst = incident.severity;
        }
        incident.worst = incident.worst.max(incident.severity);
        incident.title = words::title(incident);
    }

    /// Takes a severity over. An acknowledgement lapses when it gets worse than what was acknowledged.
    pub(super) fn grade(&mut self, step: &mut Step, id: &IncidentId, severity: Severity) {
        let turned = step.turned.contains(id);
        let incident = self.edit(step, id);
        let before = std::mem::replace(&mut incident.severity, severity);
        incident.worst = incident.worst.max(severity);
        let lapses =
            incident.notes.acknowledged_severity.filter(|acknowledged| severity > *acknowledged);
        if before != severity && !turned {
            let kind = if severity > before { TimelineKind::Worsened } else { TimelineKind::Eased };
            self.log(step, id, kind, format!("{before} to {severity}"));
        }
        if let Some(acknowledged) = lapses {
            let incident = self.edit(step, id);
            let who = incident.acknowledged.take().map(|(who, _)| who).unwrap_or_default();
            incident.state = IncidentState::Open;
            incident.escalations += 1;
            let notes = &mut incident.notes;
            notes.acknowledged_severity = None;
            // Whoever was told of the worst before must be told again.
            notes.announced = notes.announced.map(|told| told.min(acknowledged));
            let text = format!("it was {acknowledged} when {who} acknowledged it: not any more");
            self.log(step, id, TimelineKind::AckLapsed, text);
        }
    }

    /// Flapping begins with a reopening too many, and ends when they are few again, or when the incident has
    /// stayed resolved for its cooldown.
    fn flap(&mut self, step: &mut Step, id: &IncidentId) {
        let (now, most, cooldown) = (step.now, self.rules.flapping_reopenings, self.rules.cooldown);
        let incident = self.edit(step, id);
        incident.notes.reopenings.retain(|at| now - *at < FLAPPING_SPAN);
        let turns = incident.notes.reopenings.len();
        let quiet = !incident.is_open() && now - incident.last_seen_at > cooldown;
        if !incident.flapping && incident.is_open() && turns > most {
            incident.flapping = true;
            let text = format!(
                "reopened {turns} times within an hour: further turns are not announced until it is quiet"
            );
            self.log(step, id, TimelineKind::Flapping, text);
        } else if incident.flapping && (quiet || (incident.is_open() && turns <= most)) {
            incident.flapping = false;
            self.log(step, id, TimelineKind::Flapping, "no longer comes and goes");
        }
    }

    /// Notes who mutes it now, and what was missed when no one does any more.
    fn mute(&mut self, step: &mut Step, id: &IncidentId) {
        let Some(incident) = self.incidents.get(id).filter(|incident| incident.is_open()) else {
            return;
        };
        let by = silences::muting(self.silences.values(), incident, step.now);
        if by.map(|silence| &silence.id) == incident.silenced_by.as_ref() {
            return;
        }
        if let Some(silence) = by {
            let text = format!("muted by {}: {} ({})", silence.id, silence.reason, silence.owner);
            let by = silence.id.clone();
            self.edit(step, id).silenced_by = Some(by);
            self.log(step, id, TimelineKind::Silenced, text);
        } else {
            let missed = words::missed(incident);
            self.edit(step, id).silenced_by = None;
            self.log(step, id, TimelineKind::Unsilenced, "no longer muted");
            self.log(step, id, TimelineKind::Noted, missed);
        }
    }

    /// Compares what is with what people were told. Writes the incident if something visible changed,
    /// something is owed, or its numbers were not written for a while.
    fn announce(&mut self, step: &Step, id: &IncidentId, effects: &mut Effects) {
        let now = step.now;
        let Some(incident) = self.incidents.get(id) else { return };
        let shown = self.shown.get(id).map(Vec::as_slice).unwrap_or_default();
        let news = step.visible.contains(id) || has_moved(incident, shown);
        let change = owed(incident, news, step.acknowledged.contains(id), now);
        let keep_for_later = news && change.is_none() && incident.notes.announced.is_some();
        let unwritten = incident.last_seen_at > incident.updated_at
            && (now - incident.updated_at).abs() >= QUIET_WRITES;
        if !(news || change.is_some() || unwritten) {
            return;
        }
        let incident = self.incidents.get_mut(id).expect("looked at a moment ago");
        incident.notes.update_due |= keep_for_later;
        if let Some(change) = change {
            let receivers = tell(incident, change, &(self.route)(incident, change), now);
            effects.notices.push(Notice { incident: id.clone(), change, receivers });
        }
        incident.revision += 1;
        incident.updated_at = now;
        if news || change.is_some() {
            let values = incident.members.iter().map(|member| member.anomaly.current);
            self.shown.insert(id.clone(), values.collect());
        }
        effects.incidents.push(incident.clone());
    }
}

/// What people must be told, if anything.
fn owed(incident: &Incident, news: bool, acknowledged: bool, now: UtcTime) -> Option<Change> {
    let notes = &incident.notes;
    let held = incident.silenced_by.is_some() || notes.storm.is_some();
    let Some(told) = notes.announced else {
        return (incident.is_open() && !held).then(|| first_word(incident));
    };
    if !incident.is_open() && !incident.flapping {
        return Some(Change::Resolved);
    }
    if acknowledged {
        return Some(Change::Acknowledged);
    }
    if held {
        return None;
    }
    if incident.is_open() && incident.severity > told {
        return Some(Change::Worsened);
    }
    ((news || notes.update_due) && may_update(incident, now)).then_some(Change::Updated)
}

/// How the story begins, this time: P3 and P4 come back without a noise.
fn first_word(incident: &Incident) -> Change {
    if !incident.notes.opened_told {
        Change::Opened
    } else if incident.severity >= Severity::P2 {
        Change::Reopened
    } else {
        Change::Updated
    }
}

/// Records what people are told; answers who they are: the routes' choice, and whoever was told before.
fn tell(incident: &mut Incident, change: Change, routed: &[String], now: UtcTime) -> Vec<String> {
    let severity = incident.severity;
    let notes = &mut incident.notes;
    for receiver in routed {
        if !notes.receivers.contains(receiver) {
            notes.receivers.push(receiver.clone());
        }
    }
    notes.update_due = false;
    if change == Change::Resolved {
        notes.announced = None;
        return std::mem::take(&mut notes.receivers);
    }
    notes.opened_told |= change == Change::Opened;
    notes.announced = notes.announced.max(Some(severity));
    if change == Change::Updated {
        notes.updated_told_at = Some(now);
    }
    notes.receivers.clone()
}

fn may_update(incident: &Incident, now: UtcTime) -> bool {
    // A clock that was set back must not hold updates for ever.
    incident.notes.updated_told_at.is_none_or(|told| (now - told).abs() >= UPDATES)
}

fn has_moved(incident: &Incident, shown: &[f64]) -> bool {
    incident.members.iter().zip(shown).any(|(member, shown)| {
        let current = member.anomaly.current;
        member.state == MemberState::Firing
            && (current - shown).abs() > MOVED * current.abs().max(shown.abs())
    })
}

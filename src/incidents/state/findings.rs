//! What detection found, applied to the book: who is updated, joined, reopened or opened.

use super::{Book, Step, words};
use crate::incidents::fingerprint;
use crate::model::{
    Anomaly, Evidence, Finding, Incident, IncidentId, IncidentKind, IncidentState, Member,
    MemberState, SeriesKey, Severity, SourceName, TimelineKind, UtcTime,
};

/// Members beyond this many keep their numbers but neither sparkline nor gates: an outage of ten thousand
/// services must still fit into one row.
const FULL_MEMBERS: usize = 100;
/// A new reason for a blind source is noted at most so often.
const REASONS: chrono::Duration = chrono::Duration::minutes(10);

/// Whether an anomaly belongs to an open incident, and why: its onset lies within `window` of the incident's
/// opening, which spans from the onset of the anomaly that opened it to the instant it was opened (at most a
/// window later: trouble that was seen late does not gather everything since). Later ones open their own, so
/// that unrelated faults do not chain.
pub fn belongs(incident: &Incident, anomaly: &Anomaly, window: chrono::Duration) -> Option<String> {
    if !incident.is_open() || incident.kind != IncidentKind::Anomaly {
        return None;
    }
    let from = incident.notes.turn_onset;
    let to = incident.notes.turn_opened_at.min(from + window);
    let near = from - window <= anomaly.onset && anomaly.onset <= to + window;
    near.then(|| {
        let minutes = (anomaly.onset - from).num_minutes();
        match minutes {
            0 => "began at the same time".to_owned(),
            1.. => format!("began {minutes} min later"),
            _ => format!("began {} min earlier", -minutes),
        }
    })
}

impl Book {
    /// Applies what one cycle found. Anomalies that are not known yet are placed last, in the order of their
    /// onsets, so that those which belong together open one incident, fingerprinted by the first of them.
    pub(super) fn findings(&mut self, step: &mut Step, findings: Vec<Finding>) {
        let mut fresh: Vec<Anomaly> = Vec::new();
        for finding in findings {
            match finding {
                Finding::Fired(anomaly) => {
                    if !self.sighted(step, &anomaly) {
                        fresh.push(*anomaly);
                    }
                }
                Finding::Recovered { series, since } => {
                    self.place_all(step, &mut fresh);
                    let since = words::clock(since, step.now);
                    let text = format!("{series} is back in line since {since}");
                    self.recovered(step, &series, TimelineKind::Recovered, &text);
                }
                Finding::Accepted { series, reason } => {
                    self.place_all(step, &mut fresh);
                    let text = format!("{series}: a new normal is accepted: {reason}");
                    self.recovered(step, &series, TimelineKind::Accepted, &text);
                }
                Finding::Passed { anomaly, ended } => self.passed(step, *anomaly, ended),
                Finding::Blind { source, since, reason } => {
                    self.blind(step, &source, since, &reason);
                }
                Finding::Sighted { source, at } => self.sees_again(step, &source, at),
            }
        }
        self.place_all(step, &mut fresh);
    }

    /// Takes note of an anomaly that an incident knows; false if none does.
    fn sighted(&mut self, step: &mut Step, anomaly: &Anomaly) -> bool {
        let homes = self.homes.get(&anomaly.series).cloned().unwrap_or_default();
        let rank = |(id, index): &(IncidentId, usize)| {
            let incident = self.incidents.get(id)?;
            let firing = incident.members.get(*index)?.state == MemberState::Firing;
            (incident.is_open() || firing).then(|| (incident.is_open(), firing, incident.opened_at))
        };
        let known = homes.iter().filter_map(|home| Some((rank(home)?, home)));
        let Some((_, (id, index))) = known.max_by_key(|(rank, _)| *rank) else { return false };
        let open = self.incidents.get(id).is_some_and(Incident::is_open);
        let (now, cooldown) = (step.now, self.rules.cooldown);
        let incident = self.edit(step, id);
        let Some(member) = incident.members.get_mut(*index) else { return false };
        if !open && now - member.last_seen_at > cooldown {
            // Dismissed, then not seen for so long that it must have recovered in between.
            self.recovered(step, &anomaly.series, TimelineKind::Recovered, "");
            return false;
        }
        member.last_seen_at = now;
        incident.last_seen_at = now;
        if open {
            let again = member.state == MemberState::Recovered;
            refresh(member, anomaly, *index);
            if again {
                let text = format!("{} again", words::reading(anomaly));
                self.log(step, id, TimelineKind::Joined, text);
            }
        } else if anomaly.severity > member.anomaly.severity {
            let fingerprint = incident.fingerprint.clone();
            if self.open_of(&fingerprint).is_some() {
                // Another is open in its place by now, and takes this one over.
                self.recovered(step, &anomaly.series, TimelineKind::Recovered, "");
                return false;
            }
            let incident = self.edit(step, id);
            let Some(member) = incident.members.get_mut(*index) else { return false };
            refresh(member, anomaly, *index);
            let text = format!("worse than when it was ended by hand: {}", words::reading(anomaly));
            self.reopen(step, id, anomaly.onset, text);
        }
        true
    }

    fn place_all(&mut self, step: &mut Step, fresh: &mut Vec<Anomaly>) {
        // Of what began in the same bucket the furthest out of line leads: it is what people read first.
        fresh.sort_by(|a, b| {
            (a.onset, b.severity)
                .cmp(&(b.onset, a.severity))
                .then(b.score.abs().total_cmp(&a.score.abs()))
                .then_with(|| a.series.cmp(&b.series))
        });
        for anomaly in fresh.drain(..) {
            // One given twice is known by now.
            if !self.sighted(step, &anomaly) {
                self.place(step, anomaly);
            }
        }
    }

    /// Finds an incident for an anomaly that is no member of an open one. In this order: an open incident of
    /// the same fingerprint; a resolved one of the same fingerprint within its cooldown; an open one that it
    /// belongs to, nearest opening first; a resolved one within its cooldown that the series was a member of;
    /// a new one.
    fn place(&mut self, step: &mut Step, anomaly: Anomaly) {
        let now = step.now;
        let fingerprint = fingerprint::of_series(&anomaly.series);
        if let Some(id) = self.open_of(&fingerprint) {
            return self.join(step, &id, anomaly, "the same trouble");
        }
        if let Some(id) = self.recent_of(&fingerprint, now) {
            return self.reopen_with(step, &id, anomaly);
        }
        let near = self.incidents.values().filter_map(|incident| {
            let reason = belongs(incident, &anomaly, self.rules.window)?;
            let distance = (anomaly.onset - incident.notes.turn_onset).abs();
            Some((distance, &incident.id, reason))
        });
        if let Some((id, reason)) = near
            .min_by_key(|(distance, id, _)| (*distance, *id))
            .map(|(_, id, why)| (id.clone(), why))
        {
            return self.join(step, &id, anomaly, &reason);
        }
        let homes = self.homes.get(&anomaly.series).into_iter().flatten();
        let recent = homes
            .filter_map(|(id, _)| self.incidents.get(id))
            .filter(|incident| self.may_reopen(incident, now))
            .max_by_key(|incident| (incident.last_seen_at, &incident.id));
        if let Some(id) = recent.map(|incident| incident.id.clone()) {
            return self.reopen_with(step, &id, anomaly);
        }
        let (severity, onset) = (anomaly.severity, anomaly.onset);
        let id = self.open(step, fingerprint, IncidentKind::Anomaly, severity, onset);
        self.log(
            step,
            &id,
            TimelineKind::Opened,
            format!("{severity}: {}", words::reading(&anomaly)),
        );
        self.add_member(step, &id, anomaly);
    }

    fn reopen_with(&mut self, step: &mut Step, id: &IncidentId, anomaly: Anomaly) {
        let text = format!("{}: {}", anomaly.severity, words::reading(&anomaly));
        self.reopen(step, id, anomaly.onset, text);
        self.add_member(step, id, anomaly);
    }

    fn join(&mut self, step: &mut Step, id: &IncidentId, anomaly: Anomaly, reason: &str) {
        let text = format!("{}: {} ({reason})", anomaly.severity, words::reading(&anomaly));
        self.log(step, id, TimelineKind::Joined, text);
        self.add_member(step, id, anomaly);
    }

    /// Makes an anomaly a firing member, anew or again.
    fn add_member(&mut self, step: &mut Step, id: &IncidentId, anomaly: Anomaly) {
        let now = step.now;
        let homes = self.homes.entry(anomaly.series.clone()).or_default();
        let known = homes.iter().find(|(home, _)| home == id).map(|(_, index)| *index);
        let incident = self.edit(step, id);
        incident.last_seen_at = now;
        incident.onset = incident.onset.min(anomaly.onset);
        if let Some(member) = known.and_then(|index| incident.members.get_mut(index)) {
            member.last_seen_at = now;
            member.worst = anomaly.severity;
            return refresh(member, &anomaly, known.unwrap_or_default());
        }
        let index = incident.members.len();
        let (series, current, worst) = (anomaly.series.clone(), anomaly.current, anomaly.severity);
        incident.members.push(Member {
            anomaly: slim(anomaly, index),
            state: MemberState::Firing,
            joined_at: now,
            last_seen_at: now,
            worst,
        });
        self.homes.entry(series).or_default().push((id.clone(), index));
        self.shown.entry(id.clone()).or_default().push(current);
    }

    /// A series is back in line, or its level is the new normal.
    fn recovered(&mut self, step: &mut Step, series: &SeriesKey, kind: TimelineKind, text: &str) {
        for (id, index) in self.homes.get(series).cloned().unwrap_or_default() {
            let incident = self.edit(step, &id);
            let open = incident.is_open();
            let Some(member) = incident.members.get_mut(index) else { continue };
            if member.state == MemberState::Recovered {
                continue;
            }
            member.state = MemberState::Recovered;
            incident.notes.dismissed &=
                incident.members.iter().any(|member| member.state == MemberState::Firing);
            if open {
                self.log(step, &id, kind, text);
            } else {
                // Ended by hand before: worth keeping, but no news.
                step.visible.insert(id);
            }
        }
    }

    /// Began and ended while nobody looked: recorded as resolved, told to nobody.
    fn passed(&mut self, step: &mut Step, anomaly: Anomaly, ended: UtcTime) {
        let homes = self.homes.get(&anomaly.series).cloned().unwrap_or_default();
        let overlapping = homes.iter().find(|(id, index)| {
            let member = self.incidents.get(id).and_then(|incident| incident.members.get(*index));
            member.is_some_and(|member| {
                anomaly.onset <= member.last_seen_at && member.anomaly.onset <= ended
            })
        });
        let until = words::clock(ended, step.now);
        let text = format!("{} until {until}, while nobody looked", words::reading(&anomaly));
        if overlapping.is_some() {
            // The incident that knows it ends now, if it still goes on.
            return self.recovered(step, &anomaly.series.clone(), TimelineKind::Recovered, &text);
        }
        let beside = step.turned.iter().find(|id| {
            self.incidents.get(*id).is_some_and(|incident| {
                !incident.is_open()
                    && (anomaly.onset - incident.notes.turn_onset).abs() <= self.rules.window
            })
        });
        let id = beside.cloned().unwrap_or_else(|| {
            let fingerprint = fingerprint::of_series(&anomaly.series);
            self.open(step, fingerprint, IncidentKind::Anomaly, anomaly.severity, anomaly.onset)
        });
        let (severity, onset) = (anomaly.severity, anomaly.onset);
        self.log(step, &id, TimelineKind::Noted, text);
        self.add_member(step, &id, anomaly);
        let incident = self.edit(step, &id);
        incident.state = IncidentState::Resolved;
        incident.opened_at = incident.opened_at.min(onset);
        incident.resolved_at = incident.resolved_at.max(Some(ended));
        incident.last_seen_at = incident.resolved_at.unwrap_or(ended);
        incident.severity = incident.severity.max(severity);
        incident.worst = incident.severity;
        if let Some(member) = incident.members.last_mut() {
            member.state = MemberState::Recovered;
            member.last_seen_at = ended;
        }
    }

    fn blind(&mut self, step: &mut Step, source: &SourceName, since: UtcTime, reason: &str) {
        let now = step.now;
        let fingerprint = fingerprint::of_blind(source);
        let kind = IncidentKind::Blind { source: source.clone(), reason: reason.to_owned() };
        let text = format!("blind on {source} since {}: {reason}", words::clock(since, now));
        let same = |incident: &&Incident| incident.fingerprint == fingerprint;
        if let Some(id) = self.open_of(&fingerprint) {
            self.goes_on(step, &id, kind, text);
        } else if let Some(id) = self
            .incidents
            .values()
            .filter(same)
            .find(|incident| incident.notes.dismissed)
            .map(|incident| incident.id.clone())
        {
            // Ended by hand: it stays so until the source was seen again.
            self.edit(step, &id).last_seen_at = now;
        } else if let Some(id) = self.recent_of(&fingerprint, now) {
            self.edit(step, &id).kind = kind;
            self.reopen(step, &id, since, text);
        } else {
            let id = self.open(step, fingerprint, kind, Severity::P2, since);
            self.log(step, &id, TimelineKind::Opened, text);
        }
    }

    /// A trouble without members is still there, perhaps for another reason; a reason that changes all the
    /// time is noted now and then only.
    fn goes_on(&mut self, step: &mut Step, id: &IncidentId, kind: IncidentKind, text: String) {
        let now = step.now;
        let incident = self.edit(step, id);
        incident.last_seen_at = now;
        let changed = incident.kind != kind;
        incident.kind = kind;
        if changed && incident.timeline.last().is_none_or(|last| now - last.at >= REASONS) {
            self.log(step, id, TimelineKind::Noted, text);
        }
    }

    fn sees_again(&mut self, step: &mut Step, source: &SourceName, at: UtcTime) {
        let fingerprint = fingerprint::of_blind(source);
        let of_source: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| {
                incident.fingerprint == fingerprint
                    && (incident.is_open() || incident.notes.dismissed)
            })
            .map(|incident| incident.id.clone())
            .collect();
        for id in of_source {
            let incident = self.edit(step, &id);
            incident.notes.dismissed = false;
            // It went on until now, and so the cooldown begins now.
            incident.last_seen_at = step.now;
            if incident.is_open() {
                let text = format!("{source} is read again since {}", words::clock(at, step.now));
                self.resolve(step, &id, text, None);
            } else {
                step.visible.insert(id);
            }
        }
    }

    pub(super) fn blame_store(&mut self, step: &mut Step, reason: &str) {
        let now = step.now;
        let fingerprint = fingerprint::of_store();
        let kind = IncidentKind::Store { reason: reason.to_owned() };
        let text = format!("the store cannot be written: {reason}");
        if let Some(id) = self.open_of(&fingerprint) {
            self.goes_on(step, &id, kind, text);
        } else if let Some(id) = self.recent_of(&fingerprint, now) {
            self.edit(step, &id).kind = kind;
            self.reopen(step, &id, now, text);
        } else {
            let id = self.open(step, fingerprint, kind, Severity::P2, now);
            self.log(step, &id, TimelineKind::Opened, text);
        }
    }

    pub(super) fn absolve_store(&mut self, step: &mut Step) {
        if let Some(id) = self.open_of(&fingerprint::of_store()) {
            self.resolve(step, &id, "the store can be written again".to_owned(), None);
        }
    }
}

/// Takes the newest numbers over; the onset stays the first one of this time.
fn refresh(member: &mut Member, anomaly: &Anomaly, index: usize) {
    let onset = match member.state {
        MemberState::Firing => member.anomaly.onset.min(anomaly.onset),
        MemberState::Recovered => anomaly.onset,
    };
    member.anomaly = Anomaly { onset, ..slim(anomaly.clone(), index) };
    member.worst = member.worst.max(anomaly.severity);
    member.state = MemberState::Firing;
}

fn slim(mut anomaly: Anomaly, index: usize) -> Anomaly {
    if index >= FULL_MEMBERS {
        let Evidence { method, summary, .. } = anomaly.evidence;
        anomaly.evidence = Evidence { method, summary, ..Evidence::default() };
    }
    anomaly
}

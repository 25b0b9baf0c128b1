//! What is not committed yet, in memory and bounded: in ordinary times one step, more while the store fails.

use std::collections::BTreeMap;

use super::state::{Effects, Notice};
use crate::model::{Change, Incident, IncidentId, Silence, SilenceId, UtcTime};
use crate::store::{Changes, Owed};

/// How many messages may wait for the store. When it is full, an update is dropped, or else the oldest one:
/// the incident itself is kept, and P1 and P2 were sent from memory.
const BACKLOG: usize = 10_000;

/// The messages of a notice, one a receiver.
pub(super) fn owed(incident: &Incident, notice: &Notice, now: UtcTime) -> Vec<Owed> {
    let to = |receiver: &String| Owed {
        incident: incident.id.clone(),
        receiver: receiver.clone(),
        change: notice.change,
        severity: incident.severity,
        revision: incident.revision,
        due_at: now,
        created_at: now,
    };
    notice.receivers.iter().map(to).collect()
}

/// What is not committed yet: each incident once, as it is now; of updates only the newest.
#[derive(Default)]
pub(super) struct Backlog {
    incidents: BTreeMap<IncidentId, Incident>,
    silences: BTreeMap<SilenceId, Silence>,
    owed: Vec<Owed>,
}

impl Backlog {
    /// Adds a step's effects; answers how many messages had to be dropped.
    pub(super) fn add(&mut self, effects: &Effects, now: UtcTime) -> usize {
        for incident in &effects.incidents {
            self.incidents.insert(incident.id.clone(), incident.clone());
        }
        for silence in &effects.silences {
            self.silences.insert(silence.id.clone(), silence.clone());
        }
        let mut dropped = 0;
        for notice in &effects.notices {
            let Some(incident) = self.incidents.get(&notice.incident) else { continue };
            for owed in owed(incident, notice, now) {
                self.owed.retain(|older| {
                    older.change != Change::Updated
                        || older.incident != owed.incident
                        || older.receiver != owed.receiver
                });
                if self.owed.len() >= BACKLOG {
                    let updated = |owed: &Owed| owed.change == Change::Updated;
                    self.owed.remove(self.owed.iter().position(updated).unwrap_or(0));
                    dropped += 1;
                }
                self.owed.push(owed);
            }
        }
        dropped
    }

    pub(super) fn changes(&self) -> Changes {
        Changes {
            incidents: self.incidents.values().cloned().collect(),
            owed: self.owed.clone(),
            silences: self.silences.values().cloned().collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incidents.is_empty() && self.silences.is_empty() && self.owed.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many incidents wait.
    pub(super) fn incidents(&self) -> usize {
        self.incidents.len()
    }

    /// How many messages wait.
    pub(super) fn messages(&self) -> usize {
        self.owed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::Reply;
    use crate::incidents::state::{Book, Notice};
    use crate::incidents::{Command, CorrelationSettings, Settings};

    #[test]
    fn of_updates_only_the_newest_waits_and_the_queue_is_bounded() {
        let rules = Settings::default().rules(&CorrelationSettings::default());
        let now = UtcTime::from_timestamp(1_795_230_900, 0).unwrap();
        let mut book = Book::new(rules, std::sync::Arc::new(|_, _| vec!["slack".to_owned()]));
        let test = book.apply(Command::Test { actor: "ada".to_owned() }, now);
        let incident = test.incidents[0].clone();
        let mut backlog = Backlog::default();
        assert!(backlog.is_empty());
        let mut revision = 0;
        let mut add = |backlog: &mut Backlog, change| {
            revision += 1;
            let incident = Incident { revision, ..incident.clone() };
            let receivers = vec!["slack".to_owned()];
            let notice = Notice { incident: incident.id.clone(), change, receivers };
            let effects = Effects {
                incidents: vec![incident],
                notices: vec![notice],
                silences: Vec::new(),
                reply: Reply::Done(None),
            };
            backlog.add(&effects, now)
        };
        for change in [Change::Opened, Change::Updated, Change::Updated, Change::Worsened] {
            assert_eq!(add(&mut backlog, change), 0);
        }
        let kept: Vec<_> = backlog.changes().owed.iter().map(|owed| owed.revision).collect();
        assert_eq!(kept, [1, 4]);
        for _ in backlog.messages()..BACKLOG {
            assert_eq!(add(&mut backlog, Change::Worsened), 0);
        }
        assert_eq!(add(&mut backlog, Change::Resolved), 1, "full");
        assert_eq!((backlog.incidents(), backlog.messages()), (1, BACKLOG));
        assert_eq!(backlog.changes().owed.last().map(|owed| owed.change), Some(Change::Resolved));
        backlog.clear();
        assert!(backlog.is_empty());
    }
}

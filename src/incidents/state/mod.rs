//! The state machine of incidents: commands and time in, effects out. Pure: no store, no clock, no waiting.
//!
//! [`Book`] holds every incident that can still change. Each step has two halves: *apply* changes incidents
//! (`findings`, `commands`), then *conclude* compares what is with what people were told and says which
//! messages are owed (`conclude`, `storm`). The second half looks at states, not at events, so a silence or
//! storm that ends needs no rule of its own. docs/incidents.md has the table of transitions.

mod commands;
mod conclude;
mod findings;
pub mod silences;
mod storm;
#[cfg(test)]
mod tests;
mod turns;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use chrono::Duration;

use super::{Command, Reply, Route, Snapshot, fingerprint};
use crate::model::{
    Change, Incident, IncidentId, MemberState, SeriesKey, Silence, SilenceId, TimelineKind, UtcTime,
};

pub use findings::belongs;

/// Resolved incidents leave the book after so long without a sighting (never before their cooldown).
const KEPT: Duration = Duration::days(2);
/// An incident that goes on is written at most so often when only its numbers move.
const QUIET_WRITES: Duration = Duration::minutes(1);

/// The numbers of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Since the last sighting: the same trouble within it reopens its incident.
    pub cooldown: Duration,
    /// Anomalies that begin so near to an incident's opening join it.
    pub window: Duration,
    /// Related events that are kept with an incident.
    pub max_events: usize,
    /// More reopenings within an hour: flapping.
    pub flapping_reopenings: usize,
    /// More openings within a minute: a storm.
    pub storm_openings: usize,
    /// Without a further opening for so long, a storm is over.
    pub storm_quiet: Duration,
}

/// A message that becomes owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The incident it is about.
    pub incident: IncidentId,
    /// Why.
    pub change: Change,
    /// Who is owed it.
    pub receivers: Vec<String>,
}

/// What one step brings about.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// Incidents that changed, whole.
    pub incidents: Vec<Incident>,
    /// Messages that become owed, in order.
    pub notices: Vec<Notice>,
    /// Silences that changed.
    pub silences: Vec<Silence>,
    /// The answer to the command.
    pub reply: Reply,
}

/// Every incident that can still change, and every silence.
#[derive(Clone)]
pub struct Book {
    rules: Rules,
    route: Route,
    incidents: BTreeMap<IncidentId, Incident>,
    silences: BTreeMap<SilenceId, Silence>,
    /// Where each series is a member, and the how-manieth.
    homes: BTreeMap<SeriesKey, Vec<(IncidentId, usize)>>,
    /// The members' values that people were shown last.
    shown: BTreeMap<IncidentId, Vec<f64>>,
    /// When incidents were announced as opened or reopened, or held back by a storm, within the last minute.
    openings: VecDeque<UtcTime>,
    /// Makes ids unique.
    count: u64,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("incidents", &self.incidents.len())
            .field("silences", &self.silences.len())
            .finish_non_exhaustive()
    }
}

/// What one step has touched so far.
#[derive(Debug)]
struct Step {
    now: UtcTime,
    /// In the order in which they were touched first.
    touched: Vec<IncidentId>,
    /// Those of which something changed that people see.
    visible: BTreeSet<IncidentId>,
    /// Those that were opened or reopened in this step: their severity is new, it did not change.
    turned: BTreeSet<IncidentId>,
    acknowledged: BTreeSet<IncidentId>,
    /// Let go by a storm that ended: they do not make a new one.
    released: BTreeSet<IncidentId>,
    silences: BTreeSet<SilenceId>,
    /// The incident that the answer is about.
    about: Option<IncidentId>,
}

impl Step {
    fn new(now: UtcTime) -> Self {
        Self {
            now,
            touched: Vec::new(),
            visible: BTreeSet::new(),
            turned: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            released: BTreeSet::new(),
            silences: BTreeSet::new(),
            about: None,
        }
    }
}

impl Book {
    /// An empty book.
    pub fn new(rules: Rules, route: Route) -> Self {
        Self {
            rules,
            route,
            incidents: BTreeMap::new(),
            silences: BTreeMap::new(),
            homes: BTreeMap::new(),
            shown: BTreeMap::new(),
            openings: VecDeque::new(),
            count: 0,
        }
    }

    /// A book with what the store kept.
    pub fn load(
        rules: Rules,
        route: Route,
        incidents: Vec<Incident>,
        silences: Vec<Silence>,
    ) -> Self {
        let mut book = Self::new(rules, route);
        for incident in incidents {
            book.enter(incident);
        }
        book.silences = silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect();
        book
    }

    /// How far back the store must be read for [`Book::load`].
    pub fn kept(rules: &Rules) -> Duration {
        KEPT.max(rules.cooldown * 2)
    }

    /// Carries out a command.
    pub fn apply(&mut self, command: Command, now: UtcTime) -> Effects {
        let is_test = matches!(command, Command::Test { .. });
        let mut step = Step::new(now);
        let reply = self.command(&mut step, command);
        let about = step.about.clone();
        let mut effects = self.conclude(step, reply);
        if let Some(id) = about.filter(|_| is_test) {
            let mut step = Step::new(now);
            step.about = Some(id.clone());
            self.resolve(&mut step, &id, "a test ends at once".to_owned(), None);
            let ended = self.conclude(step, Reply::Done(None));
            effects
                .incidents
                .retain(|before| ended.incidents.iter().all(|now| now.id != before.id));
            effects.incidents.extend(ended.incidents);
            effects.notices.extend(ended.notices);
            effects.reply = ended.reply;
        }
        effects
    }

    /// Lets time pass: silences and storms end, held-back updates become due.
    pub fn tick(&mut self, now: UtcTime) -> Effects {
        self.conclude(Step::new(now), Reply::Done(None))
    }

    /// Our own store cannot be written: opens an incident about it.
    pub fn store_failed(&mut self, reason: &str, now: UtcTime) -> Effects {
        let mut step = Step::new(now);
        self.blame_store(&mut step, reason);
        self.conclude(step, Reply::Done(None))
    }

    /// Our own store can be written again.
    pub fn store_back(&mut self, now: UtcTime) -> Effects {
        let mut step = Step::new(now);
        self.absolve_store(&mut step);
        self.conclude(step, Reply::Done(None))
    }

    /// Whether an incident about our own store is open.
    pub fn blames_store(&self) -> bool {
        self.open_of(&fingerprint::of_store()).is_some()
    }

    /// An incident that is still in the book.
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.get(id)
    }

    /// Every incident in the book, by id.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// What others may see.
    pub fn snapshot(&self, store_writable: bool) -> Snapshot {
        let open = || self.incidents.values().filter(|incident| incident.is_open());
        let mut listed: Vec<_> =
            open().map(|incident| (incident.id.clone(), incident.severity)).collect();
        listed.sort_by(|(a, urgent_a), (b, urgent_b)| urgent_b.cmp(urgent_a).then(a.cmp(b)));
        // What a person ended while it went on is watched too, so that its recovery is noticed.
        let active = self
            .incidents
            .values()
            .filter(|incident| incident.is_open() || incident.notes.dismissed)
            .flat_map(|incident| &incident.members)
            .filter(|member| member.state == MemberState::Firing)
            .map(|member| member.series().clone())
            .collect();
        Snapshot { loaded: true, active, open: listed, store_writable }
    }

    /// Takes an incident into the book.
    fn enter(&mut self, incident: Incident) {
        for (index, member) in incident.members.iter().enumerate() {
            let homes = self.homes.entry(member.series().clone()).or_default();
            homes.push((incident.id.clone(), index));
        }
        let shown = incident.members.iter().map(|member| member.anomaly.current).collect();
        self.shown.insert(incident.id.clone(), shown);
        self.incidents.insert(incident.id.clone(), incident);
    }

    /// Drops what can no longer change: resolved, and not seen for long.
    fn forget(&mut self, now: UtcTime) {
        let kept = Self::kept(&self.rules);
        let gone: Vec<IncidentId> = self
            .incidents
            .values()
            .filter(|incident| !incident.is_open() && now - incident.updated_at > kept)
            .map(|incident| incident.id.clone())
            .collect();
        for id in gone {
            let Some(incident) = self.incidents.remove(&id) else { continue };
            self.shown.remove(&id);
            for member in &incident.members {
                if let Some(homes) = self.homes.get_mut(member.series()) {
                    homes.retain(|(home, _)| *home != id);
                    if homes.is_empty() {
                        self.homes.remove(member.series());
                    }
                }
            }
        }
        self.silences.retain(|_, silence| !silences::is_over(silence, now - kept));
    }

    /// The incident, marked as touched.
    fn edit(&mut self, step: &mut Step, id: &IncidentId) -> &mut Incident {
        if !step.touched.contains(id) {
            step.touched.push(id.clone());
        }
        self.incidents.get_mut(id).expect("ids come from the book, which drops none within a step")
    }

    /// Writes into the timeline, which people see.
    fn log(
        &mut self,
        step: &mut Step,
        id: &IncidentId,
        kind: TimelineKind,
        text: impl Into<String>,
    ) {
        self.log_by(step, id, kind, text, None);
    }

    fn log_by(
        &mut self,
        step: &mut Step,
        id: &IncidentId,
        kind: TimelineKind,
        text: impl Into<String>,
        actor: Option<&str>,
    ) {
        let now = step.now;
        step.visible.insert(id.clone());
        words::log(self.edit(step, id), now, kind, text, actor);
    }
}

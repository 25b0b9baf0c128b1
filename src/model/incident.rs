//! What people see: an incident that opens once, changes in place, and ends.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Analysis, Anomaly, Correlation, IncidentId, RunbookMatch, SeriesKey, Severity, SilenceId,
    SourceName, UtcTime,
};

/// One incident with everything people are shown of it. Its state machine is `incidents::state`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id, stable and unique.
    pub id: IncidentId,
    /// SHA-256 in hex of what the incident *is*, fixed at opening; the deduplication key everywhere.
    pub fingerprint: String,
    /// What kind of trouble.
    pub kind: IncidentKind,
    /// Where it stands.
    pub state: IncidentState,
    /// How bad it is now; after the end, how bad it was last.
    pub severity: Severity,
    /// How bad it has been since it was (re)opened.
    pub worst: Severity,
    /// One line: `payment-service: error_rate 66.7 %`.
    pub title: String,
    /// When trouble began, as the data says.
    pub onset: UtcTime,
    /// When the incident was opened (first time).
    pub opened_at: UtcTime,
    /// When it was last seen to be going on.
    pub last_seen_at: UtcTime,
    /// When anything about it last changed.
    pub updated_at: UtcTime,
    /// Who acknowledged it, and when; gone when the acknowledgement lapses.
    pub acknowledged: Option<(String, UtcTime)>,
    /// When it ended.
    pub resolved_at: Option<UtcTime>,
    /// A person's judgement.
    pub outcome: Option<Outcome>,
    /// How often it was reopened.
    pub reopened: u32,
    /// How often it worsened after an acknowledgement: PagerDuty needs a second key then.
    pub escalations: u32,
    /// Grows with each change; the store refuses to go back.
    pub revision: i64,
    /// The silence that mutes it, if any.
    pub silenced_by: Option<SilenceId>,
    /// Whether it comes and goes so often that only its first turns are announced.
    pub flapping: bool,
    /// The anomalies it consists of, in the order in which they joined.
    pub members: Vec<Member>,
    /// Everything that happened, oldest first, bounded.
    pub timeline: Vec<TimelineEntry>,
    /// What could not be read or done: `related events: Elasticsearch answered 400`.
    pub missing: Vec<String>,
    /// Room for the explanation.
    pub correlation: Option<Correlation>,
    /// Room for matching runbooks.
    pub runbooks: Vec<RunbookMatch>,
    /// Room for the model's analysis.
    pub analysis: Option<Analysis>,
    /// What the state machine remembers for itself; shown to nobody.
    #[serde(default)]
    pub notes: Bookkeeping,
}

/// What the state machine of incidents remembers of one, from step to step and over restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bookkeeping {
    /// The onset of the anomaly that opened it, this time: what belongs to it is measured from here …
    pub turn_onset: UtcTime,
    /// … to here: when it was opened, this time.
    pub turn_opened_at: UtcTime,
    /// Whether its first opening was announced.
    pub opened_told: bool,
    /// The worst severity that was announced since it was (re)opened; none while nobody was told.
    pub announced: Option<Severity>,
    /// Who was told since it was (re)opened: they hear of its end whatever the routes say by then.
    pub receivers: Vec<String>,
    /// How bad it was when it was acknowledged.
    pub acknowledged_severity: Option<Severity>,
    /// When an update was last announced.
    pub updated_told_at: Option<UtcTime>,
    /// Something visible changed that was not announced yet, since updates are limited.
    pub update_due: bool,
    /// The storm that announces it in its place.
    pub storm: Option<IncidentId>,
    /// When it was reopened within the last hour.
    pub reopenings: Vec<UtcTime>,
    /// A person ended it while it was going on: it stays ended until it has recovered, or gets worse.
    pub dismissed: bool,
}

impl Incident {
    /// The services it is about, in the order in which they were hit, each once.
    pub fn services(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let names = self.members.iter().map(|member| &*member.anomaly.series.service);
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.state != IncidentState::Resolved
    }
}

/// What kind of trouble an incident is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum IncidentKind {
    /// One or more series are out of line.
    Anomaly,
    /// A source cannot be read.
    Blind {
        /// Which.
        source: SourceName,
        /// Why.
        reason: String,
    },
    /// Our own store cannot be written.
    Store {
        /// Why.
        reason: String,
    },
    /// A storm: many incidents opened at once and are announced as one.
    Storm {
        /// Those that it stands for.
        incidents: Vec<IncidentId>,
    },
    /// A test message asked for by a person.
    Test,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Going on, and nobody has said that they look at it.
    Open,
    /// Going on, and somebody looks at it.
    Acknowledged,
    /// Over.
    Resolved,
}

impl IncidentState {
    /// As the store and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// A person's judgement of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was what it said.
    Real,
    /// Nothing was wrong.
    Noise,
    /// Something planned.
    Expected,
}

/// One anomaly of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The newest numbers, or the last ones before it recovered.
    pub anomaly: Anomaly,
    /// Whether it goes on.
    pub state: MemberState,
    /// When it joined.
    pub joined_at: UtcTime,
    /// When it was last seen.
    pub last_seen_at: UtcTime,
    /// The worst it has been.
    pub worst: Severity,
}

impl Member {
    /// The series.
    pub fn series(&self) -> &SeriesKey {
        &self.anomaly.series
    }
}

/// Whether an anomaly goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Still out of line.
    Firing,
    /// Back in line, or accepted as the new normal.
    Recovered,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: UtcTime,
    /// What sort of thing.
    pub kind: TimelineKind,
    /// In words for people.
    pub text: String,
    /// Who did it, if it was a person.
    pub actor: Option<String>,
}

/// The sorts of things that happen to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// Opened for the first time.
    Opened,
    /// Opened again within the cooldown.
    Reopened,
    /// An anomaly joined.
    Joined,
    /// Its severity rose.
    Worsened,
    /// Its severity fell.
    Eased,
    /// An anomaly recovered.
    Recovered,
    /// A new normal was accepted.
    Accepted,
    /// Somebody looks at it.
    Acknowledged,
    /// The acknowledgement lapsed because it got worse.
    AckLapsed,
    /// Over.
    Resolved,
    /// Muted.
    Silenced,
    /// No longer muted.
    Unsilenced,
    /// Comes and goes.
    Flapping,
    /// An explanation arrived, or could not be had.
    Enriched,
    /// A delivery was made, or failed for good.
    Delivered,
    /// A person's remark.
    Noted,
}

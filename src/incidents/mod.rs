//! The single writer of incidents: commands in, transactions out.
//!
//! Everyone else speaks to it through [`Handle`]. Its queue holds [`QUEUE`] commands; when it is full the
//! sender waits, so that back-pressure runs up to the sources.

mod backlog;
pub mod fingerprint;
mod settings;
pub mod state;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use self::state::Rules;
use crate::model::{
    Analysis, Change, Correlation, Finding, Incident, IncidentId, Outcome, RunbookMatch, SeriesKey,
    Severity, Silence, SilenceId,
};
pub use settings::{CorrelationSettings, Settings};
pub use writer::{Writer, run};

/// How many commands may wait for the writer.
pub const QUEUE: usize = 64;

/// Decides which receivers are owed a message for a change of an incident; wired by `app` from the routing
/// table, so that this stage does not know the notifiers.
pub type Route = Arc<dyn Fn(&Incident, Change) -> Vec<String> + Send + Sync>;

/// What the writer is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// What detection found in one cycle, possibly nothing.
    Findings(Vec<Finding>),
    /// Somebody looks at an incident.
    Acknowledge {
        /// Which.
        id: IncidentId,
        /// Who.
        actor: String,
    },
    /// Somebody says that it is over.
    Resolve {
        /// Which.
        id: IncidentId,
        /// Who.
        actor: String,
        /// A remark for the timeline.
        note: Option<String>,
        /// Their judgement.
        outcome: Option<Outcome>,
    },
    /// Adds a silence.
    Silence(Silence),
    /// Ends a silence early.
    ExpireSilence {
        /// Which.
        id: SilenceId,
        /// Who.
        actor: String,
    },
    /// An explanation of a living incident arrived.
    Enrich {
        /// Which.
        id: IncidentId,
        /// What arrived.
        enrichment: Enrichment,
    },
    /// A test message to receivers, asked for by `check --send`.
    Test {
        /// Who asked.
        actor: String,
    },
    /// The settings were read again: these rules hold from now on.
    Reload(Rules),
}

/// Part of an explanation, or what could not be had.
#[derive(Debug, Clone, PartialEq)]
pub enum Enrichment {
    /// Related events and suspects.
    Correlation(Correlation),
    /// Matching runbooks.
    Runbooks(Vec<RunbookMatch>),
    /// The model's analysis.
    Analysis(Analysis),
    /// What could not be had, in words.
    Missing(String),
}

/// What the writer answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done; the incident as it is now, where the command was about one.
    Done(Option<Box<Incident>>),
    /// The silence as it is now.
    Silence(Box<Silence>),
    /// There is no such incident or silence.
    NotFound,
    /// Not possible in its present state: why, in words.
    Conflict(String),
    /// The store could not be written: in words.
    Unavailable(String),
}

/// A command and where its answer goes.
#[derive(Debug)]
pub struct Envelope {
    /// What to do.
    pub command: Command,
    /// Where the answer goes; nobody waits for that of findings.
    pub reply: Option<oneshot::Sender<Reply>>,
}

/// What others see of the writer's state without asking.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Whether the writer has loaded what the store kept; before that the rest says nothing.
    pub loaded: bool,
    /// The series that go on in open incidents, or in one that a person ended meanwhile: their baselines stay
    /// frozen.
    pub active: BTreeSet<SeriesKey>,
    /// Open incidents by severity, worst first.
    pub open: Vec<(IncidentId, Severity)>,
    /// Whether the store could be written the last time it was tried.
    pub store_writable: bool,
}

/// Speaks to the writer.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Envelope>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// The writer is gone: the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the incident writer has stopped")]
pub struct Stopped;

impl Handle {
    /// A handle on the given ends.
    pub fn new(commands: mpsc::Sender<Envelope>, snapshot: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { commands, snapshot }
    }

    /// Sends a command and waits for the answer.
    pub async fn ask(&self, command: Command) -> Result<Reply, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Envelope { command, reply: Some(reply) }).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Sends a command whose answer nobody needs; waits while the queue is full.
    pub async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(Envelope { command, reply: None }).await.map_err(|_| Stopped)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }
}

//! A notifier that sends nothing and keeps what it was asked to send, with the semantics of Slack or
//! `PagerDuty` where the dispatcher depends on them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sentinelops::model::{Change, IncidentId, Receipt, Severity, UtcTime};
use sentinelops::notify::{BoxFuture, Failure, Notifier, Outgoing, Reason, Retry};

/// One message that arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) at: UtcTime,
    pub(crate) incident: IncidentId,
    pub(crate) fingerprint: String,
    pub(crate) title: String,
    pub(crate) change: Change,
    pub(crate) severity: Severity,
    /// The incident's revision that the message showed.
    pub(crate) revision: i64,
    pub(crate) reopened: u32,
    pub(crate) key: String,
    /// The `ts` of the Slack message that it edited or answered; `None` if it began one.
    pub(crate) receipt: Option<String>,
}

/// How the next attempt goes; when none is planned, it succeeds.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    Fail(Failure),
    /// It arrives, but the answer is lost.
    FailAfter(Failure),
    Hang,
}

pub(crate) fn down() -> Failure {
    let detail = "connection refused".to_owned();
    Failure { reason: Reason::Unreachable, detail, retry: Retry::Later }
}

pub(crate) fn refused() -> Failure {
    Failure { reason: Reason::Refused, detail: "invalid_blocks".to_owned(), retry: Retry::Never }
}

pub(crate) fn throttled(seconds: u64) -> Failure {
    let retry = Retry::After(Duration::from_secs(seconds));
    Failure { reason: Reason::Throttled, detail: "too many requests".to_owned(), retry }
}

#[derive(Debug, Default)]
struct State {
    arrived: Vec<Arrived>,
    attempts: u32,
    planned: VecDeque<Plan>,
    always: Option<Plan>,
}

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Recorder {
    kind: &'static str,
    state: Mutex<State>,
}

impl Recorder {
    pub(crate) fn slack() -> Arc<Self> {
        Arc::new(Self { kind: "slack", state: Mutex::default() })
    }

    pub(crate) fn pagerduty() -> Arc<Self> {
        Arc::new(Self { kind: "pagerduty", state: Mutex::default() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next attempts go so.
    pub(crate) fn plan(&self, planned: impl IntoIterator<Item = Plan>) {
        self.state().planned.extend(planned);
    }

    /// All attempts that nothing else is planned for go so.
    pub(crate) fn always(&self, plan: Option<Plan>) {
        self.state().always = plan;
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.state().arrived.clone()
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.state().attempts
    }

    /// What arrived, as `incident change`.
    pub(crate) fn heard(&self) -> Vec<String> {
        let arrived = self.arrived();
        arrived.iter().map(|a| format!("{} {}", a.incident, a.change.as_str())).collect()
    }

    fn keep(&self, message: &Outgoing) -> Receipt {
        let mut state = self.state();
        let number = state.arrived.len() + 1;
        let begun = message.receipt.as_ref().map(|receipt| receipt.reference.clone());
        state.arrived.push(Arrived {
            at: message.now,
            incident: message.incident.id.clone(),
            fingerprint: message.incident.fingerprint.clone(),
            title: message.incident.title.clone(),
            change: message.change,
            severity: message.incident.severity,
            revision: message.incident.revision,
            reopened: message.incident.reopened,
            key: message.key.clone(),
            receipt: begun.clone(),
        });
        Receipt {
            destination: self.kind.to_owned(),
            reference: begun.unwrap_or_else(|| format!("{number}.000")),
            at: Some(message.now),
            ..Receipt::default()
        }
    }
}

impl Notifier for Recorder {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(async move {
            let plan = {
                let mut state = self.state();
                state.attempts += 1;
                state.planned.pop_front().or_else(|| state.always.clone())
            };
            match plan {
                None => Ok(self.keep(message)),
                Some(Plan::Fail(failure)) => Err(failure),
                Some(Plan::FailAfter(failure)) => {
                    self.keep(message);
                    Err(failure)
                }
                Some(Plan::Hang) => std::future::pending().await,
            }
        })
    }

    fn coalesces(&self) -> bool {
        self.kind == "slack"
    }
}

/// What `PagerDuty` was told of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Trigger,
    Acknowledge,
    Resolve,
}

/// Fails if a key's events are not `trigger⁺ acknowledge? resolve`, again for each time that the incident was
/// reopened. A repeated event changes nothing at `PagerDuty`, so repetitions are as one.
pub(crate) fn assert_pagerduty_sequence(key: &str, events: &[(Action, u32)]) {
    let mut last: Option<Action> = None;
    let mut reopened_then = 0;
    for (action, reopened) in events {
        match (last, action) {
            (None, Action::Trigger)
            | (Some(Action::Trigger | Action::Acknowledge), _)
            | (Some(Action::Resolve), Action::Resolve) => {}
            (Some(Action::Resolve), Action::Trigger) if *reopened > reopened_then => {}
            _ => panic!("PagerDuty key {key}: {action:?} after {last:?} in {events:?}"),
        }
        if *action == Action::Resolve {
            reopened_then = *reopened;
        }
        last = Some(*action);
    }
}

/// [`assert_pagerduty_sequence`] for everything that a recorder heard.
pub(crate) fn assert_pagerduty_heard(recorder: &Recorder) {
    let mut keys: BTreeMap<String, Vec<(Action, u32)>> = BTreeMap::new();
    for arrived in recorder.arrived() {
        let action = match arrived.change {
            Change::Opened | Change::Reopened | Change::Worsened => Action::Trigger,
            Change::Acknowledged => Action::Acknowledge,
            Change::Resolved => Action::Resolve,
            Change::Updated => continue,
        };
        keys.entry(arrived.fingerprint).or_default().push((action, arrived.reopened));
    }
    for (key, events) in keys {
        assert_pagerduty_sequence(&key, &events);
    }
}

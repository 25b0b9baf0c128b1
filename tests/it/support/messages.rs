//! The simulated outage as messages to send.

use sentinelops::model::{
    Change, Incident, IncidentKind, IncidentState, MemberState, Receipt, UtcTime,
};
use sentinelops::net::{Reach, Settings, client};
use sentinelops::notify::{Failure, Notifier, Outgoing};

pub(crate) fn at(text: &str) -> UtcTime {
    text.parse().unwrap()
}

/// Three services hit.
pub(crate) fn outage() -> Incident {
    serde_json::from_str(include_str!("../fixtures/outage.json")).unwrap()
}

/// A message that a person asked for.
pub(crate) fn test_incident() -> Incident {
    Incident { kind: IncidentKind::Test, members: Vec::new(), ..outage() }
}

/// The first attempt to send a change.
pub(crate) fn outgoing(incident: Incident, change: Change) -> Outgoing {
    Outgoing {
        key: Outgoing::key(&incident.id, change, incident.revision),
        incident,
        change,
        receipt: None,
        attempt: 1,
        now: at("2026-11-21T03:19:30Z"),
        base_url: Some("https://sentinelops.example.com".to_owned()),
    }
}

/// A client that gives up after a second, so that silence is a test and not a wait.
pub(crate) fn impatient(reach: Reach) -> reqwest::Client {
    client(&Settings { timeout_seconds: 1, ..Settings::default() }, reach).unwrap()
}

/// The life of one incident as one receiver is told it: the receipt goes from message to message.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) outgoing: Outgoing,
}

impl Life {
    pub(crate) fn of(incident: Incident) -> Self {
        Self { outgoing: outgoing(incident, Change::Opened) }
    }

    /// Sends once; keeps the receipt if there is one.
    pub(crate) async fn try_tell(
        &mut self,
        notifier: &dyn Notifier,
        change: Change,
    ) -> Result<Receipt, Failure> {
        let incident = &mut self.outgoing.incident;
        match change {
            Change::Acknowledged => {
                incident.state = IncidentState::Acknowledged;
                incident.acknowledged = Some(("ana".to_owned(), at("2026-11-21T03:18:30Z")));
            }
            Change::Resolved => {
                incident.state = IncidentState::Resolved;
                incident.resolved_at = Some(at("2026-11-21T03:19:00Z"));
                for member in &mut incident.members {
                    member.state = MemberState::Recovered;
                }
            }
            Change::Opened | Change::Reopened | Change::Worsened => {
                incident.state = IncidentState::Open;
                incident.acknowledged = None;
                incident.resolved_at = None;
            }
            Change::Updated => {}
        }
        incident.revision += 1;
        self.outgoing.change = change;
        self.outgoing.key = Outgoing::key(&incident.id, change, incident.revision);
        let answer = notifier.send(&self.outgoing).await;
        if let Ok(receipt) = &answer {
            self.outgoing.receipt = Some(receipt.clone());
        }
        answer
    }

    pub(crate) async fn tell(&mut self, notifier: &dyn Notifier, change: Change) -> Receipt {
        self.try_tell(notifier, change).await.unwrap()
    }
}

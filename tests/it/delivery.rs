//! From what is owed to what Slack and PagerDuty hold: routes, dispatcher and notifiers together, through the
//! failures of both services, in real time.

use std::sync::Arc;

use sentinelops::clock::SystemClock;
use sentinelops::model::{Change, Incident, IncidentState, Severity};
use sentinelops::net;
use sentinelops::notify::route::Router;
use sentinelops::notify::{self, Settings};
use sentinelops::telemetry::Metrics;
use serde_json::json;

use crate::support::messages::{at, outage, test_incident};
use crate::support::pagerduty::{Alert, FakePagerDuty, ROUTING_KEY};
use crate::support::remote::Hard;
use crate::support::rig::{Rig, memory_store};
use crate::support::slack::{FakeSlack, TOKEN};
use crate::support::time::eventually;

struct World {
    slack: FakeSlack,
    pagerduty: FakePagerDuty,
    router: Router,
    rig: Rig,
}

impl World {
    async fn start() -> Self {
        Self::with_routes(json!([])).await
    }

    async fn with_routes(routes: serde_json::Value) -> Self {
        let (slack, pagerduty) = (FakeSlack::start().await, FakePagerDuty::start().await);
        let settings: Settings = serde_json::from_value(json!({
            "base_url": "https://sentinelops.example.com",
            "slack": { "slack": {
                "token": TOKEN, "channel": "#alerts", "base_url": slack.url, "charts": false,
                "mentions": { "P1": "<!here>" },
            } },
            "pagerduty": { "pagerduty": {
                "routing_key": ROUTING_KEY, "base_url": pagerduty.url, "fallback": "slack",
            } },
            "routes": routes,
        }))
        .unwrap();
        assert!(settings.problems().is_empty(), "{:?}", settings.problems());
        let net = net::Settings { timeout_seconds: 1, ..net::Settings::default() };
        let receivers = notify::receivers(&settings, &net, &Metrics::new()).unwrap();
        let store = memory_store().await;
        let rig = Rig::at_clock(store.clone(), store, receivers, Arc::new(SystemClock));
        let router = Router::new(settings, vec![Severity::P1, Severity::P2]);
        Self { slack, pagerduty, router, rig }
    }

    /// Owes a change to whom the routes name, and waits until nothing is owed any more.
    async fn tell(&self, incident: &mut Incident, change: Change) {
        incident.revision += 1;
        let receivers = self.router.route(incident, change);
        let names: Vec<&str> = receivers.iter().map(String::as_str).collect();
        self.rig.owe(incident, change, &names).await;
        eventually(change.as_str(), || async { self.rig.store.outbox().await.unwrap().owed == 0 })
            .await;
    }
}

#[tokio::test]
async fn an_outage_reaches_both_through_their_failures() {
    let world = World::start().await;
    let mut incident = outage();
    world.slack.script.next("chat.postMessage", Hard::status(503));
    world.slack.script.next("chat.postMessage", Hard::throttled(1));
    world.pagerduty.script.next("enqueue", Hard::Lost);
    world.pagerduty.script.next("enqueue", Hard::status(500));
    world.tell(&mut incident, Change::Opened).await;

    world.slack.script.next("chat.update", Hard::code("internal_error"));
    world.tell(&mut incident, Change::Updated).await;
    incident.state = IncidentState::Acknowledged;
    incident.acknowledged = Some(("ana".to_owned(), at("2026-11-21T03:20:00Z")));
    world.tell(&mut incident, Change::Acknowledged).await;
    incident.state = IncidentState::Open;
    incident.acknowledged = None;
    incident.escalations = 1;
    world.tell(&mut incident, Change::Worsened).await;
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(at("2026-11-21T03:41:00Z"));
    world.tell(&mut incident, Change::Resolved).await;

    let key = &incident.fingerprint;
    let rung = [key.clone(), format!("{key}:2")];
    assert_eq!(world.pagerduty.rung(), rung, "one page, and one for the worsening");
    assert!(world.pagerduty.alerts().values().all(|alert| *alert == Alert::Resolved));
    assert!(world.pagerduty.refused().is_empty());
    let messages = world.slack.messages();
    let roots: Vec<_> = messages.iter().filter(|m| m["thread_ts"].is_null()).collect();
    assert_eq!(roots.len(), 1, "one living message");
    assert!(roots[0]["text"].as_str().unwrap().contains("Resolved (was P1 critical)"));
    let broadcasts = messages.iter().filter(|m| m["reply_broadcast"] == true).count();
    assert_eq!((messages.len(), broadcasts), (4, 1));
}

#[tokio::test]
async fn a_p1_that_pagerduty_refuses_goes_to_slack() {
    let world = World::with_routes(json!([{ "receivers": ["pagerduty"] }])).await;
    world.pagerduty.script.next("enqueue", Hard::status(400));
    let mut incident = outage();
    world.tell(&mut incident, Change::Opened).await;
    assert!(world.pagerduty.rung().is_empty());
    let messages = world.slack.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].to_string().contains("<!here>"), "{messages:?}");
    assert_eq!(world.rig.store.outbox().await.unwrap().dead, 1);
    // What PagerDuty takes is its own again; an end without a beginning is dropped there.
    incident.state = IncidentState::Resolved;
    world.tell(&mut incident, Change::Resolved).await;
    assert_eq!(world.pagerduty.actions(), [format!("resolve {}", incident.fingerprint)]);
}

#[tokio::test]
async fn a_test_reaches_everyone_and_ends() {
    let world = World::start().await;
    let mut test = Incident { severity: Severity::P4, worst: Severity::P4, ..test_incident() };
    world.tell(&mut test, Change::Opened).await;
    test.state = IncidentState::Resolved;
    test.resolved_at = Some(at("2026-11-21T03:41:00Z"));
    world.tell(&mut test, Change::Resolved).await;
    let messages = world.slack.messages();
    assert!(messages[0]["text"].as_str().unwrap().contains("TEST"), "{messages:?}");
    assert!(!messages[0].to_string().contains("<!here>"));
    let key = &test.fingerprint;
    assert_eq!(world.pagerduty.actions(), [format!("trigger {key}"), format!("resolve {key}")]);
}

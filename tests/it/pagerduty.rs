//! PagerDuty, against a stand-in that the vendor's own client holds to account, and a strict schema.

use std::time::Duration;

use sentinelops::model::{Change, Severity};
use sentinelops::net::Reach;
use sentinelops::notify::settings::PagerDuty as Settings;
use sentinelops::notify::{PagerDuty, Reason, Retry};
use sentinelops::secret::Secret;
use serde_json::{Value, json};

use crate::support::messages::{Life, impatient, outage, test_incident};
use crate::support::pagerduty::{Alert, FakePagerDuty, ROUTING_KEY};
use crate::support::python::judge;
use crate::support::remote::Hard;

fn pagerduty(fake: &FakePagerDuty) -> PagerDuty {
    let settings = Settings {
        routing_key: Secret::new(ROUTING_KEY),
        base_url: fake.url.clone(),
        ..Settings::default()
    };
    PagerDuty::new("pagerduty", settings, impatient(Reach::Anywhere))
}

fn in_schema(event: &Value) {
    let schema: Value =
        serde_json::from_str(include_str!("fixtures/pagerduty-event.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(event).map(|problem| problem.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?} in {event}");
}

#[tokio::test]
async fn the_vendors_client_finds_our_stand_in_alike() {
    let fake = FakePagerDuty::start().await;
    let said = judge("pagerduty_judge.py", &[&fake.url, ROUTING_KEY], "").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, json!({ "made": true, "refused": 6 }));
    assert_eq!(fake.alerts()["judge-1"], Alert::Resolved);
    assert_eq!(fake.refused().len(), 6);
}

#[test]
fn the_schema_refuses_what_the_service_refuses() {
    let schema: Value =
        serde_json::from_str(include_str!("fixtures/pagerduty-event.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let payload = json!({ "summary": "s", "source": "x", "severity": "info" });
    let good = json!({
        "routing_key": ROUTING_KEY, "event_action": "trigger", "dedup_key": "k",
        "payload": payload, "links": [{ "href": "https://example.com/", "text": "x" }],
    });
    assert!(validator.is_valid(&good));
    for (pointer, value) in [
        ("/routing_key", json!("short")),
        ("/event_action", json!("page")),
        ("/dedup_key", json!("k".repeat(256))),
        ("/payload", Value::Null),
        ("/payload/summary", json!("s".repeat(1_025))),
        ("/payload/summary", json!("")),
        ("/payload/source", json!(1)),
        ("/payload/severity", json!("P1")),
        ("/links/0/href", json!("/incidents/1")),
        ("/event_action", json!("resolve")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        assert!(!validator.is_valid(&bad), "{pointer} {value}");
    }
}

#[tokio::test]
async fn the_life_of_an_incident() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let key = outage().fingerprint;
    let second = format!("{key}:2");
    let mut life = Life::of(outage());
    life.tell(&pagerduty, Change::Opened).await;
    life.tell(&pagerduty, Change::Updated).await;
    life.tell(&pagerduty, Change::Worsened).await;
    assert_eq!(
        fake.rung(),
        std::slice::from_ref(&key),
        "one page, however often it worsens unacknowledged"
    );
    life.tell(&pagerduty, Change::Acknowledged).await;
    // PagerDuty would swallow a further trigger of an acknowledged alert.
    life.outgoing.incident.escalations = 1;
    life.tell(&pagerduty, Change::Worsened).await;
    assert_eq!(fake.rung(), [key.clone(), second.clone()]);
    life.tell(&pagerduty, Change::Resolved).await;
    assert!(fake.alerts().values().all(|alert| *alert == Alert::Resolved));
    life.tell(&pagerduty, Change::Updated).await;
    life.tell(&pagerduty, Change::Reopened).await;
    life.tell(&pagerduty, Change::Resolved).await;
    let named = |action: &str| action.replace(&key, "KEY");
    let actions: Vec<String> = fake.actions().iter().map(|action| named(action)).collect();
    assert_eq!(
        actions,
        [
            "trigger KEY",
            "trigger KEY",
            "acknowledge KEY",
            "trigger KEY:2",
            "resolve KEY",
            "resolve KEY:2",
            "trigger KEY:2",
            "resolve KEY",
            "resolve KEY:2",
        ]
    );
    assert!(fake.alerts().values().all(|alert| *alert == Alert::Resolved));
    fake.events().iter().for_each(in_schema);
    assert!(fake.refused().is_empty());
}

#[tokio::test]
async fn severities_and_tests_as_pagerduty_names_them() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    for severity in Severity::ALL {
        let mut incident = outage();
        incident.severity = severity;
        incident.fingerprint = severity.to_string();
        Life::of(incident).tell(&pagerduty, Change::Opened).await;
    }
    let mut test = Life::of(test_incident());
    test.tell(&pagerduty, Change::Opened).await;
    test.tell(&pagerduty, Change::Resolved).await;
    let events = fake.events();
    let severities: Vec<&str> =
        events.iter().filter_map(|event| event["payload"]["severity"].as_str()).collect();
    assert_eq!(severities, ["critical", "error", "warning", "info", "info"]);
    assert!(events[4]["payload"]["summary"].as_str().unwrap().starts_with("TEST"));
    assert_eq!(events[5]["event_action"], "resolve");
    events.iter().for_each(in_schema);
}

#[tokio::test]
async fn hostile_and_huge_incidents_are_taken() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let mut huge = outage();
    let member = huge.members[0].clone();
    for index in 0..5_000 {
        let mut more = member.clone();
        more.anomaly.series.service = format!("{index}\u{0}{}", "é".repeat(3_000)).into();
        more.anomaly.evidence.summary = "\u{1}🔥".repeat(9_000);
        huge.members.insert(0, more);
    }
    huge.fingerprint = "f".repeat(1_000);
    huge.missing = vec!["x".repeat(100_000); 100];
    let mut life = Life::of(huge);
    life.outgoing.base_url = Some("not a url".to_owned());
    life.tell(&pagerduty, Change::Opened).await;
    life.outgoing.incident.members.clear();
    life.tell(&pagerduty, Change::Worsened).await;
    life.tell(&pagerduty, Change::Resolved).await;
    assert!(fake.refused().is_empty(), "{:?}", fake.refused());
    fake.events().iter().for_each(in_schema);
}

#[tokio::test]
async fn refusals_have_their_class() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    for (hard, reason, retry) in [
        (Hard::status(400), Reason::Refused, Retry::Never),
        (Hard::status(403), Reason::Denied, Retry::Never),
        (Hard::status(429), Reason::Throttled, Retry::Later),
        (Hard::throttled(30), Reason::Throttled, Retry::After(Duration::from_secs(30))),
        (Hard::status(500), Reason::Unavailable, Retry::Later),
        (Hard::status(503), Reason::Unavailable, Retry::Later),
        (Hard::status(200), Reason::Malformed, Retry::Later),
        (Hard::Silence, Reason::Deadline, Retry::Later),
    ] {
        fake.script.next("enqueue", hard.clone());
        let failure = Life::of(outage()).try_tell(&pagerduty, Change::Opened).await.unwrap_err();
        assert_eq!((failure.reason, failure.retry), (reason, retry), "{hard:?}: {failure}");
        assert!(!failure.detail.contains(ROUTING_KEY), "{failure}");
    }
    assert!(fake.rung().is_empty());
}

#[tokio::test]
async fn a_lost_answer_and_a_half_told_end_are_told_again_without_a_second_page() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let mut life = Life::of(outage());
    fake.script.next("enqueue", Hard::Lost);
    life.try_tell(&pagerduty, Change::Opened).await.unwrap_err();
    life.tell(&pagerduty, Change::Opened).await;
    assert_eq!(fake.rung().len(), 1);
    life.tell(&pagerduty, Change::Acknowledged).await;
    life.outgoing.incident.escalations = 1;
    life.tell(&pagerduty, Change::Worsened).await;
    // The first key's end arrives, the second's does not.
    fake.script.next("enqueue", Hard::Pass);
    fake.script.next("enqueue", Hard::status(500));
    life.try_tell(&pagerduty, Change::Resolved).await.unwrap_err();
    let open = || fake.alerts().values().filter(|alert| **alert != Alert::Resolved).count();
    assert_eq!(open(), 1);
    life.tell(&pagerduty, Change::Resolved).await;
    assert_eq!(fake.rung().len(), 2);
    assert!(fake.alerts().values().all(|alert| *alert == Alert::Resolved));
}

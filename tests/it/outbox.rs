//! What is owed is delivered: in order, the worst first, without one receiver delaying another, at least once,
//! whatever the store and the receivers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sentinelops::incidents::Command;
use sentinelops::lifecycle::Ending;
use sentinelops::model::{
    Change, DeliveryState, Finding, Incident, IncidentKind, IncidentState, Severity,
};
use sentinelops::notify::dispatcher::{Pace, Receiver};
use sentinelops::store::{self, Emergency, Faults, IncidentFilter, Store};

use crate::support::incidents::{anomaly, at, incident, owed};
use crate::support::recorder::{Plan, Recorder, down, refused, throttled};
use crate::support::rig::{Rig, backed, memory_store, named, receiver};
use crate::support::time::HeldTime;

const MINUTE: Duration = Duration::from_mins(1);

fn p(severity: Severity, id: &str) -> Incident {
    incident(id, "payment-service", severity, at(0))
}

/// The incident after one more change.
fn next(incident: &Incident, change: impl FnOnce(&mut Incident)) -> Incident {
    let mut incident = Incident { revision: incident.revision + 1, ..incident.clone() };
    change(&mut incident);
    incident
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_once_and_its_receipt_kept() {
    let _time = HeldTime::hold();
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", receiver(slack.clone())), ("pagerduty", receiver(pagerduty.clone()))]);
    let rig = Rig::start(receivers).await;
    let opened = p(Severity::P1, "INC-1");
    rig.owe(&opened, Change::Opened, &["slack", "pagerduty"]).await;
    rig.quiet(MINUTE).await;
    let resolved = next(&opened, |incident| incident.state = IncidentState::Resolved);
    rig.owe(&resolved, Change::Resolved, &["slack", "pagerduty"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(slack.heard(), ["INC-1 opened", "INC-1 resolved"]);
    assert_eq!(pagerduty.heard(), ["INC-1 opened", "INC-1 resolved"]);
    assert_eq!(slack.arrived()[1].receipt.as_deref(), Some("1.000"));
    let kept = rig.store.receipt(&opened.id, "slack").await.unwrap().unwrap();
    assert_eq!(kept.reference, "1.000");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_nobody_else() {
    let _time = HeldTime::hold();
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    slack.always(Some(Plan::Hang));
    let receivers =
        named([("slack", receiver(slack.clone())), ("pagerduty", receiver(pagerduty.clone()))]);
    let rig = Rig::start(receivers).await;
    for number in 0..20 {
        let opened = p(Severity::P1, &format!("INC-{number}"));
        rig.owe(&opened, Change::Opened, &["slack", "pagerduty"]).await;
    }
    // Without moving time at all.
    rig.until("PagerDuty has all", || pagerduty.arrived().len() == 20).await;
    assert_eq!(slack.attempts(), 1, "one at a time");
    rig.pass(MINUTE).await;
    slack.always(None);
    rig.quiet(Duration::from_mins(5)).await;
    assert_eq!(slack.arrived().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn p1_goes_before_everything_else() {
    let _time = HeldTime::hold();
    let slack = Recorder::slack();
    let pace = Pace::of("slack");
    let receivers = named([("slack", Receiver { pace, ..receiver(slack.clone()) })]);
    let rig = Rig::start(receivers).await;
    for number in 0..30 {
        let opened = p(Severity::P3, &format!("INC-{number}"));
        rig.owe(&opened, Change::Opened, &["slack"]).await;
    }
    rig.until("the burst is spent", || slack.arrived().len() == 3).await;
    rig.owe(&p(Severity::P1, "INC-P1"), Change::Opened, &["slack"]).await;
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(slack.arrived().last().unwrap().incident.0, "INC-P1");
    rig.quiet(MINUTE).await;
    let arrived = slack.arrived();
    assert_eq!(arrived.len(), 31);
    for (index, message) in arrived.iter().enumerate().skip(3) {
        let gap = message.at - arrived[index - 1].at;
        assert!(gap >= chrono::Duration::seconds(1), "{index} came {gap} after the one before");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_by_retry_after_is_granted_to_the_whole_receiver() {
    let _time = HeldTime::hold();
    let slack = Recorder::slack();
    let rig = Rig::start(named([("slack", receiver(slack.clone()))])).await;
    slack.plan([Plan::Fail(throttled(30))]);
    rig.owe(&p(Severity::P2, "INC-1"), Change::Opened, &["slack"]).await;
    rig.until("the first was tried", || slack.attempts() == 1).await;
    rig.owe(&p(Severity::P1, "INC-2"), Change::Opened, &["slack"]).await;
    rig.pass(Duration::from_secs(29)).await;
    assert_eq!(slack.attempts(), 1, "nothing while Slack asked for rest");
    rig.quiet(MINUTE).await;
    assert_eq!(slack.heard(), ["INC-2 opened", "INC-1 opened"]);
    assert!(slack.arrived()[0].at >= at(30));
}

#[tokio::test(start_paused = true)]
async fn messages_about_one_incident_keep_their_order_though_the_first_fails() {
    let _time = HeldTime::hold();
    let pagerduty = Recorder::pagerduty();
    let rig = Rig::start(named([("pagerduty", receiver(pagerduty.clone()))])).await;
    pagerduty.plan([Plan::Fail(down()), Plan::Fail(down()), Plan::FailAfter(down())]);
    let opened = p(Severity::P2, "INC-1");
    rig.owe(&opened, Change::Opened, &["pagerduty"]).await;
    let worse = next(&opened, |incident| incident.severity = Severity::P1);
    rig.owe(&worse, Change::Worsened, &["pagerduty"]).await;
    let over = next(&worse, |incident| incident.state = IncidentState::Resolved);
    rig.owe(&over, Change::Resolved, &["pagerduty"]).await;
    rig.quiet(Duration::from_mins(5)).await;
    let heard = pagerduty.heard();
    let expected = ["INC-1 opened", "INC-1 opened", "INC-1 worsened", "INC-1 resolved"];
    assert_eq!(heard, expected, "the lost answer costs one repetition");
    let keys: Vec<String> = pagerduty.arrived().into_iter().map(|a| a.key).collect();
    assert_eq!(keys[0], keys[1], "with the same key");
}

#[tokio::test(start_paused = true)]
async fn what_a_message_shows_already_is_not_sent_again() {
    let _time = HeldTime::hold();
    let slack = Recorder::slack();
    let rig = Rig::start(named([("slack", receiver(slack.clone()))])).await;
    slack.plan([Plan::Fail(down())]);
    let opened = p(Severity::P2, "INC-1");
    rig.owe(&opened, Change::Opened, &["slack"]).await;
    rig.until("it was tried", || slack.attempts() == 1).await;
    let worse = next(&opened, |incident| incident.severity = Severity::P1);
    rig.owe(&worse, Change::Worsened, &["slack"]).await;
    let grown = next(&worse, |_| {});
    rig.owe(&grown, Change::Updated, &["slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(slack.heard(), ["INC-1 opened"]);
    assert_eq!(slack.arrived()[0].revision, 3, "the newest incident is shown");
    // An edit tells nobody: what pages is not covered by it.
    let ended = next(&grown, |_| {});
    rig.owe(&ended, Change::Updated, &["slack"]).await;
    rig.quiet(MINUTE).await;
    let again = next(&ended, |_| {});
    rig.owe(&again, Change::Worsened, &["slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(slack.heard(), ["INC-1 opened", "INC-1 updated", "INC-1 worsened"]);
}

#[tokio::test(start_paused = true)]
async fn a_p1_that_keeps_failing_goes_to_the_fallback_once() {
    let _time = HeldTime::hold();
    let (slack, spare) = (Recorder::slack(), Recorder::pagerduty());
    slack.always(Some(Plan::Fail(down())));
    let receivers =
        named([("slack", backed(slack.clone(), "spare")), ("spare", receiver(spare.clone()))]);
    let rig = Rig::start(receivers).await;
    let (first, second) = (p(Severity::P1, "INC-1"), p(Severity::P2, "INC-2"));
    rig.owe(&first, Change::Opened, &["slack"]).await;
    rig.owe(&second, Change::Opened, &["slack"]).await;
    rig.pass_until("the spare has it", MINUTE, || !spare.arrived().is_empty()).await;
    rig.pass(Duration::from_mins(3)).await;
    assert_eq!(spare.heard(), ["INC-1 opened"], "once, and the P2 not at all");
    assert_eq!(rig.endings(&first).await["slack"], [DeliveryState::Owed], "Slack is still tried");
    slack.always(None);
    rig.quiet(Duration::from_mins(5)).await;
    assert_eq!(slack.arrived().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_was_told_of_an_incident_hears_of_its_end() {
    let _time = HeldTime::hold();
    let (slack, spare) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", backed(slack.clone(), "spare")), ("spare", receiver(spare.clone()))]);
    let rig = Rig::start(receivers).await;
    slack.plan([Plan::Fail(refused())]);
    let opened = p(Severity::P1, "INC-1");
    rig.owe(&opened, Change::Opened, &["slack"]).await;
    rig.quiet(MINUTE).await;
    let over = next(&opened, |incident| incident.state = IncidentState::Resolved);
    rig.owe(&over, Change::Resolved, &["slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(spare.heard(), ["INC-1 opened", "INC-1 resolved"]);
}

#[tokio::test(start_paused = true)]
async fn a_p1_behind_a_receiver_that_hangs_goes_to_the_fallback_in_time() {
    let _time = HeldTime::hold();
    let (slack, spare) = (Recorder::slack(), Recorder::pagerduty());
    slack.always(Some(Plan::Hang));
    let receivers =
        named([("slack", backed(slack.clone(), "spare")), ("spare", receiver(spare.clone()))]);
    let rig = Rig::start(receivers).await;
    for number in 0..10 {
        rig.owe(&p(Severity::P1, &format!("INC-{number}")), Change::Opened, &["slack"]).await;
    }
    let all = || spare.arrived().len() == 10;
    rig.pass_until("the spare has all", Duration::from_secs(100), all).await;
    rig.pass(Duration::from_mins(3)).await;
    assert_eq!(spare.arrived().len(), 10, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_p1_waits_for_no_long_pause() {
    let _time = HeldTime::hold();
    let (slack, spare) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", backed(slack.clone(), "spare")), ("spare", receiver(spare.clone()))]);
    let rig = Rig::start(receivers).await;
    slack.plan([Plan::Fail(throttled(3_600))]);
    rig.owe(&p(Severity::P3, "INC-1"), Change::Opened, &["slack"]).await;
    rig.until("it was tried", || slack.attempts() == 1).await;
    rig.owe(&p(Severity::P1, "INC-2"), Change::Opened, &["slack"]).await;
    rig.until("the spare has it", || spare.heard() == ["INC-2 opened"]).await;
    assert_eq!(slack.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_given_up_visibly() {
    let _time = HeldTime::hold();
    let (slack, spare) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", backed(slack.clone(), "spare")), ("spare", receiver(spare.clone()))]);
    let rig = Rig::start(receivers).await;
    slack.plan([Plan::Fail(refused()), Plan::Fail(refused())]);
    let (first, second) = (p(Severity::P1, "INC-1"), p(Severity::P3, "INC-2"));
    rig.owe(&first, Change::Opened, &["slack"]).await;
    rig.owe(&second, Change::Opened, &["slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(rig.endings(&first).await["slack"], [DeliveryState::Dead]);
    assert_eq!(rig.endings(&first).await["spare"], [DeliveryState::Delivered]);
    assert_eq!(rig.endings(&second).await["slack"], [DeliveryState::Dead]);
    assert_eq!(spare.heard(), ["INC-1 opened"]);
    let dead = rig.store.deliveries(&first.id).await.unwrap().remove(0);
    assert_eq!(dead.last_error.as_deref(), Some("invalid_blocks"));
    rig.pass(Duration::from_secs(6)).await;
    let metrics = rig.metrics.render();
    assert!(metrics.contains("sentinelops_outbox_dead 2"), "{metrics}");
    let attempts = "delivery_attempts_total{receiver=\"slack\",outcome=\"refused\"} 2";
    assert!(metrics.contains(attempts), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_to_a_receiver_that_is_gone_is_given_up_visibly() {
    let _time = HeldTime::hold();
    let slack = Recorder::slack();
    let rig = Rig::start(named([("slack", receiver(slack.clone()))])).await;
    let opened = p(Severity::P2, "INC-1");
    rig.owe(&opened, Change::Opened, &["gone", "slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(rig.endings(&opened).await["gone"], [DeliveryState::Dead]);
    let renamed = named([("chat", receiver(slack.clone()))]);
    rig.receivers.send_replace(Arc::new(renamed));
    let worse = next(&opened, |_| {});
    rig.owe(&worse, Change::Worsened, &["chat", "slack"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(rig.endings(&opened).await["chat"], [DeliveryState::Delivered]);
    let slack = &rig.endings(&opened).await["slack"];
    assert_eq!(slack, &[DeliveryState::Delivered, DeliveryState::Dead]);
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_process_that_was_killed_hold_nothing_up() {
    let _time = HeldTime::hold();
    let slack = Recorder::slack();
    slack.always(Some(Plan::Hang));
    let receivers = || named([("slack", receiver(slack.clone()))]);
    let rig = Rig::start(receivers()).await;
    rig.owe(&p(Severity::P1, "INC-1"), Change::Opened, &["slack"]).await;
    rig.until("it is under way", || slack.attempts() == 1).await;
    let (ending, took) = rig.stop().await;
    assert_eq!(ending, Ending::Clean);
    assert!(took < Duration::from_secs(1), "{took:?}");
    slack.always(None);
    let next = Rig::at_clock(rig.store.clone(), rig.store.clone(), receivers(), rig.clock.clone());
    next.until("it was sent", || slack.heard() == ["INC-1 opened"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_dispatcher_stops_at_once() {
    let _time = HeldTime::hold();
    let rig = Rig::start(named([("slack", receiver(Recorder::slack()))])).await;
    rig.pass(Duration::from_secs(20)).await;
    let (ending, took) = rig.stop().await;
    assert_eq!(ending, Ending::Clean);
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_emergency_goes_out_from_memory_and_is_settled_later() {
    let _time = HeldTime::hold();
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", receiver(slack.clone())), ("pagerduty", receiver(pagerduty.clone()))]);
    let rig = Rig::start(receivers).await;
    pagerduty.plan([Plan::Fail(down())]);
    let opened = p(Severity::P1, "INC-1");
    let messages = ["slack", "pagerduty"].map(|name| owed(&opened, name, Change::Opened, at(0)));
    let urgent = Emergency { incident: opened.clone(), owed: messages.to_vec() };
    rig.emergency.send(urgent.clone()).await.unwrap();
    rig.emergency.send(urgent).await.unwrap();
    rig.pass_until("both have it", MINUTE, || {
        slack.arrived().len() == 1 && pagerduty.arrived().len() == 1
    })
    .await;
    // The store can be written again; the writer commits what it could not commit then.
    let changes = store::Changes {
        incidents: vec![opened.clone()],
        owed: messages.to_vec(),
        ..Default::default()
    };
    rig.store.commit(&changes).await.unwrap();
    rig.quiet(MINUTE).await;
    let over = next(&opened, |incident| incident.state = IncidentState::Resolved);
    rig.owe(&over, Change::Resolved, &["slack", "pagerduty"]).await;
    rig.quiet(MINUTE).await;
    assert_eq!(slack.heard(), ["INC-1 opened", "INC-1 resolved"]);
    assert_eq!(pagerduty.heard(), ["INC-1 opened", "INC-1 resolved"]);
    assert_eq!(slack.arrived()[1].receipt.as_deref(), Some("1.000"), "it edits the first message");
    assert_eq!(rig.endings(&opened).await["slack"], [DeliveryState::Delivered; 2]);
}

/// A store that can be read but not written, as on a full disk.
#[derive(Debug, Default)]
struct DiskFull(AtomicBool);

impl Faults for DiskFull {
    fn before(&self, verb: &'static str) -> store::Result<()> {
        let writes = ["commit", "lease", "settle", "release", "remember"].contains(&verb);
        if writes && self.0.load(Ordering::SeqCst) {
            return Err(sqlx::Error::Io(std::io::Error::other("no space left on device")).into());
        }
        Ok(())
    }

    fn after(&self, _verb: &'static str) -> store::Result<()> {
        Ok(())
    }
}

fn fired(service: &str, severity: Severity, second: i64) -> Finding {
    Finding::Fired(Box::new(anomaly(service, "error_rate", severity, at(second))))
}

async fn all(store: &Store) -> Vec<Incident> {
    let filter = IncidentFilter { limit: 1_000, ..IncidentFilter::default() };
    store.incidents(&filter).await.unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_no_page_back() {
    let _time = HeldTime::hold();
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    let receivers =
        named([("slack", receiver(slack.clone())), ("pagerduty", receiver(pagerduty.clone()))]);
    let full = Arc::new(DiskFull::default());
    let sound = memory_store().await;
    let unsound = sound.clone().with_faults(full.clone());
    let rig = Rig::on(sound, unsound.clone(), receivers);
    let handle = rig.write(unsound);
    // One that was owed before the disk was full, and one that opens after it.
    slack.always(Some(Plan::Fail(down())));
    rig.ask(&handle, Command::Findings(vec![fired("a", Severity::P1, -60)])).await;
    rig.until("PagerDuty has the first", || pagerduty.arrived().len() == 1).await;
    full.0.store(true, Ordering::SeqCst);
    slack.always(None);
    rig.pass(Duration::from_mins(15)).await;
    rig.ask(&handle, Command::Findings(vec![fired("b", Severity::P1, 840)])).await;
    let soon = || {
        let about = |service: &str| {
            let fingerprint_is = |message: &crate::support::recorder::Arrived| {
                message.title.starts_with(service) && message.change == Change::Opened
            };
            slack.arrived().iter().any(fingerprint_is)
        };
        about("a:") && about("b:")
    };
    rig.pass_until("both pages are out", Duration::from_secs(10), soon).await;
    let about_us = |message: &crate::support::recorder::Arrived| message.title.contains("store");
    rig.pass_until("it says that its store fails", Duration::from_mins(1), || {
        pagerduty.arrived().iter().any(about_us)
    })
    .await;
    full.0.store(false, Ordering::SeqCst);
    rig.pass(Duration::from_mins(1)).await;
    rig.quiet(Duration::from_mins(1)).await;
    let incidents = all(&rig.store).await;
    assert_eq!(incidents.len(), 3, "{incidents:?}");
    for incident in &incidents {
        for recorder in [&slack, &pagerduty] {
            let mut openings = recorder.arrived();
            openings.retain(|m| m.incident == incident.id && m.change == Change::Opened);
            assert_eq!(openings.len(), 1, "{} once: {openings:?}", incident.title);
        }
        let is_ours = matches!(incident.kind, IncidentKind::Store { .. });
        assert_eq!(incident.is_open(), !is_ours, "the store is well again: {incident:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_one_message_and_p1_goes_first() {
    let _time = HeldTime::hold();
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    let paced = |recorder: &Arc<Recorder>, kind: &str| Receiver {
        pace: Pace::of(kind),
        ..receiver(recorder.clone())
    };
    let receivers =
        named([("slack", paced(&slack, "slack")), ("pagerduty", paced(&pagerduty, "pagerduty"))]);
    let rig = Rig::start(receivers).await;
    let handle = rig.write(rig.store.clone());
    for batch in 0..10_i64 {
        // Each in a window of its own, so that none joins another.
        let findings = (0..50).map(|number| {
            let severity = if number == 49 { Severity::P1 } else { Severity::P3 };
            fired(&format!("svc-{batch}-{number}"), severity, -(batch * 50 + number) * 2_400)
        });
        rig.ask(&handle, Command::Findings(findings.collect())).await;
        rig.pass(Duration::from_secs(6)).await;
    }
    rig.quiet(Duration::from_mins(2)).await;
    let incidents = all(&rig.store).await;
    let is_storm = |incident: &&Incident| matches!(incident.kind, IncidentKind::Storm { .. });
    let storms: Vec<&Incident> = incidents.iter().filter(is_storm).collect();
    let [storm] = storms[..] else { panic!("{} storms", storms.len()) };
    let IncidentKind::Storm { incidents: listed } = &storm.kind else { unreachable!() };
    assert!(listed.len() >= 480, "{} of 500 are listed", listed.len());
    assert_eq!(storm.severity, Severity::P1);
    for recorder in [&slack, &pagerduty] {
        let mut openings = recorder.arrived();
        openings.retain(|message| message.change == Change::Opened);
        assert!(openings.len() <= 11, "{} openings announced", openings.len());
        let first = openings.iter().find(|message| message.incident == storm.id).unwrap();
        assert!(first.at <= at(10), "the storm was announced at {}", first.at);
    }
}

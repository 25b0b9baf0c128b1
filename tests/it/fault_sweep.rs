//! Fail the n-th call, for every n: an outage is opened, grows, worsens, is acknowledged, worsens again and
//! ends, while one call to the store or to a receiver fails, before or after it was carried out; then a few in a
//! row. Whatever fails: nothing is lost, nothing is stuck, and each receiver hears it in order.

use std::sync::Arc;
use std::time::Duration;

use sentinelops::model::{Change, DeliveryState, Incident, IncidentState, Severity};
use sentinelops::store::{Changes, Emergency};

use crate::support::faulty::{Faults, Faulty};
use crate::support::incidents::{at, incident, owed};
use crate::support::recorder::{Recorder, assert_pagerduty_heard};
use crate::support::rig::{Rig, memory_store, named, receiver};
use crate::support::time::HeldTime;

const BOTH: &[&str] = &["slack", "pagerduty"];
const SLACK: &[&str] = &["slack"];

/// What happens to the incident, and who is told.
fn story() -> Vec<(Incident, Change, &'static [&'static str])> {
    let opened = incident("INC-1", "payment-service", Severity::P2, at(0));
    let mut now = opened.clone();
    let mut story = vec![(opened, Change::Opened, BOTH)];
    let mut then = |change, receivers, alter: fn(&mut Incident)| {
        now.revision += 1;
        alter(&mut now);
        story.push((now.clone(), change, receivers));
    };
    then(Change::Updated, SLACK, |_| {});
    then(Change::Worsened, BOTH, |incident| incident.severity = Severity::P1);
    then(Change::Acknowledged, BOTH, |incident| incident.state = IncidentState::Acknowledged);
    then(Change::Worsened, BOTH, |incident| {
        incident.state = IncidentState::Open;
        incident.escalations = 1;
    });
    then(Change::Resolved, BOTH, |incident| incident.state = IncidentState::Resolved);
    story
}

/// Commits as the writer does: until it works, and what is urgent goes to the dispatcher meanwhile.
async fn commit(rig: &Rig, store: &sentinelops::store::Store, step: &(Incident, Change, &[&str])) {
    let (incident, change, receivers) = step;
    let now = rig.now();
    let owed: Vec<_> = receivers.iter().map(|name| owed(incident, name, *change, now)).collect();
    let incidents = vec![incident.clone()];
    let changes = Changes { incidents, owed: owed.clone(), ..Changes::default() };
    let mut told = false;
    while store.commit(&changes).await.is_err() {
        if !told && incident.severity >= Severity::P2 {
            told = true;
            let urgent = Emergency { incident: incident.clone(), owed: owed.clone() };
            rig.emergency.send(urgent).await.unwrap();
        }
        rig.pass(Duration::from_millis(500)).await;
    }
}

/// One run of the story; answers whether a fault fired. `hasty` does not wait between the steps.
async fn run(faults: Arc<Faults>, hasty: bool) -> bool {
    let (slack, pagerduty) = (Recorder::slack(), Recorder::pagerduty());
    let faulty = |inner: &Arc<Recorder>| {
        receiver(Arc::new(Faulty { inner: inner.clone(), faults: faults.clone() }))
    };
    let receivers = named([("slack", faulty(&slack)), ("pagerduty", faulty(&pagerduty))]);
    let sound = memory_store().await;
    let unsound = sound.clone().with_faults(faults.clone());
    let rig = Rig::on(sound, unsound.clone(), receivers);
    let story = story();
    for step in &story {
        commit(&rig, &unsound, step).await;
        if !hasty {
            rig.quiet(Duration::from_mins(5)).await;
        }
    }
    rig.quiet(Duration::from_mins(20)).await;
    for (receiver, endings) in rig.endings(&story[0].0).await {
        let fine = |state| matches!(state, &DeliveryState::Delivered | &DeliveryState::Superseded);
        assert!(endings.iter().all(fine), "{receiver}: {endings:?}");
    }
    assert_pagerduty_heard(&pagerduty);
    let last = |recorder: &Recorder| recorder.arrived().last().unwrap().clone();
    let end = i64::try_from(story.len()).unwrap();
    assert_eq!(last(&slack).revision, end, "Slack shows the end");
    assert_eq!(last(&pagerduty).change, Change::Resolved);
    // An acknowledgement that a later page went ahead of is not sent: it would undo that page.
    let told = [Change::Opened, Change::Worsened, Change::Acknowledged];
    for change in &told[..if faults.length() == 1 { 3 } else { 2 }] {
        let heard = pagerduty.arrived().iter().any(|arrived| arrived.change == *change);
        assert!(heard, "PagerDuty never heard {change:?}");
    }
    let begun = slack.arrived().iter().filter(|arrived| arrived.receipt.is_none()).count();
    if faults.length() == 1 {
        assert!(pagerduty.arrived().len() <= 5 + 1, "one fault repeats at most one event");
        assert!(begun <= 2, "one fault repeats at most one message");
    }
    rig.stop().await;
    faults.fired()
}

/// Runs the story once for every call that can fail; `length` calls in a row do.
async fn sweep(length: usize, hasty: bool) {
    let mut first = 0;
    while run(Faults::nth(first, length), hasty).await {
        first += 1;
    }
    assert!(first > 50, "only {first} calls were made to fail");
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_nothing_is_lost() {
    let _time = HeldTime::hold();
    sweep(1, false).await;
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_nothing_is_lost_in_haste() {
    let _time = HeldTime::hold();
    sweep(1, true).await;
}

#[tokio::test(start_paused = true)]
async fn whichever_calls_fail_in_a_row_nothing_is_lost() {
    let _time = HeldTime::hold();
    sweep(5, true).await;
}

//! Fail the n-th call, for every n: an outage is opened, grows, worsens, is acknowledged, worsens again and
//! ends, while one call to the store or to a receiver fails, before or after it was carried out; then a few in a
//! row. Whatever fails: nothing is lost, nothing is stuck, and each receiver hears it in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sentinelops::incidents::Command;
use sentinelops::model::{
    Change, DeliveryState, Finding, Incident, IncidentKind, IncidentState, Severity,
};
use sentinelops::store::{IncidentFilter, Store};

use crate::support::faulty::{Faults, Faulty};
use crate::support::incidents::{anomaly, at};
use crate::support::recorder::{Recorder, assert_pagerduty_heard};
use crate::support::rig::{Rig, memory_store, named, receiver};
use crate::support::time::HeldTime;

const SERVICES: [&str; 2] = ["payment-service", "order-service"];

fn fired(service: &str, severity: Severity) -> Finding {
    Finding::Fired(Box::new(anomaly(service, "error_rate", severity, at(-60))))
}

async fn all(store: &Store) -> Vec<Incident> {
    let filter = IncidentFilter { limit: 100, ..IncidentFilter::default() };
    store.incidents(&filter).await.unwrap().1
}

/// Opens, grows, is acknowledged, worsens, ends. The writer forgets nothing while the store fails, so that
/// nobody asks twice.
async fn tell(rig: &Rig, writes: Store, hasty: bool) {
    let handle = rig.write(writes);
    let [payment, order] = SERVICES;
    let findings = [
        vec![fired(payment, Severity::P2)],
        vec![fired(payment, Severity::P2), fired(order, Severity::P3)],
        vec![fired(payment, Severity::P1), fired(order, Severity::P3)],
    ];
    for (step, findings) in findings.into_iter().enumerate() {
        if step == 2 {
            let id = handle.snapshot().open.first().unwrap().0.clone();
            rig.ask(&handle, Command::Acknowledge { id, actor: "ann".to_owned() }).await;
            settle(rig, hasty).await;
        }
        rig.ask(&handle, Command::Findings(findings)).await;
        settle(rig, hasty).await;
    }
    let since = rig.now();
    let recovered = SERVICES.map(|service| Finding::Recovered {
        series: anomaly(service, "error_rate", Severity::P1, at(0)).series,
        since,
    });
    rig.ask(&handle, Command::Findings(recovered.to_vec())).await;
    for _ in 0..240 {
        let incidents = all(&rig.store).await;
        let over = !incidents.is_empty() && incidents.iter().all(|incident| !incident.is_open());
        if over && rig.store.outbox().await.unwrap().owed == 0 {
            return;
        }
        rig.pass(Duration::from_secs(1)).await;
    }
    panic!("stuck: {:?} {:?}", rig.store.due().await, all(&rig.store).await);
}

async fn settle(rig: &Rig, hasty: bool) {
    if !hasty {
        rig.pass(Duration::from_millis(250)).await;
        rig.quiet(Duration::from_mins(5)).await;
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
    tell(&rig, unsound, hasty).await;
    let incidents = all(&rig.store).await;
    let outages: Vec<&Incident> =
        incidents.iter().filter(|incident| incident.kind == IncidentKind::Anomaly).collect();
    let [outage] = outages[..] else { panic!("one outage is one incident: {incidents:?}") };
    assert_eq!(outage.state, IncidentState::Resolved);
    for incident in &incidents {
        for (receiver, endings) in rig.endings(incident).await {
            let fine =
                |state| matches!(state, &DeliveryState::Delivered | &DeliveryState::Superseded);
            assert!(endings.iter().all(fine), "{receiver}: {endings:?}");
        }
    }
    assert_pagerduty_heard(&pagerduty);
    check_heard(&rig, outage, &slack, &pagerduty, faults.length()).await;
    rig.stop().await;
    faults.fired()
}

async fn check_heard(
    rig: &Rig,
    outage: &Incident,
    slack: &Recorder,
    pagerduty: &Recorder,
    faults: usize,
) {
    let of_outage = |recorder: &Recorder| {
        let mut arrived = recorder.arrived();
        arrived.retain(|arrived| arrived.incident == outage.id);
        arrived
    };
    let (slack, pagerduty) = (of_outage(slack), of_outage(pagerduty));
    let deliveries = rig.store.deliveries(&outage.id).await.unwrap();
    let end = deliveries.iter().find(|delivery| delivery.change == Change::Resolved).unwrap();
    assert!(slack.last().unwrap().revision >= end.revision, "Slack shows the end: {slack:?}");
    assert_eq!(pagerduty.last().unwrap().change, Change::Resolved);
    // An acknowledgement that a later page went ahead of is not sent: it would undo that page.
    let told = [Change::Opened, Change::Worsened, Change::Acknowledged];
    for change in &told[..if faults == 1 { 3 } else { 2 }] {
        let heard = pagerduty.iter().any(|arrived| arrived.change == *change);
        assert!(heard, "PagerDuty never heard {change:?}");
    }
    if faults == 1 {
        let keys: BTreeSet<&String> = slack.iter().map(|arrived| &arrived.key).collect();
        let begun = slack.iter().filter(|arrived| arrived.receipt.is_none()).count();
        assert!(slack.len() <= keys.len() + 1 && begun <= 2, "one fault repeats one: {slack:?}");
    }
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

//! The store suite: the same tests on `SQLite` and on a real `PostgreSQL`. Long because it is one list of
//! short tests, one a rule of the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Duration;
use sentinelops::model::{
    Change, Delivery, DeliveryState, IncidentId, IncidentState, Receipt, Recurrence, Severity,
    Silence, SilenceId,
};
use sentinelops::store::{
    Attempt, Changes, Error, Faults, IncidentFilter, Memory, Settings, Store, Trouble,
};

use crate::support::incidents::{at, incident, owed};
use crate::support::postgres::Database;

/// A database that any number of stores can open.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
}

impl Place {
    fn settings(&self) -> Settings {
        let url = match self {
            Self::Sqlite(folder) => format!("sqlite:{}/store.db", folder.path().display()),
            Self::Postgres(database) => database.url.clone(),
        };
        Settings { url, ..Settings::default() }
    }

    async fn open(&self) -> Store {
        Store::open(&self.settings()).await.unwrap()
    }
}

macro_rules! on_both_databases {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            use super::Place;
            $(#[tokio::test]
            async fn $test() {
                super::$test(&Place::Sqlite(tempfile::tempdir().unwrap())).await;
            })*
        }
        mod postgres {
            use super::{Database, Place};
            $(#[tokio::test]
            async fn $test() {
                let place = Place::Postgres(Database::create().await);
                super::$test(&place).await;
                let Place::Postgres(database) = place else { unreachable!() };
                database.drop().await;
            })*
        }
    };
}

on_both_databases!(
    an_incident_comes_back_whole,
    an_older_revision_never_replaces_a_newer_one,
    a_repeated_commit_changes_nothing,
    a_failed_commit_leaves_nothing,
    the_book_holds_what_is_open_or_recent,
    incidents_are_listed_and_filtered,
    the_worst_goes_first_and_each_receiver_in_order,
    a_later_message_supersedes_an_owed_update,
    a_repeated_update_is_not_lost_to_itself,
    a_lease_ends_or_is_taken_over,
    no_delivery_is_leased_twice,
    a_receipt_is_kept_with_its_delivery,
    a_dead_delivery_goes_to_its_fallback,
    what_is_urgent_can_be_read,
    a_killed_dispatcher_leaves_no_lease,
    what_is_owed_is_counted,
    a_commit_that_owes_wakes_the_dispatcher,
    memory_is_kept_by_kind_and_key,
    retention_removes_what_is_past_it,
    a_replica_that_lost_the_lead_cannot_write,
    faults_strike_before_or_after,
);

const SLACK: &str = "slack";
const PAGER: &str = "pager";

/// Commits the opening of an incident to both receivers.
async fn opened(store: &Store, id: &str, severity: Severity, second: i64) {
    let incident = incident(id, id, severity, at(second));
    let owed =
        [SLACK, PAGER].map(|name| owed(&incident, name, Change::Opened, at(second))).to_vec();
    store.commit(&Changes { incidents: vec![incident], owed, ..Changes::default() }).await.unwrap();
}

/// Commits a later change of an incident.
async fn changed(store: &Store, id: &str, change: Change, receiver: &str, second: i64) {
    let mut incident = store.incident(&IncidentId(id.to_owned())).await.unwrap().unwrap();
    incident.revision += 1;
    let owed = vec![owed(&incident, receiver, change, at(second))];
    store.commit(&Changes { incidents: vec![incident], owed, ..Changes::default() }).await.unwrap();
}

fn brief(deliveries: &[Delivery]) -> Vec<(&str, &str, &str)> {
    deliveries
        .iter()
        .map(|d| (d.incident.0.as_str(), d.receiver.as_str(), d.change.as_str()))
        .collect()
}

fn receipt(reference: &str) -> Receipt {
    Receipt {
        destination: "C1".into(),
        reference: reference.into(),
        at: Some(at(0)),
        ..Receipt::default()
    }
}

async fn states(store: &Store, id: &str) -> Vec<(String, DeliveryState)> {
    let deliveries = store.deliveries(&IncidentId(id.to_owned())).await.unwrap();
    deliveries.iter().map(|d| (format!("{} {}", d.receiver, d.change.as_str()), d.state)).collect()
}

async fn an_incident_comes_back_whole(place: &Place) {
    let store = place.open().await;
    let mut wanted = incident("INC-1", "päyment \"x\" 'y' $1 %", Severity::P2, at(0));
    wanted.members[0].anomaly.current = 0.1 + 0.2;
    store.commit(&Changes { incidents: vec![wanted.clone()], ..Changes::default() }).await.unwrap();
    store.close().await;
    let again = place.open().await;
    assert_eq!(again.incident(&wanted.id).await.unwrap(), Some(wanted));
    assert_eq!(again.incident(&IncidentId("none".into())).await.unwrap(), None);
}

async fn an_older_revision_never_replaces_a_newer_one(place: &Place) {
    let store = place.open().await;
    let mut newer = incident("INC-1", "a", Severity::P1, at(0));
    newer.revision = 5;
    newer.title = "newer".into();
    let mut older = newer.clone();
    older.revision = 4;
    older.title = "older".into();
    for version in [&newer, &older] {
        let changes = Changes { incidents: vec![version.clone()], ..Changes::default() };
        store.commit(&changes).await.unwrap();
    }
    assert_eq!(store.incident(&newer.id).await.unwrap().unwrap().title, "newer");
}

async fn a_repeated_commit_changes_nothing(place: &Place) {
    let store = place.open().await;
    let incident = incident("INC-1", "a", Severity::P1, at(0));
    let changes = Changes {
        owed: vec![owed(&incident, SLACK, Change::Opened, at(0))],
        incidents: vec![incident],
        ..Changes::default()
    };
    for _ in 0..3 {
        store.commit(&changes).await.unwrap();
    }
    assert_eq!(states(&store, "INC-1").await, [("slack opened".to_owned(), DeliveryState::Owed)]);
}

async fn a_failed_commit_leaves_nothing(place: &Place) {
    let store = place.open().await;
    let known = incident("INC-1", "a", Severity::P1, at(0));
    let unknown = incident("INC-2", "b", Severity::P1, at(0));
    let changes = Changes {
        incidents: vec![known.clone()],
        owed: vec![
            owed(&known, SLACK, Change::Opened, at(0)),
            owed(&unknown, SLACK, Change::Opened, at(0)),
        ],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap_err();
    assert_eq!(store.incident(&known.id).await.unwrap(), None);
    assert_eq!(store.outbox().await.unwrap().owed, 0);
}

async fn the_book_holds_what_is_open_or_recent(place: &Place) {
    let store = place.open().await;
    let open = incident("INC-1", "a", Severity::P1, at(0));
    let mut recent = incident("INC-2", "b", Severity::P1, at(1));
    recent.state = IncidentState::Resolved;
    recent.resolved_at = Some(at(100));
    recent.updated_at = at(100);
    let mut old = recent.clone();
    old.id = IncidentId("INC-3".into());
    old.resolved_at = Some(at(50));
    old.updated_at = at(50);
    let silence = |id: &str, ends: i64| Silence {
        id: SilenceId(id.into()),
        owner: "ada".into(),
        reason: "deploy".into(),
        service: None,
        signal: None,
        starts_at: at(0),
        ends_at: at(ends),
        recurrence: None,
        unless: None,
        expired_at: None,
    };
    let mut expired = silence("SIL-4", 500);
    expired.expired_at = Some(at(20));
    let mut weekly = silence("SIL-2", 50);
    weekly.recurrence = Some(Recurrence::Weekly);
    let living = silence("SIL-1", 200);
    let changes = Changes {
        incidents: vec![open.clone(), recent.clone(), old],
        silences: vec![living.clone(), weekly.clone(), silence("SIL-3", 50), expired],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    let (incidents, silences) = store.load_book(at(100)).await.unwrap();
    assert_eq!(incidents, [open, recent]);
    assert_eq!(silences, [weekly, living]);
    assert_eq!(store.silences().await.unwrap().len(), 4);
}

async fn incidents_are_listed_and_filtered(place: &Place) {
    let store = place.open().await;
    let mut all = Vec::new();
    for (number, service, severity) in
        [(1, "pay", Severity::P1), (2, "payment", Severity::P2), (3, "Pay", Severity::P4)]
    {
        all.push(incident(&format!("INC-{number}"), service, severity, at(number)));
    }
    all[1].state = IncidentState::Resolved;
    store.commit(&Changes { incidents: all, ..Changes::default() }).await.unwrap();
    let check = async |filter: IncidentFilter, total: u64, expected: &[&str]| {
        let (count, page) = store.incidents(&filter).await.unwrap();
        let ids: Vec<_> = page.iter().map(|incident| incident.id.0.as_str()).collect();
        assert_eq!((count, ids.as_slice()), (total, expected), "{filter:?}");
    };
    let any = IncidentFilter { limit: 10, ..IncidentFilter::default() };
    check(any.clone(), 3, &["INC-3", "INC-2", "INC-1"]).await;
    check(IncidentFilter { limit: 1, offset: 1, ..any.clone() }, 3, &["INC-2"]).await;
    check(IncidentFilter { service: Some("pay".into()), ..any.clone() }, 1, &["INC-1"]).await;
    let states = vec![IncidentState::Open, IncidentState::Acknowledged];
    check(IncidentFilter { states, ..any.clone() }, 2, &["INC-3", "INC-1"]).await;
    let at_least = Some(Severity::P2);
    check(IncidentFilter { at_least, ..any }, 2, &["INC-2", "INC-1"]).await;
}

async fn the_worst_goes_first_and_each_receiver_in_order(place: &Place) {
    let store = place.open().await;
    opened(&store, "INC-3", Severity::P3, 0).await;
    opened(&store, "INC-1", Severity::P1, 1).await;
    opened(&store, "INC-4", Severity::P4, 2).await;
    // INC-4 grew to P1: what was owed before goes out with its urgency, and before it.
    let mut grown = store.incident(&IncidentId("INC-4".into())).await.unwrap().unwrap();
    grown.severity = Severity::P1;
    grown.revision += 1;
    let changes = Changes {
        owed: vec![owed(&grown, SLACK, Change::Worsened, at(3))],
        incidents: vec![grown],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    assert_eq!(store.lease(SLACK, at(-1), at(60), 10).await.unwrap(), []);
    let first = store.lease(SLACK, at(4), at(60), 2).await.unwrap();
    assert_eq!(brief(&first), [("INC-1", SLACK, "opened"), ("INC-4", SLACK, "opened")]);
    assert_eq!((first[0].attempts, first[0].leased_until), (1, Some(at(60))));
    let rest = store.lease(SLACK, at(4), at(60), 10).await.unwrap();
    assert_eq!(brief(&rest), [("INC-3", SLACK, "opened")]);
    assert!(store.settle(first[1].id, &Attempt::Delivered(receipt("1")), at(5)).await.unwrap());
    let next = store.lease(SLACK, at(5), at(60), 10).await.unwrap();
    assert_eq!(brief(&next), [("INC-4", SLACK, "worsened")]);
    let others = store.lease(PAGER, at(5), at(60), 10).await.unwrap();
    let expected = ["INC-1", "INC-3", "INC-4"].map(|id| (id, PAGER, "opened"));
    assert_eq!(brief(&others), expected, "another receiver has an order of its own");
}

async fn a_later_message_supersedes_an_owed_update(place: &Place) {
    use DeliveryState::{Delivered, Owed, Superseded};
    let store = place.open().await;
    opened(&store, "INC-1", Severity::P1, 0).await;
    changed(&store, "INC-1", Change::Updated, SLACK, 1).await;
    changed(&store, "INC-1", Change::Updated, SLACK, 2).await;
    changed(&store, "INC-1", Change::Acknowledged, SLACK, 3).await;
    changed(&store, "INC-1", Change::Updated, SLACK, 4).await;
    let leased = store.lease(SLACK, at(4), at(60), 10).await.unwrap();
    for delivery in leased.iter().filter(|delivery| delivery.receiver == SLACK) {
        assert!(store.settle(delivery.id, &Attempt::Delivered(receipt("1")), at(5)).await.unwrap());
    }
    let leased = store.lease(SLACK, at(5), at(60), 10).await.unwrap();
    assert_eq!(brief(&leased), [("INC-1", SLACK, "acknowledged")]);
    store.settle(leased[0].id, &Attempt::Delivered(receipt("1")), at(5)).await.unwrap();
    // This update is on its way when the end comes: it stays, and the end waits for it.
    let leased = store.lease(SLACK, at(5), at(60), 10).await.unwrap();
    assert_eq!(brief(&leased), [("INC-1", SLACK, "updated")]);
    changed(&store, "INC-1", Change::Resolved, SLACK, 6).await;
    assert_eq!(store.lease(SLACK, at(6), at(60), 10).await.unwrap(), []);
    let expected = [
        ("slack opened", Delivered),
        ("pager opened", Owed),
        ("slack updated", Superseded),
        ("slack updated", Superseded),
        ("slack acknowledged", Delivered),
        ("slack updated", Owed),
        ("slack resolved", Owed),
        // Nobody asked for it, but the pager was told of the opening.
        ("pager resolved", Owed),
    ];
    assert_eq!(
        states(&store, "INC-1").await,
        expected.map(|(text, state)| (text.to_owned(), state))
    );
}

async fn a_repeated_update_is_not_lost_to_itself(place: &Place) {
    let store = place.open().await;
    opened(&store, "INC-1", Severity::P1, 0).await;
    let mut incident = store.incident(&IncidentId("INC-1".into())).await.unwrap().unwrap();
    incident.revision += 1;
    let changes = Changes {
        owed: vec![owed(&incident, SLACK, Change::Updated, at(1))],
        incidents: vec![incident],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    store.commit(&changes).await.unwrap();
    let expected = ["slack opened", "pager opened", "slack updated"]
        .map(|text| (text.to_owned(), DeliveryState::Owed));
    assert_eq!(states(&store, "INC-1").await, expected);
}

async fn a_lease_ends_or_is_taken_over(place: &Place) {
    let (store, other) = (place.open().await, place.open().await);
    opened(&store, "INC-1", Severity::P1, 0).await;
    let mine = store.lease(SLACK, at(0), at(30), 1).await.unwrap().remove(0);
    let later = Attempt::Retry { due_at: at(10), error: "429".into(), fallback: None };
    assert!(!other.settle(mine.id, &later, at(1)).await.unwrap(), "another has it");
    assert!(store.settle(mine.id, &later, at(1)).await.unwrap());
    // A retry is not due before its time, and then for anyone.
    assert_eq!(other.lease(SLACK, at(9), at(40), 10).await.unwrap(), []);
    let again = other.lease(SLACK, at(10), at(40), 10).await.unwrap().remove(0);
    assert_eq!((again.attempts, again.last_error.as_deref()), (2, Some("429")));
    // Its holder dies; the lease ends, and the first one takes it back.
    assert_eq!(store.lease(SLACK, at(39), at(60), 10).await.unwrap(), []);
    let back = store.lease(SLACK, at(40), at(60), 10).await.unwrap();
    assert_eq!(back[0].id, again.id);
    let done = Attempt::Delivered(receipt("1"));
    assert!(!other.settle(again.id, &done, at(41)).await.unwrap());
    assert!(store.settle(again.id, &done, at(99)).await.unwrap(), "nobody else took it");
    assert!(!store.settle(again.id, &done, at(99)).await.unwrap(), "settled twice");
}

async fn no_delivery_is_leased_twice(place: &Place) {
    let store = place.open().await;
    for number in 0..40 {
        opened(&store, &format!("INC-{number}"), Severity::P1, number).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = place.open().await;
        tasks.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let leased = store.lease(SLACK, at(100), at(200), 3).await.unwrap();
                if leased.is_empty() {
                    return taken;
                }
                taken.extend(leased.into_iter().map(|delivery| delivery.id));
            }
        });
    }
    let mut taken: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    // A concurrent lease may have seen what another one was taking, and gone away empty-handed.
    taken.extend(store.lease(SLACK, at(100), at(200), 40).await.unwrap().iter().map(|d| d.id));
    assert_eq!(taken.len(), taken.iter().collect::<BTreeSet<_>>().len(), "leased twice: {taken:?}");
    assert_eq!(taken.len(), 40);
}

async fn a_receipt_is_kept_with_its_delivery(place: &Place) {
    let store = place.open().await;
    opened(&store, "INC-1", Severity::P1, 0).await;
    let id = IncidentId("INC-1".into());
    assert_eq!(store.receipt(&id, SLACK).await.unwrap(), None);
    let leased = store.lease(SLACK, at(0), at(30), 1).await.unwrap();
    store.settle(leased[0].id, &Attempt::Delivered(receipt("1.1")), at(1)).await.unwrap();
    assert_eq!(store.receipt(&id, SLACK).await.unwrap(), Some(receipt("1.1")));
    assert_eq!(store.receipt(&id, PAGER).await.unwrap(), None);
    let done = &store.deliveries(&id).await.unwrap()[0];
    assert_eq!((done.state, done.finished_at), (DeliveryState::Delivered, Some(at(1))));
}

async fn a_dead_delivery_goes_to_its_fallback(place: &Place) {
    let store = place.open().await;
    opened(&store, "INC-1", Severity::P1, 0).await;
    let fallback = || Some("mail".to_owned());
    let delivery = store.lease(SLACK, at(0), at(30), 1).await.unwrap().remove(0);
    for second in [10, 20] {
        let slow = Attempt::Retry { due_at: at(second), error: "503".into(), fallback: fallback() };
        assert!(store.settle(delivery.id, &slow, at(1)).await.unwrap());
        assert_eq!(store.outbox().await.unwrap().owed, 3, "named again, owed once");
    }
    store.lease(SLACK, at(20), at(30), 1).await.unwrap();
    let dead = Attempt::Dead { error: "channel_not_found".into(), fallback: fallback() };
    assert!(store.settle(delivery.id, &dead, at(21)).await.unwrap());
    assert!(!store.settle(delivery.id, &dead, at(21)).await.unwrap());
    let outbox = store.outbox().await.unwrap();
    assert_eq!((outbox.owed, outbox.dead), (2, 1));
    let next = store.lease("mail", at(21), at(30), 10).await.unwrap();
    assert_eq!(brief(&next), [("INC-1", "mail", "opened")]);
    assert_eq!((next[0].severity, next[0].attempts), (Severity::P1, 1));
    let needless = Attempt::Superseded;
    assert!(store.settle(next[0].id, &needless, at(22)).await.unwrap());
    assert_eq!(states(&store, "INC-1").await[2].1, DeliveryState::Superseded);
}

async fn what_is_urgent_can_be_read(place: &Place) {
    let store = place.open().await;
    opened(&store, "INC-3", Severity::P3, 0).await;
    opened(&store, "INC-2", Severity::P2, 1).await;
    opened(&store, "INC-1", Severity::P1, 2).await;
    changed(&store, "INC-1", Change::Resolved, SLACK, 3).await;
    let taken = store.lease(SLACK, at(3), at(60), 10).await.unwrap();
    assert_eq!(taken.len(), 3);
    let urgent = store.urgent(SLACK, at(3), 10).await.unwrap();
    assert_eq!(brief(&urgent), [("INC-1", SLACK, "opened"), ("INC-2", SLACK, "opened")]);
    assert_eq!(urgent[0], taken[0]);
    assert_eq!(store.urgent(SLACK, at(3), 1).await.unwrap(), taken[..1]);
    assert_eq!(store.urgent(SLACK, at(1), 10).await.unwrap(), taken[1..2]);
    assert_eq!(store.urgent("mail", at(3), 10).await.unwrap(), []);
}

async fn a_killed_dispatcher_leaves_no_lease(place: &Place) {
    let (killed, next) = (place.open().await, place.open().await);
    opened(&killed, "INC-1", Severity::P1, 0).await;
    for receiver in [SLACK, PAGER] {
        assert_eq!(killed.lease(receiver, at(0), at(60), 10).await.unwrap().len(), 1);
    }
    assert_eq!(next.release(SLACK).await.unwrap(), 1);
    assert_eq!(next.lease(SLACK, at(1), at(60), 10).await.unwrap()[0].attempts, 2);
    assert_eq!(next.lease(PAGER, at(1), at(60), 10).await.unwrap(), []);
}

async fn what_is_owed_is_counted(place: &Place) {
    let store = place.open().await;
    assert_eq!(store.outbox().await.unwrap().oldest, None);
    assert_eq!(store.due().await.unwrap(), []);
    opened(&store, "INC-1", Severity::P1, 3).await;
    changed(&store, "INC-1", Change::Worsened, SLACK, 2).await;
    opened(&store, "INC-2", Severity::P1, 5).await;
    let outbox = store.outbox().await.unwrap();
    assert_eq!((outbox.owed, outbox.oldest, outbox.dead), (5, Some(at(2)), 0));
    // The later one waits for the head, however early it is due.
    let due =
        |pager: i64, slack: i64| [(PAGER.to_owned(), at(pager)), (SLACK.to_owned(), at(slack))];
    assert_eq!(store.due().await.unwrap(), due(3, 3));
    let leased = store.lease(PAGER, at(3), at(30), 10).await.unwrap();
    let later = Attempt::Retry { due_at: at(4), error: String::new(), fallback: None };
    store.settle(leased[0].id, &later, at(4)).await.unwrap();
    store.lease(SLACK, at(5), at(30), 10).await.unwrap();
    assert_eq!(store.due().await.unwrap(), due(4, 30));
}

async fn a_commit_that_owes_wakes_the_dispatcher(place: &Place) {
    let store = place.open().await;
    let hint = store.owed_hint();
    opened(&store, "INC-1", Severity::P1, 3).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), hint.notified()).await.unwrap();
}

async fn memory_is_kept_by_kind_and_key(place: &Place) {
    let store = place.open().await;
    let value = |kind: &str, key: String, second: i64, body: &str| Memory {
        kind: kind.into(),
        key,
        at: at(second),
        body: body.into(),
    };
    let many: Vec<_> = (0..250).map(|n| value("hour", format!("s{n:03}"), n, "x")).collect();
    store.remember(&many).await.unwrap();
    let twice = [value("hour", "s%_".into(), 0, "one"), value("hour", "s%_".into(), 900, "two")];
    store.remember(&twice).await.unwrap();
    store.remember(&[value("other", "s000".into(), 0, "y")]).await.unwrap();
    store.remember(&[]).await.unwrap();
    let recalled = store.recall("hour", at(248)).await.unwrap();
    assert_eq!(recalled, [twice[1].clone(), many[248].clone(), many[249].clone()]);
    assert_eq!(store.recall_keys("hour", "s%").await.unwrap(), [twice[1].clone()]);
    let keys: Vec<_> = store
        .recall_keys("hour", "s24")
        .await
        .unwrap()
        .into_iter()
        .map(|value| value.key)
        .collect();
    assert_eq!(keys, (240..250).map(|n| format!("s{n}")).collect::<Vec<_>>());
    store.forget("hour", &["s%_".into(), "s249".into(), "never".into()]).await.unwrap();
    assert_eq!(store.recall("hour", at(248)).await.unwrap(), [many[248].clone()]);
    assert_eq!(store.recall("other", at(0)).await.unwrap().len(), 1);
}

async fn retention_removes_what_is_past_it(place: &Place) {
    let store = place.open().await;
    let settings = Settings { incident_retention_days: 30, ..place.settings() };
    opened(&store, "INC-open", Severity::P1, 0).await;
    opened(&store, "INC-old", Severity::P1, 0).await;
    let mut old = store.incident(&IncidentId("INC-old".into())).await.unwrap().unwrap();
    old.state = IncidentState::Resolved;
    old.resolved_at = Some(at(10));
    store.commit(&Changes { incidents: vec![old], ..Changes::default() }).await.unwrap();
    changed(&store, "INC-open", Change::Updated, SLACK, 1).await;
    changed(&store, "INC-open", Change::Updated, SLACK, 2).await;
    for (kind, key) in [("series_hour", "a"), ("episode", "b")] {
        let value = Memory { kind: kind.into(), key: key.into(), at: at(0), body: "x".into() };
        store.remember(&[value]).await.unwrap();
    }
    assert_eq!(store.prune(&settings, at(0) + Duration::hours(23)).await.unwrap(), 0);
    assert_eq!(store.prune(&settings, at(0) + Duration::hours(25)).await.unwrap(), 1);
    assert_eq!(store.prune(&settings, at(0) + Duration::days(8)).await.unwrap(), 1, "superseded");
    assert_eq!(store.prune(&settings, at(60) + Duration::days(30)).await.unwrap(), 2);
    assert_eq!(store.incident(&IncidentId("INC-old".into())).await.unwrap(), None);
    assert_eq!(store.deliveries(&IncidentId("INC-old".into())).await.unwrap(), []);
    assert_eq!(store.outbox().await.unwrap().owed, 3, "what is owed has no retention");
}

async fn a_replica_that_lost_the_lead_cannot_write(place: &Place) {
    let (one, two) = (place.open().await, place.open().await);
    assert!(one.lead("one", at(0), at(30)).await.unwrap());
    assert!(!two.lead("two", at(10), at(40)).await.unwrap());
    assert!(one.lead("one", at(20), at(50)).await.unwrap());
    opened(&one, "INC-1", Severity::P1, 20).await;
    assert!(two.lead("two", at(50), at(80)).await.unwrap());
    let error = one.commit(&Changes::default()).await.unwrap_err();
    assert!(matches!(error, Error::Fenced), "{error:?}");
    assert_eq!(error.trouble(), Trouble::Fenced);
    assert!(!one.lead("one", at(60), at(90)).await.unwrap());
    two.commit(&Changes::default()).await.unwrap();
}

#[derive(Debug, Default)]
struct CommitFails {
    after: AtomicBool,
}

impl Faults for CommitFails {
    fn before(&self, verb: &'static str) -> Result<(), Error> {
        if verb == "commit" && !self.after.load(Ordering::SeqCst) {
            return Err(Error::Database(sqlx::Error::PoolTimedOut));
        }
        Ok(())
    }

    fn after(&self, verb: &'static str) -> Result<(), Error> {
        if verb == "commit" { Err(Error::Database(sqlx::Error::PoolTimedOut)) } else { Ok(()) }
    }
}

async fn faults_strike_before_or_after(place: &Place) {
    let faults = Arc::new(CommitFails::default());
    let store = place.open().await.with_faults(faults.clone());
    let incident = incident("INC-1", "a", Severity::P1, at(0));
    let changes = Changes { incidents: vec![incident.clone()], ..Changes::default() };
    store.commit(&changes).await.unwrap_err();
    assert_eq!(store.incident(&incident.id).await.unwrap(), None);
    faults.after.store(true, Ordering::SeqCst);
    let error = store.commit(&changes).await.unwrap_err();
    assert_eq!(error.trouble(), Trouble::Deadline);
    assert!(store.incident(&incident.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_says_why() {
    let words = async |url: &str| {
        let settings = Settings { url: url.to_owned(), ..Settings::default() };
        Store::open(&settings).await.unwrap_err().to_string()
    };
    insta::assert_snapshot!(words("sqlite:/no/such/folder/store.db").await, @"the store cannot be opened: the folder `/no/such/folder` does not exist; create it, or change store.url");
    insta::assert_snapshot!(words("mysql://root:secret@db/x").await, @"the store cannot be opened: `mysql` is no kind of database that can be used; write sqlite:PATH or postgres://…");
    insta::assert_snapshot!(words("sqlite:").await, @"the store cannot be opened: `sqlite:` names no file; write sqlite:PATH");
}

#[tokio::test]
async fn an_unwritable_file_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/store.db", folder.path().display());
    let settings = Settings { url: url.clone(), ..Settings::default() };
    let store = Store::open(&settings).await.unwrap();
    store.close().await;
    let read_only = Store::open(&Settings { url: format!("{url}?mode=ro"), ..settings }).await;
    let trouble = match read_only {
        Err(error) => error.trouble(),
        Ok(store) => store.commit(&Changes::default()).await.unwrap_err().trouble(),
    };
    assert_eq!(trouble, Trouble::ReadOnly);
    std::fs::write(folder.path().join("text.db"), "no database".repeat(200)).unwrap();
    let url = format!("sqlite:{}/text.db", folder.path().display());
    let error = Store::open(&Settings { url, ..Settings::default() }).await.unwrap_err();
    assert_eq!(error.trouble(), Trouble::Damaged, "{error:?}");
}

#[tokio::test]
async fn memory_only_store_works() {
    let settings = Settings { url: "sqlite::memory:".to_owned(), ..Settings::default() };
    let store = Store::open(&settings).await.unwrap();
    opened(&store, "INC-1", Severity::P1, 0).await;
    assert_eq!(store.outbox().await.unwrap().owed, 2);
}

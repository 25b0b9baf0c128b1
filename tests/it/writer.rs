//! The incident writer on a real `SQLite` store, with held time: transactions, answers, and what happens when
//! the store cannot be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sentinelops::clock::{Clock, TimerClock};
use sentinelops::incidents::{
    self, Command, CorrelationSettings, Handle, QUEUE, Reply, Route, Settings, Snapshot, Writer,
};
use sentinelops::lifecycle::{Ending, Lifecycle};
use sentinelops::model::{
    Change, DeliveryState, Finding, Incident, IncidentId, IncidentKind, IncidentState, SeriesKey,
    Severity, Silence, SilenceId,
};
use sentinelops::store::{self, EMERGENCIES, Emergency, Faults, IncidentFilter, Store};
use sentinelops::telemetry::Metrics;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::sync::{mpsc, watch};

use crate::support::incidents::{anomaly, at};
use crate::support::time::{HeldTime, eventually};
use Severity::{P1, P2, P3};

/// A writer at work. The test looks through `store`, the writer works on the same one, perhaps with faults.
struct Desk {
    _time: HeldTime,
    _folder: tempfile::TempDir,
    file: String,
    store: Store,
    clock: TimerClock,
    handle: Handle,
    emergencies: mpsc::Receiver<Emergency>,
    lifecycle: Lifecycle,
}

impl Desk {
    async fn start(faults: Option<Arc<dyn Faults>>) -> Self {
        let time = HeldTime::hold();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db").display().to_string();
        let url = format!("sqlite:{file}");
        let store =
            Store::open(&store::Settings { url, ..store::Settings::default() }).await.unwrap();
        let its = match faults {
            Some(faults) => store.clone().with_faults(faults),
            None => store.clone(),
        };
        let clock = TimerClock::new(at(0));
        let lifecycle = Lifecycle::new();
        let (handle, emergencies) = spawn(its, clock, &lifecycle);
        eventually("the writer has loaded", || async { handle.snapshot().loaded }).await;
        Self { _time: time, _folder: folder, file, store, clock, handle, emergencies, lifecycle }
    }

    async fn ask(&self, command: Command) -> Reply {
        self.handle.ask(command).await.unwrap()
    }

    async fn fires(&self, service: &str, severity: Severity) -> Reply {
        let found = anomaly(service, "error_rate", severity, self.clock.now());
        self.ask(Command::Findings(vec![Finding::Fired(Box::new(found))])).await
    }

    async fn recovers(&self, service: &str) -> Reply {
        let series = SeriesKey::new(service, "error_rate");
        let since = self.clock.now();
        self.ask(Command::Findings(vec![Finding::Recovered { series, since }])).await
    }

    async fn incidents(&self) -> Vec<Incident> {
        let filter = IncidentFilter { limit: 100, ..IncidentFilter::default() };
        let (_, mut incidents) = self.store.incidents(&filter).await.unwrap();
        incidents.reverse();
        incidents
    }

    async fn only(&self) -> Incident {
        let mut incidents = self.incidents().await;
        assert_eq!(incidents.len(), 1);
        incidents.remove(0)
    }

    /// What is owed for an incident: `opened slack`, in order.
    async fn owed(&self, id: &IncidentId) -> Vec<String> {
        let deliveries = self.store.deliveries(id).await.unwrap();
        deliveries
            .iter()
            .filter(|delivery| delivery.state == DeliveryState::Owed)
            .map(|delivery| format!("{} {}", delivery.change.as_str(), delivery.receiver))
            .collect()
    }

    fn emergencies(&mut self) -> Vec<Emergency> {
        std::iter::from_fn(|| self.emergencies.try_recv().ok()).collect()
    }

    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            // A command waits its turn behind what the writer is doing; the second one behind what became
            // due with the first.
            for _ in 0..2 {
                self.ask(Command::Findings(Vec::new())).await;
            }
        }
    }

    async fn stop(self) -> Vec<Incident> {
        self.lifecycle.stop();
        let ending = self.lifecycle.finished(Duration::from_secs(5)).await;
        assert_eq!(ending, Ending::Clean);
        self.incidents().await
    }
}

/// P1 and P2 to both, the rest to Slack.
fn route() -> Route {
    Arc::new(|incident, _| {
        let both = incident.worst >= P2;
        ["slack", "pager"].into_iter().take(1 + usize::from(both)).map(str::to_owned).collect()
    })
}

fn spawn(
    store: Store,
    clock: TimerClock,
    lifecycle: &Lifecycle,
) -> (Handle, mpsc::Receiver<Emergency>) {
    let (commands, asked) = mpsc::channel(QUEUE);
    let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (emergency, emergencies) = mpsc::channel(EMERGENCIES);
    let writer = Writer {
        store,
        rules: Settings::default().rules(&CorrelationSettings::default()),
        route: route(),
        clock: Arc::new(clock),
        metrics: Metrics::new(),
        commands: asked,
        snapshot,
        emergency,
    };
    lifecycle.spawn("incidents", incidents::run(writer, lifecycle.soft()));
    (Handle::new(commands, snapshots), emergencies)
}

#[tokio::test(start_paused = true)]
async fn an_incident_and_what_is_owed_are_there_before_the_answer() {
    let mut desk = Desk::start(None).await;
    assert_eq!(desk.fires("payment", P1).await, Reply::Done(None));
    let incident = desk.only().await;
    assert_eq!((incident.severity, incident.revision), (P1, 1));
    assert_eq!(desk.owed(&incident.id).await, ["opened slack", "opened pager"]);
    let snapshot = desk.handle.snapshot();
    assert_eq!(snapshot.open, [(incident.id.clone(), P1)]);
    assert!(snapshot.store_writable && snapshot.active.len() == 1);
    let actor = "ada".to_owned();
    let id = incident.id.clone();
    let reply = desk.ask(Command::Acknowledge { id: id.clone(), actor }).await;
    assert!(matches!(&reply, Reply::Done(Some(now)) if now.state == IncidentState::Acknowledged));
    let unknown = IncidentId("INC-0".to_owned());
    let reply = desk.ask(Command::Acknowledge { id: unknown, actor: "ada".to_owned() }).await;
    assert_eq!(reply, Reply::NotFound);
    desk.recovers("payment").await;
    assert_eq!(desk.only().await.state, IncidentState::Resolved);
    let owed = ["opened", "acknowledged", "resolved"]
        .map(|change| [format!("{change} slack"), format!("{change} pager")]);
    assert_eq!(desk.owed(&id).await, owed.concat());
    assert_eq!(desk.emergencies(), []);
}

#[tokio::test(start_paused = true)]
async fn time_passes_without_findings() {
    let desk = Desk::start(None).await;
    let silence = Silence {
        id: SilenceId(String::new()),
        owner: "ada".to_owned(),
        reason: "deploy".to_owned(),
        service: None,
        signal: None,
        starts_at: at(0),
        ends_at: at(60),
        recurrence: None,
        unless: None,
        expired_at: None,
    };
    let reply = desk.ask(Command::Silence(silence)).await;
    assert!(matches!(&reply, Reply::Silence(silence) if silence.id.0.starts_with("SIL-")));
    assert_eq!(desk.store.silences().await.unwrap().len(), 1);
    desk.fires("payment", P1).await;
    let id = desk.only().await.id;
    desk.pass(50).await;
    assert_eq!(desk.owed(&id).await, [""; 0]);
    desk.pass(20).await;
    assert_eq!(desk.owed(&id).await, ["opened slack", "opened pager"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was() {
    let desk = Desk::start(None).await;
    desk.fires("payment", P1).await;
    let second = Lifecycle::new();
    let (handle, _emergencies) = spawn(desk.store.clone(), desk.clock, &second);
    eventually("the other writer has loaded", || async { handle.snapshot().loaded }).await;
    assert_eq!(handle.snapshot().open, desk.handle.snapshot().open);
    let found = anomaly("payment", "error_rate", P1, at(0));
    let known = Command::Findings(vec![Finding::Fired(Box::new(found))]);
    handle.ask(known).await.unwrap();
    assert_eq!(desk.incidents().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_carried_out_before_the_end() {
    let desk = Desk::start(None).await;
    for number in 0..20 {
        let onset = at(-3_600 * number);
        let found = anomaly(&format!("s{number}"), "error_rate", P3, onset);
        let command = Command::Findings(vec![Finding::Fired(Box::new(found))]);
        desk.handle.tell(command).await.unwrap();
    }
    let handle = desk.handle.clone();
    let written = desk.stop().await;
    let members: usize = written.iter().map(|incident| incident.members.len()).sum();
    assert_eq!(members, 20);
    handle.ask(Command::Test { actor: "ada".to_owned() }).await.unwrap_err();
}

/// 0: all is well; 1: commits fail before, 2: after they were carried out.
#[derive(Debug, Default)]
struct Commits(AtomicU8);

impl Commits {
    fn fail(&self, how: u8) {
        self.0.store(how, Ordering::SeqCst);
    }

    fn hit(&self, verb: &str, how: u8) -> Result<(), store::Error> {
        if verb == "commit" && self.0.load(Ordering::SeqCst) == how {
            return Err(sqlx::Error::Io(std::io::ErrorKind::StorageFull.into()).into());
        }
        Ok(())
    }
}

impl Faults for Commits {
    fn before(&self, verb: &'static str) -> Result<(), store::Error> {
        self.hit(verb, 1)
    }

    fn after(&self, verb: &'static str) -> Result<(), store::Error> {
        self.hit(verb, 2)
    }
}

/// Each message of emergencies: `payment opened slack 1`, with the revision.
fn said(emergencies: &[Emergency]) -> Vec<String> {
    let name = |incident: &Incident| match &incident.kind {
        IncidentKind::Store { .. } => "store".to_owned(),
        _ => incident.services()[0].to_owned(),
    };
    emergencies
        .iter()
        .flat_map(|emergency| emergency.owed.iter().map(|owed| (name(&emergency.incident), owed)))
        .map(|(name, owed)| {
            format!("{name} {} {} {}", owed.change.as_str(), owed.receiver, owed.revision)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_unwritable_store_delays_no_page_and_loses_nothing() {
    let commits = Arc::new(Commits::default());
    let mut desk = Desk::start(Some(commits.clone())).await;
    desk.fires("before", P3).await;
    commits.fail(1);
    // Far enough from the others to be trouble of its own.
    desk.pass(3_600).await;
    let reply = desk.fires("payment", P1).await;
    let Reply::Unavailable(words) = reply else { panic!("{reply:?}") };
    insta::assert_snapshot!(words, @"kept in memory until the store can be written: its disk is full: free space or move the file");
    assert_eq!(said(&desk.emergencies()), ["payment opened slack 1", "payment opened pager 1"]);
    assert!(!desk.handle.snapshot().store_writable);
    // Two failures in a row: an incident about the store, from memory as well.
    desk.pass(5).await;
    assert_eq!(said(&desk.emergencies()), ["store opened slack 1", "store opened pager 1"]);
    desk.pass(3_600).await;
    desk.fires("other", P3).await;
    desk.recovers("payment").await;
    assert_eq!(said(&desk.emergencies()), ["payment resolved slack 2", "payment resolved pager 2"]);
    assert_eq!(desk.only().await.services(), ["before"]);
    commits.fail(0);
    desk.pass(30).await;
    assert!(desk.handle.snapshot().store_writable);
    let incidents = desk.incidents().await;
    let states: Vec<_> =
        incidents.iter().map(|incident| (incident.title.as_str(), incident.state)).collect();
    assert_eq!(
        states,
        [
            ("before: error_rate 66.7 %", IncidentState::Open),
            ("payment: error_rate 66.7 %", IncidentState::Resolved),
            ("the store of SentinelOps cannot be written", IncidentState::Resolved),
            ("other: error_rate 66.7 %", IncidentState::Open),
        ]
    );
    // The very same messages are owed now, so that whoever sent them from memory recognises them.
    let payment = desk.store.deliveries(&incidents[1].id).await.unwrap();
    let owed: Vec<_> = payment
        .iter()
        .map(|d| format!("{} {} {}", d.change.as_str(), d.receiver, d.revision))
        .collect();
    assert_eq!(owed, ["opened slack 1", "opened pager 1", "resolved slack 2", "resolved pager 2"]);
    assert_eq!(desk.owed(&incidents[3].id).await, ["opened slack"]);
    let changes: Vec<_> = desk.store.deliveries(&incidents[2].id).await.unwrap();
    assert!(changes.iter().any(|delivery| delivery.change == Change::Resolved));
    let restarted = Lifecycle::new();
    let (handle, _emergencies) = spawn(desk.store.clone(), desk.clock, &restarted);
    eventually("loaded", || async { handle.snapshot().loaded }).await;
    assert_eq!(handle.snapshot().open, desk.handle.snapshot().open, "memory and store agree");
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_after_a_commit_owes_nothing_twice() {
    let commits = Arc::new(Commits::default());
    let mut desk = Desk::start(Some(commits.clone())).await;
    commits.fail(2);
    desk.fires("payment", P1).await;
    assert_eq!(desk.emergencies().len(), 1, "nobody knows whether it was written");
    commits.fail(0);
    desk.pass(10).await;
    let id = desk.only().await.id;
    assert_eq!(desk.owed(&id).await, ["opened slack", "opened pager"]);
    assert!(desk.handle.snapshot().store_writable, "one hiccup is no incident about the store");
}

#[tokio::test(start_paused = true)]
async fn a_locked_store_delays_no_page() {
    let mut desk = Desk::start(None).await;
    let mut other = SqliteConnection::connect(&desk.file).await.unwrap();
    other.execute("begin immediate").await.unwrap();
    let onset = at(0);
    let found = anomaly("payment", "error_rate", P1, onset);
    let command = Command::Findings(vec![Finding::Fired(Box::new(found))]);
    desk.handle.tell(command).await.unwrap();
    let mut sent = Vec::new();
    while sent.is_empty() {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
        sent = desk.emergencies();
    }
    assert!(desk.clock.now() - onset < chrono::Duration::seconds(5), "{}", desk.clock.now());
    assert_eq!(said(&sent), ["payment opened slack 1", "payment opened pager 1"]);
    other.execute("rollback").await.unwrap();
    eventually("the commit went through", || async { !desk.incidents().await.is_empty() }).await;
    let id = desk.only().await.id;
    assert_eq!(desk.owed(&id).await, ["opened slack", "opened pager"]);
}

/// Fails the n-th call, before or after it was carried out.
#[derive(Debug)]
struct Nth {
    at: usize,
    count: std::sync::atomic::AtomicUsize,
}

impl Nth {
    fn hit(&self) -> Result<(), store::Error> {
        if self.count.fetch_add(1, Ordering::SeqCst) == self.at {
            return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into());
        }
        Ok(())
    }
}

impl Faults for Nth {
    fn before(&self, _verb: &'static str) -> Result<(), store::Error> {
        self.hit()
    }

    fn after(&self, _verb: &'static str) -> Result<(), store::Error> {
        self.hit()
    }
}

/// One outage from start to end; answers what stands in the store, and how often the faults were asked.
async fn outage(at: usize) -> (Vec<String>, usize) {
    let nth = Arc::new(Nth { at, count: std::sync::atomic::AtomicUsize::new(0) });
    let time = HeldTime::hold();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/store.db", folder.path().display());
    let store = Store::open(&store::Settings { url, ..store::Settings::default() }).await.unwrap();
    let clock = TimerClock::new(self::at(0));
    let lifecycle = Lifecycle::new();
    let (handle, emergencies) = spawn(store.clone().with_faults(nth.clone()), clock, &lifecycle);
    let file = String::new();
    let desk =
        Desk { _time: time, _folder: folder, file, store, clock, handle, emergencies, lifecycle };
    // Loading may be what fails: it is tried again.
    eventually("the writer has loaded", || async {
        tokio::time::advance(Duration::from_millis(10)).await;
        desk.handle.snapshot().loaded
    })
    .await;
    desk.fires("payment", P2).await;
    desk.pass(30).await;
    desk.fires("order", P1).await;
    desk.pass(90).await;
    desk.recovers("payment").await;
    desk.pass(90).await;
    desk.recovers("order").await;
    desk.pass(30).await;
    let mut found = Vec::new();
    for incident in desk.incidents().await {
        found.push(format!("{} {:?} {}", incident.title, incident.state, incident.severity));
        for delivery in desk.store.deliveries(&incident.id).await.unwrap() {
            let state = delivery.state.as_str();
            found.push(format!("  {} {} {state}", delivery.receiver, delivery.change.as_str()));
        }
    }
    (found, nth.count.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_the_store_ends_up_the_same() {
    let (expected, calls) = outage(usize::MAX).await;
    insta::assert_snapshot!(expected.join("\n"), @"
    payment: error_rate 66.7 % (+1 service) Resolved P1
      slack opened owed
      pager opened owed
      slack worsened owed
      pager worsened owed
      slack updated superseded
      pager updated superseded
      slack resolved owed
      pager resolved owed
    ");
    assert!(calls >= 10, "{calls}");
    for n in 0..calls {
        let (found, _) = outage(n).await;
        assert_eq!(found, expected, "call {n} failed");
    }
}

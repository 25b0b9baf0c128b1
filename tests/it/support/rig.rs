//! A dispatcher at work on a store, with held time: what is owed goes in, time is moved until it is quiet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sentinelops::clock::{Clock, TimerClock};
use sentinelops::incidents::{self, Command, Handle, Reply, Route, Snapshot, Writer};
use sentinelops::lifecycle::{Ending, Lifecycle};
use sentinelops::model::{Change, Delivery, DeliveryState, Incident, UtcTime};
use sentinelops::notify::Notifier;
use sentinelops::notify::dispatcher::{self, Dispatcher, Pace, Receiver, Receivers};
use sentinelops::store::{Changes, EMERGENCIES, Emergency, Settings, Store};
use sentinelops::telemetry::Metrics;
use tokio::sync::{mpsc, watch};

use super::incidents::{at, owed};
use super::time::eventually;

/// A receiver without a limit of pace.
pub(crate) fn receiver(notifier: Arc<dyn Notifier>) -> Receiver {
    Receiver { notifier, fallback: None, pace: Pace::FREE }
}

/// A receiver with a fallback.
pub(crate) fn backed(notifier: Arc<dyn Notifier>, fallback: &str) -> Receiver {
    Receiver { fallback: Some(fallback.to_owned()), ..receiver(notifier) }
}

/// Receivers by name.
pub(crate) fn named<const N: usize>(receivers: [(&str, Receiver); N]) -> Receivers {
    receivers.into_iter().map(|(name, receiver)| (name.to_owned(), receiver)).collect()
}

/// An empty store in memory.
pub(crate) async fn memory_store() -> Store {
    let settings = Settings { url: "sqlite::memory:".to_owned(), ..Settings::default() };
    Store::open(&settings).await.unwrap()
}

/// See the file's header.
pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) receivers: watch::Sender<Arc<Receivers>>,
    pub(crate) emergency: mpsc::Sender<Emergency>,
    lifecycle: Lifecycle,
}

impl Rig {
    /// A dispatcher on an empty store in memory, at the instant `at(0)`.
    pub(crate) async fn start(receivers: Receivers) -> Self {
        let store = memory_store().await;
        Self::on(store.clone(), store, receivers)
    }

    /// The test looks through `store`, the dispatcher works on `its`: the same store, perhaps with faults.
    pub(crate) fn on(store: Store, its: Store, receivers: Receivers) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TimerClock::new(at(0)));
        Self::at_clock(store, its, receivers, clock)
    }

    pub(crate) fn at_clock(
        store: Store,
        its: Store,
        receivers: Receivers,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = Metrics::new();
        let lifecycle = Lifecycle::new();
        let (receivers, watched) = watch::channel(Arc::new(receivers));
        let (emergency, emergencies) = mpsc::channel(EMERGENCIES);
        let dispatcher = Dispatcher {
            store: its,
            receivers: watched,
            clock: clock.clone(),
            metrics: metrics.clone(),
            settings: dispatcher::Settings::default(),
            base_url: None,
            emergency: emergencies,
            seed: 7,
        };
        lifecycle.spawn("dispatcher", dispatcher::run(dispatcher, lifecycle.soft()));
        Self { store, clock, metrics, receivers, emergency, lifecycle }
    }

    /// Adds the writer of incidents, on its own view of the store: everything goes to Slack, all but mere
    /// updates to `PagerDuty`.
    pub(crate) fn write(&self, its: Store) -> Handle {
        let (commands, asked) = mpsc::channel(incidents::QUEUE);
        let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let settings = incidents::Settings::default();
        let route: Route = Arc::new(|_, change| match change {
            Change::Updated => vec!["slack".to_owned()],
            _ => vec!["slack".to_owned(), "pagerduty".to_owned()],
        });
        let writer = Writer {
            store: its,
            rules: settings.rules(&incidents::CorrelationSettings::default()),
            route,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            commands: asked,
            snapshot,
            emergency: self.emergency.clone(),
        };
        self.lifecycle.spawn("incidents", incidents::run(writer, self.lifecycle.soft()));
        Handle::new(commands, snapshots)
    }

    pub(crate) fn now(&self) -> UtcTime {
        self.clock.now()
    }

    /// Commits an incident together with a message about it to each receiver.
    pub(crate) async fn owe(&self, incident: &Incident, change: Change, receivers: &[&str]) {
        let now = self.now();
        let owed = receivers.iter().map(|name| owed(incident, name, change, now)).collect();
        let incidents = vec![incident.clone()];
        let changes = Changes { incidents, owed, ..Changes::default() };
        self.store.commit(&changes).await.unwrap();
    }

    /// Asks the writer, and moves time should it wait for something.
    pub(crate) async fn ask(&self, handle: &Handle, command: Command) -> Reply {
        let answer = handle.ask(command);
        tokio::pin!(answer);
        for _ in 0..400 {
            tokio::select! {
                biased;
                reply = &mut answer => return reply.unwrap(),
                () = self.breathe() => tokio::time::advance(Duration::from_millis(50)).await,
            }
        }
        panic!("the writer does not answer");
    }

    /// Moves time, in steps small enough for whatever waits to be done in between.
    pub(crate) async fn pass(&self, span: Duration) {
        let step = Duration::from_millis(250);
        let mut left = span;
        while !left.is_zero() {
            self.breathe().await;
            tokio::time::advance(step.min(left)).await;
            left = left.saturating_sub(step);
        }
        self.breathe().await;
    }

    /// Lets every task run until it waits; calls to the store in between make each wait for its turn.
    pub(crate) async fn breathe(&self) {
        for _ in 0..6 {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            self.store.due().await.unwrap();
        }
    }

    /// Moves time until nothing is owed any more, at most `most`; fails if something is stuck.
    pub(crate) async fn quiet(&self, most: Duration) {
        let end = tokio::time::Instant::now() + most;
        while self.store.outbox().await.unwrap().owed > 0 {
            let now = tokio::time::Instant::now();
            assert!(now < end, "still owed after {most:?}: {:?}", self.store.due().await);
            self.pass(Duration::from_millis(250)).await;
        }
    }

    /// Waits for a state without moving time.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        eventually(what, || async {
            self.breathe().await;
            condition()
        })
        .await;
    }

    /// Moves time until a state is reached, at most `most`.
    pub(crate) async fn pass_until(
        &self,
        what: &str,
        most: Duration,
        condition: impl Fn() -> bool,
    ) {
        let end = tokio::time::Instant::now() + most;
        while !condition() {
            assert!(tokio::time::Instant::now() < end, "not within {most:?}: {what}");
            self.pass(Duration::from_millis(250)).await;
        }
    }

    /// How often each ending occurs among the deliveries of an incident, by receiver.
    pub(crate) async fn endings(
        &self,
        incident: &Incident,
    ) -> BTreeMap<String, Vec<DeliveryState>> {
        let mut endings: BTreeMap<String, Vec<DeliveryState>> = BTreeMap::new();
        for Delivery { receiver, state, .. } in self.store.deliveries(&incident.id).await.unwrap() {
            endings.entry(receiver).or_default().push(state);
        }
        endings
    }

    /// Stops the dispatcher as SIGTERM does; answers how it ended and how long it took.
    pub(crate) async fn stop(&self) -> (Ending, Duration) {
        let began = tokio::time::Instant::now();
        self.lifecycle.stop();
        let finished = self.lifecycle.finished(Duration::from_secs(1));
        tokio::pin!(finished);
        loop {
            tokio::select! {
                biased;
                ending = &mut finished => return (ending, began.elapsed()),
                () = tokio::task::yield_now() => {}
            }
            self.breathe().await;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
}

//! Delivers what is owed: reads it from the store, woken by a hint or a timer, and runs one lane per receiver.
//!
//! Takes no other input but emergencies, so that a restart and every failure use the ordinary path: at least
//! once to every receiver, and never twice to one that knows deduplication keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Notifier;
use super::decide::{Chance, Pacer};
use super::lane::{Lane, Shared};
use super::ledger::{Key, Ledger, Pending};
use crate::clock::Clock;
use crate::store::{Emergency, Store};
use crate::telemetry::Metrics;

pub use super::decide::{Pace, Settings};

/// How often the metrics are brought up to date and receivers without a lane are looked for.
const LOOK_ROUND: Duration = Duration::from_secs(5);

/// How long messages under way may take to finish when the process stops. What does not finish is sent again
/// after the next start.
const GRACE: Duration = Duration::from_millis(600);

/// How many messages may wait for one lane while the store cannot be written. When it is full the newest is
/// dropped and logged.
const EMERGENCIES_PER_LANE: usize = 256;

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Sends the messages.
    pub notifier: Arc<dyn Notifier>,
    /// The receiver that gets a P1 that this one does not take.
    pub fallback: Option<String>,
    /// How fast it may be sent to.
    pub pace: Pace,
}

/// Receivers by name.
pub type Receivers = BTreeMap<String, Receiver>;

/// Everything the dispatcher needs.
#[derive(Debug)]
pub struct Dispatcher {
    /// Where it is written what is owed.
    pub store: Store,
    /// Who can be told; a new value takes effect with the next message.
    pub receivers: watch::Receiver<Arc<Receivers>>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where attempts are counted.
    pub metrics: Metrics,
    /// How hard a message is tried.
    pub settings: Settings,
    /// Where people read more.
    pub base_url: Option<String>,
    /// P1 and P2 that the store cannot keep.
    pub emergency: mpsc::Receiver<Emergency>,
    /// Spreads the retries.
    pub seed: u64,
}

/// Runs until asked to stop, and then for at most as long as messages under way may take.
pub async fn run(dispatcher: Dispatcher, soft: CancellationToken) {
    let Dispatcher { store, receivers, clock, metrics, settings, base_url, emergency, seed } =
        dispatcher;
    let (mut receivers, mut emergency) = (receivers, emergency);
    let (divert, mut diverted) = mpsc::channel(EMERGENCIES_PER_LANE);
    let shared = Shared {
        store,
        receivers: receivers.clone(),
        clock,
        metrics,
        settings,
        base_url,
        divert,
        soft: soft.clone(),
    };
    let mut fixed = false;
    let hint = shared.store.owed_hint();
    let mut lanes = Lanes::new(shared, seed);
    let mut look_round = tokio::time::interval(LOOK_ROUND);
    look_round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        lanes.open_for_receivers();
        tokio::select! {
            () = soft.cancelled() => break,
            () = hint.notified() => lanes.wake(),
            // An error means that nobody can change the receivers any more: they stay as they are.
            changed = receivers.changed(), if !fixed => {
                fixed = changed.is_err();
                lanes.wake();
            }
            Some(urgent) = emergency.recv() => lanes.spread(&urgent),
            Some((to, item)) = diverted.recv() => lanes.pass(&to, item),
            _ = look_round.tick() => lanes.look_round().await,
            Some(ended) = lanes.tasks.join_next() => {
                if !soft.is_cancelled() {
                    tracing::error!(panicked = ended.is_err(), "a lane of the dispatcher ended");
                    return;
                }
            }
        }
    }
    lanes.finish().await;
}

/// The lanes by receiver.
#[derive(Debug)]
struct Lanes {
    shared: Shared,
    chance: u64,
    wake: watch::Sender<u64>,
    inlets: BTreeMap<String, mpsc::Sender<Pending>>,
    tasks: JoinSet<()>,
}

impl Lanes {
    fn new(shared: Shared, seed: u64) -> Self {
        let (wake, _) = watch::channel(0);
        Self { shared, chance: seed, wake, inlets: BTreeMap::new(), tasks: JoinSet::new() }
    }

    fn wake(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn open_for_receivers(&mut self) {
        let receivers = self.shared.receivers.borrow().clone();
        for name in receivers.keys() {
            self.open(name);
        }
    }

    /// Opens the lane of a receiver, if there is none. A lane stays when its receiver goes: it gives up what
    /// is still owed to it.
    fn open(&mut self, name: &str) -> &mpsc::Sender<Pending> {
        if !self.inlets.contains_key(name) {
            let (inlet, emergencies) = mpsc::channel(EMERGENCIES_PER_LANE);
            self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let lane = Lane {
                name: name.to_owned(),
                shared: self.shared.clone(),
                wake: self.wake.subscribe(),
                emergencies,
                chance: Chance::new(self.chance),
                ledger: Ledger::default(),
                pacer: Pacer::default(),
                paused_until: None,
                // Those of a process that was killed.
                stray_lease: true,
                store_failures: 0,
            };
            self.tasks.spawn(lane.run());
            self.inlets.insert(name.to_owned(), inlet);
        }
        &self.inlets[name]
    }

    fn spread(&mut self, urgent: &Emergency) {
        for owed in &urgent.owed {
            let item = Pending {
                key: Key::owed(owed),
                incident: urgent.incident.clone(),
                severity: owed.severity,
                created_at: owed.created_at,
                attempts: 0,
                due: None,
                handed_over: false,
            };
            self.pass(&owed.receiver, item);
        }
    }

    fn pass(&mut self, to: &str, item: Pending) {
        let incident = item.key.incident.clone();
        if self.open(to).try_send(item).is_err() {
            tracing::error!(
                receiver.name = to, incident.id = %incident,
                "too many messages wait while the store cannot be written; one is dropped"
            );
        }
    }

    /// Brings the metrics up to date, and opens lanes for receivers that are owed something but are not in
    /// the settings. What fails here shows itself in the lanes.
    async fn look_round(&mut self) {
        if let Ok(due) = self.shared.store.due().await {
            for (name, _) in due {
                self.open(&name);
            }
        }
        if let Ok(outbox) = self.shared.store.outbox().await {
            let metrics = &self.shared.metrics;
            let age = outbox.oldest.map_or(0, |at| (self.shared.clock.now() - at).num_seconds());
            metrics.outbox_owed.set(i64::try_from(outbox.owed).unwrap_or(i64::MAX));
            metrics.outbox_dead.set(i64::try_from(outbox.dead).unwrap_or(i64::MAX));
            metrics.outbox_oldest_age_seconds.set(age.max(0));
        }
    }

    /// Lets messages under way finish; what takes too long is dropped and freed for the next start.
    async fn finish(mut self) {
        let until = Instant::now() + GRACE;
        while let Ok(Some(_)) = tokio::time::timeout_at(until, self.tasks.join_next()).await {}
        let dropped = self.tasks.len();
        if dropped > 0 {
            tracing::warn!(lanes = dropped, "messages under way were cut off; they are owed still");
        }
        self.tasks.shutdown().await;
    }
}

//! The one task that writes the log store: takes what is queued, commits it in one transaction, answers everybody
//! whose documents were in it. While one commit is on its way to the disk the next requests gather, so that batches
//! grow with load and nobody waits for a timer.
//!
//! Back-pressure: the queue is bounded by the bytes of the requests in it; when it is full, senders are told to
//! come back (429).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::buckets::{Batch, Bucket, Event, minute_of};
use super::db::{self, Service};
use super::shared::Shared;
use crate::model::{ServiceName, UtcTime};

/// Requests that one transaction takes at most.
const REQUESTS: usize = 1_024;
/// Minutes whose buckets are kept in memory: late documents of older ones are merged through the file.
const WARM_MINUTES: usize = 6;
/// How often the store notes that it is alive and drops what is too old.
const UPKEEP: Duration = Duration::from_secs(10);
/// Rounds of dropping per upkeep, so that a commit never waits long.
const ROUNDS: usize = 20;
/// Events dropped in one round.
const EVENTS_A_ROUND: u32 = 20_000;

/// What waits to be written.
#[derive(Debug)]
pub(super) struct Queued {
    pub batch: Batch,
    pub reply: oneshot::Sender<Result<(), String>>,
    /// Frees the request's bytes once it is written.
    pub room: OwnedSemaphorePermit,
}

/// The task's state.
#[derive(Debug)]
pub(super) struct Writer {
    pub db: SqliteConnection,
    pub services: HashMap<ServiceName, Service>,
    pub queue: mpsc::Receiver<Queued>,
    pub shared: Arc<Shared>,
    /// Buckets of the minutes written last, as the file has them.
    warm: BTreeMap<i64, Warm>,
    turn: u64,
    /// When services without documents are forgotten next.
    sweep_at: Option<UtcTime>,
}

#[derive(Debug)]
struct Warm {
    buckets: HashMap<i64, Bucket>,
    used: u64,
}

impl Writer {
    pub(super) fn new(
        db: SqliteConnection,
        services: HashMap<ServiceName, Service>,
        queue: mpsc::Receiver<Queued>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { db, services, queue, shared, warm: BTreeMap::new(), turn: 0, sweep_at: None }
    }

    /// Writes until `stop` fires, then what is still queued.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut queued = Vec::new();
        loop {
            tokio::select! {
                // The queue last: under load it is always ready, and the others must have their turn.
                biased;
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                _ = upkeep.tick() => self.upkeep().await,
                taken = self.queue.recv_many(&mut queued, REQUESTS) => {
                    if taken == 0 {
                        break;
                    }
                    self.write(std::mem::take(&mut queued)).await;
                }
            }
        }
        let now = self.shared.clock.now();
        if let Err(error) = db::put_alive(&mut self.db, now).await {
            tracing::warn!(%error, "log store could not be closed cleanly");
        }
        drop(self.db.close().await);
    }

    /// Commits what was queued, and answers.
    async fn write(&mut self, queued: Vec<Queued>) {
        let started = Instant::now();
        let now = self.shared.clock.now();
        let mut all = Batch::default();
        let mut waiting = Vec::with_capacity(queued.len());
        for Queued { batch, reply, room } in queued {
            all.merge(batch);
            waiting.push((reply, room));
        }
        let minutes: Vec<i64> = all.buckets.keys().map(|(_, minute)| *minute).collect();
        let lag = std::mem::take(&mut all.lag);
        let outcome = match self.commit(all, now).await {
            Ok(()) => {
                self.shared.writable(now);
                self.shared.written(&minutes, &lag, now);
                Ok(())
            }
            Err(error) => {
                // What is warm may be ahead of the file now.
                self.warm.clear();
                self.services = db::services(&mut self.db).await.unwrap_or_default();
                self.shared.failed(&error, now);
                Err(error.to_string())
            }
        };
        self.shared.metrics.intake_commit_seconds.observe(started.elapsed().as_secs_f64());
        for (reply, room) in waiting {
            drop(room);
            // Whoever hung up has no use for the answer.
            drop(reply.send(outcome.clone()));
        }
    }

    async fn commit(&mut self, all: Batch, now: UtcTime) -> Result<(), sqlx::Error> {
        self.turn += 1;
        let mut tx = self.db.begin_with("begin immediate").await?;
        let mut touched = Vec::with_capacity(all.buckets.len());
        for ((name, minute), delta) in all.buckets {
            let mut service = if let Some(known) = self.services.get(&name) {
                *known
            } else {
                Service { id: db::add_service(&mut tx, &name, now).await?, telling: false }
            };
            if delta.telling && !service.telling {
                db::put_telling(&mut tx, service.id).await?;
                service.telling = true;
            }
            self.services.insert(name.clone(), service);
            let service = service.id;
            let warm = warm(&mut self.warm, &mut tx, minute, self.turn).await?;
            if !warm.buckets.entry(service).or_default().add(&delta) {
                tracing::warn!(
                    service.name = %name,
                    "a sketch of durations in the log store cannot be read, it was begun anew"
                );
            }
            touched.push((minute, service));
        }
        let most = self.shared.settings.events_per_minute;
        let events = chosen(all.events, &self.services, &mut self.warm, most);
        // In the order of the key, so that neighbouring rows are written together.
        touched.sort_unstable();
        let rows: Vec<(i64, i64, &Bucket)> = touched
            .iter()
            .filter_map(|(minute, service)| {
                let bucket = self.warm.get(minute)?.buckets.get(service)?;
                Some((*minute, *service, bucket))
            })
            .collect();
        db::put_buckets(&mut tx, &rows).await?;
        db::put_events(&mut tx, &events).await?;
        db::put_rejected(&mut tx, all.rejected.into_iter()).await?;
        tx.commit().await?;
        while self.warm.len() > WARM_MINUTES {
            let Some(coldest) =
                self.warm.iter().min_by_key(|(_, warm)| warm.used).map(|(minute, _)| *minute)
            else {
                break;
            };
            self.warm.remove(&coldest);
        }
        Ok(())
    }

    async fn upkeep(&mut self) {
        let now = self.shared.clock.now();
        match self.keep_bounds(now).await {
            Ok(()) => self.shared.writable(now),
            Err(error) => self.shared.failed(&error, now),
        }
    }

    /// Notes that the store is alive, and drops what is older or more than the settings allow.
    async fn keep_bounds(&mut self, now: UtcTime) -> Result<(), sqlx::Error> {
        let settings = &self.shared.settings;
        let (oldest, event_hours) = (self.shared.oldest(now), i64::from(settings.event_hours));
        let most = settings.max_size_mb.saturating_mul(1_000_000);
        let oldest_event = now - chrono::TimeDelta::hours(event_hours);
        let db = &mut self.db;
        db::put_alive(db, now).await?;
        let mut dropped = 0;
        for _ in 0..ROUNDS {
            let aged = db::drop_events(db, Some(oldest_event), EVENTS_A_ROUND).await?
                + db::drop_buckets(db, minute_of(oldest)).await?;
            let mut size = 0;
            if db::used_bytes(db).await? > most {
                size = db::drop_events(db, None, EVENTS_A_ROUND).await?;
                if size == 0 {
                    size = db::drop_buckets(db, i64::MAX).await?;
                }
            }
            dropped += aged + size;
            if aged + size == 0 {
                break;
            }
        }
        if dropped > 0 {
            db::shrink(db).await?;
            self.warm.clear();
        }
        // Looks at every bucket, so only once a day, and not while everything starts.
        if *self.sweep_at.get_or_insert(now + chrono::TimeDelta::hours(1)) <= now {
            for name in db::drop_services(db).await? {
                self.services.remove(name.as_str());
                self.shared.names.remove(name.as_str());
            }
            self.sweep_at = Some(now + chrono::TimeDelta::days(1));
        }
        let used = db::used_bytes(&mut self.db).await?;
        self.shared.metrics.log_store_bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// The buckets of a minute: warm, or read from the file.
async fn warm<'a>(
    all: &'a mut BTreeMap<i64, Warm>,
    db: &mut SqliteConnection,
    minute: i64,
    turn: u64,
) -> Result<&'a mut Warm, sqlx::Error> {
    let warm = match all.entry(minute) {
        Entry::Occupied(warm) => warm.into_mut(),
        Entry::Vacant(cold) => {
            cold.insert(Warm { buckets: db::minute(db, minute).await?, used: turn })
        }
    };
    warm.used = turn;
    Ok(warm)
}

/// The events that are kept: `most` a service and minute. Their buckets are warm.
fn chosen(
    events: Vec<Event>,
    services: &HashMap<ServiceName, Service>,
    warm: &mut BTreeMap<i64, Warm>,
    most: u32,
) -> Vec<(i64, Event)> {
    let mut chosen = Vec::new();
    for event in events {
        let Some(service) = services.get(&event.service).map(|known| known.id) else { continue };
        let bucket = warm
            .get_mut(&minute_of(event.at))
            .and_then(|warm| warm.buckets.get_mut(&service))
            .filter(|bucket| bucket.events < most);
        if let Some(bucket) = bucket {
            bucket.events += 1;
            chosen.push((service, event));
        }
    }
    chosen
}

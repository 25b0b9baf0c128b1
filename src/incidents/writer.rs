//! The task around the book: the next command in, the effects into one transaction, then the answer.
//!
//! While the store cannot be written nothing is forgotten: effects pile up in [`Backlog`], what pages goes to
//! the dispatcher as emergencies, and everything is committed as soon as the store takes it. A commit may be
//! repeated without harm, so an error after which nobody knows what happened needs no care of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, owed};
use super::state::{Book, Effects, Rules};
use super::{Envelope, Reply, Route, Snapshot};
use crate::clock::Clock;
use crate::model::{Incident, Severity};
use crate::store::{Emergency, Error, Owed, Store};
use crate::telemetry::Metrics;

/// How often time is let pass for the book, on the wall clock: silences end, held-back updates become due.
const TICK: Duration = Duration::from_secs(5);
/// Pages wait so long for a commit; then they go out from memory while it goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// Back-off between attempts to write.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// A single failure is a hiccup; so many in a row are an incident.
const FAILURES_OF_AN_INCIDENT: u32 = 2;

/// What the writer needs.
pub struct Writer {
    /// Where incidents and what is owed are kept.
    pub store: Store,
    /// The numbers of the rules.
    pub rules: Rules,
    /// Who is owed a message.
    pub route: Route,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where open incidents and failures are counted.
    pub metrics: Metrics,
    /// What is asked.
    pub commands: mpsc::Receiver<Envelope>,
    /// What others see.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// P1 and P2 that the store cannot keep.
    pub emergency: mpsc::Sender<Emergency>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Routes are a function, which has no words.
        f.debug_struct("Writer").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Runs until asked to stop; then carries out what is queued and ends. Also ends when another replica leads.
pub async fn run(writer: Writer, soft: CancellationToken) {
    let Writer { store, rules, route, clock, metrics, mut commands, snapshot, emergency } = writer;
    let Some(book) = load(&store, rules, route, clock.as_ref(), &soft).await else { return };
    let backlog = Backlog::default();
    let mut desk =
        Desk { book, store, clock, metrics, snapshot, emergency, backlog, failing: None };
    desk.publish();
    let mut next_tick = Instant::now();
    while !soft.is_cancelled() {
        let retry_at = desk.failing.as_ref().map(|failing| failing.retry_at);
        let wake_at = retry_at.map_or(next_tick, |at| at.min(next_tick));
        let ended = tokio::select! {
            () = soft.cancelled() => break,
            command = commands.recv() => match command {
                Some(envelope) => desk.carry_out(envelope).await,
                None => break,
            },
            () = tokio::time::sleep_until(wake_at) => {
                if next_tick <= Instant::now() {
                    next_tick = Instant::now() + desk.clock.span(TICK);
                }
                desk.pass_time().await
            }
        };
        if ended.is_err() {
            tracing::error!("another replica leads, incidents are no longer written here");
            return;
        }
    }
    commands.close();
    while let Some(envelope) = commands.recv().await {
        if desk.carry_out(envelope).await.is_err() {
            return;
        }
    }
    desk.finish().await;
}

/// Another replica leads.
struct Fenced;

async fn load(
    store: &Store,
    rules: Rules,
    route: Route,
    clock: &dyn Clock,
    soft: &CancellationToken,
) -> Option<Book> {
    let mut wait = FIRST_RETRY;
    loop {
        let since = clock.now() - Book::kept(&rules);
        match store.load_book(since).await {
            Ok((incidents, silences)) => {
                tracing::info!(
                    incidents = incidents.len(),
                    silences = silences.len(),
                    "incidents loaded"
                );
                return Some(Book::load(rules, route, incidents, silences));
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?error, "loading incidents failed, will be tried again");
            }
        }
        tokio::select! {
            () = soft.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LAST_RETRY);
    }
}

struct Desk {
    book: Book,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    snapshot: watch::Sender<Arc<Snapshot>>,
    emergency: mpsc::Sender<Emergency>,
    backlog: Backlog,
    failing: Option<Failing>,
}

/// The store could not be written the last time.
struct Failing {
    attempts: u32,
    retry_at: Instant,
    reason: String,
}

impl Desk {
    async fn carry_out(&mut self, envelope: Envelope) -> Result<(), Fenced> {
        let Envelope { command, reply } = envelope;
        let effects = self.book.apply(command, self.clock.now());
        let mut answer = effects.reply.clone();
        let writes = !(effects.incidents.is_empty() && effects.silences.is_empty());
        self.take_in(&effects).await?;
        if let Some(failing) = self.failing.as_ref().filter(|_| writes) {
            answer = Reply::Unavailable(format!(
                "kept in memory until the store can be written: {}",
                failing.reason
            ));
        }
        if let Some(reply) = reply {
            answer_to(reply, answer);
        }
        Ok(())
    }

    /// Lets time pass for the book, and tries again what could not be written.
    async fn pass_time(&mut self) -> Result<(), Fenced> {
        let effects = self.book.tick(self.clock.now());
        let due = |failing: &Failing| failing.retry_at <= Instant::now();
        if self.failing.as_ref().is_some_and(due) {
            self.put_away(&effects);
            self.page_from_memory(&effects);
            self.write(&[]).await?;
            self.publish();
            return Ok(());
        }
        self.take_in(&effects).await
    }

    /// Commits the effects of a step, or keeps them while the store fails.
    async fn take_in(&mut self, effects: &Effects) -> Result<(), Fenced> {
        if effects.incidents.is_empty() && effects.silences.is_empty() {
            return Ok(());
        }
        self.put_away(effects);
        if self.failing.is_some() {
            self.page_from_memory(effects);
        } else {
            let urgent = self.urgent(effects);
            self.write(&urgent).await?;
        }
        self.publish();
        Ok(())
    }

    fn put_away(&mut self, effects: &Effects) {
        let now = self.clock.now();
        for notice in &effects.notices {
            let Some(incident) = self.book.incident(&notice.incident) else { continue };
            tracing::info!(
                incident.id = %incident.id, incident.severity = incident.severity.as_str(),
                incident.title = incident.title, receivers = notice.receivers.len(),
                "incident {}", notice.change.as_str()
            );
        }
        let dropped = self.backlog.add(effects, now);
        if dropped > 0 {
            tracing::error!(
                messages = dropped,
                "too many messages wait for the store, some are dropped"
            );
        }
    }

    /// What must not wait for the store.
    fn urgent(&self, effects: &Effects) -> Vec<Emergency> {
        let now = self.clock.now();
        let of = |incident: &Incident| {
            let owed: Vec<Owed> = effects
                .notices
                .iter()
                .filter(|notice| notice.incident == incident.id)
                .flat_map(|notice| owed(incident, notice, now))
                .collect();
            let pages = incident.worst >= Severity::P2 && !owed.is_empty();
            pages.then(|| Emergency { incident: incident.clone(), owed })
        };
        effects.incidents.iter().filter_map(of).collect()
    }

    fn page_from_memory(&self, effects: &Effects) {
        self.send(self.urgent(effects));
    }

    fn send(&self, emergencies: Vec<Emergency>) {
        for emergency in emergencies {
            let id = emergency.incident.id.clone();
            if self.emergency.try_send(emergency).is_err() {
                tracing::error!(incident.id = %id, "too many emergencies, one waits for the store");
            }
        }
    }

    /// Commits everything that waits. `urgent` goes out from memory when that takes too long, or fails.
    async fn write(&mut self, urgent: &[Emergency]) -> Result<(), Fenced> {
        let changes = self.backlog.changes();
        let mut sent = urgent.is_empty();
        let outcome = {
            let commit = self.store.commit(&changes);
            tokio::pin!(commit);
            if let Ok(outcome) = tokio::time::timeout(PATIENCE, &mut commit).await {
                outcome
            } else {
                sent = true;
                self.send(urgent.to_vec());
                commit.await
            }
        };
        match outcome {
            Ok(()) => {
                self.backlog.clear();
                self.recovered().await
            }
            Err(Error::Fenced) => Err(Fenced),
            Err(error) => {
                if !sent {
                    self.send(urgent.to_vec());
                }
                self.failed(&error);
                Ok(())
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        let trouble = error.trouble();
        let labels = vec![("trouble", trouble.as_str().to_owned())];
        self.metrics.store_failures.get_or_create(&labels).inc();
        let attempts = self.failing.as_ref().map_or(0, |failing| failing.attempts) + 1;
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempts - 1)).min(LAST_RETRY);
        if attempts.is_power_of_two() {
            tracing::error!(
                error = %error, cause = ?std::error::Error::source(error), attempts,
                "incidents cannot be written, they are kept in memory"
            );
        }
        let reason = trouble.words().to_owned();
        let retry_at = Instant::now() + wait;
        self.failing = Some(Failing { attempts, retry_at, reason: reason.clone() });
        if attempts >= FAILURES_OF_AN_INCIDENT {
            let effects = self.book.store_failed(&reason, self.clock.now());
            self.put_away(&effects);
            self.page_from_memory(&effects);
        }
    }

    /// Ends the incident about the store, if there is one.
    async fn recovered(&mut self) -> Result<(), Fenced> {
        if let Some(failing) = self.failing.take() {
            tracing::warn!(attempts = failing.attempts, "incidents can be written again");
        }
        if !self.book.blames_store() {
            return Ok(());
        }
        let effects = self.book.store_back(self.clock.now());
        self.put_away(&effects);
        match self.store.commit(&self.backlog.changes()).await {
            Ok(()) => {
                self.backlog.clear();
                Ok(())
            }
            Err(Error::Fenced) => Err(Fenced),
            Err(error) => {
                self.failed(&error);
                Ok(())
            }
        }
    }

    fn publish(&self) {
        let snapshot = self.book.snapshot(self.failing.is_none());
        for severity in Severity::ALL {
            let open = snapshot.open.iter().filter(|(_, of)| *of == severity).count();
            let labels = vec![("severity", severity.as_str().to_owned())];
            let gauge = self.metrics.incidents_open.get_or_create(&labels);
            gauge.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// One last attempt: what cannot be written now is lost with the process.
    async fn finish(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit(&self.backlog.changes()).await {
            tracing::error!(
                error = %error, incidents = self.backlog.incidents(),
                messages = self.backlog.messages(), "incidents were not written before the end"
            );
        }
    }
}

fn answer_to(reply: oneshot::Sender<Reply>, answer: Reply) {
    // Whoever asked may have gone away: the command is carried out all the same.
    drop(reply.send(answer));
}

//! Sends what is owed to one receiver, one message at a time: the dispatcher runs one such lane per receiver,
//! so that a receiver that hangs delays nobody else.
//!
//! A lane reads what is owed from the store and takes no other input, but for emergencies: P1 and P2 that the
//! store cannot keep. What it sent while the store could not record it, it remembers and records later.
//!
//! Long because both ways to send, from the store and from memory, must be read side by side.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{Chance, Consequence, Pacer, Settings, Tried, after_failure, back_off, later};
use super::dispatcher::{Receiver, Receivers};
use super::ledger::{Key, Ledger, Pending};
use super::{Failure, LONGEST_SEND, Outgoing, Reason, Retry};
use crate::clock::Clock;
use crate::model::{Delivery, DeliveryState, Incident, IncidentId, Receipt, Severity};
use crate::store::{Attempt, Store};
use crate::telemetry::Metrics;

/// The longest that a lane goes without looking, should a hint be lost.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(15);

/// The shortest wait when nothing could be leased.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// After how long an attempt is cut off, should the notifier not keep its own deadline.
const DEADLINE: Duration = LONGEST_SEND.saturating_add(Duration::from_secs(1));

/// How long a lease stands: longer than any attempt.
const LEASE: Duration = DEADLINE.saturating_add(Duration::from_secs(14));

/// The longest wait between two tries of a store that fails.
const STORE_RETRY_CAP: Duration = Duration::from_secs(5);

/// How many overdue messages are handed to a fallback in one go.
const HAND_OVER: u32 = 64;

/// What every lane shares.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) receivers: watch::Receiver<Arc<Receivers>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) settings: Settings,
    pub(super) base_url: Option<String>,
    /// For messages that must go to another receiver although the store cannot say so.
    pub(super) divert: mpsc::Sender<(String, Pending)>,
    pub(super) soft: CancellationToken,
}

/// See the file's header.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) shared: Shared,
    pub(super) wake: watch::Receiver<u64>,
    pub(super) emergencies: mpsc::Receiver<Pending>,
    pub(super) chance: Chance,
    pub(super) ledger: Ledger,
    pub(super) pacer: Pacer,
    /// Nothing goes out before: the receiver asked for it.
    pub(super) paused_until: Option<Instant>,
    /// A lease may stand that belongs to nothing under way.
    pub(super) stray_lease: bool,
    /// Failed calls to the store, one after the other.
    pub(super) store_failures: u32,
}

/// What a lane does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to do.
    Again,
    /// Nothing to do until then, or until something is owed.
    Wait(Option<Instant>),
}

impl Lane {
    /// Runs until asked to stop; a message under way is finished first.
    pub(super) async fn run(mut self) {
        let soft = self.shared.soft.clone();
        while !soft.is_cancelled() {
            if let Next::Wait(until) = self.step().await {
                self.wait(until).await;
            }
        }
    }

    async fn wait(&mut self, until: Option<Instant>) {
        let latest = Instant::now() + LOOK_AT_LEAST_EVERY;
        let until = until.map_or(latest, |at| at.min(latest));
        tokio::select! {
            () = self.shared.soft.cancelled() => {}
            // An error means that the dispatcher is gone, and the soft token with it.
            _ = self.wake.changed() => {}
            Some(item) = self.emergencies.recv() => self.take_in(item),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    fn take_in(&mut self, item: Pending) {
        let incident = item.key.incident.clone();
        if !self.ledger.queue(item) {
            tracing::error!(
                receiver.name = self.name, incident.id = %incident,
                "too many messages wait while the store cannot be written; one is dropped"
            );
        }
    }

    async fn step(&mut self) -> Next {
        while let Ok(item) = self.emergencies.try_recv() {
            self.take_in(item);
        }
        let receiver = self.shared.receivers.borrow().get(&self.name).cloned();
        let Some(receiver) = receiver else { return self.without_receiver().await };
        let now = Instant::now();
        let paced = self.pacer.not_before(receiver.pace, now);
        if let Some(at) = self.paused_until.filter(|at| *at > now).max(paced) {
            self.hand_over_overdue(&receiver, at - now).await;
            return Next::Wait(Some(at));
        }
        if let Some(item) = self.ledger.next_pending(now).cloned() {
            self.send_from_memory(&receiver, item).await;
            return Next::Again;
        }
        let stepped = self.step_with_store(&receiver).await;
        match stepped {
            Ok(next) => {
                self.store_failures = 0;
                match (next, self.ledger.next_due()) {
                    (Next::Wait(Some(at)), Some(due)) => Next::Wait(Some(at.min(due))),
                    (Next::Wait(None), due) => Next::Wait(due),
                    (next, _) => next,
                }
            }
            Err(error) => self.without_store(&receiver, &error).await,
        }
    }

    /// Takes the next message that is due from the store, sends it, and records the outcome.
    async fn step_with_store(&mut self, receiver: &Receiver) -> crate::store::Result<Next> {
        let Some(delivery) = self.lease().await? else {
            return Ok(Next::Wait(self.next_due().await?));
        };
        let key = Key::of(&delivery);
        if let Some(receipt) = self.ledger.sent(&key).cloned() {
            self.settle(&delivery, &Attempt::Delivered(receipt)).await?;
            self.ledger.recorded(&key);
            return Ok(Next::Again);
        }
        self.ledger.unqueue(&key);
        let shown = receiver.notifier.coalesces() && self.ledger.covers(&key);
        if shown || self.ledger.overtaken(&key) {
            self.settle(&delivery, &Attempt::Superseded).await?;
            return Ok(Next::Again);
        }
        let Some(incident) = self.shared.store.incident(&delivery.incident).await? else {
            let error = "the incident is no longer in the store".to_owned();
            self.settle(&delivery, &Attempt::Dead { error, fallback: None }).await?;
            return Ok(Next::Again);
        };
        let receipt = match self.ledger.receipt(&delivery.incident) {
            Some(receipt) => Some(receipt.clone()),
            None => self.shared.store.receipt(&delivery.incident, &self.name).await?,
        };
        let outgoing = self.outgoing(&key, incident, receipt, delivery.attempts);
        match self.send(receiver, &key, &outgoing).await {
            Ok(receipt) => self.record_sent(&delivery, key, receipt).await?,
            Err(failure) => self.record_failure(receiver, &delivery, &outgoing, &failure).await?,
        }
        Ok(Next::Again)
    }

    async fn lease(&mut self) -> crate::store::Result<Option<Delivery>> {
        if self.stray_lease {
            self.shared.store.release(&self.name).await?;
            self.stray_lease = false;
        }
        let now = self.shared.clock.now();
        let until = later(now, LEASE);
        let due = self.shared.store.due().await?;
        if !due.iter().any(|(name, at)| *name == self.name && *at <= now) {
            return Ok(None);
        }
        let leased = self.shared.store.lease(&self.name, now, until, 1).await?;
        Ok(leased.into_iter().next())
    }

    async fn next_due(&self) -> crate::store::Result<Option<Instant>> {
        let due = self.shared.store.due().await?;
        let at = due.into_iter().find(|(name, _)| *name == self.name).map(|(_, at)| at);
        // Never at once: this is asked when nothing could be leased.
        Ok(at.map(|at| Instant::now() + self.shared.clock.until(at).max(SHORTEST_WAIT)))
    }

    /// The message as it goes out now.
    fn outgoing(
        &self,
        key: &Key,
        incident: Incident,
        receipt: Option<Receipt>,
        attempt: u32,
    ) -> Outgoing {
        Outgoing {
            incident,
            change: key.change,
            receipt,
            key: Outgoing::key(&key.incident, key.change, key.revision),
            attempt,
            now: self.shared.clock.now(),
            base_url: self.shared.base_url.clone(),
        }
    }

    /// Sends one message, within the deadline.
    async fn send(
        &mut self,
        receiver: &Receiver,
        key: &Key,
        outgoing: &Outgoing,
    ) -> Result<Receipt, Failure> {
        self.pacer.took(receiver.pace, Instant::now());
        let sent = tokio::time::timeout(DEADLINE, receiver.notifier.send(outgoing)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(Failure {
                reason: Reason::Deadline,
                detail: format!("no answer within {} s", DEADLINE.as_secs()),
                retry: Retry::Later,
            })
        });
        let outcome = match &sent {
            Ok(_) => "delivered",
            Err(failure) => failure.reason.as_str(),
        };
        self.shared
            .metrics
            .delivery_attempts
            .get_or_create(&vec![("receiver", self.name.clone()), ("outcome", outcome.to_owned())])
            .inc();
        if sent.is_ok() {
            self.ledger.showed(key, outgoing.incident.revision);
        }
        sent
    }

    async fn record_sent(
        &mut self,
        delivery: &Delivery,
        key: Key,
        receipt: Receipt,
    ) -> crate::store::Result<()> {
        // Remembered first: should the store fail now, it must not go out again when the store is back.
        self.ledger.remember(key.clone(), receipt.clone());
        self.settle(delivery, &Attempt::Delivered(receipt)).await?;
        self.ledger.recorded(&key);
        Ok(())
    }

    async fn record_failure(
        &mut self,
        receiver: &Receiver,
        delivery: &Delivery,
        outgoing: &Outgoing,
        failure: &Failure,
    ) -> crate::store::Result<()> {
        let tried = Tried::of(delivery, receiver.fallback.as_deref());
        let attempt = self.consequence(tried, &delivery.incident.0, failure);
        let fallback = match &attempt {
            Attempt::Retry { fallback, .. } | Attempt::Dead { fallback, .. } => fallback.clone(),
            Attempt::Delivered(_) | Attempt::Superseded => None,
        };
        let settled = self.settle(delivery, &attempt).await;
        if settled.is_err()
            && let Some(fallback) = fallback
        {
            self.divert(fallback, pending(delivery, outgoing.incident.clone()));
        }
        settled?;
        if matches!(attempt, Attempt::Retry { .. }) {
            self.hand_over_overdue(receiver, Duration::ZERO).await;
        }
        Ok(())
    }

    /// Decides what follows from a failure, keeps the pause that it asks for, and logs it.
    fn consequence(&mut self, tried: Tried<'_>, incident: &str, failure: &Failure) -> Attempt {
        let chance = self.chance.next();
        let now = self.shared.clock.now();
        let Consequence { attempt, pause } =
            after_failure(tried, failure, now, &self.shared.settings, chance);
        if let Some(pause) = pause {
            self.paused_until = Some(Instant::now() + self.shared.clock.span(pause));
        }
        let reason = failure.reason.as_str();
        if matches!(attempt, Attempt::Dead { .. }) {
            tracing::error!(
                receiver.name = self.name, incident.id = incident, delivery.attempts = tried.attempts,
                reason, error = %failure, "delivery given up"
            );
        } else if tried.attempts.is_power_of_two() {
            // Not every time: a receiver that is down for a day would fill the log.
            tracing::warn!(
                receiver.name = self.name, incident.id = incident, delivery.attempts = tried.attempts,
                reason, error = %failure, "delivery failed, will be tried again"
            );
        }
        attempt
    }

    /// Records an outcome.
    async fn settle(&self, delivery: &Delivery, attempt: &Attempt) -> crate::store::Result<()> {
        let now = self.shared.clock.now();
        let known = self.shared.store.settle(delivery.id, attempt, now).await?;
        if !known {
            tracing::debug!(delivery.id = delivery.id.0, "delivery was already done with");
        }
        Ok(())
    }

    /// A P1 that waits behind others for too long goes to the fallback too, although it was not tried yet.
    async fn hand_over_overdue(&mut self, receiver: &Receiver, pause: Duration) {
        let Some(fallback) = &receiver.fallback else { return };
        let now = self.shared.clock.now();
        let free_at = later(now, pause);
        // Without the store there is nothing to hand over; what is in memory has its own way.
        let waiting =
            self.shared.store.urgent(&self.name, now, HAND_OVER).await.unwrap_or_default();
        for delivery in waiting {
            let overdue = self.shared.settings.overdue(delivery.created_at) <= free_at;
            if delivery.severity != Severity::P1 || !overdue || !self.ledger.hand_over(delivery.id)
            {
                continue;
            }
            let attempt = Attempt::Retry {
                due_at: free_at,
                error: "waits behind messages that the receiver does not take".to_owned(),
                fallback: Some(fallback.clone()),
            };
            if let Err(error) = self.settle(&delivery, &attempt).await {
                tracing::warn!(receiver.name = self.name, error = %error, "handing over failed");
                return self.ledger.forget_hand_over(delivery.id);
            }
        }
    }

    /// The store cannot be read or written: what is urgent in it goes out all the same, from memory.
    async fn without_store(&mut self, receiver: &Receiver, error: &crate::store::Error) -> Next {
        self.store_failures = self.store_failures.saturating_add(1);
        // The call that failed may have been carried out, or had leased what is under way no more.
        self.stray_lease = true;
        if self.store_failures.is_power_of_two() {
            tracing::warn!(
                receiver.name = self.name, error = %error, cause = ?std::error::Error::source(error),
                "store failed, what is urgent goes out from memory"
            );
        }
        let now = self.shared.clock.now();
        let urgent = self.shared.store.urgent(&self.name, now, HAND_OVER).await.unwrap_or_default();
        for delivery in urgent {
            if self.line_up(receiver, &delivery.incident, i64::MAX).await.is_err() {
                break;
            }
        }
        if self.ledger.next_pending(Instant::now()).is_some() {
            return Next::Again;
        }
        let chance = self.chance.next();
        let wait =
            back_off(self.store_failures, &self.shared.settings, chance).min(STORE_RETRY_CAP);
        let at = Instant::now() + wait;
        Next::Wait(Some(self.ledger.next_due().map_or(at, |due| due.min(at))))
    }

    /// Takes from the store what is owed about an incident since before `revision`, so that what goes out
    /// from memory keeps the incident's order.
    async fn line_up(
        &mut self,
        receiver: &Receiver,
        incident: &IncidentId,
        revision: i64,
    ) -> crate::store::Result<()> {
        let mut owed = self.shared.store.deliveries(incident).await?;
        owed.retain(|delivery| {
            let key = Key::of(delivery);
            let shown = receiver.notifier.coalesces() && self.ledger.covers(&key);
            let here = delivery.receiver == self.name && delivery.state == DeliveryState::Owed;
            here && delivery.revision < revision && !shown && !self.ledger.overtaken(&key)
        });
        if owed.is_empty() {
            return Ok(());
        }
        // Read after them, so that it is at least as new as each.
        let Some(incident) = self.shared.store.incident(incident).await? else { return Ok(()) };
        for delivery in owed {
            let due = Instant::now() + self.shared.clock.until(delivery.due_at);
            self.take_in(Pending { due: Some(due), ..pending(&delivery, incident.clone()) });
        }
        Ok(())
    }

    async fn send_from_memory(&mut self, receiver: &Receiver, item: Pending) {
        let known = self.line_up(receiver, &item.key.incident, item.key.revision).await;
        if known.is_err() && !item.key.change.pages() {
            // What came before may still be owed, and nobody can tell. A page goes out all the same; to
            // acknowledge or end what is not known to be open would undo it.
            if let Some(waiting) = self.ledger.pending_mut(&item.key) {
                waiting.due = Some(Instant::now() + STORE_RETRY_CAP);
            }
            return;
        }
        if !self.ledger.is_head(&item.key) {
            return;
        }
        if receiver.notifier.coalesces() && self.ledger.covers(&item.key) {
            self.ledger.unqueue(&item.key);
            return;
        }
        let attempt = item.attempts.saturating_add(1);
        let incident = item.incident.clone();
        let receipt = match self.ledger.receipt(&item.key.incident) {
            Some(receipt) => Some(receipt.clone()),
            // It may still be readable; if not, the message begins anew.
            None => {
                self.shared.store.receipt(&item.key.incident, &self.name).await.unwrap_or_default()
            }
        };
        let outgoing = self.outgoing(&item.key, incident, receipt, attempt);
        let failure = match self.send(receiver, &item.key, &outgoing).await {
            Ok(receipt) => {
                self.ledger.unqueue(&item.key);
                self.ledger.remember(item.key, receipt);
                return;
            }
            Err(failure) => failure,
        };
        let tried = Tried {
            severity: item.severity,
            created_at: item.created_at,
            attempts: attempt,
            fallback: receiver.fallback.as_deref().filter(|_| !item.handed_over),
        };
        match self.consequence(tried, &item.key.incident.0, &failure) {
            Attempt::Retry { due_at, fallback, .. } => {
                let due = Instant::now() + self.shared.clock.until(due_at);
                if let Some(waiting) = self.ledger.pending_mut(&item.key) {
                    waiting.attempts = attempt;
                    waiting.due = Some(due);
                    waiting.handed_over |= fallback.is_some();
                }
                self.divert_if(fallback, item);
            }
            Attempt::Dead { fallback, .. } => {
                self.ledger.unqueue(&item.key);
                self.divert_if(fallback, item);
            }
            Attempt::Delivered(_) | Attempt::Superseded => {}
        }
    }

    fn divert_if(&self, fallback: Option<String>, item: Pending) {
        if let Some(fallback) = fallback {
            self.divert(fallback, Pending { attempts: 0, due: None, handed_over: false, ..item });
        }
    }

    fn divert(&self, to: String, item: Pending) {
        let incident = item.key.incident.clone();
        if self.shared.divert.try_send((to, item)).is_err() {
            tracing::error!(
                receiver.name = self.name, incident.id = %incident,
                "the fallback could not be reached while the store cannot be written"
            );
        }
    }

    /// Nobody of this name is in the settings (any more): what is owed to it is given up, visibly.
    async fn without_receiver(&mut self) -> Next {
        let error = format!("there is no receiver `{}` in the settings", self.name);
        if let Some(item) = self.ledger.next_pending(Instant::now()).map(|item| item.key.clone()) {
            self.ledger.unqueue(&item);
            tracing::error!(incident.id = %item.incident, error, "delivery given up");
            return Next::Again;
        }
        match self.give_up_next(&error).await {
            Ok(Some(incident)) => {
                tracing::error!(incident.id = %incident, error, "delivery given up");
                Next::Again
            }
            Ok(None) => Next::Wait(self.next_due().await.unwrap_or_default()),
            Err(_) => {
                self.stray_lease = true;
                Next::Wait(Some(Instant::now() + STORE_RETRY_CAP))
            }
        }
    }

    async fn give_up_next(&mut self, error: &str) -> crate::store::Result<Option<IncidentId>> {
        let Some(delivery) = self.lease().await? else { return Ok(None) };
        let dead = Attempt::Dead { error: error.to_owned(), fallback: None };
        self.settle(&delivery, &dead).await?;
        Ok(Some(delivery.incident))
    }
}

/// A message of the store that goes out from memory.
fn pending(delivery: &Delivery, incident: Incident) -> Pending {
    Pending {
        key: Key::of(delivery),
        incident,
        severity: delivery.severity,
        created_at: delivery.created_at,
        attempts: delivery.attempts,
        due: None,
        handed_over: false,
    }
}

//! What one receiver was sent, as far as the process remembers: so that a message that already shows a change
//! stands for it, and so that what was sent while the store could not be written is not sent again. Pure.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::model::{
    Change, Delivery, DeliveryId, Incident, IncidentId, Receipt, Severity, UtcTime,
};
use crate::store::Owed;

/// How many incidents and messages are remembered; the oldest are forgotten first. To have forgotten costs at
/// most a repeated edit or message.
const REMEMBERED: usize = 1_024;

/// Identifies a message to one receiver, in the store and out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) incident: IncidentId,
    pub(super) change: Change,
    pub(super) revision: i64,
}

impl Key {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self {
            incident: delivery.incident.clone(),
            change: delivery.change,
            revision: delivery.revision,
        }
    }

    pub(super) fn owed(owed: &Owed) -> Self {
        Self { incident: owed.incident.clone(), change: owed.change, revision: owed.revision }
    }
}

/// A message that is sent from memory, because the store cannot be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    pub(super) key: Key,
    pub(super) incident: Incident,
    pub(super) severity: Severity,
    pub(super) created_at: UtcTime,
    pub(super) attempts: u32,
    /// Not before; on the timer, for the wall clock may be stepped.
    pub(super) due: Option<Instant>,
    /// Whether the fallback has it too.
    pub(super) handed_over: bool,
}

/// A map that forgets its oldest entries.
#[derive(Debug)]
struct Memory<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Memory<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, key: &K) {
        if self.values.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }
}

/// The revision of an incident that a receiver's message shows, and the one that people were told of.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    any: i64,
    paged: i64,
}

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    shown: Memory<IncidentId, Shown>,
    sent: Memory<Key, Receipt>,
    receipts: Memory<IncidentId, Receipt>,
    handed_over: Memory<DeliveryId, ()>,
    pending: Vec<Pending>,
}

impl Ledger {
    /// A message about `key` went out and showed `revision`.
    pub(super) fn showed(&mut self, key: &Key, revision: i64) {
        let mut shown = self.shown.values.get(&key.incident).copied().unwrap_or_default();
        // The last message counts, not the newest: one from memory may show less than the one before it.
        shown.any = revision;
        if key.change.pages() {
            shown.paged = shown.paged.max(revision);
        }
        self.shown.insert(key.incident.clone(), shown);
    }

    /// Whether a message that went out already shows what `key` wants to show. A page is covered by a page
    /// only: an edit tells nobody.
    pub(super) fn covers(&self, key: &Key) -> bool {
        self.shown.values.get(&key.incident).is_some_and(|shown| {
            key.revision <= if key.change.pages() { shown.paged } else { shown.any }
        })
    }

    /// It went out, but the store does not know.
    pub(super) fn remember(&mut self, key: Key, receipt: Receipt) {
        self.receipts.insert(key.incident.clone(), receipt.clone());
        self.sent.insert(key, receipt);
    }

    /// The receipt, if it went out and the store does not know.
    pub(super) fn sent(&self, key: &Key) -> Option<&Receipt> {
        self.sent.values.get(key)
    }

    /// Whether a later page went out from memory: to acknowledge or end it now would undo that page.
    pub(super) fn overtaken(&self, key: &Key) -> bool {
        let later = |sent: &Key| {
            sent.incident == key.incident && sent.revision > key.revision && sent.change.pages()
        };
        !key.change.pages() && self.sent.values.keys().any(later)
    }

    /// The store knows.
    pub(super) fn recorded(&mut self, key: &Key) {
        self.sent.remove(key);
        if !self.sent.values.keys().any(|other| other.incident == key.incident) {
            self.receipts.remove(&key.incident);
        }
    }

    /// The newest receipt of an incident, if the store does not have it.
    pub(super) fn receipt(&self, incident: &IncidentId) -> Option<&Receipt> {
        self.receipts.values.get(incident)
    }

    /// A delivery goes to the fallback too; false if it was noted before.
    pub(super) fn hand_over(&mut self, id: DeliveryId) -> bool {
        let first = !self.handed_over.values.contains_key(&id);
        self.handed_over.insert(id, ());
        first
    }

    /// Handing it over failed.
    pub(super) fn forget_hand_over(&mut self, id: DeliveryId) {
        self.handed_over.remove(&id);
    }

    /// Something to be sent from memory; false if there is no room for it. What is known already is not
    /// taken twice.
    pub(super) fn queue(&mut self, item: Pending) -> bool {
        if self.sent(&item.key).is_some() || self.pending.iter().any(|other| other.key == item.key)
        {
            return true;
        }
        if self.pending.len() >= REMEMBERED {
            return false;
        }
        self.pending.push(item);
        true
    }

    /// Whether this is what its incident waits for.
    pub(super) fn is_head(&self, key: &Key) -> bool {
        self.heads().any(|item| item.key == *key)
    }

    /// The store has it and takes over, or it is done with.
    pub(super) fn unqueue(&mut self, key: &Key) -> Option<Pending> {
        let index = self.pending.iter().position(|item| item.key == *key)?;
        Some(self.pending.remove(index))
    }

    /// The next to be sent from memory: of one incident only the oldest; first the one that the worst waits
    /// behind.
    pub(super) fn next_pending(&self, now: Instant) -> Option<&Pending> {
        self.heads()
            .filter(|item| item.due.is_none_or(|due| due <= now))
            .reduce(|best, item| if self.urgency(item) > self.urgency(best) { item } else { best })
    }

    fn urgency(&self, head: &Pending) -> Option<Severity> {
        let of_incident = |item: &&Pending| item.key.incident == head.key.incident;
        self.pending.iter().filter(of_incident).map(|item| item.severity).max()
    }

    /// When the next one will be due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heads().filter_map(|item| item.due).min()
    }

    /// Of each incident what became owed first, in whichever order it came here.
    fn heads(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter().filter(|item| {
            let older = |other: &&Pending| {
                other.key.incident == item.key.incident && other.key.revision < item.key.revision
            };
            !self.pending.iter().any(|other| older(&other))
        })
    }

    /// A failed item, to be changed in place.
    pub(super) fn pending_mut(&mut self, key: &Key) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|item| item.key == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::outage;
    use super::*;

    fn key(incident: &str, change: Change, revision: i64) -> Key {
        Key { incident: IncidentId(incident.to_owned()), change, revision }
    }

    fn item(key: Key, severity: Severity) -> Pending {
        let incident = outage();
        let created_at = incident.opened_at;
        let (attempts, due, handed_over) = (0, None, false);
        Pending { key, incident, severity, created_at, attempts, due, handed_over }
    }

    #[test]
    fn a_page_is_covered_by_a_page_only() {
        let mut ledger = Ledger::default();
        ledger.showed(&key("a", Change::Updated, 2), 3);
        assert!(ledger.covers(&key("a", Change::Resolved, 3)));
        assert!(!ledger.covers(&key("a", Change::Worsened, 3)));
        assert!(!ledger.covers(&key("b", Change::Updated, 1)));
        ledger.showed(&key("a", Change::Opened, 1), 3);
        assert!(ledger.covers(&key("a", Change::Worsened, 3)));
        assert!(!ledger.covers(&key("a", Change::Worsened, 4)));
    }

    #[test]
    fn what_would_undo_a_later_page_is_overtaken() {
        let mut ledger = Ledger::default();
        ledger.remember(key("a", Change::Reopened, 5), Receipt::default());
        assert!(ledger.overtaken(&key("a", Change::Resolved, 4)));
        assert!(!ledger.overtaken(&key("a", Change::Opened, 1)));
        assert!(!ledger.overtaken(&key("a", Change::Resolved, 6)));
        assert!(!ledger.overtaken(&key("b", Change::Resolved, 4)));
        ledger.recorded(&key("a", Change::Reopened, 5));
        assert!(!ledger.overtaken(&key("a", Change::Resolved, 4)));
    }

    #[tokio::test(start_paused = true)]
    async fn from_memory_the_worst_goes_first_and_each_incident_in_order() {
        let mut ledger = Ledger::default();
        for (incident, change, revision, severity) in [
            ("a", Change::Worsened, 2, Severity::P1),
            ("b", Change::Opened, 1, Severity::P2),
            ("a", Change::Opened, 1, Severity::P2),
            ("c", Change::Opened, 1, Severity::P1),
        ] {
            let item = item(key(incident, change, revision), severity);
            assert!(ledger.queue(item.clone()) && ledger.queue(item), "taken once");
        }
        let mut order = Vec::new();
        while let Some(next) = ledger.next_pending(Instant::now()).map(|item| item.key.clone()) {
            ledger.unqueue(&next);
            order.push(format!("{} {}", next.incident, next.revision));
        }
        assert_eq!(order, ["a 1", "a 2", "c 1", "b 1"]);
    }

    #[test]
    fn only_so_much_is_remembered() {
        let mut ledger = Ledger::default();
        for number in 0..=REMEMBERED {
            ledger.remember(key(&number.to_string(), Change::Opened, 1), Receipt::default());
        }
        assert_eq!(ledger.sent(&key("0", Change::Opened, 1)), None);
        assert!(ledger.sent(&key("1", Change::Opened, 1)).is_some());
    }
}

//! What the listener's connections, the writer and the source know together.
//!
//! Many connections write here at once: the names of services are a sharded map, so that requests do not wait for
//! each other. Nothing here is held across an `.await`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use dashmap::DashMap;

use super::buckets::Lag;
use super::document::{AHEAD, Horizon};
use super::rejection::{Reason, Rejection, quote};
use super::settings::Settings;
use crate::clock::Clock;
use crate::model::{ServiceName, UtcTime};
use crate::telemetry::Metrics;

/// Minutes of arrival over which the lag is measured.
const LAG_MINUTES: usize = 5;
/// Changed minutes that are remembered until they are read again.
const CHANGED: usize = 10_000;

/// What the parts of the log store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    /// Every service that was heard of; the key is the one copy of its name.
    pub names: DashMap<ServiceName, ()>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// By minute of arrival, oldest first.
    lags: VecDeque<(i64, Lag)>,
    /// Closed minutes up to which the source has read.
    read_to: Option<i64>,
    /// Minutes before `read_to` that have changed since.
    changed: BTreeSet<i64>,
    /// Since when writing fails, and why.
    broken: Option<(UtcTime, String)>,
    /// The last time when shippers had nowhere to write to: from, to.
    away: Option<(UtcTime, UtcTime)>,
    last_write: Option<UtcTime>,
}

impl Shared {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { settings, clock, metrics, names: DashMap::new(), progress: Mutex::default() }
    }

    /// The start of what is kept.
    pub(super) fn oldest(&self, now: UtcTime) -> UtcTime {
        now - TimeDelta::days(i64::from(self.settings.retention_days))
    }

    /// The times that are taken now.
    pub(super) fn horizon(&self, now: UtcTime) -> Horizon {
        Horizon { oldest: self.oldest(now), newest: now + AHEAD }
    }

    /// The one copy of a service's name; refuses new ones beyond the limit. Requests that arrive together may
    /// exceed it by a few.
    pub(super) fn intern(&self, name: &str) -> Result<ServiceName, Rejection> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.key().clone());
        }
        let most = self.settings.max_services;
        if self.names.len() >= most {
            return Err(Rejection::new(
                Reason::TooManyServices,
                format!(
                    "field [service.name] is new ({}), and there are {most} services already; raise embedded.max_services if that is right",
                    quote(name)
                ),
            ));
        }
        let name = ServiceName::from(name);
        Ok(self.names.entry(name).or_default().key().clone())
    }

    /// Counts a refused document.
    pub(super) fn refuse(&self, reason: Reason) {
        self.metrics
            .intake_rejected
            .get_or_create(&vec![("reason", reason.as_str().to_owned())])
            .inc();
    }

    /// Takes note of a commit.
    pub(super) fn written(&self, minutes: &[i64], lag: &Lag, now: UtcTime) {
        let arrival = super::buckets::minute_of(now);
        let mut progress = self.progress();
        progress.last_write = Some(now);
        if let Some((minute, newest)) = progress.lags.back_mut()
            && *minute == arrival
        {
            newest.merge(lag);
        } else {
            progress.lags.push_back((arrival, lag.clone()));
            if progress.lags.len() > LAG_MINUTES {
                progress.lags.pop_front();
            }
        }
        if let Some(read_to) = progress.read_to {
            let late = minutes.iter().copied().filter(|minute| *minute < read_to);
            progress.changed.extend(late);
            while progress.changed.len() > CHANGED {
                progress.changed.pop_first();
            }
        }
    }

    /// Takes note of a failed commit.
    pub(super) fn failed(&self, error: &sqlx::Error, now: UtcTime) {
        let reason = error.to_string();
        let mut progress = self.progress();
        if progress.broken.is_none() {
            tracing::error!(error = %reason, "log store cannot be written");
        }
        progress.broken.get_or_insert((now, reason));
    }

    /// Takes note that the file could be written.
    pub(super) fn writable(&self, now: UtcTime) {
        let mut progress = self.progress();
        if let Some((since, _)) = progress.broken.take() {
            tracing::info!(%since, "log store can be written again");
            progress.away = Some((since, now));
        }
    }

    /// Takes note that shippers had nowhere to write to.
    pub(super) fn was_away(&self, from: UtcTime, to: UtcTime) {
        self.progress().away = Some((from, to));
    }

    /// The last time when shippers had nowhere to write to: from, to.
    pub(super) fn away(&self) -> Option<(UtcTime, UtcTime)> {
        self.progress().away
    }

    /// Since when the store cannot be written, and why.
    pub(super) fn broken(&self) -> Option<(UtcTime, String)> {
        self.progress().broken.clone()
    }

    /// When documents were last written.
    pub(super) fn last_write(&self) -> Option<UtcTime> {
        self.progress().last_write
    }

    /// What 99 of 100 documents of the last minutes did not exceed between their time and their arrival.
    pub(super) fn lag(&self, now: UtcTime) -> Option<Duration> {
        let since = super::buckets::minute_of(now) - i64::try_from(LAG_MINUTES).unwrap_or(5);
        let progress = self.progress();
        let mut all = Lag::default();
        for (_, lag) in progress.lags.iter().filter(|(minute, _)| *minute > since) {
            all.merge(lag);
        }
        all.p99()
    }

    /// Takes note that the minutes `[from, to)` are about to be read: what changes from now on is late. Answers
    /// those of them that had changed.
    pub(super) fn reading(&self, from: i64, to: i64) -> BTreeSet<i64> {
        let mut progress = self.progress();
        progress.read_to = Some(progress.read_to.map_or(to, |read_to| read_to.max(to)));
        let (read, left) = std::mem::take(&mut progress.changed)
            .into_iter()
            .partition(|minute| (from..to).contains(minute));
        progress.changed = left;
        read
    }

    /// Takes note that minutes which had changed could not be read.
    pub(super) fn not_read(&self, minutes: BTreeSet<i64>) {
        self.progress().changed.extend(minutes);
    }

    /// The first and the last minute that have changed since they were read.
    pub(super) fn changed(&self) -> Option<(i64, i64)> {
        let progress = self.progress();
        Some((*progress.changed.first()?, *progress.changed.last()?))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing that holds it can panic half way through a change.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TimerClock;

    fn shared(max_services: usize) -> Shared {
        let settings = Settings { max_services, ..Settings::default() };
        let epoch = UtcTime::from_timestamp(1_700_000_000, 0).unwrap();
        Shared::new(settings, Arc::new(TimerClock::new(epoch)), Metrics::new())
    }

    #[tokio::test]
    async fn a_name_is_kept_once_and_their_number_is_bounded() {
        let shared = shared(2);
        let first = shared.intern("a").unwrap();
        assert!(Arc::ptr_eq(&first, &shared.intern("a").unwrap()));
        shared.intern("b").unwrap();
        assert_eq!(shared.intern("c").unwrap_err().reason, Reason::TooManyServices);
        assert!(shared.intern("b").is_ok());
    }

    #[tokio::test]
    async fn late_minutes_are_told_until_they_are_read_again() {
        let shared = shared(2);
        let now = shared.clock.now();
        shared.written(&[1, 2], &Lag::default(), now);
        assert_eq!(shared.changed(), None);
        assert!(shared.reading(0, 10).is_empty());
        shared.written(&[3, 9, 10, 3], &Lag::default(), now);
        assert_eq!(shared.changed(), Some((3, 9)));
        let read = shared.reading(9, 11);
        assert_eq!(shared.changed(), Some((3, 3)));
        shared.not_read(read);
        assert_eq!(shared.changed(), Some((3, 9)));
    }
}

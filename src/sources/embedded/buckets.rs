//! Minute buckets: what documents add to one, how it is kept, and what it says. Pure.
//!
//! Durations are kept as a DDSketch (1 % relative error) in its binary form, a few hundred bytes, so that ten
//! thousand services fit into little memory and late documents still merge exactly.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use sketches_ddsketch::{Config, DDSketch};

use super::document::Observation;
use super::rejection::Reason;
use crate::model::{QUANTILES, Quantiles, ServiceName, UtcTime};
use crate::sources::level::Level;

/// Requests whose documents span more than this are a replay of history: they say nothing about lag.
const LIVE_SPAN: TimeDelta = TimeDelta::minutes(2);

/// The minute that holds an instant: minutes since the epoch.
pub(super) fn minute_of(at: UtcTime) -> i64 {
    at.timestamp().div_euclid(60)
}

/// What documents add to the bucket of one service and minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Delta {
    pub documents: u32,
    /// Those of the documents that stand for requests.
    pub requests: u32,
    pub errors: u32,
    pub warnings: u32,
    /// Milliseconds.
    pub durations: Vec<f64>,
    /// Whether a document showed that the service tells requests apart from other lines.
    pub telling: bool,
}

impl Delta {
    fn merge(&mut self, other: Self) {
        self.documents = self.documents.saturating_add(other.documents);
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.warnings = self.warnings.saturating_add(other.warnings);
        self.durations.extend(other.durations);
        self.telling |= other.telling;
    }
}

/// A warning or error that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub service: ServiceName,
    pub at: UtcTime,
    pub level: Level,
    pub message: Option<String>,
    pub trace_id: Option<String>,
}

/// What one request adds, or several merged ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub buckets: HashMap<(ServiceName, i64), Delta>,
    pub events: Vec<Event>,
    pub rejected: BTreeMap<Reason, u64>,
    pub lag: Lag,
    span: Option<(UtcTime, UtcTime)>,
}

impl Batch {
    /// Adds one document; `service` is its interned name.
    pub(super) fn add(&mut self, service: &ServiceName, seen: Observation) {
        let (first, last) = self.span.unwrap_or((seen.at, seen.at));
        self.span = Some((first.min(seen.at), last.max(seen.at)));
        let delta = self.buckets.entry((service.clone(), minute_of(seen.at))).or_default();
        delta.documents += 1;
        delta.requests += u32::from(seen.request);
        delta.telling |= seen.telling;
        delta.errors += u32::from(seen.level == Level::Error);
        delta.warnings += u32::from(seen.level == Level::Warning);
        delta.durations.extend(seen.duration_ms);
        if seen.level > Level::Normal {
            self.events.push(Event {
                service: service.clone(),
                at: seen.at,
                level: seen.level,
                message: seen.message,
                trace_id: seen.trace_id,
            });
        }
        self.lag.add(seen.at);
    }

    /// Ends a request that arrived at `now`.
    pub(super) fn arrived(&mut self, now: UtcTime) {
        let replay = self.span.is_none_or(|(first, last)| last - first > LIVE_SPAN);
        self.lag.arrived(now, replay);
    }

    /// Adds another request's documents.
    pub(super) fn merge(&mut self, other: Self) {
        for (key, delta) in other.buckets {
            self.buckets.entry(key).or_default().merge(delta);
        }
        self.events.extend(other.events);
        for (reason, count) in other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        self.lag.merge(&other.lag);
    }
}

/// How late documents arrived: counts by powers of two of milliseconds, so that it merges and stays small.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lag {
    counts: [u32; 24],
    times: Vec<UtcTime>,
}

impl Lag {
    fn add(&mut self, at: UtcTime) {
        // A sample is enough of a large request.
        if self.times.len() < 256 {
            self.times.push(at);
        }
    }

    fn arrived(&mut self, now: UtcTime, replay: bool) {
        for at in std::mem::take(&mut self.times) {
            let millis = u64::try_from((now - at).num_milliseconds()).unwrap_or(0);
            let power = usize::try_from(u64::BITS - millis.leading_zeros()).unwrap_or(0);
            if !replay && let Some(count) = self.counts.get_mut(power) {
                *count = count.saturating_add(1);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// What 99 of 100 documents did not exceed, rounded up to a power of two; `None` if there were none.
    pub(super) fn p99(&self) -> Option<std::time::Duration> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let mut left = total - total / 100;
        for (power, count) in self.counts.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 && total > 0 {
                return Some(std::time::Duration::from_millis((1 << power) - 1));
            }
        }
        None
    }
}

/// The bucket of one service and minute, as it is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bucket {
    pub documents: u32,
    pub requests: u32,
    pub errors: u32,
    pub warnings: u32,
    /// Events kept so far, out of the errors and warnings.
    pub events: u32,
    /// The sketch of the durations in its binary form; empty without any.
    pub sketch: Vec<u8>,
}

impl Bucket {
    /// Adds documents. A sketch that cannot be read is started anew, and `false` is returned.
    pub(super) fn add(&mut self, delta: &Delta) -> bool {
        self.documents = self.documents.saturating_add(delta.documents);
        self.requests = self.requests.saturating_add(delta.requests);
        self.errors = self.errors.saturating_add(delta.errors);
        self.warnings = self.warnings.saturating_add(delta.warnings);
        if delta.durations.is_empty() {
            return true;
        }
        let kept = sketch(&self.sketch);
        let readable = kept.is_some() || self.sketch.is_empty();
        let mut sketch = kept.unwrap_or_else(|| DDSketch::new(Config::defaults()));
        for millis in &delta.durations {
            sketch.add(*millis);
        }
        self.sketch = sketch.to_java_bytes();
        readable
    }

    /// The distribution of the durations, in milliseconds.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let sketch = sketch(&self.sketch)?;
        let largest = sketch.max()?;
        let mut values = [0.0_f32; QUANTILES.len()];
        for (value, q) in values.iter_mut().zip(QUANTILES) {
            // The sketch answers within 1 %, which may lie above the exact largest value.
            let at = sketch.quantile(q).ok()??.min(largest);
            #[expect(clippy::cast_possible_truncation, reason = "seven digits are plenty")]
            let at = at as f32;
            *value = at;
        }
        Some(Quantiles { count: u32::try_from(sketch.count()).unwrap_or(u32::MAX), values })
    }
}

fn sketch(bytes: &[u8]) -> Option<DDSketch> {
    if bytes.is_empty() {
        return None;
    }
    DDSketch::from_java_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(durations: &[f64]) -> Delta {
        Delta { documents: 1, requests: 1, durations: durations.to_vec(), ..Delta::default() }
    }

    #[test]
    fn quantiles_are_within_one_per_cent() {
        let mut bucket = Bucket::default();
        for chunk in (1..=1_000).map(f64::from).collect::<Vec<_>>().chunks(7) {
            assert!(bucket.add(&delta(chunk)));
        }
        let quantiles = bucket.quantiles().unwrap();
        assert_eq!(quantiles.count, 1_000);
        for (value, q) in quantiles.values.iter().zip(QUANTILES) {
            let exact = q * 1_000.0;
            assert!((f64::from(*value) - exact).abs() <= exact * 0.0101 + 1.0, "{q}: {value}");
        }
        assert!((f64::from(quantiles.values[6]) - 1_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_broken_sketch_is_started_anew() {
        let mut bucket = Bucket { sketch: vec![255, 1, 2], ..Bucket::default() };
        assert!(!bucket.add(&delta(&[5.0])));
        assert_eq!(bucket.quantiles().unwrap().count, 1);
        assert_eq!(Bucket::default().quantiles(), None);
    }

    #[test]
    fn lag_is_measured_of_live_requests_only() {
        let now = UtcTime::from_timestamp(1_700_000_000, 0).unwrap();
        let seen = |ago: i64| Observation {
            service: "a".to_owned(),
            at: now - TimeDelta::seconds(ago),
            level: Level::Normal,
            request: true,
            telling: true,
            duration_ms: None,
            message: None,
            trace_id: None,
        };
        let service: ServiceName = "a".into();
        let mut live = Batch::default();
        for _ in 0..200 {
            live.add(&service, seen(3));
        }
        live.arrived(now);
        assert_eq!(live.lag.p99(), Some(std::time::Duration::from_millis(4_095)));
        let mut replay = Batch::default();
        replay.add(&service, seen(3_600));
        replay.add(&service, seen(0));
        replay.arrived(now);
        assert_eq!(replay.lag.p99(), None);
        live.merge(replay);
        assert_eq!(live.lag.p99(), Some(std::time::Duration::from_millis(4_095)));
        assert_eq!(live.buckets.len(), 2);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(
            durations in proptest::collection::vec(0.0_f64..1e9, 1..200),
            group in 1_usize..50,
        ) {
            let mut at_once = Bucket::default();
            at_once.add(&delta(&durations));
            let mut grouped = Bucket::default();
            let reversed: Vec<f64> = durations.iter().rev().copied().collect();
            for chunk in reversed.chunks(group) {
                grouped.add(&delta(chunk));
            }
            prop_assert_eq!(at_once.quantiles(), grouped.quantiles());
        }

        #[test]
        fn quantiles_ascend_and_are_finite(durations in proptest::collection::vec(0.0_f64..2.6e9, 1..300)) {
            let mut bucket = Bucket::default();
            bucket.add(&delta(&durations));
            let quantiles = bucket.quantiles().unwrap();
            prop_assert!(quantiles.values.iter().all(|value| value.is_finite()));
            prop_assert!(quantiles.values.windows(2).all(|pair| pair[0] <= pair[1]));
        }
    }
}

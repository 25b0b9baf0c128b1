//! What goes on with a series from the verdict that fired to its recovery.
//!
//! - The baseline is **frozen** when an episode opens, so that trouble of hours is measured against what was
//!   normal before it and keeps its severity.
//! - **Recovery**: so many closed buckets in a row that are good by themselves. A bucket without data is neither.
//! - **New normal**: after `new_normal_hours`, if no absolute limit is broken and the last hour's windows lie
//!   within half of the deviation of each other, the level is accepted and the last hour becomes the baseline.
//! - **Release**: a person resolved the incident. Their word is taken: what was seen until then counts as
//!   normal, and only what is beyond it fires again.
//! - After recovery the episode's buckets stay out of baselines and judged windows; until enough clean history
//!   has grown, the frozen baseline goes on to serve ([`Carried`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::model::Anomaly;

use super::Sample;
use super::baseline::Baseline;

/// Trouble that goes on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Episode {
    /// The first bucket out of line.
    pub(super) onset: i64,
    /// The baseline it is measured against; empty if a limit fired before there was one.
    pub(super) frozen: Baseline,
    /// As it was at its worst.
    pub(super) peak: Anomaly,
    /// Whether the incidents were told (trouble found in history is not, unless it goes on).
    pub(super) announced: bool,
    /// Whether an open incident was seen to hold it.
    pub(super) held: bool,
    /// Good buckets in a row, the first and the newest of them.
    pub(super) good: u32,
    pub(super) good_from: i64,
    pub(super) good_to: i64,
}

impl Episode {
    /// Counts the newest bucket: good, bad or unknown. Told of the same bucket again (a correction), it
    /// changes its mind.
    pub(super) fn count(&mut self, bucket: i64, good: Option<bool>) {
        match good {
            Some(true) if self.good == 0 => {
                (self.good, self.good_from, self.good_to) = (1, bucket, bucket);
            }
            Some(true) if bucket > self.good_to => {
                self.good += 1;
                self.good_to = bucket;
            }
            Some(false) => self.good = 0,
            Some(true) | None => {}
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.frozen.bytes()
    }
}

/// What an ended episode leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Carried {
    /// Its buckets, `[from, to)`: not normal.
    pub(super) from: i64,
    pub(super) to: i64,
    /// The baseline that serves until clean history has grown.
    pub(super) baseline: Baseline,
}

impl Carried {
    pub(super) fn holds(&self, bucket: i64) -> bool {
        (self.from..self.to).contains(&bucket)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.baseline.bytes()
    }
}

/// An episode, or what it left behind, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) series: crate::model::SeriesKey,
    pub(super) source: crate::model::SourceName,
    pub(super) frozen: FrozenRecord,
    pub(super) open: Option<OpenRecord>,
    /// `[from, to)` of what is carried, in buckets.
    pub(super) carried: Option<(i64, i64)>,
    /// The carried baseline, if an episode is open over it.
    pub(super) carried_frozen: Option<FrozenRecord>,
}

/// The rest of an open episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenRecord {
    pub(super) onset: i64,
    pub(super) peak: Anomaly,
    pub(super) announced: bool,
    pub(super) held: bool,
    pub(super) good: (u32, i64, i64),
}

/// A frozen baseline as text: its numbers bit by bit, since a verdict measured against it must come out the
/// same after a restart. The number of windows, presence,
/// slow limit and factor, whether it may stop, then windows and buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FrozenRecord(String);

impl From<&Baseline> for FrozenRecord {
    fn from(baseline: &Baseline) -> Self {
        let mut numbers = vec![
            super::count(baseline.windows.len()),
            baseline.presence,
            baseline.slow_limit,
            baseline.slow_factor,
            f64::from(u8::from(baseline.may_stop)),
        ];
        for sample in baseline.windows.iter().chain(&baseline.buckets) {
            numbers.extend([sample.value, sample.part, sample.whole]);
        }
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self(STANDARD_NO_PAD.encode(bytes))
    }
}

impl FrozenRecord {
    /// The baseline; `None` if the text is damaged.
    pub(super) fn baseline(&self) -> Option<Baseline> {
        let bytes = STANDARD_NO_PAD.decode(&self.0).ok()?;
        let (chunks, []) = bytes.as_chunks::<8>() else { return None };
        let mut numbers = chunks.iter().map(|chunk| f64::from_le_bytes(*chunk));
        let windows = numbers.next()?;
        let (presence, slow_limit) = (numbers.next()?, numbers.next()?);
        let (slow_factor, may_stop) = (numbers.next()?, numbers.next()? > 0.0);
        let mut samples = Vec::new();
        while let Some(value) = numbers.next() {
            let (part, whole) = (numbers.next()?, numbers.next()?);
            if !(value.is_finite() && part.is_finite() && whole.is_finite()) {
                return None;
            }
            samples.push(Sample { value, part, whole });
        }
        let split =
            samples.iter().zip(1_u32..).take_while(|(_, n)| f64::from(*n) <= windows).count();
        let buckets = samples.split_off(split);
        Some(Baseline {
            windows: samples,
            buckets,
            slow_limit,
            presence,
            slow_factor,
            may_stop,
            scratch: Vec::new(),
        })
    }
}

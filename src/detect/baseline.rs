//! What is expected: the windows before the judged one, of the same length, not overlapping it nor each other.
//! While an episode is open its baseline is frozen: a copy of this, kept with the episode.

use super::Sample;
use super::absence::STEADY;

/// What a series' history expects.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    /// Windows as long as the judged one, oldest first; each has a value.
    pub windows: Vec<Sample>,
    /// Single buckets over the same stretch; only filled where a single bucket is judged.
    pub buckets: Vec<Sample>,
    /// Samples of a distribution beyond this are slow; NaN for other signals.
    pub slow_limit: f64,
    /// The share of known buckets in which the series was present.
    pub presence: f64,
    /// Lifts the slow limit above the usual 95th percentile.
    pub(super) slow_factor: f64,
    /// Silence of this series is normal.
    pub(super) may_stop: bool,
    pub(super) scratch: Vec<f64>,
}

/// What a window's numbers depend on beside its buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lens {
    /// Samples of a distribution beyond this are slow.
    pub(super) slow_limit: f64,
    /// Whether a bucket in which only this series was absent counted nothing, or is unknown: only who is
    /// steadily there, and may not stop, counted nothing.
    pub(super) absent_is_zero: bool,
}

impl PartialEq for Baseline {
    /// By what is expected; the scratch does not count, and an absent limit equals an absent one.
    fn eq(&self, other: &Self) -> bool {
        self.windows == other.windows
            && self.buckets == other.buckets
            && self.presence.to_bits() == other.presence.to_bits()
            && (self.slow_limit.to_bits() == other.slow_limit.to_bits()
                || (self.slow_limit.is_nan() && other.slow_limit.is_nan()))
    }
}

impl Baseline {
    /// An empty one that will be filled again and again.
    pub(super) fn scratch() -> Self {
        Self { slow_limit: f64::NAN, slow_factor: 1.0, ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.windows.clear();
        self.buckets.clear();
        self.slow_limit = f64::NAN;
        self.presence = 0.0;
    }

    /// How windows that are compared with it are to be read.
    pub(super) fn lens(&self) -> Lens {
        Lens {
            slow_limit: self.slow_limit,
            absent_is_zero: self.presence >= STEADY && !self.may_stop,
        }
    }

    /// A copy to keep, without the scratch.
    pub(super) fn frozen(&self) -> Self {
        Self {
            windows: self.windows.clone(),
            buckets: self.buckets.clone(),
            slow_limit: self.slow_limit,
            presence: self.presence,
            slow_factor: self.slow_factor,
            may_stop: self.may_stop,
            scratch: Vec::new(),
        }
    }

    /// The bytes behind it.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + (self.windows.capacity() + self.buckets.capacity()) * size_of::<Sample>()
            + self.scratch.capacity() * size_of::<f64>()
    }
}

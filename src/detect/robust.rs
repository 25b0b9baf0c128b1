//! Median and scaled median absolute deviation of the baseline's windows, with floors: a few bad windows do not
//! widen it, and a constant baseline is no excuse. A value within the range that the baseline itself covered
//! is never out of line (a gate), so regular bursts are not announced each time.

use crate::model::{Measure, Unit};

use super::zscore::{tell_value, valued, with_floor};
use super::{Case, Detector, Score};

/// Scales the median absolute deviation to the standard deviation of normal noise.
const MAD_SCALE: f64 = 1.482_602_218_505_602;
/// Samples from which a 99th percentile means something; below it the slow share is judged.
const SAMPLES_OF_A_PERCENTILE: f64 = 100.0;

/// The robust score.
#[derive(Debug, Clone, Copy, Default)]
pub struct Robust;

impl Detector for Robust {
    fn name(&self) -> &'static str {
        "robust"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        if !case.current.value.is_finite() || case.baseline.is_empty() {
            return None;
        }
        let mut volume = None;
        if let Measure::Quantile(_) = case.signal.measure {
            let enough = |whole: f64| whole >= SAMPLES_OF_A_PERCENTILE;
            let fit = case.baseline.iter().filter(|sample| enough(sample.whole)).count();
            if !enough(case.current.whole) || 2 * fit < case.baseline.len() {
                return None;
            }
            volume = Some(case.current.whole);
        }
        let mut few = [0.0; 64];
        let mut many = Vec::new();
        let values: &mut [f64] = if let Some(room) = few.get_mut(..case.baseline.len()) {
            room
        } else {
            many.resize(case.baseline.len(), 0.0);
            &mut many
        };
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (slot, sample) in values.iter_mut().zip(case.baseline) {
            *slot = sample.value;
            least = least.min(sample.value);
            most = most.max(sample.value);
        }
        let centre = median(values);
        for value in values.iter_mut() {
            *value = (*value - centre).abs();
        }
        let measured = MAD_SCALE * median(values);
        let spread = with_floor(measured, centre, case.tuning).max(counting_floor(case, centre));
        if let Measure::Count = case.signal.measure {
            volume = Some(centre * case.minutes);
        }
        Some(valued(case, centre, spread, measured, volume, Some((least, most))))
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        tell_value(case, score, "median", "scaled median deviation")
    }
}

/// What counting alone scatters: the root of the expected number, in the signal's unit.
fn counting_floor(case: &Case<'_>, centre: f64) -> f64 {
    match (case.signal.measure, &case.signal.unit) {
        (Measure::Count, _) => (centre * case.minutes).max(1.0).sqrt() / case.minutes,
        (Measure::Sum, Unit::Count) => centre.max(1.0).sqrt(),
        _ => 0.0,
    }
}

/// The median; reorders the values, which are finite and at least one.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    // Insertion sort: the usual dozen values are done before a selection has picked its pivot.
    if values.len() <= 24 {
        for sorted in 1..values.len() {
            let value = values[sorted];
            let mut hole = sorted;
            while hole > 0 && values[hole - 1] > value {
                values[hole] = values[hole - 1];
                hole -= 1;
            }
            values[hole] = value;
        }
        return if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if even {
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

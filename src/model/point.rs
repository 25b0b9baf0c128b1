//! One closed bucket of one series, and how buckets merge.

use serde::{Deserialize, Serialize};

use super::Measure;

/// The quantiles that a [`Quantiles`] summary keeps.
pub const QUANTILES: [f64; 7] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// What a distribution of durations (or other values) looked like in one bucket: 32 bytes.
///
/// Percentiles of several buckets must not be averaged; [`Quantiles::merged_cdf`] mixes the buckets'
/// distributions, weighted by their counts, instead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of samples.
    pub count: u32,
    /// The values at [`QUANTILES`], ascending.
    pub values: [f32; 7],
}

impl Quantiles {
    /// The share of samples at or below `value`, linearly interpolated between the kept quantiles.
    /// Below the first kept quantile the distribution is taken as uniform from zero.
    pub fn cdf(&self, value: f64) -> f64 {
        let (mut low_value, mut low_share) = (0.0_f64, 0.0_f64);
        for (share, at) in QUANTILES.iter().zip(&self.values) {
            let (share, at) = (*share, f64::from(*at));
            if value < at {
                let width = at - low_value;
                let part = if width > 0.0 { ((value - low_value) / width).max(0.0) } else { 0.0 };
                return low_share + part * (share - low_share);
            }
            (low_value, low_share) = (at, share);
        }
        1.0
    }

    /// The share of samples at or below `value` in the mixture of several buckets.
    pub fn merged_cdf(buckets: &[Self], value: f64) -> f64 {
        let total: f64 = buckets.iter().map(|b| f64::from(b.count)).sum();
        if total == 0.0 {
            return 0.0;
        }
        buckets.iter().map(|b| f64::from(b.count) * b.cdf(value)).sum::<f64>() / total
    }

    /// The value at quantile `q` in the mixture of several buckets, by bisection on the mixed distribution;
    /// `None` without samples.
    pub fn merged_quantile(buckets: &[Self], q: f64) -> Option<f64> {
        let filled = || buckets.iter().filter(|b| b.count > 0);
        let mut high = filled().map(|b| f64::from(b.values[6])).fold(f64::NEG_INFINITY, f64::max);
        if high == f64::NEG_INFINITY {
            return None;
        }
        if let [only] = buckets
            && let Some(kept) = QUANTILES.iter().position(|kept| (kept - q).abs() < 1e-9)
        {
            return Some(f64::from(only.values[kept]));
        }
        let mut low = filled().map(|b| f64::from(b.values[0])).fold(high, f64::min).min(0.0);
        if let Some(kept) = QUANTILES.iter().position(|kept| (kept - q).abs() < 1e-9) {
            // The mixture's quantile lies between the buckets' own.
            let own = || filled().map(|b| f64::from(b.values[kept]));
            (low, high) = (own().fold(high, f64::min), own().fold(low, f64::max));
        }
        // Forty halvings leave less than 1e-12 of the range; a millionth of the value is enough.
        for _ in 0..40 {
            if high - low <= 1e-6 * high.abs() {
                break;
            }
            let middle = f64::midpoint(low, high);
            if Self::merged_cdf(buckets, middle) < q {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }
}

/// One closed bucket of one series. All numbers are finite: sources reject the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Something counted or summed; buckets add.
    Count(f64),
    /// `part` of `whole`; buckets add.
    Ratio {
        /// E.g. errors.
        part: f64,
        /// E.g. requests.
        whole: f64,
    },
    /// A mean with its weight.
    Mean {
        /// The sum of the values.
        sum: f64,
        /// How many there were.
        count: u32,
    },
    /// The largest value.
    Max(f64),
    /// A distribution.
    Quantiles(Quantiles),
}

impl Point {
    /// The value of a window made of `points` (the buckets that exist, `buckets` of them expected, each
    /// `bucket_minutes` long); `None` where nothing can be said, such as a ratio of nothing.
    pub fn window_value(points: &[Self], measure: Measure, minutes: f64) -> Option<f64> {
        let sum = || {
            points
                .iter()
                .map(|point| if let Self::Count(count) = point { *count } else { 0.0 })
                .sum::<f64>()
        };
        match measure {
            Measure::Count => Some(sum() / minutes),
            Measure::Sum => Some(sum()),
            Measure::Ratio => {
                let (part, whole) = Self::ratio(points);
                (whole > 0.0).then(|| part / whole)
            }
            Measure::Mean => {
                let (total, count) = points.iter().fold((0.0, 0.0), |(total, count), point| {
                    if let Self::Mean { sum, count: more } = point {
                        (total + sum, count + f64::from(*more))
                    } else {
                        (total, count)
                    }
                });
                (count > 0.0).then(|| total / count)
            }
            Measure::Max => points
                .iter()
                .filter_map(|point| if let Self::Max(value) = point { Some(*value) } else { None })
                .reduce(f64::max),
            Measure::Quantile(q) => {
                let buckets = Self::distributions(points);
                Quantiles::merged_quantile(&buckets, q)
            }
        }
    }

    /// The summed part and whole of a window's ratios.
    pub fn ratio(points: &[Self]) -> (f64, f64) {
        points.iter().fold((0.0, 0.0), |(parts, wholes), point| {
            if let Self::Ratio { part, whole } = point {
                (parts + part, wholes + whole)
            } else {
                (parts, wholes)
            }
        })
    }

    /// The distributions among a window's points.
    pub fn distributions(points: &[Self]) -> Vec<Quantiles> {
        points
            .iter()
            .filter_map(|point| if let Self::Quantiles(q) = point { Some(*q) } else { None })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(count: u32, top: f32) -> Quantiles {
        Quantiles {
            count,
            values: QUANTILES.map(|q| {
                #[expect(clippy::cast_possible_truncation, reason = "test data")]
                let q = q as f32;
                q * top
            }),
        }
    }

    #[test]
    fn quantiles_mix_by_weight_instead_of_averaging() {
        let fast = uniform(900, 100.0);
        let slow = uniform(100, 1_000.0);
        let p99 = Quantiles::merged_quantile(&[fast, slow], 0.99).unwrap();
        // 1 % of 1,000 samples lie above: ten of the hundred slow ones, so their 90th percentile.
        assert!((p99 - 900.0).abs() < 1.0, "{p99}");
        assert!((Quantiles::merged_cdf(&[fast, slow], 100.0) - 0.91).abs() < 1e-6);
        assert_eq!(Quantiles::merged_quantile(&[], 0.99), None);
    }

    #[test]
    fn window_values() {
        let ratio =
            [Point::Ratio { part: 1.0, whole: 10.0 }, Point::Ratio { part: 3.0, whole: 10.0 }];
        assert_eq!(Point::window_value(&ratio, Measure::Ratio, 2.0), Some(0.2));
        assert_eq!(Point::window_value(&[], Measure::Ratio, 2.0), None);
        assert_eq!(Point::window_value(&[Point::Count(30.0)], Measure::Count, 5.0), Some(6.0));
        let mean = [Point::Mean { sum: 10.0, count: 1 }, Point::Mean { sum: 2.0, count: 2 }];
        assert_eq!(Point::window_value(&mean, Measure::Mean, 5.0), Some(4.0));
        assert_eq!(
            Point::window_value(&[Point::Max(1.0), Point::Max(3.0)], Measure::Max, 1.0),
            Some(3.0)
        );
    }
}

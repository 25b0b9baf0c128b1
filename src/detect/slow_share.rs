//! Distributions with too few samples for a percentile: the share of samples slower than the baseline's slow
//! limit is judged instead, by counting (see `beta_binomial.rs`). The limit is the usual 95th percentile of a
//! bucket, raised by the least relative change, so a slow request is one that is slow by much.

use crate::model::{Measure, Severity};

use super::beta_binomial::Belief;
use super::{Case, Detector, Gauge, Score, baseline_text, count, minutes_text};

/// The least rise of the share of slow requests: a tenth of all.
const LEAST_SHARE: f64 = 0.1;

/// The share of slow samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlowShare;

impl Detector for SlowShare {
    fn name(&self) -> &'static str {
        "slow_share"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        let Measure::Quantile(_) = case.signal.measure else { return None };
        let current = case.current;
        if current.whole <= 0.0 || !case.slow_limit.is_finite() {
            return None;
        }
        let belief = Belief::of(case)?;
        let (z, _) = belief.z(current.part, current.whole);
        let share = current.part / current.whole;
        let (mut sum, mut number) = (0.0, 0.0);
        for sample in case.baseline {
            if sample.value.is_finite() {
                sum += sample.value;
                number += 1.0;
            }
        }
        let expected = if number > 0.0 { sum / number } else { case.slow_limit };
        Some(Score {
            z,
            current: current.value,
            expected,
            spread: 0.0,
            gauge: Some(Gauge {
                observed: share,
                reference: belief.share,
                least_change: LEAST_SHARE,
                factors: None,
                volume: Some(current.whole),
                events: Some(current.part),
                range: None,
            }),
            fixed: None,
            worst: Severity::P1,
        })
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        let (part, whole) = case
            .baseline
            .iter()
            .fold((0.0, 0.0), |(part, whole), s| (part + s.part, whole + s.whole));
        let current = case.current;
        let sentence = format!(
            "{:.0} of {:.0} requests were slower than {} in the last {}, the slowest percentile {}; {:.0} of {:.0} in the {} before",
            current.part,
            current.whole,
            case.signal.unit.show(case.slow_limit),
            minutes_text(case.minutes),
            case.signal.unit.show(score.current),
            part,
            whole,
            baseline_text(case),
        );
        let numbers = vec![
            ("slow".to_owned(), current.part),
            ("requests".to_owned(), current.whole),
            ("slow_limit".to_owned(), case.slow_limit),
            ("baseline_slow".to_owned(), part),
            ("baseline_requests".to_owned(), whole),
            ("windows".to_owned(), count(case.baseline.len())),
        ];
        (sentence, numbers)
    }
}

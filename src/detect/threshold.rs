//! Absolute limits beside z (`error_rate above 0.2`). They need no baseline, so they also serve a new service,
//! and a start in the middle of an outage.

use crate::model::{Measure, Severity};

use super::beta_binomial::of_requests;
use super::robust::median;
use super::{Case, Detector, Gauge, LARGEST_Z, Limit, Score, minutes_text};

/// A limit knows nothing of chance, so a ratio needs so many times the least volume to break one.
const RATIO_VOLUME: f64 = 4.0;

/// Absolute limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threshold;

impl Threshold {
    /// The worst limit that a value breaks.
    pub(super) fn broken(limits: &[Limit], value: f64) -> Option<&Limit> {
        limits
            .iter()
            .filter(|limit| {
                limit.above.is_some_and(|above| value > above)
                    || limit.below.is_some_and(|below| value < below)
            })
            .max_by_key(|limit| limit.severity)
    }
}

impl Detector for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        let current = case.current;
        let limit = Self::broken(&case.tuning.limits, current.value)?;
        let bound = limit.above.or(limit.below)?;
        let counted = current.whole > 0.0;
        let ratio = case.signal.measure == Measure::Ratio;
        if ratio && current.whole < RATIO_VOLUME * case.tuning.minimum_volume {
            return None;
        }
        Some(Score {
            z: z_of(limit.severity, case).copysign(current.value - bound),
            current: current.value,
            expected: usual(case).unwrap_or(bound),
            spread: 0.0,
            gauge: Some(Gauge {
                observed: current.value,
                reference: bound,
                least_change: 0.0,
                factors: None,
                volume: counted.then_some(current.whole),
                events: (counted && current.part > 0.0).then_some(current.part),
                range: None,
            }),
            fixed: Some(limit.severity),
            worst: Severity::P1,
        })
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        let unit = &case.signal.unit;
        let broken = Self::broken(&case.tuning.limits, score.current);
        let bound = broken.and_then(|limit| limit.above.or(limit.below)).unwrap_or(score.expected);
        let side = if score.z > 0.0 { "above" } else { "below" };
        let counts = if case.current.part > 0.0 && case.current.whole > 0.0 {
            format!(" ({})", of_requests(&case.signal.name, case.current.part, case.current.whole))
        } else {
            String::new()
        };
        let sentence = format!(
            "{} was {} over {}{counts}, {side} the limit of {}",
            case.signal.name,
            unit.show(score.current),
            minutes_text(case.minutes),
            unit.show(bound),
        );
        (sentence, vec![("current".to_owned(), score.current), ("limit".to_owned(), bound)])
    }
}

/// What people would expect instead: the median of the hour before, if there is one. The limit itself says
/// nothing about the service.
fn usual(case: &Case<'_>) -> Option<f64> {
    let mut values: Vec<f64> = case.baseline.iter().map(|sample| sample.value).collect();
    (!values.is_empty()).then(|| median(&mut values))
}

/// A limit has no score of its own: it is shown with the one from which its severity is given.
fn z_of(severity: Severity, case: &Case<'_>) -> f64 {
    let ladder = case.tuning.thresholds;
    match severity {
        Severity::P1 => ladder.p1,
        Severity::P2 => ladder.p2,
        Severity::P3 => ladder.p3,
        Severity::P4 => ladder.p4,
    }
    .min(LARGEST_Z)
}

//! Mean and standard deviation of the baseline's windows: the plain z-score. It trusts the gates with the rest:
//! one bad window in the baseline widens it, and a constant baseline has only the spread's floor.

use crate::model::Severity;

use super::{Case, Detector, Gauge, LARGEST_Z, Score, Tuning, baseline_text, minutes_text};

/// The plain z-score.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zscore;

impl Detector for Zscore {
    fn name(&self) -> &'static str {
        "zscore"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        if !case.current.value.is_finite() || case.baseline.is_empty() {
            return None;
        }
        // Welford's recurrence: exact for large values with a small spread.
        let (mut number, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for sample in case.baseline {
            number += 1.0;
            let from_old = sample.value - mean;
            mean += from_old / number;
            squares += from_old * (sample.value - mean);
        }
        let deviation = (squares / number).sqrt();
        let spread = with_floor(deviation, mean, case.tuning);
        let volume = (case.current.whole > 0.0).then_some(case.current.whole);
        Some(valued(case, mean, spread, deviation, volume, None))
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        tell_value(case, score, "mean", "standard deviation")
    }
}

/// The spread, but never below its floors: those of the settings, and that of counting (Poisson).
pub(super) fn with_floor(spread: f64, centre: f64, tuning: &Tuning) -> f64 {
    spread.max(tuning.spread_floor * centre.abs()).max(tuning.spread_least)
}

/// The score of a value at a distance from its centre. A spread of nothing measures nothing: any change is
/// then the largest score, graded P3 at most.
pub(super) fn valued(
    case: &Case<'_>,
    centre: f64,
    spread: f64,
    measured: f64,
    volume: Option<f64>,
    range: Option<(f64, f64)>,
) -> Score {
    let change = case.current.value - centre;
    let scaleless = spread <= 0.0;
    let z = if change == 0.0 {
        0.0
    } else if scaleless {
        LARGEST_Z.copysign(change)
    } else {
        (change / spread).clamp(-LARGEST_Z, LARGEST_Z)
    };
    let tuning = case.tuning;
    Score {
        z: if z.is_finite() { z } else { 0.0 },
        current: case.current.value,
        expected: centre,
        spread: measured,
        gauge: Some(Gauge {
            observed: case.current.value,
            reference: centre,
            least_change: tuning.minimum_change,
            factors: Some((tuning.factor_up(), tuning.factor_down())),
            volume,
            events: None,
            range,
        }),
        fixed: None,
        worst: if scaleless { Severity::P3 } else { Severity::P1 },
    }
}

/// The sentence of a value against its centre.
pub(super) fn tell_value(
    case: &Case<'_>,
    score: &Score,
    centre: &str,
    spread: &str,
) -> (String, Vec<(String, f64)>) {
    let unit = &case.signal.unit;
    let sentence = format!(
        "{} was {} over {}, against {} ± {} ({centre} and {spread} of the {} before)",
        case.signal.name,
        unit.show(score.current),
        minutes_text(case.minutes),
        unit.show(score.expected),
        unit.show(score.spread),
        baseline_text(case),
    );
    let numbers = vec![
        ("current".to_owned(), score.current),
        (centre.replace(' ', "_"), score.expected),
        (spread.replace(' ', "_"), score.spread),
        ("windows".to_owned(), super::count(case.baseline.len())),
    ];
    (sentence, numbers)
}

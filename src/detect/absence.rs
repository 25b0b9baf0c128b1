//! A stop of traffic: buckets without a single request, of a service that is otherwise always there, while other
//! services of its source are. How unlikely the silence is follows from the usual rate and its unrest
//! (negative binomial). A service seen in less than 90 % of its baseline's buckets, or said to be allowed to
//! stop, is never missed.

use crate::model::{Direction, Measure, Severity};

use super::{Case, Detector, Score, baseline_text, count, minutes_text, z_of_tail};

/// The share of the baseline's buckets in which a series must have been present to be missed.
pub(super) const STEADY: f64 = 0.9;

/// A stop of traffic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absence;

impl Detector for Absence {
    fn name(&self) -> &'static str {
        "absence"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        let missed = case.signal.measure == Measure::Count
            && case.tuning.direction != Direction::Up
            && !case.tuning.may_stop
            && case.silence.enough
            && case.silence.presence >= STEADY
            && !case.baseline.is_empty();
        if !missed {
            return None;
        }
        let windows = count(case.baseline.len());
        let mean = case.baseline.iter().map(|s| s.value).sum::<f64>() / windows;
        let variance =
            case.baseline.iter().map(|s| (s.value - mean).powi(2)).sum::<f64>() / windows;
        // In requests a window: what the variance has beyond counting makes the shape; the smaller the
        // shape, the likelier a pause. Baselines are short, so it is never taken to be larger than 50.
        let per_window = mean * case.minutes;
        let beyond = variance * case.minutes * case.minutes - per_window;
        let shape = if beyond > 0.0 { per_window * per_window / beyond } else { 50.0 };
        let shape = shape.clamp(0.5, 50.0);
        let missing = mean * case.silence.minutes;
        let tail = (-shape * (missing / shape).ln_1p()).exp();
        Some(Score {
            z: -z_of_tail(tail).max(0.0),
            current: 0.0,
            expected: mean,
            spread: variance.sqrt(),
            gauge: None,
            fixed: None,
            worst: Severity::P1,
        })
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        let sentence = format!(
            "no requests for {}, while other services were logging; {} usual in the {} before",
            minutes_text(case.silence.minutes),
            case.signal.unit.show(score.expected),
            baseline_text(case),
        );
        let numbers = vec![
            ("silent_minutes".to_owned(), case.silence.minutes),
            ("usual_per_minute".to_owned(), score.expected),
            ("presence".to_owned(), case.silence.presence),
        ];
        (sentence, numbers)
    }
}

//! One judgement: which detectors are asked about a window, and whose answer counts. No allocation until a
//! verdict is told in words.

use crate::model::{Anomaly, Direction, Evidence, Measure, Severity, Unit, UtcTime};

use super::severity::{Gates, describe, grade};
use super::{
    Absence, BetaBinomial, Case, Detector, Method, Robust, Score, SlowShare, Threshold, Tuning,
    Zscore,
};

/// The answer that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruling {
    pub(super) detector: &'static dyn Detector,
    pub(super) score: Score,
    pub(super) gates: Gates,
    /// After the gates, before persistence.
    pub(super) severity: Option<Severity>,
}

/// The detectors that compare a window with its baseline: the first that has an answer gives it.
fn comparing(measure: Measure, method: Method) -> &'static [&'static dyn Detector] {
    match (measure, method) {
        (Measure::Ratio, Method::Robust) => &[&BetaBinomial],
        (Measure::Quantile(_), Method::Robust) => &[&Robust, &SlowShare],
        (Measure::Quantile(_), Method::Zscore) => &[&Zscore, &SlowShare],
        (_, Method::Robust) => &[&Robust],
        (_, Method::Zscore) => &[&Zscore],
    }
}

/// The detectors that stand beside; the worst answer counts.
const BESIDE: [&dyn Detector; 2] = [&Threshold, &Absence];

/// Judges a case.
pub(super) fn rule(case: &Case<'_>) -> Option<Ruling> {
    let enough = case.baseline.len() >= case.tuning.min_data_points;
    let mut best: Option<Ruling> = None;
    if enough {
        best = comparing(case.signal.measure, case.tuning.method)
            .iter()
            .find_map(|detector| answer(*detector, case));
    }
    for detector in BESIDE {
        if !enough && detector.name() != Threshold.name() {
            continue;
        }
        if let Some(ruling) = answer(detector, case)
            && ruling.severity.is_some()
            && ruling.severity > best.and_then(|best| best.severity)
        {
            best = Some(ruling);
        }
    }
    best
}

fn answer(detector: &'static dyn Detector, case: &Case<'_>) -> Option<Ruling> {
    let score = detector.score(case)?;
    let grade = grade(&score, case.tuning);
    Some(Ruling { detector, score, gates: grade.gates, severity: grade.severity })
}

/// Whether a single bucket of an open episode is good: back within the least change, or not unlikely. Volume
/// is no excuse here: four failures of four requests are no recovery. `None` where it says nothing.
pub(super) fn good_bucket(case: &Case<'_>) -> Option<bool> {
    if case.signal.measure == Measure::Count && case.current.whole == 0.0 {
        // A silent bucket is bad if silence is; otherwise it tells nothing.
        let missed = case.silence.presence >= super::absence::STEADY && !case.tuning.may_stop;
        return (missed && case.tuning.direction != Direction::Up).then_some(false);
    }
    if !case.current.value.is_finite() {
        return None;
    }
    if Threshold::broken(&case.tuning.limits, case.current.value).is_some() {
        return Some(false);
    }
    if case.baseline.is_empty() {
        return Some(true);
    }
    let score = comparing(case.signal.measure, case.tuning.method)
        .iter()
        .find_map(|detector| detector.score(case))?;
    let up = score.z > 0.0;
    let right_way = match case.tuning.direction {
        Direction::Up => up,
        Direction::Down => !up,
        Direction::Both => true,
    };
    let far = score.gauge.is_some_and(|gauge| {
        let change = (gauge.observed - gauge.reference).abs() >= gauge.least_change;
        let factor = gauge.factors.is_none_or(|(rise, fall)| {
            let (rise, fall) = (gauge.reference * rise, gauge.reference * fall);
            if up { gauge.observed >= rise.max(fall) } else { gauge.observed <= fall.min(rise) }
        });
        change && factor
    });
    Some(!(right_way && far && score.z.abs() >= case.tuning.thresholds.p4))
}

/// The evidence of a ruling; the recent values are added by the caller.
pub(super) fn evidence(case: &Case<'_>, ruling: &Ruling) -> Evidence {
    let (summary, numbers) = ruling.detector.tell(case, &ruling.score);
    let unit = compared_unit(case, ruling);
    Evidence {
        method: ruling.detector.name().to_owned(),
        summary,
        numbers: numbers
            .into_iter()
            .filter(|(_, number)| number.is_finite())
            .map(|(name, number)| (name, short(number)))
            .collect(),
        gates: ruling.gates.iter().map(|looked| describe(looked, &unit)).collect(),
        recent: Vec::new(),
        recent_from: None,
    }
}

/// Gates of the slow share compare shares, whatever the signal's unit.
fn compared_unit(case: &Case<'_>, ruling: &Ruling) -> Unit {
    if ruling.detector.name() == SlowShare.name() { Unit::Ratio } else { case.signal.unit.clone() }
}

/// The anomaly of a ruling that fired.
pub(super) fn anomaly(
    case: &Case<'_>,
    ruling: &Ruling,
    severity: Severity,
    series: &crate::model::SeriesKey,
    times: Times,
) -> Anomaly {
    Anomaly {
        series: series.clone(),
        unit: case.signal.unit.clone(),
        severity,
        direction: if ruling.score.z > 0.0 { Direction::Up } else { Direction::Down },
        score: short(ruling.score.z.abs()),
        current: short(ruling.score.current),
        expected: short(ruling.score.expected),
        spread: short(ruling.score.spread),
        onset: times.onset,
        window: (times.from, times.to),
        detected_at: times.now,
        evidence: evidence(case, ruling),
    }
}

/// Twelve significant digits: what people and stores are given reads and is written back exactly the same.
pub(super) fn short(value: f64) -> f64 {
    if value.is_finite() { format!("{value:.11e}").parse().unwrap_or(value) } else { 0.0 }
}

/// The instants of an anomaly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) onset: UtcTime,
    pub(super) from: UtcTime,
    pub(super) to: UtcTime,
    pub(super) now: UtcTime,
}

/// A case without a baseline: only limits apply.
pub(super) fn bare<'a>(
    signal: &'a crate::model::Signal,
    tuning: &'a Tuning,
    current: super::Sample,
    minutes: f64,
) -> Case<'a> {
    Case {
        signal,
        tuning,
        current,
        minutes,
        baseline: &[],
        slow_limit: f64::NAN,
        silence: super::Silence::default(),
    }
}

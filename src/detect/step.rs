//! One step of one series: its newest closed bucket is judged, and what follows for its episode.

use crate::model::{Anomaly, Finding, Severity};

use super::baseline::Baseline;
use super::context::Context;
use super::episode::{Carried, Episode};
use super::judge::{self, Ruling, Times};
use super::series::{Cell, Run, Series};
use super::threshold::Threshold;

/// Judges the window that ends at `end`. True if what the store keeps of the series' episode has changed.
pub(super) fn step(
    series: &mut Series,
    context: &Context<'_>,
    scratch: &mut Baseline,
    end: i64,
    out: &mut Vec<Finding>,
) -> bool {
    if series.cell(end - 1) == Cell::Unread {
        return false;
    }
    if let Some(episode) = series.episode.take() {
        return go_on(series, episode, context, scratch, end, out);
    }
    let mut changed = false;
    if series.carried.as_ref().is_some_and(|old| old.to <= end - context.shape.capacity) {
        series.carried = None;
        changed = true;
    }
    expect(series, context, scratch, end);
    let carried = series.carried.take();
    let kept = carried
        .as_ref()
        .filter(|_| scratch.windows.len() < context.tuning.min_data_points)
        .map(|carried| carried.baseline.clone());
    series.carried = carried;
    if kept.is_none() && context.bucket_could_page(series, scratch, end) {
        series.expect_buckets_into(end, context.shape, context.measure(), scratch);
    }
    let baseline = kept.as_ref().unwrap_or(scratch);
    let ruling = context.rule(series, baseline, end, false);
    let Some((ruling, length)) = ruling.filter(|(ruling, _)| ruling.severity.is_some()) else {
        series.run = Run::default();
        return changed | watch_orphan(series, context, baseline, end, out);
    };
    let Some(severity) = ruling.severity else { return changed };
    series.run.count(end, severity);
    if series.run.lasted(severity) < context.judgements(severity) {
        return changed;
    }
    open(series, context, (scratch, kept), end, (ruling, length, severity), out) | changed
}

/// A verdict has fired: the baseline is frozen, the onset found, and the episode begins.
fn open(
    series: &mut Series,
    context: &Context<'_>,
    (scratch, kept): (&mut Baseline, Option<Baseline>),
    end: i64,
    (ruling, length, severity): (Ruling, i64, Severity),
    out: &mut Vec<Finding>,
) -> bool {
    let mut frozen = kept.unwrap_or_else(|| {
        series.expect_buckets_into(end, context.shape, context.measure(), scratch);
        scratch.frozen()
    });
    if frozen.windows.len() < context.tuning.min_data_points {
        frozen.windows.clear();
        frozen.buckets.clear();
    }
    let first = if length == 1 { end - 1 } else { series.run.start - context.shape.window };
    let onset = context.onset(series, &frozen, end, first);
    let Some(anomaly) = tell(series, context, &frozen, end, (ruling, length, severity), onset)
    else {
        return false;
    };
    if context.loud {
        out.push(Finding::Fired(Box::new(anomaly.clone())));
    }
    series.orphan = None;
    series.episode = Some(Box::new(Episode {
        onset,
        frozen,
        peak: anomaly,
        announced: context.loud,
        held: false,
        good: 0,
        good_from: 0,
        good_to: 0,
    }));
    true
}

/// What history expects of the window that ends at `end`, into the scratch.
pub(super) fn expect(series: &Series, context: &Context<'_>, scratch: &mut Baseline, end: i64) {
    scratch.slow_factor = context.tuning.factor_up();
    scratch.may_stop = context.tuning.may_stop;
    series.expect_into(end, context.shape, context.measure(), scratch);
}

/// The anomaly in full.
fn tell(
    series: &Series,
    context: &Context<'_>,
    baseline: &Baseline,
    end: i64,
    (ruling, length, severity): (Ruling, i64, Severity),
    onset: i64,
) -> Option<Anomaly> {
    let case = context.case(series, baseline, end, length)?;
    let times = Times {
        onset: context.time(onset),
        from: context.time(end - length),
        to: context.time(end),
        now: context.now,
    };
    let mut anomaly = judge::anomaly(&case, &ruling, severity, &series.key, times);
    anomaly.evidence.recent = series.recent(end, context.shape, context.measure());
    anomaly.evidence.recent_from =
        Some(context.time(end - i64::try_from(anomaly.evidence.recent.len()).unwrap_or(0)));
    Some(anomaly)
}

/// A step of an open episode.
fn go_on(
    series: &mut Series,
    mut episode: Box<Episode>,
    context: &Context<'_>,
    scratch: &mut Baseline,
    end: i64,
    out: &mut Vec<Finding>,
) -> bool {
    let good = context.case(series, &episode.frozen, end, 1).and_then(|mut case| {
        if case.baseline.is_empty() {
            case.baseline = &episode.frozen.windows;
        }
        judge::good_bucket(&case)
    });
    let before = (episode.good, episode.announced);
    episode.count(end - 1, good);
    if episode.good >= context.settings.recovery_buckets {
        let since = context.time(episode.good_from);
        out.push(if episode.announced {
            Finding::Recovered { series: series.key.clone(), since }
        } else {
            Finding::Passed { anomaly: Box::new(episode.peak), ended: since }
        });
        let from = series.carried.as_ref().map_or(episode.onset, |old| old.from.min(episode.onset));
        series.carried =
            Some(Box::new(Carried { from, to: episode.good_from, baseline: episode.frozen }));
        series.run = Run::default();
        return true;
    }
    if let Some(reason) = new_normal(series, &episode, context, scratch, end) {
        out.push(if episode.announced {
            Finding::Accepted { series: series.key.clone(), reason }
        } else {
            Finding::Passed { anomaly: Box::new(episode.peak), ended: context.time(end) }
        });
        series.carried = None;
        series.run = Run::default();
        return true;
    }
    let mut worse = false;
    if let Some((ruling, length)) = context.rule(series, &episode.frozen, end, true)
        && let Some(severity) = ruling.severity
    {
        let told =
            tell(series, context, &episode.frozen, end, (ruling, length, severity), episode.onset);
        if let Some(anomaly) = told {
            let strength = |anomaly: &Anomaly| (anomaly.severity, anomaly.score.to_bits());
            if strength(&anomaly) > strength(&episode.peak) {
                episode.peak = anomaly.clone();
                worse = true;
            }
            if context.loud {
                episode.announced = true;
                out.push(Finding::Fired(Box::new(anomaly)));
            }
        }
    }
    let changed = worse || before != (episode.good, episode.announced);
    series.episode = Some(episode);
    changed
}

/// The rule that accepts a lasting level, in words with its numbers, if it holds.
fn new_normal(
    series: &Series,
    episode: &Episode,
    context: &Context<'_>,
    scratch: &mut Baseline,
    end: i64,
) -> Option<String> {
    let hours = i64::from(context.settings.new_normal_hours);
    let lasted = (end - episode.onset).saturating_mul(context.interval_seconds);
    if lasted < hours * 3_600 || end % context.shape.window != 0 {
        return None;
    }
    // The windows up to the newest bucket: those before a window that is yet to come.
    expect(series, context, scratch, end + context.shape.window);
    let values: Vec<f64> = scratch.windows.iter().map(|sample| sample.value).collect();
    if values.len() < context.tuning.min_data_points {
        return None;
    }
    let (least, most) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), v| (l.min(*v), m.max(*v)));
    let level = super::robust::median(&mut values.clone());
    let away = (level - episode.peak.expected).abs();
    let limit = Threshold::broken(&context.tuning.limits, level);
    if limit.is_some() || most - least > 0.5 * away {
        return None;
    }
    let unit = &context.signal.unit;
    Some(format!(
        "at {} for more than {hours} h, between {} and {} in the last hour; {} was normal before",
        unit.show(level),
        unit.show(least),
        unit.show(most),
        unit.show(episode.peak.expected),
    ))
}

/// A series that an open incident holds without an episode here: so many quiet judgements end it.
fn watch_orphan(
    series: &mut Series,
    context: &Context<'_>,
    baseline: &Baseline,
    end: i64,
    out: &mut Vec<Finding>,
) -> bool {
    let Some(quiet) = series.orphan else { return false };
    // History may be from before the incident.
    if !context.loud {
        return false;
    }
    if baseline.windows.len() < context.tuning.min_data_points {
        return false;
    }
    let quiet = quiet + 1;
    let asked = context.settings.recovery_buckets;
    series.orphan = (quiet < asked).then_some(quiet);
    if quiet >= asked {
        out.push(Finding::Recovered {
            series: series.key.clone(),
            since: context.time(end - i64::from(asked)),
        });
    }
    false
}

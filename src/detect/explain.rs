//! Why: a window judged again from kept buckets, with every gate and number, whether it fired or not.

use crate::model::{Evidence, Gate, Outlook, SeriesKey, Severity, Signal, UtcTime, Verdict};

use super::Tuning;
use super::baseline::Baseline;
use super::context::Context;
use super::engine::{Engine, Watched};
use super::judge::{self, Ruling};
use super::memory::{Kept, read_hour};
use super::series::{Cell, Run, Series};
use super::step::expect;

impl Engine {
    /// Judges the window of a series that ends at `at` (the newest one if absent) again. `history` are rows of
    /// kind `series_hour`, for instants that memory does not reach. `None` if the series is not known.
    pub fn explain(
        &self,
        series: &SeriesKey,
        at: Option<UtcTime>,
        history: &[Kept],
    ) -> Option<Verdict> {
        let (known, kept) = self.sources.iter().find_map(|known| {
            let kept = known.series.iter().find(|kept| kept.key == *series)?;
            Some((known, kept))
        })?;
        let signal = known.signals.get(kept.signal)?;
        let tuning = self.tunings.get(kept.tuning)?;
        let head = known.head?;
        let newest = self.time(head);
        let end = match at {
            Some(at) if at < newest => {
                at.timestamp().div_euclid(self.interval_seconds).min(head - 1) + 1
            }
            _ => head,
        };
        let context = Context {
            settings: &self.settings,
            shape: self.shape,
            interval_seconds: self.interval_seconds,
            signal,
            tuning,
            now: newest,
            loud: false,
        };
        let recalled = self.recalled(known, kept, signal, end, history);
        let mut verdict = blank(&context, signal, series, end);
        verdict.evidence.recent = recalled.recent(end, self.shape, signal.measure);
        verdict.evidence.recent_from = Some(
            context.time(end - i64::try_from(verdict.evidence.recent.len()).unwrap_or_default()),
        );
        if recalled.cell(end - 1) == Cell::Unread {
            verdict.outlook = Outlook::Unknown {
                reason: "this bucket was not read completely, or no service was there".to_owned(),
            };
            return Some(verdict);
        }
        let (baseline, frozen_since) = expected(&recalled, &context, end);
        verdict.frozen_since = frozen_since;
        verdict.baseline = baseline.windows.iter().map(|sample| sample.value).collect();
        let open = recalled.episode.is_some();
        match context.rule(&recalled, &baseline, end, open) {
            None => verdict.outlook = unjudged(&recalled, &context, &baseline, end),
            Some((ruling, length)) => {
                conclude(&mut verdict, &recalled, &context, &baseline, (ruling, length, end));
            }
        }
        Some(verdict)
    }

    /// The series as it was when the window that ends at `end` closed, from memory and stored hours.
    fn recalled(
        &self,
        known: &Watched,
        kept: &Series,
        signal: &Signal,
        end: i64,
        history: &[Kept],
    ) -> Series {
        let head = known.head.unwrap_or(end);
        let shape = self.shape;
        let mut recalled =
            Series::new(kept.key.clone(), kept.signal, kept.tuning, shape, signal.measure);
        for (series, from, cells) in history.iter().filter_map(read_hour) {
            for (bucket, cell) in (from..).zip(cells) {
                if series == kept.key && bucket >= end - shape.capacity && bucket < end {
                    recalled.set(bucket, cell);
                }
            }
        }
        for bucket in (head - shape.capacity).max(end - shape.capacity)..end {
            recalled.set(bucket, kept.cell(bucket));
        }
        recalled.episode = kept.episode.clone().filter(|episode| episode.onset < end);
        recalled.carried = kept.carried.clone().filter(|carried| carried.to <= end);
        recalled.merge(end - shape.capacity + shape.window, end, shape, signal.measure);
        if end == head {
            recalled.run = kept.run;
        }
        recalled
    }
}

/// A verdict without a conclusion.
fn blank(context: &Context<'_>, signal: &Signal, series: &SeriesKey, end: i64) -> Verdict {
    Verdict {
        series: series.clone(),
        unit: signal.unit.clone(),
        window: (context.time(end - context.shape.window), context.time(end)),
        outlook: Outlook::Quiet,
        score: None,
        current: None,
        expected: None,
        spread: None,
        baseline: Vec::new(),
        frozen_since: None,
        evidence: Evidence::default(),
    }
}

/// The baseline that serves, and since when it is frozen.
fn expected(series: &Series, context: &Context<'_>, end: i64) -> (Baseline, Option<UtcTime>) {
    if let Some(episode) = &series.episode {
        return (episode.frozen.clone(), Some(context.time(episode.onset)));
    }
    let mut live = Baseline::scratch();
    expect(series, context, &mut live, end);
    if live.windows.len() < context.tuning.min_data_points
        && let Some(carried) = &series.carried
    {
        return (carried.baseline.clone(), None);
    }
    series.expect_buckets_into(end, context.shape, context.signal.measure, &mut live);
    (live, None)
}

/// Why there is no ruling.
fn unjudged(series: &Series, context: &Context<'_>, baseline: &Baseline, end: i64) -> Outlook {
    let needed = context.tuning.min_data_points;
    if baseline.windows.len() < needed {
        return Outlook::Learning {
            reason: format!(
                "{} windows of history with a value, needs {needed}",
                baseline.windows.len()
            ),
        };
    }
    let reason = match context.case(series, baseline, end, context.shape.window) {
        None => "less than half of the window's buckets are known",
        Some(_) => "there was nothing in the window to judge",
    };
    Outlook::Unknown { reason: reason.to_owned() }
}

fn conclude(
    verdict: &mut Verdict,
    series: &Series,
    context: &Context<'_>,
    baseline: &Baseline,
    (ruling, length, end): (Ruling, i64, i64),
) {
    let Some(case) = context.case(series, baseline, end, length) else { return };
    let recent = std::mem::take(&mut verdict.evidence.recent);
    let recent_from = verdict.evidence.recent_from;
    verdict.evidence = judge::evidence(&case, &ruling);
    verdict.evidence.recent = recent;
    verdict.evidence.recent_from = recent_from;
    verdict.window.0 = context.time(end - length);
    verdict.score = Some(ruling.score.z);
    let finite = |value: f64| value.is_finite().then_some(value);
    verdict.current = finite(ruling.score.current);
    verdict.expected = finite(ruling.score.expected);
    verdict.spread = finite(ruling.score.spread);
    verdict.evidence.gates.push(ladder(&ruling, context.tuning));
    let Some(severity) = ruling.severity else { return };
    let mut run = series.run;
    if run.end != end {
        run = Run::default();
        run.count(end, severity);
    }
    let lasted = run.lasted(severity);
    let needed = context.judgements(severity);
    let fired = series.episode.is_some() || lasted >= needed;
    if series.episode.is_none() {
        verdict.evidence.gates.push(Gate {
            name: "persistence".to_owned(),
            passed: fired,
            detail: format!("out of line in {lasted} judgements in a row, needs {needed}"),
        });
    }
    if fired {
        verdict.outlook = Outlook::Fired { severity };
    }
}

/// Where the score stands on the ladder.
fn ladder(ruling: &Ruling, tuning: &Tuning) -> Gate {
    let z = ruling.score.z.abs();
    let reached = ruling.score.fixed.or_else(|| super::severity::step(z, tuning));
    let ladder = tuning.thresholds;
    let name = |severity: Option<Severity>| severity.map_or("nothing", Severity::as_str);
    Gate {
        name: "score".to_owned(),
        passed: reached.is_some(),
        detail: format!(
            "z {z:.2} reaches {} (P4 from {}, P3 from {}, P2 from {}, P1 from {})",
            name(reached),
            ladder.p4,
            ladder.p3,
            ladder.p2,
            ladder.p1
        ),
    }
}

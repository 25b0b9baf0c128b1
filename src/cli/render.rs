//! What commands print for people. Texts from outside are data: control characters never reach a terminal.

use std::fmt::Write;

use crate::http::types::{
    AnomalyView, GateView, IncidentDetail, IncidentList, IncidentSummary, SilenceList,
    SilenceStatus, SilenceView, VerdictView, Why,
};
use crate::model::{MemberState, Recurrence, Unit, UtcTime};
use crate::sources::Checked;

/// Writing into a `String` cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).unwrap_or_default()
    };
}

/// A list of incidents.
pub fn incidents(list: &IncidentList, now: UtcTime) -> String {
    if list.incidents.is_empty() {
        return "no incidents\n".to_owned();
    }
    let mut rows =
        vec![["ID", "SEV", "STATE", "OPENED (UTC)", "LASTED", "TITLE"].map(str::to_owned)];
    rows.extend(list.incidents.iter().map(|incident| {
        [
            clean(&incident.id),
            incident.severity.to_string(),
            state(incident),
            minute(incident.created_at),
            lasted(incident, now),
            clean(&incident.title),
        ]
    }));
    let mut out = table(&rows);
    put!(out, "{} of {} incidents", list.incidents.len(), list.total);
    out
}

/// One incident whole.
pub fn incident(detail: &IncidentDetail, now: UtcTime) -> String {
    let incident = &detail.incident;
    let mut out = String::new();
    put!(out, "{}  {}  {}", clean(&incident.id), incident.severity, clean(&incident.title));
    let mut line = format!(
        "{}, began {}, opened {}, lasted {}",
        state(incident),
        minute(incident.onset),
        minute(incident.created_at),
        lasted(incident, now)
    );
    if incident.worst_severity != incident.severity {
        write!(line, ", worst {}", incident.worst_severity).unwrap_or_default();
    }
    match incident.reopened {
        0 => {}
        1 => line.push_str(", reopened once"),
        times => write!(line, ", reopened {times} times").unwrap_or_default(),
    }
    put!(out, "{line}");
    if let (Some(actor), Some(at)) = (&incident.acknowledged_by, incident.acknowledged_at) {
        put!(out, "acknowledged by {} at {}", clean(actor), minute(at));
    }
    if let Some(silence) = &incident.silenced_by {
        put!(out, "silenced by {}", clean(silence));
    }
    if !detail.anomalies.is_empty() {
        put!(out, "\nout of line:");
    }
    for anomaly in &detail.anomalies {
        out.push_str(&out_of_line(anomaly));
    }
    for missing in &detail.missing {
        put!(out, "missing: {}", clean(missing));
    }
    if let Some(analysis) = &detail.analysis {
        put!(out, "\nanalysis ({:?}): {}", analysis.confidence, clean(&analysis.root_cause));
    }
    put!(out, "\ntimeline:");
    for entry in &detail.timeline {
        let actor =
            entry.actor.as_ref().map_or_else(String::new, |name| format!(" ({})", clean(name)));
        put!(out, "  {}  {}{actor}", second(entry.at), clean(&entry.text));
    }
    if !detail.deliveries.is_empty() {
        put!(out, "\ndeliveries:");
        let rows: Vec<_> = detail
            .deliveries
            .iter()
            .map(|delivery| {
                [
                    format!("  {}", second(delivery.created_at)),
                    clean(&delivery.receiver),
                    clean(&delivery.change),
                    format!("{} ({}×)", delivery.state, delivery.attempts),
                    clean(delivery.last_error.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        out.push_str(&table(&rows));
    }
    out
}

fn out_of_line(anomaly: &AnomalyView) -> String {
    let mut out = String::new();
    let recovered = if anomaly.state == MemberState::Recovered { ", recovered" } else { "" };
    put!(
        out,
        "  {} {} {}: {}, expected {}, since {}{recovered}",
        anomaly.severity,
        clean(&anomaly.service),
        clean(&anomaly.metric),
        clean(&anomaly.current),
        clean(&anomaly.expected),
        minute(anomaly.onset)
    );
    put!(out, "     {}", clean(&anomaly.summary));
    if !anomaly.recent.is_empty() {
        put!(out, "     {}", sparkline(&anomaly.recent));
    }
    out
}

/// An incident after it was changed.
pub(super) fn changed(incident: &IncidentSummary) -> String {
    format!(
        "{} is {}: {} {}\n",
        clean(&incident.id),
        state(incident),
        incident.severity,
        clean(&incident.title)
    )
}

/// Verdicts as a person reads them.
pub fn verdicts(why: &Why) -> String {
    why.verdicts.iter().map(verdict).collect::<Vec<_>>().join("\n")
}

fn verdict(verdict: &VerdictView) -> String {
    let mut out = String::new();
    let dimensions = if verdict.dimensions.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", clean(&verdict.dimensions.join(",")))
    };
    let conclusion = match (&verdict.severity, &verdict.reason) {
        (Some(severity), _) => format!("{} {severity}", verdict.outlook),
        (None, Some(reason)) => format!("{}: {}", verdict.outlook, clean(reason)),
        (None, None) => verdict.outlook.clone(),
    };
    put!(
        out,
        "{} {}{dimensions}  {} to {} UTC: {conclusion}",
        clean(&verdict.service),
        clean(&verdict.signal),
        minute(verdict.from),
        verdict.to.format("%H:%M")
    );
    let words = |value: Option<f64>| {
        value.map_or_else(|| "nothing".to_owned(), |v| clean(&verdict.unit.show(v)))
    };
    let expected = verdict
        .expected
        .map_or_else(|| "no baseline".to_owned(), |v| format!("expected {}", words(Some(v))));
    let mut line = format!("  now {}, {expected}", words(verdict.current));
    if let Some(spread) = verdict.spread.filter(|spread| *spread > 0.0) {
        write!(line, " give or take {}", words(Some(spread))).unwrap_or_default();
    }
    if let Some(score) = verdict.score {
        write!(line, ", score {score:.1}").unwrap_or_default();
    }
    if !verdict.method.is_empty() {
        write!(line, " by {}", clean(&verdict.method)).unwrap_or_default();
    }
    put!(out, "{line}");
    if !verdict.summary.is_empty() {
        put!(out, "  {}", clean(&verdict.summary));
    }
    if !verdict.recent.is_empty() {
        let since =
            verdict.recent_from.map_or_else(String::new, |at| format!("  since {}", minute(at)));
        put!(out, "  {}{since}", sparkline(&verdict.recent));
    }
    if !verdict.baseline.is_empty() {
        let low = verdict.baseline.iter().copied().fold(f64::INFINITY, f64::min);
        let high = verdict.baseline.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let frozen = verdict
            .frozen_since
            .map_or_else(String::new, |at| format!(", frozen since {}", minute(at)));
        put!(
            out,
            "  baseline: {} windows, {} to {}{frozen}",
            verdict.baseline.len(),
            words(Some(low)),
            words(Some(high))
        );
    }
    if !verdict.numbers.is_empty() {
        let numbers: Vec<_> = verdict
            .numbers
            .iter()
            .map(|(name, value)| format!("{} {}", clean(name), Unit::Count.show(*value)))
            .collect();
        put!(out, "  numbers: {}", numbers.join(", "));
    }
    for gate in &verdict.gates {
        out.push_str(&gate_line(gate));
    }
    out
}

fn gate_line(gate: &GateView) -> String {
    let mark = if gate.passed { "passed" } else { "held  " };
    format!("  {mark}  {:<24} {}\n", clean(&gate.name), clean(&gate.detail))
}

/// A list of silences.
pub fn silences(list: &SilenceList) -> String {
    if list.silences.is_empty() {
        return "no silences\n".to_owned();
    }
    list.silences.iter().map(silence).collect()
}

/// One silence.
pub(super) fn silence(silence: &SilenceView) -> String {
    let status = match silence.status {
        SilenceStatus::Active => "active ",
        SilenceStatus::Pending => "pending",
        SilenceStatus::Expired => "expired",
    };
    let what = match (&silence.service, &silence.signal) {
        (Some(service), Some(signal)) => format!("{} {}", clean(service), clean(signal)),
        (Some(service), None) => clean(service),
        (None, Some(signal)) => format!("{} of every service", clean(signal)),
        (None, None) => "everything".to_owned(),
    };
    let every = match silence.recurrence {
        None => "",
        Some(Recurrence::Daily) => ", every day",
        Some(Recurrence::Weekly) => ", every week",
    };
    let unless = silence.unless.map_or_else(String::new, |severity| format!(", unless {severity}"));
    format!(
        "{}  {status}  {what}  {} to {} UTC{every}{unless}  ({}: {})\n",
        clean(&silence.id),
        minute(silence.starts_at),
        minute(silence.ends_at),
        clean(&silence.owner),
        clean(&silence.reason)
    )
}

/// What `check` looked at.
pub fn checked(lines: &[Checked]) -> String {
    let mut out = String::new();
    for line in lines {
        let mark = match line.ok {
            Some(true) => "ok   ",
            Some(false) => "WRONG",
            None => "note ",
        };
        put!(out, "{mark}  {}: {}", clean(&line.what), clean(&line.detail));
    }
    out
}

fn state(incident: &IncidentSummary) -> String {
    let mut text = incident.state.as_str().to_owned();
    if incident.flapping {
        text.push_str(" (flapping)");
    }
    text
}

fn lasted(incident: &IncidentSummary, now: UtcTime) -> String {
    let end = incident.resolved_at.unwrap_or(now);
    let minutes = (end - incident.created_at).num_minutes().max(0);
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=2_879 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1_440, minutes % 1_440 / 60),
    }
}

fn minute(at: UtcTime) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

fn second(at: UtcTime) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Columns as wide as their longest cell, the last one as it is.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        put!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// Blocks from the lowest to the highest value; `·` where there was none.
fn sparkline(values: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known = || values.iter().flatten().copied().filter(|value| value.is_finite());
    let low = known().fold(f64::INFINITY, f64::min).min(0.0);
    let high = known().fold(f64::NEG_INFINITY, f64::max);
    values
        .iter()
        .map(|value| {
            let Some(value) = value.filter(|value| value.is_finite()) else { return '·' };
            let share = if high > low { (value - low) / (high - low) } else { 0.0 };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of 0 to 1 times seven"
            )]
            let index = (share.clamp(0.0, 1.0) * 7.0).round() as usize;
            BLOCKS.get(index).copied().unwrap_or('█')
        })
        .collect()
}

/// Without control characters, on one line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

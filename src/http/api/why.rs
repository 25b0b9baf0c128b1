//! Why a series fired, or did not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use serde::{Deserialize, Serialize};

use super::incidents::{GateView, gate};
use super::params::Params;
use crate::http::error::ApiError;
use crate::http::state::{Question, State};
use crate::model::{Outlook, Severity, Unit, UtcTime, Verdict};

/// The answer of `/api/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// One for each series that fits.
    pub verdicts: Vec<VerdictView>,
}

/// A verdict in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// The service.
    pub service: String,
    /// The signal.
    pub signal: String,
    /// Further dimensions, `name=value`.
    pub dimensions: Vec<String>,
    /// The unit of the values.
    pub unit: Unit,
    /// Start of the judged window.
    pub from: UtcTime,
    /// End of the judged window.
    pub to: UtcTime,
    /// `fired`, `quiet`, `learning` or `unknown`.
    pub outlook: String,
    /// How bad, if it fired.
    pub severity: Option<Severity>,
    /// Why it could not be judged.
    pub reason: Option<String>,
    /// The score on the scale of standard deviations.
    pub score: Option<f64>,
    /// The window's value.
    pub current: Option<f64>,
    /// What the baseline expected.
    pub expected: Option<f64>,
    /// The baseline's spread.
    pub spread: Option<f64>,
    /// Values of the baseline's windows, oldest first.
    pub baseline: Vec<f64>,
    /// Since when the baseline is frozen because an incident is open.
    pub frozen_since: Option<UtcTime>,
    /// The method that decided.
    pub method: String,
    /// One sentence.
    pub summary: String,
    /// The deciding numbers by name.
    pub numbers: Vec<(String, f64)>,
    /// Every condition it had to meet.
    pub gates: Vec<GateView>,
    /// Values of the newest buckets, oldest first.
    pub recent: Vec<Option<f64>>,
    /// Start of the first of them.
    pub recent_from: Option<UtcTime>,
}

pub(in crate::http) async fn explain(
    Extract(state): Extract<Arc<State>>,
    mut params: Params,
) -> Result<Json<Why>, ApiError> {
    let service =
        params.text("service").ok_or_else(|| ApiError::invalid("service", "must be given"))?;
    let question = Question { service, signal: params.text("signal"), at: params.time("at")? };
    params.end(&["service", "signal", "at"])?;
    let verdicts = state
        .explain
        .explain(question)
        .await
        .map_err(|error| ApiError::Unavailable(error.to_string()))?;
    if verdicts.is_empty() {
        return Err(ApiError::NotFound("Nothing is kept of that service and signal at that time"));
    }
    Ok(Json(Why { verdicts: verdicts.iter().map(view).collect() }))
}

fn view(verdict: &Verdict) -> VerdictView {
    let (outlook, severity, reason) = match &verdict.outlook {
        Outlook::Fired { severity } => ("fired", Some(*severity), None),
        Outlook::Quiet => ("quiet", None, None),
        Outlook::Learning { reason } => ("learning", None, Some(reason.clone())),
        Outlook::Unknown { reason } => ("unknown", None, Some(reason.clone())),
    };
    let evidence = &verdict.evidence;
    let series = &verdict.series;
    VerdictView {
        service: series.service.to_string(),
        signal: series.signal.to_string(),
        dimensions: series.dimensions.iter().map(|(k, v)| format!("{k}={v}")).collect(),
        unit: verdict.unit.clone(),
        from: verdict.window.0,
        to: verdict.window.1,
        outlook: outlook.to_owned(),
        severity,
        reason,
        score: verdict.score,
        current: verdict.current,
        expected: verdict.expected,
        spread: verdict.spread,
        baseline: verdict.baseline.clone(),
        frozen_since: verdict.frozen_since,
        method: evidence.method.clone(),
        summary: evidence.summary.clone(),
        numbers: evidence.numbers.clone(),
        gates: evidence.gates.iter().map(gate).collect(),
        recent: evidence.recent.clone(),
        recent_from: evidence.recent_from,
    }
}

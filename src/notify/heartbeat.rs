//! A sign of life to somewhere else: posts how fresh each source is, so that a daemon that is dead, cut off or
//! blind is noticed where it is expected. It is not a message to people and owes nothing: a missed beat is the
//! alarm, so nothing is kept or repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::exchange::exchange;
use super::settings::Heartbeat as Settings;
use crate::clock::Clock;
use crate::model::UtcTime;
use crate::telemetry::Metrics;

/// What a beat says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pulse {
    /// Whether everything below is as it should be.
    pub ok: bool,
    /// Each source.
    pub sources: Vec<SourcePulse>,
    /// Deliveries owed.
    pub owed: u64,
    /// Seconds since the oldest of them became owed.
    pub oldest_owed_seconds: Option<i64>,
    /// Deliveries given up.
    pub dead: u64,
    /// Whether the store can be written.
    pub store_writable: bool,
}

/// How one source is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourcePulse {
    /// Its name.
    pub name: String,
    /// The end of the newest buckets that were read completely.
    pub fresh_until: Option<UtcTime>,
    /// Seconds between that and now.
    pub age_seconds: Option<i64>,
    /// Whether it counts as blind.
    pub blind: bool,
}

/// Takes the pulse; wired by `app`, so that this stage does not know the sources.
pub type TakePulse = Arc<dyn Fn(UtcTime) -> Pulse + Send + Sync>;

/// Everything the task needs.
pub struct Heartbeat {
    /// Where to, and how often.
    pub settings: Settings,
    /// A guarded client.
    pub client: reqwest::Client,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where beats are counted.
    pub metrics: Metrics,
    /// What to say.
    pub pulse: TakePulse,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
struct Beat<'a> {
    version: u32,
    service: &'static str,
    sent_at: UtcTime,
    #[serde(rename = "status")]
    pulse: &'a Pulse,
}

/// Beats until asked to stop; without a URL it only waits for that.
pub async fn run(heartbeat: Heartbeat, soft: CancellationToken) {
    if heartbeat.settings.url.is_empty() {
        soft.cancelled().await;
        return;
    }
    let every = Duration::from_secs(heartbeat.settings.interval_seconds.max(1));
    let mut ticks = tokio::time::interval(heartbeat.clock.span(every));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = tokio::select! {
            () = soft.cancelled() => return,
            outcome = beat(&heartbeat) => outcome,
        };
        let (label, problem) = match outcome {
            Ok(()) => ("delivered", None),
            Err(failure) => (failure.reason.as_str(), Some(failure.detail)),
        };
        heartbeat.metrics.heartbeats.get_or_create(&vec![("outcome", label.to_owned())]).inc();
        // One line when it begins to fail and one when that is over, not one a minute.
        match (&problem, failing) {
            (Some(detail), false) => tracing::warn!(error = %detail, "heartbeat was not taken"),
            (None, true) => tracing::info!("heartbeat is taken again"),
            _ => {}
        }
        failing = problem.is_some();
    }
}

async fn beat(heartbeat: &Heartbeat) -> Result<(), super::Failure> {
    let now = heartbeat.clock.now();
    let pulse = (heartbeat.pulse)(now);
    let body = Beat { version: 1, service: "sentinelops", sent_at: now, pulse: &pulse };
    let request = heartbeat.client.post(heartbeat.settings.url.expose()).json(&body);
    let answer = exchange(request, "the heartbeat's receiver", now).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(answer.failure("the heartbeat's receiver", ""))
}

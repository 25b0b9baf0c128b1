//! The task around detection: windows in, findings out, memory kept. It decides nothing itself.
//!
//! It *waits* for the incident writer when that is busy; the windows then wait in the bounded queue of
//! [`QUEUE`] and, behind it, in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::detect::{self, Engine, Kept};
use crate::incidents::{Command, Handle};
use crate::model::{
    Completeness, Finding, SeriesKey, ServiceName, SourceName, UtcTime, Verdict, Windows,
};
use crate::store::{Memory, Store};
use crate::telemetry::Metrics;

/// How many reads may wait for detection.
pub const QUEUE: usize = 16;

/// How many questions may wait; whoever asks waits.
pub const QUESTIONS: usize = 16;

/// How often budgets of blindness are looked at, and memory is kept, when nothing is read.
const TICK: Duration = Duration::from_secs(10);

/// The kind of memory that buckets are kept as.
const HOURS: &str = "series_hour";

/// How many rows of buckets may wait for a store that cannot be written; further ones are dropped, and read
/// again from the source if they are needed.
const UNKEPT: usize = 50_000;

/// Everything the task needs.
#[derive(Debug)]
pub struct Pipeline {
    /// The synchronous core, restored from what was kept.
    pub engine: Engine,
    /// Where findings go.
    pub incidents: Handle,
    /// Where memory is kept.
    pub store: Store,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
    /// What the sources read.
    pub windows: mpsc::Receiver<Windows>,
    /// What people want to know.
    pub questions: mpsc::Receiver<Question>,
    /// Settings, which a reload replaces.
    pub settings: watch::Receiver<Arc<detect::Settings>>,
    /// What others see of the sources.
    pub sight: watch::Sender<Arc<Sight>>,
    /// Counts the times round, for the watchdog.
    pub beat: watch::Sender<u64>,
    /// Rows that could not be kept yet, by kind and key.
    pub unkept: BTreeMap<(String, String), Kept>,
}

/// Why did, or didn't, a series fire?
#[derive(Debug)]
pub struct Question {
    /// The service.
    pub service: String,
    /// The signal; all of the service's if absent.
    pub signal: Option<String>,
    /// The instant; now if absent.
    pub at: Option<UtcTime>,
    /// Where the answer goes: a verdict a series, empty if there is no such series.
    pub answer: oneshot::Sender<Vec<Verdict>>,
}

/// What is known of the sources and the services that they saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// Sources by name.
    pub sources: BTreeMap<SourceName, SourceSight>,
    /// Every service of the newest complete reads.
    pub services: BTreeSet<ServiceName>,
}

/// How fresh one source is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceSight {
    /// When it was last read completely.
    pub read_at: Option<UtcTime>,
    /// The end of the newest bucket that was read completely.
    pub newest: Option<UtcTime>,
    /// What was wrong with the last read, if anything.
    pub trouble: Option<String>,
    /// Since when it has been called blind.
    pub blind_since: Option<UtcTime>,
    /// How late documents arrive.
    pub lag: Option<Duration>,
    /// Documents refused since the start.
    pub rejected: u64,
}

/// What was kept, for [`Engine::restore`]. Buckets are recalled from `since` on.
pub async fn recall(store: &Store, since: UtcTime) -> crate::store::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for kind in ["watermark", HOURS, "episode"] {
        // An episode may have begun long before the oldest bucket that is wanted.
        let since = if kind == HOURS { since } else { UtcTime::UNIX_EPOCH };
        kept.extend(store.recall(kind, since).await?.into_iter().map(from_memory));
    }
    Ok(kept)
}

impl Pipeline {
    /// Runs until `soft` fires, then keeps what is not kept yet.
    pub async fn run(mut self, soft: CancellationToken) {
        let mut next_tick = self.clock.now() + TICK;
        loop {
            self.beat.send_modify(|beat| *beat = beat.wrapping_add(1));
            tokio::select! {
                () = soft.cancelled() => break,
                windows = self.windows.recv() => match windows {
                    Some(windows) => self.read(windows).await,
                    None => break,
                },
                Some(question) = self.questions.recv() => self.explain(question).await,
                () = tokio::time::sleep(self.clock.until(next_tick)) => {
                    next_tick = self.clock.now() + TICK;
                    self.tick().await;
                }
            }
        }
        let kept = self.engine.memory(self.clock.now());
        self.keep(kept).await;
        if !self.unkept.is_empty() {
            tracing::warn!(
                rows = self.unkept.len(),
                "detection's memory is lost: it will be read again"
            );
        }
    }

    async fn read(&mut self, windows: Windows) {
        let now = self.clock.now();
        let known = self.incidents.snapshot();
        if known.loaded {
            self.engine.sync_active(&known.active, now);
        }
        let findings = self.engine.apply(&windows, now);
        let services = windows.completeness.is_complete().then(|| self.engine.services());
        self.sight.send_modify(|sight| {
            let sight = Arc::make_mut(sight);
            sight.take_in(&windows);
            sight.take_in_findings(&findings);
            if let Some(services) = services {
                sight.services = services;
            }
        });
        self.report(findings).await;
        let kept = self.engine.dirty_memory(now);
        self.keep(kept).await;
    }

    async fn tick(&mut self) {
        if self.settings.has_changed().unwrap_or(false) {
            let settings = self.settings.borrow_and_update().clone();
            self.engine.reload((*settings).clone());
            tracing::info!("detection uses the reloaded settings");
        }
        let findings = self.engine.tick(self.clock.now());
        if !findings.is_empty() {
            self.sight.send_modify(|sight| Arc::make_mut(sight).take_in_findings(&findings));
        }
        self.report(findings).await;
        let (series, bytes) = self.engine.size();
        self.metrics.detection_series.set(i64::try_from(series).unwrap_or(i64::MAX));
        self.metrics.detection_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    async fn report(&self, findings: Vec<Finding>) {
        for finding in &findings {
            let labels = vec![("kind", kind(finding).to_owned())];
            self.metrics.findings.get_or_create(&labels).inc();
        }
        // Detection's own memory is written only after incidents have committed what it found: a recovery, or
        // a source that is seen again, is found once.
        if !findings.is_empty() && self.incidents.ask(Command::Findings(findings)).await.is_err() {
            tracing::debug!("findings dropped: the incident writer has stopped");
        }
    }

    /// What cannot be kept now is kept next time.
    async fn keep(&mut self, rows: Vec<Kept>) {
        for row in rows {
            if self.unkept.len() < UNKEPT || row.kind != HOURS {
                self.unkept.insert((row.kind.clone(), row.key.clone()), row);
            }
        }
        if self.unkept.is_empty() {
            return;
        }
        let mut values = Vec::with_capacity(self.unkept.len());
        let mut gone: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in self.unkept.values() {
            match &row.body {
                Some(body) => values.push(Memory {
                    kind: row.kind.clone(),
                    key: row.key.clone(),
                    at: row.at,
                    body: body.clone(),
                }),
                None => gone.entry(&row.kind).or_default().push(row.key.clone()),
            }
        }
        // Both verbs can be repeated: only when both went through is nothing left to do.
        let mut outcome = self.store.remember(&values).await;
        for (kind, keys) in &gone {
            if outcome.is_ok() {
                outcome = self.store.forget(kind, keys).await;
            }
        }
        match outcome {
            Ok(()) => self.unkept.clear(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                rows = self.unkept.len(),
                "detection's memory cannot be kept yet"
            ),
        }
    }

    async fn explain(&self, question: Question) {
        let wanted = |key: &SeriesKey| question.signal.as_deref().is_none_or(|s| s == &*key.signal);
        let mut verdicts = Vec::new();
        for series in self.engine.series_of(&question.service).into_iter().filter(wanted) {
            let history = match question.at {
                Some(_) => self.history(&series).await,
                None => Vec::new(),
            };
            verdicts.extend(self.engine.explain(&series, question.at, &history));
        }
        if question.answer.send(verdicts).is_err() {
            tracing::debug!("nobody waits for the answer any more");
        }
    }

    async fn history(&self, series: &SeriesKey) -> Vec<Kept> {
        let mut rows = Vec::new();
        for prefix in self.engine.hour_prefixes(series) {
            match self.store.recall_keys(HOURS, &prefix).await {
                Ok(kept) => rows.extend(kept.into_iter().map(from_memory)),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "kept buckets cannot be read: only what is in memory can be explained"
                ),
            }
        }
        // What could not be written yet is no less true.
        rows.extend(self.unkept.values().filter(|row| row.kind == HOURS).cloned());
        rows
    }
}

impl Sight {
    /// A view of sources that were not read yet.
    pub fn of(sources: impl IntoIterator<Item = SourceName>) -> Self {
        let sources = sources.into_iter().map(|name| (name, SourceSight::default())).collect();
        Self { sources, services: BTreeSet::new() }
    }

    fn take_in(&mut self, windows: &Windows) {
        let seen = self.sources.entry(windows.source.clone()).or_default();
        seen.trouble = windows.completeness.reason().map(str::to_owned);
        seen.rejected += windows.rejected.iter().map(|(_, count)| count).sum::<u64>();
        if let Completeness::Complete = windows.completeness {
            seen.read_at = Some(windows.read_at);
            seen.newest = seen.newest.max(Some(windows.to));
            seen.lag = windows.lag.or(seen.lag);
        }
    }

    fn take_in_findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            match finding {
                Finding::Blind { source, since, reason } => {
                    let seen = self.sources.entry(source.clone()).or_default();
                    seen.blind_since = Some(*since);
                    seen.trouble = Some(reason.clone());
                }
                Finding::Sighted { source, .. } => {
                    self.sources.entry(source.clone()).or_default().blind_since = None;
                }
                Finding::Fired(_)
                | Finding::Recovered { .. }
                | Finding::Accepted { .. }
                | Finding::Passed { .. } => {}
            }
        }
    }
}

/// The label of a metric.
fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Fired(_) => "fired",
        Finding::Recovered { .. } => "recovered",
        Finding::Accepted { .. } => "accepted",
        Finding::Passed { .. } => "passed",
        Finding::Blind { .. } => "blind",
        Finding::Sighted { .. } => "sighted",
    }
}

fn from_memory(memory: Memory) -> Kept {
    Kept { kind: memory.kind, key: memory.key, at: memory.at, body: Some(memory.body) }
}

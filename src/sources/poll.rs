//! The task around one source: asks the schedule, reads, counts, hands on. It decides nothing itself.
//!
//! Back-pressure: it waits while the pipeline is busy; the buckets stay in the source meanwhile and are read as a
//! gap. A failed or partial read is handed on without rows, so that blindness can be noticed.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::drought::{Drought, both};
use super::schedule::{Schedule, Step, deadline};
use super::{Settings, Source, Span};
use crate::clock::Clock;
use crate::model::{Completeness, FailureKind, UtcTime, Windows};
use crate::telemetry::Metrics;

/// What a source may overrun its own deadline by before it is cut off.
const GRACE: Duration = Duration::from_secs(5);

/// How one source is polled.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// `polling` in the settings.
    pub settings: Settings,
    /// How much history detection wants at start: baseline window plus look-back.
    pub history: Duration,
    /// Where an earlier run ended, if its baselines were kept.
    pub resume_from: Option<UtcTime>,
}

/// Reads `source` by its schedule and sends what was read, until `soft` fires or nobody listens any more.
pub async fn run(
    mut source: Box<dyn Source>,
    poll: Poll,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    out: mpsc::Sender<Windows>,
    soft: CancellationToken,
) {
    let mut schedule = Schedule::new(&poll.settings, poll.history, poll.resume_from);
    let mut drought = Drought::default();
    let mut complete_at: Option<UtcTime> = None;
    loop {
        let now = clock.now();
        show_age(&metrics, source.as_ref(), complete_at, now);
        schedule.note_changed(both(source.changed(), drought.changed(now)));
        let span = match schedule.next(now) {
            Step::Read(span) => span,
            Step::Wait(until) => {
                // Never longer than the polling interval, so that a step of the clock is noticed.
                let longest =
                    clock.span(Duration::from_secs(poll.settings.interval_seconds.max(1)));
                // A timer may fire a little before the clock shows the instant.
                let wait = clock.until(until).min(longest).max(Duration::from_millis(1));
                tokio::select! {
                    () = soft.cancelled() => return,
                    () = tokio::time::sleep(wait) => continue,
                }
            }
        };
        let windows = tokio::select! {
            () = soft.cancelled() => return,
            windows = read(source.as_mut(), span, &poll.settings, clock.as_ref()) => windows,
        };
        schedule.done(span, &windows.completeness, windows.lag, clock.now());
        drought.note(&windows, clock.now());
        record(&metrics, &windows);
        if windows.completeness.is_complete() {
            complete_at = Some(windows.read_at);
        }
        tokio::select! {
            () = soft.cancelled() => return,
            sent = out.send(windows) => if sent.is_err() { return },
        }
    }
}

/// One read, cut off if the source forgets its own deadline.
async fn read(
    source: &mut dyn Source,
    span: Span,
    settings: &Settings,
    clock: &dyn Clock,
) -> Windows {
    let started = Instant::now();
    let name = source.name().clone();
    let limit = deadline(settings, span.kind) + GRACE;
    let answered = tokio::time::timeout(limit, source.read(span)).await;
    let mut windows = answered.unwrap_or_else(|_| Windows {
        source: name,
        from: span.from,
        to: span.to,
        interval: Duration::from_secs(u64::from(settings.bucket_seconds.max(1))),
        kind: span.kind,
        completeness: Completeness::Failed {
            kind: FailureKind::Deadline,
            reason: format!("no answer within {} s", limit.as_secs()),
            retry_at: None,
        },
        rows: Vec::new(),
        rejected: Vec::new(),
        lag: None,
        read_at: clock.now(),
        took: started.elapsed(),
        requests: 0,
    });
    if !windows.completeness.is_complete() {
        windows.rows.clear();
    }
    windows
}

fn record(metrics: &Metrics, windows: &Windows) {
    let source = windows.source.to_string();
    let outcome = match &windows.completeness {
        Completeness::Complete => "complete",
        Completeness::Partial { .. } => "partial",
        Completeness::Failed { kind, .. } => kind.as_str(),
    };
    metrics
        .source_reads
        .get_or_create(&vec![("source", source.clone()), ("completeness", outcome.to_owned())])
        .inc();
    let rejected: u64 = windows.rejected.iter().map(|(_, count)| count).sum();
    if rejected > 0 {
        metrics.source_rejected.get_or_create(&vec![("source", source)]).inc_by(rejected);
    }
    if let Some(reason) = windows.completeness.reason() {
        tracing::warn!(
            source.name = %windows.source,
            source.outcome = outcome,
            window.from = %windows.from,
            window.to = %windows.to,
            reason,
            "source could not be read completely"
        );
    } else {
        tracing::debug!(
            source.name = %windows.source,
            window.from = %windows.from,
            window.to = %windows.to,
            window.kind = ?windows.kind,
            rows = windows.rows.len(),
            requests = windows.requests,
            took_ms = windows.took.as_millis(),
            "source read"
        );
    }
}

fn show_age(metrics: &Metrics, source: &dyn Source, complete_at: Option<UtcTime>, now: UtcTime) {
    let Some(complete_at) = complete_at else { return };
    let age = (now - complete_at).max(TimeDelta::zero()).num_seconds();
    metrics.source_age_seconds.get_or_create(&vec![("source", source.name().to_string())]).set(age);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::TimerClock;
    use crate::model::{Signal, SourceName, WindowKind};
    use crate::sources::{BoxFuture, Checked};

    /// Answers what it is told to: `true` complete, `false` never.
    #[derive(Debug)]
    struct Scripted {
        name: SourceName,
        answers: Arc<Mutex<Vec<bool>>>,
        clock: TimerClock,
    }

    impl Source for Scripted {
        fn name(&self) -> &SourceName {
            &self.name
        }

        fn signals(&self) -> Vec<Signal> {
            Vec::new()
        }

        fn read(&mut self, span: Span) -> BoxFuture<'_, Windows> {
            let answers = self.answers.lock().unwrap().pop().unwrap_or(true);
            Box::pin(async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Windows {
                    source: self.name.clone(),
                    from: span.from,
                    to: span.to,
                    interval: Duration::from_mins(1),
                    kind: span.kind,
                    completeness: Completeness::Complete,
                    rows: Vec::new(),
                    rejected: vec![("no service".to_owned(), 2)],
                    lag: None,
                    read_at: self.clock.now(),
                    took: Duration::ZERO,
                    requests: 1,
                }
            })
        }

        fn check(&mut self) -> BoxFuture<'_, Vec<Checked>> {
            Box::pin(async { Vec::new() })
        }
    }

    struct Polled {
        received: mpsc::Receiver<Windows>,
        metrics: Metrics,
        soft: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn poll(answers: &[bool]) -> Polled {
        let clock = TimerClock::new(UtcTime::from_timestamp(1_700_000_040, 0).unwrap());
        let source = Scripted {
            name: "logs".into(),
            answers: Arc::new(Mutex::new(answers.iter().rev().copied().collect())),
            clock,
        };
        let poll = Poll {
            settings: Settings::default(),
            history: Duration::from_mins(65),
            resume_from: None,
        };
        let metrics = Metrics::new();
        let soft = CancellationToken::new();
        let (out, received) = mpsc::channel(4);
        #[expect(clippy::disallowed_methods, reason = "a test that ends its task itself")]
        let task = tokio::spawn(run(
            Box::new(source),
            poll,
            Arc::new(clock),
            metrics.clone(),
            out,
            soft.clone(),
        ));
        Polled { received, metrics, soft, task }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_bucket_is_read_at_its_close_plus_lag() {
        let mut polled = poll(&[]);
        let mut kinds = Vec::new();
        for _ in 0..5 {
            let windows = polled.received.recv().await.unwrap();
            kinds.push((windows.kind, (windows.read_at - windows.to).num_seconds()));
        }
        assert_eq!(kinds[0], (WindowKind::Backfill, 60));
        let fresh: Vec<_> = kinds.iter().filter(|(kind, _)| *kind == WindowKind::Fresh).collect();
        assert!(fresh.len() >= 2 && fresh.iter().all(|(_, after)| *after == 10), "{kinds:?}");
        polled.soft.cancel();
        polled.task.await.unwrap();
        let shown = polled.metrics.render();
        assert!(
            shown.contains(
                "sentinelops_source_reads_total{source=\"logs\",completeness=\"complete\"}"
            )
        );
        assert!(shown.contains("sentinelops_source_age_seconds{source=\"logs\"}"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_cut_off_and_read_again() {
        let mut polled = poll(&[true, false]);
        assert!(polled.received.recv().await.unwrap().completeness.is_complete());
        let hung = polled.received.recv().await.unwrap();
        assert!(matches!(
            hung.completeness,
            Completeness::Failed { kind: FailureKind::Deadline, .. }
        ));
        let mut end = None;
        while end.is_none() {
            let windows = polled.received.recv().await.unwrap();
            if windows.kind != WindowKind::Correction {
                end = Some(windows.from);
            }
        }
        assert!(end <= Some(hung.to));
        polled.soft.cancel();
        polled.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn ends_at_once_when_asked_even_in_a_read() {
        let mut polled = poll(&[true, false]);
        polled.received.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(35)).await;
        polled.soft.cancel();
        tokio::time::timeout(Duration::from_millis(1), polled.task).await.unwrap().unwrap();
    }
}

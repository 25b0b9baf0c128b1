//! Windows out of the log store: the same signals, in the same shape, as the Elasticsearch source gives.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::SqlitePool;
use tokio::time::Instant;

use super::buckets::{Bucket, minute_of};
use super::db;
use super::shared::Shared;
use crate::model::{
    Completeness, FailureKind, Point, RelatedEvent, Row, ServiceName, Signal, SignalName,
    SourceName, UtcTime, WindowKind, Windows,
};
use crate::sources::{BoxFuture, Checked, Source, Span};

/// The length of a bucket.
pub const INTERVAL: Duration = Duration::from_mins(1);
/// How long a read may take; less than the loop around sources waits.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same of history: an hour of ten thousand services takes seconds.
const BACKFILL_DEADLINE: Duration = Duration::from_mins(2);
/// A pause of the store longer than this is told, as shippers had nowhere to write to.
const PAUSE: TimeDelta = TimeDelta::seconds(15);
/// How long shippers have, after such a pause, to deliver what they held back.
const CATCH_UP: TimeDelta = TimeDelta::minutes(1);

/// The log store as a source, named `logs`. Clones read the same store.
#[derive(Debug, Clone)]
pub struct EmbeddedSource {
    name: SourceName,
    signals: [SignalName; 3],
    shared: Arc<Shared>,
    readers: SqlitePool,
    /// The file is ours while this lives.
    _lock: Arc<File>,
}

impl EmbeddedSource {
    pub(super) fn new(
        shared: Arc<Shared>,
        readers: SqlitePool,
        alive: Option<UtcTime>,
        lock: File,
    ) -> Self {
        let began = shared.clock.now();
        if let Some(alive) = alive.filter(|alive| began - *alive > PAUSE) {
            shared.was_away(alive, began);
        }
        Self {
            name: "logs".into(),
            signals: ["error_rate".into(), "latency_p99".into(), "throughput".into()],
            shared,
            readers,
            _lock: Arc::new(lock),
        }
    }

    /// The newest warning and error events of `[from, to)`, newest first, at most `limit`.
    pub async fn events(
        &self,
        from: UtcTime,
        to: UtcTime,
        limit: u32,
    ) -> Result<Vec<RelatedEvent>, sqlx::Error> {
        let events = db::events(&self.readers, (from, to), limit).await?;
        Ok(events
            .into_iter()
            .map(|event| RelatedEvent {
                at: event.at,
                service: event.service.to_string(),
                level: event.level.as_str().to_owned(),
                message: event.message.unwrap_or_default(),
                trace_id: event.trace_id,
            })
            .collect())
    }

    /// Documents refused since the file was made, by reason.
    pub async fn rejected(&self) -> Result<Vec<(String, u64)>, sqlx::Error> {
        db::rejected(&self.readers).await
    }

    /// Known names share one copy; one that was forgotten meanwhile gets its own.
    fn name_of(&self, service: &str) -> ServiceName {
        let known = self.shared.names.get(service);
        known.map_or_else(|| ServiceName::from(service), |known| known.key().clone())
    }

    async fn windows(&mut self, span: Span) -> Windows {
        let started = Instant::now();
        let now = self.shared.clock.now();
        let minutes = (minute_of(span.from), minute_of(span.to));
        let lag = self.shared.lag(now);
        let changed = self.shared.reading(minutes.0, minutes.1);
        let mut rows = Vec::new();
        let read = db::read(&self.readers, minutes, |service, telling, minute, bucket| {
            let requests = if telling { bucket.requests } else { bucket.documents };
            let service = self.name_of(service);
            rows.extend(row(&self.signals, service, minute, f64::from(requests), &bucket));
        });
        let deadline = if span.kind == WindowKind::Backfill { BACKFILL_DEADLINE } else { DEADLINE };
        let completeness = match tokio::time::timeout(deadline, read).await {
            Ok(Ok(())) => self.missing(span, now),
            Ok(Err(error)) => Completeness::Failed {
                kind: FailureKind::Unavailable,
                reason: format!("the log store cannot be read: {error}"),
                retry_at: None,
            },
            Err(_) => Completeness::Failed {
                kind: FailureKind::Deadline,
                reason: format!("the log store gave no answer within {} s", deadline.as_secs()),
                retry_at: None,
            },
        };
        if !completeness.is_complete() {
            self.shared.not_read(changed);
            rows.clear();
        }
        Windows {
            source: self.name.clone(),
            from: span.from,
            to: span.to,
            interval: INTERVAL,
            kind: span.kind,
            completeness,
            rows,
            // Counted where they were refused, and told to whoever sent them.
            rejected: Vec::new(),
            lag,
            read_at: self.shared.clock.now(),
            took: started.elapsed(),
            requests: 1,
        }
    }

    /// What a span may lack although it was read: documents that could not be written, or that shippers held back
    /// while the store was away.
    fn missing(&self, span: Span, now: UtcTime) -> Completeness {
        if let Some((since, reason)) = self.shared.broken()
            && span.to > since
        {
            let since = since.format("%FT%TZ");
            return Completeness::Partial {
                reason: format!("the log store cannot be written since {since}: {reason}"),
            };
        }
        if let Some((away, back)) = self.shared.away()
            && span.kind != WindowKind::Backfill
            && span.to > away
            && span.from < back
            && now < back + CATCH_UP
        {
            return Completeness::Partial {
                reason: format!(
                    "the log store was away from {} to {}; shippers have until {} to catch up",
                    away.format("%FT%TZ"),
                    back.format("%FT%TZ"),
                    (back + CATCH_UP).format("%FT%TZ"),
                ),
            };
        }
        Completeness::Complete
    }

    async fn look(&mut self) -> Vec<Checked> {
        let settings = &self.shared.settings;
        let file = format!("log store: {}", settings.path.display());
        let read = sqlx::query_scalar::<_, i64>("select count(*) from services")
            .fetch_one(&self.readers)
            .await;
        let (ok, detail) = match (read, self.shared.broken()) {
            (Ok(services), None) => {
                (Some(true), format!("readable and writable, {services} services"))
            }
            (Ok(_), Some((since, reason))) => {
                let since = since.format("%FT%TZ");
                (Some(false), format!("cannot be written since {since}: {reason}"))
            }
            (Err(error), _) => (Some(false), format!("cannot be read: {error}")),
        };
        let intake = match (settings.listen, settings.token.is_empty()) {
            (None, _) => "no listener: embedded.listen is null".to_owned(),
            (Some(listen), true) => format!("{listen}, without token, this machine only"),
            (Some(listen), false) => format!("{listen}, with token"),
        };
        let last = self.shared.last_write().map_or_else(
            || "no documents since the start".to_owned(),
            |at| format!("last documents at {}", at.format("%FT%TZ")),
        );
        let refused = self.rejected().await.unwrap_or_default();
        let refused: Vec<String> =
            refused.iter().map(|(reason, documents)| format!("{documents} {reason}")).collect();
        let refused = if refused.is_empty() {
            "none refused since the file was made".to_owned()
        } else {
            format!("refused since the file was made: {}", refused.join(", "))
        };
        vec![
            Checked { what: file, ok, detail },
            Checked { what: "log store: intake".to_owned(), ok: None, detail: intake },
            Checked {
                what: "log store: documents".to_owned(),
                ok: None,
                detail: format!("{last}; {refused}"),
            },
        ]
    }
}

impl Source for EmbeddedSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn signals(&self) -> Vec<Signal> {
        vec![
            Signal::error_rate(self.name.clone()),
            Signal::latency_p99(self.name.clone()),
            Signal::throughput(self.name.clone()),
        ]
    }

    fn read(&mut self, span: Span) -> BoxFuture<'_, Windows> {
        Box::pin(self.windows(span))
    }

    fn changed(&self) -> Option<(UtcTime, UtcTime)> {
        let (first, last) = self.shared.changed()?;
        let at = |minute: i64| UtcTime::from_timestamp(minute.checked_mul(60)?, 0);
        Some((at(first)?, at(last + 1)?))
    }

    fn check(&mut self) -> BoxFuture<'_, Vec<Checked>> {
        Box::pin(self.look())
    }
}

/// A bucket as the points of its signals.
fn row(
    signals: &[SignalName; 3],
    service: ServiceName,
    minute: i64,
    requests: f64,
    bucket: &Bucket,
) -> Option<Row> {
    let [error_rate, latency, throughput] = signals;
    let mut points = vec![
        (error_rate.clone(), Point::Ratio { part: f64::from(bucket.errors), whole: requests }),
        (throughput.clone(), Point::Count(requests)),
    ];
    if let Some(quantiles) = bucket.quantiles() {
        points.push((latency.clone(), Point::Quantiles(quantiles)));
    }
    Some(Row { service, start: UtcTime::from_timestamp(minute.checked_mul(60)?, 0)?, points })
}

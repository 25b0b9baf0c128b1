//! Reads a span: prepares once (server, fields), then asks page by page. Only read calls are sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::buckets::{LogBucket, MetricBucket};
use super::client::{Client, Failure, Server, parse};
use super::fields::{self as index_fields, TIMESTAMP, Unusable};
use super::query::{Plan, Range};
use super::reply::Page;
use super::rows::{LogReading, LogSignals, Names, Rows};
use super::schema::{self, Layout};
use super::settings::{Fields, Metric, Schema};
use crate::model::{Completeness, FailureKind, ServiceName, SignalName, WindowKind};
use crate::sources::Span;

/// Buckets a page: 10,000 services fit into one, and it stays far below `search.max_buckets`.
const PAGE: usize = 16_384;
/// The smallest page that is tried.
const PAGE_LEAST: usize = 16;
/// Fields are looked up again after this time, and after a refused or partial answer.
const FIELDS_FOR: Duration = Duration::from_hours(1);

/// What is read.
#[derive(Debug)]
pub(super) enum What {
    Logs { schema: Schema, fields: Fields, signals: LogSignals },
    Metrics { service_field: String, metrics: Vec<Metric>, signals: Vec<SignalName> },
}

/// What was found out before the first page.
#[derive(Debug)]
pub(super) struct Prepared {
    plan: Plan,
    /// Milliseconds in one unit of duration.
    factor: f64,
    at: Instant,
    /// What was found, for people.
    pub found: String,
    /// What is missing, for people.
    pub missing: Vec<String>,
}

/// One index, read for all its services at once.
#[derive(Debug)]
pub(super) struct Reader {
    pub client: Arc<Client>,
    pub index: String,
    pub what: What,
    pub bucket_seconds: u32,
    pub page: usize,
    server: Option<Server>,
    prepared: Option<Prepared>,
    stale: bool,
    /// Whether the cluster allows queries by pattern.
    expensive: bool,
    names: Names,
    serving: HashSet<ServiceName>,
}

/// What a read brought.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub rows: Rows,
    /// Milliseconds after the close of its bucket that documents came in, a number a bucket.
    pub lateness: Vec<i64>,
    pub requests: u32,
    /// Milliseconds that the server says it took.
    pub server_took: u64,
}

impl Reader {
    pub(super) fn new(client: Arc<Client>, index: String, what: What, bucket_seconds: u32) -> Self {
        Self {
            client,
            index,
            what,
            bucket_seconds,
            page: PAGE,
            server: None,
            prepared: None,
            stale: false,
            expensive: true,
            names: Names::default(),
            serving: HashSet::new(),
        }
    }

    /// Reads `span` into `reading`; gives up at `deadline`.
    pub(super) async fn read(
        &mut self,
        span: Span,
        reading: &mut Reading,
        deadline: Instant,
    ) -> Completeness {
        let pages = async {
            self.prepare(reading, deadline).await?;
            self.pages(span, reading, deadline).await
        };
        let outcome = match tokio::time::timeout_at(deadline, pages).await {
            Ok(Ok(())) => Completeness::Complete,
            Ok(Err(incomplete)) => incomplete,
            Err(_) => {
                let reason = format!("{} did not answer in time", self.client.address);
                Failure::new(FailureKind::Deadline, reason).into()
            }
        };
        // A field that changed its type shows as a failed shard or a refused query.
        self.stale = matches!(
            outcome,
            Completeness::Partial { .. } | Completeness::Failed { kind: FailureKind::Refused, .. }
        );
        if self.names.too_many() {
            (self.names, self.serving) = (Names::default(), HashSet::new());
        }
        outcome
    }

    /// Finds out who answers and what fields there are, unless that is known.
    pub(super) async fn prepare(
        &mut self,
        reading: &mut Reading,
        deadline: Instant,
    ) -> Result<&Prepared, Completeness> {
        if self.server.is_none() {
            reading.requests += 1;
            self.server = Some(self.client.server(left(deadline)).await?);
        }
        let fresh = self.prepared.as_ref().is_some_and(|known| known.at.elapsed() < FIELDS_FOR);
        if !fresh || self.stale {
            reading.requests += 1;
            match self.look_up_fields(deadline).await {
                Ok(prepared) => self.prepared = Some(self.tell(prepared)),
                // What was known may still be right: the search will tell.
                Err(incomplete) => {
                    let Some(known) = &mut self.prepared else { return Err(incomplete) };
                    known.at = Instant::now();
                }
            }
        }
        self.prepared
            .as_ref()
            .ok_or_else(|| Failure::new(FailureKind::Malformed, "fields are not known").into())
    }

    /// Who answered, once prepared.
    pub(super) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    async fn look_up_fields(&self, deadline: Instant) -> Result<Prepared, Completeness> {
        let asked = match &self.what {
            What::Logs { fields, .. } => schema::candidates(fields),
            What::Metrics { service_field, metrics, .. } => {
                let own = [service_field.clone(), format!("{service_field}.keyword")];
                let fields = metrics.iter().map(|metric| metric.field.clone());
                own.into_iter().chain(fields).chain([TIMESTAMP.to_owned()]).collect()
            }
        };
        let caps = self.client.field_caps(&self.index, &asked, left(deadline)).await?;
        let at = Instant::now();
        match &self.what {
            What::Logs { schema, fields, .. } => {
                let layout = Layout::detect(&self.index, &caps, *schema, fields)
                    .map_err(|why| Failure::new(FailureKind::Refused, why.to_string()))?;
                Ok(Prepared {
                    plan: Plan::logs(&layout, self.expensive),
                    factor: layout.duration.as_ref().map_or(1.0, |(_, unit)| unit.milliseconds()),
                    at,
                    found: layout.describe(),
                    missing: layout.missing,
                })
            }
            What::Metrics { service_field, metrics, .. } => {
                let (service, problems) =
                    index_fields::metric_fields(&self.index, &caps, service_field, metrics)
                        .map_err(|why| Failure::new(FailureKind::Refused, why.to_string()))?;
                // A field that is no number would fail whole shards, and with them every other signal.
                let usable: Vec<_> = metrics
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| problems.get(*place).is_some_and(Option::is_none))
                    .collect();
                let missing: Vec<String> = problems.iter().flatten().cloned().collect();
                if usable.is_empty() {
                    return Err(Failure::new(FailureKind::Refused, missing.join("; ")).into());
                }
                Ok(Prepared {
                    plan: Plan::metrics(TIMESTAMP, &service, &usable),
                    factor: 1.0,
                    at,
                    found: format!("service {service}"),
                    missing,
                })
            }
        }
    }

    /// Says once what is missing.
    fn tell(&self, new: Prepared) -> Prepared {
        let before = self.prepared.as_ref().map(|known| (&known.found, &known.missing));
        if before != Some((&new.found, &new.missing)) {
            tracing::info!(elasticsearch.index = self.index, found = new.found, "fields looked up");
            for missing in &new.missing {
                tracing::warn!(elasticsearch.index = self.index, missing, "field missing");
            }
        }
        new
    }

    async fn pages(
        &mut self,
        span: Span,
        reading: &mut Reading,
        deadline: Instant,
    ) -> Result<(), Completeness> {
        let range = Range { from: span.from, to: span.to, bucket_seconds: self.bucket_seconds };
        let mut after: Option<Value> = None;
        loop {
            let Some(prepared) = &self.prepared else {
                return Err(Failure::new(FailureKind::Malformed, "fields are not known").into());
            };
            let (size, limit) = (self.page, left(deadline));
            // The server gives up a little earlier than we do, so that it can say so.
            let timeout = limit.mul_f64(0.9).as_millis().max(1);
            let body = prepared.plan.page(range, size, after.as_ref(), timeout);
            let factor = prepared.factor;
            reading.requests += 1;
            let answer = match self.client.search(&self.index, &body, limit).await {
                Ok(answer) => answer,
                Err(failure) if failure.too_many_buckets && size > PAGE_LEAST => {
                    self.page = (size / 2).max(PAGE_LEAST);
                    tracing::info!(
                        page = self.page,
                        "smaller pages: the cluster allows no more buckets"
                    );
                    continue;
                }
                Err(failure) if failure.expensive && self.expensive => {
                    self.expensive = false;
                    tracing::warn!(
                        "the cluster allows no queries by pattern: only usual spellings of levels count"
                    );
                    self.prepared = Some(self.look_up_fields(deadline).await?);
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            let (count, next) = self.take(answer.as_ref(), reading, factor)?;
            if count < size || next.is_none() {
                return Ok(());
            }
            if next == after {
                return Err(Failure::new(FailureKind::Malformed, "paging does not advance").into());
            }
            after = next;
        }
    }

    /// Takes one page: how many buckets it had, and where the next one begins.
    fn take(
        &mut self,
        answer: &[u8],
        reading: &mut Reading,
        factor: f64,
    ) -> Result<(usize, Option<Value>), Completeness> {
        match &self.what {
            What::Logs { signals, .. } => {
                let (next, buckets) = open::<LogBucket<'_>>(answer, self, reading)?;
                let mut into = LogReading {
                    signals,
                    factor,
                    serving: &mut self.serving,
                    names: &mut self.names,
                };
                reading.rows.add_logs(&buckets, &mut into);
                Ok((buckets.len(), next))
            }
            What::Metrics { metrics, signals, .. } => {
                let (next, buckets) = open::<MetricBucket<'_>>(answer, self, reading)?;
                reading.rows.add_metrics(&buckets, signals, metrics, &mut self.names);
                Ok((buckets.len(), next))
            }
        }
    }
}

/// Opens one page, unless it is not whole.
fn open<'a, B: Deserialize<'a>>(
    answer: &'a [u8],
    reader: &Reader,
    reading: &mut Reading,
) -> Result<(Option<Value>, Vec<B>), Completeness> {
    let page: Page<B> = parse(answer)?;
    if page.asked_nothing() {
        let why = Unusable::Index(reader.index.clone());
        return Err(Failure::new(FailureKind::Refused, why.to_string()).into());
    }
    if let Some(reason) = page.partial() {
        return Err(Completeness::Partial { reason });
    }
    reading.server_took += page.took;
    let Some((next, lateness, buckets)) = page.into_parts(reader.bucket_seconds) else {
        return Err(Failure::new(FailureKind::Malformed, "the answer has no aggregations").into());
    };
    reading.lateness.extend(lateness);
    Ok((next, buckets))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// How late documents come, from how late they came in each bucket. In history the middle one counts, because an
/// hour may hold an outage of shipping; in what is fresh the latest one.
pub(super) fn lag(mut lateness: Vec<i64>, kind: WindowKind) -> Option<Duration> {
    lateness.sort_unstable();
    let which = match kind {
        WindowKind::Backfill => lateness.len() / 2,
        WindowKind::Fresh | WindowKind::Correction => lateness.len().checked_sub(1)?,
    };
    lateness.get(which).and_then(|late| u64::try_from(*late).ok()).map(Duration::from_millis)
}

//! What the HTTP API may see of detection: the two traits of `http`, over the pipeline's channels.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::http::{self, BoxFuture, NotNow, SourceFreshness};
use crate::incidents::Handle;
use crate::model::{ServiceName, SourceName, UtcTime, Verdict};
use crate::net::{self, Reach};
use crate::notify::heartbeat::{Heartbeat, Pulse, SourcePulse, TakePulse};
use crate::pipeline::{self, Sight, SourceSight};
use crate::telemetry::Metrics;

/// Asks the pipeline.
#[derive(Debug)]
pub(super) struct Explain(pub(super) mpsc::Sender<pipeline::Question>);

impl http::Explain for Explain {
    fn explain(&self, question: http::Question) -> BoxFuture<'_, Result<Vec<Verdict>, NotNow>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let http::Question { service, signal, at } = question;
            let question = pipeline::Question { service, signal, at, answer };
            self.0.send(question).await.map_err(|_| NotNow)?;
            answered.await.map_err(|_| NotNow)
        })
    }
}

/// Reads the pipeline's newest view of the sources.
#[derive(Debug)]
pub(super) struct Freshness(pub(super) watch::Receiver<Arc<Sight>>);

impl http::Freshness for Freshness {
    fn sources(&self) -> Vec<SourceFreshness> {
        let sight = self.0.borrow().clone();
        let show = |(name, seen): (&SourceName, &SourceSight)| SourceFreshness {
            name: name.clone(),
            last_read_at: seen.read_at,
            newest: seen.newest,
            blind_since: seen.blind_since,
            trouble: seen.trouble.clone(),
            lag: seen.lag,
            rejected: seen.rejected,
        };
        sight.sources.iter().map(show).collect()
    }

    fn services(&self) -> Vec<ServiceName> {
        self.0.borrow().services.iter().cloned().collect()
    }
}

/// The heartbeat of the settings, if one is wanted.
pub(super) fn heartbeat(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    sight: &watch::Receiver<Arc<Sight>>,
    incidents: &Handle,
) -> anyhow::Result<Option<Heartbeat>> {
    let settings = config.notify.heartbeat.clone();
    if settings.url.is_empty() {
        return Ok(None);
    }
    let client = net::client(&config.net, Reach::Guarded).context("set up the heartbeat")?;
    let (sight, incidents, counted) = (sight.clone(), incidents.clone(), metrics.clone());
    let pulse: TakePulse = Arc::new(move |now| {
        let sources: Vec<_> =
            sight.borrow().sources.iter().map(|(name, seen)| source(name, seen, now)).collect();
        let store_writable = incidents.snapshot().store_writable;
        let owed = counted.outbox_owed.get().unsigned_abs();
        Pulse {
            ok: store_writable && sources.iter().all(|source| !source.blind),
            sources,
            owed,
            oldest_owed_seconds: (owed > 0).then(|| counted.outbox_oldest_age_seconds.get()),
            dead: counted.outbox_dead.get().unsigned_abs(),
            store_writable,
        }
    });
    Ok(Some(Heartbeat {
        settings,
        client,
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
        pulse,
    }))
}

fn source(name: &SourceName, seen: &SourceSight, now: UtcTime) -> SourcePulse {
    SourcePulse {
        name: name.to_string(),
        fresh_until: seen.newest,
        age_seconds: seen.newest.map(|newest| (now - newest).num_seconds()),
        blind: seen.blind_since.is_some(),
    }
}

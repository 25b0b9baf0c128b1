//! From settings to sources: Elasticsearch where one is set, the embedded log store otherwise.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use crate::clock::Clock;
use crate::config::Config;
use crate::sources::embedded::{self, Embedded, Ingest};
use crate::sources::{Source, elasticsearch};
use crate::telemetry::Metrics;

/// Where the embedded log store takes documents.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Its listener, if it has one.
    pub address: Option<SocketAddr>,
    /// The same without a network.
    pub ingest: Ingest,
}

/// The sources, and the intake that must be served beside them.
pub(super) struct Sources {
    pub(super) all: Vec<Box<dyn Source>>,
    pub(super) intake: Option<(Intake, embedded::Intake)>,
}

impl Sources {
    pub(super) async fn build(
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        if !config.elasticsearch.url.is_empty() {
            let all = elasticsearch::sources(&config.elasticsearch, &config.polling, clock)
                .context("set up Elasticsearch")?;
            return Ok(Self { all, intake: None });
        }
        let (source, mut intake) =
            Embedded::open(config.embedded.clone(), Arc::clone(clock), metrics.clone())
                .await
                .context("open the embedded log store")?;
        let address = intake.bind().await.context("start the intake of the embedded log store")?;
        let ours = Intake { address, ingest: intake.ingest() };
        Ok(Self { all: vec![Box::new(source)], intake: Some((ours, intake)) })
    }
}

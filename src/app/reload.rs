//! Swaps settings while the daemon runs: everything that can fail comes first, then one swap after the other,
//! none of which can. What is only read at start keeps its old value, and is named.

use std::sync::{Arc, RwLock};

use anyhow::Context;
use tokio::sync::watch;

use crate::config::Config;
use crate::incidents::{Command, Handle, Route};
use crate::notify::dispatcher::Receivers;
use crate::notify::route::Router;
use crate::telemetry::Metrics;
use crate::{detect, http, notify};

/// The ends that new settings go into.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) router: Arc<RwLock<Router>>,
    pub(super) receivers: watch::Sender<Arc<Receivers>>,
    /// Receivers that are not of the settings.
    pub(super) extra: Receivers,
    pub(super) detection: watch::Sender<Arc<detect::Settings>>,
    pub(super) http: watch::Sender<Arc<http::Settings>>,
    pub(super) incidents: Handle,
}

impl Reloader {
    /// Swaps to `config`; an error leaves everything as it was. Answers the sections whose changes need a
    /// restart.
    pub(super) async fn swap(&mut self, config: Config) -> anyhow::Result<Vec<&'static str>> {
        let mut receivers = notify::receivers(&config.notify, &config.net, &self.metrics)
            .context("set up the receivers")?;
        receivers.extend(self.extra.clone());
        let router = router(&config);

        self.receivers.send_replace(Arc::new(receivers));
        // A poisoned lock still holds a whole routing table: it is replaced as a whole.
        *self.router.write().unwrap_or_else(std::sync::PoisonError::into_inner) = router;
        self.detection.send_replace(Arc::new(config.detection.clone()));
        self.http.send_replace(Arc::new(config.http.clone()));
        let rules = config.incidents.rules(&config.correlation);
        if self.incidents.tell(Command::Reload(rules)).await.is_err() {
            tracing::debug!("rules not swapped: the incident writer has stopped");
        }
        let fixed = fixed(&self.config, &config);
        self.config = config;
        Ok(fixed)
    }
}

/// The routing table of the settings.
pub(super) fn router(config: &Config) -> Router {
    Router::new(config.notify.clone(), config.incidents.pagerduty_severities.clone())
}

/// The routing table as the incident writer asks it.
pub(super) fn route(router: Arc<RwLock<Router>>) -> Route {
    Arc::new(move |incident, change| {
        let router = router.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        router.route(incident, change)
    })
}

/// The sections that differ and are only read at start.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let listener = old.http.listen != new.http.listen;
    [
        ("polling", old.polling != new.polling),
        ("elasticsearch", old.elasticsearch != new.elasticsearch),
        ("embedded", old.embedded != new.embedded),
        ("notify.base_url", old.notify.base_url != new.notify.base_url),
        ("notify.delivery", old.notify.delivery != new.notify.delivery),
        ("notify.heartbeat", old.notify.heartbeat != new.notify.heartbeat),
        ("store", old.store != new.store),
        ("http.listen", listener),
        ("logging", old.logging != new.logging),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

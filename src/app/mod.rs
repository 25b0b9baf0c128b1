//! The composition root: builds every part from the settings, starts the tasks, swaps settings, and ends.
//!
//! `build` can fail and binds every listener, so that a test learns its ports; `start` cannot. All knowledge of
//! who talks to whom is here.

mod reload;
mod signals;
mod single;
mod sources;
mod systemd;
mod views;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Origins};
use crate::detect::{Engine, Frame};
use crate::incidents::{self, Handle, Snapshot, Writer};
use crate::lifecycle::{Ending, Lifecycle};
use crate::model::UtcTime;
use crate::notify::dispatcher::{self, Dispatcher, Receivers};
use crate::notify::{self, heartbeat};
use crate::pipeline::{self, Pipeline, Sight};
use crate::sources::{self as reading, Poll};
use crate::store::{self, Store};
use crate::telemetry::Metrics;
use crate::{http, upkeep};

use reload::Reloader;
use signals::Signal;
use single::Single;
use sources::Sources;

pub use sources::Intake;

/// How long tasks may take to finish when the process is asked to stop.
const GRACE: Duration = Duration::from_millis(800);

/// How long detection may be silent before the watchdog is no longer fed.
const PATIENCE: Duration = Duration::from_mins(1);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an application is built from.
#[derive(Debug)]
pub struct Parts {
    /// The settings, checked.
    pub config: Config,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Receivers beside those of the settings, e.g. where the demo writes.
    pub receivers: Receivers,
}

impl Parts {
    /// On the system's clock, with the receivers of the settings.
    pub fn new(config: Config) -> Self {
        Self { config, clock: Arc::new(SystemClock), receivers: Receivers::new() }
    }
}

/// The daemon, built and perhaps running.
pub struct App {
    lifecycle: Lifecycle,
    tasks: Vec<(&'static str, Task)>,
    reloader: Reloader,
    store: Store,
    incidents: Handle,
    sight: watch::Receiver<Arc<Sight>>,
    address: SocketAddr,
    intake: Option<Intake>,
    _single: Single,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}

impl App {
    /// Builds everything: opens the store, recalls what was kept, binds the listeners. Nothing runs yet.
    /// `None` if it was asked to stop while another replica was active.
    #[expect(
        clippy::too_many_lines,
        reason = "wiring is one straight line, so that it can be read as one"
    )]
    pub async fn build(parts: Parts, lifecycle: Lifecycle) -> anyhow::Result<Option<Self>> {
        let Parts { config, clock, receivers: extra } = parts;
        let metrics = Metrics::new();
        let soft = lifecycle.soft();
        let mut tasks: Vec<(&'static str, Task)> = Vec::new();
        let mut task = |name, future: Task| tasks.push((name, future));

        let store = Store::open(&config.store).await.context("open the store")?;
        let Some(single) = Single::take(&config.store.url, &store, &clock, &soft).await? else {
            return Ok(None);
        };
        if let Some(keep) = single.keep(&store, &clock, &soft) {
            task("lease", Box::pin(keep));
        }

        // Sources, and what detection remembers of them.
        let Sources { all, intake } = Sources::build(&config, &clock, &metrics).await?;
        let frame = Frame {
            interval: Duration::from_secs(u64::from(config.polling.bucket_seconds)),
            lookback_minutes: config.polling.lookback_minutes,
            signals: all.iter().flat_map(|source| source.signals()).collect(),
        };
        let mut engine = Engine::new(config.detection.clone(), frame);
        let history = history(&config);
        let now = clock.now();
        let kept = pipeline::recall(&store, now - 2 * history).await.context("recall detection")?;
        let restored = engine.restore(&kept, now);
        tracing::info!(
            hours = restored.hours,
            episodes = restored.episodes,
            skipped = restored.skipped,
            "detection remembers"
        );

        let (windows, read) = mpsc::channel(pipeline::QUEUE);
        let (sight, seen) =
            watch::channel(Arc::new(Sight::of(all.iter().map(|source| source.name().clone()))));
        for source in all {
            let poll = Poll {
                settings: config.polling.clone(),
                history,
                resume_from: engine.resume_from(source.name()),
            };
            let polling = reading::run(
                source,
                poll,
                Arc::clone(&clock),
                metrics.clone(),
                windows.clone(),
                soft.clone(),
            );
            task("source", Box::pin(polling));
        }
        let intake = intake.map(|(ours, served)| {
            task("intake", Box::pin(served.serve(soft.clone())));
            ours
        });

        // Who is told.
        let mut receivers = notify::receivers(&config.notify, &config.net, &metrics)
            .context("set up the receivers")?;
        receivers.extend(extra.clone());
        let router = Arc::new(RwLock::new(reload::router(&config)));
        let (receivers, told) = watch::channel(Arc::new(receivers));
        let (emergencies, emergency) = mpsc::channel(store::EMERGENCIES);
        let dispatcher = Dispatcher {
            store: store.clone(),
            receivers: told,
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            settings: config.notify.delivery.clone(),
            base_url: config.notify.base_url.clone(),
            emergency,
            seed: seed(now),
        };
        task("dispatcher", Box::pin(dispatcher::run(dispatcher, soft.clone())));

        // The single writer.
        let (commands, asked) = mpsc::channel(incidents::QUEUE);
        let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let handle = Handle::new(commands, snapshots);
        let writer = Writer {
            store: store.clone(),
            rules: config.incidents.rules(&config.correlation),
            route: reload::route(Arc::clone(&router)),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            commands: asked,
            snapshot,
            emergency: emergencies,
        };
        task("incidents", Box::pin(incidents::run(writer, soft.clone())));

        // Detection.
        let (questions, asked) = mpsc::channel(pipeline::QUESTIONS);
        let (detection, settings) = watch::channel(Arc::new(config.detection.clone()));
        let (beat, beats) = watch::channel(0);
        let pipeline = Pipeline {
            engine,
            incidents: handle.clone(),
            store: store.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            windows: read,
            questions: asked,
            settings,
            sight,
            beat,
            unkept: BTreeMap::new(),
        };
        task("pipeline", Box::pin(pipeline.run(soft.clone())));
        task("watchdog", Box::pin(systemd::watchdog(beats, PATIENCE, soft.clone())));

        // The rest.
        let upkeep =
            upkeep::run(config.store.clone(), store.clone(), Arc::clone(&clock), soft.clone());
        task("upkeep", Box::pin(upkeep));
        if let Some(heartbeat) = views::heartbeat(&config, &clock, &metrics, &seen, &handle)? {
            task("heartbeat", Box::pin(heartbeat::run(heartbeat, soft.clone())));
        }
        let (http, settings) = watch::channel(Arc::new(config.http.clone()));
        let server = http::Server::bind(http::State {
            settings,
            base_url: config.notify.base_url.clone(),
            store: store.clone(),
            incidents: handle.clone(),
            explain: Arc::new(views::Explain(questions)),
            freshness: Arc::new(views::Freshness(seen.clone())),
            metrics: metrics.clone(),
            clock: Arc::clone(&clock),
        })
        .await
        .context("start the HTTP API")?;
        let address = server.address();
        task("http", Box::pin(server.run(soft.clone())));

        let reloader = Reloader {
            config,
            metrics,
            router,
            receivers,
            extra,
            detection,
            http,
            incidents: handle.clone(),
        };
        Ok(Some(Self {
            lifecycle,
            tasks,
            reloader,
            store,
            incidents: handle,
            sight: seen,
            address,
            intake,
            _single: single,
        }))
    }

    /// Starts every task.
    pub fn start(&mut self) {
        for (name, task) in self.tasks.drain(..) {
            self.lifecycle.spawn(name, task);
        }
        tracing::info!(http.address = %self.address, "started");
    }

    /// Where the HTTP API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the embedded log store takes documents, if it is used.
    pub fn intake(&self) -> Option<&Intake> {
        self.intake.as_ref()
    }

    /// Speaks to the incident writer.
    pub fn incidents(&self) -> &Handle {
        &self.incidents
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is known of the sources.
    pub fn sight(&self) -> watch::Receiver<Arc<Sight>> {
        self.sight.clone()
    }

    /// Swaps to new settings, or leaves everything as it was. Answers the sections that need a restart.
    pub async fn reload(&mut self, config: Config) -> anyhow::Result<Vec<&'static str>> {
        self.reloader.swap(config).await
    }

    /// Waits until something asks for the end, then for the tasks.
    pub async fn finished(self) -> Ending {
        let ending = self.lifecycle.finished(GRACE).await;
        self.store.close().await;
        ending
    }
}

/// Runs the daemon until a signal ends it.
pub async fn run(config: Config, origins: Origins) -> anyhow::Result<Ending> {
    let lifecycle = Lifecycle::new();
    let mut signals = signals::Signals::listen().context("listen for signals")?;
    let building = App::build(Parts::new(config), lifecycle.clone());
    let built = tokio::select! {
        built = building => built?,
        () = signals.end() => return Ok(Ending::Clean),
    };
    let Some(mut app) = built else { return Ok(Ending::Clean) };
    app.start();
    systemd::ready(app.address());
    loop {
        match signals.next(&lifecycle).await {
            Signal::Stop => break,
            Signal::Reload => {
                systemd::reloading();
                let swapped = match origins.load() {
                    Ok(config) => app.reload(config).await,
                    Err(error) => Err(error.into()),
                };
                match swapped {
                    Ok(fixed) if fixed.is_empty() => tracing::info!("settings reloaded"),
                    Ok(fixed) => tracing::warn!(
                        sections = fixed.join(", "),
                        "settings reloaded; these sections are only read at start"
                    ),
                    Err(error) => tracing::error!(
                        error = %format!("{error:#}"),
                        "settings not reloaded: the old ones stay"
                    ),
                }
                systemd::ready(app.address());
            }
        }
    }
    systemd::stopping();
    let hard = lifecycle.clone();
    tokio::select! {
        ending = app.finished() => Ok(ending),
        // A second signal: drop everything.
        () = async { signals.end().await; hard.drop_all(); std::future::pending().await } => Ok(Ending::Dropped),
    }
}

/// How much history detection wants at start.
fn history(config: &Config) -> Duration {
    let minutes = u64::from(config.detection.baseline_window_minutes)
        + u64::from(config.polling.lookback_minutes);
    Duration::from_mins(minutes)
}

/// A number to spread retries by; any will do.
fn seed(now: UtcTime) -> u64 {
    let mut bytes = [0_u8; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => now.timestamp_micros().unsigned_abs(),
    }
}

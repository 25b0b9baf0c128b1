//! `demo`: the whole daemon on a small simulated shop, without an account, a key or a server.
//!
//! An hour of normal traffic is written to an embedded log store in a temporary folder. Then an outage is
//! played on a clock that runs fast: what reads, judges, keeps and tells is the daemon itself. Nothing of the
//! environment is read, so that a demo never pages anybody.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;
use crate::app::{App, Parts};
use crate::clock::{CatchUpClock, Clock, SystemClock, TimerClock};
use crate::config::Config;
use crate::lifecycle::{Ending, Lifecycle};
use crate::model::{
    Change, Delivery, DeliveryState, Incident, IncidentState, Severity, TimelineEntry, UtcTime,
    bucket_floor,
};
use crate::notify::Console;
use crate::notify::dispatcher::{Pace, Receiver, Receivers};
use crate::simulate::{Scenario, Scene, bulk_body};
use crate::sources::embedded::{Embedded, Ingest};
use crate::store::{IncidentFilter, Store};
use crate::telemetry::{self, Metrics};

/// The index that the documents name; the log store keeps none apart.
const INDEX: &str = "app-logs-000001";
/// The receiver that shows what people would be told.
const RECEIVER: &str = "console";
const SERVICES: usize = 5;
const SEED: u64 = 1;
/// How much faster than time the clock runs until it has caught up.
const SPEED: u32 = 30;
/// How far in the past the demo begins: its outage and recovery must fit in.
const BEHIND: Duration = Duration::from_mins(25);
/// Documents are written this much before the clock comes to them, so that a busy machine is never late.
const AHEAD: chrono::Duration = chrono::Duration::seconds(90);
/// The demo gives up after this long: something is broken.
const LIMIT: Duration = Duration::from_secs(55);
/// How often it is looked whether anything happened.
const LOOK: Duration = Duration::from_millis(50);

const BASELINE: chrono::Duration = chrono::Duration::minutes(60);
const CALM: chrono::Duration = chrono::Duration::minutes(2);
const OUTAGE: chrono::Duration = chrono::Duration::minutes(5);
/// After the end nothing may come back for this long.
const AFTERMATH: chrono::Duration = chrono::Duration::minutes(2);

/// Shows one outage from its first error to its end, without an account, a key or a server
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// End after the outage instead of staying up with normal traffic
    #[arg(long)]
    once: bool,
    /// Print one JSON object of the incidents to standard output, and the messages to standard error
    #[arg(long)]
    json: bool,
    /// Where the HTTP API listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: std::net::SocketAddr,
}

/// Runs the command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if !options.listen.ip().is_loopback() {
        bail!(
            "--listen {} can be reached by others: a demo listens on 127.0.0.1 only",
            options.listen
        );
    }
    // Only what is wrong, on standard error.
    let logging = telemetry::Settings { level: "warn".to_owned(), ..Default::default() };
    telemetry::start(&logging)?;
    let scratch = Scratch::new("sentinelops-demo").context("make a temporary folder")?;
    let config = settings(options, &scratch);
    let tell = Narrator { silent: options.json };

    let begin = bucket_floor(SystemClock.now(), chrono::Duration::minutes(1))
        - chrono::Duration::from_std(BEHIND)?;
    let scene = Scene::normal(SEED, SERVICES);
    let written = seed(&config, &scene, begin - BASELINE, begin).await?;
    tell.line(&format!(
        "{} UTC  An hour of normal traffic of {SERVICES} services is in the log store: {written} log lines.",
        clock_time(begin)
    ))?;

    let clock =
        Arc::new(CatchUpClock::new(begin + chrono::Duration::from_std(BEHIND)?, BEHIND, SPEED));
    let onset = begin + CALM;
    let scene = scene.with(Scenario::Cascade, onset, onset + OUTAGE);
    tell.line(&format!(
        "{} UTC  {}. A minute passes in {} seconds.\n",
        clock_time(onset),
        sentence(Scenario::Cascade.describe()),
        60 / SPEED
    ))?;

    let lifecycle = Lifecycle::new();
    let parts = Parts { config, clock: clock.clone(), receivers: receivers(options.json) };
    let mut app = App::build(parts, lifecycle.clone())
        .await?
        .context("the store in the temporary folder is in use")?;
    app.start();

    let stopped = lifecycle.soft();
    let ingest = app.intake().context("the demo has no log store")?.ingest.clone();
    let played = tokio::select! {
        played = watch(&app, clock.as_ref(), onset + OUTAGE) => Some(played?),
        failed = traffic(&ingest, &scene, clock.as_ref(), begin) => bail!("the traffic ended: {failed}"),
        () = interrupted() => None,
        () = stopped.cancelled() => bail!("a part of the daemon stopped; its log says why"),
    };
    if let Some(told) = &played {
        if options.json {
            super::print(&format!("{}\n", serde_json::to_string(told)?))?;
        }
        tell.line(&summary(told, onset))?;
        if !options.once {
            tell.line(&format!(
                "The daemon stays up with normal traffic: http://{}/api/incidents, /ready, /metrics. Ctrl-C ends it.",
                app.address()
            ))?;
            tokio::select! {
                failed = traffic(&ingest, &scene, clock.as_ref(), clock.now()) => {
                    bail!("the traffic ended: {failed}")
                }
                () = interrupted() => {}
                () = stopped.cancelled() => bail!("a part of the daemon stopped; its log says why"),
            }
        }
    }
    lifecycle.stop();
    let ending = app.finished().await;
    Ok(if ending == Ending::Clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is told: whoever looks at the terminal.
fn receivers(json: bool) -> Receivers {
    let out: Box<dyn io::Write + Send> =
        if json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let colour = !json && io::IsTerminal::is_terminal(&io::stdout());
    let notifier = Arc::new(Console::new(out, colour));
    let receiver = Receiver { notifier, fallback: None, pace: Pace::FREE };
    Receivers::from([(RECEIVER.to_owned(), receiver)])
}

/// The defaults, in a folder of its own, with nobody to tell but the console.
fn settings(options: &Options, scratch: &Scratch) -> Config {
    let mut config = Config::default();
    config.store.url = format!("sqlite:{}", scratch.path().join("sentinelops.db").display());
    config.embedded.path = scratch.path().join("logs.db");
    config.embedded.listen = None;
    config.http.listen = options.listen;
    config.notify.console.entry(RECEIVER.to_owned()).or_default();
    config
}

/// Writes the history before anything runs, as a log store that has been up for a while has it.
async fn seed(config: &Config, scene: &Scene, from: UtcTime, to: UtcTime) -> anyhow::Result<u64> {
    let clock: Arc<dyn Clock> = Arc::new(TimerClock::new(to));
    let opened = Embedded::open(config.embedded.clone(), clock, Metrics::new()).await;
    let (_source, intake) = opened.context("open the embedded log store")?;
    let ingest = intake.ingest();
    let done = CancellationToken::new();
    let write = async {
        // Ends the intake whatever comes of the writing.
        let _done = done.clone().drop_guard();
        let mut written = 0;
        let mut start = from;
        while start < to {
            let end = (start + chrono::Duration::minutes(5)).min(to);
            written += put(&ingest, scene, start, end).await?;
            start = end;
        }
        Ok(written)
    };
    tokio::join!(intake.serve(done.clone()), write).1
}

/// Writes what is logged in `[from, to)`; answers how much that was.
async fn put(ingest: &Ingest, scene: &Scene, from: UtcTime, to: UtcTime) -> anyhow::Result<u64> {
    let documents = scene.documents(from, to);
    if documents.is_empty() {
        return Ok(0);
    }
    let reply = ingest.bulk(bulk_body(&documents).as_bytes(), Some(INDEX)).await?;
    if let Some(Err(rejection)) = reply.items.iter().map(|item| &item.outcome).find(|o| o.is_err())
    {
        bail!("the log store refuses simulated documents: {}", rejection.text);
    }
    Ok(u64::try_from(documents.len())?)
}

/// Keeps traffic flowing; ends only when it cannot.
async fn traffic(
    ingest: &Ingest,
    scene: &Scene,
    clock: &dyn Clock,
    from: UtcTime,
) -> anyhow::Error {
    let mut done = from;
    loop {
        let ahead = clock.now() + AHEAD;
        if ahead > done {
            if let Err(error) = put(ingest, scene, done, ahead).await {
                return error;
            }
            done = ahead;
        }
        tokio::time::sleep(clock.span(Duration::from_secs(15))).await;
    }
}

/// Waits until every incident has ended, everything owed is delivered, and nothing came back.
async fn watch(app: &App, clock: &dyn Clock, calm_from: UtcTime) -> anyhow::Result<Told> {
    let started = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    while started.elapsed() < LIMIT {
        look.tick().await;
        let now = clock.now();
        if now < calm_from {
            continue;
        }
        let told = told(app.store()).await?;
        let over = told.incidents.iter().map(|incident| incident.resolved_at).min().flatten();
        let settled = told.incidents.iter().all(|told| told.state == IncidentState::Resolved)
            && told
                .incidents
                .iter()
                .flat_map(|told| &told.deliveries)
                .all(|d| d.finished_at.is_some());
        if over.is_some_and(|over| now >= over + AFTERMATH) && settled {
            return Ok(told);
        }
    }
    let told = told(app.store()).await?;
    bail!(
        "the outage is not over after {} s; incidents so far: {}",
        LIMIT.as_secs(),
        serde_json::to_string(&told)?
    )
}

async fn told(store: &Store) -> anyhow::Result<Told> {
    let filter = IncidentFilter { limit: 100, ..IncidentFilter::default() };
    let (_, incidents) = store.incidents(&filter).await.context("read the incidents")?;
    let mut told = Told { incidents: Vec::with_capacity(incidents.len()) };
    for incident in incidents {
        let deliveries = store.deliveries(&incident.id).await.context("read the deliveries")?;
        told.incidents.push(ToldIncident::new(incident, deliveries));
    }
    Ok(told)
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told {
    incidents: Vec<ToldIncident>,
}

#[derive(Debug, Serialize)]
struct ToldIncident {
    id: String,
    fingerprint: String,
    severity: Severity,
    state: IncidentState,
    opened_at: UtcTime,
    resolved_at: Option<UtcTime>,
    services: Vec<String>,
    timeline: Vec<TimelineEntry>,
    deliveries: Vec<ToldDelivery>,
}

#[derive(Debug, Serialize)]
struct ToldDelivery {
    receiver: String,
    change: Change,
    severity: Severity,
    state: DeliveryState,
    attempts: u32,
    created_at: UtcTime,
    finished_at: Option<UtcTime>,
}

impl ToldIncident {
    fn new(incident: Incident, deliveries: Vec<Delivery>) -> Self {
        Self {
            services: incident.services().into_iter().map(str::to_owned).collect(),
            id: incident.id.0,
            fingerprint: incident.fingerprint,
            severity: incident.worst,
            state: incident.state,
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            timeline: incident.timeline,
            deliveries: deliveries
                .into_iter()
                .map(|delivery| ToldDelivery {
                    receiver: delivery.receiver,
                    change: delivery.change,
                    severity: delivery.severity,
                    state: delivery.state,
                    attempts: delivery.attempts,
                    created_at: delivery.created_at,
                    finished_at: delivery.finished_at,
                })
                .collect(),
        }
    }
}

fn summary(told: &Told, onset: UtcTime) -> String {
    let mut lines = Vec::new();
    for incident in &told.incidents {
        let delivered = |d: &&ToldDelivery| d.state == DeliveryState::Delivered;
        let messages = incident.deliveries.iter().filter(delivered).count();
        let over = incident
            .resolved_at
            .map_or("goes on".to_owned(), |at| format!("resolved at {}", clock_time(at)));
        let paged =
            incident.deliveries.iter().filter(delivered).filter_map(|d| d.finished_at).min();
        let paged = paged.map_or("nobody was told".to_owned(), |at| {
            format!("paged {} s after the first error", (at - onset).num_seconds())
        });
        lines.push(format!(
            "{} ({}, {}): {paged}; {over}; {messages} messages.",
            incident.id,
            incident.severity,
            incident.services.join(", "),
        ));
    }
    let count = told.incidents.len();
    lines.push(format!("One outage, {count} incident{}.", if count == 1 { "" } else { "s" }));
    lines.join("\n")
}

/// Tells what happens, unless only results are wanted.
struct Narrator {
    silent: bool,
}

impl Narrator {
    fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.silent { Ok(()) } else { super::print(&format!("{text}\n")) }
    }
}

fn clock_time(at: UtcTime) -> String {
    at.format("%H:%M:%S").to_string()
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

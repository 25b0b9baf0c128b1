//! `check`: are the settings right, can every remote system be reached, is it allowed what it must be, and
//! what will it cost. With `--send`, a test message goes to every receiver.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::client::Client;
use super::{Remote, print, render, show};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Origins};
use crate::http::types::Ready;
use crate::model::{
    Bookkeeping, Change, Incident, IncidentId, IncidentKind, IncidentState, Severity, UtcTime,
};
use crate::notify::dispatcher::Receiver;
use crate::notify::{self, Outgoing};
use crate::sources::embedded::Embedded;
use crate::sources::{Checked, Source, elasticsearch};
use crate::store::Store;
use crate::telemetry::Metrics;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Sends a test message to every receiver
    #[arg(long)]
    send: bool,
    /// Prints the settings in force, without secrets, and looks at nothing else
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The answer, for scripts.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Checked>,
}

/// Fails with 1 if anything is wrong, with 2 if the settings cannot be used.
pub(super) async fn run(options: &Options, origins: &Origins) -> anyhow::Result<ExitCode> {
    let config = super::settings(origins)?;
    if options.show {
        if options.remote.json {
            let text = serde_json::to_string_pretty(&config).context("write JSON")?;
            print(&format!("{text}\n"))?;
        } else {
            print(&config.dump())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut checks = vec![good("settings", "can be used")];
    let daemon = daemon(&options.remote, origins, &mut checks).await;
    store(&config, daemon, &mut checks).await;
    sources(&config, daemon, &clock, &mut checks).await;
    receivers(&config, options.send, &clock, &mut checks).await?;
    checks.push(cost(&config));
    let report = Report { ok: checks.iter().all(|check| check.ok != Some(false)), checks };
    show(options.remote.json, &report, |report| render::checked(&report.checks))?;
    Ok(if report.ok { ExitCode::SUCCESS } else { super::FAILED.into() })
}

fn good(what: impl Into<String>, detail: impl Into<String>) -> Checked {
    Checked { what: what.into(), ok: Some(true), detail: detail.into() }
}

fn wrong(what: impl Into<String>, detail: impl Into<String>) -> Checked {
    Checked { what: what.into(), ok: Some(false), detail: detail.into() }
}

fn note(what: impl Into<String>, detail: impl Into<String>) -> Checked {
    Checked { what: what.into(), ok: None, detail: detail.into() }
}

/// Whether a daemon runs, and what it says of itself.
async fn daemon(remote: &Remote, origins: &Origins, checks: &mut Vec<Checked>) -> bool {
    let asked = async { Client::new(remote, origins)?.get::<Ready>(&["ready"], &[]).await };
    match asked.await {
        Ok(ready) if ready.ready => checks.push(good("daemon", "runs, and is ready")),
        Ok(ready) => checks.push(wrong("daemon", format!("runs: {}", ready.problems.join("; ")))),
        Err(error) => {
            checks.push(note("daemon", format!("{error:#}")));
            return false;
        }
    }
    true
}

async fn store(config: &Config, daemon: bool, checks: &mut Vec<Checked>) {
    // A running daemon has said how its store is; opening it again would prove nothing more.
    if daemon {
        return;
    }
    match Store::open(&config.store).await {
        Ok(store) => {
            checks.push(good("store", "can be opened, and its tables are up to date"));
            store.close().await;
        }
        Err(error) => checks.push(wrong("store", chain(&error))),
    }
}

async fn sources(config: &Config, daemon: bool, clock: &Arc<dyn Clock>, checks: &mut Vec<Checked>) {
    if !config.elasticsearch.url.is_empty() {
        match elasticsearch::sources(&config.elasticsearch, &config.polling, clock) {
            Ok(all) => {
                for mut source in all {
                    checks.extend(source.check().await);
                }
            }
            Err(error) => checks.push(wrong("elasticsearch", chain(&error))),
        }
    } else if daemon {
        checks.push(note("embedded", "kept open by the daemon, which has said how it is"));
    } else {
        match Embedded::open(config.embedded.clone(), Arc::clone(clock), Metrics::new()).await {
            Ok((mut source, _intake)) => checks.extend(source.check().await),
            Err(error) => checks.push(wrong("embedded", chain(&error))),
        }
    }
}

async fn receivers(
    config: &Config,
    send: bool,
    clock: &Arc<dyn Clock>,
    checks: &mut Vec<Checked>,
) -> anyhow::Result<()> {
    let all = notify::receivers(&config.notify, &config.net, &Metrics::new())
        .context("set up the receivers")?;
    if all.is_empty() {
        checks.push(wrong(
            "receivers",
            "there are none, so nobody will be told: set SLACK_BOT_TOKEN and SLACK_CHANNEL_ID, or \
             PAGERDUTY_ROUTING_KEY, or add one under notify",
        ));
    }
    for (name, receiver) in &all {
        let what = format!("receiver {name} ({})", receiver.notifier.kind());
        if !send {
            checks.push(note(what, "set up; --send sends it a test message"));
            continue;
        }
        checks.push(match test(receiver, config, clock.now()).await {
            Ok(()) => good(what, "took the test message"),
            Err(failure) => wrong(what, failure.to_string()),
        });
    }
    Ok(())
}

/// Opens a test incident at the receiver, and ends it.
async fn test(receiver: &Receiver, config: &Config, now: UtcTime) -> Result<(), notify::Failure> {
    let opened = test_incident(now);
    let mut message = Outgoing {
        key: Outgoing::key(&opened.id, Change::Opened, 1),
        incident: opened,
        change: Change::Opened,
        receipt: None,
        attempt: 1,
        now,
        base_url: config.notify.base_url.clone(),
    };
    message.receipt = Some(receiver.notifier.send(&message).await?);
    message.change = Change::Resolved;
    message.incident.state = IncidentState::Resolved;
    message.incident.resolved_at = Some(now);
    message.incident.revision = 2;
    message.key = Outgoing::key(&message.incident.id, Change::Resolved, 2);
    receiver.notifier.send(&message).await.map(|_| ())
}

fn test_incident(now: UtcTime) -> Incident {
    let id = format!("INC-{}-test", now.format("%Y%m%d-%H%M%S"));
    Incident {
        fingerprint: format!("test-{}", now.timestamp_micros()),
        id: IncidentId(id),
        kind: IncidentKind::Test,
        state: IncidentState::Open,
        severity: Severity::P4,
        worst: Severity::P4,
        title: "Test message of `sentinelops check --send`: nothing is wrong".to_owned(),
        onset: now,
        opened_at: now,
        last_seen_at: now,
        updated_at: now,
        acknowledged: None,
        resolved_at: None,
        outcome: None,
        reopened: 0,
        escalations: 0,
        revision: 1,
        silenced_by: None,
        flapping: false,
        members: Vec::new(),
        timeline: Vec::new(),
        notes: Bookkeeping::default(),
        missing: Vec::new(),
        correlation: None,
        runbooks: Vec::new(),
        analysis: None,
    }
}

/// What it will cost to run.
fn cost(config: &Config) -> Checked {
    const DAY: u64 = 86_400;
    let settings = &config.elasticsearch;
    if settings.url.is_empty() {
        return note("cost", "no remote system is asked; logs are kept on this machine");
    }
    let mut indices: Vec<_> = settings
        .metrics
        .iter()
        .map(|metric| (metric.index.as_deref(), metric.service_field.as_deref()))
        .collect();
    indices.sort_unstable();
    indices.dedup();
    let searches = 1 + indices.len() as u64;
    let bucket = u64::from(config.polling.bucket_seconds).max(1);
    note(
        "cost",
        format!(
            "at least {searches} searches of Elasticsearch each {bucket} s ({} a day), one page per \
             10,000 services and buckets; no paid API is asked",
            searches * DAY / bucket
        ),
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

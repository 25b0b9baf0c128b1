//! `why`: why a series fired, or why it did not, with every number that decided.

use std::process::ExitCode;

use clap::Args;

use super::client::Client;
use super::{Remote, render, show, silence};
use crate::config::Origins;
use crate::http::types::Why;
use crate::model::UtcTime;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The service
    service: String,
    /// The signal, e.g. `error_rate`; all of the service's if not given
    signal: Option<String>,
    /// The instant, e.g. 2026-11-21T03:15:00Z; now if not given
    #[arg(value_parser = silence::time)]
    time: Option<UtcTime>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(options: &Options, origins: &Origins) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.remote, origins)?;
    let mut query = vec![("service", options.service.clone())];
    query.extend(options.signal.clone().map(|signal| ("signal", signal)));
    query.extend(options.time.map(|time| ("at", time.to_rfc3339())));
    let answer: Why = client.get(&["api", "why"], &query).await?;
    show(options.remote.json, &answer, render::verdicts)?;
    Ok(ExitCode::SUCCESS)
}

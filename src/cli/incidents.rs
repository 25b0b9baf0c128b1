//! `incidents`: lists them, shows one, acknowledges, resolves.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::client::Client;
use super::{Acting, Remote, render, show};
use crate::clock::{Clock, SystemClock};
use crate::config::Origins;
use crate::http::local;
use crate::http::types::{Acknowledge, IncidentDetail, IncidentList, IncidentSummary, Resolve};
use crate::model::{IncidentId, IncidentState, Outcome, Severity};
use crate::store::IncidentFilter;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists incidents, newest first
    List(List),
    /// Shows one incident whole
    Show(Show),
    /// Says that somebody looks at it
    Ack(Ack),
    /// Says that it is over
    Resolve(Over),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these states
    #[arg(long, value_enum, value_delimiter = ',')]
    state: Vec<State>,
    /// Only incidents that hit this service
    #[arg(long)]
    service: Option<String>,
    /// Only this severity or worse
    #[arg(long, value_name = "P1..P4")]
    severity: Option<Severity>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// After so many
    #[arg(long, default_value_t = 0)]
    offset: u32,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Which incident
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Ack {
    /// Which incident
    id: String,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Over {
    /// Which incident
    id: String,
    /// A remark for the timeline
    #[arg(long)]
    note: Option<String>,
    /// What it was
    #[arg(long, value_enum)]
    outcome: Option<Judgement>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Going on
    Open,
    /// Going on, and somebody looks at it
    Acknowledged,
    /// Over
    Resolved,
}

impl From<State> for IncidentState {
    fn from(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::Acknowledged => Self::Acknowledged,
            State::Resolved => Self::Resolved,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Judgement {
    /// It was what it said
    Real,
    /// Nothing was wrong
    Noise,
    /// Something planned
    Expected,
}

impl From<Judgement> for Outcome {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Real => Self::Real,
            Judgement::Noise => Self::Noise,
            Judgement::Expected => Self::Expected,
        }
    }
}

pub(super) async fn run(command: Command, origins: &Origins) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => list(options, origins).await?,
        Command::Show(options) => one(&options, origins).await?,
        Command::Ack(options) => {
            let client = Client::new(&options.remote, origins)?;
            let body = Acknowledge { actor: options.acting.name(&client.environment) };
            let done: IncidentSummary =
                client.post(&["api", "incidents", &options.id, "ack"], &body).await?;
            show(options.remote.json, &done, render::changed)?;
        }
        Command::Resolve(options) => {
            let client = Client::new(&options.remote, origins)?;
            let body = Resolve {
                actor: options.acting.name(&client.environment),
                note: options.note,
                outcome: options.outcome.map(Outcome::from),
            };
            let done: IncidentSummary =
                client.post(&["api", "incidents", &options.id, "resolve"], &body).await?;
            show(options.remote.json, &done, render::changed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: List, origins: &Origins) -> anyhow::Result<()> {
    let client = Client::new(&options.remote, origins)?;
    let filter = IncidentFilter {
        states: options.state.iter().copied().map(IncidentState::from).collect(),
        service: options.service,
        at_least: options.severity,
        limit: options.limit,
        offset: options.offset,
    };
    let asked: Result<IncidentList, _> = client.get(&["api", "incidents"], &query(&filter)).await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => local::incidents(&client.store_instead(error).await?, &filter).await?,
    };
    show(options.remote.json, &answer, |answer| render::incidents(answer, SystemClock.now()))
}

fn query(filter: &IncidentFilter) -> Vec<(&'static str, String)> {
    let mut query =
        vec![("limit", filter.limit.to_string()), ("offset", filter.offset.to_string())];
    if !filter.states.is_empty() {
        let names: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
        query.push(("state", names.join(",")));
    }
    query.extend(filter.service.clone().map(|service| ("service", service)));
    query.extend(filter.at_least.map(|severity| ("severity", severity.to_string())));
    query
}

async fn one(options: &Show, origins: &Origins) -> anyhow::Result<()> {
    let client = Client::new(&options.remote, origins)?;
    let asked: Result<IncidentDetail, _> =
        client.get(&["api", "incidents", &options.id], &[]).await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            let store = client.store_instead(error).await?;
            let id = IncidentId(options.id.clone());
            let found = local::incident(&store, &id).await?;
            found.ok_or_else(|| anyhow::anyhow!("Incident not found"))?
        }
    };
    show(options.remote.json, &answer, |answer| render::incident(answer, SystemClock.now()))
}

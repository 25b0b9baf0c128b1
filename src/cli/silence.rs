//! `silence`: mutes notices for a while.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::client::{BadArgument, Client};
use super::{Acting, Remote, render, show};
use crate::clock::{Clock, SystemClock};
use crate::config::Origins;
use crate::http::local;
use crate::http::types::{NewSilence, SilenceList, SilenceView};
use crate::model::{Recurrence, Severity, UtcTime};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Mutes notices of a service, a signal, or everything
    Add(Add),
    /// Lists silences, active ones first
    List(List),
    /// Ends a silence early
    Expire(Expire),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Only this service; a trailing * matches a prefix
    #[arg(long, required_unless_present_any = ["signal", "all"])]
    service: Option<String>,
    /// Only this signal
    #[arg(long)]
    signal: Option<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["service", "signal"])]
    all: bool,
    /// How long: 90m, 2h, 3d
    #[arg(long = "for", value_name = "DURATION", value_parser = minutes)]
    minutes: u32,
    /// When it begins, e.g. 2026-11-21T03:00:00Z; now if not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<UtcTime>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Comes back at the same time, in UTC
    #[arg(long, value_enum)]
    every: Option<Every>,
    /// Incidents of this severity or worse are announced all the same
    #[arg(long, value_name = "P1..P4")]
    unless: Option<Severity>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Expire {
    /// Which silence
    id: String,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Every {
    /// Every day
    Day,
    /// Every week, on the same day
    Week,
}

/// `90m`, `2h`, `3d` in minutes.
fn minutes(text: &str) -> Result<u32, BadArgument> {
    let bad = || BadArgument("use a number with m, h or d: 90m, 2h, 3d".to_owned());
    let (number, factor) = [("m", 1), ("h", 60), ("d", 1_440)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .ok_or_else(bad)?;
    let number: u32 = number.parse().map_err(|_| bad())?;
    number.checked_mul(factor).filter(|minutes| *minutes > 0).ok_or_else(bad)
}

/// An instant in RFC 3339.
pub(super) fn time(text: &str) -> Result<UtcTime, BadArgument> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| BadArgument("use a time such as 2026-11-21T03:15:00Z".to_owned()))
}

pub(super) async fn run(command: Command, origins: &Origins) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add(options) => {
            let client = Client::new(&options.remote, origins)?;
            let body = NewSilence {
                owner: options.acting.name(&client.environment),
                reason: options.reason,
                service: options.service,
                signal: options.signal,
                starts_at: options.from,
                ends_at: None,
                duration_minutes: Some(options.minutes),
                recurrence: options.every.map(|every| match every {
                    Every::Day => Recurrence::Daily,
                    Every::Week => Recurrence::Weekly,
                }),
                unless: options.unless,
            };
            let added: SilenceView = client.post(&["api", "silences"], &body).await?;
            show(options.remote.json, &added, render::silence)?;
        }
        Command::List(options) => {
            let client = Client::new(&options.remote, origins)?;
            let asked: Result<SilenceList, _> = client.get(&["api", "silences"], &[]).await;
            let answer = match asked {
                Ok(answer) => answer,
                Err(error) => {
                    let store = client.store_instead(error).await?;
                    local::silences(&store, SystemClock.now()).await?
                }
            };
            show(options.remote.json, &answer, render::silences)?;
        }
        Command::Expire(options) => {
            let client = Client::new(&options.remote, origins)?;
            let actor = options.acting.name(&client.environment);
            let ended: SilenceView =
                client.delete(&["api", "silences", &options.id], &[("actor", actor)]).await?;
            show(options.remote.json, &ended, render::silence)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read_or_refused() {
        assert_eq!(minutes("90m").unwrap(), 90);
        assert_eq!(minutes("2h").unwrap(), 120);
        assert_eq!(minutes("3d").unwrap(), 4_320);
        for bad in ["", "90", "m", "0m", "-1h", "1.5h", "99999999d", "2w"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
        assert!(time("2026-11-21T03:15:00Z").is_ok());
        assert!(time("yesterday").is_err());
    }
}

//! `simulate`: injects normal traffic and what can go wrong in it into Elasticsearch or the embedded intake,
//! either as history that has just ended or live.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::SubsecRound;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::HeaderValue;
use serde::Serialize;
use url::Url;

use crate::clock::{Clock, SystemClock};
use crate::model::UtcTime;
use crate::net;
use crate::secret::Secret;
use crate::simulate::inject::{Sent, Target};
use crate::simulate::{Scenario, Scene};

/// How much is made and sent at a time, so that memory stays small however long the history is.
const STRETCH: chrono::Duration = chrono::Duration::minutes(5);

/// Injects normal traffic and outages into Elasticsearch or the embedded intake
#[derive(Debug, Args)]
pub(super) struct Options {
    /// What goes wrong
    #[arg(value_enum, default_value = "normal")]
    scenario: Scenario,
    /// Where documents go; the default is the embedded intake of a daemon on this machine
    #[arg(long, env = "ELASTICSEARCH_URL", default_value = "http://127.0.0.1:9201")]
    url: Url,
    /// The index that they are written to; made if it does not exist, never deleted
    #[arg(long, default_value = "app-logs-000001")]
    index: String,
    /// An API key as Elasticsearch prints it in `encoded`, or the intake's token
    #[arg(long, env = "ELASTICSEARCH_API_KEY", hide_env_values = true, value_parser = secret)]
    api_key: Option<Secret>,
    /// A user and password instead of a key
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "api_key", value_parser = secret)]
    user: Option<Secret>,
    /// A PEM file with the certificate authority of the URL
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How many services the shop has
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(5..=10_000))]
    services: u32,
    /// Times the normal traffic of 40 to 80 requests in five minutes and service
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    volume: u32,
    /// The same seed gives the same traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes of normal traffic that are written before anything goes wrong
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = minutes())]
    history: u32,
    /// Minutes for which it goes wrong
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = minutes())]
    minutes: u32,
    /// Write history up to now, then play the scenario in real time and go on with normal traffic
    #[arg(long)]
    live: bool,
    /// With --live: end after so many minutes instead of at Ctrl-C
    #[arg(long = "for", value_name = "MINUTES", requires = "live", value_parser = minutes())]
    duration: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Nothing that prints the options prints it.
#[expect(clippy::unnecessary_wraps, reason = "a parser of clap's may fail")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A week at most.
fn minutes() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=10_080)
}

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()).help(self.describe()))
    }
}

/// What was done, for scripts.
#[derive(Debug, Serialize)]
struct Report {
    scenario: Scenario,
    from: UtcTime,
    to: UtcTime,
    onset: Option<UtcTime>,
    accepted: u64,
    refused: std::collections::BTreeMap<String, u64>,
}

/// Runs the command; fails with 1 if any document was refused.
pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let clock = SystemClock;
    let target = target(options)?;
    target.prepare(&clock).await.with_context(|| format!("cannot prepare {}", options.index))?;

    let now = clock.now().trunc_subsecs(0);
    let lasts = chrono::Duration::minutes(i64::from(options.minutes));
    let onset = if options.live { now } else { now - lasts };
    let from = onset - chrono::Duration::minutes(i64::from(options.history));
    let services = usize::try_from(options.services).context("too many services")?;
    let mut scene = Scene::normal(options.seed, services).with_volume(options.volume);
    if options.scenario != Scenario::Normal {
        scene = scene.with(options.scenario, onset, onset + lasts);
    }

    let mut sent = history(&scene, from, now, &target, &clock).await?;
    let mut to = now;
    if options.live {
        let until = options.duration.map(|m| now + chrono::Duration::minutes(i64::from(m)));
        let (end, more) = live(&scene, now, until, &target, &clock).await?;
        sent.add(more);
        to = end;
    }
    let onset = (options.scenario != Scenario::Normal).then_some(onset);
    let report = Report {
        scenario: options.scenario,
        from,
        to,
        onset,
        accepted: sent.accepted,
        refused: sent.refused,
    };
    print(options, &report)?;
    Ok(if report.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target(options: &Options) -> anyhow::Result<Target> {
    let authorization = match (&options.api_key, &options.user) {
        // An empty variable is how compose files say "not set".
        (Some(key), _) if !key.is_empty() => Some(format!("ApiKey {}", key.expose().trim())),
        (_, Some(user)) if user.expose().contains(':') => {
            Some(format!("Basic {}", STANDARD.encode(user.expose())))
        }
        (_, Some(_)) => bail!("--user is USER:PASSWORD, with a colon between them"),
        (_, None) => None,
    };
    let header = authorization.map(HeaderValue::try_from).transpose();
    let mut header = header.context("the API key holds characters that no header may hold")?;
    if let Some(value) = &mut header {
        value.set_sensitive(true);
    }
    let settings = net::Settings { ca_file: options.ca_file.clone(), ..net::Settings::default() };
    let client = net::client(&settings, net::Reach::Anywhere)?;
    Ok(Target::new(client, options.url.clone(), &options.index, header)?)
}

/// Writes what was logged in `[from, to)`, stretch by stretch.
async fn history(
    scene: &Scene,
    from: UtcTime,
    to: UtcTime,
    target: &Target,
    clock: &dyn Clock,
) -> anyhow::Result<Sent> {
    let seconds = u64::try_from((to - from).num_seconds()).unwrap_or(0);
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(seconds)
    } else {
        ProgressBar::hidden()
    };
    // The template is a constant that the tests of this file parse.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let mut sent = Sent::default();
    let mut start = from;
    while start < to {
        let end = (start + STRETCH).min(to);
        sent.add(target.send(&scene.documents(start, end), clock).await?);
        bar.inc(u64::try_from((end - start).num_seconds()).unwrap_or(0));
        bar.set_message(format!("{} documents", sent.accepted));
        start = end;
    }
    bar.finish_and_clear();
    Ok(sent)
}

const TEMPLATE: &str = "{bar:40} {percent:>3} % of the history, {msg}, {eta} left";

/// Writes what is logged from now on, second by second, until `until` or Ctrl-C.
async fn live(
    scene: &Scene,
    from: UtcTime,
    until: Option<UtcTime>,
    target: &Target,
    clock: &dyn Clock,
) -> anyhow::Result<(UtcTime, Sent)> {
    let mut sent = Sent::default();
    let mut done = from;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    while until.is_none_or(|until| done < until) {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupt => break,
        }
        let now = until.map_or(clock.now(), |until| clock.now().min(until));
        if now > done {
            sent.add(target.send(&scene.documents(done, now), clock).await?);
            done = now;
        }
    }
    Ok((done, sent))
}

fn print(options: &Options, report: &Report) -> anyhow::Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let clock_time = |at: UtcTime| at.format("%H:%M:%S");
    println!(
        "{} documents of {} services written to {}, {} to {} UTC",
        report.accepted,
        options.services,
        options.index,
        clock_time(report.from),
        clock_time(report.to),
    );
    if let Some(onset) = report.onset {
        println!(
            "{} from {}: {}",
            report.scenario.as_str(),
            clock_time(onset),
            report.scenario.describe()
        );
    }
    for (reason, count) in &report.refused {
        println!("{count} refused: {reason}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "sentinelops simulate")]
    struct Only {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = std::iter::once("simulate").chain(line.split_whitespace());
        // Whoever runs the tests may have the variables set.
        let command = Only::command().mut_args(|argument| argument.env(None::<&str>));
        let matches = command.try_get_matches_from(words).map_err(|e| e.to_string())?;
        Only::from_arg_matches(&matches).map(|only| only.options).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_is_understood() {
        let options = parse("cascade --live --for 10 --services 50 --api-key abc").unwrap();
        assert_eq!(options.scenario, Scenario::Cascade);
        assert_eq!((options.services, options.duration), (50, Some(10)));
        for wrong in
            ["outage", "--services 4", "--for 3", "--user a:b --api-key c", "--url nowhere"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let options = parse("--user elastic").unwrap();
        assert!(target(&options).unwrap_err().to_string().contains("USER:PASSWORD"));
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn the_key_is_not_shown() {
        let options = parse("--api-key top-secret").unwrap();
        let shown = format!("{options:?} {:?}", target(&options).unwrap());
        assert!(!shown.contains("top-secret"), "{shown}");
    }
}

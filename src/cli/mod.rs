//! The command line: one file per command. Commands speak to the running daemon's HTTP API; only `run` and
//! `demo` are the daemon.
//!
//! Exit codes: 0 done; 1 it did not work, or `check` found something wrong; 2 the arguments or the settings
//! cannot be used.

#![expect(clippy::print_stdout, reason = "results of commands go to standard output")]

mod check;
mod client;
mod completions;
mod demo;
mod incidents;
mod render;
mod run;
mod scratch;
mod silence;
mod simulate;
mod why;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, Environment, Origins};

pub use render::{checked, incident, incidents as incident_list, silences, verdicts};

/// What did not work.
const FAILED: u8 = 1;
/// The arguments or the settings cannot be used.
const UNUSABLE: u8 = 2;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 it did not work, or `check` found something wrong; \
                          2 the arguments or the settings cannot be used";

/// Watches logs, metrics and cloud cost per service, and pages once with the evidence
#[derive(Debug, Parser)]
#[command(name = "sentinelops", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The file of settings; config.yaml in the working directory if there is one
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon
    Run,
    /// Shows one outage from its first error to its end, without an account, a key or a server
    Demo(demo::Options),
    /// Checks the settings and every remote system
    Check(check::Options),
    /// Lists incidents, shows one, acknowledges, resolves
    #[command(subcommand)]
    Incidents(incidents::Command),
    /// Mutes notices for a while
    #[command(subcommand)]
    Silence(silence::Command),
    /// Explains why a series fired, or why it did not
    Why(why::Options),
    /// Injects normal traffic and what can go wrong into Elasticsearch or the embedded intake
    Simulate(simulate::Options),
    /// Prints the completions of a shell
    Completions(completions::Options),
}

/// How a command speaks to the daemon.
#[derive(Debug, Clone, Args)]
struct Remote {
    #[arg(
        long,
        value_name = "URL",
        help = "Where the daemon's API is; SENTINELOPS_URL, or the listener of the settings"
    )]
    url: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Who acts.
#[derive(Debug, Clone, Args)]
struct Acting {
    #[arg(
        long,
        value_name = "NAME",
        help = "Who acts, for the timeline; SENTINELOPS_ACTOR, or USER@HOST"
    )]
    actor: Option<String>,
}

impl Acting {
    fn name(&self, environment: &Environment) -> String {
        self.actor.clone().unwrap_or_else(|| environment.actor())
    }
}

/// The arguments as clap sees them, for completions and tests.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the arguments, runs the command, and answers the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0.
            let code = u8::try_from(error.exit_code()).unwrap_or(UNUSABLE);
            return if error.print().is_ok() { code.into() } else { FAILED.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("start the runtime")),
    };
    runtime.block_on(dispatch(arguments)).unwrap_or_else(|error| failed(&error))
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let origins = Origins::new(arguments.config);
    match arguments.command {
        Command::Run => run::run(origins).await,
        Command::Demo(options) => demo::run(&options).await,
        Command::Check(options) => check::run(&options, &origins).await,
        Command::Incidents(command) => incidents::run(command, &origins).await,
        Command::Silence(command) => silence::run(command, &origins).await,
        Command::Why(options) => why::run(&options, &origins).await,
        Command::Simulate(options) => simulate::run(&options).await,
        Command::Completions(options) => completions::run(&options),
    }
}

/// Prints an error with its causes, and answers its exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}\n"));
    let unusable = error
        .chain()
        .any(|cause| cause.is::<crate::config::Error>() || cause.is::<client::BadArgument>());
    if unusable { UNUSABLE.into() } else { FAILED.into() }
}

/// Writes to standard error; there is nobody to tell if that fails.
fn say(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes to standard output. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints an answer as JSON or in words.
fn show<T: Serialize>(
    json: bool,
    answer: &T,
    words: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    if json {
        let mut text = serde_json::to_string_pretty(answer).context("write JSON")?;
        text.push('\n');
        print(&text)
    } else {
        print(&words(answer))
    }
}

/// The settings, for commands that cannot do without.
fn settings(origins: &Origins) -> anyhow::Result<Config> {
    Ok(origins.load()?)
}

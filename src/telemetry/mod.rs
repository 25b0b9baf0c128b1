//! What the daemon tells about itself: structured logs and metrics.

mod metrics;

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

pub use metrics::Metrics;

/// `logging` in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A filter as tracing-subscriber reads it: `info`, `sentinelops=debug,warn`.
    pub level: String,
    /// How lines are written.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// The filter could not be read, or logging was already set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter could not be read.
    #[error("logging.level `{level}` is no filter; use e.g. `info` or `sentinelops=debug,warn`")]
    Filter {
        /// What was given.
        level: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else has set up logging in this process.
    #[error("logging is already set up")]
    Taken,
}

/// Starts logging to standard error, so that standard output stays for results.
pub fn start(settings: &Settings) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|source| Error::Filter { level: settings.level.clone(), source })?;
    let json = match settings.format {
        Format::Json => true,
        Format::Pretty => false,
        Format::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started =
        if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    started.map_err(|_| Error::Taken)
}

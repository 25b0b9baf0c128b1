//! `run`: the daemon.

use std::process::ExitCode;

use crate::app;
use crate::config::Origins;
use crate::lifecycle::Ending;
use crate::telemetry;

/// Runs until a signal ends it; fails with 1 if a task ended by itself.
pub(super) async fn run(origins: Origins) -> anyhow::Result<ExitCode> {
    let config = super::settings(&origins)?;
    telemetry::start(&config.logging)?;
    Ok(match app::run(config, origins).await? {
        // What was dropped is owed: the next start delivers it.
        Ending::Clean | Ending::Dropped => ExitCode::SUCCESS,
        Ending::Failed => super::FAILED.into(),
    })
}

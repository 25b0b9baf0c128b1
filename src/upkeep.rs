//! Keeps every table within its retention: once after the start, then every hour.
//!
//! What is owed has no retention, and open incidents have none either; see [`Store::prune`] for the rest.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{Settings, Store};

/// How often.
const EVERY: Duration = Duration::from_hours(1);
/// Not at once: the start belongs to reading and paging.
const FIRST: Duration = Duration::from_mins(2);

/// Runs until asked to stop. A failure is logged and tried again an hour later: nothing depends on it soon.
pub async fn run(settings: Settings, store: Store, clock: Arc<dyn Clock>, soft: CancellationToken) {
    let mut wait = FIRST;
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(clock.span(wait)) => {}
        }
        wait = EVERY;
        match store.prune(&settings, clock.now()).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "removed what was past its retention"),
            Err(error) => {
                tracing::warn!(error = %error, "removing what is past its retention failed");
            }
        }
    }
}

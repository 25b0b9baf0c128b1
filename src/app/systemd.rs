//! Talks to systemd, if it is there: ready, reloading, stopping, and the watchdog.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the watchdog is thought of where systemd wants none: never mind, but not busily.
const IDLE: Duration = Duration::from_hours(1);

/// The daemon works.
pub(super) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("watching; API on {address}"))]);
}

/// New settings are being read.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog for as long as detection goes round: a daemon that hangs is restarted, one whose sources
/// are slow is not. `beat` changes each time round, and may rest for `patience`.
pub(super) async fn watchdog(
    mut beat: watch::Receiver<u64>,
    patience: Duration,
    soft: CancellationToken,
) {
    let limit = sd_notify::watchdog_enabled();
    let mut last = Instant::now();
    let mut hung = false;
    let mut timer = tokio::time::interval(limit.map_or(IDLE, |limit| limit / 3));
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            _ = timer.tick() => {}
        }
        if limit.is_none() {
            continue;
        }
        if beat.has_changed().unwrap_or(false) {
            beat.borrow_and_update();
            last = Instant::now();
            hung = false;
        }
        if last.elapsed() < patience {
            tell(&[NotifyState::Watchdog]);
        } else if !hung {
            hung = true;
            tracing::error!("detection does not go round: the watchdog is not fed any more");
        }
    }
}

/// It is no failure if nobody listens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = &error as &dyn std::error::Error, "systemd not told");
    }
}

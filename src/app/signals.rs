//! What the process is told by signals.

use tokio::signal::unix::{self, SignalKind};

use crate::lifecycle::Lifecycle;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT, or a task that ended.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Listens.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next thing to do; [`Signal::Stop`] has already been passed on to the tasks.
    pub(super) async fn next(&mut self, lifecycle: &Lifecycle) -> Signal {
        let soft = lifecycle.soft();
        tokio::select! {
            () = soft.cancelled() => Signal::Stop,
            () = end(&mut self.terminate, &mut self.interrupt) => {
                lifecycle.stop();
                Signal::Stop
            }
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    /// Waits for a signal to end.
    pub(super) async fn end(&mut self) {
        end(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn end(terminate: &mut unix::Signal, interrupt: &mut unix::Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

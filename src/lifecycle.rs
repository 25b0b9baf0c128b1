//! Starts and ends the long-lived tasks. A task that ends early or panics stops the process.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns every long-lived task. The *soft* token asks tasks to finish their work; the *hard* token, fired
/// after the grace period or by a second signal, tells them to drop it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    asked: Arc<AtomicBool>,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked to stop, and every task finished within the grace period.
    Clean,
    /// Asked to stop, and some task had to be dropped.
    Dropped,
    /// A task ended although nobody asked it to: a crash.
    Failed,
}

impl Lifecycle {
    /// A lifecycle with no tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires when the process should finish its work.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Fires when the process should drop its work.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Starts a long-lived task. When it returns or panics, everyone is asked to stop.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = self.soft.clone().drop_guard();
        let hard = self.hard.clone();
        let soft = self.soft.clone();
        self.tracker.spawn(async move {
            let _guard = guard;
            tokio::select! {
                () = future => {
                    if !soft.is_cancelled() {
                        tracing::error!(task.name = name, "task ended by itself");
                    }
                }
                () = hard.cancelled() => {
                    tracing::warn!(task.name = name, "task dropped");
                }
            }
        });
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.soft.cancel();
    }

    /// Tells every task to drop its work at once.
    pub fn drop_all(&self) {
        self.hard.cancel();
    }

    /// Waits until something asks for the end, then for the tasks, at most `grace`.
    pub async fn finished(&self, grace: Duration) -> Ending {
        self.soft.cancelled().await;
        self.tracker.close();
        let in_time = tokio::select! {
            waited = tokio::time::timeout(grace, self.tracker.wait()) => waited.is_ok(),
            () = self.hard.cancelled() => false,
        };
        if !in_time {
            self.hard.cancel();
            self.tracker.wait().await;
        }
        match (self.asked.load(Ordering::SeqCst), in_time) {
            (false, _) => Ending::Failed,
            (true, true) => Ending::Clean,
            (true, false) => Ending::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_cleanly_when_asked() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft();
        lifecycle.spawn("waits", async move { soft.cancelled().await });
        lifecycle.stop();
        assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_early_fails_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("returns", async {});
        assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("broken on purpose") });
        assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_dropped_after_the_grace_period() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("deaf", std::future::pending());
        lifecycle.stop();
        assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Dropped);
    }
}

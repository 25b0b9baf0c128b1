//! A paused clock that does not jump while a database is waited for.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

/// Holds a paused tokio clock: while it lives, the runtime never counts as idle, so the clock moves only by
/// `tokio::time::advance`. Make it the first statement of a `#[tokio::test(start_paused = true)]`.
pub(crate) struct HeldTime {
    _release: mpsc::Sender<()>,
}

impl HeldTime {
    pub(crate) fn hold() -> Self {
        let (release, held) = mpsc::channel::<()>();
        // Dropping the sender ends the wait and frees the thread.
        drop(tokio::task::spawn_blocking(move || held.recv()));
        Self { _release: release }
    }
}

/// Waits until `condition` holds, for at most five seconds of real time.
pub(crate) async fn eventually<F, C>(what: &str, mut condition: C)
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "real time, on purpose: the runtime's clock is paused"
    )]
    let started = std::time::Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(5), "not within five seconds: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn held_time_moves_only_by_hand() {
    let _time = HeldTime::hold();
    let started = tokio::time::Instant::now();
    let sleeper = tokio::time::sleep(Duration::from_mins(1));
    tokio::pin!(sleeper);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    tokio::time::advance(Duration::from_mins(1)).await;
    sleeper.await;
    eventually("the clock has moved", || async { started.elapsed() >= Duration::from_mins(1) })
        .await;
}

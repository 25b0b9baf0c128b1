//! The loop around a source, on a real Elasticsearch and the real clock: history at start, then what came late.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{UtcTime, WindowKind, Windows, bucket_floor};
use sentinelops::sources::{self, Poll, elasticsearch};
use sentinelops::telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::source_suite::document;
use crate::support::elasticsearch::Node;

async fn next(received: &mut mpsc::Receiver<Windows>) -> Windows {
    tokio::time::timeout(Duration::from_mins(1), received.recv()).await.unwrap().unwrap()
}

/// How many documents of service `a` the windows hold in the bucket that begins at `start`.
fn counted(windows: &Windows, start: UtcTime) -> Option<f64> {
    let row = windows.rows.iter().find(|row| row.start == start && &*row.service == "a")?;
    row.points.iter().find_map(|(name, point)| match point {
        sentinelops::model::Point::Count(count) if &**name == "throughput" => Some(*count),
        _ => None,
    })
}

#[tokio::test]
async fn history_is_read_once_and_late_documents_are_corrected() {
    let node = Node::shared().await;
    let index = format!("{}-logs", node.prefix);
    node.make_index(&index).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let current = bucket_floor(clock.now(), TimeDelta::minutes(1));
    // Corrections look back so far that this minute is among them however slow the machine is.
    let start = current - TimeDelta::minutes(2);
    let old = current - TimeDelta::minutes(50);
    let documents = [document(old, "a", "info", None), document(start, "a", "info", None)];
    node.write(&index, &documents).await;

    let polling = sources::Settings {
        interval_seconds: 1,
        lag_seconds: 600,
        lookback_minutes: 10,
        ..sources::Settings::default()
    };
    let settings = elasticsearch::Settings {
        url: node.url.clone(),
        log_index: index.clone(),
        ..elasticsearch::Settings::default()
    };
    let source = elasticsearch::sources(&settings, &polling, &clock).unwrap().remove(0);
    let (out, mut received) = mpsc::channel(1);
    let soft = CancellationToken::new();
    let poll = Poll { settings: polling, history: Duration::from_mins(70), resume_from: None };
    #[expect(clippy::disallowed_methods, reason = "a test that ends its task itself")]
    let task = tokio::spawn(sources::run(source, poll, clock, Metrics::new(), out, soft.clone()));

    let history = next(&mut received).await;
    assert_eq!(history.kind, WindowKind::Backfill);
    assert!(history.completeness.is_complete(), "{:?}", history.completeness);
    assert_eq!((history.to - history.from).num_minutes(), 70);
    assert_eq!(counted(&history, old), Some(1.0));

    node.write(&index, &[document(start, "a", "error", None)]).await;
    let mut reads = 0;
    loop {
        let windows = next(&mut received).await;
        assert!(windows.completeness.is_complete(), "{:?}", windows.completeness);
        assert_ne!(windows.kind, WindowKind::Backfill, "history is read once");
        if counted(&windows, start) == Some(2.0) {
            break;
        }
        reads += 1;
        assert!(reads < 100, "never corrected");
    }
    soft.cancel();
    tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
}

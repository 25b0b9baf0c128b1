//! kill −9 of a process that keeps logs, at arbitrary instants under load: whatever it had answered is there.
//!
//! The test starts itself again as the process to kill; the environment tells the two apart.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sentinelops::clock::SystemClock;
use sentinelops::model::{Point, WindowKind};
use sentinelops::sources::embedded::{Embedded, Settings};
use sentinelops::sources::{Source, Span};
use sentinelops::telemetry::Metrics;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "SENTINELOPS_TEST_KILL_FOLDER";
const NAME: &str = "embedded_kill::nothing_that_was_answered_is_lost_by_kill_9";
const KILLS: u64 = 15;
const DOCUMENTS: u64 = 20;

fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("logs.db"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..Settings::default()
    }
}

/// The process that is killed: serves until then, and writes its address to a file.
async fn serve(folder: PathBuf) {
    let opened = Embedded::open(settings(&folder), Arc::new(SystemClock), Metrics::new()).await;
    let (_source, mut intake) = opened.unwrap();
    let address = intake.bind().await.unwrap().unwrap();
    std::fs::write(folder.join("address.new"), address.to_string()).unwrap();
    std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    intake.serve(CancellationToken::new()).await;
}

struct Victim(Child);

impl Victim {
    fn start(folder: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        // SIGKILL on Unix.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Documents that the file holds of the service.
async fn kept(folder: &Path) -> u64 {
    let opened = Embedded::open(settings(folder), Arc::new(SystemClock), Metrics::new()).await;
    let (mut source, _intake) = opened.unwrap();
    let now = chrono::DateTime::from_timestamp(now() / 60 * 60 + 60, 0).unwrap();
    let span =
        Span { from: now - chrono::TimeDelta::hours(1), to: now, kind: WindowKind::Backfill };
    let rows = source.read(span).await.rows;
    let counts = rows.iter().flat_map(|row| &row.points).filter_map(|(_, point)| match point {
        Point::Count(count) => Some(*count),
        _ => None,
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    let kept = counts.sum::<f64>() as u64;
    kept
}

fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the killed process has the system's clock too")]
    chrono::Utc::now().timestamp()
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_kill_9() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return serve(folder.into()).await;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let (mut answered, mut sent) = (0, 0);
    for round in 0..KILLS {
        let mut victim = Victim::start(folder.path());
        let address = folder.path().join("address");
        crate::support::time::eventually("it listens", || async { address.exists() }).await;
        let url = format!("http://{}/_bulk", std::fs::read_to_string(&address).unwrap());
        std::fs::remove_file(&address).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let document =
            json!({"@timestamp": now() * 1_000, "service.name": "pay", "level": "error"});
        let body = format!("{{\"create\":{{\"_index\":\"l\"}}}}\n{document}\n")
            .repeat(usize::try_from(DOCUMENTS).unwrap());
        // Another instant each time, in the middle of requests of four connections.
        let kill = tokio::time::sleep(Duration::from_micros(20_000 + round * 7_919));
        let senders = async {
            let send = || async {
                let (mut answered, mut sent) = (0, 0);
                loop {
                    sent += DOCUMENTS;
                    let request = http.post(&url).header("content-type", "application/x-ndjson");
                    match request.body(body.clone()).send().await {
                        Ok(response) if response.status() == 200 => answered += DOCUMENTS,
                        Ok(response) => panic!("answered {}", response.status()),
                        Err(_) => return (answered, sent),
                    }
                }
            };
            tokio::join!(send(), send(), send(), send())
        };
        let killer = async {
            kill.await;
            victim.kill();
        };
        let (counts, ()) = tokio::join!(senders, killer);
        for (more_answered, more_sent) in [counts.0, counts.1, counts.2, counts.3] {
            answered += more_answered;
            sent += more_sent;
        }
        let kept = kept(folder.path()).await;
        assert!(
            answered <= kept && kept <= sent,
            "round {round}: {answered} answered, {kept} kept, {sent} sent"
        );
        // What arrived without an answer is no longer in question.
        (answered, sent) = (kept, kept);
    }
    assert!(answered > KILLS * DOCUMENTS, "the senders were hardly served: {answered}");
}

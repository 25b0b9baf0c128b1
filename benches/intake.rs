//! How many documents a second the log store takes, and how long a read of it takes; its own figures, not compared
//! with anything.
//!
//! One core does everything (a current-thread runtime), as documents come in requests of 500 through the same way as
//! HTTP's, each answered when it is synced to disk.
//!
//!     cargo bench --bench intake

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{UtcTime, WindowKind, bucket_floor};
use sentinelops::sources::embedded::{Embedded, Ingest, Settings};
use sentinelops::sources::{Source, Span};
use sentinelops::telemetry::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const REQUEST: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    for (services, documents) in [(50, 200_000), (10_000, 400_000)] {
        runtime.block_on(measure(services, documents));
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn measure(services: usize, documents: usize) {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let settings =
        Settings { path: folder.path().join("logs.db"), listen: None, ..Settings::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Metrics::new();
    let opened = Embedded::open(settings, Arc::clone(&clock), metrics.clone()).await;
    let (mut source, intake) = opened.expect("the log store opens");
    let ingest = intake.ingest();
    let soft = CancellationToken::new();
    let minute = bucket_floor(clock.now(), TimeDelta::minutes(1)) - TimeDelta::minutes(10);
    let bodies: Vec<Vec<u8>> =
        (0..documents / REQUEST).map(|request| body(minute, services, request)).collect();
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let work = async {
        let started = Instant::now();
        // Four senders, as shippers keep a few requests under way.
        let (a, b) = bodies.split_at(bodies.len() / 2);
        let ((a, b), (c, d)) = (a.split_at(a.len() / 2), b.split_at(b.len() / 2));
        tokio::join!(send(&ingest, a), send(&ingest, b), send(&ingest, c), send(&ingest, d));
        let took = started.elapsed();
        let span = |from, minutes| Span {
            from,
            to: from + TimeDelta::minutes(minutes),
            kind: WindowKind::Backfill,
        };
        let started = Instant::now();
        let one = source.read(span(minute, 1)).await;
        let read = started.elapsed();
        soft.cancel();
        println!(
            "{services} services, {documents} documents ({} MB): {:.0} documents/s, {:.1} MB/s; \
             one minute read in {:.1} ms ({} rows); file {:.1} MB; resident {}",
            bytes / 1_000_000,
            documents as f64 / took.as_secs_f64(),
            bytes as f64 / 1e6 / took.as_secs_f64(),
            read.as_secs_f64() * 1e3,
            one.rows.len(),
            std::fs::metadata(folder.path().join("logs.db")).map_or(0, |file| file.len()) as f64
                / 1e6,
            resident(),
        );
    };
    let serve = tokio::time::timeout(Duration::from_mins(10), intake.serve(soft.clone()));
    let (served, ()) = tokio::join!(serve, work);
    served.expect("the log store ends when asked");
}

async fn send(ingest: &Ingest, bodies: &[Vec<u8>]) {
    for body in bodies {
        let reply = ingest.bulk(body, None).await.expect("the request is taken");
        assert_eq!(reply.refused(), 0);
    }
}

/// A request of documents spread over services and two minutes, five of a hundred an error.
fn body(minute: UtcTime, services: usize, request: usize) -> Vec<u8> {
    let lines = (request * REQUEST..(request + 1) * REQUEST).map(|number| {
        let after = Duration::from_millis(number as u64 % 120_000);
        let (at, service) = ((minute + after).to_rfc3339(), number % services);
        let level = if number % 20 == 0 { "error" } else { "info" };
        let duration = 20 + number * 7_919 % 500;
        format!(
            "{{\"create\":{{\"_index\":\"logs-app\"}}}}\n\
             {{\"@timestamp\":\"{at}\",\"service.name\":\"service-{service}\",\"level\":\"{level}\",\
             \"message\":\"GET /api/items answered\",\"duration_ms\":{duration},\"trace.id\":\"t{number}\"}}\n"
        )
    });
    lines.collect::<String>().into_bytes()
}

/// Resident memory, as Linux tells it.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}

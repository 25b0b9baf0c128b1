//! What `check` says about one index: reachable, new enough, allowed, fields found, and what reading it costs.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::read::{Reader, Reading};
use crate::clock::Clock;
use crate::model::{Completeness, FailureKind, WindowKind, bucket_floor};
use crate::sources::{Checked, Settings, Span, deadline};

pub(super) async fn check(
    reader: &mut Reader,
    polling: &Settings,
    clock: &Arc<dyn Clock>,
) -> Vec<Checked> {
    let what = format!("elasticsearch: index {}", reader.index);
    let line = |what: &str, ok, detail: String| Checked { what: what.to_owned(), ok, detail };
    let mut lines = Vec::new();
    let mut reading = Reading::default();
    let limit = || Instant::now() + deadline(polling, WindowKind::Fresh);
    let prepared = reader
        .prepare(&mut reading, limit())
        .await
        .map(|found| (found.found.clone(), found.missing.clone()));
    if let Some(server) = reader.server() {
        let detail = server.version.as_ref().map_or_else(
            || "reachable; its version may not be asked with this key".to_owned(),
            |version| format!("Elasticsearch {version}"),
        );
        let ok = server.version.as_ref().map(|_| true);
        lines.push(line(&format!("elasticsearch: {}", reader.client.address), ok, detail));
    }
    match prepared {
        Ok((found, missing)) => {
            lines.push(line(&what, Some(true), found));
            lines.extend(missing.into_iter().map(|missing| line(&what, Some(false), missing)));
        }
        Err(incomplete) => {
            lines.push(line(&what, Some(false), explain(&incomplete)));
            return lines;
        }
    }
    let bucket = TimeDelta::seconds(i64::from(polling.bucket_seconds.max(1)));
    let to = bucket_floor(clock.now(), bucket);
    let span = Span { from: to - bucket, to, kind: WindowKind::Fresh };
    let before = reading.requests;
    let read = reader.read(span, &mut reading, limit()).await;
    if !read.is_complete() {
        lines.push(line(&what, Some(false), explain(&read)));
        return lines;
    }
    let services: std::collections::HashSet<_> =
        reading.rows.rows.iter().map(|row| &row.service).collect();
    let ok = if services.is_empty() { None } else { Some(true) };
    lines.push(line(&what, ok, format!("services in the last minute: {}", services.len())));
    for (why, count) in reading.rows.rejected() {
        lines.push(line(&what, None, format!("{count} {why}")));
    }
    let pages = reading.requests - before;
    lines.push(line(&what, None, cost(polling, pages, reading.server_took)));
    lines
}

/// Searches an hour: one a bucket, one correction between, and pages.
fn cost(polling: &Settings, pages: u32, server_took: u64) -> String {
    let fresh = 3_600 / polling.bucket_seconds.max(1);
    let between = polling.interval_seconds.max(u64::from(polling.bucket_seconds.max(1)));
    let corrections = u32::try_from(3_600 / between).unwrap_or(fresh);
    let searches = (fresh + corrections) * pages.max(1);
    format!("about {searches} searches an hour; the last minute took the server {server_took} ms")
}

fn explain(completeness: &Completeness) -> String {
    let reason = completeness.reason().unwrap_or_default();
    match completeness {
        Completeness::Failed { kind: FailureKind::Denied, .. } => format!("not allowed: {reason}"),
        Completeness::Partial { .. } => format!("answered in part: {reason}"),
        _ => reason.to_owned(),
    }
}

//! A shipper that we did not write: rsyslog's Elasticsearch output fills the log store from a file.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sentinelops::clock::{Clock, SystemClock};
use sentinelops::model::{Point, WindowKind, bucket_floor};
use sentinelops::sources::{Source, Span};
use serde_json::json;
use tempfile::TempDir;

use crate::embedded::{Store, settings};
use crate::support::time::eventually;

const RSYSLOGD: &str = "/usr/sbin/rsyslogd";

/// Ends the daemon with the test.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn rsyslog_writes_to_it_and_is_told_what_was_refused() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(settings(folder.path()), Arc::new(SystemClock)).await;
    let now = SystemClock.now();
    let mut lines: Vec<String> = (0..300)
        .map(|number| {
            let level = if number % 3 == 0 { "error" } else { "info" };
            let document = json!({"@timestamp": now.to_rfc3339(), "service": {"name": "pay"},
                "level": level, "duration_ms": number});
            format!("{document}\n")
        })
        .collect();
    lines.push("{\"message\":\"names no service\"}\n".to_owned());
    std::fs::write(folder.path().join("app.log"), lines.concat()).unwrap();
    let port = store.url.rsplit(':').next().unwrap();
    let place = folder.path().display();
    let configuration = format!(
        r#"global(workDirectory="{place}")
module(load="imfile" mode="inotify")
module(load="omelasticsearch")
template(name="as_it_is" type="string" string="%msg%")
input(type="imfile" file="{place}/app.log" tag="app" ruleset="store")
ruleset(name="store") {{
  action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" uid="id" pwd="a-token-for-the-tests"
    searchIndex="logs-app" searchType="" bulkmode="on" template="as_it_is"
    errorfile="{place}/refused" action.resumeretrycount="-1")
}}
"#
    );
    let file = folder.path().join("rsyslog.conf");
    std::fs::write(&file, configuration).unwrap();
    let daemon = Command::new(RSYSLOGD)
        .args(["-n", "-i"])
        .arg(folder.path().join("pid"))
        .arg("-f")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{RSYSLOGD}: {error}: apt-get install rsyslog rsyslog-elasticsearch")
        });
    let _daemon = Daemon(daemon);

    let minute = bucket_floor(now, chrono::TimeDelta::minutes(1));
    let span =
        Span { from: minute, to: minute + chrono::TimeDelta::minutes(1), kind: WindowKind::Fresh };
    // It starts at its own pace, so this has more patience than `eventually`.
    let arrived = async {
        loop {
            let rows = store.source.clone().read(span).await.rows;
            if rows.iter().flat_map(|row| &row.points).any(|(_, p)| *p == Point::Count(300.0)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.expect("300 documents come");
    let rows = store.source.clone().read(span).await.rows;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].points[0].1, Point::Ratio { part: 100.0, whole: 300.0 });
    eventually("the refused line is told to rsyslog", || async {
        std::fs::read_to_string(folder.path().join("refused"))
            .is_ok_and(|told| told.contains("field [service.name] is missing"))
    })
    .await;
    store.stop().await;
}

//! The command line: its arguments, its help, and what people read.

use std::path::Path;
use std::process::Command;

use sentinelops::cli;
use sentinelops::http::types::{IncidentDetail, IncidentList, SilenceList, Why};
use sentinelops::http::{Server, Settings};
use sentinelops::secret::Secret;
use sentinelops::sources::Checked;
use serde_json::json;

use crate::http::{TOKEN, local, parts};
use crate::support::messages::at;

#[test]
fn the_arguments_are_consistent() {
    cli::command().debug_assert();
}

#[test]
fn help_reads_well() {
    fn walk(command: &mut clap::Command, path: &str, shown: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        shown.push(format!("## {}\n{}", path.trim(), command.render_long_help()));
        for inner in command.get_subcommands_mut() {
            if inner.get_name() != "help" {
                walk(inner, &path, shown);
            }
        }
    }
    let mut shown = Vec::new();
    let mut command = cli::command();
    command.build();
    walk(&mut command, "", &mut shown);
    insta::assert_snapshot!(shown.join("\n"));
}

fn summary() -> serde_json::Value {
    json!({
        "id": "INC-20261121-031500-3f9a2c",
        "title": "payment-service: error_rate 66.7 %",
        "severity": "P1",
        "created_at": "2026-11-21T03:15:00Z",
        "dedup_key": "9f86d0",
        "services": ["payment-service", "order-service"],
        "anomaly_count": 2,
        "has_analysis": false,
        "kind": "anomaly",
        "state": "open",
        "worst_severity": "P1",
        "fingerprint": "9f86d0",
        "onset": "2026-11-21T03:14:00Z",
        "updated_at": "2026-11-21T03:16:00Z",
        "resolved_at": null,
        "acknowledged_by": "ana@laptop",
        "acknowledged_at": "2026-11-21T03:18:00Z",
        "outcome": null,
        "reopened": 1,
        "silenced_by": null,
        "flapping": true
    })
}

fn detail() -> IncidentDetail {
    let mut detail = summary();
    let rest = json!({
        "anomalies": [{
            "service": "payment-service", "metric": "error_rate", "current_value": 0.667,
            "baseline_mean": 0.02, "baseline_stddev": 0.01, "z_score": 37.0, "severity": "P1",
            "timestamp": "2026-11-21T03:15:00Z", "unit": "ratio", "current": "66.7 %",
            "expected": "2 %", "direction": "up", "onset": "2026-11-21T03:14:00Z",
            "state": "firing", "last_seen_at": "2026-11-21T03:29:00Z", "method": "beta_binomial",
            "summary": "60 of 90 requests failed; 12 of 600 in the hour before", "gates": [],
            "recent": [0.02, 0.0, null, 0.4, 0.667]
        }],
        "correlated_events": [], "suspects": [], "matched_runbooks": [],
        "missing": ["related events: Elasticsearch answered 400"],
        "timeline": [
            {"at": "2026-11-21T03:15:00Z", "kind": "opened", "text": "opened as P1", "actor": null},
            {"at": "2026-11-21T03:18:00Z", "kind": "acknowledged", "text": "acknowledged",
             "actor": "ana@laptop"}
        ],
        "deliveries": [
            {"id": 1, "receiver": "slack", "change": "opened", "state": "delivered", "attempts": 1,
             "created_at": "2026-11-21T03:15:00Z", "finished_at": "2026-11-21T03:15:01Z",
             "last_error": null},
            {"id": 2, "receiver": "pagerduty", "change": "opened", "state": "owed", "attempts": 3,
             "created_at": "2026-11-21T03:15:00Z", "finished_at": null,
             "last_error": "PagerDuty answered 503\u{1b}[31m"}
        ]
    });
    for (key, value) in rest.as_object().unwrap() {
        detail[key] = value.clone();
    }
    serde_json::from_value(detail).unwrap()
}

#[test]
fn what_people_read_reads_well() {
    let now = at("2026-11-21T03:30:00Z");
    let mut over = summary();
    over["id"] = json!("INC-20261118-100000-aaaaaa");
    over["state"] = json!("resolved");
    over["severity"] = json!("P3");
    over["flapping"] = json!(false);
    over["created_at"] = json!("2026-11-18T10:00:00Z");
    over["resolved_at"] = json!("2026-11-20T13:10:00Z");
    over["title"] = json!("order-service: latency_p99 1.80 s");
    let list: IncidentList =
        serde_json::from_value(json!({"total": 14, "incidents": [summary(), over]})).unwrap();
    let none = IncidentList { total: 0, incidents: Vec::new() };
    let silences: SilenceList = serde_json::from_value(json!({"silences": [
        {"id": "SIL-20261121-020000-abcdef", "status": "active", "owner": "ana@laptop",
         "reason": "deploy of 2.4", "service": "order-*", "signal": null,
         "starts_at": "2026-11-21T02:00:00Z", "ends_at": "2026-11-21T04:00:00Z",
         "recurrence": null, "unless": "P1", "expired_at": null},
        {"id": "SIL-20261101-000000-123456", "status": "pending", "owner": "ben@laptop",
         "reason": "backup", "service": null, "signal": "throughput",
         "starts_at": "2026-11-01T00:00:00Z", "ends_at": "2026-11-01T01:00:00Z",
         "recurrence": "daily", "unless": null, "expired_at": null}
    ]}))
    .unwrap();
    let why: Why = serde_json::from_value(json!({"verdicts": [
        {"service": "payment-service", "signal": "error_rate", "dimensions": [], "unit": "ratio",
         "from": "2026-11-21T03:10:00Z", "to": "2026-11-21T03:15:00Z", "outlook": "quiet",
         "severity": null, "reason": null, "score": 2.4, "current": 0.051, "expected": 0.021,
         "spread": 0.012, "baseline": [0.018, 0.02, 0.024, 0.021], "frozen_since": null,
         "method": "beta_binomial",
         "summary": "5 of 98 requests failed; 12 of 600 in the hour before",
         "numbers": [["errors", 5.0], ["requests", 98.0]],
         "gates": [
             {"name": "minimum_volume", "passed": true, "detail": "98 requests, needs 30"},
             {"name": "persistence", "passed": false, "detail": "1 window of 3"}
         ],
         "recent": [0.02, 0.0, null, 0.06, 0.08], "recent_from": "2026-11-21T03:10:00Z"},
        {"service": "payment-service", "signal": "latency_p99", "dimensions": ["region=eu"],
         "unit": "milliseconds", "from": "2026-11-21T03:10:00Z", "to": "2026-11-21T03:15:00Z",
         "outlook": "learning", "severity": null, "reason": "4 windows of history, needs 10",
         "score": null, "current": 1800.0, "expected": null, "spread": null, "baseline": [],
         "frozen_since": null, "method": "", "summary": "", "numbers": [], "gates": [],
         "recent": [], "recent_from": null}
    ]}))
    .unwrap();
    let checked = [
        Checked { what: "settings".into(), ok: Some(true), detail: "can be used".into() },
        Checked { what: "logs".into(), ok: Some(false), detail: "no index app-logs-all".into() },
        Checked { what: "cost".into(), ok: None, detail: "no paid API is asked".into() },
    ];
    let shown = [
        cli::incident_list(&list, now),
        cli::incident_list(&none, now),
        cli::incident(&detail(), now),
        cli::silences(&silences),
        cli::verdicts(&why),
        cli::checked(&checked),
    ];
    assert!(!shown.concat().contains('\u{1b}'));
    insta::assert_snapshot!(shown.join("\n--------\n"));
}

/// Runs the binary in a folder of its own with nothing but these variables; answers code, output and errors.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sentinelops"))
        .args(arguments)
        .env_clear()
        .env("USER", "ana")
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_are_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "polling: {intervall_seconds: 1}").unwrap();
    // Nobody listens on the discard port.
    let nobody = [("SENTINELOPS_URL", "http://127.0.0.1:9")];
    for (arguments, variables, code, error) in [
        (&["--version"][..], &[][..], 0, ""),
        (&["frobnicate"], &[], 2, "unrecognized subcommand"),
        (&["incidents", "list", "--limit", "0"], &[], 2, "0 is not in 1..=500"),
        (&["silence", "add", "--for", "1h", "--reason", "x"], &[], 2, "--service"),
        (&["silence", "add", "--all", "--for", "soon", "--reason", "x"], &[], 2, "90m, 2h, 3d"),
        (&["why", "x", "error_rate", "yesterday"], &[], 2, "2026-11-21T03:15:00Z"),
        (&["run", "--config", "bad.yaml"], &[], 2, "did you mean polling.interval_seconds?"),
        (&["run", "--config", "none.yaml"], &[], 2, "none.yaml: cannot be read"),
        (&["run"], &[("PAGERDUTY_API_KEY", "u+x")], 2, "PAGERDUTY_ROUTING_KEY"),
        (&["incidents", "list", "--url", "ftp://x"], &[], 2, "--url `ftp://x`"),
        (&["incidents", "list"], &nobody, 1, "no daemon answers at http://127.0.0.1:9/"),
        (&["why", "x"], &nobody, 1, "no daemon answers at http://127.0.0.1:9/"),
    ] {
        let (found, _, errors) = run(folder.path(), arguments, variables);
        assert_eq!(found, code, "{arguments:?}: {errors}");
        assert!(errors.contains(error), "{arguments:?}: {errors}");
    }
}

#[test]
fn settings_are_shown_without_secrets_and_completions_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let token = [("SENTINELOPS_HTTP__TOKEN", TOKEN)];
    for arguments in [&["check", "--show"][..], &["check", "--show", "--json"]] {
        let (code, shown, errors) = run(folder.path(), arguments, &token);
        assert_eq!(code, 0, "{errors}");
        assert!(shown.contains("***") && !shown.contains(TOKEN), "{shown}");
    }
    let (code, shown, _) = run(folder.path(), &["completions", "bash"], &[]);
    assert!(code == 0 && shown.contains("_sentinelops"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_speak_to_the_daemon() {
    let settings = Settings { token: Secret::new(TOKEN), ..local() };
    let (state, lifecycle, _folder) = parts(settings, false).await;
    let server = Server::bind(state).await.unwrap();
    let url = format!("http://{}", server.address());
    lifecycle.spawn("http", server.run(lifecycle.soft()));
    let told = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let ask = |arguments: &[&str]| {
            run(
                folder.path(),
                arguments,
                &[("SENTINELOPS_URL", &url), ("SENTINELOPS_TOKEN", TOKEN)],
            )
        };
        let id = "INC-20261121-031620-3f9a2c";
        let (code, _, errors) =
            run(folder.path(), &["incidents", "list"], &[("SENTINELOPS_URL", &url)]);
        assert!(code == 1 && errors.contains("SENTINELOPS_TOKEN"), "{errors}");
        let (code, listed, _) = ask(&["incidents", "list", "--state", "open", "--json"]);
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<IncidentList>(&listed).unwrap().total, 1);
        let (code, shown, _) = ask(&["incidents", "show", id]);
        assert!(code == 0 && shown.contains("60 of 90 requests failed"), "{shown}");
        let (code, shown, _) = ask(&["incidents", "ack", id, "--actor", "ben@desk"]);
        assert!(code == 0 && shown.contains("is acknowledged"), "{shown}");
        let (code, shown, _) = ask(&["incidents", "resolve", id, "--outcome", "real"]);
        assert!(code == 0 && shown.contains("is resolved"), "{shown}");
        let (code, _, errors) = ask(&["incidents", "show", "../../etc/passwd"]);
        assert!(code == 1 && errors.contains("Incident not found (404)"), "{errors}");
        let (_, shown, _) = ask(&["incidents", "show", id]);
        assert!(shown.contains("ben@desk") && shown.contains("ana@"), "{shown}");
        let silence =
            ["silence", "add", "--service", "order-*", "--for", "2h", "--reason", "deploy"];
        let (code, shown, errors) = ask(&silence);
        assert!(code == 0 && shown.contains("active   order-*"), "{shown}{errors}");
        let silence = shown.split_whitespace().next().unwrap().to_owned();
        let (code, shown, _) = ask(&["silence", "expire", &silence]);
        assert!(code == 0 && shown.contains("expired"), "{shown}");
        let (code, shown, _) = ask(&["silence", "list"]);
        assert!(code == 0 && shown.contains(&silence), "{shown}");
        let (code, shown, _) = ask(&["why", "payment-service"]);
        assert!(code == 0 && shown.contains("held    persistence"), "{shown}");
        let (code, _, errors) = ask(&["why", "nobody"]);
        assert!(code == 1 && errors.contains("Nothing is kept"), "{errors}");
    });
    told.await.unwrap();
    lifecycle.stop();
}

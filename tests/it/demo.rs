//! The demo as anybody runs it first: the built program, and the one object that it prints.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

#[test]
fn one_outage_is_one_incident_from_start_to_resolve() {
    #[expect(clippy::disallowed_methods, reason = "how long people wait is real time")]
    let started = std::time::Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sentinelops"))
        .args(["demo", "--once", "--json"])
        // A demo reads no environment: with these a daemon would page, or refuse to start.
        .env("SLACK_BOT_TOKEN", "xoxb-not-used")
        .env("SLACK_CHANNEL_ID", "C0123456789")
        .env("PAGERDUTY_API_KEY", "not-used")
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(took < Duration::from_mins(1), "{took:?}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "the demo leaves nothing behind");

    // Exactly one object and nothing else.
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [incident] = told["incidents"].as_array().unwrap().as_slice() else {
        panic!("not exactly one incident: {told:#}\n{said}");
    };
    assert_eq!(incident["severity"], "P1");
    assert_eq!(incident["state"], "resolved");
    assert_eq!(incident["fingerprint"].as_str().map(str::len), Some(64));
    let mut services: Vec<&str> =
        incident["services"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    services.sort_unstable();
    assert_eq!(services, ["gateway", "order-service", "payment-service"]);

    let kinds: Vec<&str> = incident["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds.first(), Some(&"opened"), "{kinds:?}");
    assert!(kinds.contains(&"joined") && kinds.contains(&"resolved"), "{kinds:?}");
    assert!(!kinds.contains(&"reopened"), "{kinds:?}");

    let deliveries = incident["deliveries"].as_array().unwrap();
    let state = |change: &str| {
        let of = deliveries.iter().filter(|delivery| delivery["change"] == change);
        of.map(|delivery| delivery["state"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(state("opened"), ["delivered"], "{deliveries:#?}");
    assert_eq!(state("resolved"), ["delivered"], "{deliveries:#?}");
    for delivery in deliveries {
        let state = delivery["state"].as_str().unwrap();
        assert!(["delivered", "superseded"].contains(&state), "{deliveries:#?}");
    }

    // From the first error to the page: a minute's bucket closes, documents arrive, and it is judged.
    let instant = |field: &str| {
        let text = incident[field].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap()
    };
    assert!(instant("resolved_at") - instant("opened_at") < chrono::Duration::minutes(30));
}

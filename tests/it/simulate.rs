//! `simulate` as the shell script calls it: the built program writes to the real intake.

use std::process::{Command, Output};
use std::sync::Arc;

use sentinelops::clock::SystemClock;
use serde_json::Value;
use tempfile::TempDir;

use crate::embedded::{Store, settings};

async fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinelops"));
    command.arg("simulate").args(arguments).env_remove("ELASTICSEARCH_API_KEY");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_scenario_is_written_to_the_intake() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(settings(folder.path()), Arc::new(SystemClock)).await;
    let key = ["--url", &store.url, "--api-key", "id:a-token-for-the-tests"];

    let output = simulate(&[&["cascade", "--history", "10", "--json"], &key[..]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["scenario"], "cascade");
    assert_eq!(told["refused"], serde_json::json!({}));
    // Ten minutes of 5 × 41 to 83 a block, and 200 documents of the outage.
    let accepted = told["accepted"].as_u64().unwrap();
    assert!((560..1_200).contains(&accepted), "{accepted}");

    let output =
        simulate(&[&["normal", "--history", "0", "--live", "--for", "0"], &key[..]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("of 5 services written to"));

    let output = simulate(&["normal", "--url", &store.url, "--api-key", "not-the-token"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("answers 401") && !said.contains("not-the-token"), "{said}");
}

//! The environment of the vendors' clients, which judge our fakes and our requests.

use crate::support::python::judge;

#[tokio::test]
async fn the_vendors_clients_are_installed() {
    let versions = judge("versions.py", &["slack_sdk", "pagerduty"], "").await;
    assert_eq!(versions, "slack_sdk 3.47.0\npagerduty 7.2.0\n");
}

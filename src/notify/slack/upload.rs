//! The chart in the thread, by Slack's external upload: ask for a URL, post the bytes, complete. A chart is
//! optional: whatever fails here is counted and forgotten, and a token without the scope is asked only once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::Slack;
use super::api::{self, Arguments, Refusal};
use crate::model::{Anomaly, MemberState, Receipt};
use crate::net;
use crate::notify::chart;
use crate::notify::exchange::exchange;
use crate::notify::message::worst_first;
use crate::notify::{Failure, Outgoing, Reason, Retry};

/// How long a chart may take altogether: the receipt of the page waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

impl Slack {
    /// Uploads the chart of the worst anomaly into the message's thread, if that is wanted and allowed.
    pub(super) async fn upload_chart(&self, outgoing: &Outgoing, receipt: &Receipt) {
        if !self.charts.load(Ordering::Relaxed) {
            return;
        }
        let Some(anomaly) = worst(outgoing).cloned() else { return };
        let uploading = self.upload(outgoing, receipt, anomaly);
        let outcome = match tokio::time::timeout(DEADLINE, uploading).await {
            Ok(Ok(true)) => "uploaded",
            Ok(Ok(false)) => return,
            Ok(Err(refusal)) => {
                let forbidden = matches!(
                    refusal.code.as_str(),
                    "missing_scope"
                        | "not_allowed_token_type"
                        | "no_permission"
                        | "file_uploads_disabled"
                        | "unknown_method"
                );
                if forbidden && self.charts.swap(false, Ordering::Relaxed) {
                    tracing::info!(
                        receiver = %self.name,
                        error.code = %refusal.code,
                        "Slack takes no charts with this token: add the scope files:write or set charts to false"
                    );
                } else if !forbidden {
                    tracing::warn!(
                        receiver = %self.name,
                        error = %refusal.failure.detail,
                        "a chart was not taken"
                    );
                }
                refusal.failure.reason.as_str()
            }
            Err(_) => Reason::Deadline.as_str(),
        };
        let labels = vec![("receiver", self.name.clone()), ("outcome", outcome.to_owned())];
        self.metrics.charts.get_or_create(&labels).inc();
    }

    /// False if there is nothing to draw.
    async fn upload(
        &self,
        outgoing: &Outgoing,
        receipt: &Receipt,
        anomaly: Anomaly,
    ) -> Result<bool, Refusal> {
        // Rendering is arithmetic for some milliseconds: not on the threads that wait for the network.
        let drawn = tokio::task::spawn_blocking(move || chart::png(&anomaly)).await;
        let Ok(Some(png)) = drawn else { return Ok(false) };
        let arguments = [
            ("filename", format!("{}.png", outgoing.incident.id)),
            ("length", png.len().to_string()),
            ("alt_txt", "recent values against what was expected".to_owned()),
        ];
        let place = self
            .method("files.getUploadURLExternal", Arguments::Form(&arguments), outgoing)
            .await?;
        let text = |name: &str| place.get(name).and_then(Value::as_str).unwrap_or_default();
        let Ok(url) = net::check_url(text("upload_url")) else {
            return Err(malformed("Slack named no place to upload to"));
        };
        let request =
            self.client.post(url).header("Content-Type", "application/octet-stream").body(png);
        let answer = exchange(request, "Slack's upload", outgoing.now)
            .await
            .map_err(|failure| Refusal { code: String::new(), failure })?;
        if !answer.status.is_success() {
            let failure = answer.failure("Slack's upload", "");
            return Err(Refusal { code: String::new(), failure });
        }
        let body = json!({
            "files": [{ "id": text("file_id"), "title": "Recent values" }],
            "channel_id": receipt.destination,
            "thread_ts": receipt.reference,
        });
        self.method("files.completeUploadExternal", Arguments::Json(&body), outgoing).await?;
        Ok(true)
    }

    async fn method(
        &self,
        method: &str,
        arguments: Arguments<'_>,
        outgoing: &Outgoing,
    ) -> Result<Value, Refusal> {
        api::call(&self.client, &self.settings, method, arguments, outgoing.now).await
    }
}

/// The anomaly that goes on and is worst: that of the message's first line.
fn worst(outgoing: &Outgoing) -> Option<&Anomaly> {
    let firing = outgoing.incident.members.iter().filter(|m| m.state == MemberState::Firing);
    firing.min_by(|a, b| worst_first(a, b)).map(|member| &member.anomaly)
}

fn malformed(detail: &str) -> Refusal {
    Refusal {
        code: String::new(),
        failure: Failure {
            reason: Reason::Malformed,
            detail: detail.to_owned(),
            retry: Retry::Never,
        },
    }
}

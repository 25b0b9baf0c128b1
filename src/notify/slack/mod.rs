//! Slack: one living message an incident, edited in place, with a line in its thread for what is worth one.
//!
//! | change | message | thread |
//! |---|---|---|
//! | opened | posted (edited, and a line as below, when it stands in for another receiver) | the chart |
//! | reopened, worsened | edited | a line, also shown in the channel, with the severity's mention |
//! | acknowledged, resolved | edited | a line |
//! | updated | edited | a line for each anomaly that joined |
//!
//! Edits do not notify in Slack, so the thread's broadcasts are what wakes people a second time. A message that
//! is gone is posted anew; one whose form Slack refuses is sent again as plain text, so that no page is lost to
//! its layout.

mod api;
mod blocks;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use self::api::{Arguments, Refusal};
use super::message::{Message, Standing, clean, compose};
use super::settings::Slack as Settings;
use super::{BoxFuture, Failure, LONGEST_SEND, Notifier, Outgoing, Reason, Retry};
use crate::model::{Change, Receipt, Severity, TimelineEntry, TimelineKind, from_micros, micros};
use crate::telemetry::Metrics;

/// Note on a receipt: up to when the timeline has been told in the thread, in microseconds.
const TOLD: &str = "told_until";
/// How many lines for joined anomalies one update adds to the thread.
const JOINED: usize = 5;

/// Sends to one Slack channel.
#[derive(Debug)]
pub struct Slack {
    name: String,
    settings: Settings,
    client: reqwest::Client,
    metrics: Metrics,
    /// Cleared when Slack says that the token may not upload files.
    charts: AtomicBool,
}

impl Slack {
    /// A notifier called `name`; the settings were checked.
    pub fn new(name: &str, settings: Settings, client: reqwest::Client, metrics: Metrics) -> Self {
        let charts = AtomicBool::new(settings.charts);
        Self { name: name.to_owned(), settings, client, metrics, charts }
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Result<Receipt, Failure> {
        let message = compose(outgoing);
        let sent = match &outgoing.receipt {
            Some(receipt) if !receipt.reference.is_empty() => {
                match self.edit(outgoing, &message, receipt).await {
                    Err(refusal) if refusal.is_gone() => self.open(outgoing, &message).await,
                    edited => edited,
                }
            }
            _ => self.open(outgoing, &message).await,
        };
        sent.map_err(|refusal| refusal.failure)
    }

    /// Posts the message, then its chart; a chart that fails takes nothing with it.
    async fn open(&self, outgoing: &Outgoing, message: &Message) -> Result<Receipt, Refusal> {
        let mention = self.mention(outgoing, message);
        let target = json!({ "channel": self.settings.channel });
        let reply = self.say("chat.postMessage", &target, message, mention, outgoing).await?;
        let text = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default();
        let (channel, ts) = (text("channel"), text("ts"));
        if channel.is_empty() || ts.is_empty() {
            // It is posted: sending again would page twice, so it goes on without its place.
            tracing::warn!(receiver = %self.name, "Slack did not say where it put a message");
        }
        let mut receipt = Receipt {
            destination: channel.to_owned(),
            reference: ts.to_owned(),
            at: Some(outgoing.now),
            ..Receipt::default()
        };
        note_told(&mut receipt, outgoing);
        if outgoing.incident.is_open() && !receipt.reference.is_empty() {
            self.upload_chart(outgoing, &receipt).await;
        }
        Ok(receipt)
    }

    async fn edit(
        &self,
        outgoing: &Outgoing,
        message: &Message,
        receipt: &Receipt,
    ) -> Result<Receipt, Refusal> {
        let target = json!({ "channel": receipt.destination, "ts": receipt.reference });
        self.say("chat.update", &target, message, None, outgoing).await?;
        if let Some(line) = self.thread_line(outgoing, message, receipt) {
            let body = json!({
                "channel": receipt.destination,
                "thread_ts": receipt.reference,
                "text": line,
                "reply_broadcast": outgoing.change.pages(),
                "unfurl_links": false,
                "unfurl_media": false,
            });
            self.call("chat.postMessage", &body, outgoing).await?;
        }
        let mut receipt = receipt.clone();
        note_told(&mut receipt, outgoing);
        Ok(receipt)
    }

    /// Posts or edits with blocks, and once more without them if Slack does not like their form.
    async fn say(
        &self,
        method: &str,
        target: &Value,
        message: &Message,
        mention: Option<&str>,
        outgoing: &Outgoing,
    ) -> Result<Value, Refusal> {
        let laid = blocks::lay_out(message, mention);
        let mut body = target.clone();
        body["text"] = json!(laid.text);
        body["blocks"] = json!(laid.blocks);
        if method == "chat.postMessage" {
            body["unfurl_links"] = json!(false);
            body["unfurl_media"] = json!(false);
        }
        match self.call(method, &body, outgoing).await {
            Err(refusal) if refusal.is_about_form() => {
                tracing::warn!(
                    receiver = %self.name,
                    incident.id = %outgoing.incident.id,
                    error.code = %refusal.code,
                    "Slack refused the form of a message, sending it as plain text"
                );
                body["text"] = json!(blocks::plain(message, mention));
                body["blocks"] = json!([]);
                self.call(method, &body, outgoing).await
            }
            answered => answered,
        }
    }

    async fn call(
        &self,
        method: &str,
        body: &Value,
        outgoing: &Outgoing,
    ) -> Result<Value, Refusal> {
        api::call(&self.client, &self.settings, method, Arguments::Json(body), outgoing.now).await
    }

    fn mention(&self, outgoing: &Outgoing, message: &Message) -> Option<&str> {
        let wanted = outgoing.change.pages() && message.standing == Standing::Open;
        let severity: Severity = outgoing.incident.severity;
        self.settings.mention(severity).filter(|_| wanted)
    }

    /// What the thread is told, if it is worth a line.
    fn thread_line(
        &self,
        outgoing: &Outgoing,
        message: &Message,
        receipt: &Receipt,
    ) -> Option<String> {
        let first = message.first_line();
        let parts: Vec<&str> = match outgoing.change {
            // An opening for a message that is there already stands in for a receiver that cannot be reached:
            // nobody may have heard of it elsewhere.
            Change::Opened | Change::Reopened | Change::Worsened => vec![&first, &message.lead],
            Change::Acknowledged => vec![&message.state],
            Change::Resolved => vec![&first, &message.lead, &message.state],
            Change::Updated => {
                let joined = joined(&outgoing.incident.timeline, receipt);
                let parts: Vec<&str> = joined.iter().map(String::as_str).collect();
                return (!parts.is_empty()).then(|| blocks::thread_line(&parts, None));
            }
        };
        Some(blocks::thread_line(&parts, self.mention(outgoing, message)))
    }
}

impl Notifier for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn coalesces(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(async move {
            match tokio::time::timeout(LONGEST_SEND, self.deliver(message)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure {
                    reason: Reason::Deadline,
                    detail: format!("Slack took longer than {} s", LONGEST_SEND.as_secs()),
                    retry: Retry::Later,
                }),
            }
        })
    }
}

/// What joined (or was accepted as normal) since the thread was last told.
fn joined(timeline: &[TimelineEntry], receipt: &Receipt) -> Vec<String> {
    let told = receipt.notes.get(TOLD).and_then(|text| text.parse().ok()).map(from_micros);
    let news: Vec<&TimelineEntry> = timeline
        .iter()
        .filter(|entry| matches!(entry.kind, TimelineKind::Joined | TimelineKind::Accepted))
        .filter(|entry| told.is_none_or(|told| entry.at > told))
        .collect();
    let mut lines: Vec<String> =
        news.iter().take(JOINED).map(|entry| clean(&entry.text, 300)).collect();
    if news.len() > JOINED {
        lines.push(format!("and {} more", news.len() - JOINED));
    }
    lines
}

fn note_told(receipt: &mut Receipt, outgoing: &Outgoing) {
    if let Some(last) = outgoing.incident.timeline.iter().map(|entry| entry.at).max() {
        receipt.notes.insert(TOLD.to_owned(), micros(last).to_string());
    }
}

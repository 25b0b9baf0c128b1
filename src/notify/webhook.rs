//! Signed JSON to a URL of the operator's.
//!
//! Headers of each `POST`:
//! - `X-SentinelOps-Timestamp`: seconds since the epoch when it was sent; refuse what is older than five minutes.
//! - `X-SentinelOps-Signature`: `v1=` and the HMAC-SHA256 in hex, under the shared secret, of the timestamp, a
//!   full stop and the raw body. Compare in constant time.
//! - `Idempotency-Key`: the same for every attempt of the same message; ignore what you have had.
//!
//! Any 2xx answer is a receipt. The body's shape is versioned by `version`; fields may be added within one.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::exchange::exchange;
use super::message::{Message, compose};
use super::settings::Webhook as Settings;
use super::{BoxFuture, Failure, Notifier, Outgoing};
use crate::model::{Incident, IncidentKind, Receipt, UtcTime};

/// The version of the body's shape.
const VERSION: u32 = 1;

/// Posts to one URL.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    settings: Settings,
    client: reqwest::Client,
}

impl Webhook {
    /// A notifier called `name`; the settings were checked, and the client is a guarded one.
    pub fn new(name: &str, settings: Settings, client: reqwest::Client) -> Self {
        Self { name: name.to_owned(), settings, client }
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Result<Receipt, Failure> {
        let body = body(outgoing);
        let id = idempotency(&outgoing.key);
        let timestamp = outgoing.now.timestamp();
        let request = self
            .client
            .post(self.settings.url.expose())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", &id)
            .header("X-SentinelOps-Timestamp", timestamp)
            .header(
                "X-SentinelOps-Signature",
                signature(self.settings.secret.expose(), timestamp, &body),
            )
            .body(body);
        let answer = exchange(request, "the webhook", outgoing.now).await?;
        if !answer.status.is_success() {
            return Err(answer.failure("the webhook", self.settings.secret.expose()));
        }
        let first = outgoing.receipt.as_ref().and_then(|receipt| receipt.at);
        Ok(Receipt {
            destination: self.name.clone(),
            reference: id,
            at: first.or(Some(outgoing.now)),
            ..Receipt::default()
        })
    }
}

impl Notifier for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.deliver(message))
    }
}

/// What is posted.
#[derive(Debug, Serialize)]
struct Body<'a> {
    version: u32,
    /// The same for every attempt.
    id: String,
    /// `incident.opened` and so on.
    event: String,
    sent_at: UtcTime,
    attempt: u32,
    /// What people are told, ready to show.
    text: String,
    incident: Summary<'a>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    id: &'a str,
    fingerprint: &'a str,
    kind: &'static str,
    state: &'static str,
    severity: &'static str,
    worst: &'static str,
    title: &'a str,
    services: Vec<&'a str>,
    onset: UtcTime,
    opened_at: UtcTime,
    updated_at: UtcTime,
    resolved_at: Option<UtcTime>,
    acknowledged_by: Option<&'a str>,
    reopened: u32,
    revision: i64,
    anomalies: Vec<Anomaly<'a>>,
    missing: &'a [String],
    link: Option<String>,
}

#[derive(Debug, Serialize)]
struct Anomaly<'a> {
    service: &'a str,
    signal: &'a str,
    dimensions: &'a std::collections::BTreeMap<String, String>,
    severity: &'static str,
    recovered: bool,
    current: f64,
    expected: f64,
    unit: &'a crate::model::Unit,
    score: f64,
    onset: UtcTime,
    evidence: &'a str,
}

fn body(outgoing: &Outgoing) -> String {
    let message = compose(outgoing);
    let body = Body {
        version: VERSION,
        id: idempotency(&outgoing.key),
        event: format!("incident.{}", outgoing.change.as_str()),
        sent_at: outgoing.now,
        attempt: outgoing.attempt,
        text: format!("{}\n{}", message.first_line(), message.lead),
        incident: summary(&outgoing.incident, &message),
    };
    // Numbers that are not finite become null, so plain data always serialises.
    serde_json::to_string(&body).expect("plain data with text keys serialises")
}

fn summary<'a>(incident: &'a Incident, message: &Message) -> Summary<'a> {
    Summary {
        id: &incident.id.0,
        fingerprint: &incident.fingerprint,
        kind: match incident.kind {
            IncidentKind::Anomaly => "anomaly",
            IncidentKind::Blind { .. } => "blind",
            IncidentKind::Store { .. } => "store",
            IncidentKind::Storm { .. } => "storm",
            IncidentKind::Test => "test",
        },
        state: incident.state.as_str(),
        severity: incident.severity.as_str(),
        worst: incident.worst.as_str(),
        title: &incident.title,
        services: incident.services(),
        onset: incident.onset,
        opened_at: incident.opened_at,
        updated_at: incident.updated_at,
        resolved_at: incident.resolved_at,
        acknowledged_by: incident.acknowledged.as_ref().map(|(who, _)| who.as_str()),
        reopened: incident.reopened,
        revision: incident.revision,
        anomalies: incident.members.iter().map(anomaly).collect(),
        missing: &incident.missing,
        link: message.link.clone(),
    }
}

fn anomaly(member: &crate::model::Member) -> Anomaly<'_> {
    let anomaly = &member.anomaly;
    Anomaly {
        service: &anomaly.series.service,
        signal: &anomaly.series.signal,
        dimensions: &anomaly.series.dimensions,
        severity: anomaly.severity.as_str(),
        recovered: member.state == crate::model::MemberState::Recovered,
        current: anomaly.current,
        expected: anomaly.expected,
        unit: &anomaly.unit,
        score: anomaly.score,
        onset: anomaly.onset,
        evidence: &anomaly.evidence.summary,
    }
}

/// The message's key as a header can hold it, whatever is in it.
fn idempotency(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1={}", hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Change;
    use crate::notify::samples::{outage, outgoing};

    #[test]
    fn the_signature_is_hmac_sha256_of_timestamp_and_body() {
        // printf '1763694000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            signature("0123456789abcdef", 1_763_694_000, "{}"),
            "v1=9c1204076a19c2a82f728641db9e9302aef3548dc04112065886ed8012aa22a6"
        );
    }

    #[test]
    fn the_body_as_it_is_posted() {
        let mut incident = outage();
        incident.members.truncate(1);
        incident.members[0].anomaly.score = f64::INFINITY;
        let mut message = outgoing(incident, Change::Opened);
        let value: serde_json::Value = serde_json::from_str(&body(&message)).unwrap();
        insta::assert_json_snapshot!(value);
        message.attempt = 2;
        let again: serde_json::Value = serde_json::from_str(&body(&message)).unwrap();
        assert_eq!(again["id"], value["id"]);
    }
}

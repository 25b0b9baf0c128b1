//! Webhooks and the heartbeat, against a receiver that checks signatures as the documentation tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use sentinelops::clock::TimerClock;
use sentinelops::lifecycle::{Ending, Lifecycle};
use sentinelops::model::Change;
use sentinelops::net::Reach;
use sentinelops::notify::heartbeat::{self, Pulse, SourcePulse};
use sentinelops::notify::settings::{Heartbeat, Webhook as Settings};
use sentinelops::notify::{Notifier, Reason, Retry, Webhook};
use sentinelops::secret::Secret;
use sentinelops::telemetry::Metrics;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::messages::{Life, at, impatient, outage, outgoing};
use crate::support::remote::{Hard, Remote, Script};

const SECRET: &str = "0123456789abcdef";

#[derive(Debug, Clone, Default)]
struct Hook {
    script: Script,
    had: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

async fn receive(State(hook): State<Hook>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    hook.had.lock().unwrap().push((headers, body));
    match hook.script.take(uri.path()) {
        Some(hard) => hard.answer().await,
        None => "thank you".into_response(),
    }
}

async fn hook() -> (Hook, Remote) {
    let hook = Hook::default();
    let router = Router::new().route("/hook", post(receive)).with_state(hook.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (hook, Remote::start(listener, router))
}

fn webhook(url: &str) -> Webhook {
    let settings =
        Settings { url: Secret::new(url), secret: Secret::new(SECRET), ..Settings::default() };
    Webhook::new("hook", settings, impatient(Reach::Guarded))
}

/// What the documentation tells a receiver to do.
fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(header("X-SentinelOps-Timestamp").as_bytes());
    mac.update(b".");
    mac.update(body);
    let given = header("X-SentinelOps-Signature");
    let hex = given.strip_prefix("v1=").unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(hex.get(index..index + 2).unwrap(), 16).unwrap())
        .collect();
    mac.verify_slice(&bytes).is_ok()
}

#[tokio::test]
async fn messages_are_signed_and_keep_their_identity_over_attempts() {
    let (hook, remote) = hook().await;
    let webhook = webhook(&format!("{}/hook", remote.url));
    let mut message = outgoing(outage(), Change::Opened);
    hook.script.next("/hook", Hard::status(500));
    webhook.send(&message).await.unwrap_err();
    message.attempt = 2;
    message.incident.revision += 1;
    let receipt = webhook.send(&message).await.unwrap();
    let mut life = Life::of(outage());
    life.tell(&webhook, Change::Resolved).await;
    let had = hook.had.lock().unwrap().clone();
    assert!(had.iter().all(|(headers, body)| is_signed(headers, body)));
    assert!(!is_signed(&had[0].0, b"{}"), "a receiver's check must be able to fail");
    let keys: Vec<&str> =
        had.iter().map(|(headers, _)| headers["Idempotency-Key"].to_str().unwrap()).collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(receipt.reference, keys[1]);
    let body: Value = serde_json::from_slice(&had[2].1).unwrap();
    assert_eq!(body["event"], "incident.resolved");
    assert_eq!(body["version"], 1);
    assert_eq!(body["incident"]["state"], "resolved");
}

#[tokio::test]
async fn a_webhook_is_not_sent_elsewhere() {
    let (hook, remote) = hook().await;
    let webhook = webhook(&format!("{}/hook", remote.url));
    let elsewhere = vec![("Location", "http://169.254.169.254/latest".to_owned())];
    hook.script.next("/hook", Hard::Status(307, elsewhere, String::new()));
    let failure = webhook.send(&outgoing(outage(), Change::Opened)).await.unwrap_err();
    assert_eq!((failure.reason, failure.retry), (Reason::Refused, Retry::Never));
    assert_eq!(failure.detail, "the webhook answered 307 (redirects are not followed)");
    hook.script.next("/hook", Hard::throttled(7));
    let failure = webhook.send(&outgoing(outage(), Change::Opened)).await.unwrap_err();
    assert_eq!(failure.retry, Retry::After(Duration::from_secs(7)));
}

#[tokio::test]
async fn the_heart_beats_until_the_daemon_stops_and_through_failures() {
    let (hook, remote) = hook().await;
    hook.script.next("/hook", Hard::status(500));
    let metrics = Metrics::new();
    let clock = TimerClock::with_speed(at("2026-11-21T03:19:30Z"), 600);
    let lifecycle = Lifecycle::new();
    let heartbeat = heartbeat::Heartbeat {
        settings: Heartbeat {
            url: Secret::new(format!("{}/hook", remote.url)),
            interval_seconds: 10,
        },
        client: impatient(Reach::Guarded),
        clock: Arc::new(clock),
        metrics: metrics.clone(),
        pulse: Arc::new(|now| Pulse {
            ok: false,
            sources: vec![SourcePulse {
                name: "logs".to_owned(),
                fresh_until: Some(now),
                age_seconds: Some(0),
                blind: true,
            }],
            owed: 2,
            oldest_owed_seconds: Some(30),
            dead: 0,
            store_writable: true,
        }),
    };
    lifecycle.spawn("heartbeat", heartbeat::run(heartbeat, lifecycle.soft()));
    crate::support::time::eventually("three beats", || async {
        hook.had.lock().unwrap().len() >= 3
    })
    .await;
    lifecycle.stop();
    assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Clean);
    let body: Value = serde_json::from_slice(&hook.had.lock().unwrap()[0].1).unwrap();
    assert_eq!(body["service"], "sentinelops");
    assert_eq!(body["status"]["sources"][0]["name"], "logs");
    assert_eq!(body["status"]["sources"][0]["blind"], true);
    assert!(metrics.render().contains("heartbeats_total{outcome=\"unavailable\"} 1"));
}

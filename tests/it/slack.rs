//! Slack, against a stand-in that Slack's own SDK holds to account.

use std::time::Duration;

use sentinelops::model::{Change, IncidentKind, Severity, TimelineEntry, TimelineKind};
use sentinelops::net::Reach;
use sentinelops::notify::settings::Slack as Settings;
use sentinelops::notify::{Reason, Retry, Slack};
use sentinelops::secret::Secret;
use sentinelops::telemetry::Metrics;
use serde_json::{Value, json};

use crate::support::messages::{Life, at, impatient, outage, test_incident};
use crate::support::python::judge;
use crate::support::remote::Hard;
use crate::support::slack::{CHANNEL, FakeSlack, TOKEN};

fn slack(fake: &FakeSlack, change: impl FnOnce(&mut Settings)) -> (Slack, Metrics) {
    let mut settings = Settings {
        token: Secret::new(TOKEN),
        channel: "#alerts".to_owned(),
        base_url: fake.url.clone(),
        mentions: [("P1".to_owned(), "<!here>".to_owned())].into(),
        charts: false,
        ..Settings::default()
    };
    change(&mut settings);
    let metrics = Metrics::new();
    (Slack::new("slack", settings, impatient(Reach::Anywhere), metrics.clone()), metrics)
}

#[tokio::test]
async fn slacks_own_client_finds_our_stand_in_alike() {
    let fake = FakeSlack::start().await;
    assert_eq!(judge("slack_judge.py", &["client", &fake.url, TOKEN, CHANNEL], "").await, "ok\n");
}

#[tokio::test]
async fn slacks_own_models_accept_every_message() {
    let fake = FakeSlack::start().await;
    let (slack, _) = slack(&fake, |_| {});
    let mut huge = outage();
    let member = huge.members[0].clone();
    for index in 0..300 {
        let mut more = member.clone();
        more.anomaly.series.service = format!("{index} <!channel> & {}", "é🔥".repeat(900)).into();
        more.anomaly.evidence.summary = "<".repeat(9_000);
        huge.members.push(more);
    }
    let mut storm = outage();
    storm.kind = IncidentKind::Storm { incidents: vec![storm.id.clone(); 99] };
    let mut blind = outage();
    blind.kind = IncidentKind::Blind { source: "logs".into(), reason: "answered 401".to_owned() };
    let all = [outage(), huge, storm, blind, test_incident()];
    for incident in all {
        let mut life = Life::of(incident);
        for change in [Change::Opened, Change::Worsened, Change::Acknowledged, Change::Resolved] {
            life.tell(&slack, change).await;
        }
    }
    let mut messages: Vec<Value> = fake.calls("chat.postMessage");
    messages.extend(fake.calls("chat.update"));
    messages.retain(|message| message.get("blocks").is_some());
    assert_eq!(messages.len(), 20);
    let input = json!({ "messages": messages }).to_string();
    assert_eq!(judge("slack_judge.py", &["blocks"], &input).await, "20\n");
}

#[tokio::test]
async fn one_incident_is_one_living_message() {
    let fake = FakeSlack::start().await;
    let (slack, _) = slack(&fake, |_| {});
    let mut life = Life::of(outage());
    let opened = life.tell(&slack, Change::Opened).await;
    assert_eq!(opened.destination, CHANNEL, "edits need the channel's id, not its name");
    life.tell(&slack, Change::Updated).await;
    life.outgoing.incident.timeline.push(TimelineEntry {
        at: at("2026-11-21T03:19:20Z"),
        kind: TimelineKind::Joined,
        text: "cart error_rate joined".to_owned(),
        actor: None,
    });
    life.tell(&slack, Change::Updated).await;
    life.tell(&slack, Change::Updated).await;
    life.tell(&slack, Change::Acknowledged).await;
    life.tell(&slack, Change::Worsened).await;
    let last = life.tell(&slack, Change::Resolved).await;
    assert_eq!(last.reference, opened.reference);
    let messages = fake.messages();
    let shown: Vec<String> = messages
        .iter()
        .map(|message| {
            let place = match (message["thread_ts"].as_str(), &message["reply_broadcast"]) {
                (None, _) => "channel",
                (Some(_), Value::Bool(true)) => "thread, broadcast",
                (Some(_), _) => "thread",
            };
            format!("[{place}]\n{}", message["text"].as_str().unwrap())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[tokio::test]
async fn slacks_refusals_have_their_class() {
    let fake = FakeSlack::start().await;
    let (slack, _) = slack(&fake, |_| {});
    let minute = Duration::from_mins(1);
    for (hard, reason, retry) in [
        (Hard::throttled(60), Reason::Throttled, Retry::After(minute)),
        (Hard::status(429), Reason::Throttled, Retry::After(Duration::from_secs(30))),
        (Hard::status(503), Reason::Unavailable, Retry::Later),
        (Hard::status(302), Reason::Refused, Retry::Never),
        (Hard::Silence, Reason::Deadline, Retry::Later),
        (Hard::Status(200, vec![], "<html>".to_owned()), Reason::Malformed, Retry::Later),
        (Hard::Status(200, vec![], "{}".to_owned()), Reason::Malformed, Retry::Later),
        (Hard::code("message_limit_exceeded"), Reason::Throttled, Retry::After(minute / 2)),
        (Hard::code("ratelimited"), Reason::Throttled, Retry::After(minute / 2)),
        (Hard::code("channel_not_found"), Reason::Refused, Retry::Never),
        (Hard::code("invalid_auth"), Reason::Denied, Retry::Never),
        (Hard::code("internal_error"), Reason::Unavailable, Retry::Later),
    ] {
        fake.script.next("chat.postMessage", hard.clone());
        let mut life = Life::of(outage());
        let failure = life.try_tell(&slack, Change::Opened).await.unwrap_err();
        assert_eq!((failure.reason, failure.retry), (reason, retry), "{hard:?}: {failure}");
        assert!(!failure.detail.contains(TOKEN), "{failure}");
        life.tell(&slack, Change::Opened).await;
    }
    let (nobody, _) =
        self::slack(&fake, |settings| settings.base_url = "http://127.0.0.1:1/".to_owned());
    let failure = Life::of(outage()).try_tell(&nobody, Change::Opened).await.unwrap_err();
    assert_eq!((failure.reason, failure.retry), (Reason::Unreachable, Retry::Later));
}

#[tokio::test]
async fn a_page_is_never_lost_to_its_form() {
    for code in ["invalid_blocks", "msg_too_long", "msg_blocks_too_long"] {
        let fake = FakeSlack::start().await;
        let (slack, _) = slack(&fake, |_| {});
        fake.script.next("chat.postMessage", Hard::code(code));
        let mut life = Life::of(outage());
        life.tell(&slack, Change::Opened).await;
        let messages = fake.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0]["blocks"], json!([]), "{code}");
        let text = messages[0]["text"].as_str().unwrap();
        assert!(text.contains("payment-service error rate 66.7 %"), "{text}");
        assert!(text.contains("<!here>") && text.contains("Open the incident"), "{text}");
        // Edits go the same way.
        fake.script.next("chat.update", Hard::code(code));
        life.tell(&slack, Change::Acknowledged).await;
        assert_eq!(fake.methods()[2..], ["chat.update", "chat.update", "chat.postMessage"]);
        // Twice refused is refused.
        fake.script.next("chat.update", Hard::code(code));
        fake.script.next("chat.update", Hard::code(code));
        let failure = life.try_tell(&slack, Change::Updated).await.unwrap_err();
        assert_eq!((failure.reason, failure.retry), (Reason::Refused, Retry::Never));
    }
}

#[tokio::test]
async fn a_deleted_message_is_posted_anew() {
    let fake = FakeSlack::start().await;
    let (slack, _) = slack(&fake, |_| {});
    let mut life = Life::of(outage());
    let first = life.tell(&slack, Change::Opened).await;
    fake.delete_messages();
    let second = life.tell(&slack, Change::Worsened).await;
    assert_ne!(first.reference, second.reference);
    assert_eq!(fake.methods(), ["chat.postMessage", "chat.update", "chat.postMessage"]);
    life.tell(&slack, Change::Resolved).await;
    let messages = fake.messages();
    assert_eq!(messages.len(), 2, "the new message and a line in its thread");
    assert!(messages[0]["text"].as_str().unwrap().contains("Resolved"));
}

#[tokio::test]
async fn the_chart_goes_into_the_thread_where_the_token_allows_it() {
    let fake = FakeSlack::start().await;
    let (slack, metrics) = slack(&fake, |settings| settings.charts = true);
    let receipt = Life::of(outage()).tell(&slack, Change::Opened).await;
    let files = fake.files();
    let (shared, bytes) = &files[0];
    assert_eq!(shared["thread_ts"], json!(receipt.reference));
    assert_eq!(shared["channel_id"], CHANNEL);
    assert!(bytes.starts_with(b"\x89PNG"), "{} bytes", bytes.len());
    let length = fake.calls("files.getUploadURLExternal")[0]["length"].clone();
    assert_eq!(length, json!(bytes.len().to_string()));

    // Trouble with a chart is no trouble of the page.
    fake.script.next("files.completeUploadExternal", Hard::code("internal_error"));
    Life::of(outage()).tell(&slack, Change::Opened).await;
    fake.script.next("files.getUploadURLExternal", Hard::Silence);
    Life::of(outage()).tell(&slack, Change::Opened).await;
    // A missing scope is remembered.
    fake.script.next("files.getUploadURLExternal", Hard::code("missing_scope"));
    Life::of(outage()).tell(&slack, Change::Opened).await;
    Life::of(outage()).tell(&slack, Change::Opened).await;
    assert_eq!(fake.calls("files.getUploadURLExternal").len(), 4);
    assert_eq!(fake.messages().len(), 5);
    let rendered = metrics.render();
    for outcome in ["uploaded", "unavailable", "deadline", "denied"] {
        let line = format!("receiver=\"slack\",outcome=\"{outcome}\"}} 1");
        assert!(rendered.contains(&line), "{line} in {rendered}");
    }
}

#[tokio::test]
async fn mentions_go_with_pages_of_their_severity_only() {
    let fake = FakeSlack::start().await;
    let (slack, _) = slack(&fake, |_| {});
    let mut life = Life::of(outage());
    life.tell(&slack, Change::Opened).await;
    life.tell(&slack, Change::Updated).await;
    life.outgoing.incident.severity = Severity::P2;
    life.tell(&slack, Change::Worsened).await;
    life.tell(&slack, Change::Resolved).await;
    let mut test = Life::of(test_incident());
    test.tell(&slack, Change::Opened).await;
    let mentioned = |method: &str| {
        let calls = fake.calls(method);
        calls.iter().map(|call| call.to_string().contains("<!here>")).collect::<Vec<_>>()
    };
    assert_eq!(mentioned("chat.postMessage"), [true, false, false, false]);
    assert_eq!(mentioned("chat.update"), [false, false, false]);
}

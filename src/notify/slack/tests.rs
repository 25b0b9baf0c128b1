//! What is posted, as JSON; the limits under hostile texts; Slack's codes. The calls themselves are tested
//! against the fake in `tests/it/slack.rs`.

use proptest::prelude::*;

use super::*;
use crate::model::{
    Analysis, Confidence, Correlation, Incident, IncidentId, IncidentKind, IncidentState,
    RelatedEvent, RunbookMatch, Suspect,
};
use crate::notify::samples::{at, outage, outgoing, test_incident};

fn laid(outgoing: &Outgoing) -> blocks::Laid {
    blocks::lay_out(&compose(outgoing), Some("<!here>"))
}

#[test]
fn an_opening_as_it_is_posted() {
    let laid = laid(&outgoing(outage(), Change::Opened));
    insta::assert_snapshot!("opened_text", laid.text);
    insta::assert_json_snapshot!("opened_blocks", laid.blocks);
}

#[test]
fn plain_and_thread_texts() {
    let mut message = outgoing(outage(), Change::Worsened);
    let composed = compose(&message);
    let slack = Slack::new(
        "slack",
        Settings {
            mentions: [("P1".to_owned(), "<!here>".to_owned())].into(),
            ..Settings::default()
        },
        crate::net::client(&crate::net::Settings::default(), crate::net::Reach::Anywhere).unwrap(),
        Metrics::new(),
    );
    let mut shown = vec![format!("plain:\n{}", blocks::plain(&composed, Some("<!here>")))];
    let mut receipt = Receipt::default();
    receipt.notes.insert(TOLD.to_owned(), micros(at("2026-11-21T03:17:20Z")).to_string());
    let mut thread = |message: &Outgoing| {
        let line = slack.thread_line(message, &compose(message), &receipt);
        shown.push(format!("{}:\n{}", message.change.as_str(), line.unwrap_or_default()));
    };
    thread(&message);
    message.change = Change::Reopened;
    thread(&message);
    message.change = Change::Updated;
    thread(&message);
    message.change = Change::Opened;
    thread(&message);
    message.change = Change::Acknowledged;
    message.incident.state = IncidentState::Acknowledged;
    message.incident.acknowledged = Some(("ana".to_owned(), at("2026-11-21T03:18:00Z")));
    thread(&message);
    message.change = Change::Resolved;
    message.incident.state = IncidentState::Resolved;
    message.incident.resolved_at = Some(at("2026-11-21T03:41:00Z"));
    thread(&message);
    insta::assert_snapshot!("texts", shown.join("\n\n"));
}

#[test]
fn codes_have_their_class() {
    let shown: Vec<String> = [
        "ratelimited",
        "message_limit_exceeded",
        "internal_error",
        "invalid_auth",
        "missing_scope",
        "channel_not_found",
        "is_archived",
        "msg_too_long",
        "something_new",
    ]
    .iter()
    .map(|code| {
        let Failure { reason, detail, retry } = api::refusal(code, None).failure;
        format!("{reason:?} {retry:?}: {detail}")
    })
    .collect();
    insta::assert_snapshot!("codes", shown.join("\n"));
}

/// Every limit of Block Kit, counted the widest way.
fn within_limits(laid: &blocks::Laid) {
    let width = |text: &str| text.encode_utf16().count();
    assert!(!laid.text.is_empty() && width(&laid.text) <= 1_000);
    assert!((2..=50).contains(&laid.blocks.len()), "{} blocks", laid.blocks.len());
    let all: usize = laid.blocks.iter().map(|block| width(&block.to_string())).sum();
    assert!(all + width(&laid.text) <= 12_000, "{all} characters");
    for block in &laid.blocks {
        let (text, limit) = match block["type"].as_str().unwrap() {
            "header" => (&block["text"]["text"], 150),
            "section" => (&block["text"]["text"], 3_000),
            "context" => {
                assert!(block["elements"].as_array().unwrap().len() <= 10);
                (&block["elements"][0]["text"], 2_000)
            }
            other => panic!("{other}"),
        };
        let text = text.as_str().unwrap();
        assert!((1..=limit).contains(&width(text)), "{} in {block}", width(text));
        harmless(text);
    }
    harmless(&laid.text);
}

/// Nothing but our own mention and links is markup.
fn harmless(text: &str) {
    const PAGES: &str = "https://sentinelops.example.com/incidents/";
    let mut left = String::new();
    for (index, part) in text.split('<').enumerate() {
        let Some((markup, after)) = part.split_once('>').filter(|_| index > 0) else {
            assert!(index == 0, "an open < in {text:.300}");
            left.push_str(part);
            continue;
        };
        let link = markup.strip_prefix(PAGES).and_then(|rest| rest.split_once('|'));
        let ours = markup == "!here"
            || link
                .is_some_and(|(id, _)| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        assert!(ours, "foreign markup {markup:.300}");
        left.push_str(link.map_or("", |(_, label)| label));
        left.push_str(after);
    }
    assert!(!left.contains('>'), "{left:.300}");
    for part in left.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;"].iter().any(|e| part.starts_with(e)), "&{part:.100}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[<>&`*_~!@#|\\n\\u{0}-\\u{1f}a-z]{0,400}",
        Just("<!channel> <@U1> <https://evil.example|click> &amp; *bold* `code`".to_owned()),
        Just("🔥".repeat(5_000)),
        Just("&".repeat(20_000)),
        Just("<".repeat(20_000)),
        Just("\u{202e}\u{0}\r\n".repeat(3_000)),
        Just(String::new()),
    ]
}

fn explained(texts: &[String], members: usize) -> Incident {
    let text = |index: usize| texts[index % texts.len()].clone();
    let mut incident = outage();
    incident.id = IncidentId(text(0));
    incident.title = text(1);
    let member = incident.members[0].clone();
    for index in 0..members {
        let mut more = member.clone();
        more.anomaly.series.service = text(index).into();
        more.anomaly.series.signal = text(index + 1).into();
        more.anomaly.series.dimensions.insert(text(2), text(3));
        more.anomaly.unit = crate::model::Unit::Other(text(4));
        more.anomaly.evidence.summary = text(5);
        incident.members.insert(0, more);
    }
    for entry in &mut incident.timeline {
        entry.text = text(6);
        entry.actor = Some(text(7));
    }
    incident.missing = (0..50).map(text).collect();
    incident.correlation = Some(Correlation {
        suspects: (0..9)
            .map(|n| Suspect {
                service: text(n),
                what: text(n + 1),
                score: 1.0,
                evidence: vec![text(n + 2); 9],
            })
            .collect(),
        events: (0..50)
            .map(|n| RelatedEvent {
                at: at("2026-11-21T03:15:00Z"),
                service: text(n),
                level: text(n + 1),
                message: text(n + 2),
                trace_id: None,
            })
            .collect(),
    });
    incident.runbooks = (0..9)
        .map(|n| RunbookMatch {
            id: text(n),
            title: text(n + 1),
            root_cause: text(n + 2),
            steps: vec![text(n + 3); 20],
            services: Vec::new(),
            score: 1.0,
            reason: text(n + 4),
        })
        .collect();
    incident.analysis = Some(Analysis {
        summary: text(1),
        root_cause: text(2),
        confidence: Confidence::Low,
        steps: (0..30).map(text).collect(),
    });
    incident
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_message_is_within_every_limit(
        texts in prop::collection::vec(hostile(), 8),
        members in 0_usize..40,
        kind in 0..5,
        change in 0_usize..6,
    ) {
        let mut incident = explained(&texts, members);
        incident.kind = match kind {
            0 => IncidentKind::Anomaly,
            1 => IncidentKind::Blind { source: texts[0].as_str().into(), reason: texts[1].clone() },
            2 => IncidentKind::Store { reason: texts[2].clone() },
            3 => IncidentKind::Storm { incidents: vec![IncidentId(texts[3].clone()); 60] },
            _ => IncidentKind::Test,
        };
        incident.acknowledged = Some((texts[4].clone(), incident.opened_at));
        let change = [
            Change::Opened, Change::Reopened, Change::Worsened, Change::Updated,
            Change::Acknowledged, Change::Resolved,
        ][change];
        let mut message = outgoing(incident, change);
        if kind == 4 {
            message.base_url = Some(texts[5].clone());
        }
        within_limits(&laid(&message));
        let plain = blocks::plain(&compose(&message), Some("<!here>"));
        prop_assert!((1..=3_000).contains(&plain.encode_utf16().count()));
        harmless(&plain);
    }
}

#[test]
fn a_test_and_a_storm_as_they_are_posted() {
    let test = laid(&outgoing(test_incident(), Change::Opened));
    within_limits(&test);
    let mut storm = outage();
    storm.kind = IncidentKind::Storm {
        incidents: (0..60).map(|n| IncidentId(format!("INC-20261121-031600-{n:06}"))).collect(),
    };
    let storm = laid(&outgoing(storm, Change::Opened));
    within_limits(&storm);
    insta::assert_json_snapshot!("test_and_storm", [test.blocks, storm.blocks]);
}

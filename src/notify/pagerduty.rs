//! PagerDuty by its Events API v2: `{base_url}/v2/enqueue`.
//!
//! The deduplication key is the incident's fingerprint, so repeated triggers are one alert. PagerDuty does not
//! notify on a trigger for an alert that somebody acknowledged; therefore each worsening after an
//! acknowledgement (`Incident::escalations`) triggers a further key, `fingerprint:2` and so on, and the end
//! resolves every key that was triggered.
//!
//! | change | is sent |
//! |---|---|
//! | opened, reopened | `trigger` |
//! | worsened | `trigger`, unless PagerDuty was told the end and it is over |
//! | updated | while nobody has acknowledged it: `trigger` with the new severity if that changed (no new notification), or if the opening never arrived; otherwise nothing |
//! | acknowledged | `acknowledge` while it is acknowledged, if its present key was triggered and not ended: a message that is late may stand before the `trigger` of a later turn |
//! | resolved | `resolve` for every key |
//!
//! P1 to P4 are `critical`, `error`, `warning`, `info`; tests are `info` and say that they are tests.

use serde_json::{Value, json};
use url::Url;

use super::exchange::exchange;
use super::message::{Message, Standing, clean, compose};
use super::settings::PagerDuty as Settings;
use super::{BoxFuture, Failure, Notifier, Outgoing};
use crate::model::{Change, IncidentState, Receipt, Severity};
use crate::net;

/// Limits of the Events API, in characters and bytes. It takes 512 KB; the rest is room for what it counts.
const SUMMARY: usize = 1_024;
const DEDUP_KEY: usize = 255;
const EVENT_BYTES: usize = 500_000;
/// How many services are listed.
const SERVICES: usize = 50;

/// Notes on a receipt: the severity told last, whether the end was told, and the key triggered last since then.
const TOLD: &str = "severity";
const ENDED: &str = "ended";
const TRIGGERED: &str = "triggered";

/// Sends events to one PagerDuty service.
#[derive(Debug)]
pub struct PagerDuty {
    name: String,
    settings: Settings,
    client: reqwest::Client,
}

impl PagerDuty {
    /// A notifier called `name`; the settings were checked.
    pub fn new(name: &str, settings: Settings, client: reqwest::Client) -> Self {
        Self { name: name.to_owned(), settings, client }
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Result<Receipt, Failure> {
        let key = self.settings.routing_key.expose();
        let url = format!("{}/v2/enqueue", self.settings.base_url.trim_end_matches('/'));
        for event in events(outgoing, key) {
            let request = self.client.post(&url).json(&event);
            let answer = exchange(request, "PagerDuty", outgoing.now).await?;
            if answer.status.as_u16() != 202 {
                return Err(answer.failure("PagerDuty", key));
            }
        }
        Ok(receipt(outgoing, &self.name))
    }
}

impl Notifier for PagerDuty {
    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.deliver(message))
    }
}

fn note<'a>(outgoing: &'a Outgoing, name: &str) -> Option<&'a String> {
    outgoing.receipt.as_ref().and_then(|receipt| receipt.notes.get(name))
}

/// Whether a message stands for a `trigger`.
fn triggers(outgoing: &Outgoing) -> bool {
    let incident = &outgoing.incident;
    let ended = note(outgoing, ENDED).is_some();
    let open = incident.state == IncidentState::Open;
    match outgoing.change {
        Change::Opened | Change::Reopened => true,
        Change::Worsened => incident.is_open() || !ended,
        Change::Updated => match note(outgoing, TOLD) {
            Some(told) => open && !ended && told != incident.severity.as_str(),
            None => open,
        },
        Change::Acknowledged | Change::Resolved => false,
    }
}

/// The events that a message stands for, in the order in which they must arrive.
fn events(outgoing: &Outgoing, routing_key: &str) -> Vec<Value> {
    if triggers(outgoing) {
        return vec![trigger_event(outgoing, routing_key)];
    }
    let key = current_key(outgoing);
    let acknowledged = outgoing.incident.state == IncidentState::Acknowledged
        && note(outgoing, TRIGGERED) == Some(&key);
    let plain = |action: &str, key: &str| json!({ "routing_key": routing_key, "event_action": action, "dedup_key": key });
    match outgoing.change {
        Change::Acknowledged if acknowledged => vec![plain("acknowledge", &key)],
        Change::Resolved => keys(outgoing).iter().map(|key| plain("resolve", key)).collect(),
        _ => Vec::new(),
    }
}

/// The key that a trigger uses now.
fn current_key(outgoing: &Outgoing) -> String {
    let incident = &outgoing.incident;
    match incident.escalations {
        0 => clean(&incident.fingerprint, DEDUP_KEY),
        n => format!("{}:{}", clean(&incident.fingerprint, DEDUP_KEY - 12), u64::from(n) + 1),
    }
}

/// Every key that was or may have been triggered, the first one first.
fn keys(outgoing: &Outgoing) -> Vec<String> {
    let mut keys = vec![clean(&outgoing.incident.fingerprint, DEDUP_KEY)];
    let further = outgoing.receipt.iter().flat_map(|receipt| receipt.further.clone());
    for key in further.chain([current_key(outgoing)]) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn receipt(outgoing: &Outgoing, name: &str) -> Receipt {
    let mut receipt = outgoing.receipt.clone().unwrap_or_default();
    let mut keys = keys(outgoing).into_iter();
    name.clone_into(&mut receipt.destination);
    receipt.reference = keys.next().unwrap_or_default();
    receipt.further = keys.collect();
    receipt.at.get_or_insert(outgoing.now);
    let told = outgoing.incident.severity.as_str().to_owned();
    receipt.notes.insert(TOLD.to_owned(), told);
    if triggers(outgoing) {
        receipt.notes.insert(TRIGGERED.to_owned(), current_key(outgoing));
    }
    match outgoing.change {
        Change::Resolved => {
            receipt.notes.insert(ENDED.to_owned(), outgoing.now.to_rfc3339());
            receipt.notes.remove(TRIGGERED);
        }
        Change::Opened | Change::Reopened => {
            receipt.notes.remove(ENDED);
        }
        Change::Worsened | Change::Updated | Change::Acknowledged => {}
    }
    receipt
}

fn trigger_event(outgoing: &Outgoing, routing_key: &str) -> Value {
    let incident = &outgoing.incident;
    let message = compose(outgoing);
    let severity = match (message.standing, incident.severity) {
        (Standing::Test, _) | (_, Severity::P4) => "info",
        (_, Severity::P1) => "critical",
        (_, Severity::P2) => "error",
        (_, Severity::P3) => "warning",
    };
    let signal = incident.members.first().map(|member| &*member.anomaly.series.signal);
    let service = message.services.first().map_or("sentinelops", String::as_str);
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": current_key(outgoing),
        "client": "SentinelOps",
        "payload": {
            "summary": clean(&format!("{} · {}", message.first_line(), message.lead), SUMMARY),
            "source": clean(service, 255),
            "severity": severity,
            "timestamp": incident.onset.to_rfc3339(),
            "component": clean(service, 255),
            "class": clean(signal.unwrap_or(message_class(&message)), 255),
            "custom_details": details(&message),
        },
    });
    // A link that is no full URL makes PagerDuty refuse the whole event.
    if let Some(link) = message.link.as_deref().filter(|link| is_full(link)) {
        event["links"] = json!([{ "href": link, "text": "Incident" }]);
        event["client_url"] = json!(link);
    }
    fit(event, EVENT_BYTES)
}

fn is_full(link: &str) -> bool {
    net::check_url(link).is_ok() && Url::parse(link).is_ok_and(|url| url.as_str().len() < 2_000)
}

fn message_class(message: &Message) -> &'static str {
    if message.standing == Standing::Test { "test" } else { "sentinelops" }
}

/// Everything else there is to say, for the alert's page.
fn details(message: &Message) -> Value {
    let services: Vec<&String> = message.services.iter().take(SERVICES).collect();
    let mut details = json!({
        "incident": message.id,
        "since": message.lead,
        "state": message.state,
        "services in the order hit": services,
        "services hit": message.services.len(),
        "as of": message.as_of,
    });
    let anomalies: Vec<Value> = message
        .anomalies
        .iter()
        .map(|line| {
            json!({
                "what": line.what,
                "how bad": line.grade,
                "why": line.evidence,
                "recent": line.sparkline,
            })
        })
        .collect();
    let mut add = |name: &str, value: Value| {
        if value.as_array().is_none_or(|list| !list.is_empty()) {
            details[name] = value;
        }
    };
    add("anomalies", json!(anomalies));
    if message.more > 0 {
        add("anomalies not shown", json!(message.more));
    }
    for section in &message.sections {
        let lines: Vec<&str> = section.lines.iter().map(|line| line.text.as_str()).collect();
        add(&section.title, json!(lines));
    }
    add("not available", json!(message.missing));
    add("what happened", json!(message.timeline));
    details
}

/// An event of at most `limit` bytes: details that are too long are replaced by a note, so that the page itself
/// is never refused for them.
fn fit(mut event: Value, limit: usize) -> Value {
    if event.to_string().len() > limit {
        let id = event["payload"]["custom_details"]["incident"].take();
        event["payload"]["custom_details"] = json!({
            "incident": id,
            "note": "the details were too long for PagerDuty: see the incident's page",
        });
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::{outage, outgoing, test_incident};

    const KEY: &str = "R0123456789012345678901234567890";

    /// The actions and keys that a message stands for: `trigger 3f9a`.
    fn actions(outgoing: &Outgoing) -> Vec<String> {
        events(outgoing, KEY)
            .iter()
            .map(|event| {
                let key = event["dedup_key"].as_str().unwrap();
                format!("{} {}", event["event_action"].as_str().unwrap(), key.replace('0', ""))
            })
            .collect()
    }

    #[test]
    fn a_trigger_as_it_is_sent() {
        let event = trigger_event(&outgoing(outage(), Change::Opened), KEY);
        insta::assert_json_snapshot!("trigger", event);
        let event = trigger_event(&outgoing(test_incident(), Change::Opened), KEY);
        insta::assert_json_snapshot!("trigger_test", event);
    }

    #[test]
    fn the_life_of_an_incident_with_a_worsening_after_the_acknowledgement() {
        let mut life = outgoing(outage(), Change::Opened);
        let mut seen = Vec::new();
        let mut step = |life: &mut Outgoing, change| {
            life.change = change;
            seen.push(format!("{}: {}", change.as_str(), actions(life).join(", ")));
            life.receipt = Some(receipt(life, "pagerduty"));
        };
        step(&mut life, Change::Opened);
        step(&mut life, Change::Updated);
        life.incident.state = IncidentState::Acknowledged;
        step(&mut life, Change::Acknowledged);
        life.incident.state = IncidentState::Open;
        life.incident.escalations = 1;
        step(&mut life, Change::Worsened);
        life.incident.severity = Severity::P2;
        step(&mut life, Change::Updated);
        step(&mut life, Change::Updated);
        life.incident.state = IncidentState::Resolved;
        step(&mut life, Change::Resolved);
        step(&mut life, Change::Worsened);
        step(&mut life, Change::Updated);
        life.incident.state = IncidentState::Open;
        step(&mut life, Change::Reopened);
        life.incident.state = IncidentState::Resolved;
        step(&mut life, Change::Resolved);
        insta::assert_snapshot!(seen.join("\n"));
    }

    #[test]
    fn a_page_that_never_arrived_is_made_up_for_while_nobody_looks() {
        let mut late = outgoing(outage(), Change::Updated);
        assert_eq!(actions(&late), ["trigger 3f9a2c"]);
        late.incident.state = IncidentState::Acknowledged;
        assert!(actions(&late).is_empty());
        // An acknowledgement that has lapsed meanwhile is not told any more.
        late.change = Change::Acknowledged;
        late.incident.state = IncidentState::Open;
        assert!(actions(&late).is_empty());
    }

    #[test]
    fn a_late_acknowledgement_is_not_told_of_a_key_that_was_not_triggered_yet() {
        // Delivered so late that the incident was reopened and acknowledged again meanwhile.
        let mut late = outgoing(outage(), Change::Opened);
        late.incident.escalations = 1;
        late.receipt = Some(receipt(&late, "pagerduty"));
        late.incident.escalations = 0;
        late.incident.state = IncidentState::Acknowledged;
        late.change = Change::Acknowledged;
        assert!(actions(&late).is_empty(), "the second key was triggered, not the first");
        late.change = Change::Reopened;
        late.receipt = Some(receipt(&late, "pagerduty"));
        late.change = Change::Acknowledged;
        assert_eq!(actions(&late), ["acknowledge 3f9a2c"]);
        late.change = Change::Resolved;
        late.receipt = Some(receipt(&late, "pagerduty"));
        late.change = Change::Acknowledged;
        assert!(actions(&late).is_empty(), "its end was told");
    }

    #[test]
    fn long_things_are_cut_to_what_pagerduty_takes() {
        let mut huge = outage();
        huge.fingerprint = "f".repeat(300);
        huge.escalations = u32::MAX;
        let member = huge.members[0].clone();
        for index in 0..10_000 {
            let mut more = member.clone();
            more.anomaly.series.service = format!("{index}-{}", "é".repeat(500)).into();
            huge.members.push(more);
        }
        let event = trigger_event(&outgoing(huge, Change::Opened), KEY);
        assert!(event["dedup_key"].as_str().unwrap().chars().count() <= DEDUP_KEY);
        assert!(event["payload"]["summary"].as_str().unwrap().chars().count() <= SUMMARY);
        assert!(event.to_string().len() <= EVENT_BYTES);
        let cut = fit(event, 2_000);
        assert!(cut.to_string().len() <= 4_000);
        assert_eq!(cut["payload"]["custom_details"]["incident"], "INC-20261121-031620-3f9a2c");
    }

    #[test]
    fn a_base_url_that_is_none_makes_no_link() {
        let mut message = outgoing(outage(), Change::Opened);
        message.base_url = Some("sentinelops.local".to_owned());
        let event = trigger_event(&message, KEY);
        assert!(event.get("links").is_none() && event.get("client_url").is_none());
    }
}

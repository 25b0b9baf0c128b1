//! kill −9 at a hundred random instants under load. After it: nothing owed is lost, `PagerDuty` heard each key in
//! order and was never told of an opening after the end, and Slack saw at most one repeated message a kill.
//!
//! The test starts itself again as the process to kill, which runs the writer and the dispatcher on a file and
//! sends to stand-ins for Slack and `PagerDuty` in the test. The environment tells the two apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::Duration as Span;
use sentinelops::clock::{Clock, SystemClock};
use sentinelops::incidents::state::Rules;
use sentinelops::incidents::{self, Command, Handle, Reply, Route, Snapshot, Writer};
use sentinelops::lifecycle::{Ending, Lifecycle};
use sentinelops::model::{
    Change, Delivery, DeliveryState, Finding, Incident, MemberState, Severity,
};
use sentinelops::notify::dispatcher::{self, Dispatcher, Pace, Receivers};
use sentinelops::notify::settings::{PagerDuty, Slack};
use sentinelops::store::{self, EMERGENCIES, IncidentFilter, Store};
use sentinelops::telemetry::Metrics;
use sentinelops::{net, notify, secret::Secret};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::{mpsc, watch};

use crate::support::incidents::anomaly;
use crate::support::pagerduty::{Alert, FakePagerDuty, ROUTING_KEY};
use crate::support::slack::{FakeSlack, TOKEN};
use crate::support::time::eventually;

const KILLS: usize = 100;
const TOLD: &str = "SENTINELOPS_TEST_KILL";
const NAME: &str = "kill::nothing_owed_is_lost_by_a_hundred_kills";

/// Random numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most
    }
}

/// What the process that is killed is told.
#[derive(serde::Serialize, serde::Deserialize)]
struct Told {
    store: String,
    slack: String,
    pagerduty: String,
    seed: u64,
}

async fn open(url: &str) -> Store {
    Store::open(&store::Settings { url: url.to_owned(), ..store::Settings::default() })
        .await
        .unwrap()
}

/// The two receivers as the settings make them, but at any pace.
fn receivers(slack: &str, pagerduty: &str) -> Receivers {
    let slack = Slack {
        token: Secret::new(TOKEN),
        channel: "#alerts".to_owned(),
        base_url: slack.to_owned(),
        charts: false,
        ..Slack::default()
    };
    let pagerduty = PagerDuty {
        routing_key: Secret::new(ROUTING_KEY),
        base_url: pagerduty.to_owned(),
        ..PagerDuty::default()
    };
    let settings = notify::Settings {
        slack: [("slack".to_owned(), slack)].into(),
        pagerduty: [("pagerduty".to_owned(), pagerduty)].into(),
        ..notify::Settings::default()
    };
    let built = notify::receivers(&settings, &net::Settings::default(), &Metrics::new()).unwrap();
    let free = |receiver| dispatcher::Receiver { pace: Pace::FREE, ..receiver };
    built.into_iter().map(|(name, receiver)| (name, free(receiver))).collect()
}

/// Starts the writer and the dispatcher as the daemon does.
fn start(lifecycle: &Lifecycle, store: &Store, receivers: Receivers) -> Handle {
    let (commands, asked) = mpsc::channel(incidents::QUEUE);
    let (snapshot, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (emergencies, emergency) = mpsc::channel(EMERGENCIES);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let route: Route = Arc::new(|_, change| match change {
        Change::Updated => vec!["slack".to_owned()],
        _ => vec!["slack".to_owned(), "pagerduty".to_owned()],
    });
    let writer = Writer {
        store: store.clone(),
        // Every service by itself: the more incidents, the more to lose.
        rules: Rules {
            cooldown: Span::minutes(30),
            window: Span::zero(),
            max_events: 50,
            flapping_reopenings: 1_000_000,
            storm_openings: 1_000_000,
            storm_quiet: Span::minutes(10),
        },
        route,
        clock: clock.clone(),
        metrics: Metrics::new(),
        commands: asked,
        snapshot,
        emergency: emergencies,
    };
    lifecycle.spawn("incidents", incidents::run(writer, lifecycle.soft()));
    let (_, watched) = watch::channel(Arc::new(receivers));
    let dispatcher = Dispatcher {
        store: store.clone(),
        receivers: watched,
        clock,
        metrics: Metrics::new(),
        settings: dispatcher::Settings::default(),
        base_url: None,
        emergency,
        seed: 7,
    };
    lifecycle.spawn("dispatcher", dispatcher::run(dispatcher, lifecycle.soft()));
    Handle::new(commands, snapshots)
}

/// The process that is killed: opens, worsens, acknowledges, ends and reopens incidents as fast as they are
/// delivered, and says on standard output what was promised.
#[expect(
    clippy::print_stdout,
    reason = "standard output is how it tells the test what it promised"
)]
async fn be_killed(told: Told) {
    let store = open(&told.store).await;
    let lifecycle = Lifecycle::new();
    let handle = start(&lifecycle, &store, receivers(&told.slack, &told.pagerduty));
    let mut dice = Dice(told.seed);
    let (mut live, mut ended) = (Vec::new(), Vec::new());
    for incident in all(&store).await {
        for member in &incident.members {
            let list = if member.state == MemberState::Firing { &mut live } else { &mut ended };
            list.push(member.series().service.to_string());
        }
    }
    println!("\nready");
    for number in 0_u64.. {
        let now = SystemClock.now();
        let fire = |service: &str, severity| {
            Command::Findings(vec![Finding::Fired(Box::new(anomaly(
                service,
                "error_rate",
                severity,
                now,
            )))])
        };
        let pick = |dice: &mut Dice, from: &Vec<String>| {
            let index = dice.below(from.len().max(1) as u64);
            usize::try_from(index).ok().filter(|index| *index < from.len())
        };
        let mut promised = None;
        let command = match (dice.below(100), pick(&mut dice, &live), pick(&mut dice, &ended)) {
            (0..25, _, _) | (_, None, _) => {
                let service = format!("svc-{}-{number}", told.seed);
                live.push(service.clone());
                promised = Some(service.clone());
                fire(&service, Severity::P2)
            }
            (25..50, Some(index), _) => fire(&live[index], Severity::P1),
            (50..70, _, _) => {
                let open = handle.snapshot().open.clone();
                let Some((id, _)) = open.first() else { continue };
                Command::Acknowledge { id: id.clone(), actor: "ann".to_owned() }
            }
            (70..80, _, Some(index)) => {
                let service = ended.swap_remove(index);
                live.push(service.clone());
                fire(&service, Severity::P2)
            }
            (_, Some(index), _) => {
                let service = live.swap_remove(index);
                ended.push(service.clone());
                let series = anomaly(&service, "error_rate", Severity::P2, now).series;
                Command::Findings(vec![Finding::Recovered { series, since: now }])
            }
        };
        let reply = handle.ask(command).await.unwrap();
        if let (Some(service), Reply::Done(_)) = (promised, reply) {
            println!("promised {service}");
        }
        // No faster than it is delivered, so that every kind of instant is met.
        while store.outbox().await.unwrap().owed > 20 {
            tokio::task::yield_now().await;
        }
    }
}

async fn all(store: &Store) -> Vec<Incident> {
    let filter = IncidentFilter { limit: 1_000_000, ..IncidentFilter::default() };
    store.incidents(&filter).await.unwrap().1
}

/// The process to kill.
struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    promised: Vec<String>,
}

impl Victim {
    async fn start(told: &Told) -> Self {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(TOLD, serde_json::to_string(told).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut victim = Self { child, lines, promised: Vec::new() };
        while victim.lines.next_line().await.unwrap().expect("it ended by itself") != "ready" {}
        victim
    }

    /// SIGKILL after so long; answers what it had promised until then.
    async fn kill_after(mut self, span: Duration) -> Vec<String> {
        let end = tokio::time::Instant::now() + span;
        while let Ok(line) = tokio::time::timeout_at(end, self.lines.next_line()).await {
            self.hear(&line.unwrap().expect("it ended by itself"));
        }
        self.child.kill().await.unwrap();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.hear(&line);
        }
        self.promised
    }

    fn hear(&mut self, line: &str) {
        self.promised.extend(line.strip_prefix("promised ").map(str::to_owned));
    }
}

/// How often each incident's message was begun.
fn begun(slack: &FakeSlack) -> HashMap<String, usize> {
    let mut begun = HashMap::new();
    for call in slack.calls("chat.postMessage") {
        if call["thread_ts"].is_null() {
            *begun.entry(incident_of(&call)).or_default() += 1;
        }
    }
    begun
}

/// Messages that were begun again.
fn begun_again(slack: &FakeSlack) -> usize {
    begun(slack).values().map(|times| times - 1).sum()
}

/// Lines in threads beyond the deliveries that may say one. Lines cannot be told apart by their words: an incident
/// that comes and goes within a minute says the same more than once, and is right to.
fn lines_too_many(slack: &FakeSlack, deliveries: &[Delivery]) -> usize {
    let calls = slack.calls("chat.postMessage");
    let lines = calls.iter().filter(|call| !call["thread_ts"].is_null()).count();
    let worth =
        |delivery: &&Delivery| delivery.receiver == "slack" && delivery.change != Change::Opened;
    lines.saturating_sub(deliveries.iter().filter(worth).count())
}

fn incident_of(call: &Value) -> String {
    let text = call["blocks"].to_string();
    let (_, rest) = text.split_once("INC-").unwrap_or_else(|| panic!("no incident in {text}"));
    let id = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap();
    format!("INC-{id}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_owed_is_lost_by_a_hundred_kills() {
    #[expect(clippy::disallowed_methods, reason = "the test tells its other self what to do")]
    if let Ok(told) = std::env::var(TOLD) {
        return be_killed(serde_json::from_str(&told).unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (slack, pagerduty) = (FakeSlack::start().await, FakePagerDuty::start().await);
    let seed = SystemClock.now().timestamp().unsigned_abs() | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut told = Told {
        store: format!("sqlite:{}", folder.path().join("store.db").display()),
        slack: slack.url.clone(),
        pagerduty: pagerduty.url.clone(),
        seed,
    };
    let mut promised = Vec::new();
    for kill in 0..KILLS {
        told.seed += 2;
        let victim = Victim::start(&told).await;
        promised.extend(victim.kill_after(Duration::from_millis(dice.below(300))).await);
        let repeated = begun_again(&slack);
        // Counted from the start: what was on its way when a process was killed may arrive after the next one
        // has begun.
        assert!(repeated <= kill + 1, "{repeated} repetitions after {} kills", kill + 1);
    }
    let store = drain(&told).await;
    let incidents = all(&store).await;
    let mut deliveries = Vec::new();
    for incident in &incidents {
        deliveries.extend(store.deliveries(&incident.id).await.unwrap());
    }
    let repeated = begun_again(&slack) + lines_too_many(&slack, &deliveries);
    assert!(repeated <= KILLS, "{repeated} repetitions: at most one a kill");
    println!(
        "{} incidents, {} promised, {} events, {} calls of Slack, {repeated} messages repeated",
        incidents.len(),
        promised.len(),
        pagerduty.events().len(),
        slack.methods().len(),
    );
    let sent = pagerduty.events().len() + slack.methods().len();
    assert!(sent > 2 * KILLS, "only {sent} messages: hardly any load");
    let services: BTreeSet<&str> = incidents.iter().flat_map(Incident::services).collect();
    for service in &promised {
        assert!(services.contains(service.as_str()), "{service} was promised and is lost");
    }
    check_deliveries(&store, &incidents).await;
    check_slack(&store, &slack, &incidents).await;
    check_pagerduty(&store, &pagerduty, &incidents).await;
}

/// Starts once more and lets everything be delivered; then stops as by SIGTERM.
async fn drain(told: &Told) -> Store {
    let store = open(&told.store).await;
    let lifecycle = Lifecycle::new();
    let _handle = start(&lifecycle, &store, receivers(&told.slack, &told.pagerduty));
    eventually("everything is delivered", || async { store.outbox().await.unwrap().owed == 0 })
        .await;
    lifecycle.stop();
    assert_eq!(lifecycle.finished(Duration::from_secs(1)).await, Ending::Clean);
    store
}

async fn check_deliveries(store: &Store, incidents: &[Incident]) {
    for incident in incidents {
        let deliveries = store.deliveries(&incident.id).await.unwrap();
        for receiver in ["slack", "pagerduty"] {
            let opened = deliveries
                .iter()
                .any(|delivery| delivery.receiver == receiver && delivery.change == Change::Opened);
            assert!(opened, "{} was not owed to {receiver}", incident.id);
        }
        for delivery in deliveries {
            let done = [DeliveryState::Delivered, DeliveryState::Superseded];
            assert!(done.contains(&delivery.state), "{delivery:?}");
        }
    }
}

async fn check_slack(store: &Store, slack: &FakeSlack, incidents: &[Incident]) {
    let begun = begun(slack);
    let edits = slack.calls("chat.update");
    for incident in incidents {
        assert!(begun.contains_key(&incident.id.0), "Slack never heard of {}", incident.id);
        let receipt = store.receipt(&incident.id, "slack").await.unwrap().unwrap();
        let last = edits.iter().rfind(|edit| edit["ts"] == receipt.reference.as_str());
        if let Some(edit) = last {
            assert_eq!(incident_of(edit), incident.id.0, "each message shows one incident");
        }
    }
}

/// Without the ends of what was not open: `PagerDuty` drops them. They are sent on purpose, for every key that a
/// process may have triggered without living long enough to write it down.
fn with_effect(actions: &[String]) -> Vec<&str> {
    let mut is_open = false;
    let has_effect = |action: &&str| {
        let was_open = std::mem::replace(&mut is_open, *action != "resolve");
        was_open || *action != "resolve"
    };
    actions.iter().map(String::as_str).filter(has_effect).collect()
}

async fn check_pagerduty(store: &Store, pagerduty: &FakePagerDuty, incidents: &[Incident]) {
    assert_eq!(pagerduty.refused(), Vec::<String>::new());
    let alerts = pagerduty.alerts();
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in pagerduty.events() {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        events.entry(text("dedup_key")).or_default().push(text("event_action"));
    }
    for incident in incidents {
        let of_incident = |key: &str| key.split(':').next() == Some(&incident.fingerprint);
        let heard = |key: &&String| of_incident(key) && !with_effect(&events[*key]).is_empty();
        let keys: Vec<&String> = events.keys().filter(heard).collect();
        assert!(!keys.is_empty(), "PagerDuty never heard of {}", incident.id);
        for key in &keys {
            let actions = with_effect(&events[*key]);
            assert_eq!(actions[0], "trigger", "{key}: {actions:?}");
            let turns = actions.windows(2).filter(|two| two[0] == "resolve" && two[1] == "trigger");
            let turns = u32::try_from(turns.count()).unwrap();
            assert!(turns <= incident.reopened, "{key}: opened after its end: {actions:?}");
        }
        let is_over = keys.iter().all(|key| alerts[*key] == Alert::Resolved);
        let told: Vec<_> = keys.iter().map(|key| (*key, &events[*key])).collect();
        let deliveries = store.deliveries(&incident.id).await.unwrap();
        let ours: Vec<_> = deliveries.iter().filter(|d| d.receiver == "pagerduty").collect();
        assert_eq!(is_over, !incident.is_open(), "{}: {told:?}; {ours:#?}", incident.id);
    }
}

//! Tests of the state machine: stories told as `command → messages`, then properties over random ones.
//! Long because every rule of docs/incidents.md has its story here.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::incidents::{CorrelationSettings, Enrichment, Settings, fingerprint};
use crate::model::{
    Anomaly, Correlation, Direction, Evidence, Finding, IncidentKind, IncidentState, Outcome,
    Recurrence, Severity, Unit,
};
use Severity::{P1, P2, P3, P4};

/// A book, its time, and the messages of the last step.
struct Story {
    book: Book,
    now: UtcTime,
    last: Effects,
}

impl Story {
    fn new() -> Self {
        let route: Route = Arc::new(|incident, _| {
            let mut names = vec!["slack".to_owned()];
            if incident.worst >= P2 {
                names.push("pager".to_owned());
            }
            names
        });
        let rules = Settings::default().rules(&CorrelationSettings::default());
        let now = UtcTime::from_timestamp(1_795_230_900, 0).unwrap();
        let mut book = Book::new(rules, route);
        let last = book.tick(now);
        Self { book, now, last }
    }

    fn wait(&mut self, minutes: i64) -> &mut Self {
        self.now += Duration::minutes(minutes);
        self
    }

    fn apply(&mut self, command: Command) -> String {
        self.last = self.book.apply(command, self.now);
        self.check_effects();
        self.told()
    }

    fn tick(&mut self) -> String {
        self.last = self.book.tick(self.now);
        self.check_effects();
        self.told()
    }

    fn find(&mut self, findings: Vec<Finding>) -> String {
        self.apply(Command::Findings(findings))
    }

    /// An anomaly that begins now, at its severity's value.
    fn fires(&mut self, service: &str, severity: Severity) -> String {
        let finding = self.fired(service, severity);
        self.find(vec![finding])
    }

    fn fired(&self, service: &str, severity: Severity) -> Finding {
        Finding::Fired(Box::new(anomaly(service, "error_rate", severity, self.now)))
    }

    fn recovers(&mut self, service: &str) -> String {
        let series = SeriesKey::new(service, "error_rate");
        let since = self.now;
        self.find(vec![Finding::Recovered { series, since }])
    }

    fn id(&self, service: &str) -> IncidentId {
        let of = |incident: &&Incident| {
            incident.members.first().is_some_and(|member| &*member.series().service == service)
        };
        let newest = self.book.incidents().filter(of).max_by_key(|incident| incident.opened_at);
        newest.expect("an incident that the service opened").id.clone()
    }

    fn get(&self, service: &str) -> &Incident {
        self.book.incident(&self.id(service)).unwrap()
    }

    fn acknowledge(&mut self, service: &str) -> String {
        let id = self.id(service);
        self.apply(Command::Acknowledge { id, actor: "ada".to_owned() })
    }

    fn end(&mut self, service: &str) -> String {
        let id = self.id(service);
        let actor = "ada".to_owned();
        self.apply(Command::Resolve { id, actor, note: None, outcome: None })
    }

    fn silence(&mut self, service: &str, minutes: i64, unless: Option<Severity>) -> SilenceId {
        self.apply(Command::Silence(Silence {
            id: SilenceId(String::new()),
            owner: "ada".to_owned(),
            reason: "deploy".to_owned(),
            service: Some(service.to_owned()),
            signal: None,
            starts_at: self.now,
            ends_at: self.now + Duration::minutes(minutes),
            recurrence: None,
            unless,
            expired_at: None,
        }));
        match &self.last.reply {
            Reply::Silence(silence) => silence.id.clone(),
            other => panic!("no silence: {other:?}"),
        }
    }

    /// The messages of the last step: `payment opened slack+pager, …`.
    fn told(&self) -> String {
        let notice = |notice: &Notice| {
            let incident = self.book.incident(&notice.incident).unwrap();
            let name = incident.members.first().map_or_else(
                || match &incident.kind {
                    IncidentKind::Storm { incidents } => format!("storm of {}", incidents.len()),
                    IncidentKind::Blind { source, .. } => format!("blind {source}"),
                    IncidentKind::Store { .. } => "store".to_owned(),
                    other => format!("{other:?}"),
                },
                |member| member.series().service.to_string(),
            );
            format!("{name} {} {}", notice.change.as_str(), notice.receivers.join("+"))
        };
        self.last.notices.iter().map(notice).collect::<Vec<_>>().join(", ")
    }

    fn timeline(&self, service: &str) -> String {
        let entries = &self.get(service).timeline;
        let line = |entry: &crate::model::TimelineEntry| {
            format!("{} {:?}: {}", entry.at.format("%H:%M"), entry.kind, entry.text)
        };
        entries.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn check_effects(&self) {
        for incident in &self.last.incidents {
            assert_eq!(self.book.incident(&incident.id), Some(incident));
            let json = serde_json::to_string(incident).unwrap();
            assert_eq!(&serde_json::from_str::<Incident>(&json).unwrap(), incident);
        }
        for notice in &self.last.notices {
            let written = self.last.incidents.iter().any(|incident| incident.id == notice.incident);
            assert!(written, "a message without its incident: {notice:?}");
        }
    }
}

fn anomaly(service: &str, signal: &str, severity: Severity, onset: UtcTime) -> Anomaly {
    let current = match severity {
        P1 => 0.8,
        P2 => 0.4,
        P3 => 0.2,
        P4 => 0.1,
    };
    Anomaly {
        series: SeriesKey::new(service, signal),
        unit: Unit::Ratio,
        severity,
        direction: Direction::Up,
        score: 6.0,
        current,
        expected: 0.02,
        spread: 0.01,
        onset,
        window: (onset, onset + Duration::minutes(1)),
        detected_at: onset + Duration::minutes(1),
        evidence: Evidence::default(),
    }
}

#[test]
fn one_outage_is_one_incident_from_start_to_end() {
    let mut story = Story::new();
    let cascade = ["payment", "order", "gateway"].map(|service| story.fired(service, P1)).to_vec();
    assert_eq!(story.find(cascade[1..].to_vec()), "gateway opened slack+pager");
    assert_eq!(story.wait(3).find(cascade.clone()), "gateway updated slack+pager", "payment joins");
    assert_eq!(story.wait(1).find(cascade), "", "nothing new");
    assert_eq!(story.acknowledge("gateway"), "gateway acknowledged slack+pager");
    assert_eq!(story.wait(1).recovers("gateway"), "gateway updated slack+pager");
    assert_eq!(story.recovers("order"), "", "one update a minute");
    assert_eq!(story.wait(1).tick(), "gateway updated slack+pager", "the one held back");
    assert_eq!(story.recovers("payment"), "gateway resolved slack+pager");
    assert_eq!(story.wait(9).tick(), "");
    insta::assert_snapshot!(story.timeline("gateway"), @"
    03:15 Opened: P1: gateway error_rate 80 %, expected 2 %
    03:15 Joined: P1: order error_rate 80 %, expected 2 % (began at the same time)
    03:18 Joined: P1: payment error_rate 80 %, expected 2 % (began at the same time)
    03:19 Acknowledged: ada looks at it
    03:20 Recovered: gateway error_rate is back in line since 03:20 UTC
    03:20 Recovered: order error_rate is back in line since 03:20 UTC
    03:21 Recovered: payment error_rate is back in line since 03:21 UTC
    03:21 Resolved: over: all 3 anomalies are back in line
    ");
    assert_eq!(story.get("gateway").title, "gateway: error_rate 80 % (+2 services)");
}

#[test]
fn unrelated_faults_do_not_chain() {
    let mut story = Story::new();
    assert_eq!(story.fires("a", P2), "a opened slack+pager");
    assert_eq!(story.wait(9).fires("b", P2), "a updated slack+pager");
    assert_eq!(story.wait(9).fires("c", P2), "c opened slack+pager", "18 min after a opened");
    // What belongs to two goes to the nearer one.
    assert_eq!(story.wait(-1).fires("d", P2), "c updated slack+pager");
}

#[test]
fn worse_pages_again_and_better_does_not() {
    let mut story = Story::new();
    assert_eq!(story.fires("a", P3), "a opened slack");
    assert_eq!(story.wait(1).fires("a", P1), "a worsened slack+pager");
    assert_eq!(story.wait(1).fires("a", P3), "a updated slack+pager", "eased");
    assert_eq!(story.get("a").worst, P1);
    assert_eq!(story.wait(1).fires("a", P1), "a updated slack+pager", "as bad as was told before");
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack+pager");
}

#[test]
fn an_acknowledgement_lapses_when_it_gets_worse() {
    let mut story = Story::new();
    story.fires("a", P1);
    story.wait(1).fires("a", P2);
    assert_eq!(story.acknowledge("a"), "a acknowledged slack+pager");
    assert_eq!(story.acknowledge("a"), "", "twice says nothing new");
    assert_eq!(story.wait(1).fires("a", P2), "");
    assert_eq!(story.get("a").state, IncidentState::Acknowledged);
    assert_eq!(story.wait(1).fires("a", P1), "a worsened slack+pager");
    let incident = story.get("a");
    assert_eq!((incident.state, incident.escalations), (IncidentState::Open, 1));
    assert_eq!(incident.acknowledged, None);
    // Acknowledged at its worst, it may ease and come back without a page.
    story.acknowledge("a");
    story.wait(1).fires("a", P3);
    assert_eq!(story.wait(1).fires("a", P1), "a updated slack+pager");
    assert_eq!(story.get("a").escalations, 1);
}

#[test]
fn the_cooldown_runs_from_the_last_sighting() {
    let mut story = Story::new();
    story.fires("a", P1);
    let first = story.id("a");
    story.wait(20).fires("a", P1);
    assert_eq!(story.wait(5).recovers("a"), "a resolved slack+pager");
    assert_eq!(
        story.wait(25).fires("a", P1),
        "a reopened slack+pager",
        "30 min after the sighting"
    );
    assert_eq!((story.id("a"), story.get("a").reopened), (first.clone(), 1));
    story.wait(1).recovers("a");
    assert_eq!(story.wait(31).fires("a", P1), "a opened slack+pager");
    assert_ne!(story.id("a"), first);
}

#[test]
fn p3_and_p4_come_back_without_noise() {
    let mut story = Story::new();
    story.fires("a", P3);
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack");
    assert_eq!(story.wait(1).fires("a", P3), "a updated slack");
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack");
}

#[test]
fn a_former_member_reopens_its_incident() {
    let mut story = Story::new();
    let both = vec![story.fired("a", P1), story.fired("b", P1)];
    story.find(both);
    story.wait(1).recovers("a");
    story.recovers("b");
    assert_eq!(story.wait(20).fires("b", P2), "a reopened slack+pager");
    assert_eq!(story.get("a").severity, P2, "of what fires now");
}

#[test]
fn a_new_signal_of_the_same_family_is_the_same_trouble() {
    let mut story = Story::new();
    let fired = |signal: &str, now| vec![Finding::Fired(Box::new(anomaly("a", signal, P2, now)))];
    let now = story.now;
    story.find(fired("latency_p99", now));
    story.wait(60);
    let now = story.now;
    assert_eq!(story.find(fired("latency_p95", now)), "a updated slack+pager");
}

#[test]
fn ended_by_hand_stays_ended_until_it_is_worse_or_new() {
    let mut story = Story::new();
    story.fires("a", P2);
    assert_eq!(story.wait(1).end("a"), "a resolved slack+pager");
    assert_eq!(story.wait(20).fires("a", P2), "");
    for _ in 0..200 {
        assert_eq!(story.wait(20).fires("a", P2), "", "however long it goes on");
    }
    let series = SeriesKey::new("a", "error_rate");
    assert!(story.book.snapshot(true).active.contains(&series), "and its recovery is waited for");
    assert_eq!(story.wait(1).fires("a", P1), "a reopened slack+pager", "worse");
    story.wait(1).end("a");
    assert_eq!(story.wait(1).recovers("a"), "");
    assert_eq!(story.wait(1).fires("a", P3), "a updated slack", "recovered and fired again");
    story.wait(1).end("a");
    assert_eq!(story.wait(300).fires("a", P3), "a opened slack", "its recovery was missed");
    let id = story.id("a");
    let judge = |outcome, note: Option<&str>| Command::Resolve {
        id: id.clone(),
        actor: "ada".to_owned(),
        note: note.map(str::to_owned),
        outcome,
    };
    assert_eq!(story.apply(judge(Some(Outcome::Noise), Some("a test"))), "a resolved slack");
    assert_eq!(story.get("a").outcome, Some(Outcome::Noise));
    story.apply(judge(None, None));
    assert!(matches!(story.last.reply, Reply::Conflict(_)), "{:?}", story.last.reply);
    story.apply(judge(Some(Outcome::Real), None));
    assert!(matches!(&story.last.reply, Reply::Done(Some(i)) if i.outcome == Some(Outcome::Real)));
}

#[test]
fn what_comes_and_goes_is_announced_only_at_first() {
    let mut story = Story::new();
    assert_eq!(story.fires("a", P1), "a opened slack+pager");
    for _ in 0..4 {
        assert_eq!(story.wait(1).recovers("a"), "a resolved slack+pager");
        assert_eq!(story.wait(1).fires("a", P1), "a reopened slack+pager");
    }
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack+pager");
    assert_eq!(
        story.wait(1).fires("a", P1),
        "a reopened slack+pager",
        "and it is said that it flaps"
    );
    assert!(story.get("a").flapping);
    for _ in 0..10 {
        assert_eq!(story.wait(1).recovers("a"), "a updated slack+pager");
        assert_eq!(story.wait(1).fires("a", P1), "a updated slack+pager");
    }
    assert_eq!(story.wait(1).recovers("a"), "a updated slack+pager");
    assert_eq!(story.wait(29).tick(), "");
    assert_eq!(story.wait(2).tick(), "a resolved slack+pager", "quiet for the cooldown");
    assert!(!story.get("a").flapping);
}

#[test]
fn flapping_also_ends_when_it_stays_open() {
    let mut story = Story::new();
    story.fires("a", P2);
    for _ in 0..5 {
        story.wait(1).recovers("a");
        story.wait(1).fires("a", P2);
    }
    assert!(story.get("a").flapping);
    assert_eq!(story.wait(1).fires("a", P1), "a worsened slack+pager", "worse is always told");
    for _ in 0..60 {
        story.wait(1).fires("a", P1);
    }
    assert!(!story.get("a").flapping);
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack+pager");
}

#[test]
fn a_silence_mutes_and_ends_with_what_was_missed() {
    let mut story = Story::new();
    story.silence("pay*", 60, None);
    assert_eq!(story.fires("payment", P3), "");
    assert_eq!(story.wait(1).fires("payment", P1), "");
    assert_eq!(story.get("payment").state, IncidentState::Open, "detection goes on");
    assert_eq!(story.wait(60).tick(), "payment opened slack+pager");
    insta::assert_snapshot!(story.timeline("payment"), @"
    03:15 Opened: P3: payment error_rate 20 %, expected 2 %
    03:15 Silenced: muted by SIL-20261121-5bc938: deploy (ada)
    03:16 Worsened: P3 to P1
    04:16 Unsilenced: no longer muted
    04:16 Noted: while muted: P3 to P1
    ");
    assert_eq!(story.wait(1).recovers("payment"), "payment resolved slack+pager");
}

#[test]
fn a_silence_hides_no_other_service_and_nothing_it_excepts() {
    let mut story = Story::new();
    story.silence("payment", 60, Some(P1));
    assert_eq!(story.fires("payment", P2), "");
    assert_eq!(
        story.wait(1).fires("order", P3),
        "payment opened slack+pager",
        "order is not muted"
    );
    assert_eq!(story.wait(1).recovers("order"), "", "muted again");
    assert_eq!(story.wait(1).fires("payment", P1), "payment worsened slack+pager", "unless P1");
}

#[test]
fn what_was_announced_is_ended_even_while_muted() {
    let mut story = Story::new();
    story.fires("a", P1);
    story.silence("a", 60, None);
    assert_eq!(story.told(), "");
    assert_eq!(story.wait(1).fires("a", P2), "");
    assert_eq!(story.acknowledge("a"), "a acknowledged slack+pager");
    assert_eq!(story.wait(1).recovers("a"), "a resolved slack+pager");
    assert_eq!(story.wait(1).fires("a", P1), "", "and does not come back while muted");
    assert_eq!(story.wait(1).recovers("a"), "", "so its end is no news");
    assert_eq!(story.wait(90).tick(), "");
}

#[test]
fn a_silence_is_ended_by_hand() {
    let mut story = Story::new();
    let id = story.silence("a", 60, None);
    story.fires("a", P2);
    let expire = Command::ExpireSilence { id, actor: "bob".to_owned() };
    assert_eq!(story.wait(1).apply(expire.clone()), "a opened slack+pager");
    story.apply(expire);
    assert!(matches!(story.last.reply, Reply::Conflict(_)));
    let unknown =
        Command::ExpireSilence { id: SilenceId("no".to_owned()), actor: "bob".to_owned() };
    story.apply(unknown);
    assert_eq!(story.last.reply, Reply::NotFound);
}

#[test]
fn silences_that_cannot_be_are_refused() {
    let mut story = Story::new();
    let silence = |starts: i64, ends: i64, recurrence| Silence {
        id: SilenceId("SIL-x".to_owned()),
        owner: "ada".to_owned(),
        reason: String::new(),
        service: None,
        signal: None,
        starts_at: story.now + Duration::minutes(starts),
        ends_at: story.now + Duration::minutes(ends),
        recurrence,
        unless: None,
        expired_at: None,
    };
    let (backward, past) = (silence(5, 5, None), silence(-9, -5, None));
    let weekly = silence(-9, -5, Some(Recurrence::Weekly));
    for refused in [backward, past] {
        story.apply(Command::Silence(refused));
        assert!(matches!(story.last.reply, Reply::Conflict(_)), "{:?}", story.last.reply);
        assert_eq!(story.last.silences, []);
    }
    story.apply(Command::Silence(weekly.clone()));
    assert_eq!(story.last.silences, [weekly]);
}

#[test]
fn a_blind_source_is_an_incident_of_its_own() {
    let mut story = Story::new();
    let source: crate::model::SourceName = Arc::from("logs");
    let blind = |reason: &str, story: &Story| Finding::Blind {
        source: Arc::from("logs"),
        since: story.now - Duration::minutes(5),
        reason: reason.to_owned(),
    };
    let finding = blind("503", &story);
    assert_eq!(story.find(vec![finding]), "blind logs opened slack+pager");
    let finding = blind("timeout", story.wait(1));
    assert_eq!(story.find(vec![finding]), "", "the same trouble");
    let sighted = Finding::Sighted { source, at: story.now };
    assert_eq!(story.wait(1).find(vec![sighted.clone()]), "blind logs resolved slack+pager");
    assert_eq!(story.wait(1).find(vec![sighted.clone()]), "");
    let finding = blind("503", story.wait(29));
    assert_eq!(story.find(vec![finding.clone()]), "blind logs reopened slack+pager");
    let id = story.last.incidents[0].id.clone();
    let end = Command::Resolve { id, actor: "ada".to_owned(), note: None, outcome: None };
    assert_eq!(story.apply(end), "blind logs resolved slack+pager");
    assert_eq!(story.wait(5).find(vec![finding.clone()]), "", "ended by hand");
    assert_eq!(story.find(vec![sighted]), "");
    assert_eq!(story.wait(5).find(vec![finding]), "blind logs reopened slack+pager");
}

#[test]
fn many_openings_become_one_message() {
    let mut story = Story::new();
    // Faults that began at different times, seen at once: none belongs to another.
    let many = |story: &Story, from: i64, to: i64| -> Vec<Finding> {
        (from..to)
            .map(|n| {
                let onset = story.now - Duration::minutes(30 * n);
                let service = format!("s{n:02}");
                Finding::Fired(Box::new(anomaly(&service, "error_rate", P3, onset)))
            })
            .collect()
    };
    story.book.rules.window = Duration::zero();
    let first = many(&story, 1, 4);
    assert_eq!(story.find(first), "s03 opened slack, s02 opened slack, s01 opened slack");
    let flood = many(&story, 4, 24);
    assert_eq!(story.find(flood), "storm of 20 opened slack");
    let more = many(story.wait(1), 24, 26);
    assert_eq!(story.find(more), "storm of 22 updated slack");
    assert_eq!(story.wait(1).fires("s10", P1), "storm of 22 worsened slack+pager");
    for service in (4..23).map(|n| format!("s{n:02}")).filter(|service| service != "s10") {
        let told = story.recovers(&service);
        assert!(!told.contains("resolved"), "{told}");
    }
    // Nothing was added for ten minutes: what goes on is announced by itself.
    let told = story.wait(10).tick();
    assert_eq!(
        told,
        "storm of 22 resolved slack+pager, s10 opened slack+pager, s25 opened slack, \
         s24 opened slack, s23 opened slack"
    );
    assert_eq!(story.recovers("s10"), "s10 resolved slack+pager");
}

#[test]
fn a_storm_is_over_when_all_in_it_is() {
    let mut story = Story::new();
    let blind = |n: i64, story: &Story| Finding::Blind {
        source: Arc::from(format!("source-{n}")),
        since: story.now,
        reason: "503".to_owned(),
    };
    let all: Vec<_> = (0..12).map(|n| blind(n, &story)).collect();
    assert_eq!(story.find(all), "storm of 12 opened slack+pager");
    let sighted = (0..12)
        .map(|n| Finding::Sighted { source: Arc::from(format!("source-{n}")), at: story.now })
        .collect();
    assert_eq!(story.wait(2).find(sighted), "storm of 12 resolved slack+pager");
}

#[test]
fn what_passed_is_recorded_and_told_to_nobody() {
    let mut story = Story::new();
    let passed = |service: &str, story: &Story| Finding::Passed {
        anomaly: Box::new(anomaly(service, "error_rate", P1, story.now - Duration::hours(2))),
        ended: story.now - Duration::hours(1),
    };
    let both = vec![passed("a", &story), passed("b", &story)];
    assert_eq!(story.find(both.clone()), "");
    assert_eq!(story.book.incidents().count(), 1);
    let incident = story.get("a");
    assert_eq!((incident.state, incident.severity), (IncidentState::Resolved, P1));
    assert_eq!(incident.resolved_at, Some(story.now - Duration::hours(1)));
    assert_eq!(story.find(both), "", "read again after a restart");
    assert_eq!(story.book.incidents().count(), 1);
    assert_eq!(story.fires("a", P1), "a opened slack+pager", "more than a cooldown later");
    assert_eq!(story.book.incidents().count(), 2);
}

#[test]
fn a_new_normal_ends_a_member() {
    let mut story = Story::new();
    story.fires("a", P2);
    let series = SeriesKey::new("a", "error_rate");
    let reason = "steady for 6 h".to_owned();
    let told = story.wait(1).find(vec![Finding::Accepted { series, reason }]);
    assert_eq!(told, "a resolved slack+pager");
    assert!(story.timeline("a").contains("a new normal is accepted: steady for 6 h"));
}

#[test]
fn explanations_update_a_living_incident() {
    let mut story = Story::new();
    story.fires("a", P2);
    let id = story.id("a");
    let enrich = |enrichment| Command::Enrich { id: id.clone(), enrichment };
    let event = crate::model::RelatedEvent {
        at: story.now,
        service: "a".to_owned(),
        level: "error".to_owned(),
        message: "pool exhausted".to_owned(),
        trace_id: None,
    };
    let correlation = Correlation { suspects: vec![], events: vec![event; 80] };
    let told = story.apply(enrich(Enrichment::Correlation(correlation)));
    assert_eq!(told, "a updated slack+pager", "at once");
    assert_eq!(story.get("a").correlation.as_ref().unwrap().events.len(), 50);
    let missing = enrich(Enrichment::Missing("runbooks: no index".to_owned()));
    assert_eq!(story.apply(missing.clone()), "", "held back for a minute");
    assert_eq!(story.apply(missing), "");
    assert_eq!(story.get("a").missing.len(), 1);
    assert_eq!(story.wait(1).tick(), "a updated slack+pager");
    let unknown = IncidentId("no".to_owned());
    story.apply(Command::Enrich { id: unknown, enrichment: Enrichment::Missing(String::new()) });
    assert_eq!(story.last.reply, Reply::NotFound);
}

#[test]
fn rules_that_were_read_again_hold_from_now_on() {
    let mut story = Story::new();
    story.fires("a", P1);
    story.wait(1).recovers("a");
    let settings = Settings { dedup_cooldown_minutes: 2, ..Settings::default() };
    story.apply(Command::Reload(settings.rules(&CorrelationSettings::default())));
    assert_eq!(story.wait(3).fires("a", P1), "a opened slack+pager", "no reopening any more");
}

#[test]
fn a_test_is_opened_and_ended() {
    let mut story = Story::new();
    let told = story.apply(Command::Test { actor: "ada".to_owned() });
    assert_eq!(told, "Test opened slack, Test resolved slack");
    assert!(matches!(&story.last.reply, Reply::Done(Some(i)) if i.kind == IncidentKind::Test));
    assert_eq!(story.last.incidents.len(), 1);
}

#[test]
fn an_incident_whose_numbers_stand_still_is_written_once_a_minute() {
    let mut story = Story::new();
    story.fires("a", P2);
    let mut written = 0;
    for _ in 0..20 {
        story.now += Duration::seconds(30);
        let told = story.fires("a", P2);
        assert_eq!(told, "");
        written += story.last.incidents.len();
    }
    assert_eq!(written, 10);
    let mut moved = anomaly("a", "error_rate", P2, story.now);
    moved.current = 0.55;
    assert_eq!(story.find(vec![Finding::Fired(Box::new(moved))]), "a updated slack+pager");
}

#[test]
fn the_timeline_keeps_its_beginning_and_its_end() {
    let mut story = Story::new();
    story.fires("a", P2);
    for n in 0..500 {
        story.wait(1).fires("a", if n % 2 == 0 { P3 } else { P2 });
    }
    let timeline = &story.get("a").timeline;
    assert_eq!(timeline.len(), 200);
    assert_eq!(timeline[0].kind, TimelineKind::Opened);
    assert_eq!(timeline[199].at, story.now);
}

#[test]
fn a_restart_changes_nothing() {
    let mut story = Story::new();
    story.silence("b", 60, None);
    story.fires("a", P1);
    story.acknowledge("a");
    story.wait(30).fires("b", P1);
    let incidents: Vec<_> = story.book.incidents().cloned().collect();
    let silences: Vec<_> = story.book.silences.values().cloned().collect();
    let (rules, route) = (story.book.rules.clone(), story.book.route.clone());
    story.book = Book::load(rules, route, incidents, silences);
    assert_eq!(story.wait(1).tick(), "");
    let both = vec![story.fired("a", P1), story.fired("b", P1)];
    assert_eq!(story.find(both), "", "nobody is paged again");
    assert_eq!(story.wait(30).tick(), "b opened slack+pager", "the silence went on");
    assert_eq!(story.recovers("a"), "a resolved slack+pager");
}

#[test]
fn ten_thousand_services_are_one_incident_that_fits_a_row() {
    let mut story = Story::new();
    for _ in 0..3 {
        let all = (0..10_000).map(|n| story.fired(&format!("service-{n}"), P2)).collect();
        story.find(all);
        story.wait(1);
    }
    assert_eq!(story.book.incidents().count(), 1);
    let incident = story.book.incidents().next().unwrap();
    assert_eq!(incident.members.len(), 10_000);
    let bytes = serde_json::to_string(incident).unwrap().len();
    assert!(bytes < 10_000 * 1_000, "{bytes}");
}

#[test]
fn the_book_forgets_what_is_long_over() {
    let mut story = Story::new();
    story.fires("a", P1);
    story.recovers("a");
    story.wait(60 * 47).tick();
    assert_eq!(story.book.incidents().count(), 1);
    story.wait(61).tick();
    assert_eq!(story.book.incidents().count(), 0);
    assert!(story.book.homes.is_empty() && story.book.shown.is_empty());
}

/// A random command at a random distance in time.
#[derive(Debug, Clone)]
enum Move {
    Find(Vec<(u8, u8, Option<Severity>)>),
    Blind(bool),
    Acknowledge(usize),
    End(usize),
    Silence(u8, i64, Option<Severity>),
    Test,
    Tick,
}

fn moves() -> impl Strategy<Value = Vec<(i64, Move)>> {
    let severity = prop::sample::select(vec![P1, P2, P3, P4]);
    let finding = (0_u8..4, 0_u8..2, prop::option::weighted(0.6, severity.clone()));
    let one = prop_oneof![
        6 => prop::collection::vec(finding, 0..5).prop_map(Move::Find),
        1 => any::<bool>().prop_map(Move::Blind),
        1 => (0_usize..9).prop_map(Move::Acknowledge),
        1 => (0_usize..9).prop_map(Move::End),
        1 => (0_u8..5, 1_i64..90, prop::option::of(severity))
            .prop_map(|(service, minutes, unless)| Move::Silence(service, minutes, unless)),
        1 => Just(Move::Test),
        2 => Just(Move::Tick),
    ];
    // Mostly seconds to minutes, at times hours, now and then a clock that was set back.
    let gap = prop_oneof![8 => 10_i64..300, 3 => 300_i64..3_600, 1 => 3_600_i64..90_000, 1 => -600_i64..0];
    prop::collection::vec((gap, one), 1..60)
}

/// Plays a game; answers every step's effects.
fn play(story: &mut Story, game: &[(i64, Move)]) -> Vec<Effects> {
    let mut all = Vec::new();
    for (gap, step) in game {
        story.now += Duration::seconds(*gap);
        let ids: Vec<_> = story.book.incidents().map(|incident| incident.id.clone()).collect();
        let pick = |index: &usize| ids.get(index % ids.len().max(1)).cloned();
        let actor = || "ada".to_owned();
        let command = match step {
            Move::Find(findings) => Command::Findings(
                findings
                    .iter()
                    .map(|(service, signal, severity)| finding(story, *service, *signal, *severity))
                    .collect(),
            ),
            Move::Blind(true) => Command::Findings(vec![Finding::Blind {
                source: Arc::from("logs"),
                since: story.now,
                reason: "503".to_owned(),
            }]),
            Move::Blind(false) => Command::Findings(vec![Finding::Sighted {
                source: Arc::from("logs"),
                at: story.now,
            }]),
            Move::Acknowledge(index) => match pick(index) {
                Some(id) => Command::Acknowledge { id, actor: actor() },
                None => continue,
            },
            Move::End(index) => match pick(index) {
                Some(id) => Command::Resolve { id, actor: actor(), note: None, outcome: None },
                None => continue,
            },
            Move::Silence(service, minutes, unless) => Command::Silence(Silence {
                id: SilenceId(String::new()),
                owner: actor(),
                reason: "deploy".to_owned(),
                service: (*service < 4).then(|| format!("s{service}")),
                signal: None,
                starts_at: story.now,
                ends_at: story.now + Duration::minutes(*minutes),
                recurrence: None,
                unless: *unless,
                expired_at: None,
            }),
            Move::Test => Command::Test { actor: actor() },
            Move::Tick => {
                story.tick();
                all.push(story.last.clone());
                continue;
            }
        };
        story.apply(command);
        all.push(story.last.clone());
    }
    all
}

fn finding(story: &Story, service: u8, signal: u8, severity: Option<Severity>) -> Finding {
    let service = format!("s{service}");
    let signal = ["latency_p99", "latency_p95"][usize::from(signal)];
    match severity {
        Some(severity) => Finding::Fired(Box::new(anomaly(&service, signal, severity, story.now))),
        None => Finding::Recovered { series: SeriesKey::new(service, signal), since: story.now },
    }
}

/// What must hold after every step.
fn check_book(book: &Book) {
    let mut fingerprints = BTreeSet::new();
    for incident in book.incidents().filter(|incident| incident.is_open()) {
        assert!(fingerprints.insert(&incident.fingerprint), "open twice: {}", incident.title);
        assert!(incident.worst >= incident.severity);
        if incident.kind == IncidentKind::Anomaly {
            let firing = incident
                .members
                .iter()
                .filter(|member| member.state == MemberState::Firing)
                .map(|member| member.anomaly.severity)
                .max();
            assert_eq!(firing, Some(incident.severity), "{}", incident.id);
            let opener = &incident.members[0].anomaly.series;
            assert_eq!(incident.fingerprint, fingerprint::of_series(opener), "fixed at opening");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn the_book_is_always_in_order(game in moves()) {
        let mut story = Story::new();
        let mut told: BTreeMap<IncidentId, (bool, bool)> = BTreeMap::new();
        let mut revisions: BTreeMap<IncidentId, i64> = BTreeMap::new();
        for step in 0..game.len() {
            for effects in play(&mut story, &game[step..=step]) {
                check_book(&story.book);
                for incident in &effects.incidents {
                    let before = revisions.insert(incident.id.clone(), incident.revision);
                    prop_assert!(before.is_none_or(|before| before < incident.revision));
                }
                for notice in &effects.notices {
                    // (announced ever, announced now)
                    let (ever, now) = told.entry(notice.incident.clone()).or_default();
                    match notice.change {
                        Change::Opened => prop_assert!(!*ever, "opened twice: {notice:?}"),
                        Change::Reopened => prop_assert!(*ever && !*now, "{notice:?}"),
                        Change::Updated => prop_assert!(*ever, "{notice:?}"),
                        _ => prop_assert!(*now, "about an incident nobody knows: {notice:?}"),
                    }
                    (*ever, *now) = (true, notice.change != Change::Resolved);
                    prop_assert!(!notice.receivers.is_empty());
                }
            }
        }
        // Nothing that was announced stays announced after its end, but for what flaps.
        for incident in story.book.incidents().filter(|incident| !incident.is_open()) {
            prop_assert!(incident.notes.announced.is_none() || incident.flapping);
        }
    }

    #[test]
    fn the_same_commands_have_the_same_effects(game in moves()) {
        prop_assert_eq!(play(&mut Story::new(), &game), play(&mut Story::new(), &game));
    }

    #[test]
    fn nothing_reopens_after_its_cooldown(game in moves()) {
        let mut story = Story::new();
        for step in 0..game.len() {
            let before: BTreeMap<_, _> =
                story.book.incidents().map(|i| (i.id.clone(), (i.is_open(), i.last_seen_at))).collect();
            let dismissed: BTreeSet<_> = story
                .book
                .incidents()
                .filter(|incident| incident.notes.dismissed)
                .map(|incident| incident.id.clone())
                .collect();
            play(&mut story, &game[step..=step]);
            for (id, (open, last_seen)) in before {
                let Some(incident) = story.book.incident(&id) else { continue };
                if !open && incident.is_open() && !dismissed.contains(&id) {
                    prop_assert!(story.now - last_seen <= Duration::minutes(30));
                }
            }
        }
    }
}

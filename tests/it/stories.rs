//! Whole stories as the person on call reads them: the state machine's own words, composed and shown on the
//! console. The snapshots are to be read, not only compared.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use chrono::Duration;
use sentinelops::incidents::state::{Book, Effects};
use sentinelops::incidents::{Command, CorrelationSettings, Settings};
use sentinelops::model::{Anomaly, Finding, SeriesKey, Severity, UtcTime};
use sentinelops::notify::{Console, Notifier, Outgoing};

use crate::support::incidents::anomaly;
use crate::support::messages::at;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Story {
    book: Book,
    console: Console,
    screen: Screen,
    now: UtcTime,
}

impl Story {
    fn begin() -> Self {
        let rules = Settings::default().rules(&CorrelationSettings::default());
        let route = Arc::new(|_: &_, _| vec!["console".to_owned()]);
        let screen = Screen::default();
        Self {
            book: Book::new(rules, route),
            console: Console::new(Box::new(screen.clone()), false),
            screen,
            now: at("2026-11-21T03:16:20Z"),
        }
    }

    async fn show(&self, effects: Effects) {
        for notice in effects.notices {
            let incident = self.book.incident(&notice.incident).unwrap().clone();
            let outgoing = Outgoing {
                key: Outgoing::key(&incident.id, notice.change, incident.revision),
                incident,
                change: notice.change,
                receipt: None,
                attempt: 1,
                now: self.now,
                base_url: None,
            };
            self.console.send(&outgoing).await.unwrap();
        }
    }

    async fn tell(&mut self, command: Command) {
        let effects = self.book.apply(command, self.now);
        self.show(effects).await;
    }

    async fn find(&mut self, findings: Vec<Finding>) {
        self.tell(Command::Findings(findings)).await;
    }

    async fn fire(&mut self, service: &str, severity: Severity, onset: UtcTime) {
        let found = Anomaly {
            window: (self.now - Duration::minutes(5), self.now),
            ..anomaly(service, "error_rate", severity, onset)
        };
        self.find(vec![Finding::Fired(Box::new(found))]).await;
    }

    async fn recover(&mut self, services: &[&str]) {
        let since = self.now - Duration::minutes(3);
        let of = |service: &&str| Finding::Recovered {
            series: SeriesKey::new(*service, "error_rate"),
            since,
        };
        self.find(services.iter().map(of).collect()).await;
    }

    fn pass(&mut self, minutes: i64) {
        self.now += Duration::minutes(minutes);
    }

    fn told(&self) -> String {
        String::from_utf8(self.screen.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn an_outage_grows_is_looked_at_gets_worse_ends_and_comes_back() {
    let mut story = Story::begin();
    let onset = at("2026-11-21T03:15:00Z");
    story.fire("payment-service", Severity::P2, onset).await;
    story.pass(1);
    story.fire("order-service", Severity::P3, onset + Duration::minutes(1)).await;
    story.pass(1);
    let id = story.book.incidents().next().unwrap().id.clone();
    story.tell(Command::Acknowledge { id, actor: "ana".to_owned() }).await;
    story.pass(2);
    story.fire("payment-service", Severity::P1, onset).await;
    story.pass(20);
    story.recover(&["payment-service", "order-service"]).await;
    story.pass(5);
    story.fire("payment-service", Severity::P1, story.now - Duration::minutes(1)).await;
    story.pass(15);
    let id = story.book.incidents().next().unwrap().id.clone();
    let end = Command::Resolve {
        id,
        actor: "ana".to_owned(),
        note: Some("pool raised to 50".to_owned()),
        outcome: None,
    };
    story.tell(end).await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test]
async fn blindness_a_full_disk_a_storm_and_a_test() {
    let mut story = Story::begin();
    let since = at("2026-11-21T03:10:00Z");
    let reason = "Elasticsearch answered 401: the API key is not accepted".to_owned();
    story.find(vec![Finding::Blind { source: "logs".into(), since, reason }]).await;
    story.pass(7);
    story.find(vec![Finding::Sighted { source: "logs".into(), at: story.now }]).await;
    let effects = story.book.store_failed("database or disk is full", story.now);
    story.show(effects).await;
    story.pass(3);
    let effects = story.book.store_back(story.now);
    story.show(effects).await;
    story.tell(Command::Test { actor: "ana".to_owned() }).await;
    story.pass(30);
    // Far apart in time of onset, so that each is an incident of its own.
    let fired = (0..14).map(|n| {
        let onset = story.now - Duration::hours(14 - n);
        let service = format!("service-{n:02}");
        Finding::Fired(Box::new(anomaly(&service, "error_rate", Severity::P2, onset)))
    });
    let fired = fired.collect();
    story.find(fired).await;
    insta::assert_snapshot!(story.told());
}

//! What goes wrong in a scene. A scenario alters or drops the documents of normal traffic while it lasts, and
//! adds its own.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::document::{Document, Level};
use super::random::Random;
use super::traffic::{BLOCK_SECONDS, Draft, moment, name_hash, succeeded, tenth, trace_id};
use crate::model::{ServiceName, UtcTime};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Nothing.
    Normal,
    /// The connection pool of payment-service runs dry; order-service and gateway fail half a minute later.
    Cascade,
    /// payment-service answers slower and slower, up to eight times, without failing.
    LatencyCreep,
    /// order-service stops logging altogether.
    ServiceStop,
    /// inventory-service floods the database that it shares with order-service, which slows down.
    NoisyNeighbour,
    /// A new version of auth-service: from one moment on, every eighth request fails and the rest is slower.
    DeployStep,
}

/// Seconds after which a cascade reaches the services upstream.
const UPSTREAM_DELAY_SECONDS: i64 = 30;
/// How many traces tie a cascade's errors together, in each block of five minutes.
const SHARED_TRACES: usize = 15;

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Normal,
        Self::Cascade,
        Self::LatencyCreep,
        Self::ServiceStop,
        Self::NoisyNeighbour,
        Self::DeployStep,
    ];

    /// As the command line writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Cascade => "cascade",
            Self::LatencyCreep => "latency-creep",
            Self::ServiceStop => "service-stop",
            Self::NoisyNeighbour => "noisy-neighbour",
            Self::DeployStep => "deploy-step",
        }
    }

    /// One line for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Normal => "nothing goes wrong",
            Self::Cascade => {
                "the connection pool of payment-service runs dry; order-service and gateway follow"
            }
            Self::LatencyCreep => "payment-service answers slower and slower, without failing",
            Self::ServiceStop => "order-service stops logging",
            Self::NoisyNeighbour => {
                "inventory-service floods the database that it shares with order-service"
            }
            Self::DeployStep => {
                "a new version of auth-service fails every eighth request and is slower"
            }
        }
    }

    /// The services that it hits.
    pub fn hits(self) -> &'static [&'static str] {
        match self {
            Self::Normal => &[],
            Self::Cascade => &["payment-service", "order-service", "gateway"],
            Self::LatencyCreep => &["payment-service"],
            Self::ServiceStop => &["order-service"],
            Self::NoisyNeighbour => &["inventory-service", "order-service"],
            Self::DeployStep => &["auth-service"],
        }
    }
}

/// A scenario's place in time: `[onset, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) scenario: Scenario,
    pub(crate) onset: UtcTime,
    pub(crate) end: UtcTime,
}

impl Episode {
    /// What becomes of a document of normal traffic.
    pub(crate) fn alter(&self, draft: Draft) -> Option<Document> {
        let Draft { mut document, luck } = draft;
        if document.at < self.onset || document.at >= self.end {
            return Some(document);
        }
        match (self.scenario, &*document.service) {
            (Scenario::Cascade, "order-service" | "gateway") => {
                let reached = self.onset + Duration::seconds(UPSTREAM_DELAY_SECONDS);
                (document.at < reached).then_some(document)
            }
            (Scenario::Cascade, "payment-service" | "auth-service" | "inventory-service")
            | (Scenario::ServiceStop, "order-service") => None,
            (Scenario::LatencyCreep, "payment-service") => {
                document.duration_ms =
                    tenth(document.duration_ms * (1.0 + 7.0 * self.part(&document)));
                Some(document)
            }
            (Scenario::NoisyNeighbour, "order-service") => {
                document.duration_ms = tenth(document.duration_ms * 6.0);
                if luck < 0.2 && document.level == Level::Info {
                    document.level = Level::Warning;
                    "slow query: waited for a lock on table stock"
                        .clone_into(&mut document.message);
                }
                Some(document)
            }
            (Scenario::DeployStep, "auth-service") => {
                document.duration_ms = tenth(document.duration_ms * 1.6);
                if luck < 0.125 && document.level == Level::Info {
                    document.level = Level::Error;
                    document.status_code = 500;
                    "token could not be read: unknown claim `scope_v2`"
                        .clone_into(&mut document.message);
                }
                Some(document)
            }
            _ => Some(document),
        }
    }

    /// How much of the episode is over at a document's time, in `0..1`.
    fn part(&self, document: &Document) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an episode lasts hours, not ages")]
        let share = (document.at - self.onset).num_milliseconds() as f64
            / (self.end - self.onset).num_milliseconds().max(1) as f64;
        share
    }

    /// The documents that the scenario adds in `[from, to)`.
    pub(crate) fn added(&self, seed: u64, from: UtcTime, to: UtcTime) -> Vec<Document> {
        let block = Duration::seconds(BLOCK_SECONDS);
        let mut added = Vec::new();
        let mut start = self.onset;
        let mut number = 0;
        while start < self.end && start < to {
            if start + block > from {
                added.extend(self.block(seed, start, number));
            }
            start += block;
            number += 1;
        }
        added.retain(|document| {
            (from..to).contains(&document.at) && (self.onset..self.end).contains(&document.at)
        });
        added
    }

    fn block(&self, seed: u64, start: UtcTime, number: u64) -> Vec<Document> {
        let random = Random::new(&[seed, name_hash(self.scenario.as_str()), number, 1]);
        match self.scenario {
            Scenario::Cascade => cascade(random, start, number),
            Scenario::NoisyNeighbour => flood(random, start),
            Scenario::DeployStep if number == 0 => vec![deployed(random, start)],
            _ => Vec::new(),
        }
    }
}

/// One sort of document in a block of a cascade.
struct Sort {
    service: &'static str,
    count: u32,
    level: Level,
    status_code: u16,
    duration: (f64, f64, f64),
    messages: &'static [&'static str],
}

const CASCADE: [Sort; 4] = [
    Sort {
        service: "payment-service",
        count: 60,
        level: Level::Error,
        status_code: 503,
        duration: (1_800.0, 400.0, 500.0),
        messages: &[
            "no database connection within 1500 ms: pool payments-db is empty (10 of 10 in use)",
            "payment not authorised: connection pool payments-db is exhausted, 43 requests wait",
            "transaction rolled back: its connection to payments-db was not handed out in time",
        ],
    },
    Sort {
        service: "payment-service",
        count: 25,
        level: Level::Warning,
        status_code: 200,
        duration: (2_700.0, 500.0, 500.0),
        messages: &["slow query on payments-db: select … from ledger for update"],
    },
    Sort {
        service: "order-service",
        count: 35,
        level: Level::Error,
        status_code: 504,
        duration: (15_000.0, 3_000.0, 500.0),
        messages: &[
            "order not placed: payment-service did not answer within 15 s",
            "checkout failed: POST http://payment-service/charge answered 503",
        ],
    },
    Sort {
        service: "gateway",
        count: 20,
        level: Level::Error,
        status_code: 504,
        duration: (30_000.0, 2_000.0, 500.0),
        messages: &["POST /checkout: order-service did not answer within 30 s"],
    },
];

/// Five minutes of the outage, and the idle rest of the shop.
fn cascade(mut random: Random, start: UtcTime, number: u64) -> Vec<Document> {
    let traces: Vec<String> = (0..SHARED_TRACES).map(|_| trace_id(&mut random)).collect();
    let mut documents = Vec::with_capacity(200);
    for sort in &CASCADE {
        let service = ServiceName::from(sort.service);
        let upstream = sort.service != "payment-service" && number == 0;
        let delay = if upstream { UPSTREAM_DELAY_SECONDS } else { 0 };
        for _ in 0..sort.count {
            let (mean, deviation, floor) = sort.duration;
            documents.push(Document {
                at: moment(&mut random, start, delay, BLOCK_SECONDS),
                service: service.clone(),
                level: sort.level,
                message: random.pick(sort.messages).copied().unwrap_or_default().to_owned(),
                duration_ms: tenth(random.normal(mean, deviation, floor)),
                trace_id: random.pick(&traces).cloned().unwrap_or_default(),
                status_code: sort.status_code,
            });
        }
    }
    for idle in ["auth-service", "inventory-service"].map(ServiceName::from) {
        for _ in 0..30 {
            let at = moment(&mut random, start, 0, BLOCK_SECONDS);
            documents.push(succeeded(&mut random, &idle, at));
        }
    }
    documents
}

/// Five minutes of a bulk job that nobody announced.
fn flood(mut random: Random, start: UtcTime) -> Vec<Document> {
    let service = ServiceName::from("inventory-service");
    (0..500)
        .map(|_| {
            let at = moment(&mut random, start, 0, BLOCK_SECONDS);
            let mut document = succeeded(&mut random, &service, at);
            "stock import: row written".clone_into(&mut document.message);
            document
        })
        .collect()
}

fn deployed(mut random: Random, at: UtcTime) -> Document {
    let mut document = succeeded(&mut random, &ServiceName::from("auth-service"), at);
    "version 2.14.0 started, 2.13.4 stopped".clone_into(&mut document.message);
    document
}

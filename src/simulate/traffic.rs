//! Normal traffic: what every service logs while nothing is wrong.

use chrono::Duration;

use super::document::{Document, Level};
use super::random::Random;
use crate::model::{ServiceName, UtcTime, bucket_floor};

/// Traffic is drawn in blocks of this many seconds, each from a seed of its own, so that any range can be made
/// without the ranges before it, and pieces of a range add up to the whole.
pub(crate) const BLOCK_SECONDS: i64 = 300;

/// The services that have parts in the scenarios, and the rest of a small shop.
const NAMES: [&str; 12] = [
    "gateway",
    "payment-service",
    "order-service",
    "auth-service",
    "inventory-service",
    "cart-service",
    "search-service",
    "shipping-service",
    "pricing-service",
    "user-service",
    "review-service",
    "notification-service",
];

/// The first `count` services of the simulated shop.
pub(crate) fn services(count: usize) -> Vec<ServiceName> {
    (0..count)
        .map(|index| match NAMES.get(index) {
            Some(name) => (*name).into(),
            None => format!("service-{:03}", index + 1).into(),
        })
        .collect()
}

/// A document, and a number in `0..1` by which a scenario decides its fate.
pub(crate) struct Draft {
    pub(crate) document: Document,
    pub(crate) luck: f64,
}

/// One service's normal traffic in the block that begins at `start`: 40 to 80 requests that go well, and one
/// to three that fail, times `volume`.
pub(crate) fn block(seed: u64, volume: u32, service: &ServiceName, start: UtcTime) -> Vec<Draft> {
    let mut random = Random::new(&[seed, name_hash(service), start.timestamp().unsigned_abs(), 0]);
    let good = (0..volume).map(|_| random.between(40, 80)).sum::<u32>();
    let bad = (0..volume).map(|_| random.between(1, 3)).sum::<u32>();
    let mut drafts = Vec::with_capacity((good + bad) as usize);
    for index in 0..good + bad {
        let at = moment(&mut random, start, 0, BLOCK_SECONDS);
        let document = if index < good {
            succeeded(&mut random, service, at)
        } else {
            failed(&mut random, service, at)
        };
        drafts.push(Draft { document, luck: random.unit() });
    }
    drafts
}

/// Starts of the blocks that overlap `[from, to)`.
pub(crate) fn blocks(from: UtcTime, to: UtcTime) -> impl Iterator<Item = UtcTime> {
    let block = Duration::seconds(BLOCK_SECONDS);
    let first = bucket_floor(from, block);
    (0..).map_while(move |index| {
        let start = first.checked_add_signed(block.checked_mul(index)?)?;
        (start < to).then_some(start)
    })
}

/// A request that went well.
pub(crate) fn succeeded(random: &mut Random, service: &ServiceName, at: UtcTime) -> Document {
    const WHAT: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
    let method = random.pick(&WHAT).copied().unwrap_or("GET");
    let number = random.between(1_000, 9_999);
    Document {
        at,
        service: service.clone(),
        level: Level::Info,
        message: format!("{method} /{}/{number} answered", path(service)),
        duration_ms: tenth(random.normal(120.0, 30.0, 10.0)),
        trace_id: trace_id(random),
        status_code: 200,
    }
}

/// One of the failures that happen every day.
fn failed(random: &mut Random, service: &ServiceName, at: UtcTime) -> Document {
    const HOW: [(u16, &str); 3] = [
        (500, "unhandled error while answering the request"),
        (502, "an upstream closed the connection before it answered"),
        (503, "an upstream was restarting"),
    ];
    let (status_code, message) = random.pick(&HOW).copied().unwrap_or(HOW[0]);
    Document {
        at,
        service: service.clone(),
        level: Level::Error,
        message: message.to_owned(),
        duration_ms: tenth(random.normal(240.0, 100.0, 10.0)),
        trace_id: trace_id(random),
        status_code,
    }
}

/// A moment in `[start + from, start + to)` seconds, in whole milliseconds.
pub(crate) fn moment(random: &mut Random, start: UtcTime, from: i64, to: i64) -> UtcTime {
    let milliseconds = u32::try_from((to - from).max(1) * 1_000 - 1).unwrap_or(u32::MAX);
    start
        + Duration::seconds(from)
        + Duration::milliseconds(i64::from(random.between(0, milliseconds)))
}

pub(crate) fn trace_id(random: &mut Random) -> String {
    format!("{:016x}{:016x}", random.next(), random.next())
}

/// Rounds to tenths of a millisecond, as loggers do.
pub(crate) fn tenth(milliseconds: f64) -> f64 {
    (milliseconds * 10.0).round() / 10.0
}

fn path(service: &str) -> &str {
    service.strip_suffix("-service").unwrap_or("api")
}

/// FNV-1a: a service keeps its own traffic whatever others there are.
pub(crate) fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

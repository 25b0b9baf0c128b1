//! What can go wrong in the simulated shop, seen by detection: each scenario fires on the services that it hits
//! and on nobody else, and what fired recovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use sentinelops::detect::{Engine, Frame, Settings};
use sentinelops::model::{
    Completeness, Finding, Point, QUANTILES, Quantiles, Row, ServiceName, Severity, Signal,
    SourceName, UtcTime, WindowKind, Windows,
};
use sentinelops::simulate::{Level, Scenario, Scene};
use sentinelops::sources::{BoxFuture, Checked, Schedule, Source, Span, Step};

use crate::support::faulty::{Faults, Faulty};

const SOURCE: &str = "logs";

fn at(minutes: i64) -> UtcTime {
    UtcTime::from_timestamp(1_700_000_100 + minutes * 60, 0).unwrap()
}

fn signals() -> Vec<Signal> {
    vec![Signal::error_rate(SOURCE), Signal::latency_p99(SOURCE), Signal::throughput(SOURCE)]
}

/// The scene's documents of `[from, to)` as a source would count them.
fn windows(scene: &Scene, from: i64, to: i64, kind: WindowKind) -> Windows {
    let mut buckets: BTreeMap<(ServiceName, i64), (u32, Vec<f64>)> = BTreeMap::new();
    for document in scene.documents(at(from), at(to)) {
        let minute = (document.at - at(0)).num_seconds().div_euclid(60);
        let (errors, durations) = buckets.entry((document.service, minute)).or_default();
        *errors += u32::from(document.level == Level::Error);
        durations.push(document.duration_ms);
    }
    let rows = buckets.into_iter().map(|((service, minute), (errors, durations))| {
        let count = u32::try_from(durations.len()).unwrap();
        let points = vec![
            ("error_rate".into(), Point::Ratio { part: errors.into(), whole: count.into() }),
            ("latency_p99".into(), Point::Quantiles(quantiles(durations))),
            ("throughput".into(), Point::Count(count.into())),
        ];
        Row { service, start: at(minute), points }
    });
    Windows {
        source: SOURCE.into(),
        from: at(from),
        to: at(to),
        interval: Duration::from_mins(1),
        kind,
        completeness: Completeness::Complete,
        rows: rows.collect(),
        rejected: Vec::new(),
        lag: None,
        read_at: at(to),
        took: Duration::ZERO,
        requests: 1,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank in a list of tens"
)]
fn quantiles(mut durations: Vec<f64>) -> Quantiles {
    durations.sort_by(f64::total_cmp);
    let last = durations.len() - 1;
    let values =
        QUANTILES.map(|q| durations[((q * last as f64).round() as usize).min(last)] as f32);
    Quantiles { count: u32::try_from(durations.len()).unwrap(), values }
}

/// What detection says, minute by minute: an hour of history, then the scene from minute 0 on.
fn play(scene: &Scene, minutes: i64) -> Vec<(i64, Finding)> {
    let frame = Frame { interval: Duration::from_mins(1), lookback_minutes: 5, signals: signals() };
    let mut engine = Engine::new(Settings::default(), frame);
    let mut said = Vec::new();
    let history = engine.apply(&windows(scene, -65, 0, WindowKind::Backfill), at(0));
    assert!(history.is_empty(), "{history:#?}");
    for minute in 0..minutes {
        let closed = windows(scene, minute, minute + 1, WindowKind::Fresh);
        let findings = engine.apply(&closed, at(minute + 1) + chrono::Duration::seconds(10));
        said.extend(findings.into_iter().map(|finding| (minute + 1, finding)));
    }
    said
}

/// When each series fired first, how bad it got, and when it had recovered.
fn story(said: &[(i64, Finding)]) -> String {
    let mut series: BTreeMap<String, (i64, Severity, Option<i64>)> = BTreeMap::new();
    for (minute, finding) in said {
        match finding {
            Finding::Fired(anomaly) => {
                let entry = series.entry(anomaly.series.to_string());
                let (_, worst, over) = entry.or_insert((*minute, anomaly.severity, None));
                *worst = anomaly.severity.max(*worst);
                *over = None;
            }
            Finding::Recovered { series: key, .. } => {
                series.get_mut(&key.to_string()).unwrap().2 = Some(*minute);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut text = String::new();
    for (name, (from, worst, over)) in series {
        let over = over.map_or("goes on".to_owned(), |minute| format!("over at {minute:02}"));
        writeln!(text, "{name:32} {worst}  from {from:02}, {over}").unwrap();
    }
    text
}

/// Seeds under which every scenario must be seen; one by one, since one lucky seed proves little.
const SEEDS: std::ops::Range<u64> = 1..6;

#[test]
fn every_scenario_is_seen_where_it_happens_and_nowhere_else() {
    for seed in SEEDS {
        for scenario in Scenario::ALL {
            let lasts = if scenario == Scenario::Cascade { 5 } else { 15 };
            let scene = Scene::normal(seed, 12).with(scenario, at(5), at(5 + lasts));
            let said = play(&scene, 45);
            let story = story(&said);
            let fired: BTreeSet<&str> = said
                .iter()
                .filter_map(|(_, finding)| match finding {
                    Finding::Fired(anomaly) => Some(&*anomaly.series.service),
                    _ => None,
                })
                .collect();
            // The neighbour itself is only busy: more traffic alone is no outage.
            let expected: BTreeSet<&str> = scenario.hits().iter().copied().collect();
            let quiet: BTreeSet<&str> = match scenario {
                Scenario::NoisyNeighbour => BTreeSet::from(["inventory-service"]),
                _ => BTreeSet::new(),
            };
            assert!(fired.is_subset(&expected), "{scenario:?}, seed {seed}:\n{story}");
            assert!(
                fired.is_superset(&(&expected - &quiet)),
                "{scenario:?}, seed {seed}:\n{story}"
            );
            assert!(!story.contains("goes on"), "{scenario:?}, seed {seed}:\n{story}");
        }
    }
}

/// The promise: from the onset of a P1 to the moment its bucket has been judged, at most 90 s beside the lag that
/// reads wait for, in 95 of 100 cases. What comes after is a commit and a request.
#[test]
fn a_p1_is_found_within_ninety_seconds_of_its_onset() {
    let mut waits: Vec<i64> = Vec::new();
    for seed in SEEDS {
        for second in (0..60).step_by(3) {
            let onset = at(5) + chrono::Duration::seconds(second);
            let scene = Scene::normal(seed, 12).with(Scenario::Cascade, onset, at(10));
            let said = play(&scene, 12);
            let found = said.iter().find_map(|(minute, finding)| match finding {
                Finding::Fired(anomaly) if anomaly.severity == Severity::P1 => Some(at(*minute)),
                _ => None,
            });
            waits.push((found.expect("the outage is a P1") - onset).num_seconds());
        }
    }
    waits.sort_unstable();
    let p95 = waits[waits.len() * 95 / 100];
    assert!(p95 <= 90, "{p95} s; all: {waits:?}");
    println!("time to page: median {} s, 95 % {p95} s, plus the lag", waits[waits.len() / 2]);
}

/// A scene as a source: everything it will ever hold, of which a read answers its span.
#[derive(Debug)]
struct Played {
    name: SourceName,
    all: Windows,
}

impl Source for Played {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn signals(&self) -> Vec<Signal> {
        signals()
    }

    fn read(&mut self, span: Span) -> BoxFuture<'_, Windows> {
        let within = |row: &&Row| span.from <= row.start && row.start < span.to;
        let rows = self.all.rows.iter().filter(within).cloned().collect();
        let (from, to, kind) = (span.from, span.to, span.kind);
        let windows = Windows { from, to, kind, rows, ..self.all.clone() };
        Box::pin(std::future::ready(windows))
    }

    fn check(&mut self) -> BoxFuture<'_, Vec<Checked>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// Reads a source by its schedule for so many minutes, and judges what came.
async fn watch(source: &mut dyn Source, minutes: i64) -> Vec<(i64, Finding)> {
    let frame = Frame { interval: Duration::from_mins(1), lookback_minutes: 5, signals: signals() };
    let mut engine = Engine::new(Settings::default(), frame);
    let history = Duration::from_mins(65);
    let mut schedule = Schedule::new(&sentinelops::sources::Settings::default(), history, None);
    let (mut now, mut said) = (at(0) + chrono::Duration::seconds(10), Vec::new());
    while now < at(minutes) {
        match schedule.next(now) {
            Step::Wait(until) => now = until,
            Step::Read(span) => {
                let windows = source.read(span).await;
                schedule.done(span, &windows.completeness, windows.lag, now);
                let minute = (now - at(0)).num_minutes();
                said.extend(engine.apply(&windows, now).into_iter().map(|found| (minute, found)));
            }
        }
    }
    said
}

/// Three answers in a row are lost, from the first on, then from the second, and so on through the whole story:
/// the outage is found where it is, soon, and it ends.
#[tokio::test]
async fn whichever_reads_fail_the_outage_is_found_and_ends() {
    let scene = Scene::normal(1, 5).with(Scenario::Cascade, at(5), at(10));
    let all = windows(&scene, -70, 25, WindowKind::Fresh);
    let expected: BTreeSet<&str> = Scenario::Cascade.hits().iter().copied().collect();
    for first in 0.. {
        let faults = Faults::nth(first, 3);
        let played = Played { name: SOURCE.into(), all: all.clone() };
        let said = watch(&mut Faulty { inner: played, faults: faults.clone() }, 25).await;
        let mut firing = BTreeSet::new();
        let mut fired: BTreeSet<&str> = BTreeSet::new();
        for (_, finding) in &said {
            match finding {
                Finding::Fired(anomaly) => {
                    fired.insert(&anomaly.series.service);
                    firing.insert(anomaly.series.clone());
                }
                Finding::Recovered { series, .. } => {
                    firing.remove(series);
                }
                other => panic!("faults from call {first}: {other:?}"),
            }
        }
        assert_eq!(fired, expected, "faults from call {first}");
        assert!(firing.is_empty(), "faults from call {first}: {firing:?} never ended");
        let (found, _) = said.first().unwrap();
        assert!(*found <= 9, "faults from call {first}: found in minute {found}");
        if !faults.fired() {
            assert!(first > 40, "only {first} calls were made to fail");
            break;
        }
    }
}

#[test]
fn the_story_of_each_scenario() {
    let mut text = String::new();
    for scenario in Scenario::ALL {
        let lasts = if scenario == Scenario::Cascade { 5 } else { 15 };
        let scene = Scene::normal(1, 12).with(scenario, at(5), at(5 + lasts));
        writeln!(text, "{}, minutes 5 to {}", scenario.as_str(), 5 + lasts).unwrap();
        text.push_str(&story(&play(&scene, 45)));
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

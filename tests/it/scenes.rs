//! What can go wrong in the simulated shop, seen by detection: each scenario fires on the services that it hits
//! and on nobody else, and what fired recovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use sentinelops::detect::{Engine, Frame, Settings};
use sentinelops::model::{
    Completeness, Finding, Point, QUANTILES, Quantiles, Row, ServiceName, Severity, Signal,
    UtcTime, WindowKind, Windows,
};
use sentinelops::simulate::{Level, Scenario, Scene};

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

//! What survives a restart: the same rows again, and the same verdicts afterwards.

use proptest::prelude::*;

use super::*;
use crate::detect::{Kept, Restored};

/// Rows as a store would hold them: the last of each kind and key.
#[derive(Default)]
struct Shelf(BTreeMap<(String, String), Kept>);

impl Shelf {
    fn keep(&mut self, rows: Vec<Kept>) {
        for row in rows {
            let place = (row.kind.clone(), row.key.clone());
            if row.body.is_some() {
                self.0.insert(place, row);
            } else {
                self.0.remove(&place);
            }
        }
    }

    fn rows(&self) -> Vec<Kept> {
        self.0.values().cloned().collect()
    }
}

/// A minute of one service: quiet, in trouble in one way or another, or silent.
fn any_minute() -> impl Strategy<Value = Option<Did>> {
    prop_oneof![
        8 => (8_u32..40).prop_map(|requests| Some(Did::well(requests))),
        2 => (8_u32..40).prop_map(|requests| Some(Did::well(requests).errors(requests / 2))),
        1 => (100_u32..400).prop_map(|requests| Some(Did::well(requests).took(500.0, 3_000.0))),
        1 => Just(None),
    ]
}

/// Stretches of like minutes, so that episodes open and end.
fn any_history() -> impl Strategy<Value = Vec<Option<Did>>> {
    prop::collection::vec((any_minute(), 1_usize..12), 4..16).prop_map(|stretches| {
        let calm = std::iter::repeat_n(Some(Did::well(20)), 62);
        calm.chain(stretches.into_iter().flat_map(|(did, times)| std::iter::repeat_n(did, times)))
            .collect()
    })
}

fn live(world: &mut World, did: Option<Did>) -> Vec<Finding> {
    let other = ("other", Did::well(15));
    match did {
        Some(did) => world.minute(&[("pay", did), other]),
        None => world.minute(&[other]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restart_changes_nothing(history in any_history(), after in any_history()) {
        let mut world = World::new();
        let mut shelf = Shelf::default();
        for did in history {
            live(&mut world, did);
            shelf.keep(world.engine.dirty_memory(minute(world.next)));
        }
        let now = minute(world.next);
        shelf.keep(world.engine.memory(now));
        let rows = shelf.rows();
        let mut restored = World { engine: World::new().engine, next: world.next };
        let found = restored.engine.restore(&rows, now);
        prop_assert_eq!(found.skipped, 0);
        let again: BTreeMap<_, _> =
            restored.engine.memory(now).into_iter().map(|row| ((row.kind, row.key), row.body)).collect();
        for row in rows {
            // Hours that memory no longer reaches are not written again.
            if let Some(body) = again.get(&(row.kind.clone(), row.key.clone())) {
                if row.kind != "series_hour" {
                    prop_assert_eq!(body, &row.body, "{}", row.key);
                }
            } else {
                prop_assert_eq!(row.kind, "series_hour");
            }
        }
        prop_assert_eq!(restored.engine.resume_from("logs"), Some(now));
        for did in after.into_iter().skip(62) {
            // The order of series is that in which they were first seen, here or in the store.
            let sorted = |mut findings: Vec<Finding>| {
                findings.sort_by_cached_key(|finding| format!("{finding:?}"));
                findings
            };
            prop_assert_eq!(sorted(live(&mut restored, did)), sorted(live(&mut world, did)));
        }
    }
}

#[test]
fn after_a_crash_the_gap_is_read_again_and_nothing_is_announced_twice() {
    let mut world = World::new();
    let mut shelf = Shelf::default();
    let calm = [("pay", Did::well(20)), ("other", Did::well(15))];
    let bad = [("pay", Did::well(20).errors(15)), ("other", Did::well(15))];
    for _ in 0..130 {
        world.minute(&calm);
        shelf.keep(world.engine.dirty_memory(minute(world.next)));
    }
    for _ in 0..4 {
        world.minute(&bad);
        shelf.keep(world.engine.dirty_memory(minute(world.next)));
    }
    // Killed; three minutes later it is back.
    let mut engine = World::new().engine;
    let found = engine.restore(&shelf.rows(), minute(world.next + 3));
    assert_eq!((found.skipped, found.episodes), (0, 1));
    let from = engine.resume_from("logs").unwrap_or(minute(world.next - 60));
    assert!(from <= minute(world.next) && from > minute(world.next - 66), "{from}");
    let start = (from - minute(0)).num_minutes();
    let mut world = World { engine, next: start };
    let findings = world.backfill(u32::try_from(137 - start).unwrap(), |n| {
        if start + i64::from(n) < 130 { calm.to_vec() } else { bad.to_vec() }
    });
    assert_eq!(findings, [], "it was announced before, and is not over");
    let found = world.minute(&bad);
    assert_eq!((fired(&found).len(), fired(&found)[0].onset), (1, minute(130)));
    assert!(recovered(&world.minutes(3, &calm), "pay error_rate"));
}

#[test]
fn damaged_rows_are_counted_and_the_rest_is_used() {
    let mut world = World::new();
    world.minutes(70, &[("pay", Did::well(20)), ("other", Did::well(15))]);
    let now = minute(world.next);
    let mut rows = world.engine.memory(now);
    let total = rows.len();
    let hour = rows.iter().position(|row| row.kind == "series_hour").unwrap();
    rows[hour].body = Some("{".to_owned());
    rows.push(Kept { kind: "episode".to_owned(), key: "x".to_owned(), at: now, body: None });
    let mut engine = World::new().engine;
    let found = engine.restore(&rows, now);
    assert_eq!(found.skipped, 2);
    assert!(found.hours >= 5, "{found:?} of {total}");
    // An empty shelf is a first start.
    assert_eq!(World::new().engine.restore(&[], now), Restored::default());
}

#[test]
fn writing_is_spread_over_the_hour_and_why_reads_what_was_written() {
    let mut world = World::new();
    let mut shelf = Shelf::default();
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let mut most = 0;
    for n in 0..200_u32 {
        let did: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Did::well(20).errors(if n == 100 { 9 } else { 0 })))
            .collect();
        world.minute(&did);
        let rows = world.engine.dirty_memory(minute(world.next));
        let hours = rows.iter().filter(|row| row.kind == "series_hour").count();
        assert!(hours <= 64, "minute {n}: {hours}");
        if n > 10 {
            most = most.max(hours);
        }
        shelf.keep(rows);
    }
    assert!(most <= 20, "{most} of 120 series in one minute");
    let series = key("s7", "error_rate");
    let prefix = &world.engine.hour_prefixes(&series)[0];
    let history: Vec<Kept> =
        shelf.rows().into_iter().filter(|row| row.key.starts_with(prefix)).collect();
    assert!(history.len() >= 2);
    let at = minute(100) + TimeDelta::seconds(20);
    let verdict = world.engine.explain(&series, Some(at), &history).unwrap();
    assert_eq!(verdict.window.1, minute(101));
    assert_eq!(verdict.current, Some(9.0 / 100.0));
    assert_eq!(verdict.baseline.len(), 12);
    // Without the stored hours there is nothing to say of it.
    let verdict = world.engine.explain(&series, Some(at), &[]).unwrap();
    assert!(matches!(verdict.outlook, crate::model::Outlook::Unknown { .. }), "{verdict:?}");
}

#[test]
fn an_hour_of_baseline_takes_less_than_four_kilobytes() {
    let mut world = World::new();
    world.minutes(130, &[("pay", Did::well(20)), ("other", Did::well(15))]);
    let (series, bytes) = world.engine.size();
    assert_eq!(series, 6);
    println!("{} bytes a series", bytes / series);
    assert!(bytes / series < 4_000, "{bytes} for {series}");
}

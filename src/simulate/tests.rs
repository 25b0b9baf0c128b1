//! Tests of the generator: the counts it promises, and that ranges add up.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Duration;
use proptest::prelude::*;

use super::*;

fn at(minutes: i64) -> UtcTime {
    UtcTime::from_timestamp(1_700_000_100 + minutes * 60, 0).unwrap()
}

fn counts(documents: &[Document]) -> BTreeMap<(String, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for document in documents {
        let level = match document.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        *counts.entry((document.service.to_string(), level)).or_default() += 1;
    }
    counts
}

#[test]
fn normal_traffic_has_the_promised_counts_in_every_five_minutes() {
    let scene = Scene::normal(1, 14);
    assert_eq!(&*scene.services()[13], "service-014");
    for block in 0..24 {
        let documents = scene.documents(at(block * 5), at(block * 5 + 5));
        let counts = counts(&documents);
        for service in scene.services() {
            let of = |level| counts.get(&(service.to_string(), level)).copied().unwrap_or(0);
            assert!((40..=80).contains(&of("info")), "{service}: {}", of("info"));
            assert!((1..=3).contains(&of("error")), "{service}: {}", of("error"));
        }
    }
}

#[test]
fn a_cascade_has_its_counts_and_ties_its_errors_by_traces() {
    let scene = Scene::normal(1, 5).with(Scenario::Cascade, at(61), at(66));
    let documents = scene.documents(at(61), at(66));
    let order = |service: &str| {
        documents
            .iter()
            .find(|d| &*d.service == service && d.level == Level::Error && d.duration_ms >= 1_000.0)
            .map(|d| (d.at - at(61)).num_seconds())
    };
    assert!(order("payment-service") < Some(30));
    assert!(order("order-service") >= Some(30) && order("gateway") >= Some(30));

    let slow: Vec<_> =
        documents.iter().filter(|d| d.level != Level::Info && d.duration_ms >= 500.0).collect();
    let slow_counts = counts(&slow.iter().map(|d| (*d).clone()).collect::<Vec<_>>());
    assert_eq!(
        slow_counts,
        BTreeMap::from([
            (("gateway".to_owned(), "error"), 20),
            (("order-service".to_owned(), "error"), 35),
            (("payment-service".to_owned(), "error"), 60),
            (("payment-service".to_owned(), "warning"), 25),
        ])
    );
    let traces: BTreeSet<_> = slow.iter().map(|d| &d.trace_id).collect();
    assert_eq!(traces.len(), 15);
    let all = counts(&documents);
    assert_eq!(all[&("auth-service".to_owned(), "info")], 30);
    assert_eq!(all[&("inventory-service".to_owned(), "info")], 30);
}

/// Mean duration and share of errors of one service.
fn shape(documents: &[Document], service: &str) -> (usize, f64, f64) {
    let of: Vec<_> = documents.iter().filter(|d| &*d.service == service).collect();
    let count = u32::try_from(of.len()).unwrap();
    let mean = of.iter().map(|d| d.duration_ms).sum::<f64>() / f64::from(count);
    let errors = of.iter().filter(|d| d.level == Level::Error).count();
    (of.len(), mean, f64::from(u32::try_from(errors).unwrap()) / f64::from(count))
}

#[test]
fn every_scenario_hits_whom_it_names_and_nobody_else() {
    let calm = Scene::normal(3, 6).documents(at(0), at(30));
    for scenario in Scenario::ALL {
        let scene = Scene::normal(3, 6).with(scenario, at(10), at(20));
        let documents = scene.documents(at(0), at(30));
        for service in scene.services() {
            let of = |documents: &[Document]| -> Vec<Document> {
                documents.iter().filter(|d| d.service == *service).cloned().collect()
            };
            let bystander = scenario == Scenario::Cascade
                && ["auth-service", "inventory-service"].contains(&&**service);
            let hit = scenario.hits().contains(&&**service) || bystander;
            assert_eq!(of(&documents) != of(&calm), hit, "{scenario:?} {service}");
        }
        let outside = |d: &&Document| d.at < at(10) || d.at >= at(20);
        assert!(documents.iter().filter(outside).eq(calm.iter().filter(outside)), "{scenario:?}");
    }
}

#[test]
fn scenarios_have_their_shape() {
    let during =
        |scenario| Scene::normal(3, 6).with(scenario, at(10), at(30)).documents(at(10), at(30));
    let calm = during(Scenario::Normal);
    assert_eq!(calm, Scene::normal(3, 6).documents(at(10), at(30)));
    assert_eq!(shape(&during(Scenario::ServiceStop), "order-service").0, 0);

    let slow = during(Scenario::LatencyCreep);
    assert!(shape(&slow, "payment-service").1 > 4.0 * shape(&calm, "payment-service").1);
    let (first, last): (Vec<_>, Vec<_>) = slow.into_iter().partition(|d| d.at < at(20));
    assert!(shape(&last, "payment-service").1 > 1.7 * shape(&first, "payment-service").1);

    let loud = during(Scenario::NoisyNeighbour);
    assert!(shape(&loud, "inventory-service").0 > 6 * shape(&calm, "inventory-service").0);
    assert!(shape(&loud, "order-service").1 > 5.0 * shape(&calm, "order-service").1);

    let deployed = during(Scenario::DeployStep);
    let (_, _, errors) = shape(&deployed, "auth-service");
    assert!((0.08..0.25).contains(&errors), "{errors}");
    assert!(deployed.iter().any(|d| d.message.starts_with("version 2.14.0")));
}

proptest! {
    #[test]
    fn pieces_of_a_range_add_up_to_the_whole(
        seed: u64,
        scenario in proptest::sample::select(Scenario::ALL.to_vec()),
        cuts in proptest::collection::btree_set(-900_i64..2_700, 2..5),
    ) {
        let scene = Scene::normal(seed, 5).with(scenario, at(3), at(17));
        let cuts: Vec<_> = cuts.into_iter().map(|s| at(0) + Duration::seconds(s)).collect();
        let whole = scene.documents(cuts[0], cuts[cuts.len() - 1]);
        let pieces: Vec<_> =
            cuts.windows(2).flat_map(|cut| scene.documents(cut[0], cut[1])).collect();
        prop_assert_eq!(&whole, &pieces);
        prop_assert!(whole.is_sorted_by_key(|document| document.at));
        prop_assert!(whole.iter().all(|d| d.duration_ms.is_finite() && d.duration_ms > 0.0));
    }
}

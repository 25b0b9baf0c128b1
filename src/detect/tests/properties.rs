//! What holds for any input.

use proptest::prelude::*;

use super::*;
use crate::detect::baseline::Baseline;
use crate::detect::series::{Cell, Series, Shape};
use crate::detect::{BetaBinomial, Case, Detector, Robust, Sample, Silence, Tuning, Zscore};
use crate::model::{Measure, Outlook};

fn any_sample() -> impl Strategy<Value = Sample> {
    (0_u32..400, 1_u32..4_000).prop_map(|(part, whole)| {
        let (part, whole) = (f64::from(part.min(whole)), f64::from(whole));
        Sample { value: part / whole, part, whole }
    })
}

proptest! {
    #[test]
    fn a_baseline_never_overlaps_the_judged_window(
        window in 1_i64..12, windows in 3_i64..20, end in 1_000_i64..2_000, marked in 0_i64..300,
    ) {
        let shape = Shape { window, windows, capacity: window * (windows + 1), bucket_minutes: 1.0 };
        let signal = Signal::throughput("logs");
        let mut series = Series::new(key("a", "throughput"), 0, 0, shape, signal.measure);
        for bucket in end - shape.capacity..end {
            series.set(bucket, Cell::Present(Point::Count(1.0)));
        }
        // One bucket stands out by far: it shows in the judged window, or in exactly one of the baseline's.
        let bucket = end - 1 - marked % shape.capacity;
        series.set(bucket, Cell::Present(Point::Count(1e6)));
        let mut baseline = Baseline::scratch();
        series.expect_into(end, shape, signal.measure, &mut baseline);
        let judged = series.sample(end, window, shape, signal.measure, baseline.lens()).unwrap();
        let marked_windows =
            baseline.windows.iter().filter(|sample| sample.value > 1_000.0).count();
        prop_assert_eq!(i64::try_from(baseline.windows.len()).unwrap(), windows);
        prop_assert_eq!(judged.value > 1_000.0, bucket >= end - window);
        prop_assert_eq!(marked_windows, usize::from(bucket < end - window));
    }

    #[test]
    fn more_errors_never_lower_z(
        baseline in prop::collection::vec(any_sample(), 10..13), whole in 1_u32..5_000, at in 0.0_f64..1.0,
    ) {
        let signal = Signal::error_rate("logs");
        let tuning = Tuning::of(&Settings::default(), &signal, "a");
        let score = |part: f64| {
            let whole = f64::from(whole);
            let case = Case {
                signal: &signal,
                tuning: &tuning,
                current: Sample { value: part / whole, part, whole },
                minutes: 5.0,
                baseline: &baseline,
                slow_limit: f64::NAN,
                silence: Silence::default(),
            };
            BetaBinomial.score(&case).unwrap().z
        };
        let part = (f64::from(whole) * at).floor();
        if part < f64::from(whole) {
            prop_assert!(score(part + 1.0) >= score(part) - 1e-6, "{} {}", score(part), score(part + 1.0));
        }
    }

    #[test]
    fn scores_are_finite_whatever_is_compared(
        values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 3..80),
        current in prop::num::f64::ANY,
    ) {
        let samples: Vec<Sample> =
            values.iter().map(|value| Sample { value: *value, part: 0.0, whole: 0.0 }).collect();
        for measure in [Measure::Mean, Measure::Max, Measure::Sum, Measure::Count] {
            let signal = Signal { measure, ..Signal::throughput("logs") };
            let tuning = Tuning::of(&Settings::default(), &signal, "a");
            let case = Case {
                signal: &signal,
                tuning: &tuning,
                current: Sample { value: current, part: 0.0, whole: 0.0 },
                minutes: 5.0,
                baseline: &samples,
                slow_limit: f64::NAN,
                silence: Silence::default(),
            };
            for score in [Zscore.score(&case), Robust.score(&case)].into_iter().flatten() {
                prop_assert!(score.z.abs() <= crate::detect::LARGEST_Z, "{score:?}");
            }
        }
    }

}

proptest! {
    // A world of a few hundred minutes each: fewer cases.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_episode_keeps_its_baseline_and_ends_after_three_good_buckets(
        trouble in 1_u32..200, share in 50_u32..100, calm in 3_u32..10,
    ) {
        let mut world = World::new();
        world.minutes(70, &[("pay", Did::well(20)), ("other", Did::well(15))]);
        let bad = [("pay", Did::well(20).errors(share / 5)), ("other", Did::well(15))];
        let findings = world.minutes(trouble, &bad);
        let found = fired(&findings);
        prop_assert_eq!(found.len(), usize::try_from(trouble).unwrap());
        prop_assert!(found.iter().all(|anomaly| anomaly.severity == Severity::P1));
        prop_assert!(found.windows(2).all(|pair| pair[0].expected.to_bits() == pair[1].expected.to_bits()
            || pair[0].evidence.method != pair[1].evidence.method));
        let good = [("pay", Did::well(20)), ("other", Did::well(15))];
        prop_assert!(!recovered(&world.minutes(2, &good), "pay error_rate"));
        prop_assert!(recovered(&world.minute(&good), "pay error_rate"));
        prop_assert_eq!(world.minutes(calm, &good), vec![]);
    }

    #[test]
    fn nonsense_is_refused_and_nothing_else_is_lost(
        part in prop::num::f64::ANY, whole in prop::num::f64::ANY, value in prop::num::f32::ANY,
        offset in -3_000_000_i64..3_000_000,
    ) {
        let mut world = World::new();
        let good = [("pay", Did::well(20)), ("other", Did::well(15))];
        world.minutes(70, &good);
        let mut rows = World::rows(70, &good);
        rows[0].points = vec![
            ("error_rate".into(), Point::Ratio { part, whole }),
            ("latency_p99".into(), Point::Quantiles(Quantiles { count: 3, values: [value; 7] })),
            ("throughput".into(), Point::Count(f64::INFINITY)),
            ("unheard_of".into(), Point::Count(1.0)),
        ];
        rows.push(Did::well(9).row(&"elsewhere".into(), minute(70 + offset)));
        let windows = World::windows(70, 71, WindowKind::Fresh, rows);
        world.engine.apply(&windows, minute(71));
        prop_assert!(world.engine.refused() >= 2);
        world.next = 71;
        let findings = world.minutes(2, &[("pay", Did::well(20)), ("other", Did::well(15).errors(12))]);
        let worst = worst(&findings);
        prop_assert_eq!(worst.get("other error_rate"), Some(&Severity::P1));
    }

    #[test]
    fn the_clock_may_step(jump in -400_i64..400) {
        let mut world = World::new();
        let good = [("pay", Did::well(20)), ("other", Did::well(15))];
        world.minutes(100, &good);
        world.next += jump;
        let findings = world.minutes(80, &good);
        prop_assert_eq!(&findings, &vec![]);
        let findings = world.minutes(2, &[("pay", Did::well(20).errors(15)), ("other", Did::well(15))]);
        let worst = worst(&findings);
        prop_assert_eq!(worst.get("pay error_rate"), Some(&Severity::P1));
    }
}

#[test]
fn what_fired_is_what_why_says() {
    let mut world = World::new();
    world.minutes(70, &[("pay", Did::well(20)), ("other", Did::well(15))]);
    let findings = world.minute(&[("pay", Did::well(20).errors(15)), ("other", Did::well(15))]);
    let anomaly = fired(&findings)[0].clone();
    let verdict = world.engine.explain(&anomaly.series, None, &[]).unwrap();
    assert_eq!(verdict.outlook, Outlook::Fired { severity: anomaly.severity });
    assert_eq!(verdict.evidence.summary, anomaly.evidence.summary);
    assert_eq!(verdict.window, anomaly.window);
    assert_eq!(verdict.frozen_since, Some(anomaly.onset));
    // Of a service that is still being learnt it says so.
    let mut world = World::new();
    world.minutes(20, &[("pay", Did::well(20)), ("other", Did::well(15))]);
    let verdict = world.engine.explain(&key("pay", "error_rate"), None, &[]).unwrap();
    assert_eq!(
        verdict.outlook,
        Outlook::Learning { reason: "3 windows of history with a value, needs 10".to_owned() }
    );
    assert_eq!(world.engine.explain(&key("nobody", "error_rate"), None, &[]), None);
}

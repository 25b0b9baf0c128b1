//! What other detectors get wrong, one test each; then the rules of this one.

use super::*;
use crate::model::{Direction, Outlook};

const PAY: &str = "pay";
const CALM: Did = Did { requests: 12, errors: 0, from: 80.0, to: 160.0 };

/// An hour and ten minutes of calm, then the caller's trouble.
fn calm_world() -> World {
    let mut world = World::new();
    assert_eq!(world.minutes(70, &[(PAY, CALM), ("other", CALM)]), []);
    world
}

fn with_other(did: Did) -> [(&'static str, Did); 2] {
    [(PAY, did), ("other", CALM)]
}

#[test]
fn sixty_errors_after_a_clean_hour_are_p1_at_once() {
    let mut world = calm_world();
    let findings = world.minute(&with_other(Did::well(17).errors(12)));
    assert_eq!(worst(&findings).get("pay error_rate"), Some(&Severity::P1), "{findings:#?}");
    let found = fired(&findings);
    assert_eq!(found[0].onset, minute(70));
    let mut shown = found[0].clone();
    shown.evidence.recent.drain(..57);
    insta::assert_json_snapshot!(shown);
}

#[test]
fn one_error_in_three_requests_is_nothing() {
    let mut world = World::new();
    let thin = |errors| with_other(Did::well(3).errors(errors));
    assert_eq!(world.minutes(70, &thin(0)), []);
    assert_eq!(world.minute(&thin(1)), []);
    assert_eq!(world.minutes(5, &thin(0)), []);
    // Not even while it goes on for a window: 5 of 15 is a lot, but what it changes is not yet beyond doubt.
    let verdict = world.engine.explain(&key(PAY, "error_rate"), None, &[]).unwrap();
    assert_eq!(verdict.outlook, Outlook::Quiet);
}

#[test]
fn the_last_decimal_of_a_large_service_is_nothing() {
    let mut world = World::new();
    let large = |errors| with_other(Did::well(2_000_000).errors(errors));
    assert_eq!(world.minutes(70, &large(2_000)), []);
    // 0.10 % becomes 0.11 %: by counting alone that is z = 20.
    assert_eq!(world.minutes(20, &large(2_200)), []);
}

#[test]
fn a_constant_baseline_is_no_excuse() {
    let mut world = World::new();
    world.minutes(70, &with_other(Did::well(60)));
    let findings = world.minutes(3, &with_other(Did::well(60).took(900.0, 2_400.0)));
    assert_eq!(worst(&findings).get("pay latency_p99"), Some(&Severity::P1));
}

#[test]
fn an_empty_bucket_of_one_service_hurts_no_one() {
    let mut world = calm_world();
    // One service without durations, one without any documents: the others are judged all the same.
    let mut rows = World::rows(70, &[(PAY, Did::well(17).errors(12)), ("other", CALM)]);
    rows[1].points.remove(1);
    let windows = World::windows(70, 71, WindowKind::Fresh, rows);
    let findings = world.engine.apply(&windows, minute(71));
    assert_eq!(worst(&findings).into_keys().collect::<Vec<_>>(), ["pay error_rate"]);
}

#[test]
fn an_outage_of_hours_stays_open_and_at_its_severity() {
    let mut world = calm_world();
    let bad = with_other(Did::well(12).errors(8));
    world.minutes(5, &bad);
    for minute in 5..360 {
        let findings = world.minute(&bad);
        let found = fired(&findings);
        assert_eq!(found.len(), 1, "minute {minute}: {findings:?}");
        assert_eq!(found[0].severity, Severity::P1, "minute {minute}");
        assert_eq!(found[0].onset, super::minute(70));
    }
    assert!(recovered(&world.minutes(3, &with_other(CALM)), "pay error_rate"));
    // Nor does its end raise anything, although the hours of trouble fill the history.
    assert_eq!(world.minutes(120, &with_other(CALM)), []);
}

#[test]
fn more_than_two_hundred_services_are_seen() {
    let mut world = World::new();
    let names: Vec<String> = (0..600).map(|n| format!("service-{n:03}")).collect();
    let did = |broken: bool| -> Vec<(&str, Did)> {
        names
            .iter()
            .map(|name| {
                let errors = if broken && name == "service-599" { 12 } else { 0 };
                (name.as_str(), CALM.errors(errors))
            })
            .collect()
    };
    assert_eq!(world.minutes(66, &did(false)), []);
    let findings = world.minutes(2, &did(true));
    assert_eq!(worst(&findings).get("service-599 error_rate"), Some(&Severity::P1));
    assert_eq!(world.engine.services().len(), 600);
}

#[test]
fn a_stop_of_traffic_is_seen() {
    let mut world = World::new();
    let busy = with_other(Did::well(40));
    assert_eq!(world.minutes(70, &busy), []);
    let findings = world.minutes(3, &[("other", CALM)]);
    let found = fired(&findings);
    assert_eq!(found[0].series, key(PAY, "throughput"));
    assert_eq!((found[0].severity, found[0].direction), (Severity::P1, Direction::Down));
    assert_eq!(found[0].evidence.method, "absence");
    assert_eq!(found[0].onset, minute(70));
    insta::assert_snapshot!(found[0].evidence.summary, @"no requests for 2 min, while other services were logging; 40/min usual in the 60 min before");
    // The errors and latencies of a service that says nothing are neither good nor bad.
    assert_eq!(worst(&findings).len(), 1);
    assert!(recovered(&world.minutes(3, &busy), "pay throughput"));
    assert_eq!(world.minutes(90, &busy), []);
}

#[test]
fn a_doubling_of_load_is_no_incident() {
    let mut world = calm_world();
    let doubled = Did::well(24).errors(0);
    assert_eq!(world.minutes(60, &with_other(doubled)), []);
}

#[test]
fn a_daily_rhythm_is_no_incident() {
    // Nights at a tenth of the day's traffic, with the same share of errors.
    let mut world = World::new();
    for n in 0..(26 * 60) {
        let phase = std::f64::consts::TAU * f64::from(n) / 1_440.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "20 to 200")]
        let requests = (110.0 - 90.0 * phase.cos()).round() as u32;
        let findings = world.minute(&with_other(Did::well(requests).errors(requests / 40)));
        assert_eq!(findings, [], "minute {n}");
    }
}

#[test]
fn noisy_percentiles_of_few_requests_are_quiet() {
    // Forty requests a window: the 99th percentile is the slowest one, and doubles at random.
    let mut world = World::new();
    for n in 0..600_u32 {
        let slowest = 150.0 + f64::from((n * 7_919) % 97) * 3.0;
        let findings = world.minute(&with_other(Did::well(8).took(80.0, slowest)));
        assert_eq!(findings, [], "minute {n}");
    }
}

#[test]
fn a_deploy_that_slows_everything_down_is_one_episode_not_a_row_of_them() {
    let mut world = World::new();
    world.minutes(70, &with_other(Did::well(60)));
    let findings = world.minutes(180, &with_other(Did::well(60).took(240.0, 480.0)));
    let onsets: std::collections::BTreeSet<_> =
        fired(&findings).iter().map(|anomaly| anomaly.onset).collect();
    assert_eq!(onsets.len(), 1);
    assert!(findings.iter().all(|finding| matches!(finding, Finding::Fired(_))));
}

#[test]
fn a_batch_service_is_never_missed() {
    // Ten minutes of work, ten minutes of silence; and a service that is said to be allowed to stop.
    let mut world = World::with("services: {nightly: {may_stop: true}}");
    for n in 0..400 {
        let mut did = vec![("other", CALM)];
        if n % 20 < 10 {
            did.push(("batch", Did::well(100)));
        }
        if n < 200 {
            did.push(("nightly", Did::well(100)));
        }
        let findings = world.minute(&did);
        let missed = |finding: &Finding| match finding {
            Finding::Fired(anomaly) => anomaly.direction == Direction::Down,
            _ => false,
        };
        assert!(!findings.iter().any(missed), "minute {n}: {findings:#?}");
    }
}

#[test]
fn a_retired_service_is_forgotten() {
    let mut world = World::with("{retire_after_hours: 2, services: {old: {may_stop: true}}}");
    world.minutes(70, &[("old", CALM), ("other", CALM)]);
    assert_eq!(world.engine.series_of("old").len(), 3);
    assert_eq!(world.minutes(125, &[("other", CALM)]), []);
    assert_eq!(world.engine.series_of("old"), []);
    assert_eq!(world.engine.series_of("other").len(), 3);
    // It comes back as a new one.
    assert_eq!(world.minutes(30, &[("old", Did::well(500)), ("other", CALM)]), []);
}

#[test]
fn a_partial_read_changes_nothing() {
    let mut world = calm_world();
    let partial = Completeness::Partial { reason: "2 of 5 shards failed".to_owned() };
    let mut windows =
        World::windows(70, 71, WindowKind::Fresh, World::rows(70, &[(PAY, CALM.errors(12))]));
    windows.completeness = partial;
    assert_eq!(world.engine.apply(&windows, minute(71)), []);
    assert_eq!(world.engine.resume_from("logs"), Some(minute(70)));
    // Read completely later, it counts.
    let rows = World::rows(70, &[(PAY, CALM.errors(12)), ("other", CALM)]);
    let windows = World::windows(70, 71, WindowKind::Fresh, rows);
    assert_eq!(worst(&world.engine.apply(&windows, minute(71))).len(), 1);
}

#[test]
fn a_blind_source_is_announced_once_and_holds_what_is_open() {
    let mut world = calm_world();
    world.minutes(3, &with_other(CALM.errors(9)));
    let findings: Vec<Finding> = (0..20).flat_map(|_| world.dark_minute(failed())).collect();
    let [Finding::Blind { source, since, reason }] = findings.as_slice() else {
        panic!("{findings:?}");
    };
    assert_eq!((&**source, reason.as_str()), ("logs", "429 Too Many Requests"));
    assert_eq!(*since, minute(73) + TimeDelta::seconds(5));
    let findings = world.minute(&with_other(CALM.errors(9)));
    assert!(matches!(findings[0], Finding::Sighted { .. }), "{findings:?}");
    assert_eq!(worst(&findings).get("pay error_rate"), Some(&Severity::P1));
}

#[test]
fn a_source_that_answers_without_any_documents_is_blind_and_no_service_is_missed() {
    let mut world = calm_world();
    let findings = world.minutes(10, &[]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(matches!(&findings[0], Finding::Blind { .. }));
}

#[test]
fn a_limit_serves_a_start_in_the_middle_of_an_outage() {
    let mut world = World::new();
    let bad = with_other(CALM.errors(8));
    assert_eq!(fired(&world.backfill(60, |_| bad.to_vec())).len(), 0);
    let findings = world.minute(&bad);
    let found = fired(&findings);
    assert_eq!((found[0].severity, &*found[0].evidence.method), (Severity::P1, "threshold"));
    insta::assert_snapshot!(found[0].evidence.summary, @"error_rate was 66.7 % over 5 min (40 of 60 requests failed), above the limit of 50 %");
    assert!(recovered(&world.minutes(5, &with_other(CALM)), "pay error_rate"));
}

#[test]
fn a_limit_is_not_broken_by_a_handful_of_requests() {
    // One in ten fails at all times; five of eight in one minute happens by chance once in some days.
    let mut world = World::new();
    for n in 0..70 {
        world.minute(&with_other(Did::well(10).errors(n % 3)));
    }
    assert_eq!(world.minute(&with_other(Did::well(8).errors(5))), []);
    assert_eq!(world.minutes(10, &with_other(Did::well(10).errors(1))), []);
}

#[test]
fn limits_of_the_settings_stand_beside_z() {
    let mut world = World::with(
        "signals: {latency_p99: {limits: [{above: 2000, severity: P2}]}, error_rate: {limits: [{above: 0.2, severity: P2}]}}",
    );
    let slow = with_other(Did::well(40).took(1_000.0, 4_000.0));
    let findings = world.minutes(6, &slow);
    assert_eq!(worst(&findings).get("pay latency_p99"), Some(&Severity::P2));
}

#[test]
fn history_records_what_passed_and_pages_what_goes_on() {
    let mut world = calm_world();
    let findings = world.backfill(40, |n| {
        let pay = if (10..20).contains(&n) { CALM.errors(9) } else { CALM };
        let other = if n >= 30 { CALM.errors(9) } else { CALM };
        vec![(PAY, pay), ("other", other)]
    });
    let [Finding::Passed { anomaly, ended }] = findings.as_slice() else {
        panic!("{findings:#?}");
    };
    assert_eq!(anomaly.series, key(PAY, "error_rate"));
    assert_eq!((anomaly.onset, *ended), (minute(80), minute(90)));
    let findings = world.minute(&[(PAY, CALM), ("other", CALM.errors(9))]);
    let found = fired(&findings);
    assert_eq!((found.len(), found[0].onset), (1, minute(100)), "{findings:#?}");
}

#[test]
fn a_correction_is_judged_again() {
    let mut world = calm_world();
    // Two errors are nothing; ten more came late.
    assert_eq!(world.minute(&with_other(CALM.errors(2))), []);
    let rows = World::rows(70, &with_other(Did::well(22).errors(12)));
    let windows = World::windows(70, 71, WindowKind::Correction, rows);
    let findings = world.engine.apply(&windows, minute(71) + TimeDelta::seconds(30));
    assert_eq!(worst(&findings).get("pay error_rate"), Some(&Severity::P1));
}

#[test]
fn p3_waits_for_three_windows_and_a_single_one_is_kept_for_why() {
    let mut world = World::new();
    let usual = |errors| with_other(Did::well(200).errors(errors));
    for n in 0..70 {
        world.minute(&usual(4 + n % 3));
    }
    // 2.5 % becomes 4.9 %: not twice the least change, so P3 whatever z is.
    let findings = world.minutes(10, &usual(11));
    assert_eq!(findings, []);
    let verdict = world.engine.explain(&key(PAY, "error_rate"), None, &[]).unwrap();
    assert_eq!(verdict.outlook, Outlook::Quiet);
    let gate = verdict.evidence.gates.iter().find(|gate| gate.name == "persistence").unwrap();
    assert!(!gate.passed, "{gate:?}");
    insta::assert_json_snapshot!(verdict.evidence.gates);
    let findings = world.minutes(10, &usual(11));
    assert!(worst(&findings)["pay error_rate"] <= Severity::P3, "{findings:#?}");
}

#[test]
fn a_lasting_level_becomes_the_new_normal() {
    let mut world = World::with("new_normal_hours: 3");
    world.minutes(70, &with_other(Did::well(60)));
    let slow = with_other(Did::well(60).took(300.0, 600.0));
    let findings = world.minutes(200, &slow);
    let accepted: Vec<_> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Accepted { series, reason } => Some((series.to_string(), reason.clone())),
            _ => None,
        })
        .collect();
    insta::assert_debug_snapshot!(accepted);
    assert_eq!(world.minutes(60, &slow), [], "accepted is accepted");
    let slower = with_other(Did::well(60).took(1_200.0, 2_400.0));
    assert!(!world.minutes(3, &slower).is_empty(), "but worse is worse");
}

#[test]
fn more_than_half_of_the_requests_failing_never_becomes_normal() {
    let mut world = World::with("new_normal_hours: 2");
    world.minutes(70, &with_other(CALM));
    let findings = world.minutes(300, &with_other(CALM.errors(10)));
    assert!(findings.iter().all(|finding| matches!(finding, Finding::Fired(_))));
}

#[test]
fn a_person_who_resolves_an_incident_is_taken_at_their_word() {
    let mut world = World::new();
    world.minutes(70, &with_other(Did::well(60)));
    let slow = with_other(Did::well(60).took(300.0, 600.0));
    let active = std::collections::BTreeSet::from([key(PAY, "latency_p99")]);
    assert!(!world.minutes(15, &slow).is_empty());
    world.engine.sync_active(&active, minute(world.next));
    assert!(!world.minutes(5, &slow).is_empty());
    world.engine.sync_active(&std::collections::BTreeSet::new(), minute(world.next));
    assert_eq!(world.minutes(60, &slow), []);
    let slower = with_other(Did::well(60).took(1_200.0, 2_400.0));
    assert!(!world.minutes(3, &slower).is_empty());
}

#[test]
fn an_episode_lost_with_a_crash_still_ends_its_incident() {
    let mut world = World::new();
    let active = std::collections::BTreeSet::from([key(PAY, "error_rate")]);
    world.engine.sync_active(&active, minute(0));
    world.backfill(66, |_| with_other(CALM).to_vec());
    assert!(recovered(&world.minutes(5, &with_other(CALM)), "pay error_rate"));
}

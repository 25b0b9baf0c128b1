//! From a score to P1–P4: z against the ladder, after the gates. Every gate keeps the numbers it looked at.

use crate::model::{Direction, Gate, Severity, Unit};

use super::{Score, Tuning};

/// One condition that a verdict must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Direction,
    Volume,
    Events,
    Change,
    RelativeChange,
    Novelty,
    PagingChange,
}

/// A rule with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Looked {
    pub(super) rule: Rule,
    pub(super) passed: bool,
    pub(super) actual: f64,
    pub(super) needed: f64,
}

/// Every gate that was looked at; no allocation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Gates {
    looked: [Option<Looked>; 8],
    number: usize,
}

impl Gates {
    pub(super) fn look(&mut self, rule: Rule, passed: bool, actual: f64, needed: f64) -> bool {
        if let Some(slot) = self.looked.get_mut(self.number) {
            *slot = Some(Looked { rule, passed, actual, needed });
            self.number += 1;
        }
        passed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Looked> {
        self.looked.iter().flatten()
    }
}

/// A graded score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grade {
    /// The severity, if every gate let it through (persistence is looked at later).
    pub(super) severity: Option<Severity>,
    pub(super) gates: Gates,
}

/// Grades a score.
pub(super) fn grade(score: &Score, tuning: &Tuning) -> Grade {
    let mut gates = Gates::default();
    let up = score.z > 0.0;
    let right_way = match tuning.direction {
        Direction::Up => up,
        Direction::Down => !up,
        Direction::Both => true,
    };
    let limit = score.fixed.is_some();
    let mut passed =
        limit || gates.look(Rule::Direction, right_way, score.z, if up { 1.0 } else { -1.0 });
    let mut pages = true;
    if let Some(gauge) = score.gauge {
        if let Some(volume) = gauge.volume {
            let least = tuning.minimum_volume;
            passed &= gates.look(Rule::Volume, volume >= least, volume, least);
        }
        if let Some(events) = gauge.events
            && up
        {
            let least = tuning.minimum_events;
            passed &= gates.look(Rule::Events, events >= least, events, least);
        }
        if !limit {
            let change = (gauge.observed - gauge.reference).abs();
            passed &=
                gates.look(Rule::Change, change >= gauge.least_change, change, gauge.least_change);
            pages &= change >= 2.0 * gauge.least_change;
            if let Some((rise, fall)) = gauge.factors {
                let needed = if up { rise } else { fall };
                let factor = factor(gauge.observed, gauge.reference);
                let reached = |needed: f64| if up { factor >= needed } else { factor <= needed };
                passed &= gates.look(Rule::RelativeChange, reached(needed), factor, needed);
                pages &= reached(needed * needed);
            }
            if let Some((least, most)) = gauge.range {
                let (edge, left) = if up {
                    (most, gauge.observed > most)
                } else {
                    (least, gauge.observed < least)
                };
                passed &= gates.look(Rule::Novelty, left, gauge.observed, edge);
            }
        }
    }
    let by_z = score.fixed.or_else(|| step(score.z.abs(), tuning));
    let mut severity = by_z.filter(|_| passed);
    if let Some(graded) = severity
        && !limit
    {
        let mut worst = score.worst;
        if up {
            worst = worst.min(tuning.worst_up);
        }
        if graded >= Severity::P2 {
            gates.look(Rule::PagingChange, pages, if pages { 1.0 } else { 0.0 }, 1.0);
            if !pages {
                worst = worst.min(Severity::P3);
            }
        }
        severity = Some(graded.min(worst));
    }
    Grade { severity, gates }
}

/// The ladder alone.
pub(super) fn step(z: f64, tuning: &Tuning) -> Option<Severity> {
    let ladder = tuning.thresholds;
    [
        (Severity::P1, ladder.p1),
        (Severity::P2, ladder.p2),
        (Severity::P3, ladder.p3),
        (Severity::P4, ladder.p4),
    ]
    .into_iter()
    .find_map(|(severity, from)| (z >= from).then_some(severity))
}

/// How many times the reference was observed; a reference of nothing is passed by anything.
fn factor(observed: f64, reference: f64) -> f64 {
    if reference.abs() < f64::MIN_POSITIVE {
        return if observed == 0.0 { 1.0 } else { f64::MAX };
    }
    let factor = observed / reference;
    // A change of sign is a change by more than any factor, in the direction of the observed value.
    if factor < 0.0 { if observed > reference { f64::MAX } else { 0.0 } } else { factor }
}

/// A gate in words. `unit` is that of the compared values.
pub(super) fn describe(looked: &Looked, unit: &Unit) -> Gate {
    let Looked { rule, passed, actual, needed } = *looked;
    let (name, detail) = match rule {
        Rule::Direction => {
            let way = if actual > 0.0 { "a rise" } else { "a fall" };
            let verdict =
                if passed { "is bad for this signal" } else { "is not bad for this signal" };
            ("direction", format!("{way} {verdict}"))
        }
        Rule::Volume => ("minimum_volume", format!("{actual:.0} requests, needs {needed:.0}")),
        Rule::Events => ("minimum_events", format!("{actual:.0} events, needs {needed:.0}")),
        Rule::Change => (
            "minimum_change",
            format!("changed by {}, needs {}", unit.show(actual), unit.show(needed)),
        ),
        Rule::RelativeChange => {
            let actual = if actual < 1e6 { format!("{actual:.2}") } else { "very many".to_owned() };
            ("minimum_relative_change", format!("{actual} times the expected, needs {needed:.2}"))
        }
        Rule::Novelty => (
            "beyond_baseline",
            format!("{}, while the baseline reached {}", unit.show(actual), unit.show(needed)),
        ),
        Rule::PagingChange => (
            "paging_change",
            if passed {
                "changed by twice the least change: may page".to_owned()
            } else {
                "changed by less than twice the least change: P3 at most".to_owned()
            },
        ),
    };
    Gate { name: name.to_owned(), passed, detail }
}

//! Ratios by counting: how unlikely are so many errors among so many requests, if the error probability is what
//! the baseline says of it? Its uncertainty (few requests, Jeffreys' prior) and the windows' own unrest
//! (overdispersion, estimated per series) both widen the answer, so that 1 error in 3 requests says little,
//! and the last decimal of a large service says nothing.

use crate::model::Severity;

use super::{
    Case, Detector, Gauge, LARGEST_Z, Score, baseline_text, beta_binomial_sf, count, minutes_text,
    z_of_tail,
};

/// The beta-binomial tail.
#[derive(Debug, Clone, Copy, Default)]
pub struct BetaBinomial;

/// What a baseline of counts says: the error probability is Beta(share × weight, (1 − share) × weight).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Belief {
    pub(super) share: f64,
    pub(super) weight: f64,
    pub(super) part: f64,
    pub(super) whole: f64,
}

impl Belief {
    /// From the parts and wholes of the baseline's windows; `None` without a request in them.
    pub(super) fn of(case: &Case<'_>) -> Option<Self> {
        let (mut part, mut whole, mut windows) = (0.0, 0.0, 0.0);
        for sample in case.baseline {
            part += sample.part;
            whole += sample.whole;
            windows += 1.0;
        }
        if whole <= 0.0 {
            return None;
        }
        let share = (part + 0.5) / (whole + 1.0);
        let noise = share * (1.0 - share);
        // Pearson's statistic against its degrees of freedom: 1 if the windows scatter as counting does. What
        // it has on top, spread over the requests of a typical window, is the correlation among requests.
        let mut pearson = 0.0;
        for sample in case.baseline {
            if sample.whole > 0.0 {
                let off = sample.part - sample.whole * share;
                pearson += off * off / (sample.whole * noise);
            }
        }
        let typical = whole / windows;
        let excess = (pearson / (windows - 1.0).max(1.0) - 1.0).max(0.0);
        let correlation = (excess / (typical - 1.0).max(1.0)).min(1.0);
        // A probability is not known better than to a share of itself, however many requests were seen.
        let drift = case.tuning.spread_floor * share;
        let floor = drift * drift / noise;
        let weight = (1.0 / (1.0 / (whole + 2.0) + correlation.max(floor)) - 1.0).max(1.0);
        Some(Self { share, weight, part, whole })
    }

    /// The score of `part` of `whole`, and the spread of the share.
    pub(super) fn z(&self, part: f64, whole: f64) -> (f64, f64) {
        let noise = self.share * (1.0 - self.share);
        let spread = (noise * (self.weight + whole) / ((self.weight + 1.0) * whole)).sqrt();
        let z = if part / whole > self.share {
            let (a, b) = (self.share * self.weight, (1.0 - self.share) * self.weight);
            z_of_tail(beta_binomial_sf(part, whole, a, b)).max(0.0)
        } else {
            ((part / whole - self.share) / spread).min(0.0)
        };
        (z.clamp(-LARGEST_Z, LARGEST_Z), spread)
    }
}

impl Detector for BetaBinomial {
    fn name(&self) -> &'static str {
        "beta_binomial"
    }

    fn score(&self, case: &Case<'_>) -> Option<Score> {
        let current = case.current;
        if current.whole <= 0.0 {
            return None;
        }
        let belief = Belief::of(case)?;
        let (z, spread) = belief.z(current.part, current.whole);
        let tuning = case.tuning;
        Some(Score {
            z,
            current: current.part / current.whole,
            expected: belief.share,
            spread,
            gauge: Some(Gauge {
                observed: current.part / current.whole,
                reference: belief.share,
                least_change: tuning.minimum_change,
                factors: Some((tuning.factor_up(), tuning.factor_down())),
                volume: Some(current.whole),
                events: Some(current.part),
                range: None,
            }),
            fixed: None,
            worst: Severity::P1,
        })
    }

    fn tell(&self, case: &Case<'_>, score: &Score) -> (String, Vec<(String, f64)>) {
        let belief = Belief::of(case).unwrap_or(Belief {
            share: score.expected,
            weight: 1.0,
            part: 0.0,
            whole: 0.0,
        });
        let unit = &case.signal.unit;
        let current = case.current;
        let usual = if belief.whole > 0.0 { belief.part / belief.whole } else { belief.share };
        let sentence = format!(
            "{} in the last {} ({}); {:.0} of {:.0} in the {} before ({})",
            of_requests(&case.signal.name, current.part, current.whole),
            minutes_text(case.minutes),
            unit.show(score.current),
            belief.part,
            belief.whole,
            baseline_text(case),
            unit.show(usual),
        );
        let numbers = vec![
            ("errors".to_owned(), current.part),
            ("requests".to_owned(), current.whole),
            ("baseline_errors".to_owned(), belief.part),
            ("baseline_requests".to_owned(), belief.whole),
            ("baseline_weight".to_owned(), belief.weight),
            ("windows".to_owned(), count(case.baseline.len())),
        ];
        (sentence, numbers)
    }
}

/// `60 of 90 requests failed`, or without the words where the ratio is of something else.
pub(super) fn of_requests(signal: &str, part: f64, whole: f64) -> String {
    if signal == "error_rate" {
        format!("{part:.0} of {whole:.0} requests failed")
    } else {
        format!("{signal}: {part:.0} of {whole:.0}")
    }
}

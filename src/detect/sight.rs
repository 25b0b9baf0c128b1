//! Whether a source can be seen at all. Blindness is measured in time that passed while we watched: a step of
//! the clock, or a machine that slept, is not mistaken for it.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use crate::model::UtcTime;

/// The most that one look adds to the time in the dark; looks come every ten seconds.
const LONGEST_STEP: Duration = Duration::seconds(60);

/// What is known of a source's visibility.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sight {
    /// The last good read, or when watching began.
    pub(super) since: Option<UtcTime>,
    /// Milliseconds watched since then.
    dark_millis: i64,
    /// The last look; time while nothing runs is not counted.
    #[serde(skip)]
    looked: Option<UtcTime>,
    /// Why the last read was not good.
    reason: Option<String>,
    /// Whether it was announced.
    pub(super) blind: bool,
}

impl Sight {
    /// Lets time pass.
    pub(super) fn look(&mut self, now: UtcTime) {
        if let Some(before) = self.looked {
            let step = (now - before).clamp(Duration::zero(), LONGEST_STEP);
            self.dark_millis = self.dark_millis.saturating_add(step.num_milliseconds());
        }
        self.looked = Some(now);
        self.since.get_or_insert(now);
    }

    /// A good read; true if it ends an announced blindness.
    pub(super) fn seen(&mut self, now: UtcTime) -> bool {
        self.look(now);
        self.since = Some(now);
        self.dark_millis = 0;
        self.reason = None;
        std::mem::take(&mut self.blind)
    }

    /// A read that was not good.
    pub(super) fn missed(&mut self, now: UtcTime, reason: &str) {
        self.look(now);
        self.reason = Some(reason.to_owned());
    }

    /// Whether it has just been blind for longer than the budget: since when, and why.
    pub(super) fn newly_blind(&mut self, budget: Duration) -> Option<(UtcTime, String)> {
        if self.blind || Duration::milliseconds(self.dark_millis) <= budget {
            return None;
        }
        self.blind = true;
        let reason = self.reason.clone().unwrap_or_else(|| "no read has finished".to_owned());
        Some((self.since?, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn at(seconds: i64) -> UtcTime {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn blind_once_after_the_budget_and_sighted_by_a_good_read() {
        let mut sight = Sight::default();
        assert!(!sight.seen(at(0)));
        let budget = Duration::minutes(5);
        sight.missed(at(30), "429");
        let mut announced = Vec::new();
        for step in 4..60 {
            sight.look(at(step * 10));
            announced.extend(sight.newly_blind(budget).map(|found| (step * 10, found)));
        }
        assert_eq!(announced, [(310, (at(0), "429".to_owned()))]);
        assert!(sight.seen(at(600)));
        assert!(!sight.seen(at(610)));
    }

    #[test]
    fn clock_steps_are_not_darkness() {
        let mut sight = Sight::default();
        sight.seen(at(0));
        for jump in [10, 86_400, -86_400, 20, 3_600] {
            sight.look(at(jump));
        }
        assert_eq!(sight.newly_blind(Duration::minutes(5)), None);
    }
}

//! A source that held nothing and fills again: an index that is loaded after the daemon started, shippers that were
//! down and catch up. What they bring is older than corrections look, so the whole dry span is read again.
//! Pure; what a source itself knows to have changed needs none of this.

use chrono::TimeDelta;

use crate::model::{UtcTime, WindowKind, Windows};

/// Shippers are given so long to bring everything, counted from the first documents.
const CATCH_UP: TimeDelta = TimeDelta::minutes(5);

/// Remembers since when a source has held nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Drought {
    /// The first bucket of the dry span, while it lasts.
    since: Option<UtcTime>,
    /// After its end: the span, and until when it is read again.
    over: Option<(UtcTime, UtcTime, UtcTime)>,
}

impl Drought {
    /// Takes note of what was read. Only complete reads tell that there was nothing.
    pub(super) fn note(&mut self, windows: &Windows, now: UtcTime) {
        if !windows.completeness.is_complete() {
            return;
        }
        if !windows.rows.is_empty() {
            if let Some(since) = self.since.take() {
                self.over = Some((since, windows.to, now + CATCH_UP));
            }
        } else if windows.kind != WindowKind::Correction {
            self.since.get_or_insert(windows.from);
        }
    }

    /// What must be read again at `now`: from, to.
    pub(super) fn changed(&mut self, now: UtcTime) -> Option<(UtcTime, UtcTime)> {
        self.over = self.over.filter(|(_, _, until)| now < *until);
        self.over.map(|(from, to, _)| (from, to))
    }
}

/// The span that covers both.
pub(super) fn both(
    one: Option<(UtcTime, UtcTime)>,
    other: Option<(UtcTime, UtcTime)>,
) -> Option<(UtcTime, UtcTime)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Completeness, Point, Row};

    fn at(minute: i64) -> UtcTime {
        UtcTime::from_timestamp(1_700_000_040 + minute * 60, 0).unwrap()
    }

    fn read(from: i64, to: i64, kind: WindowKind, filled: bool) -> Windows {
        let points = vec![("throughput".into(), Point::Count(1.0))];
        let row = Row { service: "a".into(), start: at(from), points };
        Windows {
            source: "logs".into(),
            from: at(from),
            to: at(to),
            interval: Duration::from_mins(1),
            kind,
            completeness: Completeness::Complete,
            rows: if filled { vec![row] } else { Vec::new() },
            rejected: Vec::new(),
            lag: None,
            read_at: at(to),
            took: Duration::ZERO,
            requests: 1,
        }
    }

    #[test]
    fn a_dry_span_is_read_again_for_a_while_once_something_comes() {
        let mut drought = Drought::default();
        drought.note(&read(-65, 0, WindowKind::Backfill, false), at(0));
        drought.note(&read(0, 1, WindowKind::Fresh, false), at(1));
        assert_eq!(drought.changed(at(1)), None);
        drought.note(&read(0, 1, WindowKind::Correction, true), at(1));
        assert_eq!(drought.changed(at(2)), Some((at(-65), at(1))));
        drought.note(&read(1, 2, WindowKind::Fresh, true), at(2));
        assert_eq!(drought.changed(at(5)), Some((at(-65), at(1))));
        assert_eq!(drought.changed(at(6)), None);
        assert_eq!(drought.changed(at(3)), None);
    }

    #[test]
    fn a_failed_read_is_no_drought_and_neither_is_a_correction_of_nothing() {
        let mut drought = Drought::default();
        let mut partial = read(0, 1, WindowKind::Fresh, false);
        partial.completeness = Completeness::Partial { reason: "shards".to_owned() };
        drought.note(&partial, at(1));
        drought.note(&read(0, 1, WindowKind::Correction, false), at(1));
        drought.note(&read(1, 2, WindowKind::Fresh, true), at(2));
        assert_eq!(drought.changed(at(2)), None);
    }

    #[test]
    fn two_spans_become_one() {
        let (a, b) = ((at(1), at(3)), (at(2), at(5)));
        assert_eq!(both(Some(a), Some(b)), Some((at(1), at(5))));
        assert_eq!(both(Some(a), None), Some(a));
        assert_eq!(both(None, None), None);
    }
}

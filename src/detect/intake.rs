//! How the rows of a read become kept buckets: in order, absent or unread where there is no row, corrected
//! where there is one already; and how what is over is forgotten.

use crate::model::{Finding, Point, Row, UtcTime, WindowKind, Windows};

use super::engine::Engine;
use super::series::{Cell, Run, Series};

impl Engine {
    /// The rows that can be used, by bucket; the others are counted.
    pub(super) fn sorted<'a>(&mut self, windows: &'a Windows) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = windows
            .rows
            .iter()
            .filter(|row| row.start >= windows.from && row.start < windows.to)
            .collect();
        self.refused += (windows.rows.len() - rows.len()) as u64;
        rows.sort_by_key(|row| row.start);
        rows
    }

    pub(super) fn take_in(
        &mut self,
        source: usize,
        windows: &Windows,
        rows: &[&Row],
        (from, to): (i64, i64),
        now: UtcTime,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let loud = windows.kind != WindowKind::Backfill;
        let (mut replaced, mut judged) = (false, false);
        let mut rest = rows;
        for bucket in from..to {
            let end = self.time(bucket + 1);
            let here = rest.partition_point(|row| row.start < end);
            let (rows, later) = rest.split_at(here);
            rest = later;
            let head = self.sources.get(source).and_then(|known| known.head);
            if head.is_some_and(|head| bucket < head) {
                if head.is_some_and(|head| bucket >= head - self.shape.capacity) {
                    self.fill(source, bucket, rows);
                    replaced = true;
                }
                continue;
            }
            self.advance(source, bucket);
            self.fill(source, bucket, rows);
            if self.sources.get(source).is_some_and(|known| bucket + 1 > known.judged) {
                self.judge(source, bucket + 1, loud, now, &mut findings);
                judged = true;
            }
        }
        if replaced {
            self.merge_again(source, from, to);
            let head = self.sources.get(source).and_then(|known| known.head);
            if let Some(head) = head
                && loud
                && !judged
            {
                self.judge(source, head, loud, now, &mut findings);
            }
        }
        self.retire(source, &mut findings);
        findings
    }

    /// Makes a bucket the newest; skipped ones are unread.
    fn advance(&mut self, source: usize, bucket: i64) {
        let shape = self.shape;
        let Some(known) = self.sources.get_mut(source) else { return };
        let first = known.head.map_or(bucket, |head| head.max(bucket - shape.capacity));
        for series in &mut known.series {
            for skipped in first..bucket {
                series.set(skipped, Cell::Unread);
            }
            if let Some(signal) = known.signals.get(series.signal) {
                series.merge(first + 1, bucket, shape, signal.measure);
            }
        }
        known.head = Some(bucket + 1);
    }

    /// Writes a bucket of every series. Who is not there is absent if others are, and unknown otherwise.
    fn fill(&mut self, source: usize, bucket: i64, rows: &[&Row]) {
        let shape = self.shape;
        let Some(known) = self.sources.get_mut(source) else { return };
        let missing = if rows.is_empty() { Cell::Unread } else { Cell::Absent };
        for series in &mut known.series {
            series.set(bucket, missing);
        }
        for row in rows {
            for (signal, point) in &row.points {
                if !sound(point) {
                    self.refused += 1;
                    continue;
                }
                match self.slot(source, &row.service, signal) {
                    Some(index) => {
                        if let Some(series) = self
                            .sources
                            .get_mut(source)
                            .and_then(|known| known.series.get_mut(index))
                        {
                            series.set(bucket, Cell::Present(*point));
                        }
                    }
                    None => self.refused += 1,
                }
            }
        }
        let Some(known) = self.sources.get_mut(source) else { return };
        for series in &mut known.series {
            if let Some(signal) = known.signals.get(series.signal) {
                series.merge(bucket + 1, bucket + 1, shape, signal.measure);
            }
        }
    }

    /// After buckets were replaced: the merged values of every window that they are part of.
    fn merge_again(&mut self, source: usize, from: i64, to: i64) {
        let shape = self.shape;
        let Some(known) = self.sources.get_mut(source) else { return };
        let Some(head) = known.head else { return };
        let first = from.max(head - shape.capacity) + 1;
        let last = (to + shape.window).min(head);
        for series in &mut known.series {
            if let Some(signal) = known.signals.get(series.signal) {
                series.merge(first, last, shape, signal.measure);
            }
        }
    }

    /// The clock was set back: what is known from the future is forgotten, episodes stay.
    pub(super) fn rewind(&mut self, source: usize, to: i64) {
        let shape = self.shape;
        let Some(known) = self.sources.get_mut(source) else { return };
        let Some(head) = known.head else { return };
        for series in &mut known.series {
            for bucket in to.max(head - shape.capacity)..head {
                series.set(bucket, Cell::Unread);
            }
            // Slots of buckets before the ring's old start hold nothing of theirs.
            for bucket in to - shape.capacity..(head - shape.capacity).min(to) {
                series.set(bucket, Cell::Unread);
            }
            series.seen = series.seen.min(to);
            series.known_to = series.known_to.min(to);
            series.run = Run::default();
        }
        known.head = Some(to);
        known.judged = known.judged.min(to);
    }

    /// Forgets series without a document for so long that they are taken as retired.
    fn retire(&mut self, source: usize, findings: &mut Vec<Finding>) {
        let hours = i64::from(self.settings.retire_after_hours);
        let span = (hours * 3_600 / self.interval_seconds).max(self.shape.capacity);
        let Some(known) = self.sources.get_mut(source) else { return };
        let Some(head) = known.head else { return };
        for series in &mut known.series {
            // Known by name only until now, from an open incident.
            if series.added == i64::MAX {
                series.added = head;
            }
        }
        let gone = |series: &Series| series.seen.max(series.added) < head - span;
        if !known.series.iter().any(gone) {
            return;
        }
        for series in known.series.iter().filter(|series| gone(series)) {
            let announced = series.episode.as_ref().is_some_and(|episode| episode.announced);
            if announced || series.orphan.is_some() {
                findings.push(Finding::Accepted {
                    series: series.key.clone(),
                    reason: format!("no document for {hours} h: taken as retired"),
                });
            }
            self.dropped.push(("episode", super::memory::row_key(&known.name, &series.key)));
        }
        known.series.retain(|series| !gone(series));
        known.services.clear();
        let width = known.signals.len();
        for (index, series) in known.series.iter().enumerate() {
            let slots = known
                .services
                .entry(series.key.service.clone())
                .or_insert_with(|| vec![None; width]);
            if let Some(slot) = slots.get_mut(series.signal) {
                *slot = Some(index);
            }
        }
    }
}

/// Whether the numbers of a bucket can be what they say.
fn sound(point: &Point) -> bool {
    let natural = |value: f64| value.is_finite() && value >= 0.0;
    match *point {
        Point::Count(number) => number.is_finite(),
        Point::Ratio { part, whole } => natural(part) && natural(whole) && part <= whole,
        Point::Mean { sum, .. } => sum.is_finite(),
        Point::Max(value) => value.is_finite(),
        Point::Quantiles(found) => {
            found.values.iter().all(|value| value.is_finite())
                && found.values.windows(2).all(|pair| matches!(pair, [low, high] if low <= high))
        }
    }
}

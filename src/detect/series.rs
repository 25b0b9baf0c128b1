//! The kept buckets of one series: a ring of the newest closed buckets, and windows cut out of it.
//! Buckets are numbered by their start divided by the interval; a window is named by the number after its last.

use serde::{Deserialize, Serialize};

use crate::model::{Measure, Point, Quantiles, SeriesKey, Severity};

use super::Sample;
use super::baseline::{Baseline, Lens};
use super::episode::{Carried, Episode};

/// What is known of one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Cell {
    /// Nothing: not read, or read while its whole source was empty.
    #[default]
    Unread,
    /// Read completely, others were there, this series was not.
    Absent,
    /// What was there.
    Present(Point),
}

/// The lengths that all series of an engine share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// Buckets in a judged window.
    pub(super) window: i64,
    /// Windows in a baseline.
    pub(super) windows: i64,
    /// Buckets kept.
    pub(super) capacity: i64,
    /// Minutes in a bucket.
    pub(super) bucket_minutes: f64,
}

/// Judgements out of line in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// How many.
    pub(super) length: u32,
    /// How many of the newest were graded P2 or worse.
    pub(super) paging: u32,
    /// The window that the first was about, by its end, and the last.
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Run {
    /// Counts a judgement; told of the same window again (a correction), it does not count twice.
    pub(super) fn count(&mut self, end: i64, severity: Severity) {
        let paging = severity >= Severity::P2;
        if self.length == 0 {
            *self = Self { length: 1, paging: u32::from(paging), start: end, end };
        } else if self.end != end {
            self.length += 1;
            self.paging = if paging { self.paging + 1 } else { 0 };
            self.end = end;
        }
    }

    /// The judgements in a row that speak for a severity.
    pub(super) fn lasted(&self, severity: Severity) -> u32 {
        if severity >= Severity::P2 { self.paging } else { self.length }
    }
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) key: SeriesKey,
    /// Index of its signal among those of its source.
    pub(super) signal: usize,
    /// Index of its tuning.
    pub(super) tuning: usize,
    cells: Box<[Cell]>,
    /// Values of the windows that end at each bucket; of distributions only, whose merging is dear.
    merged: Box<[f64]>,
    /// The newest bucket in which it was present.
    pub(super) seen: i64,
    /// Judgements out of line in a row that are not yet an episode.
    pub(super) run: Run,
    /// What is going on.
    pub(super) episode: Option<Box<Episode>>,
    /// What the last episode leaves behind until clean history has grown again.
    pub(super) carried: Option<Box<Carried>>,
    /// An incident holds this series, but no episode is known (it was lost with a crash): quiet judgements
    /// so far.
    pub(super) orphan: Option<u32>,
    /// What the store keeps of its episode is out of date.
    pub(super) touched: bool,
    /// Buckets before this one are stored.
    pub(super) stored: i64,
    /// The number after the newest bucket that is not unread.
    pub(super) known_to: i64,
    /// The newest bucket when it was first seen.
    pub(super) added: i64,
}

impl Series {
    pub(super) fn new(
        key: SeriesKey,
        signal: usize,
        tuning: usize,
        shape: Shape,
        measure: Measure,
    ) -> Self {
        let capacity = usize::try_from(shape.capacity).unwrap_or(0);
        let merged = if matches!(measure, Measure::Quantile(_)) { capacity } else { 0 };
        Self {
            key,
            signal,
            tuning,
            cells: vec![Cell::Unread; capacity].into_boxed_slice(),
            merged: vec![f64::NAN; merged].into_boxed_slice(),
            seen: i64::MIN,
            run: Run::default(),
            episode: None,
            carried: None,
            orphan: None,
            touched: false,
            stored: i64::MIN,
            known_to: i64::MIN,
            added: i64::MIN,
        }
    }

    /// The bytes that this series takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.cells)
            + size_of_val(&*self.merged)
            + self.episode.as_ref().map_or(0, |episode| episode.bytes())
            + self.carried.as_ref().map_or(0, |carried| carried.bytes())
    }

    fn slot(&self, bucket: i64) -> usize {
        // The capacity is above zero and a remainder below it fits.
        let capacity = i64::try_from(self.cells.len()).unwrap_or(1).max(1);
        usize::try_from(bucket.rem_euclid(capacity)).unwrap_or(0)
    }

    /// A kept bucket; the caller asks only for buckets within the capacity before the head.
    pub(super) fn cell(&self, bucket: i64) -> Cell {
        self.cells.get(self.slot(bucket)).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, bucket: i64, cell: Cell) {
        let slot = self.slot(bucket);
        if let Some(kept) = self.cells.get_mut(slot) {
            *kept = cell;
        }
        if cell != Cell::Unread {
            self.known_to = self.known_to.max(bucket + 1);
        }
        if let Cell::Present(_) = cell {
            self.seen = self.seen.max(bucket);
        }
    }

    /// Fits the ring to new lengths; the newest buckets before `head` stay.
    pub(super) fn resize(&mut self, head: i64, old: Shape, new: Shape, measure: Measure) {
        let mut other = Self::new(self.key.clone(), self.signal, self.tuning, new, measure);
        for bucket in head - old.capacity.min(new.capacity)..head {
            other.set(bucket, self.cell(bucket));
        }
        self.cells = other.cells;
        self.merged = other.merged;
        self.merge(head - new.capacity + 1, head, new, measure);
    }

    /// Recomputes the merged values of every window that ends in `[from, to]` (ends, inclusive).
    pub(super) fn merge(&mut self, from: i64, to: i64, shape: Shape, measure: Measure) {
        if self.merged.is_empty() {
            return;
        }
        for end in from..=to {
            let value = self.cut(end, shape.window, shape, measure).unwrap_or(f64::NAN);
            let slot = self.slot(end - 1);
            if let Some(kept) = self.merged.get_mut(slot) {
                *kept = value;
            }
        }
    }

    /// The merged quantile of a window.
    fn cut(&self, end: i64, length: i64, shape: Shape, measure: Measure) -> Option<f64> {
        let Measure::Quantile(q) = measure else { return None };
        let mut few = [Quantiles { count: 0, values: [0.0; 7] }; 16];
        let mut number = 0;
        let mut many = Vec::new();
        for bucket in end - length.min(shape.capacity)..end {
            if let Cell::Present(Point::Quantiles(found)) = self.cell(bucket)
                && !self.tainted(bucket)
            {
                match few.get_mut(number) {
                    Some(slot) => *slot = found,
                    None => many.push(found),
                }
                number += 1;
            }
        }
        if many.is_empty() {
            return Quantiles::merged_quantile(few.get(..number)?, q);
        }
        many.extend_from_slice(&few);
        Quantiles::merged_quantile(&many, q)
    }

    /// Whether a bucket belongs to trouble and says nothing of what is normal: that of the last episode. The
    /// buckets of an open episode are judged, and its baseline is frozen anyway.
    pub(super) fn tainted(&self, bucket: i64) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.holds(bucket))
    }

    /// The window that ends before `end`; `None` if less than half of its buckets are known. Buckets of the
    /// last episode are left out.
    pub(super) fn sample(
        &self,
        end: i64,
        length: i64,
        shape: Shape,
        measure: Measure,
        lens: Lens,
    ) -> Option<Sample> {
        let (mut known, mut present) = (0_i64, 0_i64);
        let (mut part, mut whole, mut most) = (0.0, 0.0, f64::NEG_INFINITY);
        for bucket in end - length..end {
            if self.tainted(bucket) {
                continue;
            }
            match self.cell(bucket) {
                Cell::Unread => continue,
                Cell::Absent if measure == Measure::Count && !lens.absent_is_zero => continue,
                Cell::Absent => {}
                Cell::Present(point) => {
                    present += 1;
                    match point {
                        Point::Count(number) => whole += number,
                        Point::Ratio { part: more, whole: requests } => {
                            part += more;
                            whole += requests;
                        }
                        Point::Mean { sum, count } => {
                            part += sum;
                            whole += f64::from(count);
                        }
                        Point::Max(value) => most = most.max(value),
                        Point::Quantiles(found) => {
                            let number = f64::from(found.count);
                            whole += number;
                            if lens.slow_limit.is_finite() {
                                part += number * (1.0 - found.cdf(lens.slow_limit));
                            }
                        }
                    }
                }
            }
            known += 1;
        }
        if 2 * known < length || known == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "bucket counts are small")]
        let (known, length_f) = (known as f64, length as f64);
        let some = present > 0;
        let value = match measure {
            Measure::Count => whole / (known * shape.bucket_minutes),
            Measure::Sum if some => whole * length_f / known,
            Measure::Ratio | Measure::Mean if whole > 0.0 => part / whole,
            Measure::Max if some => most,
            Measure::Quantile(_) if whole > 0.0 => self.quantile(end, length, shape, measure),
            _ => f64::NAN,
        };
        let (part, whole) = match measure {
            Measure::Ratio | Measure::Quantile(_) => (part, whole),
            Measure::Count | Measure::Sum => (0.0, whole),
            Measure::Mean | Measure::Max => (0.0, 0.0),
        };
        Some(Sample { value, part, whole })
    }

    fn quantile(&self, end: i64, length: i64, shape: Shape, measure: Measure) -> f64 {
        let clean = self.carried.is_none();
        if clean && length == shape.window {
            let kept = self.merged.get(self.slot(end - 1)).copied().unwrap_or(f64::NAN);
            if kept.is_finite() {
                return kept;
            }
        }
        self.cut(end, length, shape, measure).unwrap_or(f64::NAN)
    }

    /// Fills `into` with what the windows before the one that ends at `end` say, in place.
    pub(super) fn expect_into(
        &self,
        end: i64,
        shape: Shape,
        measure: Measure,
        into: &mut Baseline,
    ) {
        into.clear();
        let last = end - shape.window;
        let first = last - shape.window * shape.windows;
        into.slow_limit = self.slow_limit(first, last, measure, into);
        let (mut known, mut present) = (0_u32, 0_u32);
        for bucket in first..last {
            match self.cell(bucket) {
                Cell::Unread => {}
                Cell::Absent => known += 1,
                Cell::Present(_) => {
                    known += 1;
                    present += 1;
                }
            }
        }
        into.presence = if known == 0 { 0.0 } else { f64::from(present) / f64::from(known) };
        let lens = into.lens();
        for window in (0..shape.windows).rev() {
            let window_end = last - window * shape.window;
            if self.any_tainted(window_end - shape.window, window_end) {
                continue;
            }
            if let Some(sample) = self.sample(window_end, shape.window, shape, measure, lens)
                && sample.value.is_finite()
            {
                into.windows.push(sample);
            }
        }
    }

    /// The same of single buckets, over the same stretch.
    pub(super) fn expect_buckets_into(
        &self,
        end: i64,
        shape: Shape,
        measure: Measure,
        into: &mut Baseline,
    ) {
        into.buckets.clear();
        let lens = into.lens();
        let last = end - shape.window;
        for bucket in last - shape.window * shape.windows..last {
            if let Some(sample) = self.sample(bucket + 1, 1, shape, measure, lens)
                && sample.value.is_finite()
            {
                into.buckets.push(sample);
            }
        }
    }

    fn any_tainted(&self, from: i64, to: i64) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.from < to && from < carried.to)
    }

    /// The usual 95th percentile of a bucket (the median of the buckets'); infinite without any.
    fn slow_limit(&self, from: i64, to: i64, measure: Measure, scratch: &mut Baseline) -> f64 {
        if !matches!(measure, Measure::Quantile(_)) {
            return f64::NAN;
        }
        let values = &mut scratch.scratch;
        values.clear();
        for bucket in from..to {
            if let Cell::Present(Point::Quantiles(found)) = self.cell(bucket)
                && found.count > 0
                && !self.tainted(bucket)
            {
                let [_, _, _, _, slow, _, _] = found.values;
                values.push(f64::from(slow));
            }
        }
        if values.is_empty() {
            f64::NAN
        } else {
            super::robust::median(values) * scratch.slow_factor
        }
    }

    /// Values of the newest buckets up to `end`, oldest first.
    pub(super) fn recent(&self, end: i64, shape: Shape, measure: Measure) -> Vec<Option<f64>> {
        let length = shape.capacity.min(60);
        (end - length..end)
            .map(|bucket| match self.cell(bucket) {
                Cell::Absent if measure == Measure::Count => Some(0.0),
                Cell::Unread | Cell::Absent => None,
                Cell::Present(point) => {
                    Point::window_value(&[point], measure, shape.bucket_minutes)
                        .filter(|value| value.is_finite())
                        .map(super::judge::short)
                }
            })
            .collect()
    }
}

//! What of detection survives a restart, as rows of plain text that the pipeline stores:
//! - `series_hour`: sixty buckets of one series, written once they are complete; each series has its own phase,
//!   so that the writing spreads over the hour. `why` reads them for a day.
//! - `episode`: an open episode with its frozen baseline, or what it left behind.
//! - `watermark`: per source, up to where it was read and judged, its sight, and runs that grow.
//!
//! A row that cannot be read is skipped and counted: history can be read again from its source.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::model::{SeriesKey, SourceName, UtcTime};

use super::cells;
use super::engine::{Engine, Watched};
use super::episode::{Carried, Episode, FrozenRecord, OpenRecord, Record};
use super::series::{Cell, Run, Series};
use super::sight::Sight;

/// Buckets in a row of `series_hour`.
pub(super) const KEPT_TOGETHER: i64 = 60;
/// Buckets that a row waits after its last one, so that corrections reach it.
const PATIENCE: i64 = 3;
/// Rows of buckets written at once, but for a twentieth of all series where that is more: a start with a
/// backfill makes the first hour of every series due in the same minute.
const HOURS_AT_ONCE: usize = 64;

/// A row for the store. Rows of one call belong together: one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// `series_hour`, `episode` or `watermark`.
    pub kind: String,
    /// Whose.
    pub key: String,
    /// The instant it is about; an open episode's is renewed every hour, so that retention spares it.
    pub at: UtcTime,
    /// The content; absent if the row is to be dropped.
    pub body: Option<String>,
}

/// What a restore found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rows of buckets that were used.
    pub hours: u64,
    /// Episodes, open ones and what is left of others.
    pub episodes: u64,
    /// Rows that could not be read.
    pub skipped: u64,
}

/// Sixty buckets of one series.
#[derive(Debug, Serialize, Deserialize)]
struct HourRecord {
    source: SourceName,
    series: SeriesKey,
    from: i64,
    cells: String,
}

/// How far a source was read and judged.
#[derive(Debug, Serialize, Deserialize)]
struct MarkRecord {
    source: SourceName,
    interval_seconds: i64,
    head: i64,
    judged: i64,
    sight: Sight,
    /// Series out of line that are no episode yet.
    runs: Vec<(SeriesKey, Run)>,
}

/// The key of a row about a series; `hour_prefix` begins with it.
pub(super) fn row_key(source: &str, series: &SeriesKey) -> String {
    format!("{source}\u{1f}{series}")
}

impl Engine {
    /// What has changed since the last call and must survive.
    pub fn dirty_memory(&mut self, now: UtcTime) -> Vec<Kept> {
        let renew = self.refreshed.is_none_or(|at| now < at || now - at >= TimeDelta::hours(1));
        if renew {
            self.refreshed = Some(now);
        }
        self.rows(now, renew, false)
    }

    /// Everything that must survive, unfinished hours included: for a clean stop.
    pub fn memory(&mut self, now: UtcTime) -> Vec<Kept> {
        self.rows(now, true, true)
    }

    /// The beginning of the keys of a series' rows of kind `series_hour`, for every source that may have it.
    pub fn hour_prefixes(&self, series: &SeriesKey) -> Vec<String> {
        self.sources
            .iter()
            .filter(|known| known.signals.iter().any(|signal| signal.name == series.signal))
            .map(|known| format!("{}\u{1f}", row_key(&known.name, series)))
            .collect()
    }

    fn rows(&mut self, now: UtcTime, renew: bool, all: bool) -> Vec<Kept> {
        let mut rows: Vec<Kept> = self
            .dropped
            .drain(..)
            .map(|(kind, key)| Kept { kind: kind.to_owned(), key, at: now, body: None })
            .collect();
        let (interval, capacity) = (self.interval_seconds, self.shape.capacity);
        let number: usize = self.sources.iter().map(|known| known.series.len()).sum();
        let mut room = if all { usize::MAX } else { HOURS_AT_ONCE.max(number / 20) };
        for known in &mut self.sources {
            let Some(head) = known.head else { continue };
            for series in &mut known.series {
                let key = row_key(&known.name, &series.key);
                let living = series.episode.is_some() || series.carried.is_some();
                if std::mem::take(&mut series.touched) || (living && renew) {
                    let body = living.then(|| episode_row(&known.name, series)).flatten();
                    rows.push(Kept { kind: "episode".to_owned(), key: key.clone(), at: now, body });
                }
                let done = last_boundary(&key, head - PATIENCE);
                if series.stored < done && room > 0 {
                    if series.known_to > done - KEPT_TOGETHER {
                        room -= 1;
                        let from = done - KEPT_TOGETHER;
                        rows.extend(hour_row(
                            &known.name,
                            series,
                            &key,
                            from,
                            (head, capacity),
                            interval,
                        ));
                    }
                    series.stored = done;
                }
                // Unfinished hours: the one that waits for corrections, and the one that is filling.
                for from in [done, done + KEPT_TOGETHER] {
                    if all && series.known_to > from {
                        rows.extend(hour_row(
                            &known.name,
                            series,
                            &key,
                            from,
                            (head, capacity),
                            interval,
                        ));
                    }
                }
            }
            rows.extend(mark_row(known, head, interval, now));
        }
        rows
    }

    /// Takes stored rows back, in any order. For an engine that has seen nothing yet.
    pub fn restore(&mut self, kept: &[Kept], now: UtcTime) -> Restored {
        let mut found = Restored::default();
        let of = |kind: &'static str| kept.iter().filter(move |row| row.kind == kind);
        let mut runs = Vec::new();
        for row in of("watermark") {
            match parse::<MarkRecord>(row) {
                Some(mark) => self.restore_mark(mark, now, &mut runs),
                None => found.skipped += 1,
            }
        }
        let mut hours: Vec<(HourRecord, Vec<Cell>)> = Vec::new();
        for row in of("series_hour") {
            match parse::<HourRecord>(row)
                .and_then(|hour| cells::decode(&hour.cells).map(|cells| (hour, cells)))
            {
                Some(hour) => hours.push(hour),
                None => found.skipped += 1,
            }
        }
        hours.sort_by_key(|(hour, _)| hour.from);
        for (hour, cells) in &hours {
            found.hours += u64::from(self.restore_hour(hour, cells));
        }
        for row in of("episode") {
            match parse::<Record>(row) {
                Some(record) if self.restore_episode(&record) => found.episodes += 1,
                _ => found.skipped += 1,
            }
        }
        for (key, run) in runs {
            if let Some(series) = self.find_or_add(&key) {
                series.run = run;
            }
        }
        let shape = self.shape;
        for known in &mut self.sources {
            let Some(head) = known.head else { continue };
            for series in &mut known.series {
                if let Some(signal) = known.signals.get(series.signal) {
                    series.merge(head - shape.capacity + 1, head, shape, signal.measure);
                }
            }
        }
        found
    }

    fn restore_mark(&mut self, mark: MarkRecord, now: UtcTime, runs: &mut Vec<(SeriesKey, Run)>) {
        // Marks of another bucket length, or from a future that a wrong clock wrote, mean nothing.
        let future = self.time(mark.head) > now + TimeDelta::days(1);
        if mark.interval_seconds != self.interval_seconds || future {
            return;
        }
        let Some(known) = self.sources.iter_mut().find(|known| known.name == mark.source) else {
            return;
        };
        known.head = Some(mark.head);
        known.judged = mark.judged;
        known.sight = mark.sight;
        runs.extend(mark.runs);
    }

    /// Whether anything of the hour reaches into what is kept in memory.
    fn restore_hour(&mut self, hour: &HourRecord, cells: &[Cell]) -> bool {
        let capacity = self.shape.capacity;
        let head = self
            .sources
            .iter()
            .find(|known| known.name == hour.source)
            .and_then(|known| known.head);
        let Some(head) = head else { return false };
        let reaching = hour.from + KEPT_TOGETHER > head - capacity;
        if !reaching || hour.from > head {
            return false;
        }
        let Some(series) = self.find_or_add(&hour.series) else { return false };
        for (bucket, cell) in (hour.from..).zip(cells) {
            if bucket >= head - capacity && bucket < head {
                series.set(bucket, *cell);
            }
        }
        series.added = series.added.min(hour.from);
        if hour.from + KEPT_TOGETHER <= head - PATIENCE {
            series.stored = series.stored.max(hour.from + KEPT_TOGETHER);
        }
        true
    }

    fn restore_episode(&mut self, record: &Record) -> bool {
        let (from_to, frozen) = (record.carried, record.frozen.baseline());
        let Some(frozen) = frozen else { return false };
        let carry = |baseline| from_to.map(|(from, to)| Box::new(Carried { from, to, baseline }));
        let Some(series) = self.find_or_add(&record.series) else { return false };
        let Some(open) = &record.open else {
            series.carried = carry(frozen);
            return true;
        };
        let (good, good_from, good_to) = open.good;
        series.episode = Some(Box::new(Episode {
            onset: open.onset,
            frozen,
            peak: open.peak.clone(),
            announced: open.announced,
            held: open.held,
            good,
            good_from,
            good_to,
        }));
        series.carried =
            record.carried_frozen.as_ref().and_then(FrozenRecord::baseline).and_then(carry);
        true
    }
}

/// The buckets of a stored hour: its first bucket, and what was known.
pub(super) fn read_hour(row: &Kept) -> Option<(SeriesKey, i64, Vec<Cell>)> {
    let hour = parse::<HourRecord>(row)?;
    let cells = cells::decode(&hour.cells)?;
    Some((hour.series, hour.from, cells))
}

fn parse<T: for<'a> Deserialize<'a>>(row: &Kept) -> Option<T> {
    serde_json::from_str(row.body.as_deref()?).ok()
}

/// The newest end of a stored hour at or before `head`; the phase comes from the key.
fn last_boundary(key: &str, head: i64) -> i64 {
    // FNV-1a: any spread will do, but it must be the same after a restart.
    let hash = key
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let phase = i64::from(hash) % KEPT_TOGETHER;
    (head - phase).div_euclid(KEPT_TOGETHER) * KEPT_TOGETHER + phase
}

fn episode_row(source: &SourceName, series: &Series) -> Option<String> {
    let carried = series.carried.as_ref();
    let (frozen, open) = match &series.episode {
        Some(episode) => (
            FrozenRecord::from(&episode.frozen),
            Some(OpenRecord {
                onset: episode.onset,
                peak: episode.peak.clone(),
                announced: episode.announced,
                held: episode.held,
                good: (episode.good, episode.good_from, episode.good_to),
            }),
        ),
        None => (FrozenRecord::from(&carried?.baseline), None),
    };
    let record = Record {
        series: series.key.clone(),
        source: source.clone(),
        frozen,
        carried_frozen: open
            .is_some()
            .then(|| carried.map(|old| FrozenRecord::from(&old.baseline)))
            .flatten(),
        open,
        carried: carried.map(|old| (old.from, old.to)),
    };
    serde_json::to_string(&record).ok()
}

fn hour_row(
    source: &SourceName,
    series: &Series,
    key: &str,
    from: i64,
    (head, capacity): (i64, i64),
    interval_seconds: i64,
) -> Option<Kept> {
    let cells = (from..from + KEPT_TOGETHER).map(|bucket| {
        let kept = bucket >= head - capacity && bucket < head;
        if kept { series.cell(bucket) } else { Cell::Unread }
    });
    let record = HourRecord {
        source: source.clone(),
        series: series.key.clone(),
        from,
        cells: cells::encode(cells),
    };
    Some(Kept {
        kind: "series_hour".to_owned(),
        key: format!("{key}\u{1f}{from:012}"),
        at: chrono::DateTime::from_timestamp(from.saturating_mul(interval_seconds), 0)?,
        body: Some(serde_json::to_string(&record).ok()?),
    })
}

fn mark_row(known: &Watched, head: i64, interval_seconds: i64, now: UtcTime) -> Option<Kept> {
    let record = MarkRecord {
        source: known.name.clone(),
        interval_seconds,
        head,
        judged: known.judged,
        sight: known.sight.clone(),
        runs: known
            .series
            .iter()
            .filter(|series| series.run.length > 0 && series.episode.is_none())
            .map(|series| (series.key.clone(), series.run))
            .collect(),
    };
    Some(Kept {
        kind: "watermark".to_owned(),
        key: known.name.to_string(),
        at: now,
        body: Some(serde_json::to_string(&record).ok()?),
    })
}

//! The engine: all series of all sources, one read at a time. It owns every state of detection; the pipeline
//! around it carries findings and memory out. Long because each of its verbs touches all of that state.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::TimeDelta;

use crate::model::{
    Finding, SeriesKey, ServiceName, Signal, SourceName, UtcTime, WindowKind, Windows,
};

use super::absence::STEADY;
use super::baseline::Baseline;
use super::context::Context;
use super::series::{Cell, Run, Series, Shape};
use super::sight::Sight;
use super::step::step;
use super::{Settings, Tuning};

/// What detection needs to know of the sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The length of a bucket: the same for all sources, at least a second.
    pub interval: Duration,
    /// The length of the judged window, in minutes.
    pub lookback_minutes: u32,
    /// The signals of all sources.
    pub signals: Vec<Signal>,
}

/// Windows in, findings out.
#[derive(Debug)]
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) frame: Frame,
    pub(super) shape: Shape,
    pub(super) interval_seconds: i64,
    pub(super) tunings: Vec<Tuning>,
    pub(super) sources: Vec<Watched>,
    scratch: Baseline,
    /// Whether the series of open incidents were compared with the episodes since the start.
    compared: bool,
    /// Rows of the store that are to be dropped: kind and key.
    pub(super) dropped: Vec<(&'static str, String)>,
    pub(super) refreshed: Option<UtcTime>,
    pub(super) refused: u64,
}

/// One source as detection sees it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: SourceName,
    pub(super) signals: Vec<Signal>,
    /// The number after the newest known bucket.
    pub(super) head: Option<i64>,
    /// Windows up to this end were judged.
    pub(super) judged: i64,
    pub(super) sight: Sight,
    /// By service, then by signal: the index of the series.
    pub(super) services: HashMap<ServiceName, Vec<Option<usize>>>,
    pub(super) series: Vec<Series>,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(settings: Settings, frame: Frame) -> Self {
        let interval_seconds = i64::try_from(frame.interval.as_secs()).unwrap_or(i64::MAX).max(1);
        let mut sources: Vec<Watched> = Vec::new();
        for signal in &frame.signals {
            match sources.iter_mut().find(|source| source.name == signal.source) {
                Some(source) => source.signals.push(signal.clone()),
                None => sources.push(Watched {
                    name: signal.source.clone(),
                    signals: vec![signal.clone()],
                    head: None,
                    judged: i64::MIN,
                    sight: Sight::default(),
                    services: HashMap::new(),
                    series: Vec::new(),
                }),
            }
        }
        let shape = shape(&settings, &frame, interval_seconds);
        Self {
            settings,
            frame,
            shape,
            interval_seconds,
            tunings: Vec::new(),
            sources,
            scratch: Baseline::scratch(),
            compared: false,
            dropped: Vec::new(),
            refreshed: None,
            refused: 0,
        }
    }

    /// Takes in everything that one read answered, and judges: fresh windows at each closed bucket, corrected
    /// ones once more at the newest; history only records. A read that is not complete changes nothing.
    pub fn apply(&mut self, windows: &Windows, now: UtcTime) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(source) = self.sources.iter().position(|known| known.name == windows.source)
        else {
            self.refused += windows.rows.len() as u64;
            return findings;
        };
        if let Some(reason) = windows.completeness.reason() {
            if windows.kind != WindowKind::Correction {
                self.watch(source, Err(reason), now, &mut findings);
            }
            return findings;
        }
        let (from, to) = (self.bucket(windows.from), self.bucket(windows.to));
        let too_far = windows.to > now + TimeDelta::days(1);
        if windows.interval != self.frame.interval || from >= to || too_far {
            self.refused += windows.rows.len() as u64;
            return findings;
        }
        if windows.kind != WindowKind::Correction {
            let dry = windows.rows.is_empty() && self.expects_rows(source);
            let seen = if dry {
                Err("the source answers, but holds no documents of any service")
            } else {
                Ok(())
            };
            self.watch(source, seen, now, &mut findings);
        }
        // Only a clock that was set back makes fresh buckets older than known ones.
        if windows.kind == WindowKind::Fresh
            && let Some(head) = self.sources.get(source).and_then(|known| known.head)
            && to < head
        {
            self.rewind(source, from);
        }
        let rows = self.sorted(windows);
        findings.extend(self.take_in(source, windows, &rows, (from, to), now));
        findings
    }

    /// Lets time pass where nothing was read: announces blind sources.
    pub fn tick(&mut self, now: UtcTime) -> Vec<Finding> {
        let mut findings = Vec::new();
        for source in 0..self.sources.len() {
            if let Some(known) = self.sources.get_mut(source) {
                known.sight.look(now);
            }
            self.announce_blindness(source, &mut findings);
        }
        findings
    }

    /// Compares the episodes with the series of open incidents. An episode whose incident was seen and is gone
    /// was ended by a person: it is released. The first call after the start also finds series that an
    /// incident holds although their episode was lost; they are watched until they are quiet.
    pub fn sync_active(&mut self, active: &BTreeSet<SeriesKey>, _now: UtcTime) {
        if !std::mem::replace(&mut self.compared, true) {
            for key in active {
                if let Some(series) = self.find_or_add(key)
                    && series.episode.is_none()
                {
                    series.orphan = Some(0);
                }
            }
        }
        for series in self.sources.iter_mut().flat_map(|source| source.series.iter_mut()) {
            let Some(episode) = &mut series.episode else { continue };
            match (active.contains(&series.key), episode.held) {
                (true, false) => {
                    episode.held = true;
                    series.touched = true;
                }
                (false, true) => {
                    series.episode = None;
                    series.carried = None;
                    series.run = Run::default();
                    series.touched = true;
                }
                _ => {}
            }
        }
    }

    /// Takes new settings over (SIGHUP). History is kept as far as it still fits; open episodes stay.
    pub fn reload(&mut self, settings: Settings) {
        let shape = shape(&settings, &self.frame, self.interval_seconds);
        self.settings = settings;
        self.tunings.clear();
        for source in 0..self.sources.len() {
            for index in 0..self.sources.get(source).map_or(0, |known| known.series.len()) {
                let Some(known) = self.sources.get(source) else { continue };
                let Some(series) = known.series.get(index) else { continue };
                let Some(signal) = known.signals.get(series.signal).cloned() else { continue };
                let service = series.key.service.clone();
                let tuning = self.tuning(&signal, &service);
                let Some(known) = self.sources.get_mut(source) else { continue };
                let Some(series) = known.series.get_mut(index) else { continue };
                series.tuning = tuning;
                if shape != self.shape
                    && let Some(head) = known.head
                {
                    series.resize(head, self.shape, shape, signal.measure);
                }
            }
        }
        self.shape = shape;
    }

    /// The series of a service, in the order of their signals.
    pub fn series_of(&self, service: &str) -> Vec<SeriesKey> {
        self.sources
            .iter()
            .flat_map(|source| &source.series)
            .filter(|series| &*series.key.service == service)
            .map(|series| series.key.clone())
            .collect()
    }

    /// The services that are known, sorted.
    pub fn services(&self) -> BTreeSet<ServiceName> {
        self.sources.iter().flat_map(|source| source.services.keys().cloned()).collect()
    }

    /// How many series are known, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        let all = || self.sources.iter().flat_map(|source| &source.series);
        (all().count(), all().map(Series::bytes).sum())
    }

    /// Rows refused since the start: unknown source or signal, outside the range, not finite.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The end of the newest bucket that every living series of a source knows, so that only the gap after it
    /// needs to be read; `None` if the whole baseline does.
    pub fn resume_from(&self, source: &str) -> Option<UtcTime> {
        let known = self.sources.iter().find(|known| &*known.name == source)?;
        let head = known.head?;
        let oldest = head - self.shape.capacity;
        let common = known
            .series
            .iter()
            .filter(|series| series.seen >= oldest)
            .map(|series| series.known_to)
            .min()?;
        (common > oldest).then(|| self.time(common))
    }

    fn bucket(&self, time: UtcTime) -> i64 {
        time.timestamp().div_euclid(self.interval_seconds)
    }

    pub(super) fn time(&self, bucket: i64) -> UtcTime {
        chrono::DateTime::from_timestamp(bucket.saturating_mul(self.interval_seconds), 0)
            .unwrap_or(UtcTime::MAX_UTC)
    }

    /// Whether a source without a single row is out of order: somebody was always there.
    fn expects_rows(&self, source: usize) -> bool {
        let Some(known) = self.sources.get(source) else { return false };
        let Some(head) = known.head else { return false };
        let length = self.shape.capacity;
        known.series.iter().any(|series| {
            let (mut read, mut present) = (0_u32, 0_u32);
            for bucket in head - length..head {
                match series.cell(bucket) {
                    Cell::Unread => {}
                    Cell::Absent => read += 1,
                    Cell::Present(_) => {
                        read += 1;
                        present += 1;
                    }
                }
            }
            read > 0 && f64::from(present) >= STEADY * f64::from(read)
        })
    }

    fn watch(
        &mut self,
        source: usize,
        seen: Result<(), &str>,
        now: UtcTime,
        findings: &mut Vec<Finding>,
    ) {
        let Some(known) = self.sources.get_mut(source) else { return };
        match seen {
            Ok(()) => {
                if known.sight.seen(now) {
                    findings.push(Finding::Sighted { source: known.name.clone(), at: now });
                }
            }
            Err(reason) => {
                known.sight.missed(now, reason);
                self.announce_blindness(source, findings);
            }
        }
    }

    fn announce_blindness(&mut self, source: usize, findings: &mut Vec<Finding>) {
        let budget = TimeDelta::minutes(i64::from(self.settings.blind_after_minutes));
        let Some(known) = self.sources.get_mut(source) else { return };
        if let Some((since, reason)) = known.sight.newly_blind(budget) {
            findings.push(Finding::Blind { source: known.name.clone(), since, reason });
        }
    }

    /// The index of a series, which is made when first seen; `None` for a signal that the source has not.
    pub(super) fn slot(
        &mut self,
        source: usize,
        service: &ServiceName,
        signal: &str,
    ) -> Option<usize> {
        let known = self.sources.get_mut(source)?;
        let number = known.signals.iter().position(|known| &*known.name == signal)?;
        if let Some(index) =
            known.services.get(service).and_then(|slots| slots.get(number).copied().flatten())
        {
            return Some(index);
        }
        let found = known.signals.get(number)?.clone();
        let tuning = self.tuning(&found, service);
        let shape = self.shape;
        let known = self.sources.get_mut(source)?;
        let key = SeriesKey::new(service.clone(), found.name.clone());
        let index = known.series.len();
        let mut series = Series::new(key, number, tuning, shape, found.measure);
        series.added = known.head.unwrap_or(i64::MAX);
        known.series.push(series);
        let width = known.signals.len();
        let slots = known.services.entry(service.clone()).or_insert_with(|| vec![None; width]);
        if let Some(slot) = slots.get_mut(number) {
            *slot = Some(index);
        }
        Some(index)
    }

    /// The index of a tuning; equal ones are kept once.
    fn tuning(&mut self, signal: &Signal, service: &str) -> usize {
        let tuning = Tuning::of(&self.settings, signal, service);
        self.tunings.iter().position(|known| *known == tuning).unwrap_or_else(|| {
            self.tunings.push(tuning);
            self.tunings.len() - 1
        })
    }

    /// The series of a key, made if its signal is known.
    pub(super) fn find_or_add(&mut self, key: &SeriesKey) -> Option<&mut Series> {
        let source = self
            .sources
            .iter()
            .position(|known| known.signals.iter().any(|signal| signal.name == key.signal))?;
        let index = self.slot(source, &key.service, &key.signal)?;
        self.sources.get_mut(source)?.series.get_mut(index)
    }

    pub(super) fn judge(
        &mut self,
        source: usize,
        end: i64,
        loud: bool,
        now: UtcTime,
        findings: &mut Vec<Finding>,
    ) {
        let Some(known) = self.sources.get_mut(source) else { return };
        known.judged = known.judged.max(end);
        for series in &mut known.series {
            let (Some(signal), Some(tuning)) =
                (known.signals.get(series.signal), self.tunings.get(series.tuning))
            else {
                continue;
            };
            let context = Context {
                settings: &self.settings,
                shape: self.shape,
                interval_seconds: self.interval_seconds,
                signal,
                tuning,
                now,
                loud,
            };
            let changed = step(series, &context, &mut self.scratch, end, findings);
            series.touched |= changed;
        }
    }
}

/// The lengths in buckets.
fn shape(settings: &Settings, frame: &Frame, interval_seconds: i64) -> Shape {
    let window = (i64::from(frame.lookback_minutes) * 60 / interval_seconds).max(1);
    let windows =
        (i64::from(settings.baseline_window_minutes) * 60 / interval_seconds / window).max(1);
    #[expect(clippy::cast_precision_loss, reason = "an interval is far below 2^53 seconds")]
    let bucket_minutes = interval_seconds as f64 / 60.0;
    let capacity = (window * (windows + 1)).max(super::memory::KEPT_TOGETHER + 5);
    Shape { window, windows, capacity, bucket_minutes }
}

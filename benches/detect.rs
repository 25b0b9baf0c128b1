//! The detection core on one thread. `score_*` times single evaluations against twelve baseline windows of a
//! mix: half of the judged windows in line, a quarter a little high, a quarter out of line; services of 60, 300
//! and 2,000 requests a window. `minute_*` times a whole minute of the engine: taking in, baselines, judging.
#![expect(clippy::print_stdout, reason = "figures beside the timings")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use divan::counter::ItemsCount;
use sentinelops::detect::{
    BetaBinomial, Case, Detector, Engine, Frame, Robust, Sample, Settings, Silence, SlowShare,
    Tuning, Zscore,
};
use sentinelops::model::{
    Completeness, Point, QUANTILES, Quantiles, Row, Signal, UtcTime, WindowKind, Windows,
};

fn main() {
    divan::main();
}

/// Cases of the mix: signal, baseline, judged window.
const CASES: usize = 240;

struct Mix {
    signal: Signal,
    tuning: Tuning,
    cases: Vec<(Vec<Sample>, Sample)>,
}

impl Mix {
    fn of(signal: Signal) -> Self {
        let tuning = Tuning::of(&Settings::default(), &signal, "service");
        let mut state = 7_u32;
        let mut dice = move |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from((state >> 8) % below)
        };
        let cases = (0..CASES)
            .map(|n| {
                let requests = [60.0, 300.0, 2_000.0][n % 3];
                let mut sample = |factor: f64| {
                    let whole = (requests * (0.8 + dice(400) / 1_000.0)).floor();
                    let part = (whole * 0.02 * factor * (0.5 + dice(1_000) / 1_000.0)).floor();
                    Sample { value: 100.0 * factor + dice(20), part, whole }
                };
                let baseline = (0..12).map(|_| sample(1.0)).collect();
                (baseline, sample([1.0, 1.0, 1.6, 8.0][n % 4]))
            })
            .collect();
        Self { signal, tuning, cases }
    }

    fn run(&self, detector: &dyn Detector) -> f64 {
        let mut sum = 0.0;
        for (baseline, current) in &self.cases {
            let case = Case {
                signal: &self.signal,
                tuning: &self.tuning,
                current: *current,
                minutes: 5.0,
                baseline,
                slow_limit: 250.0,
                silence: Silence::default(),
            };
            sum += detector.score(black_box(&case)).map_or(0.0, |score| score.z);
        }
        sum
    }
}

#[divan::bench]
fn score_zscore(bencher: divan::Bencher<'_, '_>) {
    let mix = Mix::of(Signal::throughput("logs"));
    bencher.counter(ItemsCount::new(CASES)).bench_local(|| mix.run(&Zscore));
}

#[divan::bench]
fn score_robust(bencher: divan::Bencher<'_, '_>) {
    let mix = Mix::of(Signal::throughput("logs"));
    bencher.counter(ItemsCount::new(CASES)).bench_local(|| mix.run(&Robust));
}

#[divan::bench]
fn score_beta_binomial(bencher: divan::Bencher<'_, '_>) {
    let mix = Mix::of(Signal::error_rate("logs"));
    bencher.counter(ItemsCount::new(CASES)).bench_local(|| mix.run(&BetaBinomial));
}

#[divan::bench]
fn score_slow_share(bencher: divan::Bencher<'_, '_>) {
    let mix = Mix::of(Signal::latency_p99("logs"));
    bencher.counter(ItemsCount::new(CASES)).bench_local(|| mix.run(&SlowShare));
}

/// An engine with an hour and more of history, and the rows of a quiet minute.
struct Running {
    engine: Engine,
    services: Vec<Arc<str>>,
    signals: [Arc<str>; 3],
    next: i64,
}

impl Running {
    fn of(services: usize) -> Self {
        let frame = Frame {
            interval: Duration::from_mins(1),
            lookback_minutes: 5,
            signals: vec![
                Signal::error_rate("logs"),
                Signal::latency_p99("logs"),
                Signal::throughput("logs"),
            ],
        };
        let mut running = Self {
            engine: Engine::new(Settings::default(), frame),
            services: (0..services).map(|n| Arc::from(format!("service-{n}"))).collect(),
            signals: ["error_rate".into(), "latency_p99".into(), "throughput".into()],
            next: 0,
        };
        for _ in 0..70 {
            let windows = running.windows();
            running.apply(&windows);
        }
        running
    }

    fn time(minute: i64) -> UtcTime {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(30_000_000 + minute)
    }

    fn windows(&mut self) -> Windows {
        let [rate, latency, traffic] = &self.signals;
        let start = Self::time(self.next);
        let rows = self
            .services
            .iter()
            .zip(0_u32..)
            .map(|(service, n)| {
                let count = 60 + (n * 31 + u32::try_from(self.next).unwrap_or(0) * 17) % 13;
                let values = QUANTILES.map(|q| {
                    #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
                    let value = (60.0 + 140.0 * q) as f32;
                    value
                });
                let ratio = Point::Ratio { part: f64::from(count % 3), whole: f64::from(count) };
                Row {
                    service: service.clone(),
                    start,
                    points: vec![
                        (rate.clone(), ratio),
                        (latency.clone(), Point::Quantiles(Quantiles { count, values })),
                        (traffic.clone(), Point::Count(f64::from(count))),
                    ],
                }
            })
            .collect();
        self.next += 1;
        Windows {
            source: "logs".into(),
            from: start,
            to: Self::time(self.next),
            interval: Duration::from_mins(1),
            kind: WindowKind::Fresh,
            completeness: Completeness::Complete,
            rows,
            rejected: Vec::new(),
            lag: None,
            read_at: Self::time(self.next),
            took: Duration::ZERO,
            requests: 1,
        }
    }

    fn apply(&mut self, windows: &Windows) -> usize {
        self.engine.apply(windows, Self::time(self.next)).len()
    }
}

#[divan::bench(args = [50, 10_000], sample_count = 20, sample_size = 1)]
fn minute_of_services(bencher: divan::Bencher<'_, '_>, services: usize) {
    let mut running = Running::of(services);
    let (series, bytes) = running.engine.size();
    println!("{series} series, {} bytes each", bytes / series);
    bencher.counter(ItemsCount::new(services * 3)).bench_local(|| {
        let windows = running.windows();
        running.apply(&windows)
    });
}

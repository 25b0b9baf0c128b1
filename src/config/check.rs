//! Rules that one value's type cannot say: ranges, and what must fit across sections. Each rule names the
//! setting, its value and what is right; all of them are looked at.

use super::{Config, Problem};

/// Everything that is wrong.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::default();
    polling(config, &mut problems);
    incidents(config, &mut problems);
    store(config, &mut problems);
    analyzer(config, &mut problems);
    problems.owned(config.elasticsearch.problems());
    problems.owned(config.embedded.problems());
    let below = |text: String| format!("detection.{text}");
    let lookback = config.polling.lookback_minutes;
    problems.owned(config.detection.problems().into_iter().map(below).collect());
    problems
        .owned(config.detection.problems_with_lookback(lookback).into_iter().map(below).collect());
    problems.owned(config.notify.problems());
    problems.owned(config.http.problems());
    problems.owned(config.net.problems());
    logging(config, &mut problems);
    problems.0
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, text: impl Into<String>) {
        self.0.push(Problem::new(path, text));
    }

    /// What a section says of itself: each text begins with its path.
    fn owned(&mut self, texts: Vec<String>) {
        self.0.extend(texts.into_iter().map(|text| {
            let end = text.find(|c: char| c == ':' || c.is_whitespace()).unwrap_or(text.len());
            let (path, rest) = text.split_at(end);
            let path = path.replace('[', ".").replace(']', "");
            Problem::new(path, rest.trim_start_matches(':').trim_start())
        }));
    }

    fn range(&mut self, path: &str, value: impl Into<u64>, from: u64, to: u64) {
        let value = value.into();
        if !(from..=to).contains(&value) {
            self.add(path, format!("is {value}, must be {from} to {to}"));
        }
    }

    fn http_url(&mut self, path: &str, text: &str) {
        let fits = url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !fits {
            self.add(path, format!("is `{text}`, must be a URL such as https://host:port"));
        }
    }
}

fn polling(config: &Config, problems: &mut Problems) {
    let polling = &config.polling;
    problems.range("polling.interval_seconds", polling.interval_seconds, 1, 3_600);
    problems.range("polling.lookback_minutes", polling.lookback_minutes, 1, 60);
    problems.range("polling.lag_seconds", polling.lag_seconds, 0, 3_600);
    problems.range("polling.deadline_seconds", polling.deadline_seconds, 1, 300);
    let bucket = polling.bucket_seconds;
    if !(10..=3_600).contains(&bucket) || !3_600_u32.is_multiple_of(bucket) {
        problems.add(
            "polling.bucket_seconds",
            format!("is {bucket}, must be 10 to 3600 and divide an hour, such as 60"),
        );
    } else if !(u64::from(polling.lookback_minutes) * 60).is_multiple_of(u64::from(bucket)) {
        problems.add(
            "polling.lookback_minutes",
            format!(
                "is {} min, must be a multiple of polling.bucket_seconds ({bucket} s)",
                polling.lookback_minutes
            ),
        );
    } else if bucket != 60 && config.elasticsearch.url.is_empty() {
        problems.add(
            "polling.bucket_seconds",
            format!(
                "is {bucket}, must be 60 without elasticsearch.url: the log store counts by minutes"
            ),
        );
    }
}

fn incidents(config: &Config, problems: &mut Problems) {
    for (path, text) in config.incidents.problems().into_iter().chain(config.correlation.problems())
    {
        problems.add(path, text);
    }
}

fn store(config: &Config, problems: &mut Problems) {
    let url = &config.store.url;
    let known = ["sqlite:", "postgres://", "postgresql://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        // The text may hold a password: only its scheme is shown.
        let scheme = url.split_once(':').map_or("nothing", |(scheme, _)| scheme);
        problems.add(
            "store.url",
            format!(
                "has the scheme `{scheme}`, must be sqlite:PATH or postgres://user@host/database"
            ),
        );
    }
    problems.range("store.incident_retention_days", config.store.incident_retention_days, 1, 3_650);
    problems.range("store.bucket_retention_hours", config.store.bucket_retention_hours, 2, 744);
    let kept = u64::from(config.store.incident_retention_days) * 1_440;
    if kept > 0 && u64::from(config.incidents.dedup_cooldown_minutes) > kept {
        problems.add(
            "incidents.dedup_cooldown_minutes",
            "is longer than store.incident_retention_days: an incident would be forgotten first",
        );
    }
}

fn analyzer(config: &Config, problems: &mut Problems) {
    problems.range("analyzer.max_tokens", config.analyzer.max_tokens, 256, 64_000);
    problems.http_url("analyzer.base_url", &config.analyzer.base_url);
}

fn logging(config: &Config, problems: &mut Problems) {
    if tracing_subscriber::EnvFilter::try_new(&config.logging.level).is_err() {
        problems.add(
            "logging.level",
            format!(
                "is `{}`, must be a level (error, warn, info, debug, trace) or a filter such as \
                 sentinelops=debug,warn",
                config.logging.level
            ),
        );
    }
}

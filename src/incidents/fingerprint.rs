//! What an incident *is*: SHA-256 over a versioned, canonical text. Not in it: severity, symptoms, time; the
//! same trouble has the same fingerprint however bad it is and whoever else is hit.

use sha2::{Digest, Sha256};

use crate::model::{SeriesKey, UtcTime};

/// Changes when the text changes: incidents of another version are then not recognised, once.
const VERSION: &str = "sentinelops/1";

/// The fingerprint of an incident that this series opens: its service, the family of its signal, and its
/// scope (dimensions).
pub fn of_series(series: &SeriesKey) -> String {
    let mut parts = vec!["series", &series.service, family(&series.signal)];
    for (name, value) in &series.dimensions {
        parts.extend([name.as_str(), value.as_str()]);
    }
    digest(&parts)
}

/// The fingerprint of a source that cannot be read.
pub fn of_blind(source: &str) -> String {
    digest(&["blind", source])
}

/// The fingerprint of our own store's trouble.
pub fn of_store() -> String {
    digest(&["store"])
}

/// The fingerprint of a storm.
pub fn of_storm() -> String {
    digest(&["storm"])
}

/// A test is no other test.
pub fn of_test(now: UtcTime, count: u64) -> String {
    digest(&["test", &now.timestamp_micros().to_string(), &count.to_string()])
}

/// Signals that show the same trouble in different clothes: `latency_p99`, `latency_p95` and `slow_share`
/// are one family; a metric is a family of its own.
pub fn family(signal: &str) -> &str {
    match signal {
        "error_rate" | "errors" | "error_count" => "error_rate",
        "throughput" | "requests" | "request_rate" => "throughput",
        "slow_share" => "latency",
        _ if signal.starts_with("latency") => "latency",
        _ => signal,
    }
}

/// Each part goes in with its length, so that no two lists of parts have the same text.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&VERSION).chain(parts) {
        hash.update(part.len().to_string());
        hash.update(":");
        hash.update(part);
    }
    hex(&hash.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_fingerprints_do_not_change() {
        // These are in people's PagerDuty: a change here needs a new VERSION and a line in the changelog.
        let series = SeriesKey::new("payment-service", "error_rate");
        insta::assert_snapshot!(of_series(&series), @"d0b83c64cb6e84153b8ad4367ecba6c0002a585504b4f2bf46a5e3f4a5335778");
        insta::assert_snapshot!(of_blind("logs"), @"03861d9b940fe09cca1cee369959fd8fe7b565269291e9a5fe9ee73cd0223459");
    }

    #[test]
    fn one_family_one_fingerprint() {
        let of = |signal: &str| of_series(&SeriesKey::new("gateway", signal));
        assert_eq!(of("latency_p99"), of("latency_p95"));
        assert_ne!(of("latency_p99"), of("error_rate"));
        assert_ne!(of("cpu"), of("memory"));
    }

    proptest! {
        #[test]
        fn different_scopes_differ(
            (a, b) in ("[a-c:1]{0,3}", "[a-c:1]{0,3}"),
            (c, d) in ("[a-c:1]{0,3}", "[a-c:1]{0,3}"),
        ) {
            let series = |service: &str, value: &str| {
                let mut series = SeriesKey::new(service, "cost_daily");
                series.dimensions.insert("account".to_owned(), value.to_owned());
                series
            };
            let same = (&a, &b) == (&c, &d);
            prop_assert_eq!(of_series(&series(&a, &b)) == of_series(&series(&c, &d)), same);
        }
    }
}

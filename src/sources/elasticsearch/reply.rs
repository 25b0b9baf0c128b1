//! What a search answered, but for its buckets: whether it is whole, where the next page begins, what an error says.
//! Typed, because a cycle may bring 10,000 rows of ten numbers. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::buckets::number;

/// One page of a search.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
pub(super) struct Page<B> {
    #[serde(default)]
    pub took: u64,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    terminated_early: Option<bool>,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(rename = "_clusters", default)]
    clusters: Option<Clusters>,
    #[serde(default = "Option::default")]
    aggregations: Option<Aggregations<B>>,
}

#[derive(Debug, Deserialize)]
struct Shards {
    total: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    failures: Vec<ShardFailure>,
}

#[derive(Debug, Deserialize)]
struct ShardFailure {
    #[serde(default)]
    index: Option<String>,
    #[serde(default)]
    reason: Option<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Clusters {
    skipped: u64,
    partial: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
struct Aggregations<B> {
    rows: Buckets<B>,
    #[serde(default)]
    arrivals: Option<Arrivals>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
struct Buckets<B> {
    #[serde(default)]
    after_key: Option<Value>,
    buckets: Vec<B>,
}

#[derive(Debug, Deserialize)]
struct Arrivals {
    buckets: Vec<Arrival>,
}

#[derive(Debug, Deserialize)]
struct Arrival {
    key: i64,
    latest: Latest,
}

#[derive(Debug, Deserialize)]
struct Latest {
    values: LatestValue,
}

#[derive(Debug, Deserialize)]
struct LatestValue {
    #[serde(rename = "99.0", default, deserialize_with = "number")]
    p99: Option<f64>,
}

impl<B> Page<B> {
    /// What is missing from the answer; `None` if it is whole.
    pub(super) fn partial(&self) -> Option<String> {
        if self.timed_out {
            return Some("the search timed out on the server".to_owned());
        }
        if self.shards.failed > 0 {
            let why = self.shards.failures.iter().find_map(|failure| {
                let cause = failure.reason.as_ref()?.words();
                let index = failure.index.as_deref().unwrap_or("?");
                Some(format!(": {index}: {cause}"))
            });
            return Some(format!(
                "{} of {} shards failed{}",
                self.shards.failed,
                self.shards.total,
                why.unwrap_or_default()
            ));
        }
        if self.terminated_early == Some(true) {
            return Some("the search ended early on the server".to_owned());
        }
        let clusters = self.clusters.as_ref()?;
        let missing = clusters.skipped + clusters.partial + clusters.failed;
        (missing > 0).then(|| format!("{missing} remote clusters did not answer wholly"))
    }

    /// Whether any index was asked at all.
    pub(super) fn asked_nothing(&self) -> bool {
        self.shards.total == 0 && self.aggregations.is_none()
    }

    /// Where the next page begins, how many milliseconds after the close of each bucket its documents had come,
    /// and the buckets. `None` if the answer has no aggregations.
    pub(super) fn into_parts(
        self,
        bucket_seconds: u32,
    ) -> Option<(Option<Value>, Vec<i64>, Vec<B>)> {
        let aggregations = self.aggregations?;
        let length = i64::from(bucket_seconds) * 1_000;
        let lateness = aggregations.arrivals.map(|arrivals| {
            let of = |arrival: &Arrival| {
                let latest = arrival.latest.values.p99.filter(|latest| latest.is_finite())?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "saturates, and is bounded later"
                )]
                let latest = latest as i64;
                Some(latest.saturating_sub(arrival.key.saturating_add(length)).max(0))
            };
            arrivals.buckets.iter().filter_map(of).collect()
        });
        let Buckets { after_key, buckets } = aggregations.rows;
        Some((after_key, lateness.unwrap_or_default(), buckets))
    }
}

/// An error as Elasticsearch words it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    error: Cause,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    #[serde(rename = "root_cause")]
    roots: Vec<Cause>,
    caused_by: Option<Box<Cause>>,
    failed_shards: Vec<FailedShard>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FailedShard {
    reason: Cause,
}

impl ErrorBody {
    /// The kind and the reason of the innermost cause that says something.
    pub(super) fn words(&self) -> String {
        self.error.words()
    }

    /// Whether `text` occurs in any kind or reason.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.error.mentions(text)
    }
}

impl Cause {
    fn words(&self) -> String {
        let inner = self
            .caused_by
            .as_deref()
            .or_else(|| self.roots.iter().find(|cause| cause.reason.is_some()))
            .or_else(|| self.failed_shards.first().map(|shard| &shard.reason));
        if let Some(inner) = inner.filter(|inner| inner.reason.is_some()) {
            return inner.words();
        }
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        let text = match &self.kind {
            Some(kind) => format!("{kind}: {reason}"),
            None => reason.to_owned(),
        };
        shorten(&text)
    }

    fn mentions(&self, text: &str) -> bool {
        let here =
            [&self.kind, &self.reason].into_iter().flatten().any(|words| words.contains(text));
        here || self.roots.iter().any(|cause| cause.mentions(text))
            || self.caused_by.as_ref().is_some_and(|cause| cause.mentions(text))
            || self.failed_shards.iter().any(|shard| shard.reason.mentions(text))
    }
}

/// Text from outside, kept to one short line.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 300;
    let line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MOST + 1)
        .collect();
    if line.chars().count() > MOST {
        line.chars().take(MOST).chain(['…']).collect()
    } else {
        line
    }
}

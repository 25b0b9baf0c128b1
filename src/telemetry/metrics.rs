//! Every metric of the daemon, once. `docs/metrics.md` lists the same names; a test compares them.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of metrics: pairs whose values come from small, fixed sets or from the settings.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Handles on every metric; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Reads of sources by `source` and `completeness`.
    pub source_reads: Family<Labels, Counter>,
    /// Rows or documents that were refused, by `source`.
    pub source_rejected: Family<Labels, Counter>,
    /// Seconds since a source was last read completely, by `source`.
    pub source_age_seconds: Family<Labels, Gauge>,
    /// Findings by `kind`.
    pub findings: Family<Labels, Counter>,
    /// Series that detection watches.
    pub detection_series: Gauge,
    /// Bytes that they take in memory.
    pub detection_bytes: Gauge,
    /// Open incidents by `severity`.
    pub incidents_open: Family<Labels, Gauge>,
    /// Commits of incidents that failed, by `trouble`.
    pub store_failures: Family<Labels, Counter>,
    /// Attempts to deliver by `receiver` and `outcome`.
    pub delivery_attempts: Family<Labels, Counter>,
    /// Signs of life posted, by `outcome`.
    pub heartbeats: Family<Labels, Counter>,
    /// Charts for Slack by `receiver` and `outcome`.
    pub charts: Family<Labels, Counter>,
    /// Deliveries owed.
    pub outbox_owed: Gauge,
    /// Deliveries given up.
    pub outbox_dead: Gauge,
    /// Seconds since the oldest delivery that is still owed became owed; 0 if none is.
    pub outbox_oldest_age_seconds: Gauge,
    /// Requests to the log store's intake by `status`.
    pub intake_requests: Family<Labels, Counter>,
    /// Documents that the log store took.
    pub intake_documents: Counter,
    /// Documents that the log store refused, by `reason`.
    pub intake_rejected: Family<Labels, Counter>,
    /// Bytes of requests that wait to be written to the log store.
    pub intake_queue_bytes: Gauge,
    /// How long the log store's commits take, in seconds.
    pub intake_commit_seconds: Histogram,
    /// Bytes of the log store's file in use.
    pub log_store_bytes: Gauge,
    /// Requests to our own API by `route` and `status`.
    pub http_requests: Family<Labels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric.
    #[expect(clippy::too_many_lines, reason = "one list of every metric")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sentinelops");
        let mut this = Self {
            registry: Arc::new(Registry::default()),
            source_reads: Family::default(),
            source_rejected: Family::default(),
            source_age_seconds: Family::default(),
            findings: Family::default(),
            detection_series: Gauge::default(),
            detection_bytes: Gauge::default(),
            incidents_open: Family::default(),
            store_failures: Family::default(),
            delivery_attempts: Family::default(),
            heartbeats: Family::default(),
            charts: Family::default(),
            outbox_owed: Gauge::default(),
            outbox_dead: Gauge::default(),
            outbox_oldest_age_seconds: Gauge::default(),
            intake_requests: Family::default(),
            intake_documents: Counter::default(),
            intake_rejected: Family::default(),
            intake_queue_bytes: Gauge::default(),
            intake_commit_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 7)),
            log_store_bytes: Gauge::default(),
            http_requests: Family::default(),
        };
        registry.register(
            "source_reads",
            "Reads of sources by source and completeness",
            this.source_reads.clone(),
        );
        registry.register(
            "source_rejected",
            "Rows or documents that a source refused",
            this.source_rejected.clone(),
        );
        registry.register(
            "source_age_seconds",
            "Seconds since a source was last read completely",
            this.source_age_seconds.clone(),
        );
        registry.register("findings", "Findings of detection by kind", this.findings.clone());
        registry.register(
            "detection_series",
            "Series that detection watches",
            this.detection_series.clone(),
        );
        registry.register(
            "detection_bytes",
            "Bytes that the watched series take in memory",
            this.detection_bytes.clone(),
        );
        registry.register(
            "incidents_open",
            "Open incidents by severity",
            this.incidents_open.clone(),
        );
        registry.register(
            "store_failures",
            "Commits of incidents that failed, by trouble",
            this.store_failures.clone(),
        );
        registry.register(
            "delivery_attempts",
            "Attempts to deliver by receiver and outcome",
            this.delivery_attempts.clone(),
        );
        registry.register(
            "heartbeats",
            "Signs of life posted, by outcome",
            this.heartbeats.clone(),
        );
        registry.register(
            "charts",
            "Charts for Slack by receiver and outcome",
            this.charts.clone(),
        );
        registry.register("outbox_owed", "Deliveries owed", this.outbox_owed.clone());
        registry.register("outbox_dead", "Deliveries given up", this.outbox_dead.clone());
        registry.register(
            "outbox_oldest_age_seconds",
            "Seconds since the oldest delivery that is still owed became owed",
            this.outbox_oldest_age_seconds.clone(),
        );
        this.register_log_store(&mut registry);
        this.register_api(&mut registry);
        this.registry = Arc::new(registry);
        this
    }

    fn register_api(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests to our own API by route and status",
            self.http_requests.clone(),
        );
    }

    fn register_log_store(&self, registry: &mut Registry) {
        registry.register(
            "intake_requests",
            "Requests to the log store's intake by status",
            self.intake_requests.clone(),
        );
        registry.register(
            "intake_documents",
            "Documents that the log store took",
            self.intake_documents.clone(),
        );
        registry.register(
            "intake_rejected",
            "Documents that the log store refused, by reason",
            self.intake_rejected.clone(),
        );
        registry.register(
            "intake_queue_bytes",
            "Bytes of requests that wait to be written to the log store",
            self.intake_queue_bytes.clone(),
        );
        registry.register(
            "intake_commit_seconds",
            "How long the log store's commits take",
            self.intake_commit_seconds.clone(),
        );
        registry.register(
            "log_store_bytes",
            "Bytes of the log store's file in use",
            self.log_store_bytes.clone(),
        );
    }

    /// All metrics in the text format that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.findings.get_or_create(&vec![("kind", "fired".to_owned())]).inc();
        assert!(metrics.render().contains("sentinelops_findings_total{kind=\"fired\"} 1"));
    }
}

//! What is watched: one signal of one scope.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a service as the source's documents give it, e.g. `payment-service`.
pub type ServiceName = Arc<str>;
/// The name of a signal, e.g. `error_rate`.
pub type SignalName = Arc<str>;
/// The name of a source, e.g. `logs` or `metrics:cpu`: stable over restarts, unique in a deployment.
pub type SourceName = Arc<str>;

/// Identifies one series: a signal of a service, narrowed by dimensions such as account or region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// The service.
    pub service: ServiceName,
    /// The signal.
    pub signal: SignalName,
    /// Further dimensions, usually none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

impl SeriesKey {
    /// A series without further dimensions.
    pub fn new(service: impl Into<ServiceName>, signal: impl Into<SignalName>) -> Self {
        Self { service: service.into(), signal: signal.into(), dimensions: BTreeMap::new() }
    }
}

impl fmt::Display for SeriesKey {
    /// `payment-service error_rate` or `ec2 cost_daily{account=1}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service, self.signal)?;
        if !self.dimensions.is_empty() {
            let pairs: Vec<_> = self.dimensions.iter().map(|(k, v)| format!("{k}={v}")).collect();
            write!(f, "{{{}}}", pairs.join(","))?;
        }
        Ok(())
    }
}

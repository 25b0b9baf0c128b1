//! The nouns of `SentinelOps`: plain data without I/O. One word means one thing in types, tables, metrics,
//! logs and documents.

mod analysis;
mod anomaly;
mod correlation;
mod delivery;
mod finding;
mod id;
mod incident;
mod point;
mod runbook;
mod series;
mod severity;
mod signal;
mod silence;
mod time;
mod window;

pub use analysis::{Analysis, Confidence};
pub use anomaly::{Anomaly, Evidence, Gate, Outlook, Verdict};
pub use correlation::{Correlation, RelatedEvent, Suspect};
pub use delivery::{Change, Delivery, DeliveryState, Receipt};
pub use finding::Finding;
pub use id::{DeliveryId, IncidentId, SilenceId};
pub use incident::{
    Bookkeeping, Incident, IncidentKind, IncidentState, Member, MemberState, Outcome,
    TimelineEntry, TimelineKind,
};
pub use point::{Point, QUANTILES, Quantiles};
pub use runbook::RunbookMatch;
pub use series::{SeriesKey, ServiceName, SignalName, SourceName};
pub use severity::Severity;
pub use signal::{Direction, Measure, Signal, Unit};
pub use silence::{Recurrence, Silence};
pub use time::{UtcTime, bucket_floor, from_micros, micros};
pub use window::{Completeness, FailureKind, Row, WindowKind, Windows};

//! JSON in and out: types of its own, converted by hand, so that what clients see changes only on purpose.

pub(super) mod health;
pub(super) mod incidents;
pub(super) mod receivers;
pub(super) mod services;
pub(super) mod silences;
pub(super) mod why;

mod body;
mod params;

/// What clients send and receive; the command line uses the same types.
pub mod types {
    pub use super::health::{Health, Ready, ReadyOutbox, ReadySource, ReadyStore};
    pub use super::incidents::{
        Acknowledge, AnalysisView, AnomalyView, DeliveryView, EventView, GateView, IncidentDetail,
        IncidentList, IncidentSummary, Resolve, RunbookView, SuspectView, TimelineView,
    };
    pub use super::receivers::{TestRequest, TestStarted};
    pub use super::services::{ServiceList, ServiceView};
    pub use super::silences::{NewSilence, SilenceList, SilenceStatus, SilenceView};
    pub use super::why::{VerdictView, Why};
}

/// The answers of reading routes straight from a store, for when no daemon runs.
pub mod local {
    pub use super::incidents::{read_detail as incident, read_list as incidents};
    pub use super::silences::read_list as silences;
}

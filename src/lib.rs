//! `SentinelOps` watches logs, metrics and cloud cost per service, pages **once** with the evidence, and says
//! so when it cannot see.
//!
//! ```text
//!  sources ──windows──► detect ──findings──► incidents (single writer) ──► store
//!  (one task each)      (sync core)              │ one transaction:           ▲
//!                                                │ incident + deliveries owed │
//!                                                ▼                            │
//!                                       notify (leases what is owed, sends, records) ──► Slack, PagerDuty, …
//!                                       http (API, metrics, health)   cli
//! ```
//!
//! The modules in reading order follow the data.

pub mod model;

pub mod clock;
pub mod lifecycle;
pub mod net;
pub mod secret;
pub mod telemetry;

pub mod sources;

pub mod detect;

pub mod incidents;
pub mod notify;
pub mod store;
pub mod upkeep;

pub mod pipeline;

pub mod http;
pub mod simulate;

pub mod app;
pub mod config;

pub mod cli;

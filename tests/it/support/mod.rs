//! What the tests share: held time, waiting for a state, faults, fakes, builders.

pub(crate) mod elasticsearch;
pub(crate) mod faulty;
pub(crate) mod incidents;
pub(crate) mod messages;
pub(crate) mod pagerduty;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod recorder;
pub(crate) mod remote;
pub(crate) mod rig;
pub(crate) mod slack;
pub(crate) mod time;

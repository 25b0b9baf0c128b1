//! Every integration test, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod cli;
mod config;
mod delivery;
mod demo;
mod elasticsearch;
mod elasticsearch_polled;
mod elasticsearch_replies;
mod embedded;
mod embedded_kill;
mod embedded_rsyslog;
mod fault_sweep;
mod http;
mod judges;
mod kill;
mod outbox;
mod pagerduty;
mod scenes;
mod simulate;
mod slack;
mod source_suite;
mod store;
mod stories;
mod support;
mod tidy;
mod tls;
mod webhook;
mod writer;

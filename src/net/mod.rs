//! The outside network: the one HTTP client and the arithmetic of trying again. Knows no remote system.

mod backoff;
mod client;

pub use backoff::{Backoff, MAX_RETRY_AFTER, random, retry_after};
pub use client::{
    Error, Reach, Settings, UrlProblem, check_url, client, is_off_limits, read_bounded,
};

//! `embedded` in the settings: where the log store keeps its file, who may write to it, and how much it keeps.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `embedded` in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The file that the logs' minute buckets and events are kept in; made when missing.
    pub path: PathBuf,
    /// Where shippers write to; `null` for no listener (documents come from inside the process only).
    pub listen: Option<SocketAddr>,
    /// What shippers must present: as `ApiKey`, as `Bearer` token, or as the password of `Basic`.
    pub token: Secret,
    /// Days that minute buckets are kept. Older documents are refused.
    pub retention_days: u32,
    /// Hours that warning and error events are kept.
    pub event_hours: u32,
    /// Warning and error events kept per service and minute; the rest is only counted.
    pub events_per_minute: u32,
    /// Size of the file, in MB, above which the oldest events and then the oldest buckets are dropped.
    pub max_size_mb: u64,
    /// Size of a request, in MB, before and after decompression; larger ones are answered 413.
    pub max_body_mb: usize,
    /// MB of requests that may wait to be written; more are answered 429.
    pub queue_mb: usize,
    /// Services that are told apart; documents of further ones are refused.
    pub max_services: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("sentinelops-logs.db"),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9201))),
            token: Secret::default(),
            retention_days: 7,
            event_hours: 48,
            events_per_minute: 100,
            max_size_mb: 2_048,
            max_body_mb: 20,
            queue_mb: 64,
            max_services: 20_000,
        }
    }
}

impl Settings {
    /// What cannot work, each as `field: what is wrong and what to do`.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && self.token.is_empty()
        {
            problems.push(format!(
                "embedded.listen: {listen} can be reached from other machines, so embedded.token must be set"
            ));
        }
        if !self.token.is_empty() && self.token.expose().len() < 16 {
            problems.push("embedded.token: is shorter than 16 characters".to_owned());
        }
        let smallest = [
            ("retention_days", u64::from(self.retention_days), 1),
            ("event_hours", u64::from(self.event_hours), 1),
            ("max_size_mb", self.max_size_mb, 16),
            ("max_body_mb", self.max_body_mb as u64, 1),
            ("queue_mb", self.queue_mb as u64, self.max_body_mb as u64),
            ("max_services", self.max_services as u64, 1),
        ];
        for (field, value, least) in smallest {
            if value < least {
                problems.push(format!("embedded.{field}: is {value}, must be at least {least}"));
            }
        }
        let largest = [
            ("retention_days", u64::from(self.retention_days), 3_650),
            ("max_body_mb", self.max_body_mb as u64, 1_024),
            ("queue_mb", self.queue_mb as u64, 4_096),
            ("max_services", self.max_services as u64, 1_000_000),
        ];
        for (field, value, most) in largest {
            if value > most {
                problems.push(format!("embedded.{field}: is {value}, must be at most {most}"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_bad_ones_are_named() {
        assert_eq!(Settings::default().problems(), Vec::<String>::new());
        let open =
            Settings { listen: Some("0.0.0.0:9201".parse().unwrap()), ..Settings::default() };
        assert_eq!(
            open.problems(),
            [
                "embedded.listen: 0.0.0.0:9201 can be reached from other machines, so embedded.token must be set"
            ]
        );
        let guarded = Settings { token: Secret::new("a-token-that-is-long"), ..open };
        assert_eq!(guarded.problems(), Vec::<String>::new());
        let weak = Settings { token: Secret::new("short"), ..Settings::default() };
        assert_eq!(weak.problems(), ["embedded.token: is shorter than 16 characters"]);
        let zero = Settings { queue_mb: 1, retention_days: 0, ..Settings::default() };
        assert_eq!(
            zero.problems(),
            [
                "embedded.retention_days: is 0, must be at least 1",
                "embedded.queue_mb: is 1, must be at least 20"
            ]
        );
    }
}

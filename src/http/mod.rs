//! The API, metrics and health of the daemon.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `http` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port. An address that is not loopback needs a token.
    pub listen: SocketAddr,
    /// What clients send as `Authorization: Bearer …`; nobody is asked if it is not set.
    pub token: Secret,
    /// Where people reach this daemon: the base of links in messages, and a `Host` that is accepted.
    pub public_url: Option<String>,
    /// Further names that a `Host` header may carry.
    pub allowed_hosts: Vec<String>,
    /// Seconds after which a request is given up.
    pub deadline_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token: Secret::default(),
            public_url: None,
            allowed_hosts: Vec::new(),
            deadline_seconds: 10,
        }
    }
}

//! The API, metrics and health of the daemon. It reads the store, asks the incident writer for changes, and
//! knows detection and sources only by the traits in [`state`].

mod api;
mod auth;
mod error;
mod listener;
mod router;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::secret::Secret;

pub use api::{local, types};
pub use router::router;
pub use state::{BoxFuture, Explain, Freshness, NotNow, Question, SourceFreshness, State};

/// How many connections may be open; further ones wait to be accepted.
pub const CONNECTIONS: usize = 256;

/// After the daemon was asked to stop, how long running requests may take.
const GRACE: Duration = Duration::from_millis(500);

/// `http` in the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port. An address that is not loopback needs a token.
    pub listen: SocketAddr,
    /// What clients send as `Authorization: Bearer …`; nobody is asked if it is not set.
    pub token: Secret,
    /// Names that a `Host` header may carry, beside `localhost`, addresses and the host of
    /// `notify.base_url`.
    pub allowed_hosts: Vec<String>,
    /// Seconds after which a request is given up.
    pub deadline_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token: Secret::default(),
            allowed_hosts: Vec::new(),
            deadline_seconds: 10,
        }
    }
}

impl Settings {
    /// Whether others than this machine can connect although nobody is asked for a token.
    pub fn is_open_to_strangers(&self) -> bool {
        !self.listen.ip().is_loopback() && self.token.is_empty()
    }

    /// What is wrong with the settings: path, value and fix, a line each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.is_open_to_strangers() {
            problems.push(format!(
                "http.listen: is {}, which others can reach, and http.token is not set: set \
                 SENTINELOPS_HTTP__TOKEN (16 characters or more), or listen on 127.0.0.1",
                self.listen
            ));
        }
        if !self.token.is_empty() && self.token.expose().len() < 16 {
            problems.push("http.token: is too short to be safe: use 16 characters or more".into());
        }
        for (place, host) in self.allowed_hosts.iter().enumerate() {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
            if host.is_empty() || !host.chars().all(fits) {
                problems.push(format!(
                    "http.allowed_hosts.{place}: `{host}` is no host name: use a name without scheme \
                     and port"
                ));
            }
        }
        if !(1..=300).contains(&self.deadline_seconds) {
            problems.push(format!(
                "http.deadline_seconds: is {}, must be 1 to 300",
                self.deadline_seconds
            ));
        }
        problems
    }
}

/// The listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could connect without a token.
    #[error("listen on {0} without http.token: others can reach that address")]
    Open(SocketAddr),
    /// The address cannot be had.
    #[error("listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A bound listener with its routes.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// Binds the address of the settings, so that a test learns its port before anything runs.
    pub async fn bind(state: State) -> Result<Self, Error> {
        let settings = state.settings.borrow().clone();
        if settings.is_open_to_strangers() {
            return Err(Error::Open(settings.listen));
        }
        let fail = |source| Error::Bind { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address, state: Arc::new(state) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `soft` fires, then finishes those that run, for a moment.
    pub async fn run(self, soft: CancellationToken) {
        let asked = soft.clone();
        let serving =
            axum::serve(listener::Capped::new(self.listener, CONNECTIONS), router(self.state))
                .with_graceful_shutdown(async move { asked.cancelled().await });
        tokio::select! {
            // The listener retries by itself: the server ends only when asked to.
            ended = async { serving.await } => {
                if let Err(error) = ended {
                    tracing::error!(error.message = %error, "the HTTP listener ended");
                }
            }
            () = async { soft.cancelled().await; tokio::time::sleep(GRACE).await } => {
                tracing::debug!("requests were still running at the end");
            }
        }
    }
}

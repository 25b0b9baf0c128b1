//! What stand-ins for remote systems share: a listener on loopback that ends with the test, and answers that a
//! test scripts in advance: refusals, throttling, broken replies, silence.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A listener on loopback; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Remote {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    _tasks: JoinSet<()>,
}

impl Remote {
    pub(crate) fn start(listener: TcpListener, router: Router) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, _tasks: tasks }
    }
}

/// An answer other than the ordinary one.
#[derive(Debug, Clone)]
pub(crate) enum Hard {
    /// This status, these headers, this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// None, ever.
    Silence,
    /// The ordinary one.
    Pass,
    /// The request is carried out, but the caller hears nothing of it.
    Lost,
}

impl Hard {
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), "no".to_owned())
    }

    pub(crate) fn throttled(seconds: u32) -> Self {
        Self::Status(429, vec![("Retry-After", seconds.to_string())], String::new())
    }

    /// How Slack says no.
    pub(crate) fn code(code: &str) -> Self {
        let json = vec![("Content-Type", "application/json".to_owned())];
        Self::Status(200, json, format!(r#"{{"ok":false,"error":"{code}"}}"#))
    }

    pub(crate) async fn answer(self) -> Response {
        match self {
            Self::Silence | Self::Lost | Self::Pass => pending().await,
            Self::Status(status, headers, body) => {
                let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        }
    }
}

/// Hard answers to come, each for the next request to an address that ends as given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(Arc<Mutex<VecDeque<(&'static str, Hard)>>>);

impl Script {
    pub(crate) fn next(&self, suffix: &'static str, answer: Hard) {
        self.0.lock().unwrap().push_back((suffix, answer));
    }

    /// Takes the first answer that is meant for this address.
    pub(crate) fn take(&self, address: &str) -> Option<Hard> {
        let mut script = self.0.lock().unwrap();
        let index = script.iter().position(|(suffix, _)| address.ends_with(suffix))?;
        script.remove(index).map(|(_, answer)| answer).filter(|hard| !matches!(hard, Hard::Pass))
    }
}

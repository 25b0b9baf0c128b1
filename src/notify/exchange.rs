//! One HTTP exchange with a receiver, and the class of its failure. Knows no receiver.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, StatusCode};

use super::message::clean;
use super::{Failure, Reason, Retry};
use crate::model::UtcTime;
use crate::net::{read_bounded, retry_after};

/// How much of an answer is read: every receiver answers far less.
const LONGEST_ANSWER: usize = 256 * 1024;

/// What a receiver answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// What `Retry-After` asked for.
    pub(super) wait: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body for people: one line, without the secret if the receiver repeats it.
    pub(super) fn excerpt(&self, secret: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = if secret.is_empty() { text.into_owned() } else { text.replace(secret, "***") };
        clean(&text, 200)
    }

    /// The failure that a status stands for; those of 2xx are the caller's to know.
    pub(super) fn failure(&self, who: &str, secret: &str) -> Failure {
        let status = self.status;
        let later = self.wait.map_or(Retry::Later, Retry::After);
        let (reason, retry) = match status.as_u16() {
            401 | 403 => (Reason::Denied, Retry::Never),
            408 => (Reason::Deadline, later),
            429 => (Reason::Throttled, later),
            500.. => (Reason::Unavailable, later),
            200..=299 => (Reason::Malformed, Retry::Later),
            _ => (Reason::Refused, Retry::Never),
        };
        let excerpt = self.excerpt(secret);
        let colon = if excerpt.is_empty() { "" } else { ": " };
        let moved = if status.is_redirection() { " (redirects are not followed)" } else { "" };
        Failure {
            reason,
            detail: format!("{who} answered {}{moved}{colon}{excerpt}", status.as_u16()),
            retry,
        }
    }
}

/// Sends a request and reads the answer, whatever its status.
pub(super) async fn exchange(
    request: RequestBuilder,
    who: &str,
    now: UtcTime,
) -> Result<Answer, Failure> {
    let response = request.send().await.map_err(|error| broken(who, error))?;
    let status = response.status();
    let wait = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, now));
    let body = read_bounded(response, LONGEST_ANSWER).await.map_err(|error| broken(who, error))?;
    Ok(Answer { status, wait, body })
}

/// The class of an exchange without an answer. The URL is left out: it may hold a token.
fn broken(who: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut detail = format!("{who} gave no answer: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        detail = format!("{detail}: {inner}");
        source = inner.source();
    }
    let (reason, retry) = if error.is_timeout() {
        (Reason::Deadline, Retry::Later)
    } else if error.is_builder() {
        (Reason::Refused, Retry::Never)
    } else {
        (Reason::Unreachable, Retry::Later)
    };
    Failure { reason, detail: clean(&detail, 400), retry }
}

//! Slack's Web API: one call, and the class of its failure. Slack says "no" with HTTP 200 and `ok: false`.

use std::time::Duration;

use serde_json::Value;

use crate::model::UtcTime;
use crate::notify::exchange::{Answer, exchange};
use crate::notify::settings::Slack as Settings;
use crate::notify::{Failure, Reason, Retry};

/// How long to wait where Slack asks to slow down without saying how much.
const SLOW_DOWN: Duration = Duration::from_secs(30);

/// A call that failed: Slack's code, where it gave one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) failure: Failure,
}

impl Refusal {
    /// The message that should be edited or replied to is not there any more, or not ours to edit.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self.code.as_str(),
            "message_not_found"
                | "thread_not_found"
                | "cant_update_message"
                | "edit_window_closed"
                | "update_failed"
        )
    }

    /// Slack did not like how the message was built: a plain one may still pass.
    pub(super) fn is_about_form(&self) -> bool {
        matches!(
            self.code.as_str(),
            "invalid_blocks"
                | "invalid_blocks_format"
                | "msg_too_long"
                | "msg_blocks_too_long"
                | "block_mismatch"
                | "invalid_arguments"
                | "invalid_attachments"
                | "no_text"
        )
    }
}

/// How the arguments of a method are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arguments<'a> {
    Json(&'a Value),
    Form(&'a [(&'a str, String)]),
}

/// Calls a method and answers its reply, which has `ok: true`.
pub(super) async fn call(
    client: &reqwest::Client,
    settings: &Settings,
    method: &str,
    arguments: Arguments<'_>,
    now: UtcTime,
) -> Result<Value, Refusal> {
    let url = format!("{}/{method}", settings.base_url.trim_end_matches('/'));
    let request = client.post(url).bearer_auth(settings.token.expose());
    let request = match arguments {
        Arguments::Json(body) => {
            request.header("Content-Type", "application/json; charset=utf-8").body(body.to_string())
        }
        Arguments::Form(pairs) => request.form(pairs),
    };
    let answer = exchange(request, "Slack", now)
        .await
        .map_err(|failure| Refusal { code: String::new(), failure })?;
    read(&answer, settings.token.expose())
}

fn read(answer: &Answer, token: &str) -> Result<Value, Refusal> {
    if !answer.status.is_success() {
        let mut failure = answer.failure("Slack", token);
        if failure.reason == Reason::Throttled && failure.retry == Retry::Later {
            failure.retry = Retry::After(SLOW_DOWN);
        }
        return Err(Refusal { code: String::new(), failure });
    }
    let reply: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match reply.as_ref().and_then(|reply| reply.get("ok")?.as_bool()) {
        Some(true) => Ok(reply.unwrap_or_default()),
        Some(false) => {
            let code = reply
                .as_ref()
                .and_then(|reply| reply.get("error")?.as_str())
                .unwrap_or("no error code");
            Err(refusal(code, answer.wait))
        }
        None => Err(Refusal { code: String::new(), failure: answer.failure("Slack", token) }),
    }
}

/// The class of one of Slack's error codes, and what to do about it.
pub(super) fn refusal(code: &str, wait: Option<Duration>) -> Refusal {
    let code = crate::notify::message::clean(code, 80);
    let (reason, retry, fix) = match code.as_str() {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" | "rate_limit_exceeded" => {
            (Reason::Throttled, Retry::After(wait.unwrap_or(SLOW_DOWN)), "")
        }
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => (Reason::Unavailable, Retry::Later, ""),
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => (
            Reason::Denied,
            Retry::Never,
            ": give it a valid bot token (notify.slack.….token, SLACK_BOT_TOKEN)",
        ),
        "missing_scope" | "no_permission" | "not_allowed_token_type" | "access_denied" => {
            (Reason::Denied, Retry::Never, ": the bot token needs the scope chat:write")
        }
        "channel_not_found" | "not_in_channel" | "is_archived" => (
            Reason::Refused,
            Retry::Never,
            ": correct notify.slack.….channel and invite the bot to that channel",
        ),
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_non_threadable_channel"
        | "restricted_action_thread_only_channel" => {
            (Reason::Refused, Retry::Never, ": let the bot post in that channel")
        }
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_too_long"
        | "msg_blocks_too_long"
        | "invalid_arguments"
        | "no_text" => (Reason::Refused, Retry::Never, ""),
        // Not known to be for ever: the dispatcher gives up in the end.
        _ => (Reason::Refused, Retry::Later, ""),
    };
    let failure = Failure { reason, detail: format!("Slack answered {code}{fix}"), retry };
    Refusal { code, failure }
}

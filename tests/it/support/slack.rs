//! A stand-in for Slack's Web API: refuses what Slack refuses, remembers its messages and who called what.
//! `tests/judges/slack_judge.py` holds it to the vendor's own client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::remote::{Hard, Remote, Script};

pub(crate) const TOKEN: &str = "xoxb-test-token";
pub(crate) const CHANNEL: &str = "C0123456789";

/// A running stand-in.
#[derive(Debug)]
pub(crate) struct FakeSlack {
    /// What a receiver's `base_url` should be.
    pub(crate) url: String,
    /// Hard answers to come, by method.
    pub(crate) script: Script,
    state: Arc<Mutex<Book>>,
    _remote: Remote,
}

/// What it remembers.
#[derive(Debug, Default)]
struct Book {
    calls: Vec<(String, Value)>,
    messages: BTreeMap<String, Value>,
    uploads: BTreeMap<String, Vec<u8>>,
    shared: Vec<Value>,
    host: String,
}

#[derive(Debug, Clone)]
struct Shared {
    book: Arc<Mutex<Book>>,
    script: Script,
}

impl FakeSlack {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(Mutex::new(Book {
            host: format!("http://{}", listener.local_addr().unwrap()),
            ..Book::default()
        }));
        let script = Script::default();
        let shared = Shared { book: state.clone(), script: script.clone() };
        let router = Router::new().fallback(any(handle)).with_state(shared);
        let remote = Remote::start(listener, router);
        Self { url: format!("{}/api", remote.url), script, state, _remote: remote }
    }

    /// The methods called so far, in order.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.iter().map(|(method, _)| method.clone()).collect()
    }

    /// The arguments of the calls of a method.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let book = self.state.lock().unwrap();
        let of = book.calls.iter().filter(|(called, _)| called == method);
        of.map(|(_, arguments)| arguments.clone()).collect()
    }

    /// The messages as they stand now, oldest first; replies have `thread_ts`.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.state.lock().unwrap().messages.values().cloned().collect()
    }

    /// Files shared, with their bytes.
    pub(crate) fn files(&self) -> Vec<(Value, Vec<u8>)> {
        let book = self.state.lock().unwrap();
        let bytes = |file: &Value| {
            let id = file["files"][0]["id"].as_str().unwrap_or_default();
            book.uploads.get(id).cloned().unwrap_or_default()
        };
        book.shared.iter().map(|file| (file.clone(), bytes(file))).collect()
    }

    /// As when somebody deletes every message.
    pub(crate) fn delete_messages(&self) {
        self.state.lock().unwrap().messages.clear();
    }
}

async fn handle(State(shared): State<Shared>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let body = to_bytes(request.into_body(), 10_000_000).await.unwrap();
    if let Some(file) = path.strip_prefix("/upload/") {
        shared.book.lock().unwrap().uploads.insert(file.to_owned(), body.to_vec());
        return "OK".into_response();
    }
    let method = path.trim_start_matches("/api/").to_owned();
    let arguments = arguments(&headers, &query, &body);
    shared.book.lock().unwrap().calls.push((method.clone(), arguments.clone()));
    let hard = shared.script.take(&method);
    if let Some(hard) = hard.clone().filter(|hard| !matches!(hard, Hard::Lost)) {
        return hard.answer().await;
    }
    let authorized = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
    let reply = if authorized {
        shared.book.lock().unwrap().answer(&method, &arguments)
    } else {
        Err("invalid_auth")
    };
    if hard.is_some() {
        return Hard::Lost.answer().await;
    }
    match reply {
        Ok(mut reply) => {
            reply["ok"] = json!(true);
            Json(reply).into_response()
        }
        Err(code) => Json(json!({ "ok": false, "error": code })).into_response(),
    }
}

/// Arguments come as JSON, as a form or in the query, where structures are JSON text.
fn arguments(headers: &HeaderMap, query: &str, body: &Bytes) -> Value {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return serde_json::from_slice(body).unwrap_or_default();
    }
    let mut arguments = json!({});
    for pairs in [query.as_bytes(), body] {
        for (name, value) in url::form_urlencoded::parse(pairs) {
            let parsed = ["blocks", "files"].contains(&&*name);
            let value = match serde_json::from_str::<Value>(&value) {
                Ok(json) if parsed => json,
                _ => json!(value),
            };
            arguments[&*name] = value;
        }
    }
    arguments
}

type Reply = Result<Value, &'static str>;

impl Book {
    fn answer(&mut self, method: &str, arguments: &Value) -> Reply {
        match method {
            "chat.postMessage" => self.post(arguments),
            "chat.update" => self.update(arguments),
            "files.getUploadURLExternal" => self.upload_url(arguments),
            "files.completeUploadExternal" => self.complete(arguments),
            _ => Err("unknown_method"),
        }
    }

    fn post(&mut self, arguments: &Value) -> Reply {
        let channel = arguments["channel"].as_str().unwrap_or_default();
        if channel != CHANNEL && channel != "#alerts" {
            return Err("channel_not_found");
        }
        form(arguments)?;
        if let Some(thread) = arguments["thread_ts"].as_str()
            && !self.messages.contains_key(thread)
        {
            return Err("thread_not_found");
        }
        let ts = format!("1763694{:03}.{:06}", self.calls.len(), self.messages.len());
        self.messages.insert(ts.clone(), arguments.clone());
        Ok(json!({ "channel": CHANNEL, "ts": ts, "message": { "text": arguments["text"] } }))
    }

    fn update(&mut self, arguments: &Value) -> Reply {
        // Unlike posting, editing wants the channel's id.
        if arguments["channel"] != CHANNEL {
            return Err("channel_not_found");
        }
        form(arguments)?;
        let ts = arguments["ts"].as_str().unwrap_or_default().to_owned();
        let message = self.messages.get_mut(&ts).ok_or("message_not_found")?;
        message["text"] = arguments["text"].clone();
        message["blocks"] = arguments["blocks"].clone();
        Ok(json!({ "channel": CHANNEL, "ts": ts, "text": arguments["text"] }))
    }

    fn upload_url(&mut self, arguments: &Value) -> Reply {
        let length: Option<usize> =
            arguments["length"].as_str().and_then(|length| length.parse().ok());
        if length.is_none_or(|length| length == 0) || arguments["filename"].as_str().is_none() {
            return Err("invalid_arguments");
        }
        let id = format!("F{:010}", self.calls.len());
        Ok(json!({ "upload_url": format!("{}/upload/{id}", self.host), "file_id": id }))
    }

    fn complete(&mut self, arguments: &Value) -> Reply {
        let id = arguments["files"][0]["id"].as_str().unwrap_or_default();
        if !self.uploads.contains_key(id) {
            return Err("file_not_found");
        }
        if let Some(thread) = arguments["thread_ts"].as_str()
            && !self.messages.contains_key(thread)
        {
            return Err("invalid_thread_ts");
        }
        self.shared.push(arguments.clone());
        Ok(json!({ "files": [{ "id": id, "title": arguments["files"][0]["title"] }] }))
    }
}

/// What Slack checks of a message's form.
fn form(arguments: &Value) -> Result<(), &'static str> {
    let text = arguments["text"].as_str().unwrap_or_default();
    let none = Vec::new();
    let blocks = arguments["blocks"].as_array().unwrap_or(&none);
    if text.is_empty() && blocks.is_empty() {
        return Err("no_text");
    }
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    if blocks.len() > 50 || !blocks.iter().all(is_block) {
        return Err("invalid_blocks");
    }
    let all: usize = blocks.iter().map(|block| block.to_string().chars().count()).sum();
    if all > 13_200 { Err("msg_blocks_too_long") } else { Ok(()) }
}

fn is_block(block: &Value) -> bool {
    let fits = |text: &Value, limit: usize| {
        text["text"].as_str().is_some_and(|text| (1..=limit).contains(&text.chars().count()))
    };
    match block["type"].as_str() {
        Some("header") => block["text"]["type"] == "plain_text" && fits(&block["text"], 150),
        Some("section") => fits(&block["text"], 3_000),
        Some("context") => block["elements"]
            .as_array()
            .is_some_and(|all| (1..=10).contains(&all.len()) && all.iter().all(|e| fits(e, 3_000))),
        Some("divider") => true,
        _ => false,
    }
}

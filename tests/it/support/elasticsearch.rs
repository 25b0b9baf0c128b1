//! A real Elasticsearch for tests: one node a test process, an index prefix a test.
//!
//! `ES_TEST_URL` names a running node; without it this starts `tests/servers/elasticsearch/es-node`, which ends
//! with the process. Tests that change settings of the cluster take the node for themselves.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURNS: RwLock<()> = RwLock::const_new(());

/// The password of user `elastic` on the node with security.
pub(crate) const PASSWORD: &str = "of-the-tests";

/// The node, and a name that no other test uses.
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) prefix: String,
    http: reqwest::Client,
    login: Option<(String, String)>,
    _turn: Turn,
}

#[expect(dead_code, reason = "held for the time of the test")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
    Own,
}

impl Node {
    /// The node, shared with other tests.
    pub(crate) async fn shared() -> Self {
        let turn = Turn::Shared(TURNS.read().await);
        Self::with(node().await, None, turn)
    }

    /// The node, with no other test on it.
    pub(crate) async fn alone() -> Self {
        let turn = Turn::Alone(TURNS.write().await);
        Self::with(node().await, None, turn)
    }

    /// A node with users and keys.
    pub(crate) async fn secured() -> Self {
        static URL: OnceLock<String> = OnceLock::new();
        let url = tokio::task::spawn_blocking(|| URL.get_or_init(|| start(Some(PASSWORD))).clone())
            .await
            .unwrap();
        Self::with(url, Some(("elastic".to_owned(), PASSWORD.to_owned())), Turn::Own)
    }

    fn with(url: String, login: Option<(String, String)>, turn: Turn) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let prefix = format!("t{}-{number}", std::process::id());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, prefix, http, login, _turn: turn }
    }

    /// Sends a request; answers its status and body.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}/{path}", self.url));
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// As [`Node::ask`]; fails the test unless it succeeds.
    pub(crate) async fn must(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes an index with the mapping of the rival's simulator.
    pub(crate) async fn make_index(&self, index: &str) {
        let mappings = json!({"properties": {
            "@timestamp": {"type": "date"},
            "service": {"properties": {"name": {"type": "keyword"}}},
            "level": {"type": "keyword"},
            "message": {"type": "text"},
            "duration_ms": {"type": "float"},
            "status_code": {"type": "integer"},
        }});
        self.make_index_with(index, mappings).await;
    }

    pub(crate) async fn make_index_with(&self, index: &str, mappings: Value) {
        let settings = json!({"number_of_shards": 1, "number_of_replicas": 0});
        let body = json!({"settings": settings, "mappings": mappings});
        self.must("PUT", index, Some(body)).await;
    }

    /// Writes documents and makes them visible; answers how many were refused.
    pub(crate) async fn write(&self, index: &str, documents: &[Value]) -> usize {
        let mut refused = 0;
        for some in documents.chunks(10_000) {
            let mut body = String::new();
            for document in some {
                body.push_str("{\"index\":{}}\n");
                body.push_str(&document.to_string());
                body.push('\n');
            }
            let mut request = self
                .http
                .post(format!("{}/{index}/_bulk?refresh=true", self.url))
                .header("content-type", "application/x-ndjson")
                .body(body);
            if let Some((user, password)) = &self.login {
                request = request.basic_auth(user, Some(password));
            }
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
            refused += items.iter().filter(|item| item["index"]["error"].is_object()).count();
        }
        refused
    }

    /// Sets or (with null) resets a setting of the cluster.
    pub(crate) async fn set(&self, setting: &str, value: Value) {
        let body = json!({"persistent": {setting: value}});
        self.must("PUT", "_cluster/settings", Some(body)).await;
    }
}

async fn node() -> String {
    static URL: OnceLock<String> = OnceLock::new();
    tokio::task::spawn_blocking(|| {
        URL.get_or_init(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "tests are told by the script that runs them"
            )]
            let given = std::env::var("ES_TEST_URL").ok().filter(|url| !url.is_empty());
            given.unwrap_or_else(|| start(None))
        })
        .clone()
    })
    .await
    .unwrap()
}

/// Starts a node and waits until it is ready.
fn start(password: Option<&str>) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/elasticsearch/es-node");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig=TERM", "--"])
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(password) = password {
        command.env("ES_NODE_PASSWORD", password);
    }
    let (sender, receiver) = mpsc::channel();
    #[expect(clippy::zombie_processes, reason = "it ends with this process, which asks it to")]
    // From a thread that never ends: the kernel takes the end of the thread that started a child for the
    // parent's death.
    std::thread::spawn(move || {
        let mut child = command.spawn().expect("setpriv is missing: apt-get install util-linux");
        let output = BufReader::new(child.stdout.take().unwrap());
        for line in output.lines() {
            let line = line.unwrap_or_default();
            if let Some(url) = line.strip_prefix("READY ") {
                sender.send(url.to_owned()).unwrap();
                loop {
                    std::thread::park();
                }
            }
        }
    });
    receiver.recv().expect("es-node ended before it was ready; what it says stands above")
}

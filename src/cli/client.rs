//! Speaks to the daemon's HTTP API.

use anyhow::{Context, anyhow, bail};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Remote;
use crate::config::{Config, Environment, Origins};
use crate::net::{self, Reach};
use crate::secret::Secret;
use crate::store::Store;

/// More than any answer of ours.
const LIMIT: usize = 16 * 1024 * 1024;

/// An argument that clap cannot judge.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadArgument(pub(super) String);

/// The daemon could not be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("no daemon answers at {url}")]
pub(super) struct Unreachable {
    url: String,
    #[source]
    source: reqwest::Error,
}

/// Speaks to one daemon.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    token: Secret,
    http: reqwest::Client,
    /// The settings, if they could be read: where the store is.
    config: Option<Config>,
    /// Whether somebody named the daemon: then nothing else stands in for it.
    named: bool,
    pub(super) environment: Environment,
}

impl Client {
    /// Finds the daemon: `--url`, `SENTINELOPS_URL`, or the listener of the settings.
    pub(super) fn new(remote: &Remote, origins: &Origins) -> anyhow::Result<Self> {
        let environment = Environment::read(&origins.directory)?;
        let named =
            remote.url.clone().or_else(|| environment.get("SENTINELOPS_URL").map(str::to_owned));
        let config = match origins.load_with(&environment) {
            Ok(config) => Some(config),
            // Whoever names the daemon may not be allowed to read its settings.
            Err(_) if named.is_some() => None,
            Err(error) => return Err(error.into()),
        };
        let base = match (&named, &config) {
            (Some(url), _) => {
                net::check_url(url)
                    .map_err(|problem| BadArgument(format!("--url `{url}` {problem}")))?;
                Url::parse(url).with_context(|| format!("read the URL {url}"))?
            }
            (None, Some(config)) => listener(config)?,
            (None, None) => bail!("no daemon is known"),
        };
        let token = environment
            .get("SENTINELOPS_TOKEN")
            .map(Secret::new)
            .or_else(|| config.as_ref().map(|config| config.http.token.clone()))
            .unwrap_or_default();
        let net = config.as_ref().map(|config| config.net.clone()).unwrap_or_default();
        let http = net::client(&net, Reach::Anywhere).context("set up the HTTP client")?;
        Ok(Self { base, token, http, config, named: named.is_some(), environment })
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.ask(Method::GET, path, query, None::<&()>).await
    }

    /// Sends something.
    pub(super) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
    ) -> anyhow::Result<T> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    /// Ends something.
    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.ask(Method::DELETE, path, query, None::<&()>).await
    }

    async fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> anyhow::Result<T> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} cannot be a base URL", self.base))?
            .pop_if_empty()
            .extend(path);
        let mut request = self.http.request(method, url).query(query);
        if !self.token.is_empty() {
            request = request.bearer_auth(self.token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| Unreachable {
            url: self.base.to_string(),
            source: error.without_url(),
        })?;
        let status = answer.status();
        let text = net::read_bounded(answer, LIMIT).await.context("read the daemon's answer")?;
        // `/ready` answers 503 with the same body.
        if status.is_success() || (status == StatusCode::SERVICE_UNAVAILABLE && path == ["ready"]) {
            return serde_json::from_slice(&text)
                .context("the daemon's answer cannot be read: is it of another version?");
        }
        Err(refusal(status, &text))
    }

    /// The store of the settings, where no daemon could be reached and reading it says the same. Answers the
    /// error otherwise.
    pub(super) async fn store_instead(&self, error: anyhow::Error) -> anyhow::Result<Store> {
        let (Some(config), false, true) = (&self.config, self.named, error.is::<Unreachable>())
        else {
            return Err(error);
        };
        if let Some(path) = config.store.url.strip_prefix("sqlite:") {
            let path = path.trim_start_matches("//").split('?').next().unwrap_or(path);
            if !std::path::Path::new(path).exists() {
                return Err(error.context(format!("there is no store at {path} either")));
            }
        }
        let store = Store::open(&config.store).await.context("open the store")?;
        super::say(&format!("note: {error}; reading the store itself\n"));
        Ok(store)
    }
}

fn refusal(status: StatusCode, text: &[u8]) -> anyhow::Error {
    let detail = serde_json::from_slice::<serde_json::Value>(text)
        .ok()
        .and_then(|body| Some(body.get("detail")?.as_str()?.to_owned()))
        .unwrap_or_else(|| "no reason given".to_owned());
    match status {
        StatusCode::UNAUTHORIZED => {
            anyhow!("the daemon asks for a token: set SENTINELOPS_TOKEN to its http.token")
        }
        StatusCode::UNPROCESSABLE_ENTITY => BadArgument(detail).into(),
        status => anyhow!("{detail} ({})", status.as_u16()),
    }
}

/// Where a daemon with these settings listens, seen from this machine.
fn listener(config: &Config) -> anyhow::Result<Url> {
    let mut address = config.http.listen;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    Url::parse(&format!("http://{address}/")).with_context(|| format!("read the address {address}"))
}

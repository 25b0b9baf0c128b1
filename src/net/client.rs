//! The one HTTP client builder: TLS by the system's trust store (and a CA file of the operator's), deadlines on
//! everything, no redirects.
//!
//! **Address policy.** Webhook and heartbeat URLs come from the operator's settings, so private addresses are
//! allowed: internal receivers are the ordinary case. What is refused, as an address in the URL and again after
//! name resolution ([`Reach::Guarded`]): link-local addresses and the metadata services of clouds, which hand out
//! credentials to whoever asks from inside. Redirects are never followed, so a receiver cannot send us there
//! either. User names and passwords in URLs are refused, because URLs appear in logs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// `net` in the settings: how we speak to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A PEM file with further certificate authorities, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Seconds until a connection must stand.
    pub connect_timeout_seconds: u64,
    /// Seconds until an answer must be complete.
    pub timeout_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ca_file: None, connect_timeout_seconds: 5, timeout_seconds: 15 }
    }
}

impl Settings {
    /// What is wrong with the settings: path, value and fix, a line each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("connect_timeout_seconds", self.connect_timeout_seconds),
            ("timeout_seconds", self.timeout_seconds),
        ] {
            if !(1..=120).contains(&value) {
                problems.push(format!("net.{name} is {value}: use 1 to 120 seconds"));
            }
        }
        problems
    }
}

/// Where a client may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Wherever its base URL says: vendors' services and stand-ins for them.
    Anywhere,
    /// Not to the addresses that [`is_off_limits`]: for URLs that say nothing about who listens there.
    Guarded,
}

/// A client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA file could not be read.
    #[error("net.ca_file {} cannot be read", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The CA file holds no certificate.
    #[error("net.ca_file {} holds no PEM certificate", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// Why not, if the text could be parsed that far.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// TLS could not be set up.
    #[error("the HTTP client cannot be set up")]
    Build(#[source] reqwest::Error),
}

/// Builds a client: the only place that does.
pub fn client(settings: &Settings, reach: Reach) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("sentinelops/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(settings.connect_timeout_seconds))
        .timeout(Duration::from_secs(settings.timeout_seconds))
        .pool_idle_timeout(Duration::from_mins(1))
        .redirect(Policy::none());
    if let Some(path) = &settings.ca_file {
        let pem =
            std::fs::read(path).map_err(|source| Error::CaFile { path: path.clone(), source })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|source| Error::NoCertificate { path: path.clone(), source: Some(source) })?;
        if certificates.is_empty() {
            return Err(Error::NoCertificate { path: path.clone(), source: None });
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if reach == Reach::Guarded {
        builder = builder.dns_resolver(Arc::new(GuardedResolver));
    }
    builder.build().map_err(Error::Build)
}

/// What is wrong with a URL from the settings; reads after the setting's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// No URL at all, or one without a host.
    #[error("is no full URL: write https://host/path")]
    NotAUrl,
    /// Neither http nor https.
    #[error("begins with `{0}:`: use https (or http inside your own network)")]
    Scheme(String),
    /// Holds a user name or password.
    #[error("holds a user name or password, which would appear in logs: remove it")]
    Credentials,
    /// An address that must not be asked.
    #[error(
        "points at {0}, a link-local or cloud metadata address: use the receiver's own address"
    )]
    OffLimits(String),
}

/// Parses a URL from the settings and applies the address policy to what is written in it.
pub fn check_url(text: &str) -> Result<Url, UrlProblem> {
    let url = Url::parse(text.trim()).map_err(|_| UrlProblem::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlProblem::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::Credentials);
    }
    let address = match url.host().ok_or(UrlProblem::NotAUrl)? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
    };
    match address {
        Some(address) if is_off_limits(address) => Err(UrlProblem::OffLimits(address.to_string())),
        _ => Ok(url),
    }
}

/// Whether an address is link-local or a cloud's metadata service.
pub fn is_off_limits(address: IpAddr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const AWS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4 == ALIBABA
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_off_limits(IpAddr::V4(v4)),
            None => v6.is_unicast_link_local() || v6.is_unspecified() || v6 == AWS_V6,
        },
    }
}

/// Resolves names as the system does, then drops the addresses that are off limits.
#[derive(Debug, Clone, Copy)]
struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| !is_off_limits(address.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::other(
                    "the name has no address, or only link-local or metadata addresses",
                )
                .into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Reads an answer's body up to `limit` bytes; what is longer is cut off, never kept.
pub async fn read_bounded(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        body.extend(chunk.iter().take(room));
        if body.len() >= limit {
            break;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn urls_are_held_to_the_policy() {
        for good in [
            "https://hooks.example.com/services/T1?x=1",
            "http://127.0.0.1:9000/",
            "http://10.1.2.3/hook",
            "https://[::1]/",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        let shown: Vec<String> = [
            "hooks.example.com/x",
            "file:///etc/passwd",
            "https://user:pw@example.com/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]/",
            "http://0xa9fea9fe/",
            "https://",
        ]
        .iter()
        .map(|bad| format!("`{bad}` {}", check_url(bad).unwrap_err()))
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn a_wrong_ca_file_is_named() {
        let mut settings =
            Settings { ca_file: Some("/nowhere/ca.pem".into()), ..Settings::default() };
        let error = client(&settings, Reach::Anywhere).unwrap_err();
        assert_eq!(error.to_string(), "net.ca_file /nowhere/ca.pem cannot be read");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"no certificate").unwrap();
        settings.ca_file = Some(file.path().into());
        let error = client(&settings, Reach::Anywhere).unwrap_err();
        assert!(error.to_string().ends_with("holds no PEM certificate"), "{error}");
    }

    #[tokio::test]
    async fn names_that_lead_to_metadata_are_not_resolved() {
        // A number is a name to the resolver, and needs no name server.
        let resolve = |name: &str| GuardedResolver.resolve(name.parse().unwrap());
        assert!(resolve("169.254.169.254").await.is_err());
        let allowed: Vec<SocketAddr> = resolve("127.0.0.1").await.ok().unwrap().collect();
        assert_eq!(allowed, ["127.0.0.1:0".parse().unwrap()]);
    }

    #[test]
    fn deadlines_are_bounded() {
        assert!(Settings::default().problems().is_empty());
        let settings = Settings { timeout_seconds: 0, ..Settings::default() };
        assert_eq!(settings.problems(), ["net.timeout_seconds is 0: use 1 to 120 seconds"]);
    }
}

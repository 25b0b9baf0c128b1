//! From the settings to a transport: nodes, credentials, certificates.

use std::io;
use std::path::PathBuf;

use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{HeaderName, HeaderValue};
use elasticsearch::http::transport::{
    BuildError, MultiNodeConnectionPool, Transport, TransportBuilder,
};
use url::Url;

use super::settings::Settings;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A URL could not be read.
    #[error("elasticsearch.url `{url}` is no URL")]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        #[source]
        source: url::ParseError,
    },
    /// No URL was given.
    #[error("elasticsearch.url is empty")]
    NoUrl,
    /// The CA file could not be read.
    #[error("elasticsearch.ca_file {} cannot be read", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The CA file holds no certificate.
    #[error("elasticsearch.ca_file {} holds no PEM certificate", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The official client refused its settings.
    #[error("Elasticsearch's client cannot be set up")]
    Setup(#[source] BuildError),
}

/// A transport that asks the nodes in turn. Opens no connection yet.
pub(super) fn transport(settings: &Settings) -> Result<Transport, Error> {
    let mut urls = Vec::new();
    for url in settings.urls() {
        let mut parsed =
            Url::parse(url).map_err(|source| Error::Url { url: url.to_owned(), source })?;
        // A path without a final slash would lose its last segment when joined.
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        urls.push(parsed);
    }
    if urls.is_empty() {
        return Err(Error::NoUrl);
    }
    let mut builder = TransportBuilder::new(MultiNodeConnectionPool::round_robin(urls, None))
        .header(HeaderName::from_static("x-opaque-id"), HeaderValue::from_static("sentinelops"));
    if let Some(credentials) = credentials(settings) {
        builder = builder.auth(credentials);
    }
    if !settings.tls_verify {
        builder = builder.cert_validation(CertificateValidation::None);
    } else if let Some(path) = &settings.ca_file {
        let pem =
            std::fs::read(path).map_err(|source| Error::CaFile { path: path.clone(), source })?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|_| Error::NoCertificate { path: path.clone() })?;
        builder = builder.cert_validation(CertificateValidation::Full(certificate));
    }
    builder.build().map_err(Error::Setup)
}

fn credentials(settings: &Settings) -> Option<Credentials> {
    let key = settings.api_key.expose();
    if let Some((id, secret)) = key.split_once(':') {
        return Some(Credentials::ApiKey(id.to_owned(), secret.to_owned()));
    }
    if !key.is_empty() {
        return Some(Credentials::EncodedApiKey(key.to_owned()));
    }
    let user = settings.username.clone();
    (!user.is_empty()).then(|| Credentials::Basic(user, settings.password.expose().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::secret::Secret;

    fn refused(settings: &Settings) -> String {
        let error = transport(settings).map(|_| ()).unwrap_err();
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("ca.pem");
        std::fs::write(&text, "no certificate at all").unwrap();
        let sound = Settings { url: "https://es:9200".to_owned(), ..Settings::default() };
        let with =
            |path: &std::path::Path| Settings { ca_file: Some(path.to_owned()), ..sound.clone() };
        assert_eq!(refused(&Settings::default()), "elasticsearch.url is empty");
        let absent = refused(&with(&folder.path().join("absent.pem")));
        assert!(absent.contains("absent.pem cannot be read: No such file"), "{absent}");
        let empty = refused(&with(&text));
        assert!(empty.ends_with("ca.pem holds no PEM certificate"), "{empty}");
        let odd = Settings { url: "es 9200".to_owned(), ..sound.clone() };
        assert!(refused(&odd).starts_with("elasticsearch.url `es 9200` is no URL"));
        assert!(transport(&sound).is_ok());
    }

    #[test]
    fn keys_go_before_users_in_both_forms() {
        let with = |key: &str| Settings {
            api_key: Secret::new(key),
            username: "elastic".to_owned(),
            ..Settings::default()
        };
        assert!(matches!(credentials(&with("")), Some(Credentials::Basic(..))));
        assert!(matches!(credentials(&with("aWQ6a2V5")), Some(Credentials::EncodedApiKey(_))));
        assert!(matches!(credentials(&with("id:key")), Some(Credentials::ApiKey(..))));
        assert!(credentials(&Settings::default()).is_none());
    }
}

//! Assembles the settings: defaults ← `config.yaml` ← environment. Every section lives beside its owner and
//! knows nothing of this module; rules that span sections are in [`check`].

mod catalogue;
mod check;
mod env;
mod explain;
mod layers;
mod rooms;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::incidents::CorrelationSettings as Correlation;
pub use env::{Environment, NAMES, Origin, RESERVED};
pub use rooms::Analyzer;

use layers::Layer;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "config.yaml";

/// More than any file of settings needs.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Every setting of the daemon. Prints without secrets.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// When sources are read.
    pub polling: crate::sources::Settings,
    /// Logs and metrics in Elasticsearch.
    pub elasticsearch: crate::sources::elasticsearch::Settings,
    /// The log store of the daemon itself, used when no Elasticsearch is set.
    pub embedded: crate::sources::embedded::Settings,
    /// What is out of line.
    pub detection: crate::detect::Settings,
    /// What belongs together.
    pub correlation: Correlation,
    /// When incidents open, reopen and end.
    pub incidents: crate::incidents::Settings,
    /// Who is told.
    pub notify: crate::notify::Settings,
    /// What is kept, where, and for how long.
    pub store: crate::store::Settings,
    /// Room for the model's analysis.
    pub analyzer: Analyzer,
    /// The listener of the API.
    pub http: crate::http::Settings,
    /// How we speak to the outside.
    pub net: crate::net::Settings,
    /// What the daemon tells about itself.
    pub logging: crate::telemetry::Settings,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dump())
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the setting, or the name of a variable; empty for a whole file.
    pub path: String,
    /// What is wrong and what is right, in words; never a secret.
    pub text: String,
    /// Where it stands, if not in the defaults.
    pub origin: Option<String>,
}

impl Problem {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), origin: None }
    }

    fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.to_string());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)?;
        if let Some(origin) = &self.origin {
            write!(f, " [{origin}]")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Error {}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the settings cannot be used: {only}"),
            several => {
                write!(f, "the settings cannot be used; {} problems:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

/// Where settings are read from; kept for a reload.
#[derive(Debug, Clone)]
pub struct Origins {
    /// The file that `--config` (or `SENTINELOPS_CONFIG`) names: it must exist.
    pub file: Option<PathBuf>,
    /// Where `.env` and, if no file is named, `config.yaml` are looked for (parent folders are not).
    pub directory: PathBuf,
}

impl Origins {
    /// The file that `--config` names, or what is found in the working directory.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, directory: PathBuf::from(".") }
    }

    /// Reads the environment and the file, and checks everything.
    pub fn load(&self) -> Result<Config, Error> {
        self.load_with(&Environment::read(&self.directory)?)
    }

    /// The same with a given environment.
    pub fn load_with(&self, environment: &Environment) -> Result<Config, Error> {
        let named =
            self.file.clone().or_else(|| environment.get("SENTINELOPS_CONFIG").map(PathBuf::from));
        let found = self.directory.join(DEFAULT_FILE);
        let path = named.or_else(|| found.exists().then_some(found));
        let text = path.as_deref().map(read_file).transpose()?;

        Config::assemble(path.as_deref().zip(text.as_deref()), environment)
    }
}

fn read_file(path: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::from(Problem::new(path.display().to_string(), reason));
    let size = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    if size.len() > FILE_LIMIT {
        return Err(fail(format!("is larger than {FILE_LIMIT} bytes: is it the right file?")));
    }
    std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))
}

impl Config {
    /// Puts the defaults, a file and the environment on each other, and checks the result. All problems are
    /// reported at once.
    pub fn assemble(file: Option<(&Path, &str)>, environment: &Environment) -> Result<Self, Error> {
        let mut problems: Vec<_> = environment.refused().into_iter().map(refused).collect();
        let mut layers = Vec::new();
        if let Some((path, text)) = file {
            let origin = Origin::File(path.to_owned());
            layers.extend(Layer::file(origin, text, environment, &mut problems));
        }
        for (name, path) in NAMES {
            match environment.find(name) {
                Ok(Some(found)) => layers.push(Layer::text(path, found)),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        layers.extend(
            environment.settings().into_iter().map(|(path, found)| Layer::variable(&path, found)),
        );
        let config = layers::assemble(&Self::default(), &mut layers, &mut problems);
        if let Some(config) = &config {
            problems.extend(secrets_in_files(config, &layers));
            let found = checked(config, &layers, &problems);
            problems.extend(found);
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Error { problems }),
        }
    }

    /// The settings as YAML, secrets shown as `***`.
    pub fn dump(&self) -> String {
        let mut document = serde_yaml::to_value(self).unwrap_or_default();
        redact_urls(&mut document);
        serde_yaml::to_string(&document).unwrap_or_default()
    }
}

/// The map that a key with a path of several levels stands in.
fn parent(path: &str) -> Option<String> {
    path.rsplit_once('.').map(|(parent, _)| parent.to_owned())
}

/// What the rules say, with where it stands.
fn checked(config: &Config, layers: &[Layer], known: &[Problem]) -> Vec<Problem> {
    // Where a key was left out because it is wrong, what is missing beside it is no news.
    let broken: Vec<_> = known.iter().filter_map(|problem| parent(&problem.path)).collect();
    check::check(config)
        .into_iter()
        .filter_map(|problem| match layers::holder(layers, &problem.path) {
            Some(layer) => Some(problem.at(&layer.origin)),
            None if parent(&problem.path).is_some_and(|at| broken.contains(&at)) => None,
            None => Some(problem),
        })
        .collect()
}

fn refused(name: &str) -> Problem {
    Problem::new(
        name,
        "is not used: pages go through the Events API v2. Remove it and set PAGERDUTY_ROUTING_KEY to the \
         integration key of the service (PagerDuty: service, Integrations, Events API V2)",
    )
}

/// Secrets that stand literally in a file.
fn secrets_in_files(config: &Config, layers: &[Layer]) -> Vec<Problem> {
    tree::texts(config)
        .into_iter()
        .filter(|(_, text)| text == "***" || has_password(text))
        .filter_map(|(path, _)| {
            let layer = layers::holder(layers, &path)?;
            layer.is_literal(&path).then(|| {
                let how = layers::variable_of(&path).map_or_else(
                    || "write ${NAME} here and set the variable NAME or NAME_FILE".to_owned(),
                    |name| format!("set {name} or {name}_FILE, or write ${{NAME}} here"),
                );
                Problem::new(
                    &path,
                    format!("a secret does not belong in a file of settings: {how}"),
                )
                .at(&layer.origin)
            })
        })
        .collect()
}

fn has_password(text: &str) -> bool {
    text.contains("://") && url::Url::parse(text).is_ok_and(|url| url.password().is_some())
}

fn redact_urls(value: &mut serde_yaml::Value) {
    match value {
        serde_yaml::Value::String(text) if has_password(text) => {
            if let Ok(mut url) = url::Url::parse(text)
                && url.set_password(Some("***")).is_ok()
            {
                *text = url.to_string();
            }
        }
        serde_yaml::Value::Mapping(map) => {
            map.iter_mut().for_each(|(_, inner)| redact_urls(inner));
        }
        serde_yaml::Value::Sequence(items) => items.iter_mut().for_each(redact_urls),
        _ => {}
    }
}

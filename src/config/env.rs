//! The only reader of the environment: process variables, the `.env` file beside the daemon, files named by
//! `*_FILE`, and systemd credentials. It knows names and texts; what they mean is decided by [`super::layers`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Problem;

/// Settings are given as `SENTINELOPS_` and the path, with `__` between levels.
pub(super) const PREFIX: &str = "SENTINELOPS_";
/// Between the levels of a path.
pub(super) const SEPARATOR: &str = "__";

/// Names that are used as they are, for what operators and the rival's users already have.
pub const NAMES: &[(&str, &str)] = &[
    ("ELASTICSEARCH_URL", "elasticsearch.url"),
    ("ELASTICSEARCH_API_KEY", "elasticsearch.api_key"),
    ("SLACK_BOT_TOKEN", "notify.slack.slack.token"),
    ("SLACK_CHANNEL_ID", "notify.slack.slack.channel"),
    ("PAGERDUTY_ROUTING_KEY", "notify.pagerduty.pagerduty.routing_key"),
    ("DATABASE_URL", "store.url"),
    ("ANTHROPIC_API_KEY", "analyzer.api_key"),
];

/// Names that are refused: what they did is done by `PAGERDUTY_ROUTING_KEY`.
const REFUSED: &[&str] = &["PAGERDUTY_API_KEY", "PAGERDUTY_SERVICE_ID"];

/// Variables with our prefix that are no settings: the command line reads them.
pub const RESERVED: &[&str] =
    &["SENTINELOPS_CONFIG", "SENTINELOPS_URL", "SENTINELOPS_TOKEN", "SENTINELOPS_ACTOR"];

/// More than any secret or certificate path needs.
const FILE_LIMIT: u64 = 64 * 1024;

/// What the environment holds.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    credentials: Option<PathBuf>,
}

#[derive(Clone)]
struct Variable {
    value: String,
    origin: Origin,
}

/// Where a text came from, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of settings.
    File(PathBuf),
    /// A variable of the process.
    Variable(String),
    /// A line of `.env`.
    DotEnv(String),
    /// A file that a variable named.
    Named {
        /// The variable, which ends in `_FILE`.
        variable: String,
        /// The file.
        file: PathBuf,
    },
    /// A systemd credential.
    Credential(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::Named { variable, file } => write!(f, "{}, named by {variable}", file.display()),
            Self::Credential(path) => write!(f, "credential {}", path.display()),
        }
    }
}

/// A text and where it came from.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// Reads the process's variables and `.env` in `directory`; variables that exist win.
    pub fn read(directory: &Path) -> Result<Self, super::Error> {
        let mut this = Self::of(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
        let path = directory.join(".env");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(this),
            Err(error) => {
                return Err(Problem::new(".env", format!("cannot be read: {error}")).into());
            }
        };
        this.add_dot_env(&text)?;
        Ok(this)
    }

    /// An environment of exactly these variables.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables: BTreeMap<_, _> = variables
            .into_iter()
            // An empty variable is how compose files and units say "not set".
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let origin = Origin::Variable(name.clone());
                (name, Variable { value, origin })
            })
            .collect();
        let credentials =
            variables.get("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(&directory.value));
        Self { variables, credentials }
    }

    /// Adds the lines of a `.env` file for names that are not set in either form.
    pub fn add_dot_env(&mut self, text: &str) -> Result<(), super::Error> {
        let mut added = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some((name, value)) = dot_env_line(line)
                .map_err(|reason| Problem::new(".env", format!("line {}: {reason}", index + 1)))?
            else {
                continue;
            };
            let base = name.strip_suffix("_FILE").unwrap_or(&name);
            let taken = self.variables.contains_key(base)
                || self.variables.contains_key(&format!("{base}_FILE"));
            if !taken && !value.is_empty() {
                added.push((name, value));
            }
        }
        for (name, value) in added {
            let origin = Origin::DotEnv(name.clone());
            self.variables.insert(name, Variable { value, origin });
        }
        Ok(())
    }

    /// The text of a variable as it stands.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|variable| variable.value.as_str())
    }

    /// The text of a name: the variable, the file named by `NAME_FILE`, or the systemd credential of that
    /// name, in this order.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, Problem> {
        let file_name = format!("{name}_FILE");
        match (self.variables.get(name), self.variables.get(&file_name)) {
            (Some(_), Some(_)) => Err(Problem::new(
                name,
                format!("is set twice, by {name} and by {file_name}: keep one"),
            )),
            (Some(variable), None) => {
                Ok(Some(Found { value: variable.value.clone(), origin: variable.origin.clone() }))
            }
            (None, Some(variable)) => {
                let file = PathBuf::from(&variable.value);
                let value = secret_file(&file).map_err(|reason| {
                    Problem::new(&file_name, format!("names {}, which {reason}", file.display()))
                })?;
                Ok(Some(Found { value, origin: Origin::Named { variable: file_name, file } }))
            }
            (None, None) => self.credential(name),
        }
    }

    fn credential(&self, name: &str) -> Result<Option<Found>, Problem> {
        let Some(directory) = &self.credentials else { return Ok(None) };
        for file in [directory.join(name), directory.join(name.to_lowercase())] {
            if file.is_file() {
                let value = secret_file(&file).map_err(|reason| {
                    Problem::new(name, format!("the credential {} {reason}", file.display()))
                })?;
                return Ok((!value.is_empty())
                    .then_some(Found { value, origin: Origin::Credential(file) }));
            }
        }
        Ok(None)
    }

    /// Variables with our prefix that are settings: the path in lower case, the text, the origin.
    pub(super) fn settings(&self) -> Vec<(String, Found)> {
        let mut found: Vec<_> = self
            .variables
            .iter()
            .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
            .filter_map(|(name, variable)| {
                let path = name.strip_prefix(PREFIX)?;
                let found =
                    Found { value: variable.value.clone(), origin: variable.origin.clone() };
                Some((path.replace(SEPARATOR, ".").to_lowercase(), found))
            })
            .collect();
        // Credentials may carry the long names too; a variable of the same path wins.
        for name in self.credential_names() {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let path = path.replace(SEPARATOR, ".").to_lowercase();
            if !found.iter().any(|(known, _)| *known == path)
                && let Ok(Some(credential)) = self.credential(&name)
            {
                found.push((path, credential));
            }
        }
        found
    }

    fn credential_names(&self) -> Vec<String> {
        let Some(directory) = &self.credentials else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// Which of the refused names are set.
    pub(super) fn refused(&self) -> Vec<&'static str> {
        REFUSED
            .iter()
            .copied()
            .filter(|name| {
                self.variables.contains_key(*name)
                    || self.variables.contains_key(&format!("{name}_FILE"))
            })
            .collect()
    }

    /// `user@host`, for the timeline.
    pub fn actor(&self) -> String {
        if let Some(actor) = self.get("SENTINELOPS_ACTOR") {
            return actor.to_owned();
        }
        let user = self.get("USER").or_else(|| self.get("LOGNAME")).unwrap_or("unknown");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .ok()
            .filter(|name| !name.is_empty())
            .or_else(|| self.get("HOSTNAME").map(str::to_owned))
            .unwrap_or_else(|| "localhost".to_owned());
        format!("{user}@{host}")
    }
}

/// The text of a file without its last line break.
pub(super) fn secret_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_LIMIT {
        return Err(format!("is larger than {FILE_LIMIT} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// One line of `.env`: `NAME=value`, optionally with `export`, quotes, and a comment after a space. Nothing
/// is expanded, so a `$` in a password stays one.
fn dot_env_line(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("no `=`; write NAME=value")?;
    let name = name.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        return Err("the name may hold letters, digits and underscores only");
    }
    let value = value.trim();
    let value = if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'').ok_or("the quote does not end")?;
        only_comment(after)?;
        inside.to_owned()
    } else if let Some(rest) = value.strip_prefix('"') {
        double_quoted(rest)?
    } else {
        value.split_once(" #").map_or(value, |(value, _)| value.trim_end()).to_owned()
    };
    Ok(Some((name.to_owned(), value)))
}

fn double_quoted(rest: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or("the quote does not end")? {
            '"' => break,
            '\\' => match chars.next().ok_or("the quote does not end")? {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    only_comment(chars.as_str())?;
    Ok(value)
}

fn only_comment(after: &str) -> Result<(), &'static str> {
    let after = after.trim();
    if after.is_empty() || after.starts_with('#') {
        Ok(())
    } else {
        Err("there is text after the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn dot_env_lines() {
        let cases = [
            ("A=1", Some(("A", "1"))),
            ("export A=1", Some(("A", "1"))),
            ("  A = pa$$word#1  # comment", Some(("A", "pa$$word#1"))),
            ("A='with # and \"'", Some(("A", "with # and \""))),
            (r#"A="line\nnext \"x\"" # c"#, Some(("A", "line\nnext \"x\""))),
            ("A=", Some(("A", ""))),
            ("# comment", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(dot_env_line(line).unwrap(), expected, "{line}");
        }
        for bad in ["A", "A-B=1", "=1", "A='x", "A=\"x", "A='x'y"] {
            assert!(dot_env_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn existing_variables_win_over_dot_env_in_both_forms() {
        let mut env = environment(&[("A", "process"), ("B_FILE", "/b")]);
        env.add_dot_env("A=file\nA_FILE=/a\nB=file\nC=file").unwrap();
        assert_eq!(env.get("A"), Some("process"));
        assert_eq!(env.get("A_FILE"), None);
        assert_eq!(env.get("B"), None);
        assert_eq!(env.get("C"), Some("file"));
    }

    #[test]
    fn files_and_credentials_are_read_without_their_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "xoxb-1\n").unwrap();
        std::fs::write(folder.path().join("database_url"), "sqlite:x.db").unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let env = environment(&[
            ("SLACK_BOT_TOKEN_FILE", &path(&file)),
            ("CREDENTIALS_DIRECTORY", &path(folder.path())),
        ]);
        assert_eq!(env.find("SLACK_BOT_TOKEN").unwrap().unwrap().value, "xoxb-1");
        assert_eq!(env.find("DATABASE_URL").unwrap().unwrap().value, "sqlite:x.db");
        assert!(env.find("ANTHROPIC_API_KEY").unwrap().is_none());
        let twice = environment(&[("A", "1"), ("A_FILE", "/a")]);
        assert!(twice.find("A").is_err());
        let missing = environment(&[("A_FILE", "/nowhere/a")]);
        assert!(missing.find("A").is_err());
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        assert_eq!(environment(&[("A", "")]).get("A"), None);
    }

    #[test]
    fn debug_shows_no_values() {
        assert_eq!(format!("{:?}", environment(&[("A", "secret")])), r#"{"A"}"#);
    }
}

//! Puts layers of settings on each other with figment, and turns what does not fit into problems that name
//! the path, the value, what is expected and where it stands: all of them at once, not only the first.
//!
//! Long because figment's errors, the spelling of unknown keys and the origin of each value are one translation:
//! taken apart, each piece would have to know the layers again.

use figment::error::{Actual, Kind};
use figment::providers::{Format, Serialized};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Problem;
use super::env::{self, Environment, Origin};
use super::explain::explain;
use super::tree::{dict_of, join, leaves_mut, listed, lookup, nested, remove, whole};

/// After so many problems the rest is not looked for.
const PROBLEMS: usize = 40;

/// YAML for figment, by the maintained crate.
#[derive(Debug)]
pub(super) struct Yaml;

impl Format for Yaml {
    type Error = serde_yaml::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
        // Through a document first: it refuses a key that stands twice. A file of comments is no settings.
        let document: serde_yaml::Value = serde_yaml::from_str(text)?;
        let document = match document {
            serde_yaml::Value::Null => serde_yaml::Value::Mapping(serde_yaml::Mapping::new()),
            serde_yaml::Value::Mapping(_) => document,
            _ => return Err(serde::de::Error::custom("must be a map of settings")),
        };
        serde_yaml::from_value(document)
    }
}

/// One layer: a file, or a single variable.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    dict: Dict,
    /// For a variable: its path and its text, so that a number can be read as text where text is wanted.
    raw: Option<Raw>,
    /// Paths of a file whose values were taken from variables by `${NAME}`.
    referred: Vec<String>,
}

#[derive(Debug, Clone)]
struct Raw {
    path: String,
    text: String,
    first_error: Option<Problem>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    /// The layer of a file of settings. `${NAME}` as a whole value stands for the variable of that name.
    pub(super) fn file(
        origin: Origin,
        text: &str,
        environment: &Environment,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let data = figment::providers::Data::<Yaml>::string(text).data();
        let mut dict = match data {
            Ok(mut data) => data.remove(&Profile::Default).unwrap_or_default(),
            Err(error) => {
                let shown = format!("cannot be read as YAML: {error}");
                problems.push(Problem::new("", shown).at(&origin));
                return None;
            }
        };
        let mut referred = Vec::new();
        let mut unset = Vec::new();
        for (path, value) in leaves_mut(&mut dict) {
            let Some(name) = value.as_str().and_then(reference) else { continue };
            match environment.find(name) {
                Ok(Some(found)) => {
                    *value = Value::from(found.value);
                    referred.push(path);
                }
                Ok(None) => {
                    let shown = format!("refers to ${{{name}}}, which is not set");
                    problems.push(Problem::new(&path, shown).at(&origin));
                    unset.push(path);
                }
                Err(problem) => {
                    problems.push(problem);
                    unset.push(path);
                }
            }
        }
        for path in unset {
            remove(&mut dict, &path);
        }
        Some(Self { origin, dict, raw: None, referred })
    }

    /// The layer of one variable whose text is used as it is.
    pub(super) fn text(path: &str, found: env::Found) -> Self {
        let dict = nested(path, Value::from(found.value));
        Self { origin: found.origin, dict, raw: None, referred: Vec::new() }
    }

    /// The layer of one variable whose text may be a number, a flag, a list `[a,b]` or a map `{a=b}`.
    pub(super) fn variable(path: &str, found: env::Found) -> Self {
        // Parsing a figment value cannot fail: what is nothing else is text.
        let parsed: Value = found.value.parse().unwrap_or_else(|never| match never {});
        // `0123` is an id or a token, not the number 123.
        let value = match whole(&parsed) {
            Some(number) if number != found.value.trim() => Value::from(found.value.clone()),
            _ => parsed,
        };
        Self {
            origin: found.origin,
            dict: nested(path, value),
            raw: Some(Raw { path: path.to_owned(), text: found.value, first_error: None }),
            referred: Vec::new(),
        }
    }

    fn holds(&self, path: &str) -> bool {
        lookup(&self.dict, path).is_some()
    }

    /// Whether a value at `path` stands literally in a file.
    pub(super) fn is_literal(&self, path: &str) -> bool {
        matches!(self.origin, Origin::File(_)) && !self.referred.iter().any(|known| known == path)
    }

    /// Removes what cannot be a section where the defaults hold one: nothing (`detection:` alone means its
    /// defaults), or something else than a map, which is a problem.
    fn keep_sections(&mut self, defaults: &Dict) -> Vec<Problem> {
        fn walk(prefix: &str, dict: &mut Dict, defaults: &Dict, wrong: &mut Vec<String>) {
            dict.retain(|key, value| match (defaults.get(key), value) {
                (Some(Value::Dict(_, known)), Value::Dict(_, inner)) => {
                    walk(&join(prefix, key), inner, known, wrong);
                    true
                }
                (Some(Value::Dict(..)), Value::Empty(..)) => false,
                (Some(Value::Dict(..)), _) => {
                    wrong.push(join(prefix, key));
                    false
                }
                _ => true,
            });
        }
        let mut wrong = Vec::new();
        walk("", &mut self.dict, defaults, &mut wrong);
        let problem = |path| Problem::new(path, "must be a map of settings").at(&self.origin);
        wrong.into_iter().map(problem).collect()
    }
}

/// The settings that the layers make, and everything that does not fit. The settings are absent if nothing
/// could be made of the layers at all.
pub(super) fn assemble<T>(
    defaults: &T,
    layers: &mut [Layer],
    problems: &mut Vec<Problem>,
) -> Option<T>
where
    T: Serialize + DeserializeOwned,
{
    let known = dict_of(defaults);
    for layer in layers.iter_mut() {
        problems.extend(layer.keep_sections(&known));
    }
    let known: Vec<String> = listed(&known).into_iter().map(|(path, _)| path).collect();
    while problems.len() < PROBLEMS {
        let mut figment = Figment::from(Serialized::defaults(defaults));
        for layer in layers.iter() {
            figment = figment.merge(layer);
        }
        let error = match figment.extract::<T>() {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let path = error.path.join(".");
        // The place to change: lists are taken out whole, so that their other items do not move.
        let Some((place, top)) = topmost(layers, &path) else {
            problems.push(Problem::new(&path, explain(&error.kind, &path, &known)));
            return None;
        };
        if retry_otherwise(&mut layers[top], &error.kind, &path, &known, problems) {
            continue;
        }
        let layer = &mut layers[top];
        let first = layer.raw.as_mut().and_then(|raw| raw.first_error.take());
        let problem = first.unwrap_or_else(|| problem_of(layer, &error.kind, &path, &known));
        problems.push(problem);
        remove(&mut layer.dict, &place);
    }
    None
}

/// Reads a variable in another way where the first one did not fit: as text instead of a number, or as the
/// name of a file that holds the value. Answers whether there is something new to try.
fn retry_otherwise(
    layer: &mut Layer,
    kind: &Kind,
    path: &str,
    known: &[String],
    problems: &mut Vec<Problem>,
) -> bool {
    let Some(raw) = layer.raw.clone() else { return false };
    if raw.path != path {
        return false;
    }
    match kind {
        Kind::InvalidType(found, _)
            if raw.first_error.is_none() && !matches!(found, Actual::Str(_)) =>
        {
            let first = problem_of(layer, kind, path, known);
            layer.dict = nested(path, Value::from(raw.text.clone()));
            layer.raw = Some(Raw { first_error: Some(first), ..raw });
            true
        }
        Kind::UnknownField(name, expected) => {
            let Some(base) = name.strip_suffix("_file").filter(|base| expected.contains(base))
            else {
                return false;
            };
            let base_path = path.strip_suffix(name.as_str()).map(|head| format!("{head}{base}"));
            let (Some(base_path), Origin::Variable(variable) | Origin::DotEnv(variable)) =
                (base_path, layer.origin.clone())
            else {
                return false;
            };
            let file = std::path::PathBuf::from(&raw.text);
            match env::secret_file(&file) {
                Ok(value) => {
                    let origin = Origin::Named { variable, file };
                    *layer = Layer::text(&base_path, env::Found { value, origin });
                }
                Err(reason) => {
                    let shown = format!("names {}, which {reason}", file.display());
                    problems.push(Problem::new(&base_path, shown).at(&layer.origin));
                    layer.dict = Dict::new();
                    layer.raw = None;
                }
            }
            true
        }
        _ => false,
    }
}

fn problem_of(layer: &Layer, kind: &Kind, path: &str, known: &[String]) -> Problem {
    let mut text = explain(kind, path, known);
    if let (Kind::UnknownField(..), Origin::Variable(name) | Origin::DotEnv(name)) =
        (kind, &layer.origin)
        && let Some(meant) = known.iter().find(|known| known.replace('.', "_") == path)
    {
        text = format!(
            "unknown setting; did you mean {}? ({name} has single underscores)",
            variable_of(meant).unwrap_or_default()
        );
    }
    Problem::new(path, text).at(&layer.origin)
}

/// The variable that sets a path, if it can be written as one.
pub(super) fn variable_of(path: &str) -> Option<String> {
    if let Some((name, _)) = env::NAMES.iter().find(|(_, known)| *known == path) {
        return Some((*name).to_owned());
    }
    path.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.')
        .then(|| format!("{}{}", env::PREFIX, path.to_uppercase().replace('.', env::SEPARATOR)))
}

/// The layer that decides about a path, and the longest part of the path that is a key in it.
fn topmost(layers: &[Layer], path: &str) -> Option<(String, usize)> {
    let mut place = path;
    loop {
        if let Some(top) = layers.iter().rposition(|layer| layer.holds(place)) {
            return Some((place.to_owned(), top));
        }
        place = place.rsplit_once('.')?.0;
    }
}

/// The layer that the value of a path comes from; none if it is a default.
pub(super) fn holder<'a>(layers: &'a [Layer], path: &str) -> Option<&'a Layer> {
    topmost(layers, path)
        // A list is one value of a layer; a map has values of several.
        .filter(|(place, top)| match lookup(&layers[*top].dict, place) {
            Some(Value::Dict(..)) => false,
            Some(Value::Array(..)) => true,
            _ => place == path,
        })
        .map(|(_, top)| &layers[top])
}

fn reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(valid)).then_some(name)
}

//! Settings as a tree of values: paths, leaves, and what they look like. Knows no layers and no sections.

use std::fmt::Display;

use figment::value::{Dict, Empty, Num, Value};
use serde::Serialize;

pub(super) fn nested(path: &str, value: Value) -> Dict {
    let mut keys = path.rsplit('.');
    let mut dict = Dict::new();
    // `rsplit` yields at least one item.
    dict.insert(keys.next().unwrap_or_default().to_owned(), value);
    for key in keys {
        dict = Dict::from([(key.to_owned(), Value::from(dict))]);
    }
    dict
}

pub(super) fn lookup<'a>(dict: &'a Dict, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let mut value = dict.get(keys.next()?)?;
    for key in keys {
        value = value.as_dict()?.get(key)?;
    }
    Some(value)
}

pub(super) fn remove(dict: &mut Dict, path: &str) {
    match path.split_once('.') {
        None => {
            dict.remove(path);
        }
        Some((head, rest)) => {
            if let Some(Value::Dict(_, inner)) = dict.get_mut(head) {
                remove(inner, rest);
            }
        }
    }
}

/// Settings as figment's values.
pub(super) fn dict_of<T: Serialize>(settings: &T) -> Dict {
    match Value::serialize(settings) {
        Ok(Value::Dict(_, dict)) => dict,
        _ => Dict::new(),
    }
}

/// All values with their paths, in order; a list is one value, and so is an empty map.
pub(super) fn listed(dict: &Dict) -> Vec<(String, Value)> {
    fn walk(prefix: &str, dict: &Dict, found: &mut Vec<(String, Value)>) {
        for (key, value) in dict {
            let path = join(prefix, key);
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => walk(&path, inner, found),
                other => found.push((path, other.clone())),
            }
        }
    }
    let mut found = Vec::new();
    walk("", dict, &mut found);
    found
}

/// All values that are no maps, lists included, with their paths.
pub(super) fn leaves_mut(dict: &mut Dict) -> Vec<(String, &mut Value)> {
    fn walk<'a>(prefix: &str, dict: &'a mut Dict, found: &mut Vec<(String, &'a mut Value)>) {
        for (key, value) in dict.iter_mut() {
            let path = join(prefix, key);
            match value {
                Value::Dict(_, inner) => walk(&path, inner, found),
                Value::Array(_, items) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        let path = join(&path, index);
                        match item {
                            Value::Dict(_, inner) => walk(&path, inner, found),
                            other => found.push((path, other)),
                        }
                    }
                }
                other => found.push((path, other)),
            }
        }
    }
    let mut found = Vec::new();
    walk("", dict, &mut found);
    found
}

pub(super) fn join(prefix: &str, key: impl Display) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}

/// The texts among the values of settings, with their paths.
pub(super) fn texts<T: Serialize>(settings: &T) -> Vec<(String, String)> {
    leaves_mut(&mut dict_of(settings))
        .into_iter()
        .filter_map(|(path, value)| Some((path, value.as_str()?.to_owned())))
        .collect()
}

/// A whole number as text.
pub(super) fn whole(value: &Value) -> Option<String> {
    let unsigned = value.to_u128().map(|number| number.to_string());
    unsigned.or_else(|| value.to_i128().map(|number| number.to_string()))
}

/// What a value looks like, for the documentation: `60`, `"text"`, `[]`, `none`.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Char(_, c) => c.to_string(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => match number {
            Num::F32(_) | Num::F64(_) => {
                number.to_f64().map_or_else(String::new, |n| n.to_string())
            }
            _ => whole(value).unwrap_or_default(),
        },
        Value::Empty(_, Empty::None | Empty::Unit) => "none".to_owned(),
        Value::Dict(..) => "{}".to_owned(),
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
    }
}

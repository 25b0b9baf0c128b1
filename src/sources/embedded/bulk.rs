//! Reads the body of `_bulk`: bytes to actions, with the words Elasticsearch uses when it refuses. Pure; what the
//! documents mean is `document`'s business, and their lines are not even looked at here.

use serde_json::{Map, Value};

/// Actions that one request may have, and bytes of an action's line: both take several times as much memory while
/// they are read.
const ACTIONS: usize = 100_000;
const ACTION_BYTES: usize = 10_000;

/// What an action asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Add, or replace if the id is known. Here always: add.
    Index,
    /// Add.
    Create,
    /// Not taken.
    Update,
    /// Not taken.
    Delete,
}

impl Verb {
    /// As requests and replies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One action of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action<'a> {
    /// What to do.
    pub(super) verb: Verb,
    /// Where to: only echoed, as this store keeps everything together.
    pub(super) index: String,
    /// The document's id, if the sender chose one.
    pub(super) id: Option<String>,
    /// The document's line; empty for `delete`.
    pub(super) source: &'a [u8],
}

/// The whole request is refused, as Elasticsearch does: nothing of it has been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// Elasticsearch's name of the error.
    pub kind: &'static str,
    /// In words.
    pub reason: String,
}

impl Malformed {
    fn illegal(reason: String) -> Self {
        Self { kind: "illegal_argument_exception", reason }
    }
}

/// Splits a body into its actions. `index` is the one in the path, used where an action names none.
pub(super) fn parse<'a>(body: &'a [u8], index: Option<&str>) -> Result<Vec<Action<'a>>, Malformed> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Malformed {
            kind: "parse_exception",
            reason: "request body is required".to_owned(),
        });
    }
    let Some(body) = body.strip_suffix(b"\n") else {
        return Err(Malformed::illegal(
            "The bulk request must be terminated by a newline [\\n]".to_owned(),
        ));
    };
    let mut actions = Vec::new();
    let mut lines = body.split(|byte| *byte == b'\n').zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if actions.len() == ACTIONS {
            return Err(Malformed::illegal(format!(
                "the request has more than {ACTIONS} actions; send smaller ones"
            )));
        }
        let (verb, details) = action(line, number)?;
        let named = text(&details, "_index", number)?.or_else(|| index.map(str::to_owned));
        let Some(index) = named.filter(|index| !index.is_empty()) else {
            return Err(Malformed {
                kind: "action_request_validation_exception",
                reason: format!("Validation Failed: {}: index is missing;", actions.len() + 1),
            });
        };
        let id = text(&details, "_id", number)?;
        let source = if verb == Verb::Delete {
            &[][..]
        } else {
            let Some((source, _)) = lines.next() else {
                return Err(Malformed::illegal(format!(
                    "Malformed action/metadata line [{number}], expected a document behind it but the request ends"
                )));
            };
            source
        };
        actions.push(Action { verb, index, id, source });
    }
    Ok(actions)
}

/// Reads an action's line: `{"create":{"_index":"logs"}}`.
fn action(line: &[u8], number: usize) -> Result<(Verb, Map<String, Value>), Malformed> {
    let expected = |what: &str, found: &str| {
        Malformed::illegal(format!(
            "Malformed action/metadata line [{number}], expected {what} but found [{found}]"
        ))
    };
    if line.len() > ACTION_BYTES {
        return Err(Malformed::illegal(format!(
            "Malformed action/metadata line [{number}], it has {} bytes, at most {ACTION_BYTES} are taken",
            line.len()
        )));
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        Malformed::illegal(format!(
            "Malformed action/metadata line [{number}], it is no JSON: {error}"
        ))
    })?;
    let Value::Object(object) = value else {
        return Err(expected("START_OBJECT", token(&value)));
    };
    let mut entries = object.into_iter();
    let Some((name, details)) = entries.next() else {
        return Err(expected("FIELD_NAME", "END_OBJECT"));
    };
    if entries.next().is_some() {
        return Err(expected("END_OBJECT", "FIELD_NAME"));
    }
    let verb = match name.as_str() {
        "index" => Verb::Index,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => {
            return Err(expected(
                "field [create], [delete], [index] or [update]",
                &super::rejection::quote(other),
            ));
        }
    };
    match details {
        Value::Object(details) => Ok((verb, details)),
        other => Err(expected("START_OBJECT", token(&other))),
    }
}

/// A text of an action's line; numbers are taken as text, as Elasticsearch does. Other keys (`routing`,
/// `pipeline`, `_type` of old shippers) mean nothing here and are passed over.
fn text(
    details: &Map<String, Value>,
    key: &str,
    number: usize,
) -> Result<Option<String>, Malformed> {
    match details.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 512 => Ok(Some(text.clone())),
        Some(Value::String(text)) => Err(Malformed::illegal(format!(
            "Malformed action/metadata line [{number}], field [{key}] is too long, must be no longer than 512 bytes but was: {}",
            text.len()
        ))),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(Malformed::illegal(format!(
            "Malformed action/metadata line [{number}], expected a simple value for field [{key}] but found [{}]",
            token(other)
        ))),
    }
}

/// What Elasticsearch's parser calls a value.
fn token(value: &Value) -> &'static str {
    match value {
        Value::Null => "VALUE_NULL",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Number(_) => "VALUE_NUMBER",
        Value::String(_) => "VALUE_STRING",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(body: &str, expected: &str) {
        let got = match parse(body.as_bytes(), None) {
            Ok(actions) => actions
                .iter()
                .map(|action| {
                    format!(
                        "{} {} {} {}",
                        action.verb.as_str(),
                        action.index,
                        action.id.as_deref().unwrap_or("-"),
                        String::from_utf8_lossy(action.source)
                    )
                })
                .collect::<Vec<_>>()
                .join("|"),
            Err(malformed) => format!("{}: {}", malformed.kind, malformed.reason),
        };
        assert_eq!(got, expected, "{body:?}");
    }

    #[test]
    fn actions_are_read() {
        check("{\"create\":{\"_index\":\"a\"}}\n{\"x\":1}\n", "create a - {\"x\":1}");
        check(
            "{\"index\":{\"_index\":\"a\",\"_id\":7,\"_type\":\"_doc\"}}\r\n{}\r\n\r\n",
            "index a 7 {}\r",
        );
        check(
            "{\"delete\":{\"_index\":\"a\",\"_id\":\"1\"}}\n\n{\"update\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"doc\":{}}\n",
            "delete a 1 |update a 1 {\"doc\":{}}",
        );
        check("{\"create\":{\"_index\":\"a\"}}\n\n", "create a - ");
    }

    #[test]
    fn a_malformed_request_is_refused_whole_in_elasticsearchs_words() {
        check("", "parse_exception: request body is required");
        check(
            "{\"index\":{\"_index\":\"a\"}}\n{}",
            "illegal_argument_exception: The bulk request must be terminated by a newline [\\n]",
        );
        check(
            "[]\n{}\n",
            "illegal_argument_exception: Malformed action/metadata line [1], expected START_OBJECT but found [START_ARRAY]",
        );
        check(
            "{\"index\":{\"_index\":\"a\"}}\n{}\n{\"upsert\":{}}\n{}\n",
            "illegal_argument_exception: Malformed action/metadata line [3], expected field [create], [delete], [index] or [update] but found [upsert]",
        );
        check(
            "{\"index\":{}}\n{}\n",
            "action_request_validation_exception: Validation Failed: 1: index is missing;",
        );
        check(
            "{\"index\":{\"_index\":[]}}\n{}\n",
            "illegal_argument_exception: Malformed action/metadata line [1], expected a simple value for field [_index] but found [START_ARRAY]",
        );
        check(
            "{\"create\":{\"_index\":\"a\"}}\n",
            "illegal_argument_exception: Malformed action/metadata line [1], expected a document behind it but the request ends",
        );
    }

    #[test]
    fn a_request_has_its_limits() {
        let body = "{\"create\":{\"_index\":\"a\"}}\n{}\n".repeat(ACTIONS);
        assert_eq!(parse(body.as_bytes(), None).unwrap().len(), ACTIONS);
        check(
            &format!("{body}{{\"create\":{{}}}}\n{{}}\n"),
            "illegal_argument_exception: the request has more than 100000 actions; send smaller ones",
        );
        check(
            &format!("{{\"create\":{{\"_id\":\"{}\"}}}}\n{{}}\n", "x".repeat(ACTION_BYTES)),
            "illegal_argument_exception: Malformed action/metadata line [1], it has 10021 bytes, at most 10000 are taken",
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            drop(parse(&body, Some("logs")));
        }

        #[test]
        fn every_document_reaches_its_action(
            documents in proptest::collection::vec("[^\n]{0,40}", 1..20),
        ) {
            let mut body = String::new();
            for document in &documents {
                body.push_str("{\"create\":{}}\n");
                body.push_str(document);
                body.push('\n');
            }
            let actions = parse(body.as_bytes(), Some("logs")).unwrap();
            let sources: Vec<_> = actions.iter().map(|action| action.source).collect();
            let expected: Vec<_> = documents.iter().map(String::as_bytes).collect();
            prop_assert_eq!(sources, expected);
        }
    }
}

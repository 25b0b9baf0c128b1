//! Says in words what does not fit: what is there, what is expected, and what may have been meant.

use figment::error::{Actual, Kind};

/// What does not fit, in words: what is there, and what is expected.
pub(super) fn explain(kind: &Kind, path: &str, known: &[String]) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected)
            if expected.contains("secret") =>
        {
            format!("must be {expected}")
        }
        // What stands in the place of a whole receiver is most likely its token.
        Kind::InvalidType(_, expected)
            if expected.starts_with("struct ") || expected == "a map" =>
        {
            format!("must be {}", wanted(expected))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let quotes = matches!(
                found,
                Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) | Actual::Bool(_)
            ) && expected == "a string";
            let hint = if quotes { " (put it in quotes)" } else { "" };
            format!("is {}, must be {}{hint}", show(found), wanted(expected))
        }
        Kind::UnknownVariant(name, expected) => {
            format!("is `{name}`, must be one of {}", expected.join(", "))
        }
        Kind::UnknownField(name, expected) => unknown(name, path, expected, known),
        Kind::MissingField(name) => format!("`{name}` is missing"),
        Kind::InvalidLength(length, expected) => {
            format!("has {length} items, must be {}", wanted(expected))
        }
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

fn unknown(name: &str, path: &str, expected: &[&str], known: &[String]) -> String {
    let parent = path.strip_suffix(name).unwrap_or_default();
    let near = |candidate: &&&str| {
        let score = strsim::normalized_damerau_levenshtein(candidate, name);
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1,000")]
        let thousandths = (score * 1000.0) as i64;
        thousandths
    };
    // The same key in another section is nearer than a similar one in this.
    if let Some(elsewhere) = known.iter().find(|known| {
        known.rsplit('.').next() == Some(name) && known.strip_suffix(name) != Some(parent)
    }) {
        return format!("unknown setting; did you mean {elsewhere}?");
    }
    let best = expected.iter().max_by_key(near).filter(|best| near(best) >= 500);
    match best {
        Some(best) => format!("unknown setting; did you mean {parent}{best}?"),
        None if expected.is_empty() => "unknown setting; there are none here".to_owned(),
        None => format!("unknown setting; known here: {}", expected.join(", ")),
    }
}

fn show(found: &Actual) -> String {
    match found {
        Actual::Str(text) => {
            let short: String = text.chars().take(60).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            format!("the text {short:?}{more}")
        }
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Bool(flag) => flag.to_string(),
        Actual::Unit => "empty".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

fn wanted(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            let largest = match expected {
                "u8" => " and at most 255",
                "u16" => " and at most 65535",
                "u32" => " and at most 4294967295",
                _ => "",
            };
            format!("a whole number, 0 or more{largest}")
        }
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map".to_owned(),
        other if other.starts_with("struct ") => "a map of settings".to_owned(),
        other => other.to_owned(),
    }
}

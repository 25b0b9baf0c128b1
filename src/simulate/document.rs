//! One log document in the seed schema, and the `_bulk` body of several.

use serde::{Serialize, Serializer};

use crate::model::{ServiceName, UtcTime};

/// One log line of a simulated service, in the fields that the `seed` profile reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// When it was logged; whole milliseconds.
    #[serde(rename = "@timestamp", serialize_with = "rfc3339")]
    pub at: UtcTime,
    /// Who logged it.
    #[serde(rename = "service.name")]
    pub service: ServiceName,
    /// How bad it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// How long the request took, in milliseconds.
    pub duration_ms: f64,
    /// The trace that it belongs to: 32 hexadecimal digits.
    #[serde(rename = "trace.id")]
    pub trace_id: String,
    /// The status that was answered.
    pub status_code: u16,
}

/// The levels that simulated services log at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A request that went well.
    Info,
    /// Slow, but answered.
    Warning,
    /// Failed.
    Error,
}

fn rfc3339<S: Serializer>(at: &UtcTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

/// The body of a `_bulk` request that creates `documents` in the index of its path.
pub fn bulk_body(documents: &[Document]) -> String {
    let mut body = String::with_capacity(documents.len() * 260);
    for document in documents {
        // A document is text and finite numbers, which always serialise.
        if let Ok(line) = serde_json::to_string(document) {
            body.push_str("{\"create\":{}}\n");
            body.push_str(&line);
            body.push('\n');
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_in_the_seed_schema() {
        let document = Document {
            at: UtcTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
            service: "gateway".into(),
            level: Level::Error,
            message: "upstream \"order-service\" failed".to_owned(),
            duration_ms: 30.5,
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            status_code: 502,
        };
        insta::assert_snapshot!(bulk_body(&[document]), @r#"
        {"create":{}}
        {"@timestamp":"2023-11-14T22:13:20.123Z","service.name":"gateway","level":"error","message":"upstream \"order-service\" failed","duration_ms":30.5,"trace.id":"0af7651916cd43dd8448eb211c80319c","status_code":502}
        "#);
    }
}

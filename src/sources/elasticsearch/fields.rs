//! The fields that an index has and what can be done with them, as `_field_caps` tells. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::settings::{Aggregation, Metric};

/// Where documents keep their time, unless the settings say otherwise.
pub(super) const TIMESTAMP: &str = "@timestamp";

/// The reply of `_field_caps`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct FieldCaps {
    /// The indices that were asked.
    pub indices: Vec<String>,
    /// By field, then by type.
    pub fields: BTreeMap<String, BTreeMap<String, Capability>>,
}

/// What can be done with a field of one type.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Capability {
    pub aggregatable: bool,
}

/// What a field turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    /// Different in different indices.
    Mixed(String),
    /// Of one kind everywhere: `date`, `keyword`, `text`, `number`, `boolean`, …
    One(String),
}

impl FieldCaps {
    pub(super) fn kind(&self, field: &str) -> Kind {
        let Some(types) = self.fields.get(field) else { return Kind::Missing };
        let mut kinds: Vec<&str> = types
            .keys()
            .map(String::as_str)
            .filter(|kind| !matches!(*kind, "unmapped" | "object" | "nested" | "passthrough"))
            .map(family)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        match kinds.as_slice() {
            [] => Kind::Missing,
            [kind] => Kind::One((*kind).to_owned()),
            many => Kind::Mixed(many.join(" and ")),
        }
    }

    fn can_group(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|types| {
            let mut mapped =
                types.iter().filter(|(kind, _)| kind.as_str() != "unmapped").peekable();
            mapped.peek().is_some() && mapped.all(|(_, can)| can.aggregatable)
        })
    }

    /// The field itself or its `.keyword`, if documents can be grouped by it.
    pub(super) fn groupable(&self, field: &str) -> Option<String> {
        [field.to_owned(), format!("{field}.keyword")]
            .into_iter()
            .find(|candidate| self.can_group(candidate))
    }

    /// Whether the field holds numbers everywhere; `Err` says what it holds instead.
    pub(super) fn numeric(&self, field: &str) -> Result<(), String> {
        match self.kind(field) {
            Kind::One(kind) if kind == "number" => Ok(()),
            Kind::Missing => Err("is not mapped".to_owned()),
            Kind::One(kind) => Err(format!("is {kind}, not a number")),
            Kind::Mixed(kinds) => Err(format!("is {kinds} in different indices")),
        }
    }

    /// Whether the field is a date everywhere.
    pub(super) fn date(&self, field: &str) -> bool {
        self.kind(field) == Kind::One("date".to_owned())
    }
}

fn family(kind: &str) -> &str {
    match kind {
        "long" | "integer" | "short" | "byte" | "double" | "float" | "half_float"
        | "scaled_float" | "unsigned_long" => "number",
        "date_nanos" => "date",
        "constant_keyword" | "wildcard" => "keyword",
        "match_only_text" => "text",
        other => other,
    }
}

/// The index cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("no index matches `{0}`: create it, or set the index that holds the documents")]
    Index(String),
    #[error("index `{index}` has no date field `{field}`: set elasticsearch.fields.timestamp")]
    Time { index: String, field: String },
    #[error(
        "index `{index}` has no field to group by service (tried {tried}): map it as keyword, or set the field"
    )]
    Service { index: String, tried: String },
}

/// The field to group metric documents by, and for each signal what is wrong with its field.
pub(super) fn metric_fields(
    index: &str,
    caps: &FieldCaps,
    service_field: &str,
    metrics: &[Metric],
) -> Result<(String, Vec<Option<String>>), Unusable> {
    if caps.indices.is_empty() {
        return Err(Unusable::Index(index.to_owned()));
    }
    if !caps.date(TIMESTAMP) {
        return Err(Unusable::Time { index: index.to_owned(), field: TIMESTAMP.to_owned() });
    }
    let service = caps.groupable(service_field).ok_or_else(|| Unusable::Service {
        index: index.to_owned(),
        tried: service_field.to_owned(),
    })?;
    let problem = |metric: &Metric| {
        let problem = match metric.aggregation {
            // Whatever has a value can be counted.
            Aggregation::Count => {
                caps.groupable(&metric.field).is_none().then(|| "is not mapped".to_owned())
            }
            _ => caps.numeric(&metric.field).err(),
        };
        let problem = problem?;
        Some(format!("signal {}: `{}` {problem}", metric.name, metric.field))
    };
    Ok((service, metrics.iter().map(problem).collect()))
}

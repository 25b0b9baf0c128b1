//! Where log documents keep what we need: profiles, chosen and completed from the fields that an index has. Pure;
//! the field capabilities are handed in.

use super::fields::{FieldCaps, Kind, TIMESTAMP, Unusable};
use super::settings::{DurationUnit, Fields, Schema};

/// Candidates of one profile, the preferred one first.
struct Profile {
    schema: Schema,
    service: &'static [&'static str],
    level: &'static [&'static str],
    severity_number: &'static [&'static str],
    duration: &'static [(&'static str, DurationUnit)],
    status: &'static [&'static str],
    outcome: &'static [&'static str],
    /// Fields that only this profile has.
    marks: &'static [&'static str],
}

const PROFILES: [Profile; 3] = [
    Profile {
        schema: Schema::Seed,
        service: &["service.name"],
        level: &["level"],
        severity_number: &[],
        duration: &[("duration_ms", DurationUnit::Ms)],
        status: &[],
        outcome: &[],
        marks: &["level", "duration_ms", "status_code"],
    },
    Profile {
        schema: Schema::Ecs,
        service: &["service.name"],
        level: &["log.level"],
        severity_number: &[],
        duration: &[
            ("event.duration", DurationUnit::Ns),
            ("transaction.duration.us", DurationUnit::Us),
        ],
        status: &["http.response.status_code"],
        outcome: &["event.outcome"],
        marks: &["log.level", "event.duration", "http.response.status_code", "event.outcome"],
    },
    Profile {
        schema: Schema::Otel,
        service: &["resource.attributes.service.name", "service.name"],
        level: &["severity_text"],
        severity_number: &["severity_number"],
        duration: &[("duration", DurationUnit::Ns)],
        status: &["attributes.http.response.status_code", "http.response.status_code"],
        outcome: &[],
        marks: &[
            "severity_text",
            "severity_number",
            "resource.attributes.service.name",
            "attributes.http.response.status_code",
        ],
    },
];

const INGESTED: &str = "event.ingested";

/// Every field that [`Layout::detect`] wants to know about.
pub(super) fn candidates(overrides: &Fields) -> Vec<String> {
    let own = [
        &overrides.timestamp,
        &overrides.service,
        &overrides.level,
        &overrides.severity_number,
        &overrides.duration,
        &overrides.status,
        &overrides.outcome,
        &overrides.ingested,
    ];
    let mut names: Vec<String> = own.into_iter().flatten().cloned().collect();
    names.extend([TIMESTAMP, INGESTED].map(str::to_owned));
    for profile in &PROFILES {
        for list in [
            profile.service,
            profile.level,
            profile.severity_number,
            profile.status,
            profile.outcome,
            profile.marks,
        ] {
            names.extend(list.iter().map(|name| (*name).to_owned()));
        }
        names.extend(profile.duration.iter().map(|(name, _)| (*name).to_owned()));
    }
    let keywords: Vec<String> = names.iter().map(|name| format!("{name}.keyword")).collect();
    names.extend(keywords);
    names.sort();
    names.dedup();
    names
}

/// How a level is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LevelKind {
    /// As a word.
    Word,
    /// As a number.
    Number,
}

/// Where the documents of one log index keep what we need.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub schema: Schema,
    pub timestamp: String,
    pub service: String,
    pub level: Option<(String, LevelKind)>,
    pub severity_number: Option<String>,
    pub duration: Option<(String, DurationUnit)>,
    pub status: Option<String>,
    pub outcome: Option<String>,
    pub ingested: Option<String>,
    /// What is missing or unusable, and what that means.
    pub missing: Vec<String>,
}

impl Layout {
    /// Chooses the profile and completes it from what the index has.
    pub(super) fn detect(
        index: &str,
        caps: &FieldCaps,
        wanted: Schema,
        overrides: &Fields,
    ) -> Result<Self, Unusable> {
        if caps.indices.is_empty() {
            return Err(Unusable::Index(index.to_owned()));
        }
        let profile = choose(caps, wanted);
        let timestamp = overrides.timestamp.clone().unwrap_or_else(|| TIMESTAMP.to_owned());
        if !caps.date(&timestamp) {
            return Err(Unusable::Time { index: index.to_owned(), field: timestamp });
        }
        let names = or_candidates(overrides.service.as_ref(), profile.service);
        let service = names.iter().find_map(|name| caps.groupable(name)).ok_or_else(|| {
            Unusable::Service { index: index.to_owned(), tried: names.join(", ") }
        })?;
        let mut layout = Self {
            schema: profile.schema,
            timestamp,
            service,
            level: None,
            severity_number: None,
            duration: None,
            status: None,
            outcome: None,
            ingested: None,
            missing: Vec::new(),
        };
        layout.find_errors(caps, profile, overrides);
        layout.find_duration(caps, profile, overrides);
        let ingested = overrides.ingested.clone().unwrap_or_else(|| INGESTED.to_owned());
        layout.ingested = caps.date(&ingested).then_some(ingested);
        Ok(layout)
    }

    fn find_errors(&mut self, caps: &FieldCaps, profile: &Profile, overrides: &Fields) {
        let levels = or_candidates(overrides.level.as_ref(), profile.level);
        self.level = levels.iter().find_map(|name| match caps.kind(name) {
            Kind::Missing => None,
            // A query for words would fail the shards where it is a number.
            Kind::Mixed(kinds) if kinds.contains("number") => None,
            Kind::One(kind) if kind == "number" => Some((name.clone(), LevelKind::Number)),
            Kind::One(_) | Kind::Mixed(_) => {
                Some((caps.groupable(name).unwrap_or_else(|| name.clone()), LevelKind::Word))
            }
        });
        let numeric = |given: Option<&String>, own: &[&str]| {
            or_candidates(given, own).into_iter().find(|name| caps.numeric(name).is_ok())
        };
        self.severity_number = numeric(overrides.severity_number.as_ref(), profile.severity_number);
        self.status = numeric(overrides.status.as_ref(), profile.status);
        self.outcome = or_candidates(overrides.outcome.as_ref(), profile.outcome)
            .iter()
            .find_map(|name| caps.groupable(name));
        let tells_errors = self.level.is_some()
            || self.severity_number.is_some()
            || self.status.is_some()
            || self.outcome.is_some();
        if !tells_errors {
            self.missing.push(format!(
                "no level ({}): error_rate cannot be told; set elasticsearch.fields.level",
                levels.join(", ")
            ));
        }
    }

    fn find_duration(&mut self, caps: &FieldCaps, profile: &Profile, overrides: &Fields) {
        let candidates: Vec<(String, DurationUnit)> = match &overrides.duration {
            Some(name) => {
                let own = profile.duration.first().map_or(DurationUnit::Ms, |(_, unit)| *unit);
                vec![(name.clone(), overrides.duration_unit.unwrap_or(own))]
            }
            None => profile
                .duration
                .iter()
                .map(|(name, unit)| ((*name).to_owned(), overrides.duration_unit.unwrap_or(*unit)))
                .collect(),
        };
        let mut problems = Vec::new();
        for (name, unit) in candidates {
            match caps.numeric(&name) {
                Ok(()) => {
                    self.duration = Some((name, unit));
                    return;
                }
                Err(problem) => problems.push(format!("`{name}` {problem}")),
            }
        }
        self.missing.push(format!(
            "no duration ({}): latency_p99 cannot be told; set elasticsearch.fields.duration",
            problems.join(", ")
        ));
    }

    /// Whether only some documents stand for requests: those with a status or a duration. In the `seed` layout
    /// every document does.
    pub(super) fn tells_requests(&self) -> bool {
        self.schema != Schema::Seed && (self.status.is_some() || self.duration.is_some())
    }

    /// What was found, for people.
    pub(super) fn describe(&self) -> String {
        let schema = match self.schema {
            Schema::Seed | Schema::Auto => "seed",
            Schema::Ecs => "ecs",
            Schema::Otel => "otel",
        };
        let mut parts = vec![format!("schema {schema}"), format!("service {}", self.service)];
        let mut add = |what: &str, field: Option<&String>| {
            parts.extend(field.map(|field| format!("{what} {field}")));
        };
        add("level", self.level.as_ref().map(|(field, _)| field));
        add("severity", self.severity_number.as_ref());
        add("status", self.status.as_ref());
        add("outcome", self.outcome.as_ref());
        let duration = self
            .duration
            .as_ref()
            .map(|(field, unit)| format!("{field} in {}", format!("{unit:?}").to_lowercase()));
        add("duration", duration.as_ref());
        add("arrival", self.ingested.as_ref());
        parts.join(", ")
    }
}

fn or_candidates(given: Option<&String>, own: &[&str]) -> Vec<String> {
    given.map_or_else(
        || own.iter().map(|name| (*name).to_owned()).collect(),
        |name| vec![name.clone()],
    )
}

fn choose(caps: &FieldCaps, wanted: Schema) -> &'static Profile {
    let marks = |profile: &Profile| {
        profile.marks.iter().filter(|field| caps.kind(field) != Kind::Missing).count()
    };
    let by_marks = || {
        // The first of equals: `seed` before `ecs` before `otel`.
        PROFILES.iter().rev().max_by_key(|profile| marks(profile)).unwrap_or(&PROFILES[0])
    };
    match wanted {
        Schema::Auto => by_marks(),
        Schema::Seed => &PROFILES[0],
        Schema::Ecs => &PROFILES[1],
        Schema::Otel => &PROFILES[2],
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Capability;
    use super::*;

    fn caps(fields: &[(&str, &str)]) -> FieldCaps {
        let mut caps = FieldCaps { indices: vec!["i".to_owned()], ..FieldCaps::default() };
        for (name, kind) in fields {
            caps.fields
                .entry((*name).to_owned())
                .or_default()
                .insert((*kind).to_owned(), Capability { aggregatable: *kind != "text" });
        }
        caps
    }

    fn detect(fields: &[(&str, &str)]) -> String {
        match Layout::detect("logs-*", &caps(fields), Schema::Auto, &Fields::default()) {
            Ok(layout) => [vec![layout.describe()], layout.missing].concat().join("\n"),
            Err(unusable) => unusable.to_string(),
        }
    }

    #[test]
    fn layouts_are_found() {
        let seed = [
            ("@timestamp", "date"),
            ("service.name", "keyword"),
            ("level", "keyword"),
            ("duration_ms", "float"),
            ("status_code", "integer"),
        ];
        let ecs = [
            ("@timestamp", "date"),
            ("service.name", "keyword"),
            ("log.level", "keyword"),
            ("event.duration", "long"),
            ("http.response.status_code", "long"),
            ("event.outcome", "keyword"),
            ("event.ingested", "date"),
        ];
        let otel = [
            ("@timestamp", "date_nanos"),
            ("resource.attributes.service.name", "keyword"),
            ("severity_text", "keyword"),
            ("severity_number", "byte"),
        ];
        let dynamic = [
            ("@timestamp", "date"),
            ("service.name", "text"),
            ("service.name.keyword", "keyword"),
            ("level", "text"),
            ("level.keyword", "keyword"),
            ("duration_ms", "text"),
        ];
        let mixed = [
            ("@timestamp", "date"),
            ("service.name", "keyword"),
            ("level", "long"),
            ("duration_ms", "long"),
            ("duration_ms", "keyword"),
        ];
        let nothing = [("@timestamp", "date"), ("service.name", "keyword")];
        let text = [("@timestamp", "date"), ("service.name", "text")];
        let untimed = [("@timestamp", "keyword"), ("service.name", "keyword")];
        let found: Vec<String> =
            [seed.as_slice(), &ecs, &otel, &dynamic, &mixed, &nothing, &text, &untimed]
                .into_iter()
                .map(detect)
                .collect();
        insta::assert_snapshot!(found.join("\n---\n"));
        let none = FieldCaps::default();
        let unusable = Layout::detect("logs-*", &none, Schema::Auto, &Fields::default());
        assert_eq!(unusable, Err(Unusable::Index("logs-*".to_owned())));
    }

    #[test]
    fn every_field_can_be_overridden() {
        let overrides = Fields {
            timestamp: Some("time".to_owned()),
            service: Some("app".to_owned()),
            level: Some("lvl".to_owned()),
            severity_number: None,
            duration: Some("took".to_owned()),
            duration_unit: Some(DurationUnit::S),
            status: Some("code".to_owned()),
            outcome: Some("ended".to_owned()),
            ingested: Some("came".to_owned()),
        };
        let caps = caps(&[
            ("time", "date"),
            ("app", "keyword"),
            ("lvl", "keyword"),
            ("took", "double"),
            ("code", "short"),
            ("ended", "keyword"),
            ("came", "date"),
        ]);
        let layout = Layout::detect("i", &caps, Schema::Ecs, &overrides).unwrap();
        assert_eq!(
            layout.describe(),
            "schema ecs, service app, level lvl, status code, outcome ended, duration took in s, arrival came"
        );
        let asked = candidates(&overrides);
        assert!(
            ["time", "lvl.keyword", "came"].iter().all(|name| asked.contains(&(*name).to_owned()))
        );
    }
}

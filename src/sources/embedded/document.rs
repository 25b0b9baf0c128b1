//! What a log document says: service, time, level, duration, status. Pure. It takes the field names of the seed, of
//! ECS and of OpenTelemetry, dotted and nested in any mixture.
//!
//! Long because half of it are its tests.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use serde_json::Value;

use super::rejection::{Reason, Rejection, quote};
use crate::model::UtcTime;
use crate::sources::level::Level;

/// Largest document, in bytes: its values take several times as much memory while it is read.
const DOCUMENT_BYTES: usize = 1_000_000;
/// Longest name of a service, in bytes.
const SERVICE_BYTES: usize = 256;
/// Longest message that is kept of an event, in bytes.
const MESSAGE_BYTES: usize = 2_048;
/// Longest trace id that is kept, in bytes.
const TRACE_BYTES: usize = 128;
/// Durations above this are a wrong unit: 30 days in milliseconds.
const DURATION_MOST_MS: f64 = 30.0 * 86_400_000.0;
/// How far ahead a sender's clock may be.
pub(super) const AHEAD: TimeDelta = TimeDelta::minutes(10);

const SERVICE: [&str; 5] = [
    "service.name",
    "resource.attributes.service.name",
    "resource.service.name",
    "attributes.service.name",
    "service",
];
const TIME: [&str; 3] = ["@timestamp", "timestamp", "time"];
const LEVEL: [&str; 4] = ["log.level", "level", "severity_text", "severity"];
const SEVERITY_NUMBER: &str = "severity_number";
const STATUS: [&str; 3] = [
    "http.response.status_code",
    "attributes.http.response.status_code",
    "attributes.http.status_code",
];
/// The seed's status: beside a level it says nothing more.
const SEED_STATUS: [&str; 1] = ["status_code"];
/// Fields of durations and the milliseconds of their unit.
const DURATION: [(&str, f64); 4] = [
    ("duration_ms", 1.0),
    ("event.duration", 1e-6),
    ("transaction.duration.us", 1e-3),
    ("attributes.event.duration", 1e-6),
];
/// Fields that only the seed's documents have: each of those is a request.
const SEED: [&str; 3] = ["level", "duration_ms", "status_code"];
const MESSAGE: [&str; 5] = ["message", "body.text", "body", "error.message", "exception.message"];
const TRACE: [&str; 3] = ["trace.id", "trace_id", "traceId"];

/// What a document says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    /// Who logged it.
    pub(super) service: String,
    /// When it happened.
    pub(super) at: UtcTime,
    /// How bad it was. An error is what the Elasticsearch source counts as one: a level or severity number of
    /// error or worse, an HTTP status of 500 or more, or the outcome `failure`.
    pub(super) level: Level,
    /// Whether it stands for a request: the seed's documents do, others with a status, a duration or an error.
    pub(super) request: bool,
    /// Whether it shows that its service tells requests apart from other lines.
    pub(super) telling: bool,
    /// How long it took, in milliseconds.
    pub(super) duration_ms: Option<f64>,
    /// For warnings and errors: the message, bounded.
    pub(super) message: Option<String>,
    /// For warnings and errors: the trace, bounded.
    pub(super) trace_id: Option<String>,
}

/// The times that are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    /// Older ones would be dropped at once.
    pub(super) oldest: UtcTime,
    /// Newer ones are a wrong clock.
    pub(super) newest: UtcTime,
}

/// Reads one document.
pub(super) fn observe(source: &[u8], horizon: Horizon) -> Result<Observation, Rejection> {
    if source.len() > DOCUMENT_BYTES {
        return Err(Rejection::new(
            Reason::TooLarge,
            format!("the document has {} bytes, at most {DOCUMENT_BYTES} are taken", source.len()),
        ));
    }
    let document: Value = serde_json::from_slice(source)
        .map_err(|error| Rejection::new(Reason::Malformed, format!("failed to parse: {error}")))?;
    if !document.is_object() {
        return Err(Rejection::new(
            Reason::Malformed,
            "failed to parse: the document must be a JSON object",
        ));
    }
    let service = service(&document)?;
    let at = time(&document, horizon)?;
    let duration_ms = duration(&document)?;
    let (http, seed_status) = (status(&document, &STATUS)?, status(&document, &SEED_STATUS)?);
    let level = level(&document, http, seed_status);
    let seed = SEED.iter().any(|path| find(&document, path).is_some());
    let (kept, error) = (level > Level::Normal, level == Level::Error);
    Ok(Observation {
        service,
        at,
        level,
        request: seed || http.is_some() || duration_ms.is_some() || error,
        telling: seed || duration_ms.is_some() || (http.is_some() && !error),
        duration_ms,
        message: kept.then(|| bounded(&document, &MESSAGE, MESSAGE_BYTES)).flatten(),
        trace_id: kept.then(|| bounded(&document, &TRACE, TRACE_BYTES)).flatten(),
    })
}

fn service(document: &Value) -> Result<String, Rejection> {
    let bad = |text: String| Err(Rejection::new(Reason::BadService, text));
    let found = SERVICE.iter().find_map(|path| {
        // `service` is also the object around `service.name`.
        find(document, path).filter(|value| !value.is_object()).map(|value| (path, value))
    });
    let Some((path, value)) = found else {
        return Err(Rejection::new(
            Reason::NoService,
            "field [service.name] is missing: every document must name its service",
        ));
    };
    let Value::String(name) = value else {
        return bad(format!("field [{path}] must be text, found {}", shown(value)));
    };
    let name = name.trim();
    if name.is_empty() {
        return Err(Rejection::new(Reason::NoService, format!("field [{path}] is empty")));
    }
    if name.len() > SERVICE_BYTES {
        return bad(format!(
            "field [{path}] has {} bytes, at most {SERVICE_BYTES} are taken",
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return bad(format!("field [{path}] contains control characters: {}", quote(name)));
    }
    Ok(name.to_owned())
}

fn time(document: &Value, horizon: Horizon) -> Result<UtcTime, Rejection> {
    let found = TIME.iter().find_map(|path| find(document, path).map(|value| (path, value)));
    let Some((path, value)) = found else {
        return Err(Rejection::new(Reason::NoTime, "field [@timestamp] is missing"));
    };
    let Some(at) = instant(value) else {
        return Err(Rejection::new(
            Reason::BadTime,
            format!(
                "field [{path}] is no time: {}; use 2026-01-31T12:00:00Z or milliseconds since 1970",
                shown(value)
            ),
        ));
    };
    let refused = |reason, words: &str, limit: UtcTime| {
        let at = at.format("%FT%TZ");
        let limit = limit.format("%FT%TZ");
        Err(Rejection::new(reason, format!("field [{path}] is {at}, {words} {limit}")))
    };
    if at < horizon.oldest {
        return refused(Reason::TooOld, "older than what is kept, which begins at", horizon.oldest);
    }
    if at > horizon.newest {
        return refused(
            Reason::TooNew,
            "in the future: the newest that is taken is",
            horizon.newest,
        );
    }
    Ok(at)
}

/// RFC 3339, the same without zone (then UTC), a date, or milliseconds since the epoch as number or digits.
fn instant(value: &Value) -> Option<UtcTime> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            DateTime::parse_from_rfc3339(text)
                .map(|at| at.to_utc())
                .ok()
                .or_else(|| {
                    DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z")
                        .ok()
                        .map(|at| at.to_utc())
                })
                .or_else(|| text.parse::<NaiveDateTime>().ok().map(|at| at.and_utc()))
                .or_else(|| {
                    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
                        .ok()
                        .map(|at| at.and_utc())
                })
                .or_else(|| text.parse::<f64>().ok().and_then(from_millis))
                .or_else(|| {
                    text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|at| at.and_utc())
                })
        }
        Value::Number(number) => number.as_f64().and_then(from_millis),
        _ => None,
    }
}

fn from_millis(millis: f64) -> Option<UtcTime> {
    if !millis.is_finite() || millis.abs() > 1e14 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above: 1e17 fits an i64")]
    let micros = (millis * 1_000.0) as i64;
    DateTime::from_timestamp_micros(micros)
}

fn duration(document: &Value) -> Result<Option<f64>, Rejection> {
    let found = DURATION
        .iter()
        .find_map(|(path, unit)| find(document, path).map(|value| (path, *unit, value)));
    let Some((path, unit, value)) = found else {
        return Ok(None);
    };
    let bad = |words: &str| {
        Err(Rejection::new(
            Reason::BadDuration,
            format!("field [{path}] {words}: {}", shown(value)),
        ))
    };
    let Some(number) = number(value) else {
        return bad("is no number");
    };
    let millis = number * unit;
    if !(0.0..=DURATION_MOST_MS).contains(&millis) {
        return bad("is negative or more than 30 days");
    }
    Ok(Some(millis))
}

fn status(document: &Value, paths: &[&str]) -> Result<Option<u64>, Rejection> {
    let found = paths.iter().find_map(|path| find(document, path).map(|value| (path, value)));
    let Some((path, value)) = found else {
        return Ok(None);
    };
    number(value).and_then(whole).map(Some).ok_or_else(|| {
        Rejection::new(
            Reason::BadStatus,
            format!("field [{path}] is no HTTP status: {}", shown(value)),
        )
    })
}

fn level(document: &Value, status: Option<u64>, seed_status: Option<u64>) -> Level {
    let word = |path: &&str| match find(document, path)? {
        Value::String(text) => Level::from_text(text),
        Value::Number(number) => Level::from_number(number.as_u64()?),
        _ => None,
    };
    let number = || {
        let number = number(find(document, SEVERITY_NUMBER)?)?;
        Level::from_number(whole(number)?)
    };
    let written = LEVEL.iter().find_map(word);
    let failed = |status: Option<u64>| status.is_some_and(|status| (500..600).contains(&status));
    let outcome = find(document, "event.outcome").and_then(Value::as_str);
    if failed(status)
        || outcome == Some("failure")
        || (written.is_none() && failed(seed_status))
        || number() == Some(Level::Error)
    {
        return Level::Error;
    }
    written.or_else(number).unwrap_or(Level::Normal)
}

/// A number from 0 to 9,999 without fraction.
fn whole(number: f64) -> Option<u64> {
    let fits = number.fract() == 0.0 && (0.0..=9_999.0).contains(&number);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 9,999"
    )]
    fits.then_some(number as u64)
}

/// A number, or text that is one, as Elasticsearch coerces it.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// The first text among `paths`, cut to `bytes`.
fn bounded(document: &Value, paths: &[&str], bytes: usize) -> Option<String> {
    let text = paths.iter().find_map(|path| find(document, path)?.as_str())?;
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A NUL would end the text for whoever reads the file with other tools.
    Some(text.get(..end)?.replace('\0', " "))
}

/// The value at a dotted path, whichever of its dots are nesting and whichever belong to names; null is nothing.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    if let Some(found) = object.get(path) {
        return Some(found).filter(|found| !found.is_null());
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (outer, inner) = (path.get(..dot)?, path.get(dot + 1..)?);
        find(object.get(outer)?, inner)
    })
}

fn shown(value: &Value) -> String {
    quote(&value.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn horizon() -> Horizon {
        Horizon { oldest: at("2026-11-14T10:00:00Z"), newest: at("2026-11-21T10:10:00Z") }
    }

    fn at(text: &str) -> UtcTime {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn read(document: &Value) -> Result<Observation, Rejection> {
        observe(document.to_string().as_bytes(), horizon())
    }

    #[test]
    fn three_schemas_say_the_same() {
        let time = "2026-11-21T10:00:00Z";
        let schemas = [
            json!({"@timestamp": time, "service.name": "pay", "level": "error", "duration_ms": 1800.5,
                "status_code": 503, "message": "pool exhausted", "trace.id": "t1"}),
            json!({"@timestamp": time, "service": {"name": "pay"}, "log": {"level": "ERROR"},
                "event": {"duration": 1_800_500_000_u64}, "http": {"response": {"status_code": "503"}},
                "message": "pool exhausted", "trace": {"id": "t1"}}),
            json!({"@timestamp": "1795255200000.0", "resource": {"attributes": {"service.name": "pay"}},
                "severity_number": 17, "attributes": {"http.response.status_code": 503,
                "event.duration": 1_800_500_000_u64}, "body": {"text": "pool exhausted"}, "trace_id": "t1"}),
            json!({"timestamp": 1_795_255_200_000_u64, "service": "pay", "severity_text": "Error2",
                "transaction": {"duration": {"us": 1_800_500}}, "message": "pool exhausted", "traceId": "t1"}),
        ];
        let expected = Observation {
            service: "pay".to_owned(),
            at: at(time),
            level: Level::Error,
            request: true,
            telling: true,
            duration_ms: Some(1_800.5),
            message: Some("pool exhausted".to_owned()),
            trace_id: Some("t1".to_owned()),
        };
        for document in schemas {
            let mut got = read(&document).unwrap();
            got.duration_ms = got.duration_ms.map(|ms| (ms * 1e6).round() / 1e6);
            assert_eq!(got, expected, "{document}");
        }
    }

    #[test]
    fn what_is_an_error() {
        let base = json!({"@timestamp": "2026-11-21T10:00:00", "service.name": "pay"});
        let cases = [
            (json!({"status_code": 500}), Level::Error),
            (json!({"status_code": 404}), Level::Normal),
            (json!({"event": {"outcome": "failure"}}), Level::Error),
            (json!({"level": "info", "status_code": 500}), Level::Normal),
            (
                json!({"log.level": "info", "http": {"response": {"status_code": 500}}}),
                Level::Error,
            ),
            (json!({"log.level": "info", "event.outcome": "failure"}), Level::Error),
            (json!({"severity_text": "INFO", "severity_number": 17}), Level::Error),
            (json!({"level": "banana", "status_code": 500}), Level::Error),
            (json!({"level": null, "severity_number": 13}), Level::Warning),
            (json!({}), Level::Normal),
        ];
        for (more, expected) in cases {
            let mut document = base.clone();
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(read(&document).unwrap().level, expected, "{document}");
        }
    }

    #[test]
    fn what_is_a_request() {
        let base = json!({"@timestamp": "2026-11-21T10:00:00", "service.name": "pay"});
        let cases = [
            (json!({"level": "info"}), (true, true)),
            (json!({"log.level": "info"}), (false, false)),
            (json!({"log.level": "error"}), (true, false)),
            (json!({"log.level": "info", "event.duration": 5}), (true, true)),
            (json!({"log.level": "error", "event.duration": 5}), (true, true)),
            (json!({"http.response.status_code": 200}), (true, true)),
            (json!({"http.response.status_code": 500}), (true, false)),
        ];
        for (more, expected) in cases {
            let mut document = base.clone();
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let seen = read(&document).unwrap();
            assert_eq!((seen.request, seen.telling), expected, "{document}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let time = "2026-11-21T10:00:00Z";
        let cases = [
            (json!({"@timestamp": time}), Reason::NoService),
            (json!({"@timestamp": time, "service.name": "  "}), Reason::NoService),
            (json!({"@timestamp": time, "service.name": 7}), Reason::BadService),
            (json!({"@timestamp": time, "service.name": "a\u{7}"}), Reason::BadService),
            (json!({"@timestamp": time, "service.name": "a".repeat(257)}), Reason::BadService),
            (json!({"service.name": "a"}), Reason::NoTime),
            (json!({"service.name": "a", "@timestamp": "yesterday"}), Reason::BadTime),
            (json!({"service.name": "a", "@timestamp": 1e300}), Reason::BadTime),
            (json!({"service.name": "a", "@timestamp": 1_795_255_200}), Reason::TooOld),
            (json!({"service.name": "a", "@timestamp": "2026-11-14T09:59:59Z"}), Reason::TooOld),
            (json!({"service.name": "a", "@timestamp": "2026-11-21T10:10:01Z"}), Reason::TooNew),
            (
                json!({"service.name": "a", "@timestamp": time, "duration_ms": -1}),
                Reason::BadDuration,
            ),
            (
                json!({"service.name": "a", "@timestamp": time, "duration_ms": "NaN"}),
                Reason::BadDuration,
            ),
            (
                json!({"service.name": "a", "@timestamp": time, "duration_ms": {}}),
                Reason::BadDuration,
            ),
            (
                json!({"service.name": "a", "@timestamp": time, "duration_ms": 1e13}),
                Reason::BadDuration,
            ),
            (
                json!({"service.name": "a", "@timestamp": time, "status_code": 200.5}),
                Reason::BadStatus,
            ),
        ];
        for (document, expected) in cases {
            let rejection = read(&document).unwrap_err();
            assert_eq!(rejection.reason, expected, "{document}: {}", rejection.text);
            assert!(rejection.text.starts_with("field ["), "{}", rejection.text);
        }
        for text in ["", "[]", "{", "{\"duration_ms\":NaN}", "{\"a\":1e999}"] {
            let rejection = observe(text.as_bytes(), horizon()).unwrap_err();
            assert_eq!(rejection.reason, Reason::Malformed, "{text}");
        }
    }

    #[test]
    fn a_document_is_not_looked_at_beyond_its_size() {
        let large = format!("{{\"message\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES));
        let rejection = observe(large.as_bytes(), horizon()).unwrap_err();
        assert_eq!(rejection.reason, Reason::TooLarge);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let document = json!({"@timestamp": "2026-11-21T10:00:00Z", "service.name": "a", "level": "warn",
            "message": "ä".repeat(5_000)});
        let message = read(&document).unwrap().message.unwrap();
        assert!(message.len() <= MESSAGE_BYTES && message.len() > MESSAGE_BYTES - 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(observe(&bytes, horizon()));
        }

        #[test]
        fn any_values_of_the_known_fields_are_taken_or_refused(
            time in value(), service in value(), level in value(), duration in value(),
            status in value(), message in value(),
        ) {
            let document = json!({"@timestamp": time, "service.name": service, "level": level,
                "duration_ms": duration, "status_code": status, "message": message});
            if let Ok(observation) = read(&document) {
                prop_assert!(observation.duration_ms.is_none_or(|ms| ms.is_finite() && ms >= 0.0));
                prop_assert!(!observation.service.is_empty());
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            Just(json!("2026-11-21T10:00:00Z")),
            Just(json!({"name": "x"})),
            Just(json!([1])),
        ]
    }
}

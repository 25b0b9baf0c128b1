//! The buckets of a composite aggregation, as they are on the wire. Names are borrowed from the answer. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::model::Quantiles;

/// A service as documents give it: text, or a number or flag where the field is one.
#[derive(Debug)]
pub(super) struct Name<'a>(pub(super) Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a service")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Name<'de>, E> {
                Ok(Name(Some(Cow::Owned(flag.to_string()))))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Name<'de>, E> {
                Ok(Name(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Key<'a> {
    #[serde(borrow)]
    pub service: Name<'a>,
    pub time: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Docs {
    pub doc_count: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Number {
    pub value: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Percentiles {
    pub values: Values,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Values {
    #[serde(rename = "25.0", default, deserialize_with = "number")]
    p25: Option<f64>,
    #[serde(rename = "50.0", default, deserialize_with = "number")]
    p50: Option<f64>,
    #[serde(rename = "75.0", default, deserialize_with = "number")]
    p75: Option<f64>,
    #[serde(rename = "90.0", default, deserialize_with = "number")]
    p90: Option<f64>,
    #[serde(rename = "95.0", default, deserialize_with = "number")]
    p95: Option<f64>,
    #[serde(rename = "99.0", default, deserialize_with = "number")]
    p99: Option<f64>,
    #[serde(rename = "100.0", default, deserialize_with = "number")]
    max: Option<f64>,
}

/// A number, `null`, or one of the words that stand for numbers that are not finite.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    struct Lenient;
    impl Visitor<'_> for Lenient {
        type Value = Option<f64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<f64>, E> {
            Ok(Some(number))
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<f64>, E> {
            Ok(Some(float(number)))
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<f64>, E> {
            #[expect(clippy::cast_precision_loss, reason = "a measurement, not an id")]
            Ok(Some(number as f64))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Option<f64>, E> {
            Ok(None)
        }
        fn visit_str<E: de::Error>(self, word: &str) -> Result<Option<f64>, E> {
            match word {
                "NaN" | "Infinity" | "-Infinity" => Ok(Some(f64::NAN)),
                _ => Err(de::Error::invalid_value(de::Unexpected::Str(word), &self)),
            }
        }
    }
    deserializer.deserialize_any(Lenient)
}

impl Values {
    /// The distribution in milliseconds (or whatever `factor` makes of it); `Err` if a number is not finite,
    /// missing, or does not fit.
    pub(super) fn quantiles(self, count: u64, factor: f64) -> Result<Quantiles, ()> {
        let Self { p25, p50, p75, p90, p95, p99, max } = self;
        let mut values = [0.0_f32; 7];
        let mut last = f32::NEG_INFINITY;
        for (slot, value) in values.iter_mut().zip([p25, p50, p75, p90, p95, p99, max]) {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be finite below")]
            let value = (value.ok_or(())? * factor) as f32;
            if !value.is_finite() {
                return Err(());
            }
            // An estimate may be out of order by rounding.
            last = value.max(last);
            *slot = last;
        }
        Ok(Quantiles { count: u32::try_from(count).unwrap_or(u32::MAX), values })
    }
}

/// A bucket of a log index.
#[derive(Debug, Deserialize)]
pub(super) struct LogBucket<'a> {
    #[serde(borrow)]
    pub key: Key<'a>,
    pub doc_count: u64,
    pub errors: Option<Docs>,
    pub requests: Option<Docs>,
    pub timed: Option<Number>,
    pub latency: Option<Percentiles>,
}

/// A bucket of a metrics index: the signals' values by their positions.
#[derive(Debug)]
pub(super) struct MetricBucket<'a> {
    pub key: Key<'a>,
    pub doc_count: u64,
    pub values: Vec<(usize, MetricValue)>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct MetricValue {
    pub n: Option<Number>,
    pub p: Option<Percentiles>,
    pub v: Option<Stats>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Stats {
    pub count: u64,
    #[serde(default, deserialize_with = "number")]
    pub max: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub sum: Option<f64>,
}

impl<'de> Deserialize<'de> for MetricBucket<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = MetricBucket<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bucket")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut key, mut doc_count, mut values) = (None, None, Vec::new());
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    let name = name.as_deref().unwrap_or_default();
                    match (name, name.parse::<usize>()) {
                        ("key", _) => key = Some(map.next_value()?),
                        ("doc_count", _) => doc_count = Some(map.next_value()?),
                        (_, Ok(place)) => values.push((place, map.next_value()?)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(MetricBucket {
                    key: key.ok_or_else(|| de::Error::missing_field("key"))?,
                    doc_count: doc_count.ok_or_else(|| de::Error::missing_field("doc_count"))?,
                    values,
                })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of documents stay far below 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

//! What is measured, in which unit, and which way is bad.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{SignalName, SourceName};

/// A signal: what is measured, how its buckets merge into a window, and which way is bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its name, unique in a deployment.
    pub name: SignalName,
    /// The source that reads it.
    pub source: SourceName,
    /// The unit of its value.
    pub unit: Unit,
    /// Which deviations are bad.
    pub direction: Direction,
    /// How its value comes from its points.
    pub measure: Measure,
}

impl Signal {
    /// `error_rate` of a log source: errors ÷ requests.
    pub fn error_rate(source: impl Into<SourceName>) -> Self {
        Self {
            name: Arc::from("error_rate"),
            source: source.into(),
            unit: Unit::Ratio,
            direction: Direction::Up,
            measure: Measure::Ratio,
        }
    }

    /// `latency_p99` of a log source: the 99th percentile of request durations, in milliseconds.
    pub fn latency_p99(source: impl Into<SourceName>) -> Self {
        Self {
            name: Arc::from("latency_p99"),
            source: source.into(),
            unit: Unit::Milliseconds,
            direction: Direction::Up,
            measure: Measure::Quantile(0.99),
        }
    }

    /// `throughput` of a log source: requests a minute.
    pub fn throughput(source: impl Into<SourceName>) -> Self {
        Self {
            name: Arc::from("throughput"),
            source: source.into(),
            unit: Unit::PerMinute,
            direction: Direction::Both,
            measure: Measure::Count,
        }
    }
}

/// How the points of a window become one value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// `part ÷ whole` of [`super::Point::Ratio`].
    Ratio,
    /// A quantile in `0..=1` of [`super::Point::Quantiles`].
    Quantile(f64),
    /// Additive [`super::Point::Count`], reported per minute.
    Count,
    /// Additive [`super::Point::Count`], reported as the sum over the window.
    Sum,
    /// `sum ÷ count` of [`super::Point::Mean`].
    Mean,
    /// The largest [`super::Point::Max`].
    Max,
}

/// Which deviation from the baseline is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is bad.
    Up,
    /// Less is bad.
    Down,
    /// Both are.
    Both,
}

/// The unit of a signal's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share in `0..=1`, shown as per cent.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// Events a minute.
    PerMinute,
    /// A plain number.
    Count,
    /// Bytes.
    Bytes,
    /// Already per cent, `0..=100`.
    Percent,
    /// Anything else, shown as written.
    Other(String),
}

impl Unit {
    /// A value in words for people: `7.3 %`, `1.80 s`, `240/min`, `3.2 GB`.
    pub fn show(&self, value: f64) -> String {
        if !value.is_finite() {
            return "n/a".to_owned();
        }
        match self {
            Self::Ratio => format!("{} %", plain(value * 100.0)),
            Self::Percent => format!("{} %", plain(value)),
            Self::Milliseconds if value.abs() >= 60_000.0 => {
                format!("{} min", plain(value / 60_000.0))
            }
            Self::Milliseconds if value.abs() >= 1_000.0 => format!("{:.2} s", value / 1_000.0),
            Self::Milliseconds => format!("{} ms", plain(value)),
            Self::PerMinute => format!("{}/min", plain(value)),
            Self::Count => plain(value),
            Self::Bytes => bytes(value),
            Self::Other(unit) => format!("{} {unit}", plain(value)),
        }
    }
}

/// Three significant digits below 1,000, thousands separated above.
fn plain(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1_000.0 {
        let digits = format!("{magnitude:.0}");
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return if value < 0.0 { format!("-{grouped}") } else { grouped };
    }
    let decimals = match magnitude {
        m if m >= 100.0 || m == 0.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = value;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if scaled.abs() < 1_000.0 {
            break;
        }
        scaled /= 1_000.0;
        unit = larger;
    }
    format!("{} {unit}", plain(scaled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        let cases = [
            (Unit::Ratio, 0.0731, "7.31 %"),
            (Unit::Ratio, 1.0, "100 %"),
            (Unit::Ratio, 0.0, "0 %"),
            (Unit::Milliseconds, 123.4, "123 ms"),
            (Unit::Milliseconds, 1_800.0, "1.80 s"),
            (Unit::Milliseconds, 90_000.0, "1.5 min"),
            (Unit::PerMinute, 12_345.6, "12,346/min"),
            (Unit::Bytes, 3_200_000_000.0, "3.2 GB"),
            (Unit::Count, f64::NAN, "n/a"),
        ];
        for (unit, value, expected) in cases {
            assert_eq!(unit.show(value), expected);
        }
    }
}

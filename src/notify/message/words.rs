//! Numbers and instants in words, and text from outside made harmless to lay out. Knows no receiver's markup.

use chrono::{Datelike, Duration};

use crate::model::{Anomaly, Direction, Evidence, Severity, UtcTime};

/// How many buckets a sparkline shows: as many as fit on a phone.
const SPARKLINE: usize = 30;

/// A severity in a word, for those who do not see colours or do not know the letters.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::P1 => "critical",
        Severity::P2 => "high",
        Severity::P3 => "medium",
        Severity::P4 => "low",
    }
}

/// A signal's name as people say it.
pub fn signal(name: &str) -> &str {
    match name {
        "error_rate" => "error rate",
        "latency_p99" => "p99 latency",
        "throughput" => "traffic",
        other => other,
    }
}

/// Text from outside on one line: without control characters and marks that turn the direction of writing, and
/// at most `limit` characters.
pub fn clean(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let mut gap = false;
    for c in text.chars().filter(|c| !is_hidden(*c)) {
        if c.is_whitespace() || c.is_control() {
            gap = length > 0;
            continue;
        }
        let needed = 1 + usize::from(gap);
        if length + needed > limit {
            while length + 1 > limit && line.pop().is_some() {
                length -= 1;
            }
            line.push('…');
            return line;
        }
        if gap {
            line.push(' ');
        }
        line.push(c);
        length += needed;
        gap = false;
    }
    line
}

/// Characters that are not seen but change what is: direction marks, joiners' abuse, tags.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// An instant as people on call read it: the time today, with the day before that.
pub fn clock(at: UtcTime, now: UtcTime) -> String {
    let format = if at.date_naive() == now.date_naive() {
        "%H:%M UTC"
    } else if at.year() == now.year() {
        "%-d %b %H:%M UTC"
    } else {
        "%-d %b %Y %H:%M UTC"
    };
    at.format(format).to_string()
}

/// A length of time in its two largest units.
pub(super) fn span(length: Duration) -> String {
    let minutes = length.num_minutes();
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, m) if m < 1 => "under 1 min".to_owned(),
        (0, 0, m) => format!("{m} min"),
        (0, h, 0) => format!("{h} h"),
        (0, h, m) => format!("{h} h {m} min"),
        (1, 0, _) => "1 day".to_owned(),
        (1, h, _) => format!("1 day {h} h"),
        (d, 0, _) => format!("{d} days"),
        (d, h, _) => format!("{d} days {h} h"),
    }
}

/// How many times the expected value, or by how much of it: `33×`, `+45 %`, `−80 %`.
pub(super) fn ratio(anomaly: &Anomaly) -> Option<String> {
    let ratio = anomaly.current / anomaly.expected;
    if !ratio.is_finite() || ratio <= 0.0 || anomaly.expected.abs() < f64::EPSILON {
        return None;
    }
    if anomaly.direction == Direction::Down || ratio < 1.0 {
        let less = (1.0 - ratio) * 100.0;
        return (less >= 0.5).then(|| format!("−{less:.0} %"));
    }
    Some(match ratio {
        r if r >= 1_000.0 => "over 1,000×".to_owned(),
        r if r >= 9.95 => format!("{r:.0}×"),
        r if r >= 2.0 => format!("{r:.1}×"),
        r => format!("+{:.0} %", (r - 1.0) * 100.0),
    })
}

/// The score; it is capped where the arithmetic ends.
pub(super) fn score(score: f64) -> String {
    if score >= 37.0 { "z over 37".to_owned() } else { format!("z {score:.1}") }
}

/// The newest buckets as a line of blocks between their times; gaps are dots. `None` without any value.
pub(super) fn sparkline(evidence: &Evidence, to: UtcTime) -> Option<String> {
    let all = &evidence.recent;
    let skipped = all.len().saturating_sub(SPARKLINE);
    let shown = all.get(skipped..)?;
    let values: Vec<f64> = shown.iter().flatten().copied().filter(|v| v.is_finite()).collect();
    let high = values.iter().copied().reduce(f64::max)?;
    let least = values.iter().copied().fold(high, f64::min);
    // From zero, so that a ripple does not look like a wave, unless all values lie far from it.
    let low = if least >= 0.0 && least <= high / 2.0 { 0.0 } else { least };
    let line: String = shown.iter().map(|value| glyph(*value, low, high)).collect();
    let Some(first) = evidence.recent_from else { return Some(line) };
    let buckets = i32::try_from(all.len()).unwrap_or(i32::MAX).max(1);
    let from = first + (to - first) / buckets * i32::try_from(skipped).unwrap_or(0);
    Some(format!("{} {line} {}", from.format("%H:%M"), to.format("%H:%M")))
}

fn glyph(value: Option<f64>, low: f64, high: f64) -> char {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some(value) = value.filter(|v| v.is_finite()) else { return '·' };
    let share = if high > low { (value - low) / (high - low) } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share in 0..=1 times seven"
    )]
    let index = (share.clamp(0.0, 1.0) * 7.0).round() as usize;
    BLOCKS.get(index).copied().unwrap_or('█')
}

/// Names in a row, at most `limit` of them: `a, b and 3 more`.
pub(super) fn list(names: &[String], limit: usize) -> String {
    let shown: Vec<&str> = names.iter().take(limit).map(String::as_str).collect();
    let rest = names.len() - shown.len();
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UtcTime {
        text.parse().unwrap()
    }

    #[test]
    fn instants_and_spans() {
        let now = at("2026-11-21T03:19:00Z");
        assert_eq!(clock(at("2026-11-21T03:15:59Z"), now), "03:15 UTC");
        assert_eq!(clock(at("2026-11-20T23:50:00Z"), now), "20 Nov 23:50 UTC");
        assert_eq!(clock(at("2025-12-31T23:50:00Z"), now), "31 Dec 2025 23:50 UTC");
        let spans = [-5, 0, 59, 60, 3_599, 3_600, 12_300, 86_400, 90_000, 200_000, 172_800]
            .map(|seconds| span(Duration::seconds(seconds)));
        assert_eq!(
            spans.join("; "),
            "under 1 min; under 1 min; under 1 min; 1 min; 59 min; 1 h; 3 h 25 min; 1 day; 1 day 1 h; \
             2 days 7 h; 2 days"
        );
    }

    #[test]
    fn sparklines_show_level_and_gaps() {
        let evidence = |recent: &[Option<f64>], from| Evidence {
            recent: recent.to_vec(),
            recent_from: from,
            ..Evidence::default()
        };
        let to = at("2026-11-21T03:20:00Z");
        let line = |recent: &[Option<f64>]| sparkline(&evidence(recent, None), to);
        assert_eq!(line(&[Some(0.0), Some(1.0), None, Some(4.0), Some(8.0)]).unwrap(), "▁▂·▅█");
        // A level far from zero shows its own ups and downs; a constant is flat.
        assert_eq!(line(&[Some(100.0), Some(101.0), Some(102.0)]).unwrap(), "▁▅█");
        assert_eq!(line(&[Some(5.0), Some(5.0)]).unwrap(), "▁▁");
        assert_eq!(line(&[Some(-1.0), Some(f64::NAN), Some(1.0)]).unwrap(), "▁·█");
        assert_eq!(line(&[None, None]), None);
        assert_eq!(line(&[]), None);
        let hour: Vec<_> = (0..60).map(|minute| Some(f64::from(minute % 2))).collect();
        let line = sparkline(&evidence(&hour, Some(at("2026-11-21T02:20:00Z"))), to).unwrap();
        assert_eq!(line, "02:50 ▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█▁█ 03:20");
    }

    proptest! {
        #[test]
        fn cleaned_text_is_one_short_line(text: String, limit in 1_usize..200) {
            let cleaned = clean(&text, limit);
            prop_assert!(cleaned.chars().count() <= limit, "{cleaned:?}");
            prop_assert!(!cleaned.contains(char::is_control), "{cleaned:?}");
            prop_assert!(!cleaned.contains(is_hidden));
            prop_assert!(cleaned.trim() == cleaned);
            // What fits and is clean stays as it is.
            prop_assert_eq!(clean(&cleaned, limit), cleaned.clone());
        }

        #[test]
        fn a_sparkline_never_fails(
            recent in prop::collection::vec(prop::option::of(any::<f64>()), 0..80)
        ) {
            let evidence = Evidence {
                recent,
                recent_from: Some(UtcTime::MIN_UTC),
                ..Evidence::default()
            };
            if let Some(line) = sparkline(&evidence, UtcTime::UNIX_EPOCH) {
                prop_assert!(line.chars().count() <= SPARKLINE + 40);
            }
        }
    }
}

//! What detection tells the incidents.

use serde::{Deserialize, Serialize};

use super::{Anomaly, SeriesKey, SourceName, UtcTime};

/// One thing that detection found out, in the order in which it was found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The series is out of line; sent again each time it is judged so, with current numbers and severity.
    Fired(Box<Anomaly>),
    /// A series that had fired is back in line for as many closed buckets as the settings ask for.
    Recovered {
        /// The series.
        series: SeriesKey,
        /// When the first good bucket began.
        since: UtcTime,
    },
    /// A series that had fired and stays out of line: its level was accepted as the new normal.
    Accepted {
        /// The series.
        series: SeriesKey,
        /// The rule that accepted it, in words with its numbers.
        reason: String,
    },
    /// Found in history that was read after a gap: began and ended while nobody looked. Recorded, not paged.
    Passed {
        /// As it was at its worst.
        anomaly: Box<Anomaly>,
        /// When it was over.
        ended: UtcTime,
    },
    /// A source could not be read for longer than the budget.
    Blind {
        /// The source.
        source: SourceName,
        /// Since when.
        since: UtcTime,
        /// Why, in words.
        reason: String,
    },
    /// A blind source was read again.
    Sighted {
        /// The source.
        source: SourceName,
        /// When.
        at: UtcTime,
    },
}

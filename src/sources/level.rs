//! Log levels as the world writes them, folded into a few. Shared by the log sources, so that both count the
//! same documents as errors. Pure; queries that need the words themselves take them from the lists.

use std::fmt;

/// Words, in lower case, that mean an error or worse.
pub const ERROR_WORDS: [&str; 17] = [
    "error",
    "err",
    "erro",
    "eror",
    "e",
    "severe",
    "failure",
    "failed",
    "fatal",
    "f",
    "critical",
    "crit",
    "alert",
    "emergency",
    "emerg",
    "panic",
    "dpanic",
];

/// Words, in lower case, that mean a warning.
pub const WARNING_WORDS: [&str; 4] = ["warning", "warn", "wrn", "w"];

/// Words, in lower case, that mean neither.
const OTHER_WORDS: [&str; 19] = [
    "info",
    "information",
    "informational",
    "inf",
    "i",
    "notice",
    "note",
    "n",
    "default",
    "ok",
    "debug",
    "dbg",
    "d",
    "trace",
    "t",
    "verbose",
    "fine",
    "finer",
    "finest",
];

/// The smallest OpenTelemetry severity number that means an error.
pub const ERROR_NUMBER: u64 = 17;
/// The smallest OpenTelemetry severity number that means a warning.
pub const WARNING_NUMBER: u64 = 13;

/// How bad a log line says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Informational or less.
    Normal,
    /// A warning.
    Warning,
    /// An error or worse.
    Error,
}

impl Level {
    /// As events are kept: `info`, `warning`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// Reads a word in any case (`WARN`, `Information`, `error2`) or a number in digits; `None` if it is no
    /// level that we know.
    pub fn from_text(text: &str) -> Option<Self> {
        let word = text.trim().trim_matches(['[', ']', '<', '>', ':']).to_lowercase();
        if let Ok(number) = word.parse() {
            return Self::from_number(number);
        }
        // OpenTelemetry's finer steps: `ERROR2`, `WARN4`.
        let word = word.trim_end_matches(['1', '2', '3', '4']);
        let among = |words: &[&str]| words.contains(&word);
        if among(&ERROR_WORDS) {
            Some(Self::Error)
        } else if among(&WARNING_WORDS) {
            Some(Self::Warning)
        } else if among(&OTHER_WORDS) {
            Some(Self::Normal)
        } else {
            None
        }
    }

    /// Reads a number: OpenTelemetry's severity number 1 to 24, or the tens of Bunyan and Pino from 30 on.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            1..WARNING_NUMBER | 30..40 => Some(Self::Normal),
            WARNING_NUMBER..ERROR_NUMBER | 40..50 => Some(Self::Warning),
            ERROR_NUMBER..=24 | 50..=60 => Some(Self::Error),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_numbers() {
        let cases = [
            ("ERROR", Some(Level::Error)),
            ("error2", Some(Level::Error)),
            (" Fatal ", Some(Level::Error)),
            ("CRITICAL", Some(Level::Error)),
            ("[warn]", Some(Level::Warning)),
            ("Warning", Some(Level::Warning)),
            ("WARN3", Some(Level::Warning)),
            ("i", Some(Level::Normal)),
            ("informational", Some(Level::Normal)),
            ("17", Some(Level::Error)),
            ("13", Some(Level::Warning)),
            ("9", Some(Level::Normal)),
            ("50", Some(Level::Error)),
            ("40", Some(Level::Warning)),
            ("0", None),
            ("25", None),
            ("banana", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Level::from_text(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn case_does_not_matter(text in "\\PC{0,12}") {
            prop_assert_eq!(Level::from_text(&text), Level::from_text(&text.to_lowercase()));
        }

        #[test]
        fn a_higher_number_is_never_better(low in 1_u64..=24, high in 1_u64..=24) {
            prop_assume!(low <= high);
            prop_assert!(Level::from_number(low) <= Level::from_number(high));
        }
    }
}

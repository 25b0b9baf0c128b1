//! Why a document was refused: a bounded reason to count, and a sentence for the one who sent it.

/// Classes of refused documents; a bounded label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The line is no JSON object.
    Malformed,
    /// The document is too large to be looked at.
    TooLarge,
    /// An action that a log store does not take: update, delete.
    Action,
    /// No service name.
    NoService,
    /// The service name is no text, too long, or has control characters.
    BadService,
    /// More services than the settings allow.
    TooManyServices,
    /// No time.
    NoTime,
    /// The time cannot be read.
    BadTime,
    /// Older than what is kept.
    TooOld,
    /// Further in the future than clocks differ.
    TooNew,
    /// The duration is no number, negative or absurd.
    BadDuration,
    /// The HTTP status is no whole number.
    BadStatus,
}

impl Reason {
    /// The label of metrics, and as the file keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Action => "unsupported_action",
            Self::NoService => "no_service",
            Self::BadService => "bad_service",
            Self::TooManyServices => "too_many_services",
            Self::NoTime => "no_time",
            Self::BadTime => "bad_time",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::BadDuration => "bad_duration",
            Self::BadStatus => "bad_status",
        }
    }

    /// What Elasticsearch calls an error of this kind.
    pub fn elastic_type(self) -> &'static str {
        match self {
            Self::Action | Self::TooManyServices => "illegal_argument_exception",
            _ => "document_parsing_exception",
        }
    }
}

/// One refused document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The class.
    pub reason: Reason,
    /// Names the field, the value and what to do.
    pub text: String,
}

impl Rejection {
    /// A refusal with its sentence.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// Text from outside, fit for a sentence: bounded, without control characters.
pub(super) fn quote(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

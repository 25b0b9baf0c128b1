//! How bad: P1 (worst) to P4.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The severity of an anomaly or incident. Ordered by urgency: `P4 < P3 < P2 < P1`, so that `max` is worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Look when there is time.
    P4,
    /// Look today.
    P3,
    /// Pages.
    P2,
    /// Pages, and goes before everything else.
    P1,
}

impl Severity {
    /// All severities, worst first.
    pub const ALL: [Self; 4] = [Self::P1, Self::P2, Self::P3, Self::P4];

    /// `"P1"` to `"P4"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was none of P1 to P4.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no severity: use P1, P2, P3 or P4")]
pub struct UnknownSeverity(String);

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownSeverity(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_greatest() {
        assert_eq!(
            [Severity::P3, Severity::P1, Severity::P4].into_iter().max(),
            Some(Severity::P1)
        );
        assert_eq!("p2".parse(), Ok(Severity::P2));
        assert!("P5".parse::<Severity>().is_err());
    }
}

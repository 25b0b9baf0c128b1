//! Sections whose stages come later, so that a file written today keeps its meaning.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `analyzer` in the settings: nothing reads it yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analyzer {
    /// The model.
    pub model: String,
    /// Tokens of an answer, at most.
    pub max_tokens: u32,
    /// The key; `ANTHROPIC_API_KEY`.
    pub api_key: Secret,
    /// Base URL of the API.
    pub base_url: String,
}

impl Default for Analyzer {
    fn default() -> Self {
        Self {
            model: "claude-sonnet-4-6".to_owned(),
            max_tokens: 4096,
            api_key: Secret::default(),
            base_url: "https://api.anthropic.com".to_owned(),
        }
    }
}

//! What is expected, and what is out of line. Pure: windows and `now` in, findings out.

use serde::{Deserialize, Serialize};

/// `detection` in the settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

//! The parameters of a model: what a definition asks of the sampling and the reasoning of a provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest temperature that a definition may set.
pub const TEMPERATURE_MAX: f64 = 2.0;

/// How much a model may reason before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    /// As little as the provider allows.
    Minimal,
    /// Little.
    Low,
    /// A medium amount.
    Medium,
    /// Much.
    High,
}

impl ReasoningEffort {
    /// Every effort, from the least.
    pub const ALL: &'static [Self] = &[Self::Minimal, Self::Low, Self::Medium, Self::High];

    /// The word of the effort as a definition writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The parameters of a model. Each is a preference: a provider or a model that has no such parameter is called
/// without it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelParameters {
    /// The randomness of the sampling, from 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How much the model reasons before it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<ReasoningEffort>,
    /// The seed of the sampling: equal requests with it have mostly equal answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl ModelParameters {
    /// True if no parameter is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.temperature.is_none() && self.reasoning_effort.is_none() && self.seed.is_none()
    }
}

//! The result of the explaining entrypoint: the same decision with its reasons and checks.

use serde::{Deserialize, Serialize};

use super::EvaluationError;
use super::allowed::Obligations;
use super::result_set::ResultSet;

/// The path of the entrypoint.
pub const ENTRYPOINT: &str = "guard/decision";

/// A reason of a denial: a stable code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyReason {
    /// The code, such as `category_not_allowed` or `max_document_size_10mb`.
    pub code: String,
    /// The sentence that describes the violation.
    pub message: String,
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The check's name, such as `access_allowed`.
    pub id: String,
    /// True if the check passed.
    pub pass: bool,
}

/// The value of the entrypoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawExplanation {
    pub(crate) allow: bool,
    pub(crate) deny: Vec<DenyReason>,
    pub(crate) checks: Vec<Check>,
    pub(crate) obligations: Obligations,
}

impl ResultSet<RawExplanation> {
    /// Rejects an undefined explanation, an allow with a reason and a denial without one; sorts the
    /// reasons by their codes.
    pub(crate) fn into_consistent(self) -> Result<RawExplanation, EvaluationError> {
        let Some(mut explanation) = self.0 else {
            return Err(EvaluationError::Failed("the policy explains nothing".into()));
        };
        if explanation.allow != explanation.deny.is_empty() {
            return Err(EvaluationError::Failed("the policy contradicts itself".into()));
        }
        explanation.deny.sort();
        Ok(explanation)
    }
}
